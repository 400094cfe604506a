"""Folders of weights under `models/`: what a person dropped there, and what was downloaded."""

import errno
import json
import lzma
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from ldm.catalog.build import build_model
from ldm.catalog.compvis import PRESETS_DIR
from ldm.catalog.registry import list_presets, load_preset
from ldm.checkpoints.apply import load_files
from ldm.errors import PresetError

REFERENCE = Path(__file__).parent / "reference"
NO_PRESETS = Path("none")  # to parse those of the project takes most of the time


@pytest.fixture
def models_dir(tmp_path):
    """A `models` folder into which a person dropped a published model."""
    case = REFERENCE / "tiny" / "uncond_kl_churches_ema"
    folder = tmp_path / "models" / "my-churches"
    folder.mkdir(parents=True)
    shutil.copy(case / "config.yaml", folder / "config.yaml")
    content = lzma.decompress((case / "model.ckpt.xz").read_bytes())
    (folder / "model.ckpt").write_bytes(content)
    return tmp_path / "models"


def test_a_dropped_folder_is_listed_and_usable(models_dir):
    preset = next(p for p in list_presets(models_dir) if p.name == "my-churches")
    assert preset == load_preset("my-churches", models_dir)
    assert preset.is_on_disk
    assert (preset.task, preset.width, preset.height) == ("unconditional", 32, 32)
    model = build_model(preset)
    load_files(model, preset.weight_paths)
    with torch.no_grad():
        assert model.unet(torch.zeros(1, 4, 8, 8), torch.tensor([5])).isfinite().all()


def test_another_folder_is_named_in_the_environment(models_dir, caplog):
    code = "from ldm.catalog.registry import load_preset; load_preset('my-churches')"
    environment = os.environ | {"LATENT_CANVAS_MODELS": str(models_dir)}
    command = [sys.executable, "-c", code]
    subprocess.run(command, env=environment, check=True, cwd=PRESETS_DIR.parent)
    list_presets(models_dir, NO_PRESETS)
    assert "no folder" not in caplog.text
    for _ in range(2):
        list_presets(models_dir / "none", NO_PRESETS)
    assert caplog.text.count(f"{models_dir / 'none'} is no folder") == 1


@pytest.mark.parametrize("values", [{"_class_name": []}, {"_class_name": "LDMPipeline", "unet": 3}])
def test_a_folder_that_makes_no_sense_is_left_out(models_dir, values):
    """One bad folder must not take the page down."""
    folder = models_dir / "odd"
    folder.mkdir()
    (folder / "model_index.json").write_text(json.dumps(values))
    for part in ("unet", "vqvae"):
        (folder / part).mkdir()
        about = {"block_out_channels": [32, 64], "down_block_types": 5, "sample_size": 8}
        (folder / part / "config.json").write_text(json.dumps(about | {"latent_channels": 3}))
    with pytest.raises(PresetError, match="odd"):
        load_preset("odd", models_dir)
    assert "odd" not in {preset.name for preset in list_presets(models_dir, NO_PRESETS)}


def test_what_no_task_can_run_is_told_when_the_models_are_listed(models_dir, caplog):
    path = models_dir / "my-churches" / "config.yaml"
    values = yaml.safe_load(path.read_text())
    values["model"]["params"]["unet_config"]["params"]["num_classes"] = 1000
    path.write_text(yaml.safe_dump(values))
    assert "my-churches" not in {preset.name for preset in list_presets(models_dir, NO_PRESETS)}
    assert "unet.num_classes must be left out" in caplog.text
    with pytest.raises(PresetError, match=r"config\.yaml: unet\.num_classes .* got 1000; .*\.$"):
        load_preset("my-churches", models_dir)


def test_a_text_model_without_words_is_told():
    preset = load_preset("demo-text-to-image")
    about = replace(preset.architecture.conditioner, vocabulary=None)
    with pytest.raises(PresetError, match="kind text needs vocabulary"):
        replace(preset, architecture=replace(preset.architecture, conditioner=about))


def test_a_converted_file_comes_before_the_checkpoint(models_dir):
    (models_dir / "my-churches" / "model.safetensors").touch()
    assert load_preset("my-churches", models_dir).weight_path.name == "model.safetensors"


def test_a_converted_download_is_on_disk(models_dir):
    converted = models_dir / "celeba256" / "model.safetensors"
    converted.parent.mkdir()
    converted.touch()
    preset = load_preset("celeba256", models_dir)
    assert preset.weight_path == converted
    assert preset.is_on_disk


def test_other_names_of_config_and_weights_are_found(models_dir):
    folder = models_dir / "my-churches"
    (folder / "config.yaml").rename(folder / "project.yaml")
    (folder / "model.ckpt").rename(folder / "epoch=12.ckpt")
    assert load_preset("my-churches", models_dir).weight_path.name == "epoch=12.ckpt"
    (folder / "epoch=13.ckpt").touch()
    with pytest.raises(PresetError, match="several weight files"):
        load_preset("my-churches", models_dir)


def test_a_broken_folder_is_left_out_of_the_list_and_explained_when_named(models_dir, caplog):
    (models_dir / "my-churches" / "model.ckpt").unlink()
    assert "my-churches" not in {p.name for p in list_presets(models_dir, NO_PRESETS)}
    assert "no weight file" in caplog.text
    with pytest.raises(PresetError, match="no weight file"):
        load_preset("my-churches", models_dir)


def test_a_folder_with_a_shipped_models_name_is_told(models_dir, caplog):
    (models_dir / "my-churches").rename(models_dir / "demo-layout")
    presets = {preset.name: preset for preset in list_presets(models_dir)}
    assert presets["demo-layout"].origin == "shipped"
    assert f"{models_dir / 'demo-layout'} has the name of a shipped model" in caplog.text


def test_whose_model_it_is(models_dir):
    names = ("my-churches", "celeba256", "demo-layout")
    origins = [load_preset(name, models_dir).origin for name in names]
    assert origins == ["own", "published", "shipped"]


def test_a_models_folder_that_may_not_be_looked_into_holds_nothing(models_dir, monkeypatch):
    look = os.stat

    def refuse(path, *args, **kwargs):
        if f"{models_dir}/" in str(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return look(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", refuse)
    presets = {preset.name: preset for preset in list_presets(models_dir)}
    assert not presets["celeba256"].is_on_disk
    assert presets["demo-layout"].is_on_disk


def test_a_published_models_download_folder_is_not_a_second_preset(models_dir):
    (models_dir / "my-churches").rename(models_dir / "celeba256")
    presets = [p for p in list_presets(models_dir) if p.name == "celeba256"]
    assert len(presets) == 1
    assert presets[0].title == "CelebA-HQ faces"
    assert presets[0].is_on_disk
