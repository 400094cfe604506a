"""Conversion of weight names between the published files and our `LatentDiffusion`.

Published                        ours
model.diffusion_model.X          unet.X
first_stage_model.X              first_stage.X
cond_stage_model.X               conditioner.X
X (a first stage's own file)     first_stage.X

CLIP's text transformer is `transformer.text_model.` in some files and `transformer.` in others.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ldm.errors import CheckpointError

UNET, FIRST_STAGE, CONDITIONER = "unet.", "first_stage.", "conditioner."
PREFIXES = {
    "model.diffusion_model.": UNET,
    "first_stage_model.": FIRST_STAGE,
    "cond_stage_model.": CONDITIONER,
}
_CLIP = CONDITIONER + "transformer."
_BARE_CLIP = tuple(_CLIP + part for part in ("embeddings.", "encoder.", "final_layer_norm."))
FIRST_STAGE_PARTS = (
    "encoder.",
    "decoder.",
    "quant_conv.",
    "post_quant_conv.",
    "quantize.",
    "loss.",
)
EMA_COUNTERS = ("model_ema.decay", "model_ema.num_updates")


def to_our_names(
    tensors: Mapping[str, Tensor], source: str, *, ema: bool = True
) -> dict[str, Tensor]:
    """Rename published weights to ours.

    Args:
        tensors: The weights of a published file: a whole model's or a first stage's.
        source: The file's path, for error messages.
        ema: Whether to take averaged weights (EMA) if the file has them, as the authors do.

    Raises:
        CheckpointError: If the averaged weights do not match the raw ones.
    """
    tensors = _choose_weights(tensors, source, ema)
    alone = not any(name.startswith(tuple(PREFIXES)) for name in tensors)
    if alone and any(name.startswith(FIRST_STAGE_PARTS) for name in tensors):
        return {FIRST_STAGE + name: tensor for name, tensor in tensors.items()}
    return {_our_name(name): tensor for name, tensor in tensors.items()}


def to_published_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `to_our_names` for a whole model."""
    prefixes = {ours: theirs for theirs, ours in PREFIXES.items()}
    return {_replace_prefix(name, prefixes): tensor for name, tensor in tensors.items()}


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the weights whose names start with `prefix`, with the prefix removed."""
    return {k[len(prefix) :]: tensor for k, tensor in tensors.items() if k.startswith(prefix)}


def ema_name(name: str) -> str:
    """Return the published name of the running average of a UNet weight: all dots are removed.

    Since this cannot be reversed, averages are looked up by the raw names.
    """
    return "model_ema." + name.removeprefix("model.").replace(".", "")


def _choose_weights(tensors: Mapping[str, Tensor], source: str, ema: bool) -> dict[str, Tensor]:
    """Return all weights without the averages, or with them in place of the raw ones if `ema`."""
    averages = {k for k in tensors if k.startswith("model_ema.")} - set(EMA_COUNTERS)
    chosen = {k: tensor for k, tensor in tensors.items() if not k.startswith("model_ema.")}
    if not averages or not ema:
        return chosen
    average_of = {name: ema_name(name) for name in chosen if name.startswith("model.")}
    if unmatched := sorted(averages.symmetric_difference(average_of.values())):
        raise CheckpointError(
            f"{source} has averaged weights that do not match the raw ones "
            f"({len(unmatched)}, first {unmatched[0]!r:.120}); get another copy."
        )
    return chosen | {name: tensors[average] for name, average in average_of.items()}


def _our_name(name: str) -> str:
    ours = _replace_prefix(name, PREFIXES)
    if ours.startswith(_BARE_CLIP):
        return ours.replace(_CLIP, _CLIP + "text_model.", 1)
    return ours


def _replace_prefix(name: str, prefixes: Mapping[str, str]) -> str:
    for old, new in prefixes.items():
        if name.startswith(old):
            return new + name[len(old) :]
    return name
