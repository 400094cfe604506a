"""Samplers against closed forms: for data N(m, s^2) the exact noise prediction is known, so every
sampler must reach the known mean and deviation. Grids are compared with the published ones."""

import json
import math
from pathlib import Path

import pytest
import torch

from ldm.diffusion.noise import batch_noise
from ldm.diffusion.samplers import SAMPLERS, ddim, ddpm, plms
from ldm.diffusion.schedule import NoiseSchedule
from ldm.diffusion.timesteps import published_timesteps, timesteps_of
from tests.gaussian import SCHEDULE, exact_eps, marginal

RECORDED = json.loads((Path(__file__).parent / "reference/schedules.json").read_text())


def reached(name, steps, **options):
    """Exact mean and deviation of a sampler's result, without a sampling error.

    The exact prediction is affine in x_t, so the result is affine in x_T and in every draw: picture
    0 gets none of them and shows the mean, each other picture gets one and shows its weight.
    """
    x_T = torch.zeros(steps + 2, 1, 1, 1, dtype=torch.float64)
    level = float(SCHEDULE.alphas_cumprod[grid_of(name, steps)[0]])
    x_T += marginal(level)[0]
    x_T[1] += marginal(level)[1]

    def draw(index):
        noise = torch.zeros_like(x_T)
        noise[index + 2] = 1
        return noise

    *_, last = SAMPLERS[name](exact_eps, x_T, SCHEDULE, steps=steps, noise=draw, **options)
    y = last.x_t.flatten()
    return float(y[0]), float((y[1:] - y[0]).square().sum().sqrt())


def grid_of(name, steps):
    return timesteps_of(name, steps, SCHEDULE.length)


def errors_of(name, steps, **options):
    """How far mean and deviation are from the truth where the sampler stops."""
    ends_at_0 = name == "ddpm" or grid_of(name, steps)[-1] == 0
    truth = marginal(1.0 if ends_at_0 else float(SCHEDULE.alphas_cumprod[0]))
    return [abs(a - b) for a, b in zip(reached(name, steps, **options), truth, strict=True)]


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [
        ("ddim", {}, 0.01),
        ("ddim", {"eta": 0.5}, 0.015),
        ("ddim", {"eta": 1.0}, 0.025),
        ("dpmpp_2m", {}, 0.005),
        ("unipc", {}, 0.001),
        ("plms", {}, 0.001),
        ("ddpm", {}, 0.03),
        ("ddpm", {"variance": "beta"}, 0.005),
    ],
)
def test_every_sampler_reaches_mean_and_deviation(name, options, tolerance):
    (mean_50, deviation_50), (mean, deviation) = (errors_of(name, n, **options) for n in (50, 200))
    about = f"{name} {options or ''}".ljust(29)
    print(f"{about} error of the mean {mean:.1e}, of the deviation {deviation:.1e} (200 steps)")
    assert max(mean, mean_50) < 1e-9  # the mean keeps to its path at any step size
    assert deviation < tolerance
    assert deviation < 0.5 * deviation_50
    assert max(errors_of(name, 1000, **options)) < 0.01


@pytest.mark.parametrize("variance", ["posterior", "beta"])
def test_ddpm_samples_with_position_keyed_noise(variance):
    """The same with the real noise: 4096 cells, within five standard errors."""
    shape = (1, 64, 64)
    *_, last = ddpm(
        exact_eps,
        batch_noise([0], 0, shape).double(),
        SCHEDULE,
        steps=200,
        noise=lambda index: batch_noise([0], index + 1, shape).double(),
        variance=variance,
    )
    mean, deviation = reached("ddpm", 200, variance=variance)
    assert abs(float(last.x_t.mean()) - mean) < 5 * deviation / 64
    assert abs(float(last.x_t.std()) / deviation - 1) < 5 / math.sqrt(2 * 4096)


def test_ddim_with_eta_1_over_all_steps_is_ddpm_with_the_posterior_variance():
    x, *draws = (batch_noise([0], step, (1, 4, 4)).double() for step in range(1001))
    noise = draws.__getitem__
    ours = list(ddim(exact_eps, x, SCHEDULE, steps=1000, eta=1.0, noise=noise))
    theirs = list(ddpm(exact_eps, x, SCHEDULE, steps=1000, noise=noise))
    assert [s.t for s in ours] == [s.t for s in theirs] == list(range(999, -1, -1))
    difference = max(
        float((mine.x_t - other.x_t).abs().max()) for mine, other in zip(ours, theirs, strict=True)
    )
    print(f"ddim with eta 1 and ddpm differ by {difference:.1e} over 1000 steps")
    assert difference < 1e-9


def test_ddpm_takes_the_posterior_that_the_tables_hold():
    """The tables are held against the authors' numbers, so with them the sampler is."""
    x, *draws = (batch_noise([0], step, (1, 4, 4)).double() for step in range(1001))
    for step in ddpm(exact_eps, x, SCHEDULE, steps=1000, noise=draws.__getitem__):
        t = step.t
        mean = SCHEDULE.posterior_mean_coef1[t] * step.x0 + SCHEDULE.posterior_mean_coef2[t] * x
        spread = (SCHEDULE.posterior_log_variance_clipped[t] / 2).exp() if t else 0.0
        assert (mean + spread * draws[step.index] - step.x_t).abs().max() < 1e-5
        x = step.x_t


@pytest.mark.parametrize("name", SAMPLERS)
def test_batched_equals_single(name):
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
    assert together.shape == (3, 2, 8, 8)
    assert float((together - alone).abs().max()) < 1e-5


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 501, 999, 1000])
def test_any_number_of_steps_runs(name, steps):
    x = torch.full((1, 1, 1, 1), 0.3)
    path = list(SAMPLERS[name](exact_eps, x, SCHEDULE, steps=steps, noise=lambda _: x))
    assert [step.index for step in path] == list(range(steps))
    assert {step.total for step in path} == {steps}
    assert [step.t for step in path] == grid_of(name, steps)
    assert all(step.x_t.isfinite().all() for step in path)


@pytest.mark.parametrize("name", SAMPLERS)
def test_no_step_waits_for_the_device(name):
    """Meta tensors hold no numbers: reading one back, or mixing in a CPU tensor, raises."""
    x = torch.empty(2, 3, 4, 4, device="meta")
    devices = set()

    def eps(x, t):
        devices.update((x.device.type, t.device.type))
        return SCHEDULE.eps_from_velocity(x, t, x)

    path = list(SAMPLERS[name](eps, x, SCHEDULE, steps=10, noise=lambda _: x))
    assert devices == {"meta"}
    assert path[-1].x_t.device.type == path[-1].x0.device.type == "meta"
    assert path[-1].x_t.shape == x.shape


@pytest.mark.parametrize("name", SAMPLERS)
def test_gradients_are_off_inside_a_sampler_only(name):
    weight = torch.ones(1, requires_grad=True)
    x = torch.ones(1, 1, 1, 1)
    for step in SAMPLERS[name](lambda x, t: weight * x, x, SCHEDULE, steps=3, noise=lambda _: x):
        assert not step.x_t.requires_grad
        assert torch.is_grad_enabled()


def test_closing_a_sampler_stops_it():
    calls = []

    def eps(x, t):
        calls.append(int(t[0]))
        return x

    steps = ddim(eps, torch.zeros(1, 1, 2, 2), SCHEDULE, steps=50)
    next(steps)
    steps.close()
    assert len(calls) == 1


def test_corrected_x0_is_what_a_step_is_made_of():
    x = batch_noise([3], 0, (1, 4, 4))
    for step in ddim(exact_eps, x, SCHEDULE, steps=4, correct_x0=lambda x0: x0.clamp(-0.5, 0.5)):
        t = torch.tensor([step.t])
        eps = exact_eps(x, t)
        x0 = SCHEDULE.predict_x0(x, t, eps).clamp(-0.5, 0.5)
        assert torch.allclose(step.x0, x0, atol=1e-5)
        s = torch.tensor([max(step.t - 250, 0)])
        assert torch.allclose(step.x_t, SCHEDULE.q_sample(x0, s, eps), atol=1e-5)
        x = step.x_t


def test_before_step_changes_what_is_denoised():
    seen, denoised = [], []

    def before(index, t, x):
        seen.append((index, t))
        return torch.full_like(x, float(index))

    def eps(x, t):
        denoised.append((float(x[0, 0, 0, 0]), int(t[0])))
        return x

    x = torch.full((1, 1, 2, 2), 9.0)
    first, *_ = ddim(eps, x, SCHEDULE, steps=4, before_step=before)
    assert seen == [(0, 999), (1, 749), (2, 499), (3, 249)]
    assert denoised == seen
    assert torch.equal(first.x_t, torch.zeros_like(x))


@pytest.mark.parametrize("entry", RECORDED["schedules"], ids=lambda e: str(e["linear_end"]))
def test_the_published_coefficients(entry):
    """alpha-bar at both ends of every step and sigma, read off the updates of a still picture."""
    schedule = NoiseSchedule.scaled_linear(entry["linear_start"], entry["linear_end"], 1000)
    one = torch.ones(1, 1, 1, 1, dtype=torch.float64)

    def still(eta):
        steps = ddim(
            lambda x, t: torch.zeros_like(x),
            one,
            schedule,
            timesteps=published,
            eta=eta,
            before_step=lambda *_: one,
            noise=lambda _: one,
        )
        return [(float(step.x0), float(step.x_t)) for step in steps][::-1]

    for steps, table in entry["ddim"].items():
        published = published_timesteps(int(steps), 1000)
        assert published[::-1] == table["timesteps"]
        calm, noisy = still(0.0), still(1.0)
        for i, ((x0, x), (_, x_noisy)) in enumerate(zip(calm, noisy, strict=True)):
            if "alphas" in table:  # the longer grids have no room for them
                assert x0**-2 == pytest.approx(table["alphas"][i], rel=1e-6)
                assert (x / x0) ** 2 == pytest.approx(table["alphas_prev"][i], rel=1e-6)
            # published sigmas come from float32 levels, whose differences hold fewer digits
            assert x_noisy - x == pytest.approx(table["sigmas_eta1"][i], rel=1e-4)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ddim", {"steps": 0}, r"steps must be in 1\.\.1000, got 0"),
        ("ddim", {"steps": 1001}, r"steps must be in 1\.\.1000, got 1001"),
        ("ddpm", {"steps": 1001, "noise": torch.zeros}, r"steps must be in 1\.\.1000, got 1001"),
        ("ddim", {"timesteps": [1, 501]}, r"timesteps must fall within 999\.\.0, got \[1, 501\]"),
        ("plms", {"timesteps": [501, 501]}, "timesteps must fall"),
        ("dpmpp_2m", {"timesteps": [1000, 1]}, "timesteps must fall"),
        ("ddpm", {"timesteps": [5, -1], "noise": torch.zeros}, "timesteps must fall"),
        ("ddim", {"timesteps": []}, "timesteps must fall"),
        ("ddim", {"eta": 1.5}, r"eta must be in 0\.\.1"),
        ("ddim", {"eta": 0.5}, "needs noise"),
        ("ddpm", {}, "needs noise"),
        ("ddpm", {"variance": "both", "noise": torch.zeros}, "variance must be"),
        ("ddpm", {"eta": 1.0, "noise": torch.zeros}, "eta must be 0"),
        ("plms", {"eta": 1.0}, "eta must be 0"),
        ("dpmpp_2m", {"eta": 1.0}, "eta must be 0"),
        ("unipc", {"eta": 1.0}, "eta must be 0"),
    ],
)
def test_wrong_calls_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        list(SAMPLERS[name](exact_eps, torch.zeros(1, 1, 2, 2), SCHEDULE, **options))


@pytest.mark.parametrize("timesteps", [[101, 1], [201, 101, 1], [901, 801, 1]])
def test_plms_is_not_misled_by_a_prediction_where_there_is_hardly_noise(timesteps):
    """A network's error at t = 1, where it was taken for the start at t = 101, made specks."""

    def eps(x, t):
        return exact_eps(x, t) + (5.0 if t[0] == 1 else 0.0)

    x = batch_noise([0], 0, (1, 4, 4)).double()
    misled, exact = (list(plms(e, x, SCHEDULE, timesteps=timesteps))[-1] for e in (eps, exact_eps))
    assert float((misled.x_t - exact.x_t).abs().max()) < 0.25


@pytest.mark.parametrize(("off", "evaluations"), [(-20, 2), (20, 3)])
def test_plms_begins_with_both_ends_only_where_the_lower_one_has_half_of_the_noise(
    off, evaluations
):
    sigma = (1 - SCHEDULE.alphas_cumprod).sqrt()
    half = int((sigma - sigma[500] / 2).abs().argmin())
    calls, x = [], batch_noise([3], 0, (1, 2, 2))
    list(plms(lambda x, t: calls.append(t) or x, x, SCHEDULE, timesteps=[500, half + off]))
    assert len(calls) == evaluations
