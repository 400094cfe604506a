"""Numbers of a dropped configuration that no model can have: one sentence, nothing is built."""

import functools
import math
from pathlib import Path

import pytest
import yaml

from ldm.catalog.compvis import preset_values
from ldm.catalog.parsing import read_yaml
from ldm.catalog.registry import list_presets, load_preset
from ldm.errors import PresetError

TINY = Path(__file__).parent / "reference" / "tiny"
TEXT = "t2i_numheads_legacy_false"
UNET = "unet_config/params"
FIRST = "first_stage_config/params"
LAYERS = f"{FIRST}/ddconfig"
COND = "cond_stage_config/params"


def changed(case: str, key: str, value: object) -> dict:
    """A tiny case's configuration with another value at `key`, below the model's params."""
    config = read_yaml(TINY / case / "config.yaml")
    *path, last = f"model/params/{key}".split("/")
    functools.reduce(lambda at, name: at[name], path, config)[last] = value
    return config


@pytest.mark.parametrize(
    ("case", "key", "value", "says"),
    [
        (TEXT, f"{UNET}/num_heads", 0, "unet.num_heads must be 1 to 16384, got 0"),
        (TEXT, f"{UNET}/num_heads", 7, "num_heads must divide the 32 channels of a level, got 7"),
        (TEXT, f"{UNET}/transformer_depth", 10**7, "depth must be 1 to 16, got 10000000"),
        (TEXT, f"{UNET}/num_res_blocks", 10**7, "unet.num_res_blocks must be 1 to 16"),
        (TEXT, f"{UNET}/model_channels", 2**40, "unet.model_channels must be 32 to 16384"),
        (TEXT, f"{UNET}/model_channels", -32, "unet.model_channels must be"),
        (TEXT, f"{UNET}/channel_mult", [1, 10**6], "unet.channel_mult must be 1 to 8 numbers of"),
        (TEXT, f"{UNET}/channel_mult", [1] * 40, "unet.channel_mult must be 1 to 8 numbers of"),
        (TEXT, f"{UNET}/attention_resolutions", [0], "attention_resolutions must be"),
        (TEXT, f"{UNET}/in_channels", 5, "in_channels must be 4, the latents' 4 and 0 of"),
        (TEXT, f"{UNET}/context_dim", 16, "unet.context_dim must be 32, got 16"),
        (TEXT, f"{UNET}/dropout", 2.0, "unet.dropout must be 0 to 1, got 2.0"),
        (TEXT, f"{LAYERS}/ch", 0, "first_stage.ch must be"),
        (TEXT, f"{LAYERS}/in_channels", 4, "first_stage.in_channels must be 3, got 4"),
        (TEXT, f"{LAYERS}/ch_mult", [1, 0], "first_stage.ch_mult must be"),
        (TEXT, f"{FIRST}/embed_dim", 10**9, "first_stage.embed_dim must be 1 to 4096"),
        (TEXT, f"{COND}/n_layer", 10**6, "conditioner.n_layer must be 1 to 128"),
        (TEXT, f"{COND}/vocab_size", 0, "conditioner.vocab_size must be"),
        (TEXT, "scale_factor", 0, "scale_factor must be 1e-06 to 1000000, got 0"),
        (TEXT, "scale_factor", -1, "scale_factor must be"),
        (TEXT, "scale_factor", math.inf, "scale_factor must be"),
        (TEXT, "scale_factor", math.nan, "scale_factor must be"),
        (TEXT, "timesteps", 10**9, "schedule.length must be 1 to 100000"),
        (TEXT, "image_size", 10**9, "width must be 1 to 4096"),
        (TEXT, "image_size", -8, "width must be 1 to 4096"),
        ("semantic_synthesis_concat", f"{FIRST}/n_embed", 0, "first_stage.n_embed must be"),
        ("semantic_synthesis_concat", f"{COND}/n_stages", 1, "n_stages must halve a map"),
        ("semantic_synthesis_concat", f"{COND}/out_channels", 4, "unet.in_channels must be 7"),
        ("superres_concat_ema", f"{UNET}/in_channels", 7, "unet.in_channels must be 6"),
        ("class_cond_crossattn", f"{COND}/n_classes", 0, "conditioner.n_classes must be"),
    ],
)
def test_a_number_that_makes_no_sense_is_one_sentence(tmp_path, case, key, value, says):
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(changed(case, key, value)))
    (folder / "model.ckpt").touch()
    with pytest.raises(PresetError) as caught:
        load_preset("odd", tmp_path)
    message = str(caught.value)
    assert message.startswith(str(folder / "config.yaml"))
    assert says in message
    assert "\n" not in message
    assert message.endswith(".")
    assert not message.endswith("..")


def test_what_is_left_out_takes_no_other_along(tmp_path):
    for name, heads in (("good", 4), ("odd", 0)):
        (tmp_path / name).mkdir()
        config = changed(TEXT, f"{UNET}/num_heads", heads)
        (tmp_path / name / "config.yaml").write_text(yaml.safe_dump(config))
        (tmp_path / name / "model.ckpt").touch()
    names = {preset.name for preset in list_presets(tmp_path, tmp_path / "none")}
    assert "good" in names
    assert "odd" not in names


def test_the_same_numbers_unchanged_are_taken():
    for case in (TEXT, "semantic_synthesis_concat", "superres_concat_ema", "class_cond_crossattn"):
        assert preset_values(read_yaml(TINY / case / "config.yaml"), case)["width"] == 32
