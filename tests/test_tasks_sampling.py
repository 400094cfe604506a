import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ldm.canvas import plan
from ldm.diffusion.conditioning import Conditioning
from ldm.diffusion.noise import batch_noise
from ldm.diffusion.samplers import SAMPLERS
from ldm.diffusion.schedule import NoiseSchedule
from ldm.errors import RequestError
from ldm.events import Progress
from ldm.images import EncodedImage
from ldm.requests import TextToImage
from ldm.requests.seeds import MAX_SEED
from ldm.requests.shared_fields import SAMPLER_NAMES
from ldm.tasks import denoising
from ldm.tasks.sampling import sample
from ldm.tasks.settings import Sampling, check, of_request

SAMPLING = Sampling("ddim", 8, 3.0, 0.0, (5,), 16, 24)
INVERTED = {"inversion": 0.7, "image": EncodedImage.from_array(np.zeros((16, 24, 3), np.uint8))}


class Gaussian:
    """A model whose data is N(MEAN, SPREAD^2) in every cell, so its eps is known exactly."""

    MEAN, SPREAD = 0.5, 0.25
    factor, size_multiple, latent_channels, trained_size = 2, 4, 3, None
    cells_at_once, schedule_length = 0, 1000
    dtype, device = torch.float32, torch.device("cpu")
    schedule = NoiseSchedule.scaled_linear(0.0015, 0.0205, 1000)

    unet = torch.nn.Identity()

    def __init__(self):
        self.batches = []
        self.decoded = []

    def denoise(self, x_t, t, cond):
        self.batches.append(len(x_t))
        a = self.schedule.alphas_cumprod[t].view(-1, 1, 1, 1)
        residual = x_t - a.sqrt() * self.MEAN
        return (1 - a).sqrt() * residual / (a * self.SPREAD**2 + 1 - a)

    def decode(self, latents):
        self.decoded.append(latents)
        return latents.repeat_interleave(2, 2).repeat_interleave(2, 3)

    preview = staticmethod(lambda latents, most: F.interpolate(latents, scale_factor=2.0))

    def wait(self):
        """There is nothing to wait for."""


def drain(generator):
    """The yielded events and the returned value."""
    events = []
    while True:
        try:
            events.append(next(generator))
        except StopIteration as stop:
            return events, stop.value


def run(model, **changes):
    sampling = Sampling(**{**SAMPLING.__dict__, **changes})
    cond = Conditioning(context=torch.zeros(1, 2, 4))
    return drain(sample(model, sampling, (cond, cond)))


def test_a_request_names_one_seed_per_picture():
    request = TextToImage(
        prompt="x",
        width=64,
        height=32,
        steps=9,
        sampler="plms",
        guidance_scale=2.0,
        seed=MAX_SEED,
        count=3,
        eta=0.0,
        temperature=0.5,
        coarse=0.0,
    )
    wanted = Sampling("plms", 9, 2.0, 0.0, (MAX_SEED, 0, 1), 32, 64, 0.5, strength=0.8)
    assert of_request(request) == wanted


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"width": 22}, "width must be a multiple of 4 px for this model, got 22; 20 or 24 would"),
        ({"height": 3}, "height must be a multiple of 4 px for this model, got 3; 4 would do"),
        ({"steps": 1001}, "steps must be at most 1000 for this model, got 1001"),
        ({"eta": 0.5, "sampler": "plms"}, "eta must be 0 for plms, got 0.5; only ddim uses it"),
        ({"eta": 0.5, "sampler": "ddpm"}, "eta must be 0 for ddpm"),
        (INVERTED | {"sampler": "ddpm"}, "inversion must be 0 for ddpm, which draws new noise"),
        (INVERTED | {"eta": 0.5}, "inversion must be 0 for ddim with an eta of 0.5, .* got 0.7"),
    ],
)
def test_what_a_model_cannot_do_is_refused(changes, says):
    with pytest.raises(RequestError, match=says):
        check(Gaussian(), Sampling(**{**SAMPLING.__dict__, **changes}))


def test_the_seed_alone_decides_the_starting_noise():
    """One DDIM step over exact eps is an affine map of x_T, the same in every cell."""
    model = Gaussian()
    run(model, steps=1)
    x_T, result = batch_noise((5,), 0, (3, 8, 12)), model.decoded[0]
    scale = (result - result.mean()) / (x_T - x_T.mean())
    assert torch.allclose(scale, scale.mean(), rtol=1e-2)  # float32, at a signal of 0.07


def test_temperature_scales_all_noise_that_is_drawn():
    """Over exact eps each step is affine in its noise; so is the difference of two pictures."""
    for how in ({"sampler": "ddim"}, {"sampler": "ddim", "eta": 1.0}, {"sampler": "ddpm"}):
        made = []
        for temperature in (0.0, 0.5, 1.0):
            run(model := Gaussian(), temperature=temperature, **how)
            made.append(model.decoded[0])
        cold, half, full = made
        assert not torch.allclose(cold, full, atol=0.1)
        assert torch.allclose(half - cold, 0.5 * (full - cold), atol=1e-4)


def test_the_picture_is_the_last_state_of_the_sampler():
    model = Gaussian()
    run(model, guidance_scale=1.0)
    noise = batch_noise((5,), 0, (3, 8, 12))
    steps = SAMPLERS["ddim"](
        lambda x, t: model.denoise(x, t, None), noise, model.schedule, steps=SAMPLING.steps
    )
    last = list(steps)[-1]
    assert (model.decoded[0] == last.x_t).all()
    assert (last.x_t != last.x0).any()


@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_pictures_have_the_mean_and_spread_of_the_data(sampler, scale):
    model = Gaussian()
    run(model, sampler=sampler, steps=250, height=128, width=128, guidance_scale=scale)
    latents = torch.cat(model.decoded)
    assert latents.mean().item() == pytest.approx(Gaussian.MEAN, abs=0.01)
    assert latents.std().item() == pytest.approx(Gaussian.SPREAD, rel=0.1)


@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
def test_progress_comes_after_every_step(sampler):
    events, _ = run(Gaussian(), sampler=sampler, steps=7)
    steps = [event for event in events if event.stage == "sampling"]
    assert [(event.step, event.total) for event in steps] == [(i, 7) for i in range(1, 8)]
    assert events[-1] == Progress("decoding", 7, 7)


@pytest.mark.parametrize(("steps", "previews"), [(1, 1), (7, 7), (50, 13), (250, 13)])
def test_previews_are_few(steps, previews):
    events, _ = run(Gaussian(), steps=steps)
    assert sum(event.preview is not None for event in events) == previews


def test_a_preview_shows_all_pictures_at_their_size():
    events, _ = run(Gaussian(), seeds=(1, 2, 3))
    assert events[0].preview.shape == (2 * 16, 2 * 24, 3)
    assert events[0].preview.dtype == np.uint8


def test_the_last_preview_is_as_bright_as_the_picture():
    events, arrays = run(Gaussian(), steps=12)
    last = [event.preview for event in events if event.preview is not None][-1]
    assert last.mean() == pytest.approx(arrays[0].mean(), abs=2)


def test_nothing_is_decoded_for_a_preview():
    model = Gaussian()
    run(model, steps=50)
    assert len(model.decoded) == 1


def test_pictures_are_arrays_of_the_size_asked_for():
    _, arrays = run(Gaussian(), seeds=(1, 2))
    assert [(array.shape, array.dtype) for array in arrays] == [((16, 24, 3), np.uint8)] * 2


def test_guidance_runs_in_one_pass_and_not_at_all_at_one():
    guided, plain = Gaussian(), Gaussian()
    run(guided, seeds=(1, 2, 3))
    run(plain, seeds=(1, 2, 3), guidance_scale=1.0)
    assert set(guided.batches) == {6}
    assert set(plain.batches) == {3}


def test_many_pictures_run_in_several_batches(monkeypatch):
    monkeypatch.setattr(plan, "CELLS_PER_BATCH", 2 * 8 * 12)
    model = Gaussian()
    events, arrays = run(model, seeds=(1, 2, 3, 4, 5), guidance_scale=1.0)
    assert [len(latents) for latents in model.decoded] == [2, 2, 1]
    steps = [event.step for event in events if event.stage == "sampling"]
    assert steps == list(range(1, 25))
    assert {event.total for event in events} == {24}
    assert len(arrays) == 5


def test_a_picture_larger_than_a_batch_runs_alone(monkeypatch):
    monkeypatch.setattr(plan, "CELLS_PER_BATCH", 1)
    model = Gaussian()
    run(model, seeds=(1, 2))
    assert [len(latents) for latents in model.decoded] == [1, 1]


@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
def test_a_picture_is_the_same_in_any_batch(sampler, monkeypatch):
    together, apart = Gaussian(), Gaussian()
    run(together, sampler=sampler, seeds=(7, 8, 9))
    monkeypatch.setattr(plan, "CELLS_PER_BATCH", 1)
    run(apart, sampler=sampler, seeds=(7, 8, 9))
    assert (together.decoded[0] - torch.cat(apart.decoded)).abs().max() <= 1e-5


def test_eta_draws_fresh_noise_from_the_same_seed():
    runs = [Gaussian() for _ in range(3)]
    for model, eta in zip(runs, (0.0, 1.0, 1.0), strict=True):
        run(model, eta=eta)
    plain, noisy, again = (model.decoded[0] for model in runs)
    assert (noisy == again).all()
    assert (noisy - plain).abs().max() > 0.05


def test_no_step_draws_the_noise_that_the_run_started_from(monkeypatch):
    draws = []

    def drawn(seeds, draw, *about):
        draws.append(draw)
        return batch_noise(seeds, draw, *about)

    monkeypatch.setattr(denoising, "batch_noise", drawn)
    run(Gaussian(), eta=1.0, steps=3)
    assert draws == [0, 1, 2, 3]


def test_what_half_precision_cannot_hold_is_made_again_with_a_condition_in_float32():
    seen = []

    class Recorded(Gaussian):
        is_prepared, in_float32 = True, None

        def denoise(self, x_t, t, cond):
            seen.append((self.dtype, cond.context.dtype))
            return super().denoise(x_t, t, cond)

    class Half(Recorded):
        dtype, in_float32 = torch.float16, Recorded

        def decode(self, latents):
            return super().decode(latents) * torch.inf

    cond = Conditioning(context=torch.zeros(1, 2, 4, dtype=torch.float16))
    _, arrays = drain(sample(Half(), SAMPLING, (cond, cond)))
    assert seen == [(dtype, dtype) for dtype in (torch.float16, torch.float32) for _ in range(8)]
    assert [array.shape for array in arrays] == [(16, 24, 3)]


def test_closing_stops_within_a_step():
    model = Gaussian()
    cond = Conditioning(context=torch.zeros(1, 2, 4))
    events = sample(model, SAMPLING, (cond, cond))
    for _ in range(3):
        next(events)
    events.close()
    assert len(model.batches) == 3
    assert model.decoded == []


def test_the_number_of_steps_is_the_number_of_evaluations():
    model = Gaussian()
    run(model, steps=13, sampler="dpmpp_2m")
    assert len(model.batches) == 13
    assert math.isfinite(model.decoded[0].sum().item())
