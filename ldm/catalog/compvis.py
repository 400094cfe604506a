"""Reading of published CompVis `config.yaml` files into our own `Architecture`.

Such a file names Python classes to import. Nothing is imported here: closed tables list the class
names (`TARGETS`) that published latent diffusion configs use, and the parameters that each takes.
Any other name or parameter is a PresetError.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ldm.catalog.architecture import CLIP_TOKENS, Architecture
from ldm.catalog.parsing import parse
from ldm.catalog.schema import TASK_OF
from ldm.errors import PresetError

_WITHIN = Path(__file__).parents[1] / "presets"  # once installed; else beside ldm/
PRESETS_DIR = _WITHIN if _WITHIN.is_dir() else _WITHIN.parents[1] / "presets"
BERT_VOCABULARY = PRESETS_DIR / "tokenizers" / "bert-base-uncased.txt"
CLIP_MERGES = PRESETS_DIR / "tokenizers" / "clip-merges.txt"
# the text transformer of CLIP ViT-L/14, the only one that the authors' models read with
CLIP_L: Mapping[str, Any] = {
    "kind": "clip",
    "n_embed": 768,
    "n_layer": 12,
    "vocab_size": CLIP_TOKENS,
    "max_seq_len": 77,
    "vocabulary": CLIP_MERGES,
}

# the authors' command for Stable Diffusion, whose configuration does not say it
CLIP_DEFAULTS: Mapping[str, Any] = {"steps": 50, "sampler": "plms", "guidance_scale": 7.5}

Values = dict[str, Any]

# Parameters of training, logging and memory, which do not affect the computation.
_TRAINING = {
    "base_learning_rate", "monitor", "log_every_t", "first_stage_key", "cond_stage_key",
    "cond_stage_trainable", "cond_stage_forward", "num_timesteps_cond", "loss_type", "use_ema",
    "scheduler_config", "ckpt_path", "ignore_keys", "load_only_unet", "l_simple_weight",
    "original_elbo_weight", "learn_logvar", "logvar_init", "use_positional_encodings",
    "v_posterior", "clip_denoised", "personalization_config", "finetune_keys",
}  # fmt: skip
_LDM = {
    "linear_start", "linear_end", "timesteps", "beta_schedule", "image_size",
    "channels", "conditioning_key", "concat_mode", "scale_factor", "scale_by_std",
    "parameterization", "unet_config", "first_stage_config", "cond_stage_config",
}  # fmt: skip
_UNET = {
    "in_channels", "out_channels", "model_channels", "num_res_blocks", "attention_resolutions",
    "channel_mult", "num_heads", "num_head_channels", "use_spatial_transformer",
    "transformer_depth", "context_dim", "use_scale_shift_norm", "resblock_updown",
    "conv_resample", "num_classes", "dropout",
}  # fmt: skip
_UNET_WITHOUT_EFFECT = {
    "image_size", "use_checkpoint", "use_fp16", "num_heads_upsample", "legacy",
}  # fmt: skip
_CLASSIFIER = _UNET - {"use_spatial_transformer", "transformer_depth", "context_dim", "num_classes"}
_AUTOENCODER = {
    "z_channels", "ch", "ch_mult", "num_res_blocks", "attn_resolutions", "resolution",
    "in_channels", "out_ch", "attn_type", "dropout",
}  # fmt: skip
_AUTOENCODER_TRAINING = {
    "monitor", "lossconfig", "ckpt_path", "ignore_keys", "image_key", "colorize_nlabels",
    "batch_resize_range", "scheduler_config", "lr_g_factor", "use_ema", "remap", "sane_index_shape",
}  # fmt: skip


def architecture_values(config: Mapping[str, Any], where: str) -> Values:
    """Return the values of the `Architecture` that a CompVis config describes.

    Args:
        config: The whole file, with the key `model`.
        where: The file's path, for error messages.

    Raises:
        PresetError: If a target or a parameter is not in the table.
    """
    _only(config, {"model", "data", "lightning"}, where)
    return _read(config.get("model"), _MODELS, f"{where}: model")


def read_architecture(config: Mapping[str, Any], where: str) -> Architecture:
    """Return the architecture that a CompVis config describes.

    Raises:
        PresetError: If the config holds anything unknown.
    """
    return parse(Architecture, architecture_values(config, where), where)


def preset_values(config: Mapping[str, Any], where: str) -> Values:
    """Return task, trained size and architecture of a CompVis config, as values of a `Preset`.

    Raises:
        PresetError: If the config holds anything unknown, or no task uses such a model.
    """
    values = architecture_values(config, where)
    architecture = parse(Architecture, values, where)
    task = _task(architecture, where)
    if architecture.unet is None:
        side = architecture.first_stage.resolution
    else:
        cells = config["model"]["params"].get("image_size")
        if not isinstance(cells, int):
            raise PresetError(f"{where}: image_size must be a whole number, got {cells!r:.80}.")
        side = cells * architecture.factor
    made = {"task": task, "architecture": values, "width": side, "height": side}
    is_stable = architecture.conditioner.kind == "clip"
    return made | ({"defaults": dict(CLIP_DEFAULTS)} if is_stable else {})


def _task(architecture: Architecture, where: str) -> str:
    if architecture.unet is None and architecture.first_stage:
        return "first-stage"
    key = (architecture.conditioning, architecture.conditioner.kind)
    if architecture.classifier or key not in TASK_OF:
        raise PresetError(f"{where}: no task here uses a model of this kind.")
    return TASK_OF[key]


def _latent_diffusion(params: Values, where: str) -> Values:
    _only(params, _LDM | _TRAINING, where, cosine_s=0.008)
    kinds = {"linear": "scaled_linear", "sqrt_linear": "linear", "cosine": "cosine"}
    schedule = {"kind": _look_up(kinds, params.get("beta_schedule", "linear"), where)}
    for ours, theirs in (("start", "linear_start"), ("end", "linear_end"), ("length", "timesteps")):
        if theirs in params:
            schedule[ours] = params[theirs]
    conditioner = params.get("cond_stage_config", "__is_unconditional__")
    by_std = params.get("scale_by_std", False)
    return {
        "unet": _read(params.get("unet_config"), _UNETS, f"{where}.unet_config"),
        "first_stage": _read(
            params.get("first_stage_config"), _FIRST_STAGES, f"{where}.first_stage_config"
        ),
        "conditioner": _read_conditioner(conditioner, f"{where}.cond_stage_config"),
        "conditioning": _conditioning(params, conditioner, where),
        "schedule": schedule,
        "scale_factor": None if by_std else params.get("scale_factor", 1.0),
        "prediction": _look_up(
            {"eps": "eps", "x0": "x0"}, params.get("parameterization", "eps"), where
        ),
    }


def _inpainting(params: Values, where: str) -> Values:
    """Read a model that is shown a hole as Stable Diffusion's for inpainting is."""
    keys = {"masked_image_key": "masked_image", "concat_keys": ["mask", "masked_image"]}
    _only(params, _LDM | _TRAINING, where, **keys, conditioning_key="hybrid")
    words = {key: value for key, value in params.items() if key not in keys}
    values = _latent_diffusion(words | {"conditioning_key": "crossattn"}, where)
    return values | {"conditioning": "hybrid", "grey_holes": True}


def _conditioning(params: Values, conditioner: Any, where: str) -> str:
    """Return how the conditioning reaches the UNet; by default `concat_mode` (true) decides."""
    if conditioner == "__is_unconditional__":
        return "none"
    key = params.get("conditioning_key")
    if key is None:
        key = "concat" if params.get("concat_mode", True) else "crossattn"
    return _look_up({"concat": "concat", "crossattn": "crossattn"}, key, where)


def _unet(params: Values, where: str) -> Values:
    _only(params, _UNET | _UNET_WITHOUT_EFFECT, where, dims=2, use_new_attention_order=False)
    _check_heads(params, where)
    return {key: value for key, value in params.items() if key in _UNET}


def _check_heads(params: Values, where: str) -> None:
    """Check that the decoder has as many heads as the encoder, as in all published models."""
    heads, upwards = params.get("num_heads", -1), params.get("num_heads_upsample", -1)
    if upwards not in (-1, heads):
        raise PresetError(f"{where}: num_heads_upsample must be {heads}, got {upwards!r:.80}.")


def _classifier(params: Values, where: str) -> Values:
    ours = _CLASSIFIER | {"image_size", "pool"}
    _only(params, ours | _UNET_WITHOUT_EFFECT, where, dims=2, use_new_attention_order=False)
    _check_heads(params, where)
    return {"classifier": {key: value for key, value in params.items() if key in ours}}


def _autoencoder(kind: str, params: Values, where: str) -> Values:
    extra = {"n_embed"} if kind == "vq" else set()
    _only(params, {"embed_dim", "ddconfig"} | extra | _AUTOENCODER_TRAINING, where)
    if params.get("remap") is not None:
        raise PresetError(f"{where}: a remapped codebook is not supported.")
    about = params.get("ddconfig")
    if not isinstance(about, dict):
        raise PresetError(f"{where} needs ddconfig.")
    _only(about, _AUTOENCODER, f"{where}.ddconfig", double_z=kind == "kl", tanh_out=False)
    values = {key: value for key, value in about.items() if key in _AUTOENCODER}
    return {"kind": kind, **values, **{k: params[k] for k in {"embed_dim"} | extra if k in params}}


def _kl(params: Values, where: str) -> Values:
    return _autoencoder("kl", params, where)


def _vq(params: Values, where: str) -> Values:
    return _autoencoder("vq", params, where)


def _identity_first_stage(params: Values, where: str) -> Values:
    _only(params, {"vq_interface"}, where)
    return {"kind": "identity"}


def _alone(read: Callable[[Values, str], Values]) -> Callable[[Values, str], Values]:
    """Turn a reader of first stages into one of whole models, which are a first stage alone."""
    return lambda params, where: {"first_stage": read(params, where)}


def _text(params: Values, where: str) -> Values:
    ours = {"n_embed", "n_layer", "vocab_size", "max_seq_len"}
    _only(params, ours | {"device", "use_tokenizer", "embedding_dropout"}, where)
    values = {"vocab_size": 30522, "max_seq_len": 77}
    values |= {key: value for key, value in params.items() if key in ours}
    if params.get("use_tokenizer", True):
        return {"kind": "text", "vocabulary": BERT_VOCABULARY, **values}
    return {"kind": "tokens", **values}


def _clip(params: Values, where: str) -> Values:
    _only(params, {"device"}, where, version="openai/clip-vit-large-patch14", max_length=77)
    return dict(CLIP_L)


def _class(params: Values, where: str) -> Values:
    _only(params, {"n_classes", "embed_dim", "key"}, where)
    kept = {key: value for key, value in params.items() if key != "key"}
    return {"kind": "class", "n_classes": 1000, **kept}


def _rescaler(params: Values, where: str) -> Values:
    ours = {"n_stages", "in_channels", "out_channels"}
    _only(params, ours, where, method="bilinear", multiplier=0.5, bias=False)
    return {"kind": "spatial_rescaler", "n_stages": 1, "in_channels": 3, **params}


def _identity_conditioner(params: Values, where: str) -> Values:
    _only(params, set(), where)
    return {"kind": "identity"}


Reader = Callable[[Values, str], Values]
_FIRST_STAGES: Mapping[str, Reader] = {
    "ldm.models.autoencoder.AutoencoderKL": _kl,
    "ldm.models.autoencoder.VQModel": _vq,
    "ldm.models.autoencoder.VQModelInterface": _vq,
    "ldm.models.autoencoder.IdentityFirstStage": _identity_first_stage,
}
_UNETS: Mapping[str, Reader] = {
    "ldm.modules.diffusionmodules.openaimodel.UNetModel": _unet,
}
_CONDITIONERS: Mapping[str, Reader] = {
    "ldm.modules.encoders.modules.BERTEmbedder": _text,
    "ldm.modules.encoders.modules.ClassEmbedder": _class,
    "ldm.modules.encoders.modules.FrozenCLIPEmbedder": _clip,
    "ldm.modules.encoders.modules.SpatialRescaler": _rescaler,
    "torch.nn.Identity": _identity_conditioner,
}
_MODELS: Mapping[str, Reader] = {
    "ldm.models.diffusion.ddpm.LatentDiffusion": _latent_diffusion,
    "ldm.models.diffusion.ddpm.LatentInpaintDiffusion": _inpainting,
    "ldm.modules.diffusionmodules.openaimodel.EncoderUNetModel": _classifier,
    **{name: _alone(read) for name, read in _FIRST_STAGES.items()},
}
TARGETS = sorted({*_MODELS, *_UNETS, *_CONDITIONERS})


def _read_conditioner(block: Any, where: str) -> Values:
    words = {"__is_unconditional__": "none", "__is_first_stage__": "first_stage"}
    if isinstance(block, str):
        return {"kind": _look_up(words, block, where)}
    return _read(block, _CONDITIONERS, where)


def _read(block: Any, readers: Mapping[str, Reader], where: str) -> Values:
    """Read the values of a `{target, params}` block with the reader of its target."""
    if not isinstance(block, dict):
        raise PresetError(f"{where} must be a block with a target, got {block!r:.80}.")
    _only(block, {"target", "params", "base_learning_rate"}, where)
    reader = _look_up(readers, block.get("target"), f"{where}.target")
    params = block.get("params") or {}
    if not isinstance(params, dict):
        raise PresetError(f"{where}.params must be a mapping, got {params!r:.80}.")
    return reader(params, where)


def _look_up(table: Mapping[str, Any], name: Any, where: str) -> Any:
    if not isinstance(name, str) or name not in table:
        raise PresetError(f"{where}: {name!r:.80} is not one of {', '.join(table)}.")
    return table[name]


def _only(params: Mapping[str, Any], allowed: set[str], where: str, **fixed: Any) -> None:
    """Refuse keys that are not allowed, and values of `fixed` keys other than the given ones."""
    if not isinstance(params, Mapping):
        raise PresetError(f"{where} must be a mapping, got {params!r:.80}.")
    for key, value in params.items():
        if key in fixed and value != fixed[key]:
            raise PresetError(f"{where}: {key} must be {fixed[key]}, got {value!r:.80}.")
        if key not in allowed and key not in fixed:
            known = ", ".join(sorted(allowed | set(fixed)))
            raise PresetError(f"{where}: unknown key {key!r:.80}; known are {known}.")
