import pytest
import torch
from torch import nn

from ldm.models.layers import timestep_embedding, zero


def test_timestep_embedding_is_cosines_then_sines_then_a_zero():
    out = timestep_embedding(torch.tensor([0, 3]), 5)
    assert torch.equal(out[0], torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0]))
    angles = torch.tensor([3.0, 0.03])  # periods from 1 to 100 in units of 2 pi
    expected = torch.cat([angles.cos(), angles.sin(), torch.zeros(1)])
    assert torch.allclose(out[1], expected, atol=1e-6)


@pytest.mark.parametrize("dim", [32, 33, 160, 224, 320])
def test_timestep_embedding_is_the_published_one(units, dim):
    out = timestep_embedding(units["timestep_embedding/t"], dim)
    assert torch.allclose(out, units[f"timestep_embedding/dim{dim}"], atol=1e-4)


def test_zero_empties_every_weight():
    layer = zero(nn.Linear(3, 2))
    assert not layer.weight.any()
    assert not layer.bias.any()
