"""On CUDA: group norm with what is around it, and the sums after a convolution, in one pass.

torch's group norm puts a channels-last map in another order and leaves it there, so that it and
the next convolution each copy all of it. Here it is read and written as it lies, with the sum
before it and the activation behind it. The kernels are Triton's, which comes with torch for CUDA;
where it is missing or does not work, torch's own operations compute the same.

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
WHOLE = 16384  # numbers of a group of one picture: so many are one tile, ...
TILE = 4096  # ... more are tiles of this size, ...
MANY = 2**20  # ... and from so many on of the first
PER_WARP = 1024  # numbers of a tile: each of 32 threads holds 32
BLOCK = 2048  # numbers of a sum at a time
LARGEST = 2**31 - 1  # numbers of a map whose places are 32-bit
log = logging.getLogger(__name__)


def takes(x: Tensor) -> bool:
    """Whether a map is one for these kernels."""
    if has_torch_function_unary(x) or x.device.type != "cuda" or x.ndim != 4:
        return False
    return 0 < x.numel() <= LARGEST and _kernels(x.device) is not None


@functools.cache
def _kernels(device: torch.device) -> Any:
    """The kernels, once they have been seen to work on a device; None: they do not."""
    try:
        from ldm.models import triton_kernels  # noqa: PLC0415  (only CUDA has Triton)

        norm = nn.GroupNorm(2, 6, device=device)
        x = torch.arange(60.0, device=device).view(1, 6, 2, 5).contiguous(memory_format=LAST)
        with torch.no_grad(), torch.cuda.device(device):
            made = normalised(triton_kernels, norm, x, None, silu=False)
            torch.testing.assert_close(made, nn.functional.group_norm(x, 2), rtol=1e-3, atol=1e-3)
    except Exception as error:  # no Triton, no compiler, a card it does not know: torch does it
        log.warning("group norms are torch's own, since Triton does not work here: %r", error)
        return None
    return triton_kernels


def group_norm(norm: nn.GroupNorm, x: Tensor, plus: Tensor | None, silu: bool) -> Tensor:
    """The norm of x + plus, with a SiLU behind it or without.

    Args:
        norm: With weight and bias.
        x: (B, C, H, W); `takes` it.
        plus: (B, C, 1, 1) or None.
        silu: Whether there is one.

    Returns:
        (B, C, H, W), channels-last.
    """
    with torch.cuda.device(x.device):
        return normalised(_kernels(x.device), norm, x, plus, silu)


def normalised(
    kernels: Any, norm: nn.GroupNorm, x: Tensor, plus: Tensor | None, silu: bool
) -> Tensor:
    """`group_norm` by the kernels of a module."""
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
    plus = x if plus is None else plus  # some address, which is not read
    warps = {"num_warps": min(16, max(1, rows * width // PER_WARP))}
    found = x  # likewise
    if tiles[1] > 1:
        found = torch.empty(*tiles, 2, dtype=torch.float32, device=x.device)
        kernels.moments[tiles](x, plus, found, *about, **shape, **warps)
    parts = 1 << (tiles[1] - 1).bit_length()
    given = x, plus, norm.weight, norm.bias, found, out, *about, norm.eps
    kernels.normalise[tiles](*given, **shape, PARTS=parts, SILU=silu, **warps)
    return out


def add_bias_and(made: Tensor, bias: Tensor, plus: Tensor) -> Tensor:
    """made + bias + plus, written over `made`, which is channels-last and which `takes` takes.

    Args:
        made: (B, C, H, W).
        bias: (C,).
        plus: (B, C, H, W).
    """
    with torch.cuda.device(made.device):
        return summed(_kernels(made.device), made, bias, plus)


def summed(kernels: Any, made: Tensor, bias: Tensor, plus: Tensor) -> Tensor:
    """`add_bias_and` by the kernels of a module."""
    plus = plus.contiguous(memory_format=LAST)
    grid = (-(-made.numel() // BLOCK),)
    kernels.add_bias_and[grid](made, bias, plus, made.numel(), made.shape[1], BLOCK=BLOCK)
    return made
