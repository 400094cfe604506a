"""Which time steps are visited: the published ones, and what takes their place with few steps."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from ldm.diffusion.noise import batch_noise
from ldm.diffusion.samplers import SAMPLERS
from ldm.diffusion.timesteps import (
    ddim_timesteps,
    ddpm_timesteps,
    falling,
    last_timesteps,
    published_timesteps,
    solver_timesteps,
    timesteps_of,
)
from tests.gaussian import SCHEDULE, exact_eps, marginal

RECORDED = json.loads((Path(__file__).parent / "reference/schedules.json").read_text())


def x_of_one():
    return batch_noise([3], 0, (1, 1, 1))


@pytest.mark.parametrize("steps", [1, 3, 5, 6, 7, 50, 200, 333, 500, 501, 999, 1000])
def test_any_number_of_steps_gives_that_many(steps):
    for grid_of in (ddim_timesteps, ddpm_timesteps, solver_timesteps):
        grid = grid_of(steps, 1000)
        assert len(grid) == steps
        assert grid == sorted(set(grid), reverse=True)
        assert 0 <= grid[-1] <= grid[0] <= 999


def test_grids_of_every_size_are_even():
    for length in (1, 2, 7, 50):
        for steps in range(1, length + 1):
            for grid_of in (ddim_timesteps, ddpm_timesteps, solver_timesteps):
                grid = grid_of(steps, length)
                gaps = {t - s for t, s in zip(grid, grid[1:], strict=False)}
                assert len(grid) == steps
                assert all(0 <= t < length for t in grid)
                assert not gaps or min(gaps) > 0 and max(gaps) - min(gaps) <= 1


def test_the_published_grid_is_kept_where_it_fits():
    counted = RECORDED["requested_steps_to_actual_count_and_max_timestep"]
    for steps, (count, largest) in counted.items():
        grid = published_timesteps(int(steps), 1000)
        assert (len(grid), grid[0]) == (count, largest)
        if count == int(steps) and int(steps) >= 10 and largest < 1000:
            assert ddim_timesteps(int(steps), 1000) == grid


def test_pure_noise_is_taken_for_what_it_is():
    """With few steps the published grid starts far below the noise: with one, at t = 1."""
    for steps in range(1, 10):
        assert ddim_timesteps(steps, 1000)[0] == 999
    assert ddim_timesteps(10, 1000)[0] == 901
    for sampler in ("dpmpp_2m", "unipc"):
        grids = [timesteps_of(sampler, steps, 1000) for steps in range(1, 51)]
        assert {grid[0] for grid in grids} == {999}
        assert min(grid[-1] for grid in grids[:10]) > 1
        assert {grid[-1] for grid in grids[10:]} == {1}
        drawn = next(SAMPLERS[sampler](lambda x, t: x, x_of_one(), SCHEDULE, steps=20))
        assert drawn.t == 999


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_a_picture_to_start_from_is_noised_as_much_as_was_asked_for(sampler):
    """With one step a strength of 0 made a wholly new picture, from t = 999."""
    for steps in range(1, 10):
        for share in (0.0, 0.1, 0.3, 0.5, 0.95, 1.0):
            count = max(1, round(share * steps))
            grid = last_timesteps(sampler, steps, count, share, 1000)
            assert len(grid) == count and grid == sorted(set(grid), reverse=True)
            assert abs(grid[0] - 1000 * share) <= 1
        assert last_timesteps(sampler, steps, steps, 1.0, 1000) == timesteps_of(
            sampler, steps, 1000
        )
    for steps in (10, 12, 14):  # t = 0 or 1 alone would be left
        assert last_timesteps(sampler, steps, 1, 0.1, 1000)[0] == 99
    assert last_timesteps(sampler, 50, 15, 0.3, 1000) == timesteps_of(sampler, 50, 1000)[-15:]
    assert last_timesteps(sampler, 2, 2, 1.0, 2) == [1, 0]


@pytest.mark.parametrize("kind", [tuple, np.array, torch.tensor])
def test_a_grid_may_be_of_any_kind(kind):
    grid = falling(kind([901, 501, 1]), 1000)
    assert grid == [901, 501, 1]
    assert all(type(t) is int for t in grid)
    for wrong in ([], [1000, 1], [5, 5], [1, 2], [3, -1]):
        with pytest.raises(ValueError, match=re.escape(f"must fall within 999..0, got {wrong}")):
            falling(kind(wrong), 1000)


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_take_any_kind_of_grid(name):
    noise = lambda _: torch.zeros(1, 1, 1)  # noqa: E731
    paths = [
        list(SAMPLERS[name](exact_eps, x_of_one(), SCHEDULE, timesteps=grid, noise=noise))
        for grid in ([901, 501, 1], torch.tensor([901, 501, 1]), np.array([901, 501, 1]))
    ]
    for path in paths:
        assert [(type(step.t), step.t) for step in path] == [(int, t) for t in (901, 501, 1)]
        assert torch.equal(path[-1].x_t, paths[0][-1].x_t)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("ddim", range(1, 11)),
        ("dpmpp_2m", range(1, 11)),
        ("unipc", range(1, 11)),
        ("plms", (1, 3, 5, 8)),
    ],
)
def test_of_few_steps_more_are_better(name, counts):
    """Of Gaussian data, whose samples are known."""
    x_T = batch_noise([3], 0, (4, 16, 16)).double()
    (m_T, s_T), (m_0, s_0) = (marginal(float(SCHEDULE.alphas_cumprod[t])) for t in (-1, 0))
    want = m_0 + s_0 * (x_T - m_T) / s_T
    errors = []
    for steps in counts:
        *_, last = SAMPLERS[name](exact_eps, x_T, SCHEDULE, steps=steps)
        errors.append(float((last.x_t - want).abs().mean()))
    assert errors == sorted(errors, reverse=True)
    assert errors[0] < 0.4  # the deviation of the data
