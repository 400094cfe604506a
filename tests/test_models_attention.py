import pytest
import torch
import torch.nn.functional as F

from ldm.canvas.estimate import LiveBytes
from ldm.models.attention import GEGLU, AttentionBlock, CrossAttention, SpatialTransformer
from ldm.models.autoencoder import AttnBlock


def normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_geglu_is_value_times_gelu_of_gate(units):
    layer = GEGLU(6, 4)
    layer.proj.weight.data = units["geglu/weight"]
    layer.proj.bias.data = units["geglu/bias"]
    assert torch.allclose(layer(units["geglu/x"]), units["geglu/out"], atol=1e-6)


def test_qkv_channels_are_grouped_by_head(units):
    block = AttentionBlock(32, heads=2)
    block.norm, block.proj_out = torch.nn.Identity(), torch.nn.Identity()
    block.qkv.forward = lambda _: units["qkv/x"]  # (2, 24, 5)
    out = block(torch.zeros(2, 8, 1, 5)).flatten(2)
    assert torch.allclose(out, units["qkv/heads2_legacy"], atol=1e-6)
    assert not torch.allclose(out, units["qkv/heads2_new"], atol=1e-3)


@pytest.mark.parametrize("kind", ["unet_eps1e-5", "firststage_and_transformer_eps1e-6"])
def test_norms_have_the_published_epsilon(units, kind):
    block = AttentionBlock(64, 2) if "unet" in kind else SpatialTransformer(64, 2, 32, 1, None)
    block.norm.weight.data = units["groupnorm/weight"]
    block.norm.bias.data = units["groupnorm/bias"]
    error = (block.norm(units["groupnorm/x"]) - units[f"groupnorm/out_{kind}"]).abs().max()
    assert error < 1e-5


@torch.no_grad()
def test_cross_attention_is_softmax_of_scaled_products(randomise):
    layer = randomise(CrossAttention(6, heads=2, head_dim=4, context_dim=3))
    x, context = normal(2, 5, 6), normal(2, 7, 3)
    heads = []
    for h in range(2):
        rows = slice(4 * h, 4 * h + 4)
        q = x @ layer.to_q.weight[rows].T
        k = context @ layer.to_k.weight[rows].T
        v = context @ layer.to_v.weight[rows].T
        heads.append((q @ k.transpose(1, 2) / 2).softmax(-1) @ v)  # sqrt(4) = 2
    expected = F.linear(torch.cat(heads, -1), layer.to_out[0].weight, layer.to_out[0].bias)
    assert torch.allclose(layer(x, context), expected, atol=1e-5)


@torch.no_grad()
def test_transformer_starts_as_the_identity_and_attends_to_its_context(randomise):
    x, context = normal(1, 32, 3, 5), normal(1, 4, 8)
    transformer = SpatialTransformer(32, 2, 16, 2, 8)
    assert torch.equal(transformer(x, context), x)
    assert torch.equal(AttentionBlock(32, 2)(x), x)
    out = randomise(transformer)(x, context)
    assert (out - transformer(x, context + 1)).abs().max() > 1e-3
    # tokens are a set: their order says nothing without positions
    assert (out - transformer(x, context.flip(1))).abs().max() < 1e-5


@torch.no_grad()
def test_positions_are_a_set_too(randomise):
    x = normal(1, 32, 4, 6)
    for block in (AttentionBlock(32, 4), SpatialTransformer(32, 4, 8, 1, None)):
        randomise(block)
        assert (block(x.flip(2, 3)) - block(x).flip(2, 3)).abs().max() < 1e-5


@torch.no_grad()
def test_no_attention_builds_the_matrix_of_all_pairs():
    """On a large canvas that matrix alone would be the memory: 17 GB for 256 x 256 cells."""
    x = torch.randn(1, 32, 48, 48)
    pairs = 4 * (48 * 48) ** 2  # bytes, one head
    for block in (AttentionBlock(32, 2), SpatialTransformer(32, 2, 16, 1, None), AttnBlock(32, 8)):
        with LiveBytes() as live:
            block.eval()(x)
        assert live.peak < pairs / 2
