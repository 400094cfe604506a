"""The small decoder of previews: what it is, its training, and how good the shipped ones are."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ldm.catalog.registry import load_preset
from ldm.data.rendering import render
from ldm.data.scenes import sample
from ldm.errors import PresetError, TrainingError
from ldm.evaluation.held_out import held_out
from ldm.models.preview import PreviewDecoder
from ldm.runtime.manager import ModelManager, _source
from ldm.training import preview
from ldm.training.config import DataConfig, OptimizerConfig, TrainConfig
from ldm.training.loop import train
from ldm.training.world import World

SCENES = 12


def test_a_preview_has_the_pixels_of_its_cells():
    decoder = PreviewDecoder(4, 8)
    assert decoder(torch.randn(2, 4, 3, 5)).shape == (2, 3, 24, 40)


def test_a_colour_depends_on_the_whole_picture_and_a_shape_on_what_is_near():
    torch.manual_seed(0)
    decoder, z = PreviewDecoder(3, 4), torch.randn(1, 3, 16, 16)
    far = z.clone()
    far[..., -1, -1] += 10
    same = far.clone()  # of the same mean, so that only the neighbourhood differs
    same[..., -1, -2] -= 10
    before, after, moved = (decoder(x)[..., :40, :40] for x in (z, far, same))
    assert not torch.allclose(before, after, atol=1e-4)
    assert torch.allclose(before, moved, atol=1e-5)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run on two scenes, which writes to a folder of the test."""
    images = np.stack([render(sample(np.random.default_rng(i))).image for i in range(2)])
    world = World(images, np.zeros(images.shape[:3], np.uint8), [{}, {}])
    shipped = load_preset("demo-kl-f4")
    there = dataclasses.replace(shipped, preview_path=tmp_path / "preview.safetensors")
    monkeypatch.setattr(preview, "load_preset", lambda name: there)
    about = {"data": DataConfig(folder=tmp_path), "optimizer": OptimizerConfig(0.003, 0, 0)}
    config = TrainConfig("preview", "demo-kl-f4", 60, 2, precision="no", **about)
    return preview.PreviewRun(config, world, world), config, there.preview_path


def test_a_run_learns_the_pictures_and_writes_what_is_loaded(run, tmp_path):
    made, config, path = run
    batch = made.batch(np.random.default_rng(0), 2)
    before = made.loss(made.model, batch)["loss"].item()
    train(made, config, tmp_path / "run", resume=False)
    assert made.loss(made.model, batch)["loss"].item() < 0.5 * before
    assert list((tmp_path / "run").glob("*.png"))
    decoder = ModelManager(device="cpu")._preview_decoder(load_preset("demo-kl-f4"), path)
    assert decoder(torch.zeros(1, 3, 4, 4)).shape == (1, 3, 16, 16)


def test_a_first_stage_without_a_preview_trains_none(monkeypatch):
    about = dataclasses.replace(load_preset("demo-kl-f4"), preview_path=None)
    monkeypatch.setattr(preview, "load_preset", lambda name: about)
    with pytest.raises(TrainingError, match=r"^demo-kl-f4 has no preview"):
        preview.make_run(TrainConfig("preview", "demo-kl-f4", 1, 1))


def test_a_first_stage_without_a_preview_is_no_start_of_one(monkeypatch):
    monkeypatch.setattr(preview, "open_worlds", None)  # it is told before anything is drawn
    with pytest.raises(TrainingError, match=r"^kl-f4 has no preview"):
        preview.make_run(TrainConfig("preview", "demo-kl-f4", 1, 1, start_from="kl-f4"))


def test_a_preview_is_a_file_beside_the_weights():
    about = load_preset("demo-kl-f4")
    assert about.preview_path == about.folder / "demo-kl-f4-preview.safetensors"
    assert load_preset("demo-text-to-image").preview_path == about.preview_path
    assert load_preset("kl-f4").preview_path is None
    for wrong in ("../other.safetensors", "..", ".", ""):
        with pytest.raises(PresetError, match="preview must be a name"):
            dataclasses.replace(about, preview=wrong)


def test_a_model_without_its_preview_draws_with_the_linear_map(monkeypatch):
    about = load_preset("demo-text-to-image")
    manager = ModelManager(device="cpu")
    gone = dataclasses.replace(about, preview_path=about.folder / "gone.safetensors")
    assert manager._load_files(about).preview_decoder is not None
    assert manager._load_files(gone).preview_decoder is None


def test_a_preview_is_no_part_of_the_model_that_it_shows():
    about = load_preset("demo-text-to-image")
    plain = ModelManager(device="cpu", prepared=False)._load_files(about)
    assert plain.preview_decoder is not None
    assert not [name for name in plain.state_dict() if "preview" in name]
    assert plain.preview(torch.zeros(1, 3, 4, 4), 16).shape == (1, 3, 16, 16)


def test_a_damaged_preview_costs_previews_and_no_model(tmp_path, caplog):
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"nothing")
    about = dataclasses.replace(load_preset("demo-text-to-image"), preview_path=path)
    assert ModelManager(device="cpu")._load_files(about).preview_decoder is None
    assert "previews of demo-text-to-image are rougher" in caplog.text


def test_a_new_preview_is_taken_up_by_an_app_that_runs(tmp_path):
    path = tmp_path / "a.safetensors"
    about = dataclasses.replace(load_preset("demo-text-to-image"), preview_path=path)
    sources = [_source(about)]
    for content in (b"one", b"other"):
        path.write_bytes(content)
        sources.append(_source(about))
    assert len(set(sources)) == 3


@torch.no_grad()
@pytest.mark.parametrize("name", ["demo-text-to-image", "demo-upscale-bsr"])
def test_shipped_previews_have_the_colours_of_the_picture(name):
    """The linear map is 20 of 255 levels away, with meadows that are grey."""
    images = held_out(SCENES).images
    with ModelManager(device="cpu").use(name) as model:
        z = model.encode(images)
        truth, drawn = model.decode(z).float(), model.preview(z, 128).float()
        model.preview_decoder = None
        linear = model.preview(z, 128).float()

    def levels(made):
        difference = F.avg_pool2d(made, 16) - F.avg_pool2d(truth, 16)
        return 127.5 * float(difference.square().mean().sqrt())

    assert levels(drawn) < 5
    assert levels(linear) > 2 * levels(drawn)
