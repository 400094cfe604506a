"""3x3 convolutions with 16 products for every 36: Winograd's F(2x2, 3x3) (arXiv:1509.09308).

Tiles of 4x4 input pixels, two apart, and the kernel are turned so that a convolution becomes 16
matrix products over channels; turned back, each tile gives 2x2 output pixels. In float32 it is
as exact as the direct sum; in bfloat16 its error is about twice as large. It pays where there are
many channels; the turned kernel takes 16/9 of the memory. Where a processor multiplies tiles of
bfloat16 at once, products cost less than the turning: it would take up to twice as long.

B, H, W: batch, rows, columns; I, O: channels in and out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ldm.models.kernels import LinearKernel, has_tiles

CHANNELS = 160  # at least, in and out, ...
PAIRS = 192 * 192  # ... and of pairs of them, from which on it pays
CHUNK = 4 * 2**20  # numbers of turned tiles at a time: they stay in the cache
# G of the paper; its last row is negated, so that the last product is added like the others
TURN_KERNEL = torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, -1]])


def pays(weight: Tensor, dtype: torch.dtype, stride: int, padding: int) -> bool:
    """Whether a convolution, computed in `dtype`, is faster this way."""
    if has_tiles(dtype):
        return False
    outputs, inputs, *sides = weight.shape
    many = min(inputs, outputs) >= CHANNELS and inputs * outputs >= PAIRS
    return many and (*sides, stride, padding) == (3, 3, 1, 1)


class Winograd:
    """One kernel, turned.

    Args:
        weight: (O, I, 3, 3).
        dtype: Of the computation.
    """

    def __init__(self, weight: Tensor, dtype: torch.dtype) -> None:
        turned = torch.tensordot(TURN_KERNEL, weight.float(), ([1], [2]))  # (4, O, I, 3)
        self.products = [[LinearKernel((row @ b).to(dtype)) for b in TURN_KERNEL] for row in turned]
        self.outputs = len(weight)

    def __call__(self, x: Tensor, bias: Tensor | None, plus: Tensor | None = None) -> Tensor:
        """(B, I, H, W) -> (B, O, H, W), channels-last, added to `plus`."""
        out = self.strip(x, bias, 1, 1)
        return out if plus is None else out.add_(plus)

    def strip(self, part: Tensor, bias: Tensor | None, above: int, below: int) -> Tensor:
        """Rows with so many zero rows above and below; only columns are padded else."""
        B, inputs, H, W = part.shape
        H += above + below - 2  # of the result
        # an odd side gets one more row or column, which is cut off again
        x = F.pad(part.permute(0, 2, 3, 1), (0, 0, 1, 1 + W % 2, above, below + H % 2))
        down, across = (H + 1) // 2, (W + 1) // 2  # tiles
        out = x.new_empty(B, 2 * down, 2 * across, self.outputs)
        per_chunk = max(1, CHUNK // (16 * B * across * inputs))
        for start in range(0, down, per_chunk):
            stop = min(start + per_chunk, down)
            self._chunk(x[:, 2 * start : 2 * stop + 2], bias, out[:, 2 * start : 2 * stop])
        return out[:, :H, :W].permute(0, 3, 1, 2)

    def _chunk(self, x: Tensor, bias: Tensor | None, out: Tensor) -> None:
        """Padded rows (B, 2d + 2, 2a + 2, I) -> out (B, 2d, 2a, O), d by a tiles."""
        tiles = _turn_tiles(x)  # (4, 4, B, d, a, I)
        flat = tiles.flatten(2, 4)
        rows: tuple[list[Tensor], list[Tensor]] = ([], [])  # upper and lower output pixels
        for j in range(4):
            first, second, third, fourth = (row[j] for row in self.products)
            # a constant here comes out in all four pixels
            middle = second(flat[1, j], bias if j == 1 else None)
            lower = third(flat[2, j])
            upper = middle + lower
            lower = torch.sub(middle, lower, out=lower)
            rows[0].append(first.plus(flat[0, j], None, upper))
            rows[1].append(fourth.plus(flat[3, j], None, lower))
        for i, parts in enumerate(rows):
            a, b, c, d = (part.view(*tiles.shape[2:5], -1) for part in parts)
            torch.add(a.add_(b), c, out=out[:, i::2, 0::2])
            torch.add(b.sub_(c), d, out=out[:, i::2, 1::2])


def _turn_tiles(x: Tensor) -> Tensor:
    """Padded rows (B, 2d + 2, 2a + 2, I) -> (4, 4, B, d, a, I): B^T d B of the paper."""
    B, rows, columns, inputs = x.shape
    d, a = rows // 2 - 1, columns // 2 - 1
    half = x.new_empty(4, B, d, columns, inputs)
    _differences([x[:, k : k + 2 * d : 2] for k in range(4)], [half[k] for k in range(4)])
    tiles = x.new_empty(4, 4, B, d, a, inputs)
    _differences(
        [half[:, :, :, k : k + 2 * a : 2] for k in range(4)], [tiles[:, k] for k in range(4)]
    )
    return tiles


def _differences(x: list[Tensor], out: list[Tensor]) -> None:
    torch.sub(x[0], x[2], out=out[0])
    torch.add(x[1], x[2], out=out[1])
    torch.sub(x[2], x[1], out=out[2])
    torch.sub(x[1], x[3], out=out[3])
