"""Bytes: how many a person allows, how many are free, how many a model takes."""

from __future__ import annotations

import re

import psutil
import torch
from torch import nn

from ldm.errors import RequestError

UNITS = {
    "": 1,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
}
SHARE_OF_FREE = 0.6  # of the free memory for models; the rest is for what they compute


def parse_bytes(text: str) -> int:
    """ "4GiB", "500 MB" or "1000" -> bytes.

    Raises:
        RequestError: If it is no positive amount.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    unit = match.group(2).upper() if match else None
    if match is None or unit not in UNITS or float(match.group(1)) <= 0:
        raise RequestError(f"a memory budget must be an amount like 4GiB or 500MB, got {text!r}.")
    return int(float(match.group(1)) * UNITS[unit])


def format_bytes(amount: int) -> str:
    """Bytes for people."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if amount >= size:
            return f"{amount / size:.1f} {unit}"
    return f"{amount} bytes"


def default_budget(device: torch.device) -> int:
    """A fixed share of what is free on the device now."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
    else:
        free = psutil.virtual_memory().available
    return int(SHARE_OF_FREE * free)


def model_bytes(model: nn.Module) -> int:
    """What the weights and buffers take."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
