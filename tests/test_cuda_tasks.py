"""What only a CUDA card can show of models and tasks: the CPU's pictures, however they are made."""

import gc

import numpy as np
import pytest
import torch

from ldm.canvas.bounded import in_bands
from ldm.canvas.plan import Plan
from ldm.canvas.workspace import Workspace
from ldm.requests import (
    Box,
    ClassConditional,
    EncodedImage,
    Inpaint,
    Layout,
    Semantic,
    TextToImage,
    Upscale,
)
from ldm.runtime.manager import ModelManager
from ldm.studio import Studio
from ldm.tasks.covering import Covered
from ldm.tasks.denoising import StepPosition, decoded, denoised
from ldm.tasks.settings import Sampling

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
STEPS = 8


@pytest.fixture(scope="module")
def manager():
    return ModelManager(device="cuda", precision="float32")


def finished(run):
    try:
        while True:
            next(run)
    except StopIteration as end:
        return end.value


def pictures(model, seeds, bands=False):
    """(B, 3, H, W) in [-1, 1], before it is rounded to 8 bits."""
    sampling = Sampling("ddim", STEPS, 3.0, 0.0, seeds, 128, 128)
    cond, uncond = (model.condition([text]) for text in ("a lake at sunset", ""))
    plan = Plan("bands" if bands else "whole", len(seeds), bands, bands, budget=2**22)
    space = Workspace(plan.budget) if bands else None
    on = Covered(in_bands(model, plan, space) if bands else model, model, plan, space)
    latents = finished(denoised(on, sampling, (cond, uncond), StepPosition(0, STEPS), None))
    return finished(decoded(on, sampling, latents, StepPosition(STEPS, STEPS), None)).float().cpu()


@torch.no_grad()
def test_batch_singles_whole_and_bounded_are_one_picture(manager):
    with manager.use("demo-text-to-image") as model:
        batch = pictures(model, (5, 6, 7, 8))
        singles = torch.cat([pictures(model, (seed,)) for seed in (5, 6, 7, 8)])
        bounded = torch.cat([pictures(model, (seed,), bands=True) for seed in (5, 6)])
    assert (batch - singles).abs().max() <= 1e-3
    assert (batch[:2] - bounded).abs().max() <= 1e-3


def scene(side):
    """A gradient with a bright square."""
    y, x = np.mgrid[:side, :side] * (200 / side)
    array = np.stack([y, x, 200 - y], axis=2).astype(np.uint8)
    array[side // 4 : side // 2, side // 4 : side // 2] = 240
    return EncodedImage.from_array(array)


def hole(side):
    mask = np.zeros((side, side), np.uint8)
    mask[side // 3 : 2 * side // 3, side // 3 : 2 * side // 3] = 255
    return EncodedImage.from_array(mask)


def bands_of_classes(side):
    return EncodedImage.from_array(np.repeat(np.arange(side) // (side // 4), side)
                                   .reshape(side, side).astype(np.uint8))  # fmt: skip


HOW = {"steps": 4, "seed": 3}
REQUESTS = {
    "text": lambda: TextToImage(prompt="a lake at sunset", **HOW),
    "inpaint": lambda: Inpaint(image=scene(128), mask=hole(128), **HOW),
    "semantic": lambda: Semantic(label_map=bands_of_classes(128), **HOW),
    "layout": lambda: Layout(boxes=(Box("house", 0.1, 0.4, 0.4, 0.8),), **HOW),
    "class": lambda: ClassConditional(class_index=1, **HOW),
    "upscale": lambda: Upscale(image=scene(32), **HOW),
}


def image_of(request, folder, **how):
    *_, result = Studio(data_dir=folder, **how).run(request)
    return result.images[0].astype(int)


@pytest.mark.parametrize("name", REQUESTS)
def test_a_task_makes_the_cpus_picture(name, tmp_path):
    """In float32 but for rounding, which may choose another code of a codebook here and there."""
    request = REQUESTS[name]()
    want = image_of(request, tmp_path, device="cpu")
    got = image_of(request, tmp_path, device="cuda", precision="float32")
    away = np.abs(got - want)
    assert away.mean() < 0.1, (away.mean(), away.max())
    assert away.max() <= 16, (away.mean(), away.max())
    half = np.abs(image_of(request, tmp_path, device="cuda") - want)  # as it comes: bfloat16
    assert half.mean() < 8, (half.mean(), half.max())


def test_the_second_picture_is_the_first(tmp_path):
    """The first is launched step by step until a recording is there, the second replayed."""
    studio = Studio(data_dir=tmp_path, device="cuda", precision="float32")
    images = []
    for _ in range(3):
        *_, result = studio.run(REQUESTS["text"]())
        images.append(result.images[0].astype(int))
    assert max(np.abs(image - images[0]).max() for image in images) <= 1


def test_what_a_request_takes_is_known(tmp_path):
    studio = Studio(data_dir=tmp_path, device="cuda")
    studio.load("demo-text-to-image")
    estimate = studio.estimate(REQUESTS["text"]())
    assert 0 < estimate.seconds < 60
    *_, result = studio.run(REQUESTS["text"]())
    assert result.memory_bytes > 0


def test_a_model_that_goes_leaves_nothing(tmp_path):
    studio = Studio(data_dir=tmp_path, device="cuda")
    list(studio.run(REQUESTS["text"]()))  # what libraries keep, they have now
    assert studio.manager.unload("demo-text-to-image")
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    for _ in range(2):
        list(studio.run(REQUESTS["text"]()))
        with studio.manager.use("demo-text-to-image") as model:
            assert len(model.unet.graphs) > 0
        del model
        assert studio.manager.unload("demo-text-to-image")
        gc.collect()
        torch.cuda.empty_cache()
    after = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    assert after[0] - before[0] < 2**20, (before, after)
    assert after[1] - before[1] < 2**23, (before, after)


def test_a_model_goes_when_another_needs_its_room():
    sizes = ModelManager(device="cuda")
    with sizes.use("demo-text-to-image"), sizes.use("demo-semantic"):
        resources = max(sizes.loaded().values())
    manager = ModelManager(device="cuda", memory_budget=resources)
    for name in ("demo-text-to-image", "demo-semantic", "demo-text-to-image"):
        with manager.use(name):
            assert list(manager.loaded()) == [name]


def test_in_float16_a_model_can_be_read_again_in_float32():
    manager = ModelManager(device="cuda")
    manager.dtype = torch.float16  # as on cards that do not compute in bfloat16
    with manager.use("demo-text-to-image") as model, torch.no_grad():
        assert model.dtype == torch.float16
        plain = model.in_float32()
        assert (plain.dtype, plain.device.type) == (torch.float32, "cuda")
        want = pictures(plain, (5,))
        assert (pictures(model, (5,)) - want).abs().mean() < 0.05
