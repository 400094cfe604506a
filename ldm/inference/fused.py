"""Fused CUDA kernels: group norm with the sum before and the SiLU after it, and bias with a sum.

torch's group norm changes a channels-last map to another memory format, so that both it and the
next convolution copy the whole map. These kernels read and write channels-last maps in one pass.
They are written in Triton, which comes with torch for CUDA; if it is missing or does not work,
torch's own operations compute the same.

B, C, H, W: batch, channels, height, width.
"""

from __future__ import annotations

import functools
import logging
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import has_torch_function_unary

LAST = torch.channels_last
WHOLE = 16384  # a group of one picture with up to so many values is one tile
TILE = 4096  # values per tile of a larger group, ...
MANY = 2**20  # ... up to so many values; above that, tiles have WHOLE values
PER_WARP = 1024  # values of a tile per warp: 32 for each of 32 threads
BLOCK = 2048  # values per program of `add_bias_and`
LARGEST = 2**31 - 1  # most values of a map, whose offsets are 32-bit
log = logging.getLogger(__name__)


def takes(x: Tensor) -> bool:
    """Whether these kernels work for a map."""
    if has_torch_function_unary(x) or x.device.type != "cuda" or x.ndim != 4:
        return False
    return 0 < x.numel() <= LARGEST and _kernels(x.device) is not None


@functools.cache
def _kernels(device: torch.device) -> Any:
    """Return the module of kernels after testing it on a device; None: it does not work there."""
    try:
        from ldm.inference import triton_kernels  # noqa: PLC0415  (only CUDA has Triton)

        norm = nn.GroupNorm(2, 6, device=device)
        x = torch.arange(60.0, device=device).view(1, 6, 2, 5).contiguous(memory_format=LAST)
        with torch.no_grad(), torch.cuda.device(device):
            made = normalised(triton_kernels, norm, x, None, silu=False)
            torch.testing.assert_close(made, nn.functional.group_norm(x, 2), rtol=1e-3, atol=1e-3)
    except Exception as error:  # e.g. no Triton, no compiler or an unsupported card
        log.warning("group norms are torch's own, since Triton does not work here: %r", error)
        return None
    return triton_kernels


def group_norm(norm: nn.GroupNorm, x: Tensor, plus: Tensor | None, silu: bool) -> Tensor:
    """Normalise x + plus and optionally apply SiLU.

    Args:
        norm: A layer with weight and bias.
        x: (B, C, H, W); `takes(x)` must be true.
        plus: (B, C, 1, 1) or None.
        silu: Whether to apply SiLU to the result.

    Returns:
        (B, C, H, W), channels-last.
    """
    with torch.cuda.device(x.device):
        return normalised(_kernels(x.device), norm, x, plus, silu)


def normalised(
    kernels: Any, norm: nn.GroupNorm, x: Tensor, plus: Tensor | None, silu: bool
) -> Tensor:
    """`group_norm` by the kernels of the given module."""
    x = x.contiguous(memory_format=LAST)
    out = torch.empty_like(x, memory_format=LAST)
    B, C, H, W = x.shape
    per, positions = C // norm.num_groups, H * W
    width = 1 << (per - 1).bit_length()
    tile = WHOLE if positions * width <= WHOLE or positions * width > MANY else TILE
    rows = max(1, min(tile // width, 1 << (positions - 1).bit_length()))
    tiles = B * norm.num_groups, -(-positions // rows)
    if plus is not None and plus.stride(1) != 1:
        plus = plus.contiguous()
    about = (0 if plus is None else plus.stride(0)), positions, C, norm.num_groups
    shape = {"PER": per, "WIDTH": width, "ROWS": rows, "HAS_PLUS": plus is not None}
    plus = x if plus is None else plus  # any valid address; it is not read
    warps = {"num_warps": min(16, max(1, rows * width // PER_WARP))}
    found = x  # any valid address; it is not read if a group is one tile
    if tiles[1] > 1:
        found = torch.empty(*tiles, 2, dtype=torch.float32, device=x.device)
        kernels.moments[tiles](x, plus, found, *about, **shape, **warps)
    parts = 1 << (tiles[1] - 1).bit_length()
    given = x, plus, norm.weight, norm.bias, found, out, *about, norm.eps
    kernels.normalise[tiles](*given, **shape, PARTS=parts, SILU=silu, **warps)
    return out


def add_bias_and(made: Tensor, bias: Tensor, plus: Tensor) -> Tensor:
    """Add bias and plus to `made` in place.

    Args:
        made: (B, C, H, W), channels-last; `takes(made)` must be true.
        bias: (C,).
        plus: (B, C, H, W).
    """
    with torch.cuda.device(made.device):
        return summed(_kernels(made.device), made, bias, plus)


def summed(kernels: Any, made: Tensor, bias: Tensor, plus: Tensor) -> Tensor:
    """`add_bias_and` by the kernels of the given module."""
    plus = plus.contiguous(memory_format=LAST)
    grid = (-(-made.numel() // BLOCK),)
    kernels.add_bias_and[grid](made, bias, plus, made.numel(), made.shape[1], BLOCK=BLOCK)
    return made
