import json
from pathlib import Path

import pytest
import torch

from ldm.diffusion.conditioning import Conditioning
from ldm.diffusion.guidance import as_eps, classifier_free
from ldm.diffusion.schedule import NoiseSchedule

KINDS = {
    "linear": NoiseSchedule.linear(1e-4, 0.02, 1000),
    "scaled_linear": NoiseSchedule.scaled_linear(0.0015, 0.0195, 1000),
    "cosine": NoiseSchedule.cosine(1000),
}


@pytest.mark.parametrize("schedule", KINDS.values(), ids=KINDS)
def test_noise_only_grows(schedule):
    assert schedule.length == 1000
    assert (schedule.alphas_cumprod.diff() < 0).all()
    assert ((schedule.betas > 0) & (schedule.betas < 1)).all()


@pytest.mark.parametrize("schedule", KINDS.values(), ids=KINDS)
def test_every_prediction_leads_back(schedule):
    generator = torch.Generator().manual_seed(0)
    x0 = torch.randn(3, 2, 4, 4, generator=generator, dtype=torch.float64)
    noise = torch.randn(x0.shape, generator=generator, dtype=torch.float64)
    t = torch.tensor([0, 500, 900])
    x_t = schedule.q_sample(x0, t, noise)
    v = schedule.velocity(x0, t, noise)
    assert torch.allclose(schedule.predict_x0(x_t, t, noise), x0, atol=1e-5)
    assert torch.allclose(schedule.predict_eps(x_t, t, x0), noise, atol=1e-5)
    assert torch.allclose(schedule.eps_from_velocity(x_t, t, v), noise, atol=1e-5)
    assert torch.allclose(schedule.x0_from_velocity(x_t, t, v), x0, atol=1e-5)
    for prediction, output in (("eps", noise), ("v", v), ("x0", x0)):
        assert torch.allclose(as_eps(output, x_t, t, schedule, prediction), noise, atol=1e-5)


def test_an_unknown_prediction_is_refused():
    x = torch.zeros(1, 1, 1, 1)
    with pytest.raises(ValueError, match="prediction must be eps, x0 or v, got 'w'"):
        as_eps(x, x, torch.tensor([0]), KINDS["linear"], "w")


def test_posterior_is_bayes_rule():
    """q(x_s | x_t, x0) from the two Gaussians q(x_s | x0) and q(x_t | x_s)."""
    schedule, t = KINDS["scaled_linear"], 400
    a, before = schedule.alphas_cumprod.double()[t], schedule.alphas_cumprod.double()[t - 1]
    beta = schedule.betas.double()[t]
    precision = 1 / (1 - before) + (1 - beta) / beta
    assert abs(float(schedule.posterior_variance[t]) * float(precision) - 1) < 1e-4
    x0_weight = before.sqrt() / (1 - before) / precision
    assert abs(float(schedule.posterior_mean_coef1[t]) / float(x0_weight) - 1) < 1e-4
    assert a < before


def test_guidance_is_linear_in_its_scale_and_off_at_one():
    batches = []

    def denoise(x, t, cond):
        batches.append(len(x))
        return x * 0 + cond.context.mean((1, 2)).view(-1, 1, 1, 1)

    x, t = torch.zeros(2, 1, 1, 1), torch.zeros(2, dtype=torch.int64)
    cond = Conditioning(context=torch.full((2, 3, 4), 5.0))
    uncond = Conditioning(context=torch.full((2, 3, 4), 2.0))
    for scale, expected in ((1.0, 5.0), (0.0, 2.0), (3.0, 11.0)):
        eps = classifier_free(denoise, cond, uncond, scale)(x, t)
        assert torch.equal(eps, torch.full_like(x, expected))
    assert batches == [2, 4, 4]


def test_conditioning_parts_move_together():
    both = Conditioning(torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 5), torch.zeros(1).long())
    cropped = both.crop(slice(1, 3), slice(0, 2))
    assert cropped.concat.shape == (1, 2, 2, 2)
    assert cropped.context is both.context
    assert both.cat(both).context.shape == (2, 3, 5)
    assert both.expand(4).concat.shape == (4, 2, 4, 4)
    assert both.to("cpu", torch.float64).context.dtype == torch.float64
    with pytest.raises(ValueError, match="same ways"):
        both.cat(Conditioning())


def test_the_published_tables():
    """float32 buffers exactly as the published checkpoints hold them."""
    recorded = json.loads((Path(__file__).parent / "reference/schedules.json").read_text())
    indices, checked = recorded["selected_indices"], 0
    for entry in recorded["schedules"]:
        ends = entry["linear_start"], entry["linear_end"]
        schedule = NoiseSchedule.scaled_linear(*ends, entry["timesteps"])
        for name, values in entry["float32"].items():
            table = getattr(schedule, name, None)
            if table is not None:
                ours = table[indices].double()
                theirs = torch.tensor(values, dtype=torch.float64)
                assert torch.allclose(ours, theirs, rtol=2e-6, atol=1e-12), name
                checked += len(values)
    assert checked >= 5 * len(indices) * len(recorded["schedules"])
