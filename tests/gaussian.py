"""Data N(MEAN, DEVIATION^2), whose exact noise prediction is known."""

import math

from ldm.diffusion.schedule import NoiseSchedule

MEAN, DEVIATION = 1.5, 0.4
SCHEDULE = NoiseSchedule.scaled_linear(0.0015, 0.0205, 1000)


def marginal(level):
    """Mean and deviation of x_t where alpha-bar_t is `level`."""
    return math.sqrt(level) * MEAN, math.sqrt(level * DEVIATION**2 + 1 - level)


def exact_eps(x, t, schedule=SCHEDULE):
    """E[noise | x_t] for data N(MEAN, DEVIATION^2)."""
    a = schedule.alphas_cumprod.double()[t].view(-1, 1, 1, 1)
    return (1 - a).sqrt() * (x - a.sqrt() * MEAN) / (a * DEVIATION**2 + 1 - a)
