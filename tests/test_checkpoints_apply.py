"""Weights into models: all of them or none, without a second copy."""

import lzma
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ldm.catalog.build import build_first_stage, build_model
from ldm.catalog.compvis import read_architecture
from ldm.catalog.parsing import read_yaml
from ldm.checkpoints.apply import load_files, load_first_stage, load_weights
from ldm.checkpoints.keymaps import to_our_names
from ldm.checkpoints.read import read_checkpoint
from ldm.errors import CheckpointError

TINY = Path(__file__).parent / "reference" / "tiny"
CHURCHES, INPAINTING, FIRST_STAGE = "uncond_kl_churches_ema", "inpainting_concat", "ae_vq_attn"


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    folder = tmp_path_factory.mktemp("apply")

    def unpack(name: str):
        path = folder / f"{name}.ckpt"
        if not path.exists():
            path.write_bytes(lzma.decompress((TINY / name / "model.ckpt.xz").read_bytes()))
        return path, read_architecture(read_yaml(TINY / name / "config.yaml"), name)

    return unpack


def test_a_model_on_the_meta_device_gets_the_files_own_tensors(case):
    path, architecture = case(CHURCHES)
    model = build_model(architecture)
    tensors = to_our_names(read_checkpoint(path), str(path))
    report = load_weights(model, tensors, str(path))
    assert report.loaded == len(model.state_dict())
    assert set(report.ignored) == set(tensors) - set(model.state_dict())
    for name, parameter in model.state_dict().items():
        assert parameter.data_ptr() == tensors[name].data_ptr()  # no second copy


def test_the_files_scale_factor_overrides_the_configuration(case):
    path, architecture = case(CHURCHES)
    model = build_model(architecture)
    assert math.isnan(model.scale_factor)
    load_files(model, [path])
    assert model.scale_factor == load_file(TINY / CHURCHES / "io.safetensors")["fs/scale_factor"]


@pytest.mark.parametrize(("ema", "prefix"), [(True, "unet"), (False, "unet_raw")])
def test_the_chosen_weights_give_the_authors_numbers(case, ema, prefix):
    path, architecture = case(CHURCHES)
    model = build_model(architecture)
    load_files(model, [path], ema=ema)
    golden = load_file(TINY / CHURCHES / "io.safetensors")
    with torch.no_grad():
        eps = model.unet(golden["in/x"], torch.full((2,), 250))
    torch.testing.assert_close(eps, golden[f"{prefix}/t250/eps"], rtol=0, atol=1e-4)


def test_a_conditioner_that_doubles_the_first_stage_is_left_out(case):
    path, architecture = case(INPAINTING)
    model = build_model(architecture)
    report = load_files(model, [path])
    doubled = [name for name in report.ignored if name.startswith("conditioner.")]
    assert len(doubled) == len(model.first_stage.state_dict())
    tensors = to_our_names(read_checkpoint(path), str(path)) | {"conditioner.new": torch.ones(1)}
    with pytest.raises(CheckpointError, match="1 unexpected .first 'conditioner.new'"):
        load_weights(model, tensors, str(path))


def test_a_first_stage_comes_from_its_own_file_or_from_a_whole_models(case):
    for name in (FIRST_STAGE, INPAINTING):
        path, architecture = case(name)
        first_stage = build_first_stage(architecture)
        assert load_first_stage(first_stage, path).loaded == len(first_stage.state_dict())
        image = torch.zeros(1, 3, 32, 32)
        assert first_stage.decode(first_stage.encode(image)).isfinite().all()


def test_a_file_without_a_first_stage_is_an_error(case, tmp_path):
    _, architecture = case(FIRST_STAGE)
    save_file({"model.diffusion_model.out.0.bias": torch.ones(2)}, tmp_path / "u.safetensors")
    with pytest.raises(CheckpointError, match="no first stage"):
        load_first_stage(build_first_stage(architecture), tmp_path / "u.safetensors")


def test_two_files_make_one_model(case, tmp_path):
    path, architecture = case(CHURCHES)
    tensors = {k: t.clone() for k, t in read_checkpoint(path).items()}
    first_stage = {k: t for k, t in tensors.items() if k.startswith("first_stage_model.")}
    rest = {k: t for k, t in tensors.items() if k not in first_stage}
    alone = {k.removeprefix("first_stage_model."): t for k, t in first_stage.items()}
    save_file(alone, tmp_path / "first_stage.safetensors")
    save_file(rest, tmp_path / "model.safetensors")
    model, apart = build_model(architecture), build_model(architecture)
    load_files(model, [path])
    load_files(apart, [tmp_path / "model.safetensors", tmp_path / "first_stage.safetensors"])
    assert apart.scale_factor == model.scale_factor
    for name, tensor in model.state_dict().items():
        assert torch.equal(apart.state_dict()[name], tensor)


def test_weights_are_converted(case):
    path, architecture = case(CHURCHES)
    model = build_model(architecture)
    load_files(model, [path], dtype=torch.float16, device="cpu")
    assert {p.dtype for p in model.parameters()} == {torch.float16}


def faulty(change) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    tensors = {k: torch.full_like(t, 0.5) for k, t in model.state_dict().items()}
    change(tensors)
    return model, tensors


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("1.bias"), "1 weights missing (first 1.bias)"),
        (lambda t: t.update(extra=torch.ones(1)), "1 unexpected (first 'extra')"),
        (lambda t: t.update({"0.bias": torch.ones(7)}), "(first 0.bias: (7,), not (3,))"),
        (lambda t: t["1.weight"].fill_(math.nan), "not a number in 1.weight"),
        (lambda t: t["1.weight"][0].fill_(-math.inf), "infinite or not a number in 1.weight"),
        (lambda t: t.update({"1.bias": torch.ones(2, dtype=torch.int64)}), "torch.int64"),
        (lambda t: t.clear(), "4 weights missing (first 0.weight)"),
    ],
)
def test_a_fault_leaves_the_model_as_it_was(change, words):
    model, tensors = faulty(change)
    before = {k: t.clone() for k, t in model.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_weights(model, tensors, "some.ckpt")
    assert words in str(caught.value)
    assert str(caught.value).startswith("some.ckpt ")
    assert "\n" not in str(caught.value)
    assert all(torch.equal(t, before[k]) for k, t in model.state_dict().items())


def test_numbers_too_large_for_half_precision_are_an_error():
    model, tensors = faulty(lambda t: t["0.weight"].fill_(1e6))
    load_weights(model, tensors, "some.ckpt")
    with pytest.raises(CheckpointError, match="0.weight as torch.float16"):
        load_weights(model, tensors, "some.ckpt", dtype=torch.float16)


def test_only_declared_names_may_be_left_over():
    model, tensors = faulty(
        lambda t: t.update({"betas": torch.ones(1), "loss.disc.w": torch.ones(1)})
    )
    assert load_weights(model, tensors, "some.ckpt").ignored == ("betas", "loss.disc.w")
    with pytest.raises(CheckpointError, match="2 unexpected"):
        load_weights(model, tensors, "some.ckpt", allow=())


@pytest.mark.parametrize(
    "value", [torch.tensor(0.0), torch.tensor(math.nan), torch.ones(2), torch.tensor(1j), None]
)
def test_a_scale_factor_must_be_a_positive_number(case, value):
    path, architecture = case(CHURCHES)
    tensors = to_our_names(read_checkpoint(path), str(path))
    tensors.pop("scale_factor")
    if value is not None:
        tensors["scale_factor"] = value
    model = build_model(architecture)
    with pytest.raises(CheckpointError, match="scale_factor"):
        load_weights(model, tensors, str(path))
    assert model.unet.out[0].weight.is_meta  # nothing half loaded


def test_another_models_file_says_what_does_not_fit(case):
    path, _ = case(INPAINTING)
    _, architecture = case(CHURCHES)
    with pytest.raises(CheckpointError, match="is of another architecture: .* missing .first "):
        load_files(build_model(architecture), [path])
