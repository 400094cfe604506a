import json
import math
from pathlib import Path

import pytest
import torch

from ldm.diffusion.schedule import NoiseSchedule

KINDS = {
    "linear": NoiseSchedule.linear(1e-4, 0.02, 1000),
    "scaled_linear": NoiseSchedule.scaled_linear(0.0015, 0.0195, 1000),
    "cosine": NoiseSchedule.cosine(1000),
}
RECORDED = json.loads((Path(__file__).parent / "reference/schedules.json").read_text())


@pytest.mark.parametrize("schedule", KINDS.values(), ids=KINDS)
def test_noise_only_grows(schedule):
    assert schedule.length == 1000
    assert (schedule.alphas_cumprod.diff() < 0).all()
    assert ((schedule.betas > 0) & (schedule.betas < 1)).all()
    assert (schedule.snr(torch.arange(1000)).diff() < 0).all()


def test_linear_is_even_between_its_ends():
    betas = KINDS["linear"].betas64
    assert betas[0] == 1e-4
    assert betas[-1] == 0.02
    assert torch.allclose(betas.diff(), torch.full((999,), 0.0199 / 999, dtype=torch.float64))


def test_cosine_follows_its_curve_up_to_the_bound():
    """Nichol & Dhariwal 2021, Eq. 17, by hand."""
    schedule = KINDS["cosine"]

    def f(step):
        return math.cos((step / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2

    for t in (0, 1, 500, 900, 998):
        assert float(schedule.alphas_cumprod[t]) == pytest.approx(f(t + 1) / f(0), rel=1e-5)
    assert float(schedule.betas[-1]) == pytest.approx(0.999)


@pytest.mark.parametrize(
    ("kind", "about", "says"),
    [
        ("linear", (0.5, 2.0, 10), "between 0 and 1, got 0.5 to 2"),
        ("linear", (0.0, 0.5, 10), "between 0 and 1, got 0 to 0.5"),
        ("linear", (math.nan, 0.5, 10), "between 0 and 1, got nan"),
        ("scaled_linear", (-0.1, 0.5, 10), "between 0 and 1, got -0.1 to 0.5"),
        ("scaled_linear", (0.1, 1.0, 10), "between 0 and 1, got 0.1 to 1"),
        ("cosine", (10, -0.5), "between 0 and 1, got"),
        ("linear", (0.1, 0.2, 0), "at least 1 time step, got 0"),
        ("scaled_linear", (0.1, 0.2, -3), "at least 1 time step, got -3"),
        ("cosine", (0,), "at least 1 time step, got 0"),
    ],
)
def test_what_is_no_schedule_is_an_error(kind, about, says):
    """With beta of 1 or more nothing, or less than that, would be left of the picture."""
    with pytest.raises(ValueError, match=says):
        getattr(NoiseSchedule, kind)(*about)


@pytest.mark.parametrize("shape", [(0,), (), (2, 3)], ids=str)
def test_betas_are_one_row(shape):
    with pytest.raises(ValueError, match=r"betas must be \(T,\), T at least 1, got shape"):
        NoiseSchedule(torch.full(shape, 0.1))


def test_a_schedule_may_have_one_time_step():
    for schedule in (NoiseSchedule.linear(0.5, 0.5, 1), NoiseSchedule.cosine(1)):
        assert schedule.length == 1
        assert 0 < float(schedule.alphas_cumprod[0]) < 1


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


def test_velocity_is_the_speed_along_the_circle():
    """With signal cos(phi) and noise sin(phi), v = d x_t / d phi."""
    schedule, t = KINDS["scaled_linear"], torch.tensor([300])
    x0, noise = torch.tensor([[2.0]]).double(), torch.tensor([[-0.7]]).double()
    phi, d = math.acos(math.sqrt(float(schedule.alphas_cumprod[300]))), 1e-5
    ahead, behind = (math.cos(p) * x0 + math.sin(p) * noise for p in (phi + d, phi - d))
    assert torch.allclose(schedule.velocity(x0, t, noise), (ahead - behind) / (2 * d), atol=1e-6)


def test_snr_is_signal_power_over_noise_power():
    schedule, t = KINDS["scaled_linear"], torch.tensor([0, 400, 999])
    one, none = torch.ones(3, 1, dtype=torch.float64), torch.zeros(3, 1, dtype=torch.float64)
    signal = schedule.q_sample(one, t, none)
    noise = schedule.q_sample(none, t, one)
    assert torch.allclose(schedule.snr(t).double(), (signal / noise).square()[:, 0], rtol=1e-5)


@pytest.mark.parametrize("schedule", KINDS.values(), ids=KINDS)
def test_one_time_step_is_for_all_pictures(schedule):
    x0, noise = torch.randn(2, 2, 3, 4, 4)
    t = torch.tensor([10, 10])
    assert torch.equal(schedule.q_sample(x0, 10, noise), schedule.q_sample(x0, t, noise))
    x_t = schedule.q_sample(x0, t, noise)
    assert torch.equal(schedule.predict_eps(x_t, 10, x0), schedule.predict_eps(x_t, t, x0))
    assert float(schedule.snr(10)) == float(schedule.snr(t)[0])


@pytest.mark.parametrize("t", [-1, 1000, torch.tensor([5, -1]), torch.tensor([1000, 5])], ids=str)
def test_time_steps_outside_of_the_schedule_are_an_error(t):
    """A negative one would be counted from the end of the tables."""
    schedule, x = KINDS["linear"], torch.ones(2, 1)
    says = r"time steps must be in 0\.\.999, got (-1|1000)$"
    with pytest.raises(ValueError, match=says):
        schedule.snr(t)
    for of_x in (schedule.q_sample, schedule.recentred, schedule.predict_x0, schedule.velocity):
        with pytest.raises(ValueError, match=says):
            of_x(x, t, x)
    assert schedule.snr(torch.tensor([], dtype=torch.int64)).shape == (0,)


def test_posterior_is_bayes_rule():
    """q(x_s | x_t, x0) from the two Gaussians q(x_s | x0) and q(x_t | x_s)."""
    schedule, t = KINDS["scaled_linear"], 400
    before = schedule.alphas_cumprod.double()[t - 1]
    beta = schedule.betas64[t]
    precision = 1 / (1 - before) + (1 - beta) / beta
    assert float(schedule.posterior_variance[t] * precision) == pytest.approx(1, rel=1e-5)
    x0_weight = before.sqrt() / (1 - before) / precision
    x_t_weight = (1 - beta).sqrt() / beta / precision
    assert float(schedule.posterior_mean_coef1[t]) == pytest.approx(float(x0_weight), rel=1e-5)
    assert float(schedule.posterior_mean_coef2[t]) == pytest.approx(float(x_t_weight), rel=1e-5)


def test_the_table_is_copied_to_a_device_once():
    schedule, tables = NoiseSchedule.linear(1e-4, 0.02, 10), set()
    x, t = torch.ones(2, 1, device="meta"), torch.zeros(2, dtype=torch.int64, device="meta")
    for _ in range(3):
        assert schedule.q_sample(x, t, x).device.type == "meta"
        tables.add(schedule._levels[t.device])
    assert len(tables) == 1


@pytest.mark.parametrize("entry", RECORDED["schedules"], ids=lambda e: str(e["linear_end"]))
def test_the_published_tables(entry):
    """The float32 buffers of the published checkpoints, to the last bits."""
    indices = torch.tensor(RECORDED["selected_indices"])
    schedule = NoiseSchedule.scaled_linear(
        entry["linear_start"], entry["linear_end"], entry["timesteps"]
    )
    one = torch.ones(len(indices), 1, dtype=torch.float64)
    derived = {
        "sqrt_alphas_cumprod": schedule.q_sample(one, indices, 0 * one),
        "sqrt_one_minus_alphas_cumprod": schedule.q_sample(0 * one, indices, one),
        "sqrt_recip_alphas_cumprod": schedule.predict_x0(one, indices, 0 * one),
        "sqrt_recipm1_alphas_cumprod": schedule.predict_x0(0 * one, indices, -one),
    }
    for name in (
        "betas",
        "alphas_cumprod",
        "posterior_variance",
        "posterior_log_variance_clipped",
        "posterior_mean_coef1",
        "posterior_mean_coef2",
    ):
        theirs = torch.tensor(entry["float32"][name], dtype=torch.float64)
        ours = getattr(schedule, name)
        assert ours.dtype == torch.float32
        assert torch.allclose(ours[indices].double(), theirs, rtol=2e-7, atol=0), name
    for name, ours in derived.items():
        theirs = torch.tensor(entry["float32"][name], dtype=torch.float64)
        # ours come from the float32 alpha-bar: near t = 0, 1 - alpha-bar keeps five digits of it
        assert torch.allclose(ours[:, 0], theirs, rtol=2e-5, atol=0), name


def test_a_picture_recentred_has_the_same_noise():
    schedule = NoiseSchedule.scaled_linear(0.0015, 0.0195, 1000)
    generator = torch.Generator().manual_seed(0)
    x0, noise, centre = torch.randn(3, 4, 2, 5, 5, generator=generator)
    t = torch.tensor([0, 10, 500, 999])
    moved = schedule.recentred(schedule.q_sample(x0, t, noise), t, centre)
    assert torch.allclose(moved, schedule.q_sample(x0 - centre, t, noise), atol=1e-6)
