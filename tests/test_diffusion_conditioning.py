import pytest
import torch

from ldm.diffusion.conditioning import Conditioning, canvas_places


def example():
    return Conditioning(
        concat=torch.arange(24.0).view(1, 2, 3, 4),
        context=torch.arange(15.0).view(1, 3, 5),
        label=torch.tensor([7]),
    )


def test_only_concat_has_a_place():
    cond = example()
    cropped = cond.crop(slice(1, 3), slice(0, 2))
    assert torch.equal(cropped.concat, cond.concat[:, :, 1:3, 0:2])
    assert cropped.context is cond.context
    assert cropped.label is cond.label
    assert Conditioning().crop(slice(0, 1), slice(0, 1)) == Conditioning()


def test_cat_puts_the_other_after():
    cond = example()
    other = Conditioning(cond.concat + 100, cond.context + 100, cond.label + 1)
    both = cond.cat(other)
    for name in ("concat", "context", "label"):
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


def test_places_tell_every_cell_of_a_canvas_from_every_other():
    places = canvas_places(16, 6, 9)
    assert places.shape == (1, 16, 6, 9)
    assert places.abs().max() <= 1
    assert len(places[0].flatten(1).T.unique(dim=0)) == 6 * 9


def test_places_are_shares_of_the_canvas():
    """The middle of a canvas is the middle, however large it is."""
    small, large = canvas_places(16, 3, 5), canvas_places(16, 9, 15)
    assert torch.allclose(small[:, :, 1, 2], large[:, :, 4, 7], atol=1e-6)
    assert torch.equal(small[:, :8, :, 0], small[:, :8, :, 4])  # rows alone
    assert torch.equal(small[:, 8:, 0], small[:, 8:, 2])  # columns alone
