"""Choice of the device and the precision of computation."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from typing import TYPE_CHECKING

from ldm.errors import RequestError

if TYPE_CHECKING:  # names are checked without torch, so that a wrong flag is reported at once
    import torch

log = logging.getLogger(__name__)

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "bfloat16")


def check_device_name(name: str) -> None:
    """Refuse a name that is no device on any machine.

    Raises:
        RequestError: If the name is none of DEVICES, nor one with a number, like "cuda:1".
    """
    kind, _, number = name.partition(":") if isinstance(name, str) else ("", "", "")
    is_known = kind in DEVICES and (":" not in name or (kind != "auto" and number.isdecimal()))
    if not is_known:
        raise RequestError(f"device must be one of {', '.join(DEVICES)}, got {name!r:.40}.")


def choose_device(name: str | torch.device = "auto") -> torch.device:
    """Return the device called `name`; "auto" takes CUDA, then MPS, then the CPU.

    Raises:
        RequestError: If the name is unknown or this machine has no such device.
    """
    import torch  # noqa: PLC0415  (see above)

    name = str(name) if isinstance(name, torch.device) else name
    check_device_name(name)
    there = {
        "cpu": 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if there[kind])
    kind, _, number = name.partition(":")
    if int(number or 0) >= there[kind]:
        found = ", ".join(kind for kind, count in there.items() if count)
        raise RequestError(f"this machine has no device {name:.40}; it has {found}.")
    return torch.device(name)


def exact_float32() -> None:
    """Switch TF32 off on CUDA, so that float32 is computed in full precision.

    By default torch rounds the inputs of CUDA's convolutions to 10 bits; then a picture would
    depend on its batch and on how its canvas is covered.
    """
    import torch  # noqa: PLC0415  (see above)

    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def choose_dtype(device: torch.device, precision: str = "auto") -> torch.dtype:
    """Return the dtype to compute in.

    "auto" is bfloat16 on CUDA cards that support it, float16 on older ones, float32 elsewhere.

    Raises:
        RequestError: If the precision is none of PRECISIONS.
    """
    import torch  # noqa: PLC0415  (see above)

    if precision not in PRECISIONS:
        choices = ", ".join(PRECISIONS)
        raise RequestError(f"precision must be one of {choices}, got {precision!r:.40}.")
    if precision == "bfloat16" and not has_bfloat16(device):
        log.warning("%s only imitates bfloat16; float32 is faster.", device)
    if precision != "auto":
        return getattr(torch, precision)
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if has_bfloat16(device) else torch.float16


def has_bfloat16(device: torch.device) -> bool:
    """Whether `device` computes natively in bfloat16 and does not emulate it slowly."""
    import torch  # noqa: PLC0415  (see above)

    from ldm.inference.kernels import has_arithmetic  # noqa: PLC0415

    if device.type == "cpu":
        return has_arithmetic(torch.bfloat16)
    if device.type != "cuda":
        return True
    # it tells of the current one
    with nullcontext() if device.index is None else torch.cuda.device(device):
        return torch.cuda.is_bf16_supported(including_emulation=False)


def autocast(device: torch.device) -> torch.autocast:
    """Return an autocast to bfloat16 if `device` computes natively in it, else a disabled one."""
    import torch  # noqa: PLC0415  (see above)

    return torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device))
