import pytest
import torch
from torch import nn

from ldm.inference.prepare import prepare
from ldm.models.conditioners import ClassEmbedder, SpatialRescaler


def test_a_class_becomes_one_token():
    model = ClassEmbedder(n_classes=4, embed_dim=6)
    out = model(torch.tensor([1, 3]))
    assert out.shape == (2, 1, 6)
    assert torch.equal(out[1, 0], model.embedding.weight[3])
    out.sum().backward()
    assert model.embedding.weight.grad.sum(1).tolist() == [0, 6, 0, 6]


@pytest.mark.parametrize("n_stages", [1, 2])
def test_rescaler_halves_as_published(units, n_stages):
    model = SpatialRescaler(n_stages=n_stages, in_channels=2, out_channels=2)
    model.channel_mapper = nn.Identity()
    out = model(units["rescaler/x"])
    assert torch.allclose(out, units[f"rescaler/n_stages{n_stages}"], atol=1e-6)


def test_rescaler_maps_classes_without_bias():
    model = SpatialRescaler(n_stages=2, in_channels=5, out_channels=3)
    assert [*model.state_dict()] == ["channel_mapper.weight"]
    assert model(torch.zeros(1, 5, 16, 24)).shape == (1, 3, 4, 6)
    with pytest.raises(ValueError, match="multiples of 4, got \\(16, 22\\)"):
        model(torch.zeros(1, 5, 16, 22))


def test_rescaler_knows_its_classes_when_its_weights_are_packed():
    model = SpatialRescaler(n_stages=1, in_channels=7, out_channels=4).eval()
    labels = torch.rand(1, 7, 8, 8)
    plain = model(labels)
    packed = prepare(model)
    assert packed.classes == 7
    torch.testing.assert_close(packed(labels), plain)
