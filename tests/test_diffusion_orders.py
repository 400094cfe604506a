"""Samplers converge with their own order, on the exact flow of a Gaussian and step by step."""

import math

import pytest
import torch

from ldm.diffusion.noise import batch_noise
from ldm.diffusion.samplers import ddim, dpmpp_2m, plms, unipc
from ldm.diffusion.schedule import NoiseSchedule
from ldm.diffusion.timesteps import ddim_timesteps
from tests.gaussian import SCHEDULE, exact_eps, marginal

# the same process in twenty times finer time, in which grids can be as even as orders need
FINE = NoiseSchedule.scaled_linear(0.0015 / 20, 0.0205 / 20, 20_000)


def half_log_snr():
    a = FINE.alphas_cumprod.double()
    return 0.5 * (a / (1 - a)).log()


def flow_error(sampler, steps, bend):
    """Error at the end of `steps` updates against the exact flow of a Gaussian.

    The grid is even in half log SNR for bend 0; above, the steps shrink on the way down. The last
    update is left out: it leads to a fixed place, not to a finer one.
    """
    lam = half_log_snr()
    u = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    targets = lam[16_000] + (lam[1000] - lam[16_000]) * (u + bend * u * (1 - u))
    grid = [int((lam - target).abs().argmin()) for target in targets]
    x = batch_noise([0], 0, (1, 8, 8)).double()
    path = list(sampler(lambda x, t: exact_eps(x, t, FINE), x, FINE, timesteps=grid))
    a = FINE.alphas_cumprod.tolist()
    (mean, deviation), (mean_end, deviation_end) = marginal(a[grid[0]]), marginal(a[grid[-1]])
    # the flow keeps (x - mean_t) / deviation_t
    exact = mean_end + (x - mean) / deviation * deviation_end
    return float((path[-2].x_t - exact).abs().max())


@pytest.mark.parametrize(
    ("sampler", "bend", "low", "high"),
    [
        (ddim, 0.0, 0.9, 1.1),
        (ddim, 0.5, 0.9, 1.1),
        (dpmpp_2m, 0.0, 1.9, 2.4),
        (dpmpp_2m, 0.5, 1.8, 2.4),
        (unipc, 0.0, 1.9, 3.1),  # its first correction is of order 2
        (unipc, 0.5, 1.9, 3.1),
        (plms, 0.0, 1.5, 2.6),
    ],
)
def test_observed_order_of_convergence(sampler, bend, low, high):
    counts = (16, 32, 64)
    errors = [flow_error(sampler, steps, bend) for steps in counts]
    order = math.log(errors[0] / errors[-1]) / math.log(counts[-1] / counts[0])
    listed = ", ".join(f"{e:.1e}" for e in errors)
    grid = "uneven" if bend else "even"
    print(f"{sampler.__name__.ljust(8)} order {order:.2f}, errors {listed} ({grid} grid, {counts})")
    assert low < order < high


def test_higher_orders_pay_at_few_steps():
    first = flow_error(ddim, 16, 0.0)
    assert flow_error(dpmpp_2m, 16, 0.0) < 0.2 * first
    assert flow_error(plms, 16, 0.0) < 0.1 * first
    assert flow_error(unipc, 16, 0.0) < 0.2 * flow_error(dpmpp_2m, 16, 0.0)


@pytest.mark.parametrize("degree", range(4))
def test_plms_integrates_polynomials_of_its_order(degree):
    """Adams-Bashforth of order k is exact for predictions of degree k - 1 in the step's number."""
    grid = ddim_timesteps(10, SCHEDULE.length)

    def eps(x, t):
        position = torch.tensor([float(grid.index(int(i))) for i in t], dtype=torch.float64)
        return (position**degree).view(-1, 1, 1, 1).expand_as(x)

    x = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    for step in plms(eps, x, SCHEDULE, steps=10):
        a = float(SCHEDULE.alphas_cumprod[step.t])
        used = float((x - math.sqrt(a) * step.x0) / math.sqrt(1 - a))
        i, order = step.index, (2, 2, 3, 4)[min(step.index, 3)]
        integral = ((i + 1) ** (degree + 1) - i ** (degree + 1)) / (degree + 1)
        if degree < order:
            assert used == pytest.approx(integral, rel=1e-9), step.index
        else:
            assert used != pytest.approx(integral, rel=1e-3), step.index
        x = step.x_t


@pytest.mark.parametrize("degree", range(4))
def test_unipc_corrects_an_update_by_a_parabola(degree):
    """For x0 of degree 2 in half log SNR, a corrected update is the exact flow."""
    a = SCHEDULE.alphas_cumprod.tolist()
    lam = [0.5 * math.log(level / (1 - level)) for level in a]
    grid, starts = [950, 900, 600, 550, 100, 40, 1], []

    def x0_of(t):
        return (lam[t] + 1) ** degree

    def eps(x, t):
        level = a[int(t[0])]
        return (x - math.sqrt(level) * x0_of(int(t[0]))) / math.sqrt(1 - level)

    x = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    for step, s in zip(unipc(eps, x, SCHEDULE, timesteps=grid), grid[1:], strict=False):
        t, before = step.t, grid[step.index - 1]
        h, data = lam[s] - lam[t], x0_of(t)
        if step.index:  # the predictor's straight line, taken off again
            data += (data - x0_of(before)) * h / (2 * (lam[t] - lam[before]))
        shrunk = float(step.x_t) + math.sqrt(a[s]) * math.expm1(-h) * data
        starts.append(shrunk * math.sqrt((1 - a[t]) / (1 - a[s])))
    for index in range(2, len(starts)):
        t, s = grid[index - 1], grid[index]
        places = torch.linspace(lam[t], lam[s], 20_001, dtype=torch.float64)
        weighted = torch.exp(places - lam[s]) * (places + 1) ** degree
        flow = math.sqrt((1 - a[s]) / (1 - a[t])) * starts[index - 1]
        flow += math.sqrt(a[s]) * float(torch.trapezoid(weighted, places))
        is_exact = abs(starts[index] - flow) < 1e-6
        assert is_exact == (degree <= 2), (index, starts[index] - flow)


def test_dpmpp_2m_takes_a_straight_x0_at_the_middle_of_each_step():
    """For x0 linear in half log SNR, second order means x0 at the middle, whatever the step."""
    a = SCHEDULE.alphas_cumprod.tolist()
    lam = [0.5 * math.log(level / (1 - level)) for level in a]
    grid = [950, 900, 600, 550, 100, 40, 1]

    def eps(x, t):
        level = a[int(t[0])]
        return (x - math.sqrt(level) * (3 * lam[int(t[0])] + 1)) / math.sqrt(1 - level)

    x = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    for step, s in zip(dpmpp_2m(eps, x, SCHEDULE, timesteps=grid), [*grid[1:], 0], strict=True):
        h = lam[s] - lam[step.t]
        shrunk = math.sqrt((1 - a[s]) / (1 - a[step.t])) * x
        used = float((shrunk - step.x_t) / (math.sqrt(a[s]) * math.expm1(-h)))
        is_first_order = step.index in (0, len(grid) - 1)
        place = lam[step.t] + (0 if is_first_order else h / 2)
        assert used == pytest.approx(3 * place + 1, rel=1e-9), step.index
        assert float(step.x0) == pytest.approx(3 * lam[step.t] + 1, rel=1e-9)
        x = step.x_t
