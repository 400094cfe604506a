"""Folders of the diffusers library in all forms that people have: listed, loaded, or refused."""

import json
import logging
import os
import shutil

import pytest
import torch

from ldm.catalog.hashes import weights_sha256
from ldm.catalog.pipelines import STABLE
from ldm.catalog.registry import list_presets, load_preset
from ldm.diffusion.guidance import classifier_free
from ldm.diffusion.samplers import ddim
from ldm.errors import PresetError
from ldm.runtime.manager import ModelManager
from tests.folder_forms import PARTS, PICKLED, Form, rewrite
from tests.stable_diffusion import HOLE, PROMPT, SCALE, STEPS, TEXT, recorded, start, write_folder

ONE = Form()
SHARDS = Form(shard=2 * 2**20)
FULL = {
    "in shards": SHARDS,
    "non_ema": Form("non_ema"),
    "pickled": Form(suffix=PICKLED),
    "pickled, in shards": Form(suffix=PICKLED, shard=2 * 2**20),
}
HALF = {
    "half": Form("fp16"),
    "half, in shards": Form("fp16", shard=2**20),
    "half, in shards of older names": Form("fp16", shard=2**20, old=True),
    "half, pickled": Form("fp16", PICKLED),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A `models` folder with the model in one file per part, in float32 and in float16."""
    place = tmp_path_factory.mktemp("models")
    write_folder(place / "full", TEXT)
    shutil.copytree(place / "full", place / "half")
    rewrite(place / "half", ONE, torch.float16)
    return place


@pytest.fixture
def copied(models, tmp_path):
    """A copy of the model under another name; gives its folder."""
    return shutil.copytree(models / "full", tmp_path / "other")


def sampled(folder):
    """The latents that a folder's model ends at, and the picture of them.

    Weights are moved out of the mapped file: how sums are rounded depends on where a weight begins
    in memory, to the last bit.
    """
    about = {"device": "cpu", "precision": "float32", "models_dir": folder.parent}
    with ModelManager(prepared=False, **about).use(folder.name) as model, torch.no_grad():
        for weight in model.parameters():
            weight.data = weight.data.clone()
        said, nothing = (model.condition([words]) for words in (PROMPT, ""))
        eps = classifier_free(model.denoise, said, nothing, SCALE)
        *_, last = ddim(eps, start(), model.schedule, steps=STEPS)
        return last.x_t, model.decode(last.x_t)


@pytest.fixture(scope="module")
def expected(models):
    return {name: sampled(models / name) for name in ("full", "half")}


@pytest.mark.parametrize("name", [*FULL, *HALF])
def test_a_folder_in_any_form_samples_what_one_file_does(copied, expected, name):
    is_half = name in HALF
    rewrite(copied, (FULL | HALF)[name], torch.float16 if is_half else torch.float32)
    made = sampled(copied)
    for ours, whole in zip(made, expected["half" if is_half else "full"], strict=True):
        assert torch.equal(ours, whole)
    theirs = recorded(TEXT)  # of the library itself, from full precision
    assert is_half or (made[0] - theirs).abs().max() < 2e-5 * theirs.abs().max()
    assert not torch.equal(expected["half"][0], expected["full"][0])


def test_full_precision_is_read_where_both_are(copied, models, expected):
    for part in PARTS:
        for file in (models / "half" / part).glob("*.safetensors"):
            shutil.copy(file, copied / part / f"{file.stem}.fp16.safetensors")
    assert torch.equal(sampled(copied)[0], expected["full"][0])
    for part in PARTS:
        for file in (models / "full" / part).glob("*.safetensors"):
            (copied / part / file.name).unlink()
    assert torch.equal(sampled(copied)[0], expected["half"][0])


def test_what_the_library_saves_has_these_names(models, tmp_path):
    library = pytest.importorskip("diffusers")
    unet = library.UNet2DConditionModel.from_pretrained(models / "full" / "unet")
    for name, form in {"a": SHARDS, "b": Form("fp16", shard=2 * 2**20), "c": Form("fp16")}.items():
        shutil.copytree(models / "full", tmp_path / "m" / name)
        rewrite(tmp_path / "m" / name, form)
        about = {"variant": form.variant} if form.variant else {}
        about |= {"max_shard_size": form.shard} if form.shard else {}
        unet.save_pretrained(tmp_path / "theirs" / name, **about)
        ours, theirs = (
            sorted(file.name for file in folder.iterdir())
            for folder in (tmp_path / "m" / name / "unet", tmp_path / "theirs" / name)
        )
        assert ours == theirs


def test_the_hash_is_of_the_files_that_are_read(copied, models):
    whole = weights_sha256(load_preset("full", models))
    (copied / "safety_checker").mkdir()
    shutil.copy(copied / "vae" / "config.json", copied / "safety_checker" / "model.safetensors")
    shutil.copy(copied / "vae" / "config.json", copied / "vae" / "model.fp16.safetensors")
    assert weights_sha256(load_preset("other", copied.parent)) == whole
    (unet,) = (copied / "unet").glob("*.safetensors")
    shutil.copy(next((models / "half" / "unet").glob("*.safetensors")), unet)
    assert weights_sha256(load_preset("other", copied.parent)) != whole
    preset = load_preset("other", copied.parent)
    unet.unlink()
    with pytest.raises(PresetError, match="unet has no diffusion_pytorch_model.safetensors"):
        weights_sha256(preset)


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize("kind", STABLE)
def test_the_network_says_what_the_model_is_for_not_the_pipeline_that_saved_it(copied, kind):
    change(copied / "model_index.json", _class_name=kind)
    assert load_preset("other", copied.parent).task == "text-to-image"
    change(copied / "unet" / "config.json", in_channels=9)
    preset = load_preset("other", copied.parent)
    assert (preset.task, preset.architecture.conditioning) == ("inpaint", "hybrid")


def test_a_model_for_holes_is_one_under_any_pipeline(tmp_path):
    write_folder(tmp_path / "m", HOLE)
    wanted = load_preset("m", tmp_path)
    change(tmp_path / "m" / "model_index.json", _class_name=TEXT)
    assert load_preset("m", tmp_path) == wanted


@pytest.mark.parametrize("channels", [8, None, [4]])
def test_other_channels_of_stable_diffusion_are_refused(copied, channels):
    change(copied / "unet" / "config.json", in_channels=channels)
    words = r"in_channels of Stable Diffusion must be 4 \(for sentences\) or 9 \(for holes\), got "
    with pytest.raises(PresetError, match=words):
        load_preset("other", copied.parent)


PRESENT = {
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "feature_extractor": ["transformers", "CLIPImageProcessor"],
    "image_encoder": ["transformers", "CLIPVisionModelWithProjection"],
    "requires_safety_checker": True,
}


@pytest.mark.parametrize("with_folders", [False, True])
@pytest.mark.parametrize("entries", [{}, PRESENT], ids=["null", "present"])
def test_what_a_picture_does_not_need_does_not_matter(copied, models, entries, with_folders):
    change(copied / "model_index.json", **entries)
    for name in ("safety_checker", "feature_extractor", "image_encoder") * with_folders:
        (copied / name).mkdir()
        (copied / name / "config.json").write_text("{}")
        (copied / name / "model.safetensors").write_text("not even weights")
    ours, whole = load_preset("other", copied.parent), load_preset("full", models)
    assert ours.architecture == whole.architecture
    with ModelManager(device="cpu", models_dir=copied.parent).use("other") as model:
        assert model.condition([PROMPT]).context.isfinite().all()


def a_file(folder, part):
    return sorted((folder / part).glob("*model*.safetensors"))[-1]


def without_a_shard(folder):
    rewrite(folder, SHARDS)
    a_file(folder, "text_encoder").unlink()


def with_half_a_shard(folder):
    rewrite(folder, SHARDS)
    file = a_file(folder, "unet")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def with_a_shard_of_another_part(folder):
    rewrite(folder, SHARDS)
    shutil.copy(a_file(folder, "vae"), a_file(folder, "unet"))


def with_a_path(folder):
    rewrite(folder, SHARDS)
    path = folder / "unet" / SHARDS.index("unet")
    about = json.loads(path.read_text())
    about["weight_map"]["conv_in.bias"] = f"../vae/{a_file(folder, 'vae').name}"
    path.write_text(json.dumps(about))


def with_config(part, **changes):
    def edit(folder):
        path = folder / part / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit


def with_a_pipe(folder):
    path = folder / "unet" / "config.json"
    path.unlink()
    os.mkfifo(path)


BROKEN = {
    "no attention": (
        with_config("unet", mid_block_type="UNetMidBlock2D"),
        "mid_block_type must be UNetMidBlock2DCrossAttn, got 'UNetMidBlock2D'",
    ),
    "another autoencoder": (
        with_config("vae", _class_name="AutoencoderTiny"),
        "vae.*: _class_name must be AutoencoderKL or VQModel, got 'AutoencoderTiny'",
    ),
    "other encoder blocks": (
        with_config("vae", down_block_types=["Foo", "Bar"]),
        r"vae.*: down_block_types \['Foo', 'Bar'\] are not known",
    ),
    "no names of blocks": (
        with_config("unet", down_block_types=[["Foo"], {}]),
        r"unet.*: down_block_types \[\['Foo'\], {}\] are not known",
    ),
    "other decoder blocks": (
        with_config("vae", up_block_types=["AttnUpDecoderBlock2D"] * 4),
        "vae.*: up_block_types must be",
    ),
    "a pipe": (with_a_pipe, "unet.config.json is missing or no JSON"),
    "no weights": (lambda f: a_file(f, "vae").unlink(), "vae has no diffusion_pytorch_model.saf"),
    "no part": (lambda f: shutil.rmtree(f / "vae"), "other has no folder vqvae or vae, which"),
    "no text encoder": (lambda f: shutil.rmtree(f / "text_encoder"), "text_encoder.config.json"),
    "no shard": (
        without_a_shard,
        r"\.index\.json names 'model-.*\.safetensors', which is not there",
    ),
    "half a shard": (with_half_a_shard, r"unet.*-of-0000.\.safetensors is cut off: \d+ of \d+"),
    "another part's": (with_a_shard_of_another_part, "unet.*index.json names .* no such weight"),
    "path": (with_a_path, r"names the file '../vae/.*'; it must be one beside the index"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_cannot_be_loaded_is_not_listed_and_says_why(copied, caplog, case):
    spoil, words = BROKEN[case]
    spoil(copied)
    with pytest.raises(PresetError, match=words) as caught:
        load_preset("other", copied.parent)
    assert "\n" not in str(caught.value)
    with caplog.at_level(logging.WARNING):
        assert "other" not in {preset.name for preset in list_presets(copied.parent, copied)}
    assert str(caught.value) in caplog.text


def test_a_shard_that_goes_while_the_model_is_known_is_told(copied):
    rewrite(copied, SHARDS)
    manager = ModelManager(device="cpu", models_dir=copied.parent)
    with manager.use("other"):
        pass
    a_file(copied, "vae").unlink()
    with pytest.raises(PresetError, match="which is not there"), manager.use("other"):
        pass
