"""Latent diffusion models: networks, samplers, checkpoints, training and the studio's engine."""
