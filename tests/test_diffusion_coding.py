"""Progressive coding against the mutual information of Gaussian data and the Gaussian formula."""

import math

import pytest
import torch

from ldm.diffusion.coding import even_messages, progressive_coding
from ldm.diffusion.noise import batch_noise
from ldm.diffusion.timesteps import ddpm_timesteps
from tests.gaussian import DEVIATION, MEAN, SCHEDULE, exact_eps


def coded(x0, eps=exact_eps, steps=1000, timesteps=None):
    generator = torch.Generator().manual_seed(1)

    def noise(index):
        return torch.randn(x0.shape[1:], generator=generator).double().expand_as(x0)

    timesteps = timesteps or ddpm_timesteps(steps, SCHEDULE.length)
    return list(progressive_coding(eps, x0, SCHEDULE, timesteps=timesteps, noise=noise))


@pytest.fixture
def x0():
    return MEAN + DEVIATION * batch_noise([3], 0, (4, 128, 64)).double()


def test_the_code_of_gaussian_data_is_as_long_as_its_information(x0):
    """With the true posterior mean the code of x_t has about I(x_0; x_t) nats (Guo et al. 2005)."""
    values = x0[0].numel()
    sent = {one.t: float(one.nats[0]) / values for one in coded(x0)}
    level = float(SCHEDULE.alphas_cumprod[-1])
    # the prior of the code is N(0, 1), which is not quite the data's own x_T
    variance = level * DEVIATION**2 + 1 - level
    beside = (level * MEAN**2 + variance - 1 - math.log(variance)) / 2
    for t in (999, 900, 500, 200, 50):
        information = math.log(1 + float(SCHEDULE.snr(torch.tensor(t))) * DEVIATION**2) / 2
        assert sent[t] == pytest.approx(information + beside, rel=0.03)


def test_a_step_costs_the_divergence_of_two_normal_distributions(x0):
    """The second route: the means and the variance of q(x_t-1 | x_t, x_0) (DDPM Eq. 7)."""
    sent = coded(x0)
    for t in (999, 500, 1):
        before, after = sent[999 - t], sent[1000 - t]
        assert (before.t, after.t) == (t, t - 1)
        apart = SCHEDULE.posterior_mean_coef1.double()[t] * (x0 - before.x0)
        variance = SCHEDULE.posterior_variance.double()[t]
        divergence = apart.square().sum((1, 2, 3)) / (2 * variance)
        assert torch.allclose(after.nats - before.nats, divergence, rtol=2e-3)


def test_more_messages_make_a_shorter_code_and_each_one_is_worth_its_bits(x0):
    lengths = []
    for steps in (5, 20, 100, 1000):
        sent = coded(x0, steps=steps)
        nats = [float(one.nats[0]) for one in sent]
        errors = [float((one.x0 - x0).square().mean()) for one in sent]
        assert nats == sorted(nats)
        assert errors[-1] < errors[len(errors) // 2] < errors[0]
        lengths.append(nats[-1])
    assert lengths == sorted(lengths, reverse=True)


def test_a_worse_model_has_a_longer_code(x0):
    def worse(x, t):
        return 0.9 * exact_eps(x, t)

    for theirs, ours in zip(coded(x0, worse, 100)[1:], coded(x0, steps=100)[1:], strict=True):
        assert theirs.nats > ours.nats


def test_pictures_of_a_batch_have_codes_of_their_own(x0):
    both = coded(torch.cat([x0, torch.full_like(x0, MEAN)]), steps=20)[-1]
    assert both.nats.shape == (2,)
    assert both.nats[0] == pytest.approx(float(coded(x0, steps=20)[-1].nats[0]))
    assert both.nats[1] < both.nats[0]


def test_even_messages_come_close_to_all_of_them(x0):
    all_of_them, few = coded(x0), even_messages(SCHEDULE, 100)
    assert (few[0], few[-1]) == (999, 0)
    assert 80 < len(few) <= 100
    assert few == sorted(few, reverse=True)
    assert even_messages(SCHEDULE, 1000)[-5:] == [4, 3, 2, 1, 0]
    short, long = (coded(x0, timesteps=way)[-1].nats for way in (few, ddpm_timesteps(100, 1000)))
    assert all_of_them[-1].nats < short < 1.1 * all_of_them[-1].nats
    assert long > 2 * short
    for number in (1, 1001):
        with pytest.raises(ValueError, match="messages must be 2 to 1000"):
            even_messages(SCHEDULE, number)


@pytest.mark.parametrize("timesteps", [(), (1000, 1), (5, 5), (1, 2), (3, -1)])
def test_time_steps_fall_within_the_schedule(x0, timesteps):
    with pytest.raises(ValueError, match="must fall within 999..0, got"):
        list(progressive_coding(exact_eps, x0, SCHEDULE, timesteps=timesteps, noise=lambda _: x0))


def test_time_steps_may_be_a_tensor(x0):
    want = coded(x0, timesteps=[900, 500, 1])
    got = coded(x0, timesteps=tuple(torch.tensor([900, 500, 1])))
    assert [(type(one.t), one.t) for one in got] == [(int, 900), (int, 500), (int, 1)]
    assert all(torch.equal(a.nats, b.nats) for a, b in zip(want, got, strict=True))
