"""A model of one's own pictures: set up, trained for two steps, loaded and sampled."""

import dataclasses
import functools
import os
import re

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from ldm.catalog import registry
from ldm.catalog.registry import load_preset
from ldm.checkpoints.read import read_checkpoint
from ldm.cli import main
from ldm.errors import LDMError, PresetError, TrainingError
from ldm.requests import ClassConditional, Inpaint, TextToImage, Upscale
from ldm.runtime import manager
from ldm.studio import Studio
from ldm.training import autoencoder, diffusion, pictures
from ldm.training.config import DataConfig, LossConfig, TrainConfig, load_config
from ldm.training.loop import train
from ldm.training.own import create
from ldm.training.pictures import open_pictures
from tests.test_tasks_images import picture

COMMON = {"preset": "mine", "steps": 2, "seed": 1}
SIZED = COMMON | {"width": 32, "height": 32}
REQUESTS = {
    "demo-text-to-image": lambda: TextToImage(prompt="a Red thing", **SIZED),
    "demo-class-conditional": lambda: ClassConditional(class_index=1, **SIZED),
    "demo-ddpm": lambda: ClassConditional(**SIZED),
    "demo-inpaint": lambda: Inpaint(image=picture(32, 32), outpaint_left=16, **COMMON),
    "demo-inpaint-words": lambda: Inpaint(
        image=picture(32, 32), outpaint_left=16, prompt="a Red thing", **COMMON
    ),
    "demo-upscale-bsr": lambda: Upscale(image=picture(16, 16), **COMMON),
}


@pytest.fixture
def folder(tmp_path):
    """Two classes of 20 pictures, each with a sentence, and one file that is none."""
    rng = np.random.default_rng(0)
    for number in range(40):
        colour = ("red", "blue")[number % 2]
        path = tmp_path / "mine" / colour / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = rng.integers(60, size=(40, 50, 3), dtype=np.uint8)
        noise[..., 2 * (number % 2)] += 150
        Image.fromarray(noise).save(path)
        path.with_suffix(".txt").write_text(f"a {colour} thing, number {number}\nan other line\n")
    (tmp_path / "mine" / "red" / "broken.png").write_text("none")
    path.rename(path.with_name("a name\nof two lines.png"))
    path.with_suffix(".txt").rename(path.with_name("a name\nof two lines.txt"))
    return tmp_path / "mine"


@pytest.fixture
def models(tmp_path, monkeypatch):
    """The folder of models of this test alone, for all that looks a preset up by its name."""
    there = tmp_path / "models"
    known = functools.partial(registry.load_preset, models_dir=there)
    for module in (autoencoder, diffusion, manager):
        monkeypatch.setattr(module, "load_preset", known)
    monkeypatch.setattr(diffusion, "SAMPLE_STEPS", 2)
    return there


def two_steps(path, make_run):
    """The run that a configuration describes, but two small steps of it."""
    config = load_config(path)
    size = min(32, config.data.size)
    data = dataclasses.replace(config.data, size=size, crop=config.data.crop and 16)
    config = dataclasses.replace(config, steps=2, batch_size=2, precision="no", data=data)
    train(make_run(config), config, config.runs / path.stem, resume=False)


@pytest.mark.parametrize("like", REQUESTS)
def test_it_is_set_up_trained_and_makes_a_picture(folder, models, like, tmp_path):
    path = create("mine", like, folder, models_dir=models)
    before = load_preset("mine", models)
    assert (before.is_own, before.is_on_disk, before.task) == (True, False, load_preset(like).task)
    assert before.how_to_get == f"python -m ldm train {path}"
    assert (before.words, before.defaults.scale) == ((), 1)  # they are of the landscapes
    two_steps(path, diffusion.make_run)
    assert load_preset("mine", models).is_on_disk
    assert (models / "mine" / "train" / "samples-000002.png").exists()
    *_, result = Studio(out_dir=tmp_path / "out", device="cpu").run(REQUESTS[like]())
    assert result.requests[0].preset == "mine"
    assert result.images[0].std() > 0


@pytest.mark.parametrize("like", ["demo-kl-f4", "demo-vq-f4"])
def test_a_first_stage_begins_with_the_weights_of_its_like(folder, models, like):
    path = create("eyes", like, folder, models_dir=models)
    config = load_config(path)
    ours = autoencoder.make_run(config).model.first_stage.state_dict()
    theirs = read_checkpoint(load_preset(like).weight_path)
    assert all(np.array_equal(ours[name], theirs[name].float()) for name in ours)
    two_steps(path, autoencoder.make_run)
    # and another model may stand on it
    create("mine", "demo-upscale-bicubic", folder, first_stage="eyes", models_dir=models)
    assert load_preset("mine", models).first_stage_path == models / "eyes" / "model.safetensors"


@pytest.fixture
def whole(folder, models):
    """A model of one's own that holds its first stage itself, as the published ones do."""
    path = create("whole", "demo-upscale-bicubic", folder, models_dir=models)
    preset = path.with_name("preset.yaml")
    values = yaml.safe_load(preset.read_text())
    eyes = yaml.safe_load(registry.preset_file("demo-vq-f4").read_text())
    values["architecture"]["first_stage"] = eyes["architecture"]["first_stage"]
    preset.write_text(yaml.safe_dump(values))
    return path


def test_a_first_stage_in_the_weights_of_its_like_is_in_its_own_as_well(
    folder, models, whole, tmp_path
):
    two_steps(whole, diffusion.make_run)
    two_steps(create("mine", "whole", folder, models_dir=models), diffusion.make_run)
    ours = read_checkpoint(models / "mine" / "model.safetensors")
    theirs = read_checkpoint(load_preset("demo-vq-f4").weight_path)
    kept = {name: tensor for name, tensor in ours.items() if name.startswith("first_stage_model.")}
    assert len(kept) == len(theirs)
    assert all(torch.equal(kept[f"first_stage_model.{name}"], theirs[name]) for name in theirs)
    *_, result = Studio(out_dir=tmp_path / "out", device="cpu").run(REQUESTS["demo-upscale-bsr"]())
    assert result.images[0].std() > 0
    # and the model goes on from its own file
    again = dataclasses.replace(load_config(models / "mine" / "train.yaml"), start_from="mine")
    assert diffusion.make_run(again).preset.holds_first_stage


def test_no_model_is_trained_on_a_random_first_stage(folder, models, whole):
    config = load_config(whole)
    with pytest.raises(TrainingError, match="whole names no preset of a first stage, .*start_from"):
        diffusion.make_run(dataclasses.replace(config, start_from=None))
    for like, says in (
        ("whole", f"python -m ldm train {whole}, or name another one with --first-stage"),
        ("inpainting-big", "python -m ldm download inpainting-big, or name"),
    ):
        with pytest.raises(TrainingError, match=f"{like} holds its first stage in .* {says}"):
            create("mine", like, folder, models_dir=models)
    assert not (models / "mine").exists()
    path = create("mine", "whole", folder, first_stage="demo-vq-f4", models_dir=models)
    assert not load_preset("mine", models).holds_first_stage
    assert diffusion.make_run(load_config(path)).preset.name == "mine"


def test_a_class_is_a_folder_and_a_word_is_one_of_a_sentence(folder, models):
    create("kinds", "demo-class-conditional", folder, models_dir=models)
    kinds = load_preset("kinds", models)
    assert (kinds.classes, kinds.null_class, kinds.class_count) == (("blue", "red"), 2, 2)
    create("words", "demo-text-to-image", folder, models_dir=models)
    words = (models / "words" / "vocabulary.txt").read_text().split()
    assert words[:6] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ","]
    assert {"red", "thing", "39", "other"} < set(words)
    assert load_preset("words", models).architecture.conditioner.vocab_size == len(words)


def test_paths_may_be_text(folder, models):
    path = create("mine", "demo-inpaint", str(folder), models_dir=str(models))
    assert path == models / "mine" / "train.yaml"
    assert load_config(path).data.pictures == folder.resolve()


def test_the_command_line_tells_what_comes_next(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = ["--like", "demo-inpaint", "--pictures", str(folder)]
    assert main(["new", "mine", *flags]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "models/mine/preset.yaml",
        "models/mine/train.yaml",
        "Train it: python -m ldm train models/mine/train.yaml",
    ]
    assert main(["presets"]) == 0
    assert re.search(r"^mine .*train models/mine/train\.yaml", capsys.readouterr().out, re.M)
    assert main(["new", "mine", *flags]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("about", "says"),
    [
        (("A b", "demo-inpaint"), "name must be small letters, .*, got 'A b'"),
        (("../x", "demo-inpaint"), "name must be"),
        *(
            ((name, "demo-inpaint"), rf"must not end with a dot or .*, got '{re.escape(name)}'\.$")
            for name in ("roses.", "con", "aux.2", "com1", "lpt9.safetensors")
        ),
        (("demo-inpaint", "demo-inpaint"), "there is a model 'demo-inpaint' already"),
        (("taken", "demo-inpaint"), "there is a model 'taken' already"),
        (("mine", "demo-layout"), "demo-layout does layout; from pictures are trained first-stage"),
        (("mine", "demo-inpain"), "did you mean demo-inpaint"),
    ],
)
def test_a_name_or_a_task_that_does_not_do_is_a_sentence(folder, models, about, says):
    (models / "taken").mkdir(parents=True)
    with pytest.raises(LDMError, match=says):
        create(*about, folder, models_dir=models)
    assert [path.name for path in models.iterdir()] == ["taken"]


@pytest.mark.parametrize("name", ["console", "com0", "com10", "a.con", "lpt"])
def test_a_name_that_begins_or_ends_like_a_device_is_one(folder, models, name):
    assert create(name, "demo-inpaint", folder, models_dir=models).is_file()


@pytest.mark.parametrize("other", ["demo-inpaint", "vq-f8", "celeba256", "none"])
def test_a_first_stage_that_does_not_go_with_it_leaves_nothing_behind(folder, models, other):
    with pytest.raises(PresetError):
        create("mine", "demo-upscale-bicubic", folder, first_stage=other, models_dir=models)
    assert not (models / "mine").exists()


def test_pictures_that_do_not_do_are_a_sentence(folder, models):
    for path in folder.rglob("*.txt"):
        path.unlink()
    for like in ("demo-text-to-image", "demo-inpaint-words"):
        with pytest.raises(TrainingError, match="no picture has a sentence"):
            create("mine", like, folder, models_dir=models)
    with pytest.raises(TrainingError, match="lies in no folder; put each picture into"):
        create("mine", "demo-class-conditional", folder / "red", models_dir=models)
    assert not (models / "mine").exists()


@pytest.mark.parametrize("name", [b"bl\xe4u", b"${oc.env:HOME}", b"???"])
def test_a_folder_whose_name_no_preset_can_hold_is_a_sentence(folder, models, name):
    renamed = folder / os.fsdecode(name)
    (folder / "blue").rename(renamed)
    says = re.escape(f"got {renamed.name!r}; rename it.")
    with pytest.raises(TrainingError, match=f"class's folder must be UTF-8 .*{says}"):
        create("mine", "demo-class-conditional", folder, models_dir=models)
    if name != b"???":
        with pytest.raises(TrainingError, match="the path of the pictures must be UTF-8"):
            create("mine", "demo-upscale-bsr", renamed, models_dir=models)
    assert not (models / "mine").exists()
    create("mine", "demo-text-to-image", folder, models_dir=models)  # it knows no classes


def test_a_class_that_the_model_does_not_have_is_a_sentence(folder, models):
    path = create("mine", "demo-class-conditional", folder, models_dir=models)
    (folder / "blue").rename(folder / "green")
    with pytest.raises(TrainingError, match="mine has no class 'green'; .* blue, red"):
        two_steps(path, diffusion.make_run)


def test_pictures_are_read_once_and_none_is_in_both_parts(folder, tmp_path, monkeypatch):
    about = DataConfig(pictures=folder, size=64, folder=tmp_path / "cache")
    world, held_out = open_pictures(folder, about)
    assert world.images.shape == (len(world), 64, 64, 3)
    assert len(world) + len(held_out) == 40
    assert world.key != held_out.key
    with monkeypatch.context() as patch:
        patch.setattr(pictures.folders, "read_all", None)  # kept from the first time
        again, _ = open_pictures(folder, about)
    assert np.array_equal(again.images, world.images)
    assert [one["class"] for one in again.about] == [one["class"] for one in world.about]
    assert again.about[0]["captions"][1] == "an other line"
    # all of them, however few scenes of the procedural world a run would see
    some, seen = open_pictures(folder / "red", dataclasses.replace(about, scenes=2))
    assert len(some) + len(seen) == 20


def test_what_needs_the_procedural_world_is_a_sentence(folder):
    with pytest.raises(TrainingError, match=r"data\.zoom needs the procedural world"):
        DataConfig(pictures=folder, zoom=2)
    with pytest.raises(TrainingError, match=r"data\.pairs needs the procedural world"):
        DataConfig(pictures=folder, pairs=True)
    data = DataConfig(pictures=folder)
    loss = LossConfig(object_weights={"tree": 2})
    with pytest.raises(TrainingError, match=r"loss\.object_weights needs the procedural world"):
        TrainConfig("latent_diffusion", "demo-inpaint", 1, 1, data=data, loss=loss)
    config = TrainConfig("latent_diffusion", "demo-semantic", 1, 1, data=data)
    with pytest.raises(TrainingError, match="does semantic, which pictures alone do not teach"):
        diffusion.make_run(config)


def test_files_of_a_preset_of_ones_own_stay_in_its_folder(folder, models):
    path = create("mine", "demo-text-to-image", folder, models_dir=models).with_name("preset.yaml")
    values = yaml.safe_load(path.read_text())
    for key, value in (("classes_file", "../x"), ("weights", {"file": "/etc/x"})):
        path.write_text(yaml.safe_dump(values | {key: value}))
        with pytest.raises(PresetError, match=f"{value['file'] if key == 'weights' else value}"):
            load_preset("mine", models)
    for file in ("/etc/passwd", "C:/passwd", "C:passwd", r"\passwd", r"..\passwd", "a/../passwd"):
        values["architecture"]["conditioner"]["vocabulary"] = file
        path.write_text(yaml.safe_dump(values))
        with pytest.raises(PresetError, match="files must lie beside it"):
            load_preset("mine", models)
