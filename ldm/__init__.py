"""Latent diffusion models: networks, samplers, checkpoints, training and the studio's engine."""

import os

# Before torch starts its threads: waiting ones sleep. By default they spin, and then one other busy
# program (the browser, say) makes a small network up to twenty times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
