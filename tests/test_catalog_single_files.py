"""Single files in `models/`, known by the names and shapes of their weights."""

import json
import logging
import os

import pytest

from ldm.catalog.registry import list_presets, load_preset
from ldm.catalog.single_files import SUFFIX
from ldm.errors import PresetError
from tests.test_catalog_models_dir import NO_PRESETS

FIRST = "model.diffusion_model.input_blocks.0.0.weight"
CONTEXT = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"


def entry(*shape):
    return {"dtype": "F16", "shape": shape, "data_offsets": [0, 0]}


def of_shapes(channels=4, width=768):
    parts = dict.fromkeys(("first_stage_model.a", "cond_stage_model.transformer.b"), entry(1))
    return parts | {FIRST: entry(320, channels, 3, 3), CONTEXT: entry(320, width)}


@pytest.fixture
def drop(tmp_path):
    """Put a file of this header into `models/`; gives the folder."""

    def write(header, name="Dream v2.1", length=None):
        content = header if isinstance(header, bytes) else json.dumps(header).encode()
        length = len(content) if length is None else length
        (tmp_path / f"{name}{SUFFIX}").write_bytes(length.to_bytes(8, "little") + content)
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("channels", "task", "like"),
    [(4, "text-to-image", "stable-diffusion-v1-4"), (9, "inpaint", "stable-diffusion-inpainting")],
)
def test_a_file_is_a_model_by_its_own_name(drop, channels, task, like):
    models = drop(of_shapes(channels))
    preset = load_preset("Dream v2.1", models)
    assert preset in list_presets(models, tasks=[task])
    assert preset.architecture == load_preset(like).architecture
    assert (preset.task, preset.title, preset.origin) == (task, "Dream v2.1", "own")
    assert preset.licence == ""  # nobody knows it
    assert preset.weight_path == models / f"Dream v2.1{SUFFIX}"
    assert preset.is_on_disk


def test_a_file_alone_in_a_folder_is_a_model_by_the_folders_name(drop, caplog):
    models = drop(of_shapes())
    (models / "dream").mkdir()
    (models / f"Dream v2.1{SUFFIX}").rename(models / "dream" / f"v2.1-pruned{SUFFIX}")
    preset = load_preset("dream", models)
    assert preset.weight_path == models / "dream" / f"v2.1-pruned{SUFFIX}"
    assert preset in list_presets(models)
    (models / "dream" / f"other{SUFFIX}").write_text("a second file")
    assert list_presets(models, NO_PRESETS) == []
    assert caplog.text == ""


def test_a_file_that_was_written_anew_is_looked_at_anew(drop):
    assert load_preset("Dream v2.1", drop(of_shapes())).task == "text-to-image"
    assert (
        load_preset("Dream v2.1", drop(of_shapes(channels=9) | {"more": entry(1)})).task
        == "inpaint"
    )


@pytest.mark.parametrize(
    ("header", "length", "words"),
    [
        (of_shapes(width=1024), None, "is not of Stable Diffusion 1"),
        ({"lora_unet_a.lora_down.weight": entry(4, 320)}, None, "is a LoRA; python -m ldm merge"),
        ({"unet.a.to_k.lora_A.weight": entry(4, 320)}, None, "is a LoRA; python -m ldm merge"),
        ({"emb_params": entry(2, 768)}, None, "is a textual inversion"),
        ({"control_model.a": entry(1)}, None, "is a ControlNet"),
        ({"conditioner.embedders.0.a": entry(1)}, None, "of Stable Diffusion XL"),
        ({"cond_stage_model.model.a": entry(1)}, None, "of Stable Diffusion 2"),
        ({FIRST: entry(320, 4, 3, 3)}, None, "is not of Stable Diffusion 1"),
        ({FIRST: 3, CONTEXT: entry(320, 768)}, None, "has an unreadable header"),
        ({FIRST: entry(), CONTEXT: entry() | {"shape": "wide"}}, None, "is not of Stable Diff"),
        ({FIRST: entry(320, {}, 3), CONTEXT: entry()}, None, "is not of Stable Diffusion 1"),
        ({FIRST: entry(320, 4, 3, 3), CONTEXT: entry(320, 768)}, None, "part of a model alone"),
        (of_shapes() | {"c": {"data_offsets": [0, 9]}}, None, "is cut off: "),
        ([], None, "is no safetensors file"),
        (b"{", None, "has an unreadable header"),
        (b"[" * 10**6, None, "is no safetensors file"),
        (b'{"a":' + b"[" * 10**6, None, "has an unreadable header"),
        (b"{}", 2**62, "a header of 4611686018427387904 bytes"),
        (b"", 1, "is no safetensors file"),
    ],
)
def test_what_is_none_is_left_out_in_a_sentence(drop, caplog, header, length, words):
    models = drop(header, "odd", length)
    with pytest.raises(PresetError, match=words) as caught:
        load_preset("odd", models)
    assert "\n" not in str(caught.value)
    with caplog.at_level(logging.WARNING):
        assert "odd" not in {preset.name for preset in list_presets(models, NO_PRESETS)}
    assert words in caplog.text


def test_a_pickle_is_to_be_converted_first(drop, caplog):
    models = drop(of_shapes())
    (models / "Dream v2.1.ckpt").touch()  # from which it was converted
    (models / "other.ckpt").touch()
    assert load_preset("Dream v2.1", models).is_on_disk
    with pytest.raises(PresetError, match="ldm convert .*other.ckpt .*other.safetensors makes"):
        load_preset("other", models)
    with caplog.at_level(logging.WARNING):
        assert "other" not in {preset.name for preset in list_presets(models, NO_PRESETS)}
    assert "ldm convert" in caplog.text


def test_what_is_no_file_or_hidden_is_passed_over(drop, caplog):
    models = drop(of_shapes(), "._good")
    (models / f"folder{SUFFIX}").mkdir()
    os.mkfifo(models / f"pipe{SUFFIX}")
    with caplog.at_level(logging.WARNING):
        assert list_presets(models, NO_PRESETS) == []
    assert caplog.text == ""


def test_a_file_does_not_take_the_place_of_a_shipped_model(drop, caplog):
    models = drop(of_shapes(), "demo-inpaint")
    with caplog.at_level(logging.WARNING):
        list_presets(models)
    assert "demo-inpaint.safetensors has the name of a shipped model" in caplog.text
    assert load_preset("demo-inpaint", models).origin == "shipped"
    assert [p.origin for p in list_presets(models) if p.name == "demo-inpaint"] == ["shipped"]
