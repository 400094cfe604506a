import hashlib
import math
import struct

import numpy as np
import pytest
import torch

from ldm.diffusion.noise import batch_noise, normal, philox

# the authors' known answers for Philox-4x32-10: counter, key -> output
KNOWN = [
    ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_known_answers(counter, key, expected):
    out = philox(tuple(np.array([c], np.uint32) for c in counter), key)
    assert " ".join(f"{int(word[0]):08x}" for word in out) == expected


def by_hand(seed, step, c, y, x):
    """The documented number of one place, with Python's own integers and logarithm."""
    c0, c1, c2, c3 = x % 2**32, y % 2**32, c, 0
    k0, k1 = seed, step
    for _ in range(10):
        p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 % 2**32, (p0 >> 32) ^ c3 ^ k1, p0 % 2**32
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    radius = math.sqrt(-2 * math.log((c0 + 1) / 2**32))
    return radius * math.cos(2 * math.pi * c1 / 2**32)


@pytest.mark.parametrize("origin", [(0, 0), (11, 4000), (-3, -2)])
def test_every_place_has_its_documented_number(origin):
    """Pictures are made again from (seed, step) alone, so these numbers may never change."""
    seed, step, shape = 4_000_000_000, 9, (3, 5, 6)
    expected = [
        by_hand(seed, step, c, origin[0] + y, origin[1] + x) for c, y, x in np.ndindex(shape)
    ]
    values = normal(seed, step, shape, origin)
    assert values.dtype == torch.float32
    assert values.device.type == "cpu"
    # the logarithms of two libraries may differ in the last bit of a float64
    assert np.allclose(values.numpy().ravel(), expected, rtol=1e-6, atol=1e-12)


# of the float32 numbers in the order of memory: seed 1234, step 5, (3, 8, 12) from (0, 0)
FINGERPRINT = "c4dc365bc7a4f53800e9243e8fe5742c8831c15c4716e2e323f185e84260099a"
NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


def sha256(values):
    return hashlib.sha256(values.cpu().contiguous().numpy().tobytes()).hexdigest()


def test_the_recorded_hash_is_that_of_the_numbers_by_hand():
    numbers = [by_hand(1234, 5, c, y, x) for c, y, x in np.ndindex(3, 8, 12)]
    packed = struct.pack(f"<{len(numbers)}f", *numbers)
    assert hashlib.sha256(packed).hexdigest() == FINGERPRINT


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NEEDS_CUDA)])
@pytest.mark.parametrize(
    ("shape", "origin"),
    [
        ((3, 8, 12), (0, 0)),
        ((4, 64, 64), (-20, -9)),
        ((3, 8, 700), (0, -600)),
        ((9, 9, 12), (-1, 0)),
    ],
)
def test_the_hash_is_one_number_for_every_crop_canvas_and_device(shape, origin, device):
    canvas = normal(1234, 5, shape, origin).to(device)
    rows, columns = slice(-origin[0], 8 - origin[0]), slice(-origin[1], 12 - origin[1])
    assert sha256(canvas[:3, rows, columns]) == FINGERPRINT


def test_a_canvas_grows_in_every_direction():
    middle = normal(3, 1, (2, 6, 7))
    grown = normal(3, 1, (2, 6 + 4, 7 + 5), origin=(-4, -5))
    assert torch.equal(grown[:, 4:, 5:], middle)


def test_a_place_has_one_value_whatever_the_canvas():
    large = normal(7, 3, (4, 40, 60))
    assert torch.equal(normal(7, 3, (4, 20, 60)), large[:, :20])
    assert torch.equal(normal(7, 3, (2, 8, 9), origin=(11, 23)), large[:2, 11:19, 23:32])
    assert torch.equal(batch_noise([1, 7], 3, (4, 40, 60))[1], large)


def test_seed_step_and_channel_make_different_noise():
    base = normal(1, 0, (2, 16, 16))
    others = [normal(2, 0, (2, 16, 16)), normal(1, 1, (2, 16, 16)), base.flip(0)]
    for other in others:
        assert abs(float((base * other).mean())) < 0.15
        assert not torch.equal(base, other)


def test_values_are_standard_normal():
    x = normal(0, 0, (3, 256, 256)).double().flatten().sort().values
    n = len(x)
    assert abs(float(x.mean())) < 4 / math.sqrt(n)
    assert abs(float(x.var()) - 1) < 4 * math.sqrt(2 / n)
    assert abs(float((x**4).mean()) - 3) < 4 * math.sqrt(96 / n)
    # Kolmogorov-Smirnov distance below its 0.1 % quantile
    rank = torch.arange(1, n + 1, dtype=torch.float64) / n
    assert float((torch.special.ndtr(x) - rank).abs().max()) < 1.95 / math.sqrt(n)


def test_neighbours_are_independent():
    x = normal(5, 0, (1, 300, 300))[0]
    for shifted in (x.roll(1, 0), x.roll(1, 1), x.T):
        assert abs(float((x * shifted).mean())) < 0.02


def test_extreme_words_stay_finite():
    """The smallest uniform is 2^-32, so no value is beyond sqrt(64 log 2) = 6.66."""
    x = torch.cat([normal(seed, 0, (4, 256, 256)) for seed in (0, 2**32 - 1)])
    assert x.isfinite().all()
    assert 4 < float(x.abs().max()) < 6.67


@pytest.mark.parametrize(
    ("seed", "step", "message"),
    [
        (2**32, 0, "seed must be a whole number in 0..4294967295, got 4294967296"),
        (1.5, 0, "seed must be a whole number in 0..4294967295, got 1.5"),
        (-1, 0, "seed must be a whole number in 0..4294967295, got -1"),
        (0, -1, "step must be a whole number in 0..4294967295, got -1"),
    ],
)
def test_what_would_repeat_other_noise_is_refused(seed, step, message):
    with pytest.raises(ValueError, match=message):
        normal(seed, step, (1, 1, 1))
