"""Reading of diffusers pipelines of latent diffusion models into our own `Architecture`.

Only the settings of `LDMTextToImagePipeline`, `LDMSuperResolutionPipeline`, the unconditional
`LDMPipeline` and Stable Diffusion 1 are known; other values of settings that change the computation
are a PresetError.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ldm.catalog.architecture import CLIP_HEAD_DIM
from ldm.catalog.compvis import BERT_VOCABULARY, CLIP_DEFAULTS, CLIP_MERGES
from ldm.catalog.learned_tokens import learned_tokens
from ldm.catalog.parsing import read_json
from ldm.catalog.pipelines import STABLE, kind_of, task_of
from ldm.checkpoints.folders import (
    BERT_FOLDER,
    CLIP_FOLDER,
    CONFIG_NAME,
    first_stage_folder,
    text_folder,
    unet_folder,
    weight_files,
)
from ldm.errors import CheckpointError, PresetError

Values = dict[str, Any]

_ATTENDED = ("CrossAttnDownBlock2D", "AttnDownBlock2D")
_UNATTENDED = ("DownBlock2D",)
# Settings that all published latent diffusion models share; absent keys have the same meaning.
_UNET_FIXED: Values = {
    "act_fn": "silu",
    "center_input_sample": False,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "norm_num_groups": 32,
    "use_linear_projection": False,
    "only_cross_attention": False,
    "class_embed_type": None,
    "addition_embed_type": None,
    "time_embedding_type": "positional",
    "transformer_layers_per_block": 1,
    "num_attention_heads": None,
    "encoder_hid_dim": None,
    "norm_eps": 1e-5,
    "downsample_padding": 1,
    "mid_block_scale_factor": 1,
    "dual_cross_attention": False,
    "mid_block_only_cross_attention": None,
    "cross_attention_norm": None,
    "attention_type": "default",
    "resnet_skip_time_act": False,
    "resnet_out_scale_factor": 1.0,
    "time_cond_proj_dim": None,
    "time_embedding_dim": None,
    "time_embedding_act_fn": None,
    "timestep_post_act": None,
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
    "addition_time_embed_dim": None,
    "encoder_hid_dim_type": None,
    "reverse_transformer_layers_per_block": None,
    "num_class_embeds": None,
    "add_attention": True,
    "attn_norm_num_groups": None,
}
_FIRST_STAGES = ("AutoencoderKL", "VQModel")
_ENCODER_BLOCKS = {  # kind of a block of the encoder -> that of the decoder's
    "DownEncoderBlock2D": "UpDecoderBlock2D",
    "AttnDownEncoderBlock2D": "AttnUpDecoderBlock2D",
}
_MIDDLES = ("UNetMidBlock2DCrossAttn", "UNetMidBlock2D")
_FIRST_STAGE_FIXED: Values = {
    "act_fn": "silu",
    "norm_num_groups": 32,
    "norm_type": "group",
    "in_channels": 3,
    "out_channels": 3,
    "mid_block_add_attention": True,
    "use_quant_conv": True,
    "use_post_quant_conv": True,
    "shift_factor": None,
    "lookup_from_codebook": False,
}
_TEXT_FIXED: Values = {"activation_function": "gelu", "encoder_attention_heads": 8, "head_dim": 64}
_CLIP_FIXED: Values = {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
_SCHEDULER_FIXED: Values = {
    "trained_betas": None,
    "rescale_betas_zero_snr": False,
    "thresholding": False,
}
# The time steps of a run are ours, but a model that was distilled to few of its own needs those.
_FEW_STEPS = "trailing"


def preset_values(folder: Path) -> Values:
    """Return task, trained size and architecture of a diffusers folder, as values of a `Preset`.

    Raises:
        PresetError: If a configuration is missing or holds anything unknown.
    """
    kind = kind_of(folder)
    unet_path = unet_folder(folder) / CONFIG_NAME
    unet = read_json(unet_path)
    task = task_of(kind, unet, str(unet_path))
    with _told_as_presets_are():
        first_stage_path = first_stage_folder(folder) / CONFIG_NAME
    first_stage = _first_stage(read_json(first_stage_path), str(first_stage_path))
    scheduler = read_json(folder / "scheduler" / "scheduler_config.json")
    architecture = {
        "unet": _unet(unet, str(unet_path)),
        "first_stage": first_stage,
        "schedule": _schedule(scheduler, str(folder / "scheduler")),
        "prediction": _prediction(scheduler, str(folder / "scheduler")),
        "scale_factor": first_stage.pop("scale_factor"),
        **_conditioning(kind, task, folder),
    }
    factor = 2 ** (len(first_stage["ch_mult"]) - 1)
    side = _trained_cells(kind, unet, str(unet_path)) * factor
    made = {"task": task, "width": side, "height": side, "architecture": architecture}
    return made | ({"defaults": dict(CLIP_DEFAULTS)} if kind in STABLE else {})


def check_weights(folder: Path) -> None:
    """Check before a diffusers folder is listed that all its weights are there, and whole.

    Raises:
        PresetError: If a file is missing or damaged.
    """
    with _told_as_presets_are():
        weight_files(folder)


@contextmanager
def _told_as_presets_are() -> Iterator[None]:
    try:
        yield
    except CheckpointError as error:
        raise PresetError(str(error)) from error


def _trained_cells(kind: str, unet: Values, where: str) -> int:
    """Return the trained side in latent cells."""
    cells = _whole(unet, "sample_size", where)
    early = re.match(r"0\.[0-8]\.", str(unet.get("_diffusers_version", "")))
    # as the library knows, its first folders of Stable Diffusion say 32 and mean 64
    return max(cells, 64) if kind in STABLE and early else cells


def _check_fixed(about: Values, fixed: Values, where: str) -> None:
    for key, value in fixed.items():
        if about.get(key, value) != value:
            raise PresetError(f"{where}: {key} must be {value!s:.200}, got {about[key]!r:.80}.")


def _unet(about: Values, where: str) -> Values:
    _check_fixed(about, _UNET_FIXED, where)
    widths = _list(about, "block_out_channels", where)
    kinds = _down_blocks(about, _ATTENDED + _UNATTENDED, where)
    mirrored = [kind.replace("Down", "Up") for kind in reversed(kinds)]
    _check_fixed(about, {"up_block_types": mirrored}, where)
    has_context = about.get("_class_name") == "UNet2DConditionModel"
    # the one without attention would lack weights there
    middles = _MIDDLES[:1] if has_context else _MIDDLES
    if (middle := about.get("mid_block_type", middles[0])) not in middles:
        known = " or ".join(middles)
        raise PresetError(f"{where}: mid_block_type must be {known}, got {middle!r:.80}.")
    # The library calls the head count of conditioned UNets `attention_head_dim`.
    heads = {
        "num_heads" if has_context else "num_head_channels": about.get("attention_head_dim", 8)
    }
    return {
        "in_channels": about.get("in_channels"),
        "out_channels": about.get("out_channels"),
        "model_channels": widths[0],
        "num_res_blocks": about.get("layers_per_block", 2),
        "attention_resolutions": [2**i for i, kind in enumerate(kinds) if kind in _ATTENDED],
        "channel_mult": _multipliers(widths, where),
        "use_spatial_transformer": has_context,
        "context_dim": about.get("cross_attention_dim") if has_context else None,
        "use_scale_shift_norm": about.get("resnet_time_scale_shift") == "scale_shift",
        "resblock_updown": about.get("downsample_type") == "resnet",
        **heads,
    }


def _down_blocks(about: Values, known: Collection[str], where: str) -> list[str]:
    kinds = about.get("down_block_types")
    if not isinstance(kinds, list) or any(not isinstance(k, str) or k not in known for k in kinds):
        raise PresetError(f"{where}: down_block_types {kinds!r:.80} are not known.")
    return kinds


def _first_stage(about: Values, where: str) -> Values:
    _check_fixed(about, _FIRST_STAGE_FIXED, where)
    if (name := about.get("_class_name", _FIRST_STAGES[0])) not in _FIRST_STAGES:
        known = " or ".join(_FIRST_STAGES)
        raise PresetError(f"{where}: _class_name must be {known}, got {name!r:.80}.")
    widths = _list(about, "block_out_channels", where)
    kinds = _down_blocks(about, _ENCODER_BLOCKS, where)
    mirrored = [_ENCODER_BLOCKS[kind] for kind in reversed(kinds)]
    _check_fixed(about, {"up_block_types": mirrored}, where)
    side = 2 ** (len(widths) + 4)  # any nominal side works, since it only names the levels
    attended = [side >> i for i, kind in enumerate(kinds) if kind == "AttnDownEncoderBlock2D"]
    is_vq = about.get("_class_name") == "VQModel"
    z_channels = _whole(about, "latent_channels", where)
    values = {
        "kind": "vq" if is_vq else "kl",
        "z_channels": z_channels,
        "embed_dim": about.get("vq_embed_dim") or z_channels,
        "ch": widths[0],
        "ch_mult": _multipliers(widths, where),
        "num_res_blocks": about.get("layers_per_block", 1),
        "attn_resolutions": attended,
        "resolution": side,
        # The authors scale KL latents only, but diffusers has a default for VQ models as well.
        "scale_factor": 1.0 if is_vq else about.get("scaling_factor", 0.18215),
    }
    return values | ({"n_embed": _whole(about, "num_vq_embeddings", where)} if is_vq else {})


def _conditioning(kind: str, task: str, folder: Path) -> Values:
    if kind == "LDMSuperResolutionPipeline":
        return {"conditioner": {"kind": "identity"}, "conditioning": "concat"}
    if kind == "LDMPipeline":
        return {}
    text = _clip(folder) if kind in STABLE else _bert(folder)
    if task == "inpaint":
        return {"conditioner": text, "conditioning": "hybrid", "grey_holes": True}
    return {"conditioner": text, "conditioning": "crossattn"}


def _bert(folder: Path) -> Values:
    where = str((text_folder(folder) or folder / BERT_FOLDER) / CONFIG_NAME)
    about = read_json(Path(where))
    _check_fixed(about, _TEXT_FIXED, where)
    return {
        "kind": "text",
        "n_embed": _whole(about, "d_model", where),
        "n_layer": _whole(about, "encoder_layers", where),
        "vocab_size": _whole(about, "vocab_size", where),
        "max_seq_len": _whole(about, "max_position_embeddings", where),
        "vocabulary": BERT_VOCABULARY,
    }


def _clip(folder: Path) -> Values:
    where = str((text_folder(folder) or folder / CLIP_FOLDER) / CONFIG_NAME)
    about = read_json(Path(where))
    width = _whole(about, "hidden_size", where)
    if width % CLIP_HEAD_DIM:
        raise PresetError(
            f"{where}: hidden_size must be a multiple of {CLIP_HEAD_DIM}, the width of a head, got "
            f"{width}."
        )
    shape = {"intermediate_size": 4 * width, "num_attention_heads": width // CLIP_HEAD_DIM}
    _check_fixed(about, _CLIP_FIXED | shape, where)
    return {
        "kind": "clip",
        "n_embed": width,
        "n_layer": _whole(about, "num_hidden_layers", where),
        "vocab_size": _whole(about, "vocab_size", where),
        "max_seq_len": _whole(about, "max_position_embeddings", where),
        "vocabulary": CLIP_MERGES,
        "learned": learned_tokens(folder / "tokenizer", CLIP_MERGES),
    }


def _schedule(about: Values, where: str) -> Values:
    _check_fixed(about, _SCHEDULER_FIXED, where)
    if about.get("timestep_spacing") == _FEW_STEPS:
        raise PresetError(
            f"{where}: timestep_spacing {_FEW_STEPS} is of models for a few steps of their own, "
            "which no sampler here visits."
        )
    kinds = {"scaled_linear": "scaled_linear", "linear": "linear", "squaredcos_cap_v2": "cosine"}
    kind = about.get("beta_schedule", "linear")
    if kind not in kinds:
        raise PresetError(
            f"{where}: beta_schedule must be one of {', '.join(kinds)}, got {kind!r}."
        )
    return {
        "kind": kinds[kind],
        "start": about.get("beta_start", 0.0001),
        "end": about.get("beta_end", 0.02),
        "length": about.get("num_train_timesteps", 1000),
    }


def _prediction(about: Values, where: str) -> str:
    kinds = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}
    kind = about.get("prediction_type", "epsilon")
    if kind not in kinds:
        raise PresetError(
            f"{where}: prediction_type must be one of {', '.join(kinds)}, got {kind!r}."
        )
    return kinds[kind]


def _list(about: Mapping[str, Any], key: str, where: str) -> list[int]:
    values = about.get(key)
    if not isinstance(values, list) or not values or not all(isinstance(v, int) for v in values):
        raise PresetError(f"{where}: {key} must be a list of whole numbers, got {values!r:.80}.")
    return values


def _whole(about: Mapping[str, Any], key: str, where: str) -> int:
    value = about.get(key)
    if not isinstance(value, int) or value < 1:
        raise PresetError(f"{where}: {key} must be a whole number, got {value!r:.80}.")
    return value


def _multipliers(widths: list[int], where: str) -> list[int]:
    if widths[0] < 1 or any(width % widths[0] for width in widths):
        raise PresetError(f"{where}: widths must be multiples of the first, got {widths}.")
    return [width // widths[0] for width in widths]
