"""Loading of weights into a model: all names and shapes must fit, or the model is unchanged."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ldm.checkpoints.keymaps import CONDITIONER, FIRST_STAGE, part, to_our_names
from ldm.checkpoints.read import read_checkpoint
from ldm.errors import CheckpointError

# Tables of the noise schedule in published files; here they are computed from the configuration.
SCHEDULE_BUFFERS = (
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
)
# Patterns of weights in published files that no model here needs. All others must fit exactly.
ALLOWED = (
    *SCHEDULE_BUFFERS,
    "lvlb_weights",
    "logvar",
    "loss.*",
    "first_stage.loss.*",  # perceptual loss and discriminator of the first stage's training
    "conditioner.loss.*",
    # beside CLIP's text transformer: 0, 1, 2 ..., and what compares texts with pictures
    "conditioner.transformer.text_model.embeddings.position_ids",
    "conditioner.transformer.text_projection.weight",
    "conditioner.text_projection",
    "conditioner.logit_scale",
    "embedding_manager.*",  # of textual inversion, empty in the authors' configuration
    "scale_factor",  # read by `_scale_factor`
)


@dataclass(frozen=True)
class LoadReport:
    """What was done with the weights of a file."""

    loaded: int  # number of weights
    ignored: tuple[str, ...]  # left-over names, which `allow` lists or which are duplicates


def load_files(
    model: nn.Module,
    paths: Sequence[Path],
    *,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
    ema: bool = True,
) -> LoadReport:
    """Fill a `LatentDiffusion` from its weight files.

    Args:
        model: The model, usually on the meta device.
        paths: The model's own file and, if the first stage has a separate file, that file.
        dtype: Dtype that weights are converted to; None: that of the file.
        device: Device that weights are moved to; None leaves them mapped from the file.
        ema: Whether to prefer averaged weights (EMA) if the file has them.

    Raises:
        CheckpointError: If a file is broken or does not fit; the model is then unchanged.
    """
    tensors: dict[str, Tensor] = {}
    for path in paths:
        tensors |= to_our_names(read_checkpoint(path), str(path), ema=ema)
    source = " and ".join(str(path) for path in paths)
    return load_weights(model, tensors, source, dtype=dtype, device=device)


def load_first_stage(
    first_stage: nn.Module,
    path: Path,
    *,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
) -> LoadReport:
    """Fill an autoencoder from its own file or from that of a model that contains it.

    Raises:
        CheckpointError: If the file is broken, does not fit or holds no first stage.
    """
    tensors = part(to_our_names(read_checkpoint(path), str(path), ema=False), FIRST_STAGE)
    if not tensors:
        raise CheckpointError(f"{path} holds no first stage; choose the file of one.")
    return load_weights(first_stage, tensors, str(path), dtype=dtype, device=device)


def load_preview(decoder: nn.Module, path: Path, device: str | torch.device = "cpu") -> LoadReport:
    """Fill the small decoder of a first stage's previews from its own file, in float32.

    Raises:
        CheckpointError: If the file is broken or does not fit.
    """
    about = {"dtype": torch.float32, "device": device}
    return load_weights(decoder, read_checkpoint(path), str(path), **about)


def load_classifier(
    classifier: nn.Module,
    path: Path,
    *,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
) -> LoadReport:
    """Fill a classifier of noisy latents from a file whose names start with `model.`.

    Raises:
        CheckpointError: If the file is broken or does not fit.
    """
    tensors = part(read_checkpoint(path), "model.")
    return load_weights(classifier, tensors, str(path), dtype=dtype, device=device)


def load_weights(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    source: str,
    *,
    allow: Sequence[str] = ALLOWED,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
) -> LoadReport:
    """Assign tensors to `model` as its parameters and buffers, without a second copy.

    Args:
        model: Any module; on the meta device nothing is allocated for it.
        tensors: Our name -> tensor.
        source: Origin of the tensors, for error messages.
        allow: Patterns of names that may be left over.
        dtype: Dtype that weights are converted to, tensor by tensor; None: that of each tensor.
        device: Device that weights are moved to; None leaves them where they are.

    Raises:
        CheckpointError: If a name is missing or left over, a shape differs, or a weight is not a
            finite number. The model is then unchanged.
    """
    wanted = model.state_dict()
    left_over = [name for name in tensors if name not in wanted]
    unexpected = [name for name in left_over if not _is_allowed(name, tensors, allow)]
    _check_fit(wanted, tensors, unexpected, source)
    scale_factor = _scale_factor(model, tensors, source)
    ready = {name: _convert(name, tensors[name], dtype, device, source) for name in wanted}
    model.load_state_dict(ready, strict=True, assign=True)
    if scale_factor is not None:
        model.scale_factor = scale_factor
    return LoadReport(len(ready), tuple(left_over))


def _is_allowed(name: str, tensors: Mapping[str, Tensor], allow: Sequence[str]) -> bool:
    """Whether a left-over name is allowed or duplicates a first-stage weight (inpainting)."""
    twin = FIRST_STAGE + name.removeprefix(CONDITIONER)
    is_duplicate = name.startswith(CONDITIONER) and twin in tensors
    return is_duplicate or any(fnmatch.fnmatchcase(name, pattern) for pattern in allow)


def _check_fit(
    wanted: Mapping[str, Tensor], tensors: Mapping[str, Tensor], unexpected: list[str], source: str
) -> None:
    missing = [name for name in wanted if name not in tensors]
    shared = [name for name in wanted if name in tensors]
    reshaped = [name for name in shared if wanted[name].shape != tensors[name].shape]
    faults = []
    if missing:
        faults.append(f"{len(missing)} weights missing (first {missing[0]})")
    if unexpected:
        faults.append(f"{len(unexpected)} unexpected (first {unexpected[0]!r:.120})")
    if reshaped:
        name = reshaped[0]
        theirs, ours = tuple(tensors[name].shape), tuple(wanted[name].shape)
        faults.append(f"{len(reshaped)} of another shape (first {name}: {theirs}, not {ours})")
    if faults:
        raise CheckpointError(
            f"{source} is of another architecture: {', '.join(faults)}; "
            "choose the preset that it was trained for."
        )


def _scale_factor(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> float | None:
    """Return the file's scale factor, else the model's; None if the model has none."""
    current = getattr(model, "scale_factor", None)
    if current is None:
        return None
    if "scale_factor" not in tensors:
        if math.isnan(current):
            raise CheckpointError(f"{source} lacks scale_factor, which this model stores there.")
        return current
    stated = tensors["scale_factor"]
    if stated.numel() != 1 or stated.is_complex() or not 0 < float(stated) < math.inf:
        raise CheckpointError(f"{source} has a scale_factor that is no positive number.")
    return float(stated)


def _convert(
    name: str,
    tensor: Tensor,
    dtype: torch.dtype | None,
    device: str | torch.device | None,
    source: str,
) -> Tensor:
    if not tensor.is_floating_point():
        raise CheckpointError(f"{source} holds {tensor.dtype} numbers in {name}, not weights.")
    converted = tensor.detach().to(device=device, dtype=dtype)
    checked = converted.float() if converted.dtype.itemsize == 1 else converted
    low, high = torch.aminmax(checked) if checked.numel() else (0.0, 0.0)
    if not math.isfinite(float(low)) or not math.isfinite(float(high)):
        raise CheckpointError(
            f"{source} holds numbers that are infinite or not a number in {name}"
            f"{f' as {dtype}' if dtype else ''}; get another copy."
        )
    return converted
