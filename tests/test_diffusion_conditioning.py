from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from ldm.diffusion.conditioning import Conditioning
from ldm.diffusion.resizing import averaged


def example():
    return Conditioning(
        concat=torch.arange(24.0).view(1, 2, 3, 4),
        context=torch.arange(15.0).view(1, 3, 5),
        label=torch.tensor([7]),
        known=torch.arange(36.0).view(1, 3, 3, 4),
    )


def test_only_maps_have_a_place():
    cond = example()
    cropped = cond.crop(slice(1, 3), slice(0, 2))
    assert torch.equal(cropped.concat, cond.concat[:, :, 1:3, 0:2])
    assert torch.equal(cropped.known, cond.known[:, :, 1:3, 0:2])
    halved = cond.resized(3, 2)
    for name in ("concat", "known"):
        whole = getattr(cond, name)
        assert torch.equal(getattr(halved, name), whole.unflatten(3, (2, 2)).mean(4)), name
    assert cropped.context is cond.context
    assert cropped.label is cond.label
    assert Conditioning().crop(slice(0, 1), slice(0, 1)) == Conditioning()


def test_copies_stay_copies():
    cond = replace(example(), copies=2)
    for made in (
        cond.crop(slice(0, 1), slice(0, 1)),
        cond.resized(6, 8),
        cond.expand(1),
        cond.to("cpu", torch.float64),
    ):
        assert made.copies == 2


def test_cat_puts_the_other_after():
    cond = example()
    other = Conditioning(cond.concat + 100, cond.context + 100, cond.label + 1, cond.known + 100)
    both = cond.cat(other)
    for name in ("concat", "context", "label", "known"):
        assert torch.equal(getattr(both, name)[:1], getattr(cond, name))
        assert torch.equal(getattr(both, name)[1:], getattr(other, name))


def test_cat_refuses_different_ways_to_condition():
    with pytest.raises(ValueError, match="same ways"):
        example().cat(Conditioning())
    assert Conditioning().cat(Conditioning()) == Conditioning()


def test_expand_repeats_without_a_copy():
    cond = example()
    many = cond.expand(4)
    assert many.concat.shape == (4, 2, 3, 4)
    assert many.context.shape == (4, 3, 5)
    assert many.label.tolist() == [7, 7, 7, 7]
    assert many.concat.data_ptr() == cond.concat.data_ptr()


def test_moving_keeps_class_ids_whole():
    moved = example().to("cpu", torch.float64)
    assert moved.concat.dtype == moved.context.dtype == torch.float64
    assert moved.label.dtype == torch.int64
    assert example().to("cpu").context.dtype == torch.float32
    assert example().to("meta").label.device.type == "meta"


def test_uneven_sizes_are_averaged_where_the_device_cannot(monkeypatch):
    """MPS averages only to sides that divide: its tensors go through the CPU."""
    resize, device = F.interpolate, SimpleNamespace(type="mps")

    class OnMps:
        """A tensor that says that it is on MPS, and where it was moved."""

        def __init__(self, x):
            self.x, self.device = x, device

        def cpu(self):
            return self.x

    monkeypatch.setattr(torch.Tensor, "to", lambda self, where: ("back on", where, self))
    x = torch.arange(36.0).reshape(1, 1, 6, 6)
    _, where, made = averaged(OnMps(x), (4, 4))
    assert where is device
    assert torch.equal(made, resize(x, (4, 4), mode="area"))
    assert torch.equal(averaged(x, (4, 4)), made)
