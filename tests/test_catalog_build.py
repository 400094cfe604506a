"""Architectures become networks whose weights are exactly the published ones."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ldm.catalog.architecture import Architecture, FirstStageConfig, ScheduleConfig, UNetConfig
from ldm.catalog.build import build_classifier, build_first_stage, build_model, count_parameters
from ldm.catalog.compvis import read_architecture
from ldm.catalog.parsing import read_yaml
from ldm.catalog.registry import list_presets, load_preset
from ldm.checkpoints.apply import load_weights
from ldm.checkpoints.keymaps import part, to_our_names
from ldm.errors import PresetError

REFERENCE = Path(__file__).parent / "reference"
MANIFESTS = sorted((REFERENCE / "manifests").glob("*.json.gz"))
CLASSIFIERS = ("noisy_classifier_adaptive", "noisy_classifier_attnpool")


def manifest(path: Path) -> dict:
    with gzip.open(path) as file:
        return json.load(file)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda p: p.name.removesuffix(".json.gz"))
def test_every_published_weight_has_its_place(path):
    about = manifest(path)
    architecture = read_architecture({"model": about["model"]}, path.name)
    listed = about["state_dict"] | about.get("loss_state_dict", {})
    published = {k: torch.empty(shape, device="meta") for k, (shape, _) in listed.items()}
    ours = to_our_names(published, path.name)
    if architecture.unet is None:
        model, ours = build_first_stage(architecture), part(ours, "first_stage.")
    else:
        model = build_model(architecture)
    wanted = {name: tensor.shape for name, tensor in model.state_dict().items()}
    assert {name: ours[name].shape for name in wanted} == wanted
    assert all(parameter.is_meta for parameter in model.parameters())


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda p: p.name.removesuffix(".json.gz"))
def test_parameter_counts_equal_the_published_ones(path):
    about = manifest(path)
    counts = about["counts"]
    architecture = read_architecture({"model": about["model"]}, path.name)
    published = counts.get("all_unique_params", counts.get("autoencoder_total"))
    assert count_parameters(architecture) == published


def test_every_preset_states_its_parameters(tmp_path):
    for preset in list_presets(models_dir=tmp_path):
        assert preset.parameters == count_parameters(preset), preset.name


def test_every_preset_builds():
    for preset in list_presets():
        if preset.architecture.unet is None:
            assert build_first_stage(preset).factor == preset.factor
        else:
            model = build_model(preset)
            assert (model.factor, model.size_multiple) == (preset.factor, preset.size_multiple)
            has_tokens = preset.architecture.conditioner.kind in ("text", "clip", "tokens")
            assert (model.tokenizer is not None) == has_tokens
            assert not model.training


@pytest.mark.parametrize("case", CLASSIFIERS)
def test_classifiers_build(case):
    architecture = read_architecture(read_yaml(REFERENCE / "tiny" / case / "config.yaml"), case)
    assert count_parameters(architecture) > 10_000
    assert build_classifier(architecture, "cpu").training is False
    for build in (build_model, build_first_stage):
        with pytest.raises(PresetError, match="the architecture"):
            build(architecture)


def small(**changes: object) -> Architecture:
    unet = UNetConfig(
        in_channels=3,
        out_channels=3,
        model_channels=32,
        num_res_blocks=1,
        attention_resolutions=(),
        channel_mult=(1,),
        num_heads=1,
    )
    return Architecture(first_stage=FirstStageConfig("identity"), unet=unet, **changes)


def test_a_fresh_model_is_real_and_a_meta_model_takes_its_weights():
    fresh, empty = build_model(small(), "cpu"), build_model(small())
    assert all(not parameter.is_meta for parameter in fresh.parameters())
    load_weights(empty, fresh.state_dict(), "memory")
    x, t = torch.ones(1, 3, 8, 8), torch.tensor([1])
    with torch.no_grad():
        assert torch.equal(fresh.unet(x, t), empty.unet(x, t))


def test_a_scale_factor_that_only_the_file_knows_starts_at_one_for_training():
    assert build_model(small(scale_factor=None), "cpu").scale_factor == 1.0
    assert build_model(small(scale_factor=0.5), "cpu").scale_factor == 0.5


@pytest.mark.parametrize("kind", ["scaled_linear", "linear", "cosine"])
def test_the_schedule_is_never_on_the_meta_device(kind):
    schedule = ScheduleConfig(kind=kind, start=0.001, end=0.02, length=50)
    cumprod = build_model(small(schedule=schedule)).schedule.alphas_cumprod
    assert cumprod.device.type == "cpu"
    assert len(cumprod) == 50
    assert bool((cumprod.diff() < 0).all())


def test_the_schedules_ends_are_the_configured_ones():
    about = ScheduleConfig(kind="linear", start=0.25, end=0.5, length=3)
    betas = build_model(small(schedule=about)).schedule.betas
    torch.testing.assert_close(betas, torch.tensor([0.25, 0.375, 0.5]), check_dtype=False)


def test_a_first_stage_is_no_whole_model():
    with pytest.raises(PresetError, match="kl-f4 is no latent diffusion model"):
        build_model(load_preset("kl-f4"))
    with pytest.raises(PresetError, match="has no classifier"):
        build_classifier(small())


def test_building_without_storage_does_not_load_torchs_python_kernels():
    code = (
        "import sys; from ldm.catalog.build import build_model; "
        "from ldm.catalog.registry import load_preset; before = 'torch._refs' in sys.modules; "
        "build_model(load_preset('text2img-large')); "
        "sys.exit(not before and 'torch._refs' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REFERENCE.parents[1])
