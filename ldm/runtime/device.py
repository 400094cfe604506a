"""Where to compute, and in which precision."""

from __future__ import annotations

import torch

from ldm.errors import RequestError

DEVICES = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str = "auto") -> torch.device:
    """The device called `name`; "auto" takes CUDA, then MPS, then the CPU.

    Raises:
        RequestError: If the name is unknown or this machine has no such device.
    """
    if name.partition(":")[0] not in DEVICES:
        raise RequestError(f"device must be one of {', '.join(DEVICES)}, got {name!r}.")
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next((kind for kind, there in available.items() if there), "cpu")
    if not available.get(name.partition(":")[0], True):
        raise RequestError(f"this machine has no {name} device; take cpu or auto.")
    return torch.device(name)


def choose_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 on CUDA cards that compute in it, float16 on older ones, float32 elsewhere."""
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
