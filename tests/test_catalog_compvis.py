"""Published configuration files through the closed table, and diffusers folders."""

import copy
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from ldm.catalog import diffusers
from ldm.catalog.architecture import Architecture, ScheduleConfig
from ldm.catalog.compvis import TARGETS, preset_values, read_architecture
from ldm.catalog.parsing import parse, read_yaml
from ldm.catalog.registry import list_presets, load_preset
from ldm.catalog.schema import Defaults
from ldm.errors import PresetError

TINY = Path(__file__).parent / "reference" / "tiny"
TASKS = {
    "ae_kl_attn": "first-stage",
    "ae_vq_attn": "first-stage",
    "class_cond_crossattn": "class-conditional",
    "inpainting_concat": "inpaint",
    "layout_bbox_tokens": "layout",
    "semantic_synthesis_concat": "semantic",
    "superres_concat_ema": "upscale",
    "uncond_kl_churches_ema": "unconditional",
    "uncond_vq_ema": "unconditional",
}


def config(case: str) -> dict:
    return read_yaml(TINY / case / "config.yaml")


@pytest.mark.parametrize("case", sorted(path.name for path in TINY.iterdir()))
def test_every_case_is_read_without_importing_its_targets(case):
    architecture = read_architecture(config(case), case)
    assert isinstance(architecture, Architecture)
    assert "taming" not in sys.modules


@pytest.mark.parametrize(("case", "task"), TASKS.items())
def test_the_task_follows_from_the_conditioner(case, task):
    assert preset_values(config(case), case)["task"] == task


@pytest.mark.parametrize(("key", "conditioning"), [(None, "concat"), ("crossattn", "crossattn")])
def test_unsaid_conditioning_is_concatenation(key, conditioning):
    values = config("superres_concat_ema")
    params = values["model"]["params"]
    del params["concat_mode"]
    if key:
        params["conditioning_key"] = key
    assert read_architecture(values, "c").conditioning == conditioning
    if key is None:
        params["concat_mode"] = False
        assert read_architecture(values, "c").conditioning == "crossattn"


def test_numbers_that_yaml_takes_for_words_are_numbers():
    values = config("uncond_vq_ema")
    values["model"]["params"] |= {"linear_start": "8.5e-4", "linear_end": 0.012}
    assert read_architecture(values, "c").schedule == ScheduleConfig(start=0.00085, end=0.012)


def test_a_scale_factor_from_the_data_is_left_to_the_weight_file():
    assert read_architecture(config("uncond_kl_churches_ema"), "c").scale_factor is None
    assert read_architecture(config("t2i_numheads_legacy_false"), "c").scale_factor == 0.18215


def changed(path: str, value: object, case: str = "t2i_numheads_legacy_false") -> dict:
    """A config with one entry changed; `None` removes it."""
    values = copy.deepcopy(config(case))
    *parents, last = path.split("/")
    at = values
    for key in parents:
        at = at[key]
    if value is None:
        del at[last]
    else:
        at[last] = value
    return values


UNET, STAGE = "model/params/unet_config", "model/params/first_stage_config"


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("model/target", "os.system", "'os.system' is not one of"),
        (f"{UNET}/target", "evil.UNet", "'evil.UNet' is not one of"),
        (f"{UNET}/target", ["os", "system"], "is not one of"),
        (f"{UNET}/target", None, "None is not one of"),
        ("model/params/cond_stage_config/target", "clip.CLIP", "'clip.CLIP' is not one of"),
        ("model/params/cond_stage_config", "__is_magic__", "'__is_magic__' is not one of"),
        ("model/params/conditioning_key", "hybrid", "'hybrid' is not one of"),
        ("model/params/beta_schedule", "wild", "'wild' is not one of"),
        ("model/params/surprise", 1, "unknown key 'surprise'"),
        (f"{UNET}/params/surprise", 1, "unknown key 'surprise'"),
        (f"{UNET}/extra", 1, "unknown key 'extra'"),
        (f"{UNET}/params/dims", 3, "dims must be 2, got 3"),
        (f"{UNET}/params/use_new_attention_order", True, "must be False"),
        (f"{UNET}/params/num_heads_upsample", 3, "num_heads_upsample must be 4, got 3"),
        ("model/params/cosine_s", 0.1, "cosine_s must be 0.008, got 0.1"),
        (f"{UNET}/params/model_channels", None, "model_channels"),
        (f"{UNET}/params/model_channels", "wide", "model_channels"),
        (f"{STAGE}/params/ddconfig/double_z", False, "double_z must be True"),
        (f"{STAGE}/params/ddconfig", None, "needs ddconfig"),
        (f"{STAGE}/params/remap", "file.npy", "remap"),
        (UNET, None, "unet_config must be a block"),
        ("model/params", [1], "params must be a mapping"),
        ("model", None, "model must be a block"),
        ("import", "os", "unknown key 'import'"),
    ],
)
def test_what_the_table_does_not_hold_is_an_error(path, value, words):
    with pytest.raises(PresetError) as caught:
        read_architecture(changed(path, value), "some/config.yaml")
    message = str(caught.value)
    assert message.startswith("some/config.yaml")
    assert words in message
    assert "\n" not in message


def test_a_model_that_no_task_uses_is_an_error():
    for case in ("noisy_classifier_attnpool",):
        with pytest.raises(PresetError, match="no task here"):
            preset_values(config(case), case)
    with pytest.raises(PresetError, match="image_size"):
        preset_values(changed("model/params/image_size", "big"), "c")


def test_the_table_names_the_published_targets():
    assert "ldm.models.diffusion.ddpm.LatentDiffusion" in TARGETS
    assert all(name.startswith(("ldm.", "torch.nn.Identity")) for name in TARGETS)


# What the library writes for the large text-to-image and the super-resolution model.
UNET_CONDITION = {
    "_class_name": "UNet2DConditionModel",
    "act_fn": "silu",
    "attention_head_dim": 8,
    "block_out_channels": [320, 640, 1280, 1280],
    "cross_attention_dim": 1280,
    "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 4,
    "layers_per_block": 2,
    "norm_eps": 1e-05,
    "norm_num_groups": 32,
    "out_channels": 4,
    "sample_size": 32,
}
UNET_PLAIN = {
    "_class_name": "UNet2DModel",
    "attention_head_dim": 32,
    "block_out_channels": [160, 320, 320, 640],
    "down_block_types": [*["DownBlock2D"] * 3, "AttnDownBlock2D"],
    "in_channels": 6,
    "layers_per_block": 2,
    "out_channels": 3,
    "sample_size": 64,
}
KL = {
    "_class_name": "AutoencoderKL",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "latent_channels": 4,
    "layers_per_block": 2,
}
VQ = {
    "_class_name": "VQModel",
    "block_out_channels": [128, 256, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "latent_channels": 3,
    "layers_per_block": 2,
    "num_vq_embeddings": 8192,
}
CLIP = {
    "hidden_act": "quick_gelu",
    "hidden_size": 768,
    "intermediate_size": 3072,
    "max_position_embeddings": 77,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "vocab_size": 49408,
}
BERT = {"d_model": 1280, "encoder_layers": 32, "vocab_size": 30522, "max_position_embeddings": 77}


def folder_of(folder: Path, pipeline: str, beta: tuple[float, float], **parts: dict) -> Path:
    files = {
        "model_index.json": {"_class_name": pipeline},
        "scheduler/scheduler_config.json": {
            "beta_schedule": "scaled_linear",
            "beta_start": beta[0],
            "beta_end": beta[1],
        },
        **{f"{name}/config.json": about for name, about in parts.items()},
    }
    for name, about in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(about))
    return folder


def text_folder(folder: Path) -> Path:
    parts = {"unet": UNET_CONDITION, "vqvae": KL, "bert": BERT}
    return folder_of(folder, "LDMTextToImagePipeline", (0.00085, 0.012), **parts)


def stable_folder(folder: Path, kind: str = "StableDiffusionPipeline", **changes: Any) -> Path:
    unet = UNET_CONDITION | {"cross_attention_dim": 768, "sample_size": 64}
    parts = {"unet": unet | changes, "vae": KL, "text_encoder": CLIP}
    return folder_of(folder, kind, (0.00085, 0.012), **parts)


def test_early_folders_of_stable_diffusion_understate_the_trained_size(tmp_path):
    early = {"sample_size": 32, "_diffusers_version": "0.6.0"}
    assert diffusers.preset_values(stable_folder(tmp_path / "early", **early))["width"] == 512
    late = {"sample_size": 32, "_diffusers_version": "0.10.2"}
    assert diffusers.preset_values(stable_folder(tmp_path / "late", **late))["width"] == 256


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("vocab_size", 1000, "vocab_size must be at least 49408, got 1000"),
        ("hidden_act", "gelu", "hidden_act must be quick_gelu, got 'gelu'"),
        ("num_attention_heads", 8, "num_attention_heads must be 12, got 8"),
        ("hidden_size", 32, "hidden_size must be a multiple of 64, the width of a head, got 32"),
        ("num_hidden_layers", None, "num_hidden_layers must be a whole number"),
    ],
)
def test_another_text_encoder_of_a_diffusers_folder_is_an_error(tmp_path, key, value, words):
    folder = stable_folder(tmp_path / "m")
    (folder / "text_encoder/config.json").write_text(json.dumps(CLIP | {key: value}))
    with pytest.raises(PresetError, match=words):
        load_preset("m", models_dir=tmp_path)


def test_stable_diffusion_2_is_refused(tmp_path):
    with pytest.raises(PresetError, match="use_linear_projection must be False, got True"):
        diffusers.preset_values(stable_folder(tmp_path / "sd2", use_linear_projection=True))


# What is in the authors' configuration of Stable Diffusion 1, without what only training needs.
STABLE = {
    "model": {
        "target": "ldm.models.diffusion.ddpm.LatentDiffusion",
        "params": {
            "linear_start": 0.00085,
            "linear_end": 0.0120,
            "image_size": 64,
            "conditioning_key": "crossattn",
            "scale_factor": 0.18215,
            "personalization_config": {"target": "ldm.modules.embedding_manager.EmbeddingManager"},
            "unet_config": {
                "target": "ldm.modules.diffusionmodules.openaimodel.UNetModel",
                "params": {
                    "image_size": 32,
                    "in_channels": 4,
                    "out_channels": 4,
                    "model_channels": 320,
                    "attention_resolutions": [4, 2, 1],
                    "num_res_blocks": 2,
                    "channel_mult": [1, 2, 4, 4],
                    "num_heads": 8,
                    "use_spatial_transformer": True,
                    "transformer_depth": 1,
                    "context_dim": 768,
                    "legacy": False,
                },
            },
            "first_stage_config": {
                "target": "ldm.models.autoencoder.AutoencoderKL",
                "params": {
                    "embed_dim": 4,
                    "lossconfig": {"target": "torch.nn.Identity"},
                    "ddconfig": {
                        "double_z": True,
                        "z_channels": 4,
                        "resolution": 512,
                        "in_channels": 3,
                        "out_ch": 3,
                        "ch": 128,
                        "ch_mult": [1, 2, 4, 4],
                        "num_res_blocks": 2,
                        "attn_resolutions": [],
                    },
                },
            },
            "cond_stage_config": {"target": "ldm.modules.encoders.modules.FrozenCLIPEmbedder"},
        },
    }
}


def test_the_authors_configuration_of_stable_diffusion_is_its_preset():
    values, preset = preset_values(STABLE, "v1"), load_preset("stable-diffusion-v1-4")
    assert parse(Architecture, values["architecture"], "v1") == preset.architecture
    assert (values["task"], values["width"]) == (preset.task, preset.width)


def test_the_configuration_for_inpainting_is_its_preset():
    config = copy.deepcopy(STABLE)
    config["model"]["target"] = "ldm.models.diffusion.ddpm.LatentInpaintDiffusion"
    params = config["model"]["params"]
    params |= {"conditioning_key": "hybrid", "finetune_keys": None}
    params["unet_config"]["params"]["in_channels"] = 9
    values, preset = preset_values(config, "v1"), load_preset("stable-diffusion-inpainting")
    assert parse(Architecture, values["architecture"], "v1") == preset.architecture
    assert (values["task"], values["width"]) == (preset.task, preset.width)
    assert Defaults(**values["defaults"]) == preset.defaults
    params["conditioning_key"] = "crossattn"
    with pytest.raises(PresetError, match="conditioning_key must be hybrid, got 'crossattn'"):
        preset_values(config, "v1")


def without_notation(architecture: Architecture) -> Architecture:
    """With what can be written in several ways written in one."""
    unet = architecture.unet
    reached = sorted(f for f in unet.attention_resolutions if f <= unet.factor)
    unet = replace(unet, attention_resolutions=tuple(reached))
    first_stage = replace(architecture.first_stage, resolution=256)  # counts levels only
    return replace(architecture, unet=unet, first_stage=first_stage)


def test_diffusers_folders_describe_the_published_models(tmp_path):
    text = diffusers.preset_values(text_folder(tmp_path / "text"))
    parts = {"unet": UNET_PLAIN, "vqvae": VQ}
    upscale = diffusers.preset_values(
        folder_of(tmp_path / "sr", "LDMSuperResolutionPipeline", (0.0015, 0.0155), **parts)
    )
    stable = diffusers.preset_values(stable_folder(tmp_path / "sd"))
    holes = diffusers.preset_values(
        stable_folder(tmp_path / "hole", "StableDiffusionInpaintPipeline", in_channels=9)
    )
    models = ("text2img-large", "bsr-sr", "stable-diffusion-v1-4", "stable-diffusion-inpainting")
    for values, name in zip((text, upscale, stable, holes), models, strict=True):
        preset = load_preset(name)
        architecture = parse(Architecture, values["architecture"], name)
        assert without_notation(architecture) == without_notation(preset.architecture)
        assert (values["task"], values["width"]) == (preset.task, preset.width)
        if name.startswith("stable"):
            assert Defaults(**values["defaults"]) == preset.defaults


def test_a_diffusers_folder_in_models_is_a_preset(tmp_path):
    folder = text_folder(tmp_path / "hub-model")
    for part in ("unet", "vqvae", "bert"):  # what is in them is looked at when they are loaded
        save_file({part: torch.ones(1)}, folder / part / "model.safetensors")
    preset = load_preset("hub-model", models_dir=tmp_path)
    assert preset in list_presets(models_dir=tmp_path)
    assert preset.weight_path == tmp_path / "hub-model"
    assert preset.is_on_disk
    (tmp_path / "hub.safetensors").write_text("another model's")
    with_a_dot = (tmp_path / "hub-model").rename(tmp_path / "hub.v2")
    assert load_preset("hub.v2", models_dir=tmp_path).weight_path == with_a_dot


@pytest.mark.parametrize(
    ("file", "key", "value", "words"),
    [
        ("model_index.json", "_class_name", "StableDiffusionXLPipeline", "pipeline must be one of"),
        ("unet/config.json", "freq_shift", 1, "freq_shift must be 0"),
        ("unet/config.json", "norm_eps", 1e-2, "norm_eps must be 1e-05, got 0.01"),
        ("unet/config.json", "downsample_padding", 0, "downsample_padding must be 1, got 0"),
        ("unet/config.json", "mid_block_scale_factor", 4, "scale_factor must be 1, got 4"),
        ("unet/config.json", "time_cond_proj_dim", 256, "time_cond_proj_dim must be None"),
        ("unet/config.json", "down_block_types", ["Magic"], "not known"),
        ("unet/config.json", "up_block_types", ["UpBlock2D"] * 4, "up_block_types must be "),
        ("unet/config.json", "mid_block_type", None, "mid_block_type must be UNetMidBlock2DCross"),
        ("unet/config.json", "encoder_hid_dim_type", "ip_image_proj", "hid_dim_type must be None"),
        ("unet/config.json", "num_class_embeds", 10, "num_class_embeds must be None, got 10"),
        ("unet/config.json", "block_out_channels", [320, 500], "multiples of the first"),
        ("unet/config.json", "block_out_channels", "wide", "list of whole numbers"),
        ("unet/config.json", "sample_size", [32], "sample_size"),
        ("unet/config.json", "in_channels", None, "in_channels"),
        ("unet/config.json", "transformer_layers_per_block", 2, "per_block must be 1, got 2"),
        ("vqvae/config.json", "norm_num_groups", 16, "norm_num_groups must be 32"),
        ("vqvae/config.json", "use_quant_conv", False, "use_quant_conv must be True, got False"),
        ("vqvae/config.json", "shift_factor", 0.1, "shift_factor must be None, got 0.1"),
        ("vqvae/config.json", "in_channels", 4, "in_channels must be 3, got 4"),
        ("bert/config.json", "encoder_attention_heads", 16, "heads must be 8, got 16"),
        ("scheduler/scheduler_config.json", "trained_betas", [0.1], "trained_betas must be None"),
        ("scheduler/scheduler_config.json", "thresholding", True, "thresholding must be False"),
        ("scheduler/scheduler_config.json", "timestep_spacing", "trailing", "a few steps"),
        ("scheduler/scheduler_config.json", "beta_schedule", "wild", "beta_schedule"),
        ("scheduler/scheduler_config.json", "prediction_type", "wild", "prediction_type"),
    ],
)
def test_an_unknown_setting_of_a_diffusers_folder_is_an_error(tmp_path, file, key, value, words):
    folder = text_folder(tmp_path / "m")
    about = json.loads((folder / file).read_text()) | {key: value}
    (folder / file).write_text(json.dumps(about))
    with pytest.raises(PresetError, match=words) as caught:
        load_preset("m", models_dir=tmp_path)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_diffusers_folder_without_a_part_is_an_error(tmp_path):
    folder = text_folder(tmp_path / "m")
    (folder / "bert" / "config.json").write_text("{")
    with pytest.raises(PresetError, match="bert"):
        load_preset("m", models_dir=tmp_path)
