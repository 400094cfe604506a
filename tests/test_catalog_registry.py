"""Presets: every published model is there, and the faults of a YAML file are told by its name."""

import gzip
import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import ListConfig

from ldm.catalog import parsing
from ldm.catalog.architecture import Architecture
from ldm.catalog.compvis import PRESETS_DIR, preset_values
from ldm.catalog.parsing import parse, read_yaml
from ldm.catalog.registry import list_presets, load_preset
from ldm.catalog.schema import TASKS
from ldm.errors import PresetError
from ldm.requests.shared_fields import SAMPLER_NAMES

REFERENCE = Path(__file__).parent / "reference"
PUBLISHED = {
    "bsr-sr": "ldm-bsr_sr",
    "celeba256": "ldm-celeba256",
    "cin256": "ldm-cin256",
    "cin256-v2": "ldm-cin256-v2",
    "ffhq256": "ldm-ffhq256",
    "inpainting-big": "ldm-inpainting_big",
    "layout2img-openimages256": "ldm-layout2img-openimages256",
    "lsun-beds256": "ldm-lsun_beds256",
    "lsun-churches256": "ldm-lsun_churches256",
    "semantic-synthesis256": "ldm-semantic_synthesis256",
    "semantic-synthesis512": "ldm-semantic_synthesis512",
    "text2img-large": "ldm-txt2img-1p4B-eval",
    "text2img256": "ldm-text2img256",
    **{
        name: f"fs-{name}"
        for name in (
            "kl-f4", "kl-f8", "kl-f16", "kl-f32",
            "vq-f4", "vq-f4-noattn", "vq-f8", "vq-f8-n256", "vq-f16",
        )
    },
}  # fmt: skip
OWN_YAML = """
title: Mine
task: unconditional
width: 32
height: 32
weights: {file: mine.safetensors}
architecture:
  unet:
    in_channels: 3
    out_channels: 3
    model_channels: 32
    num_res_blocks: 1
    attention_resolutions: [2]
    channel_mult: [1, 2]
    num_heads: 2
  first_stage: {kind: vq, n_embed: 16, ch: 32, ch_mult: [1, 1], num_res_blocks: 1}
"""


def config_of(manifest: str) -> dict:
    with gzip.open(REFERENCE / "manifests" / f"{manifest}.json.gz") as file:
        return {"model": json.load(file)["model"]}


@pytest.fixture
def own(tmp_path):
    """A folder of presets with one that a test may change."""

    def write(text: str, name: str = "mine") -> Path:
        (tmp_path / "demo").mkdir(exist_ok=True)
        (tmp_path / "demo" / f"{name}.yaml").write_text(text)
        return tmp_path

    return write


def test_every_published_model_has_a_preset():
    manifests = {p.name.removesuffix(".json.gz") for p in (REFERENCE / "manifests").glob("*.gz")}
    assert set(PUBLISHED.values()) == manifests - {"rdm-768x768"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_preset_equals_the_published_configuration(name):
    preset = load_preset(name)
    theirs = preset_values(config_of(PUBLISHED[name]), name)
    assert preset.architecture == parse(Architecture, theirs["architecture"], name)
    assert (preset.task, preset.width, preset.height) == (
        theirs["task"],
        theirs["width"],
        theirs["height"],
    )


def test_every_preset_can_be_used():
    presets = list_presets()
    assert {preset.name for preset in presets} >= set(PUBLISHED)
    assert len({preset.name for preset in presets}) == len(presets)
    for preset in presets:
        assert preset.task in TASKS
        assert preset.title
        assert preset.licence
        assert preset.defaults.sampler in SAMPLER_NAMES
        assert preset.defaults.steps < 1000
        assert preset.folder.name in ("demo", preset.name)
        url = preset.weights.url
        is_published = preset.name in PUBLISHED or preset.name.startswith("stable-diffusion-")
        assert url.startswith("https://") if is_published else url is None


def test_guidance_is_on_only_where_a_model_knows_the_empty_condition():
    guided = {p.name for p in list_presets() if p.defaults.guidance_scale > 1}
    assert guided >= {"text2img-large", "cin256-v2"}
    assert guided.isdisjoint({"cin256", "layout2img-openimages256", "celeba256"})


def test_shipped_presets_name_a_vocabulary_that_is_there():
    for preset in list_presets():
        vocabulary = preset.architecture.conditioner.vocabulary
        assert vocabulary is None or vocabulary.is_relative_to(PRESETS_DIR)
    assert load_preset("text2img-large").architecture.conditioner.vocabulary.is_file()


def test_an_unknown_name_gets_the_nearest_ones():
    with pytest.raises(PresetError, match="did you mean .*text2img-large"):
        load_preset("text2img-lagre")
    with pytest.raises(PresetError, match="must be one of .*celeba256"):
        load_preset("zzzz")
    with pytest.raises(PresetError, match="one of demo-layout, layout2img[^ ]*, got 'zzzz'"):
        load_preset("zzzz", tasks=["layout"])
    with pytest.raises(PresetError, match="did you mean demo-layout.$"):
        load_preset("demo-inpait-layout", tasks=["layout"])


def test_the_catalog_needs_no_torch():
    code = (
        "import sys; from ldm.catalog.registry import list_presets; "
        "from ldm.catalog.hashes import weights_sha256; list_presets(); "
        "sys.exit(bool({'torch', 'transformers', 'tokenizers', 'cv2'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PRESETS_DIR.parent)


def test_a_folder_without_a_configuration_is_an_error(tmp_path):
    (tmp_path / "mine" / "config.yaml").mkdir(parents=True)
    with pytest.raises(PresetError, match="mine has no file config.yaml or project.yaml"):
        load_preset("mine", models_dir=tmp_path)


def test_own_presets_lie_beside_their_weights(own, tmp_path):
    preset = load_preset("mine", presets_dir=own(OWN_YAML))
    assert preset.weight_paths == (tmp_path / "demo" / "mine.safetensors",)
    assert not preset.is_on_disk
    preset.weight_path.touch()
    assert preset.is_on_disk
    assert (preset.factor, preset.size_multiple) == (2, 4)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("model_channels: 32", "model_chanels: 32", "model_chanels"),
        ("model_channels: 32", "model_channels: many", "architecture.unet.model_channels"),
        ("model_channels: 32", "model_channels: 40", "multiples of 32, got 40"),
        ("    model_channels: 32\n", "", "model_channels"),
        ("channel_mult: [1, 2]", "channel_mult: [2, 2]", "must start with 1"),
        ("channel_mult: [1, 2]", "channel_mult: []", "1 to 8 numbers of 1 to 64"),
        ("num_heads: 2", "num_heads: 2\n    num_head_channels: 8", "exactly one of"),
        ("num_heads: 2", "num_heads: 2\n    context_dim: 8", "use_spatial_transformer"),
        ("out_channels: 3", "out_channels: 4", "must equal"),
        ("num_heads: 2", "num_heads: 2\n    num_classes: 7", "must be left out, got 7"),
        ("task: unconditional", "task: inpaint", "kind none does unconditional"),
        ("task: unconditional", "task: first-stage", "task first-stage does not go with"),
        ("kind: vq", "kind: vae", "kl, vq, identity"),
        ("n_embed: 16, ", "", "n_embed"),
        ("task: unconditional", "task: dream", "text-to-image"),
        ("width: 32", "width: 33", "multiples of 4 px, got 33 x 32"),
        ("width: 32", "width: 0", "width must be 1 to 4096, got 0"),
        ("title: Mine", "name: mine", "must not be given"),
        ("title: Mine", "title: [", "no readable YAML"),
        ("title: Mine", "title: Mine\ncolour: red", "colour"),
        ("title: Mine", "title: Mine\nwords: [fog]", "words must be lines like"),
        ("title: Mine", "title: Mine\nwords: ['Sky: fog, ']", "words must be lines like"),
        ("width: 32", "width: 4096\ndefaults: {scale: 2}", "must be at most 4096 px, got 8192"),
        (
            "title: Mine",
            "title: Mine\ndefaults: {scale: 9}",
            "defaults.scale must be 1 to 4, got 9",
        ),
        ("title: Mine", "title: ${oc.env:HOME}", "written out"),
        ("{kind: vq,", "{preset: mine, kind: vq,", "must name one other preset"),
    ],
)
def test_a_fault_names_the_file_and_the_key(own, old, new, words):
    assert old in OWN_YAML
    folder = own(OWN_YAML.replace(old, new))
    with pytest.raises(PresetError) as caught:
        load_preset("mine", presets_dir=folder)
    message = str(caught.value)
    assert "mine.yaml" in message
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("conditioner", "words"),
    [
        ("{kind: text, n_embed: 8}", "needs"),
        ("{kind: class, n_classes: 3, embed_dim: 8, n_layer: 2}", "has no n_layer"),
        ("{kind: magic}", "must be one of none, text"),
        ("{kind: identity}", "does not go with"),
    ],
)
def test_a_conditioner_has_the_fields_of_its_kind(own, conditioner, words):
    folder = own(OWN_YAML + f"  conditioner: {conditioner}\n")
    with pytest.raises(PresetError, match=words):
        load_preset("mine", presets_dir=folder)


def test_a_yaml_file_that_stands_for_millions_of_values_is_refused(own):
    layers = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    folder = own("a0: &a0 [x, x]\n" + "\n".join(layers))
    with pytest.raises(PresetError, match="stands for more than"):
        load_preset("mine", presets_dir=folder)


def test_a_first_stage_can_be_another_presets(own):
    stage = OWN_YAML.replace("unconditional", "first-stage").replace("mine", "stage")
    stage = stage[: stage.index("  unet:")] + stage[stage.index("  first_stage:") :]
    own(stage, "stage")
    folder = own(OWN_YAML[: OWN_YAML.index("{kind: vq")] + "{preset: stage}\n")
    preset, other = (
        load_preset("mine", presets_dir=folder),
        load_preset("stage", presets_dir=folder),
    )
    assert preset.architecture.first_stage == other.architecture.first_stage
    assert preset.first_stage_preset == "stage"
    assert preset.weight_paths == (folder / "demo" / "mine.safetensors", *other.weight_paths)
    preset.weight_path.touch()
    assert not preset.is_on_disk
    other.weight_path.touch()
    assert preset.is_on_disk
    (folder / "demo" / "stage.yaml").unlink()
    with pytest.raises(PresetError, match="it needs the first stage 'stage', which is not there"):
        load_preset("mine", presets_dir=folder)


def test_a_key_that_stands_twice_is_an_error(own):
    folder = own(OWN_YAML + "title: Other\n")
    with pytest.raises(PresetError, match=r"mine\.yaml .*the key 'title' stands there twice"):
        load_preset("mine", presets_dir=folder)


def test_a_merge_key_may_be_overruled_and_used_again(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("base: &b {x: 1}\nw: {y: &a {<<: *b, x: 2}}\nz: {<<: *a}\n1: a\n'1': b\n")
    assert read_yaml(path)["w"] == {"y": {"x": 2}}
    path.write_text("a: [{x: 1, y: 2, x: 3}]")
    with pytest.raises(PresetError, match="the key 'x' stands there twice"):
        read_yaml(path)


def test_an_unknown_key_is_an_error_that_names_the_known_ones(own):
    folder = own(OWN_YAML.replace("width: 32", "widht: 32"))
    with pytest.raises(
        PresetError, match=r"widht: unknown key; known are .*width, height"
    ) as caught:
        load_preset("mine", presets_dir=folder)
    assert "is_own" not in str(caught.value)  # which is worked out


def test_an_unreadable_file_is_an_error(tmp_path):
    for content in (b"\xff\xfe\x00\x01", b"- a\n- b\n", b"a: " + b"[" * 5000, bytes(300_000)):
        path = tmp_path / "c.yaml"
        path.write_bytes(content)
        with pytest.raises(PresetError, match=r"c\.yaml") as caught:
            read_yaml(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "count", "known"),
    [
        (
            "semantic-synthesis256",
            182,
            {0: "person", 105: "clouds", 156: "sky-other"},
        ),
        ("semantic-synthesis512", 182, {134: "mountain", 168: "tree", 181: "wood"}),
        ("cin256", 1000, {0: "tench", 281: "tabby cat", 970: "alp", 999: "toilet paper"}),
        ("cin256-v2", 1000, {207: "Golden Retriever", 933: "cheeseburger", 980: "volcano"}),
    ],
)
def test_published_models_name_their_classes(name, count, known):
    preset = load_preset(name)
    assert len(preset.classes) == len(set(preset.classes)) == preset.class_count == count
    assert {number: preset.classes[number] for number in known} == known
    assert [label for label, _ in preset.palette] == list(preset.classes)


def test_a_preset_is_parsed_again_only_when_its_file_has_changed(tmp_path):
    text = (PRESETS_DIR / "celeba256.yaml").read_text("utf-8")
    (tmp_path / "mine.yaml").write_text(text, "utf-8")
    first = load_preset("mine", tmp_path / "models", tmp_path)
    assert load_preset("mine", tmp_path / "models", tmp_path) is first
    (tmp_path / "mine.yaml").write_text(text.replace("width: 256", "width: 512"), "utf-8")
    second = load_preset("mine", tmp_path / "models", tmp_path)
    assert (first.width, second.width) == (256, 512)


def test_a_class_list_must_fit_the_model(tmp_path):
    shutil.copytree(PRESETS_DIR / "classes", tmp_path / "classes")
    text = (PRESETS_DIR / "cin256.yaml").read_text("utf-8")
    wrong = text.replace("imagenet-1000", "coco-stuff")
    for yaml, message in (
        (wrong, "classes must be 1000 names, got 182"),
        (text.replace("imagenet-1000", "missing"), "cannot be read"),
        (text + "\nclasses: [cat]\n", "must not both be given"),
    ):
        (tmp_path / "mine.yaml").write_text(yaml, "utf-8")
        with pytest.raises(PresetError, match=message):
            load_preset("mine", tmp_path / "models", tmp_path)


def test_an_interrupt_while_a_list_is_filled_ends_the_reading(monkeypatch):
    """And is no fault of the file, though OmegaConf tells it as one of the list."""
    real, calls = ListConfig._set_item_impl, itertools.count()

    def interrupted(self, key, value):
        if next(calls) == 40:
            raise KeyboardInterrupt
        real(self, key, value)

    parsing._parsed.cache_clear()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ListConfig, "_set_item_impl", interrupted)
        load_preset("cin256-v2")
    assert len(load_preset("cin256-v2").classes) == 1000
