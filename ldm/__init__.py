"""Latent diffusion models: networks, samplers, checkpoints, training and the studio's engine."""

__version__ = "0.1.0"
