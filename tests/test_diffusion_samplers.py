"""Samplers against closed forms: for data N(m, s^2) the exact noise prediction is known, so every
sampler must reach the known mean and deviation, and converge with its own order."""

import math

import pytest
import torch

from ldm.diffusion.noise import batch_noise
from ldm.diffusion.samplers import (
    SAMPLERS,
    ddim,
    ddim_timesteps,
    ddpm,
    ddpm_timesteps,
    dpmpp_2m,
    plms,
    published_timesteps,
)
from ldm.diffusion.schedule import NoiseSchedule

MEAN, DEVIATION = 1.5, 0.4
SCHEDULE = NoiseSchedule.scaled_linear(0.0015, 0.0205, 1000)


# the same process in twenty times finer time, in which grids can be as even as orders need
FINE = NoiseSchedule.scaled_linear(0.0015 / 20, 0.0205 / 20, 20_000)


def exact_eps(x, t, schedule=SCHEDULE):
    """E[noise | x_t] for data N(MEAN, DEVIATION^2)."""
    a = schedule.alphas_cumprod.double()[t].view(-1, 1, 1, 1)
    return (1 - a).sqrt() * (x - a.sqrt() * MEAN) / (a * DEVIATION**2 + 1 - a)


def many(seed=0):
    return batch_noise(range(seed, seed + 8), 0, (1, 32, 32)).double()


def fresh(index):
    return batch_noise(range(8), index + 1, (1, 32, 32)).double()


@pytest.mark.parametrize(
    ("name", "steps"),
    [("ddim", 200), ("dpmpp_2m", 100), ("dpmpp_2m", 200), ("plms", 50), ("ddpm", 1000)],
)
def test_every_sampler_reaches_mean_and_variance(name, steps):
    *_, last = SAMPLERS[name](exact_eps, many(), SCHEDULE, steps=steps, noise=fresh)
    assert abs(float(last.x_t.mean()) - MEAN) < 0.02
    assert abs(float(last.x_t.std()) / DEVIATION - 1) < 0.05
    assert last.index == last.total - 1 == steps - 1


def test_ddim_with_eta_1_over_all_steps_is_ddpm_with_the_posterior_variance():
    x = many()[:2, :, :8, :8]

    def noise(index):
        return batch_noise(range(2), index + 1, (1, 8, 8)).double()

    ours = list(ddim(exact_eps, x, SCHEDULE, steps=1000, eta=1.0, noise=noise))
    theirs = list(ddpm(exact_eps, x, SCHEDULE, steps=1000, noise=noise))
    assert [s.t for s in ours] == [s.t for s in theirs] == list(range(999, -1, -1))
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.allclose(mine.x_t, other.x_t, atol=1e-6)


def test_both_ddpm_variances_reach_the_deviation():
    for variance in ("posterior", "beta"):
        *_, last = ddpm(exact_eps, many(), SCHEDULE, steps=1000, noise=fresh, variance=variance)
        assert abs(float(last.x_t.std()) / DEVIATION - 1) < 0.03


def observed_order(sampler, counts):
    """Slope of log error over log step size, against the exact flow, on log-SNR-even grids."""
    x = many()[:1, :, :8, :8]
    a = FINE.alphas_cumprod.double()
    lam = 0.5 * (a / (1 - a)).log()
    errors = []
    for steps in counts:
        # evenly in half log SNR; then look at x after the last but one update
        targets = torch.linspace(float(lam[16_000]), float(lam[1000]), steps + 1)
        grid = [int((lam - target).abs().argmin()) for target in targets]
        path = list(sampler(lambda x, t: exact_eps(x, t, FINE), x, FINE, timesteps=grid))
        at = path[-2].x_t
        # the flow of a Gaussian keeps (x - mean_t) / deviation_t
        start, end = a[grid[0]], a[grid[-1]]

        def deviation(level):
            return math.sqrt(float(level) * DEVIATION**2 + 1 - float(level))

        unit = (x - start.sqrt() * MEAN) / deviation(start)
        exact = end.sqrt() * MEAN + unit * deviation(end)
        errors.append(float((at - exact).abs().max()))
    slope = math.log(errors[0] / errors[-1]) / math.log(counts[-1] / counts[0])
    return slope, errors


def test_observed_orders_of_convergence():
    counts = [8, 16, 32]
    orders = {
        name: observed_order(sampler, counts)
        for name, sampler in (("ddim", ddim), ("dpmpp_2m", dpmpp_2m), ("plms", plms))
    }
    for name, (slope, errors) in orders.items():
        print(f"{name}: order {slope:.2f}, errors {', '.join(f'{e:.1e}' for e in errors)}")
    assert 0.8 < orders["ddim"][0] < 1.3
    assert 1.6 < orders["dpmpp_2m"][0] < 2.6
    assert orders["plms"][0] > 1.5
    assert orders["dpmpp_2m"][1][-1] < 0.2 * orders["ddim"][1][-1]


@pytest.mark.parametrize("name", SAMPLERS)
def test_batched_equals_single(name):
    x = batch_noise(range(3), 0, (2, 8, 8))

    def run(seeds):
        def noise(index):
            return batch_noise(seeds, index + 1, (2, 8, 8))

        start = batch_noise(seeds, 0, (2, 8, 8))
        *_, last = SAMPLERS[name](
            lambda x, t: exact_eps(x.double(), t).float(), start, SCHEDULE, steps=10, noise=noise
        )
        return last.x_t

    together = run(range(3))
    alone = torch.cat([run([seed]) for seed in range(3)])
    assert together.shape == x.shape
    assert float((together - alone).abs().max()) < 1e-5


def test_closing_a_sampler_stops_it():
    calls = []

    def eps(x, t):
        calls.append(int(t[0]))
        return x

    steps = ddim(eps, torch.zeros(1, 1, 2, 2), SCHEDULE, steps=50)
    next(steps)
    steps.close()
    assert len(calls) == 1


@pytest.mark.parametrize("steps", [1, 3, 5, 6, 7, 50, 200, 333, 999, 1000])
def test_any_number_of_steps_gives_that_many(steps):
    for grid in (ddim_timesteps(steps, 1000), ddpm_timesteps(steps, 1000)):
        assert len(grid) == steps
        assert grid == sorted(set(grid), reverse=True)
        assert 0 <= grid[-1] <= grid[0] <= 999


def test_the_published_grid_is_kept_where_it_fits():
    assert ddim_timesteps(5, 1000) == [801, 601, 401, 201, 1]
    assert len(published_timesteps(6, 1000)) == 7


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ddim", {"steps": 0}, "steps must be in 1..1000, got 0"),
        ("ddim", {"steps": 1001}, "steps must be in 1..1000, got 1001"),
        ("ddim", {"eta": 1.5}, "eta must be in 0..1"),
        ("ddim", {"eta": 0.5}, "needs noise"),
        ("ddpm", {}, "needs noise"),
        ("ddpm", {"variance": "both", "noise": fresh}, "variance must be"),
        ("plms", {"eta": 1.0}, "eta must be 0"),
        ("dpmpp_2m", {"eta": 1.0}, "eta must be 0"),
    ],
)
def test_wrong_calls_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        list(SAMPLERS[name](exact_eps, torch.zeros(1, 1, 2, 2), SCHEDULE, **options))
