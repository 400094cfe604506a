import pytest
import torch
import torch.nn.functional as F

from ldm.diffusion.conditioning import Conditioning
from ldm.diffusion.guidance import as_eps, classifier_free, conditioned, held, known_outside
from ldm.diffusion.samplers import SAMPLERS
from ldm.diffusion.schedule import NoiseSchedule
from ldm.diffusion.timesteps import timesteps_of

SCHEDULE = NoiseSchedule.scaled_linear(0.0015, 0.0195, 1000)


def tokens(value, batch=2):
    return Conditioning(context=torch.full((batch, 3, 4), value))


def make_denoise(calls):
    """A denoiser that answers with its context's mean and x, and notes what it was given."""

    def denoise(x, t, cond):
        calls.append((x, t, cond.context[:, 0, 0].tolist()))
        assert cond.copies == len(cond.context) // 2
        return x + cond.context.mean((1, 2)).view(-1, 1, 1, 1)

    return denoise


@pytest.mark.parametrize("scale", [0.0, 0.5, 3.0, 7.5])
def test_guidance_is_linear_in_its_scale(scale):
    x, t = torch.arange(2.0).view(2, 1, 1, 1), torch.tensor([7, 8])
    eps = classifier_free(make_denoise([]), tokens(5.0), tokens(2.0), scale)(x, t)
    assert torch.allclose(eps, x + 2 + scale * 3)


def test_guidance_is_one_pass_with_the_unconditional_half_first():
    calls = []
    x, t = torch.arange(2.0).view(2, 1, 1, 1), torch.tensor([7, 8])
    classifier_free(make_denoise(calls), tokens(5.0), tokens(2.0), 3.0)(x, t)
    ((both, times, order),) = calls
    assert both.flatten().tolist() == [0, 1, 0, 1]
    assert times.tolist() == [7, 8, 7, 8]
    assert order == [2, 2, 5, 5]


def test_a_scale_of_one_skips_the_unconditional_half():
    calls = []
    x, t = torch.zeros(2, 1, 1, 1), torch.tensor([7, 8])
    denoise = make_denoise(calls)
    eps = classifier_free(denoise, tokens(5.0), tokens(2.0), 1.0)(x, t)
    assert torch.equal(eps, conditioned(denoise, tokens(5.0))(x, t))
    assert [len(x) for x, _, _ in calls] == [2, 2]
    # and is the limit of the scales around it
    near = classifier_free(denoise, tokens(5.0), tokens(2.0), 1 + 1e-6)(x, t)
    assert torch.allclose(near, eps, atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_both_conditions_are_for_the_same_pictures(scale):
    """Halves of three would have gone to the wrong pictures."""
    one = tokens(2.0, batch=1)
    with pytest.raises(ValueError, match="cond and uncond must be as many, got 2 and 1"):
        classifier_free(make_denoise([]), tokens(5.0), one, scale)


@pytest.mark.parametrize("prediction", ["eps", "v", "x0"])
def test_every_prediction_becomes_the_same_noise(prediction):
    generator = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(2, 3, 2, 4, 4, generator=generator, dtype=torch.float64)
    t = torch.tensor([0, 500, 999])
    output = {"eps": noise, "v": SCHEDULE.velocity(x0, t, noise), "x0": x0}[prediction]
    x_t = SCHEDULE.q_sample(x0, t, noise)
    assert torch.allclose(as_eps(output, x_t, t, SCHEDULE, prediction), noise, atol=1e-5)


def test_an_unknown_prediction_is_refused():
    x = torch.zeros(1, 1, 1, 1)
    with pytest.raises(ValueError, match="prediction must be eps, x0 or v, got 'w'"):
        as_eps(x, x, torch.tensor([0]), SCHEDULE, "w")


def low_pass(x, size=(2, 3)):
    return F.interpolate(x, size, mode="area")


@pytest.mark.parametrize("strength", [0.25, 1.0])
def test_held_moves_the_mean_of_x0_by_its_strength(strength):
    """What a small picture of one colour asks for is met exactly, and details stay."""
    x = torch.randn(2, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    x = x - F.interpolate(low_pass(x), (8, 12))  # every block of it has a mean of 0
    t, small = torch.tensor([300, 700]), torch.full((2, 3, 2, 3), 0.5)
    eps = held(lambda x, t: torch.zeros_like(x), SCHEDULE, small, strength)(x, t)
    free, moved = (SCHEDULE.predict_x0(x, t, e) for e in (torch.zeros_like(x), eps))
    assert torch.allclose(moved - free, torch.full_like(x, 0.5 * strength), atol=1e-5)


def test_held_comes_nearer_to_any_small_picture():
    generator = torch.Generator().manual_seed(0)
    x, small = torch.randn(1, 3, 8, 12, generator=generator), torch.randn(1, 3, 2, 3)
    t = torch.tensor([500])
    gaps = []
    for strength in (0.0, 0.5, 1.0):
        eps = held(lambda x, t: 0.5 * x, SCHEDULE, small, strength)(x, t)
        gaps.append((low_pass(SCHEDULE.predict_x0(x, t, eps)) - small).square().mean())
    assert gaps[2] < 0.5 * gaps[1] < 0.5 * gaps[0]


def test_what_is_held_of_a_smooth_small_picture_has_no_steps():
    """Between the centres of its cells, 4 of the canvas apart, a ramp is continued as a ramp."""

    def ramp(rows, columns):
        return (0.2 * rows[:, None] - 0.1 * columns).expand(1, 3, -1, -1)

    small = ramp(torch.arange(4.0), torch.arange(6.0))
    x, t = torch.zeros(1, 3, 16, 24), torch.tensor([500])
    eps = held(lambda x, t: torch.zeros_like(x), SCHEDULE, small, 1.0)(x, t)
    x0 = SCHEDULE.predict_x0(x, t, eps)  # without `small` it would be 0
    want = ramp((torch.arange(16) + 0.5) / 4 - 0.5, (torch.arange(24) + 0.5) / 4 - 0.5)
    inside = (..., slice(2, -2), slice(2, -2))  # beyond the outermost centres it is flat
    assert torch.allclose(x0[inside], want[inside], atol=1e-5)


def test_holding_with_no_strength_is_the_denoiser_itself():
    assert held(as_eps, SCHEDULE, torch.zeros(1, 3, 1, 1), 0.0) is as_eps


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_run_ends_in_what_is_known_and_is_on_its_way_there_at_every_step(sampler):
    generator = torch.Generator().manual_seed(0)
    known, noise = (torch.randn(2, 3, 4, 6, generator=generator) for _ in range(2))
    mask = torch.zeros(1, 1, 4, 6, dtype=torch.bool)
    mask[..., 1:3, 2:5] = True
    outside = (~mask).expand_as(known)
    hole = mask.float().expand(2, 1, 4, 6)

    def wrong(x, t):
        return 0.3 * x + 0.1  # whatever a model says of it

    def run(known):
        timesteps = timesteps_of(sampler, 10, SCHEDULE.length)
        t = torch.full((2,), timesteps[0])

        def eps(x, t):
            return known_outside(wrong(x, t), x, t, SCHEDULE, torch.cat([known, hole], dim=1))

        about = {"steps": 10, "timesteps": timesteps, "noise": lambda _: noise.flip(0)}
        return list(SAMPLERS[sampler](eps, SCHEDULE.q_sample(known, t, noise), SCHEDULE, **about))

    steps = run(known)
    assert torch.allclose(steps[-1].x0[outside], known[outside], atol=1e-4)
    least = float((1 - SCHEDULE.alphas_cumprod[0]).sqrt() * noise.abs().max())
    assert torch.allclose(steps[-1].x_t[outside], known[outside], atol=1.1 * least)
    inside = ~outside
    assert (steps[-1].x_t[inside] - known[inside]).abs().max() > 0.1
    if sampler != "ddpm":  # it draws new noise at every step
        for step, after in zip(steps, steps[1:], strict=False):
            want = SCHEDULE.q_sample(known, torch.full((2,), after.t), noise)
            assert torch.allclose(step.x_t[outside], want[outside], atol=1e-3)
    hidden = torch.where(mask, torch.full_like(known, 9.0), known)
    t = torch.tensor([5, 900])
    both = (torch.cat([x0, hole], dim=1) for x0 in (hidden, known))
    again, once = (known_outside(wrong(known, t), known, t, SCHEDULE, x0) for x0 in both)
    assert torch.equal(again, once)


def test_what_is_known_in_part_is_made_in_part():
    x, x0 = torch.randn(2, 1, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    t, e, share = torch.tensor([500]), torch.zeros_like(x), torch.full((1, 1, 2, 2), 0.25)
    known = known_outside(e, x, t, SCHEDULE, torch.cat([x0, share], dim=1))
    want = 0.25 * SCHEDULE.predict_x0(x, t, e) + 0.75 * x0
    assert torch.allclose(SCHEDULE.predict_x0(x, t, known), want, atol=1e-5)


def test_guidance_knows_whether_both_conditions_have_one_hole():
    hole, seen = torch.zeros(1, 4, 2, 2), []

    def told(concat, other):
        about = (tokens(5.0), tokens(2.0))
        both = (
            Conditioning(concat=c, context=a.context)
            for a, c in zip(about, (concat, other), strict=True)
        )
        denoise = lambda x, t, cond: seen.append(cond) or x  # noqa: E731
        classifier_free(denoise, *both, 3.0)(torch.zeros(2, 1, 1, 1), torch.tensor([7, 8]))
        return seen[-1].differs_in_context

    one = hole.expand(2, -1, -1, -1)
    assert told(one, hole.expand(2, -1, -1, -1))
    assert not told(one, one.clone())  # not looked at
    assert not told(one, hole.repeat(2, 1, 1, 1)[:, :, :1].expand(2, 4, 2, 2))
    two = hole.repeat(2, 1, 1, 1)
    assert not told(two, two[:1].expand(2, -1, -1, -1))
    assert told(None, None)
