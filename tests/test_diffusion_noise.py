import math

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
    # Kolmogorov-Smirnov distance, far below its 0.1 % quantile of 1.95 / sqrt(n) for a bad fit
    rank = torch.arange(1, n + 1, dtype=torch.float64) / n
    assert float((torch.special.ndtr(x) - rank).abs().max()) < 1.95 / math.sqrt(n)


def test_neighbours_are_independent():
    x = normal(5, 0, (1, 300, 300))[0]
    for shifted in (x.roll(1, 0), x.roll(1, 1), x.T):
        assert abs(float((x * shifted).mean())) < 0.02
