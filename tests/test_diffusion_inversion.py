"""DDIM inversion against the closed form of Gaussian data, and against DDIM itself."""

import pytest
import torch

from ldm.diffusion.inversion import ddim_inversion
from ldm.diffusion.noise import batch_noise, slerp
from ldm.diffusion.samplers import ddim
from ldm.diffusion.timesteps import ddim_timesteps
from tests.gaussian import DEVIATION, MEAN, SCHEDULE, exact_eps, marginal


@pytest.fixture
def picture():
    return MEAN + DEVIATION * batch_noise([3], 0, (4, 16, 16)).double()


def inverted(picture, steps, share=1.0):
    timesteps = ddim_timesteps(steps, SCHEDULE.length)[-round(share * steps) :]
    *_, last = ddim_inversion(exact_eps, picture, SCHEDULE, timesteps=timesteps)
    return timesteps, last


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_the_noise_is_the_one_that_is_known(picture, share):
    """The probability flow keeps a sample's place within its marginal."""
    timesteps, last = inverted(picture, 500, share)
    level = (picture - marginal(float(SCHEDULE.alphas_cumprod[0]))[0]) / DEVIATION
    mean, deviation = marginal(float(SCHEDULE.alphas_cumprod[timesteps[0]]))
    assert (last.index, last.total, last.t) == (len(timesteps) - 1, len(timesteps), timesteps[0])
    assert (last.x_t - (mean + deviation * level)).abs().max() < 0.05


def test_the_way_there_and_back_is_closer_the_more_steps_there_are(picture):
    errors = []
    for steps in (10, 50, 250):
        timesteps, last = inverted(picture, steps)
        *_, back = ddim(exact_eps, last.x_t, SCHEDULE, timesteps=timesteps)
        errors.append(float((back.x_t - picture).abs().max()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.05 < 0.2 < errors[0]


def test_more_predictions_per_step_come_closer(picture):
    timesteps, errors = ddim_timesteps(20, SCHEDULE.length), []
    for evaluations in (1, 2, 4):
        about = {"timesteps": timesteps, "evaluations": evaluations}
        *_, last = ddim_inversion(exact_eps, picture, SCHEDULE, **about)
        *_, back = ddim(exact_eps, last.x_t, SCHEDULE, timesteps=timesteps)
        errors.append(float((back.x_t - picture).square().mean().sqrt()))
    assert errors[1] < errors[0] / 3
    assert errors[2] < errors[1] / 3


def test_a_step_takes_one_prediction_or_more(picture):
    with pytest.raises(ValueError, match="evaluations must be 1 or more, got 0"):
        next(ddim_inversion(exact_eps, picture, SCHEDULE, timesteps=[500, 1], evaluations=0))


def test_every_step_undoes_the_samplers(picture):
    """With one prediction for both, whatever it is, the way back is exact."""
    timesteps = ddim_timesteps(7, SCHEDULE.length)
    fixed = batch_noise([5], 0, (4, 16, 16)).double()
    there = [*ddim_inversion(lambda x, t: fixed, picture, SCHEDULE, timesteps=timesteps)]
    back = [*ddim(lambda x, t: fixed, there[-1].x_t, SCHEDULE, timesteps=timesteps)]
    for one, other in zip(there[-2::-1], back, strict=False):
        assert torch.allclose(one.x_t, other.x_t)
    assert torch.allclose(back[-1].x_t, picture)


def test_noise_is_turned_without_growing():
    one, other = batch_noise([1, 2], 0, (4, 64, 64))
    for share in (0.0, 0.3, 0.7, 1.0):
        assert slerp(one, other, share).std() == pytest.approx(1, abs=0.03)
    assert torch.equal(slerp(one, other, 0.0), one)
    assert torch.equal(slerp(one, other, 1.0), other)
