"""3x3 convolutions with fewer products: Winograd's F(m x m, 3 x 3) (arXiv:1509.09308).

Tiles of the map, m apart and n = m + 2 wide, and the kernel are transformed so that a convolution
becomes n x n matrix products over channels; transformed back, each tile gives m x m output pixels.
This takes 36 products for 16 pixels (m = 4) or 16 for 4 (m = 2); a direct convolution takes 9 per
pixel. The transforms are those of Toom-Cook multiplication of polynomials, by their values at n - 1
interpolation points and at infinity.

It is faster if there are many channels and more than a few tiles. The transformed kernel takes 4
(m = 4) or 16/9 (m = 2) times the memory. In float32 the error of m = 2 is that of direct sums, that
of m = 4 up to twice as large; in bfloat16 that of m = 2 is three times as large. Where AMX
multiplies bfloat16, products cost less than the transforms, so it is not used.

B, H, W: batch, rows, columns; I, O: channels in and out.
"""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from ldm.inference.kernels import ConvolutionKernel, has_tiles

CHUNK = 2**21  # values of transformed tiles at a time; smaller chunks read the kernel more often
CHANNELS = 128  # fewest input and output channels for which Winograd is used
# limits on pairs of channels, I * O:
NARROW = 192 * 192  # up to here, bfloat16 and fewer tiles than FEW are convolved directly
LARGE = 512 * 320  # above, m = 2, since a kernel of four times the size would be too large
HUGE = 1024 * 1024  # above, direct, since reading a kernel of 16/9 the size takes all the gain
FEW = 16
# m -> the interpolation points. For m = 4 the usual 0, 1, -1, 2, -2 have twice the error of these,
# whose magnitudes lie as far below 1 as above it.
POINTS = {2: (0.0, 1.0, -1.0), 4: (0.0, 0.75, -0.75, 1.5, -1.5)}


def output_tile(weight: Tensor, dtype: torch.dtype, stride: int, padding: int) -> int:
    """Choose m for a convolution: the fastest whose kernel is not too large; 0: compute directly.

    Args:
        weight: (O, I, rows, columns).
        dtype: Dtype of the computation.
        stride: Stride of rows and columns.
        padding: Zeros on each side.
    """
    outputs, inputs, *sides = weight.shape
    known = dtype == torch.float32 or (dtype == torch.bfloat16 and not has_tiles(dtype))
    plain = (*sides, stride, padding) == (3, 3, 1, 1)
    pairs = inputs * outputs
    if not (known and plain and min(inputs, outputs) >= CHANNELS and pairs <= HUGE):
        return 0
    if dtype == torch.bfloat16 and pairs <= NARROW:
        return 0
    # with m = 4 bfloat16 would lose two of its eight bits
    return 4 if dtype == torch.float32 and pairs <= LARGE else 2


def numbers_of(weight: Tensor, m: int) -> int:
    """Return how many values are held for a kernel (O, I, 3, 3) transformed for m."""
    pairs = weight.shape[0] * weight.shape[1]
    return pairs * ((m + 2) ** 2 + (9 if pairs <= NARROW else 0))


class Winograd:
    """A 3x3 convolution with a transformed kernel.

    Args:
        weight: (O, I, 3, 3).
        dtype: Dtype of the computation.
        m: Side of a tile's output, 2 or 4.
    """

    def __init__(self, weight: Tensor, dtype: torch.dtype, m: int) -> None:
        self.m, self.n = m, m + 2
        of_tiles, of_kernels, of_outputs = transforms(m)
        made = torch.einsum("ay,bx,oiyx->abio", of_kernels, of_kernels, weight.float())
        self.kernel = made.to(dtype).flatten(0, 1)  # (n * n, I, O)
        self.input_transform = torch.kron(of_tiles, of_tiles).to(dtype)
        self.output_transform = torch.kron(of_outputs, of_outputs).to(dtype)
        is_narrow = weight.shape[0] * weight.shape[1] <= NARROW
        self.direct = ConvolutionKernel(weight.to(dtype), 1, 1) if is_narrow else None

    @property
    def nbytes(self) -> int:
        """Bytes of the weights."""
        return self.kernel.nbytes + (self.direct.nbytes if self.direct else 0)

    def __call__(self, x: Tensor, bias: Tensor | None, plus: Tensor | None = None) -> Tensor:
        """Convolve, (B, I, H, W) -> (B, O, H, W), channels-last, and add `plus`."""
        out = self.strip(x, bias, 1, 1)
        return out if plus is None else out.add_(plus)

    def strip(self, part: Tensor, bias: Tensor | None, above: int, below: int) -> Tensor:
        """Convolve rows with `above` and `below` zero rows; otherwise only columns are padded."""
        B, inputs, rows, W = part.shape
        m, outputs = self.m, self.kernel.shape[2]
        H = rows + above + below - 2  # of the result
        down, across = -(-H // m), -(-W // m)  # tiles
        if self.direct is not None and B * down * across < FEW:
            return self.direct.strip(part, bias, above, below)
        x = part.permute(0, 2, 3, 1)
        out = x.new_empty(B, m * down, m * across, outputs)
        at_once = max(1, CHUNK // (self.n**2 * B * max(inputs, outputs)))
        wide = min(across, at_once)
        for top, left in product(range(0, down, at_once // wide), range(0, across, wide)):
            bottom, right = min(top + at_once // wide, down), min(left + wide, across)
            of_rows, zero_rows = _seen(m * top - above, m * bottom - above + 2, rows)
            of_columns, zero_columns = _seen(m * left - 1, m * right + 1, W)
            seen = F.pad(x[:, of_rows, of_columns], (0, 0, *zero_columns, *zero_rows))
            self._chunk(seen, bias, out[:, m * top : m * bottom, m * left : m * right])
        return out[:, :H, :W].permute(0, 3, 1, 2)

    def _chunk(self, x: Tensor, bias: Tensor | None, out: Tensor) -> None:
        """Convolve d x a tiles: padded x (B, m d + 2, m a + 2, I) -> out (B, m d, m a, O)."""
        m, n = self.m, self.n
        tiles = x.unfold(1, n, m).unfold(2, n, m).permute(4, 5, 0, 1, 2, 3)
        inputs = torch.mm(self.input_transform, tiles.reshape(n * n, -1))
        products = torch.bmm(inputs.view(n * n, -1, x.shape[3]), self.kernel)
        made = torch.mm(self.output_transform, products.view(n * n, -1))
        made = made.view(m, m, *tiles.shape[2:5], -1).permute(2, 3, 0, 4, 1, 5)
        places = out.unflatten(2, (-1, m)).unflatten(1, (-1, m))
        if bias is None:
            places.copy_(made)
        else:
            torch.add(made, bias, out=places)


def _seen(first: int, last: int, length: int) -> tuple[slice, tuple[int, int]]:
    """Cut [first, last) to [0, length): the slice, and the missing places before and after it."""
    return slice(max(0, first), min(last, length)), (max(0, -first), max(0, last - length))


def transforms(m: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return B^T, G and A^T for one side: outputs = A^T ((G kernel) * (B^T tile)).

    Returns:
        The transforms of tiles (n, n), kernels (n, 3) and outputs (m, n), in float32.
    """
    points = torch.tensor(POINTS[m], dtype=torch.float64)
    n, count = m + 2, len(points)
    powers = points[:, None] ** torch.arange(n)
    others = [points[torch.arange(count) != i] for i in range(count)]
    slopes = torch.stack([(points[i] - others[i]).prod() for i in range(count)])
    at_infinity = torch.eye(n, dtype=torch.float64)[-1:]  # the highest power's coefficient
    tiles = torch.stack([_polynomial(roots, n) for roots in (*others, points)])
    kernels = torch.cat([powers[:, :3] / slopes[:, None], at_infinity[:, -3:]])
    outputs = torch.cat([powers[:, :m], at_infinity[:, -m:]]).T
    return tiles.float(), kernels.float(), outputs.float()


def _polynomial(roots: Tensor, n: int) -> Tensor:
    """Return the coefficients of prod (x - root), lowest power first, padded with zeros to (n,)."""
    made = torch.eye(n, dtype=roots.dtype)[0]
    for root in roots:
        made = made.roll(1) - root * made
    return made
