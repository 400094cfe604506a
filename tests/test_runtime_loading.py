"""The manager with real presets and weight files."""

import copy
import os
import shutil
from dataclasses import replace

import pytest
import torch

from ldm.catalog.build import build_model
from ldm.catalog.registry import list_presets, load_preset
from ldm.checkpoints.apply import load_files
from ldm.checkpoints.parts import files_of
from ldm.errors import CheckpointError, LDMError, RequestError
from ldm.inference.packed import PackedConv2d
from ldm.inference.prepare import prepare
from ldm.runtime import manager as module
from ldm.runtime.manager import ModelManager


@pytest.fixture
def moved(tmp_path, monkeypatch):
    """The shipped preset of classes, its weight files where a test may replace them."""
    preset = load_preset("demo-class-conditional")
    first_stage = tmp_path / preset.first_stage_path.name
    for file in files(preset):
        shutil.copy(file, tmp_path)
    preset = replace(preset, folder=tmp_path, first_stage_path=first_stage)
    monkeypatch.setattr(module, "load_preset", lambda name, tasks: preset)
    return preset


def files(preset):
    return [file for path in preset.weight_paths for file in files_of(path)]


def replace_file(path):
    """As a training does it: another file moved into its place."""
    other = path.with_suffix(".new")
    shutil.copy(path, other)
    os.utime(other, ns=(1, path.stat().st_mtime_ns + 1))
    os.replace(other, path)


def loaded(manager, name="demo-class-conditional"):
    with manager.use(name) as model:
        return model


def test_a_replaced_weight_file_is_read_at_the_next_use(moved):
    manager = ModelManager(device="cpu", memory_budget=2**40)
    first = loaded(manager)
    assert loaded(manager) is first
    for file in files(moved):  # each part, and the first stage's too
        replace_file(file)
        second = loaded(manager)
        assert second is not first
        first = second
    assert loaded(manager) is first


def test_a_model_in_use_outlives_its_replaced_file(moved):
    manager = ModelManager(device="cpu", memory_budget=2**40)
    with manager.use("a") as first:
        replace_file(files(moved)[0])
        assert loaded(manager) is first
    assert loaded(manager) is not first


def test_a_deleted_file_is_missed_at_the_next_use(moved):
    manager = ModelManager(device="cpu", memory_budget=2**40)
    loaded(manager)
    files(moved)[1].unlink()
    with pytest.raises(CheckpointError, match="is missing"):
        loaded(manager)


def test_a_changed_preset_is_made_anew(moved, monkeypatch):
    manager = ModelManager(device="cpu", memory_budget=2**40)
    first = loaded(manager)
    other = replace(moved, architecture=replace(moved.architecture, prediction="eps"))
    monkeypatch.setattr(module, "load_preset", lambda name, tasks: other)
    assert loaded(manager) is not first


def test_the_real_loader_names_the_missing_file_before_it_makes_room():
    manager = ModelManager(device="cpu", memory_budget=2**40)
    name = next(p.name for p in list_presets() if p.weights.url and not p.is_on_disk)
    with pytest.raises(CheckpointError, match=f"{name} is not on disk: .*ldm download {name}"):
        loaded(manager, name)


def test_a_shipped_model_without_its_first_stage_names_the_training_of_that(monkeypatch):
    preset = load_preset("demo-layout")
    monkeypatch.setattr(module, "is_there", lambda path: path != preset.first_stage_path)
    manager = ModelManager(device="cpu", memory_budget=2**40)
    with pytest.raises(CheckpointError, match="get it with python -m ldm train .*/kl-f4.yaml$"):
        loaded(manager, preset.name)


def test_the_estimate_is_what_the_model_takes(monkeypatch):
    """Bytes counted from the preset alone equal those of the tensors, once all have been used."""
    preset = load_preset("demo-text-to-image")
    monkeypatch.setattr(type(preset), "weight_paths", ())
    manager = ModelManager(device="cpu", memory_budget=2**40)
    model = prepare(build_model(preset, "cpu"), torch.float32)
    with torch.no_grad():
        cond = model.condition(["a lake"])
        model.denoise(torch.zeros(1, 3, 8, 8), torch.tensor([1]), cond)
        model.decode(model.encode(torch.zeros(1, 3, 32, 32)))
    held = sum(p.numel() * 4 for p in model.parameters())
    for layer in model.modules():
        kernel = getattr(layer, "_kernel", None)
        tensors = kernel if isinstance(kernel, tuple) else (kernel,)
        held += sum(t.nbytes for t in tensors if t is not None)
    (unused,) = model.conditioner.transformer.to_logits._kernel  # published, never used
    assert unused.numel() > 0
    assert manager._estimate(preset) == held


def test_precision_is_a_choice():
    assert ModelManager(device="cpu", precision="bfloat16").dtype == torch.bfloat16
    assert ModelManager(device="cpu").dtype == torch.float32
    with pytest.raises(RequestError, match="float32, bfloat16, got 'int8'"):
        ModelManager(device="cpu", precision="int8")


@torch.no_grad()
def test_a_loaded_model_is_the_plain_one_made_fast():
    manager = ModelManager(device="cpu", memory_budget=2**40)
    preset = load_preset("demo-text-to-image")
    plain = build_model(preset)
    load_files(plain, preset.weight_paths, dtype=torch.float32, device="cpu")
    x, t = torch.randn(1, 3, 16, 16), torch.tensor([300])
    with manager.use(preset.name) as fast:
        assert type(fast.unet.input_blocks[0][0]) is PackedConv2d
        for model in (fast, plain):
            model.made = model.decode(model.denoise(x, t, model.condition(["a lake"])))
        torch.testing.assert_close(fast.made, plain.made, rtol=0, atol=1e-4)


def slope(model, along):
    """The derivative of a weighted sum of the noise in x along a direction, and its autograd."""
    generator = torch.Generator().manual_seed(1)
    x, weight = (torch.randn(1, 3, 16, 16, generator=generator) for _ in range(2))
    t, cond = torch.tensor([300]), model.condition(["a lake"])
    with torch.no_grad():
        ends = [(model.denoise(x + far * along, t, cond) * weight).sum() for far in (0.01, -0.01)]
    x.requires_grad_()
    (gradient,) = torch.autograd.grad((model.denoise(x, t, cond) * weight).sum(), x)
    return float(ends[0] - ends[1]) / 0.02, float((gradient * along).sum())


def test_a_plain_model_has_the_right_gradient():
    manager = ModelManager(device="cpu", memory_budget=2**40, prepared=False)
    along = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    with manager.use("demo-text-to-image") as model:
        finite, exact = slope(model, along)
    assert abs(finite) > 1
    assert exact == pytest.approx(finite, rel=0.02)


def test_a_plain_model_can_be_copied_and_trained_and_its_file_stays(moved):
    before = [file.read_bytes() for file in files(moved)]
    manager = ModelManager(device="cpu", memory_budget=2**40, prepared=False)
    with manager.use(moved.name) as model:
        unet = copy.deepcopy(model.unet)
        for network in (unet, model.unet.requires_grad_()):
            optimizer = torch.optim.SGD(network.requires_grad_().parameters(), lr=0.1)
            cond = model.condition(torch.tensor([3]))
            x, t = torch.randn(1, 3, 16, 16), torch.tensor([300])
            network(x, t, context=cond.context).square().mean().backward()
            weight = network.out[2].weight
            old = weight.detach().clone()
            optimizer.step()
            assert not torch.equal(weight, old)
    assert [file.read_bytes() for file in files(moved)] == before


@pytest.mark.parametrize("wants", ["x", "context", "weights", "latents", "picture"])
def test_a_prepared_model_refuses_a_gradient_in_a_sentence(wants):
    with ModelManager(device="cpu", memory_budget=2**40).use("demo-text-to-image") as model:
        x, t = torch.zeros(1, 3, 16, 16), torch.tensor([300])
        cond = model.condition(["a lake"])
        if wants == "context":
            cond = replace(cond, context=cond.context.clone().requires_grad_())
        if wants == "weights":
            model.unet.requires_grad_()
        x.requires_grad_(wants == "x")
        made = {
            "latents": lambda: model.decode(x.requires_grad_()),
            "picture": lambda: model.encode(torch.zeros(1, 3, 32, 32).requires_grad_()),
        }
        with pytest.raises(LDMError, match=r"no gradients; .* ModelManager\(prepared=False\)"):
            made.get(wants, lambda: model.denoise(x, t, cond))()
        with torch.no_grad():
            assert model.denoise(x, t, cond).isfinite().all()


def test_a_prepared_model_cannot_be_broken_by_a_part_of_it():
    with ModelManager(device="cpu").use("demo-class-conditional") as model:
        with pytest.raises(LDMError, match="can be neither converted nor moved"):
            model.conditioner.half()
        assert model.condition(torch.tensor([3])).context.isfinite().all()
