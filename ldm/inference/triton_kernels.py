"""Triton kernels of `ldm.inference.fused`, where their use is described.

A map is (pictures, positions, channels) in memory: channels-last. A program computes one tile: ROWS
positions of the PER channels of one group. WIDTH is the smallest power of two that is at least PER.
Statistics are in float32.
"""

import triton
import triton.language as tl


@triton.jit
def _tile(  # noqa: PLR0913
    x,
    plus,
    plus_stride,
    positions,
    channels,
    groups,
    PER: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    HAS_PLUS: tl.constexpr,
):
    """Load a tile: values, offset of the picture, offsets in it, channels, mask of the map."""
    picture, group = tl.program_id(0) // groups, tl.program_id(0) % groups
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    columns = tl.arange(0, WIDTH)
    channel = group * PER + columns
    inside = (rows < positions)[:, None] & (columns < PER)[None, :]
    start = picture.to(tl.int64) * positions * channels
    at = rows[:, None] * channels + channel[None, :]
    value = tl.load(x + start + at, mask=inside, other=0.0).to(tl.float32)
    if HAS_PLUS:
        more = tl.load(plus + picture * plus_stride + channel, mask=columns < PER, other=0.0)
        value += more.to(tl.float32)[None, :]
    return tl.where(inside, value, 0.0), start, at, channel, inside


@triton.jit
def moments(  # noqa: PLR0913
    x,
    plus,
    found,
    plus_stride,
    positions,
    channels,
    groups,
    PER: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    HAS_PLUS: tl.constexpr,
):
    """Store each tile's mean and summed squared distance to it in `found`, (tiles, 2)."""
    value, _, _, _, inside = _tile(
        x, plus, plus_stride, positions, channels, groups, PER, WIDTH, ROWS, HAS_PLUS
    )
    part = tl.program_id(1)
    number = tl.minimum(positions - part * ROWS, ROWS) * PER
    mean = tl.sum(tl.sum(value, 1), 0) / number
    away = tl.where(inside, value - mean, 0.0)
    to = found + 2 * (tl.program_id(0) * tl.num_programs(1) + part)
    tl.store(to, mean)
    tl.store(to + 1, tl.sum(tl.sum(away * away, 1), 0))


@triton.jit
def normalise(  # noqa: PLR0913
    x,
    plus,
    weight,
    bias,
    found,
    out,
    plus_stride,
    positions,
    channels,
    groups,
    eps,
    PER: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    PARTS: tl.constexpr,
    HAS_PLUS: tl.constexpr,
    SILU: tl.constexpr,
):
    """Normalise each tile; with PARTS = 1 a tile is a whole group and `found` is not read."""
    value, start, at, channel, inside = _tile(
        x, plus, plus_stride, positions, channels, groups, PER, WIDTH, ROWS, HAS_PLUS
    )
    total = positions * PER
    if PARTS == 1:
        mean = tl.sum(tl.sum(value, 1), 0) / total
        away = tl.where(inside, value - mean, 0.0)
        spread = tl.sum(tl.sum(away * away, 1), 0)
    else:  # merged after Chan et al. 1979, as in `ldm.canvas.moments`
        part = tl.arange(0, PARTS)
        there = part < tl.num_programs(1)
        of = found + 2 * (tl.program_id(0) * tl.num_programs(1) + part)
        means = tl.load(of, mask=there, other=0.0)
        spreads = tl.load(of + 1, mask=there, other=0.0)
        number = tl.minimum(positions - part * ROWS, ROWS) * PER
        number = tl.where(there, number, 0).to(tl.float32)
        mean = tl.sum(means * number, 0) / total
        spread = tl.sum(spreads + number * (means - mean) * (means - mean), 0)
        away = value - mean
    known = channel < channels
    scale = tl.load(weight + channel, mask=known, other=0.0).to(tl.float32)
    shift = tl.load(bias + channel, mask=known, other=0.0).to(tl.float32)
    made = away * tl.rsqrt(spread / total + eps) * scale[None, :] + shift[None, :]
    if SILU:
        made = made / (1.0 + tl.exp(-made))
    tl.store(out + start + at, made.to(out.dtype.element_ty), mask=inside)


@triton.jit
def add_bias_and(made, bias, plus, total, channels, BLOCK: tl.constexpr):
    """Compute made += bias + plus elementwise; the channel is the innermost dimension."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < total
    value = tl.load(made + at, mask=inside, other=0.0).to(tl.float32)
    value += tl.load(bias + at % channels, mask=inside, other=0.0).to(tl.float32)
    value += tl.load(plus + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(made + at, value.to(made.dtype.element_ty), mask=inside)
