"""What only a CUDA card can show: the same numbers as on the CPU, however a picture is made."""

import copy
import hashlib
import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ldm.canvas.bounded import BoundedFirstStage, BoundedUNet
from ldm.canvas.workspace import Workspace
from ldm.diffusion.noise import batch_noise, normal
from ldm.inference import fused
from ldm.inference.prepare import prepare
from ldm.models.unet import UNetModel
from ldm.runtime.device import exact_float32
from tests.test_inference_prepare import DECODERS, UNETS, difference, first_stage, inputs, unet

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
BUDGETS = [2**19, 2**26]  # bytes: a row at a time and files; all in memory


@pytest.fixture(autouse=True)
def _float32():
    exact_float32()


def on_cuda(values):
    return {name: value.cuda() for name, value in values.items()}


# --- noise


def sha256(tensor):
    return hashlib.sha256(tensor.cpu().contiguous().numpy().tobytes()).hexdigest()


def test_noise_is_the_same_bytes():
    for seed, step in ((0, 0), (7, 3), (2**32 - 1, 999)):
        want = normal(seed, step, (4, 24, 32))
        got = batch_noise([3, seed], step, (4, 24, 32)).to("cuda")[1]
        assert sha256(got) == sha256(want)


def test_noise_of_a_crop_and_of_a_larger_canvas_is_the_same_bytes():
    want = normal(5, 1, (4, 24, 32))
    larger = batch_noise([5], 1, (4, 64, 48)).to("cuda")[0]
    assert sha256(larger[:, :24, :32]) == sha256(want)
    crop = normal(5, 1, (4, 9, 11), origin=(8, 16)).to("cuda")
    assert sha256(crop) == sha256(want[:, 8:17, 16:27])


# --- networks


def test_triton_works_here():
    assert fused._kernels(torch.device("cuda", torch.cuda.current_device())) is not None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "shape",
    [(2, 64, 8, 8), (1, 96, 5, 7), (3, 128, 64, 64), (1, 224, 33, 9), (1, 128, 300, 300)],
)
@torch.no_grad()
def test_a_fused_norm(shape, dtype):
    generator = torch.Generator("cuda").manual_seed(0)

    def random(*sides):
        return torch.randn(*sides, device="cuda", generator=generator)

    channels = shape[1]
    norm = nn.GroupNorm(32, channels, device="cuda")
    norm.weight.data, norm.bias.data = random(channels), random(channels)
    x, plus = 3 * random(*shape) + 5, random(shape[0], 2 * channels)[:, channels:, None, None]
    norm, x, plus = norm.to(dtype), x.to(dtype), plus.to(dtype)
    if not fused.takes(x):
        pytest.skip("Triton does not work here")
    parts = norm.weight.float(), norm.bias.float(), norm.eps
    for more in (None, plus):
        summed = x.float() if more is None else x.float() + more.float()
        want = F.group_norm(summed, 32, *parts)
        bound = 1e-5 if dtype == torch.float32 else 1e-2
        assert difference(fused.group_norm(norm, x, more, silu=False).float(), want) < bound
        assert difference(fused.group_norm(norm, x, more, silu=True).float(), F.silu(want)) < bound


@pytest.mark.parametrize("kind", UNETS)
@torch.no_grad()
def test_a_prepared_unet(kind, randomise):
    """Eager, recorded, replayed and in half precision, against the plain one on the CPU."""
    plain = unet(kind, randomise)
    x, t, about = inputs(kind)
    want, about = plain(x, t, **about), on_cuda(about)
    x, t = x.cuda(), t.cuda()
    fast = prepare(copy.deepcopy(plain).cuda())
    for _ in range(4):
        assert difference(fast(x, t, **about).cpu(), want) < 1e-4
    assert len(fast.graphs) == 1
    for dtype, bound in ((torch.bfloat16, 5e-2), (torch.float16, 1e-2)):
        half = prepare(copy.deepcopy(plain).cuda().to(dtype), dtype)
        some = {k: v.to(dtype) if v.is_floating_point() else v for k, v in about.items()}
        for _ in range(3):
            assert difference(half(x.to(dtype), t, **some).cpu(), want) < bound
        assert len(half.graphs) == 1


@pytest.mark.parametrize("kind", DECODERS)
@torch.no_grad()
def test_a_prepared_first_stage(kind, randomise):
    plain = first_stage(kind, randomise)
    image = torch.randn(1, 3, 20, 12, generator=torch.Generator().manual_seed(1))
    z = plain.encode(image).mode()
    want = plain.decode(z)
    for dtype, bound in ((torch.float32, 1e-4), (torch.bfloat16, 5e-2), (torch.float16, 1e-2)):
        fast = prepare(copy.deepcopy(plain).cuda().to(dtype), dtype)
        assert difference(fast.encode(image.cuda().to(dtype)).mode().cpu(), z) < bound
        for _ in range(3):
            assert difference(fast.decode(z.cuda().to(dtype)).cpu(), want) < bound
        assert len(fast.decoder.graphs) == 1


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("kind", ["qkv attention", "spatial transformer", "pooling"])
@torch.no_grad()
def test_in_bands(kind, budget, randomise):
    plain = unet(kind, randomise)
    x, t, about = inputs(kind)
    want = plain(x, t, **about)
    for network in (plain.cuda(), prepare(copy.deepcopy(plain).cuda())):
        bounded = BoundedUNet(network, Workspace(budget))
        assert difference(bounded(x.cuda(), t.cuda(), **on_cuda(about)).cpu(), want) < 1e-4


@pytest.mark.parametrize("budget", BUDGETS)
@torch.no_grad()
def test_a_first_stage_in_bands(budget, randomise):
    plain = first_stage("attention", randomise)
    z = torch.randn(1, 3, 20, 12, generator=torch.Generator().manual_seed(1))
    want = plain.decode(z)
    for network in (plain.cuda(), prepare(copy.deepcopy(plain).cuda())):
        bounded = BoundedFirstStage(network, Workspace(budget))
        assert difference(bounded.decode(z.cuda()).cpu(), want) < 1e-4


# --- recordings


def eager(network, *given):
    """The same network, launch by launch."""
    return UNetModel.forward(network, *given)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_a_recording_is_the_network(dtype, randomise):
    """For two shapes, after another context and after a context that was written to."""
    network = prepare(unet("spatial transformer", randomise).cuda().to(dtype), dtype)
    bound = 1e-5 if dtype == torch.float32 else 2e-2
    generator = torch.Generator("cuda").manual_seed(0)

    def random(*shape):
        return torch.randn(*shape, device="cuda", generator=generator).to(dtype)

    contexts = [random(2, 5, 12), random(2, 5, 12)]
    for side in (8, 12):
        for call, context in enumerate((contexts[0], *contexts, contexts[1], contexts[0]) * 2):
            x, t = random(2, 3, side, 8), torch.tensor([call, 10 * call], device="cuda")
            kept = network(x, t, context), eager(network, x, t, context)
            assert difference(*kept) < bound
    contexts[0].mul_(2)
    assert difference(network(x, t, contexts[0]), eager(network, x, t, contexts[0])) < bound
    assert len(network.graphs) == 2
    assert network.graphs.nbytes() > 0
    network.graphs.clear()
    assert network.graphs.nbytes() == 0


@torch.no_grad()
def test_recordings_in_another_thread_and_mode(randomise):
    network = prepare(unet("qkv attention", randomise).cuda())
    x, t, _ = inputs("qkv attention")
    x, t, made = x.cuda(), t.cuda(), []

    def work():
        for mode in (torch.inference_mode, torch.no_grad, torch.inference_mode):
            with mode():
                made.extend(network(x + 0, t) for _ in range(2))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 18
    want = eager(network, x, t)
    assert max(difference(got, want) for got in made) < 1e-5
