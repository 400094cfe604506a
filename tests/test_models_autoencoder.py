import re

import pytest
import torch
from torch import nn

from ldm.models.autoencoder import EPS, AttnBlock, Decoder, Downsample, Encoder

LAYERS = {
    "ch": 16,
    "ch_mult": (1, 1, 2),
    "num_res_blocks": 1,
    "attn_resolutions": (8,),
    "resolution": 16,
    "in_channels": 3,
    "z_channels": 4,
    "norm_groups": 8,
}


def encoder(**changes):
    return Encoder(**({"double_z": False} | LAYERS | changes))


def decoder(**changes):
    return Decoder(**({"out_ch": 3} | LAYERS | changes))


def attention(model):
    return [name for name, module in model.named_modules() if isinstance(module, AttnBlock)]


@torch.no_grad()
def test_sizes(randomise):
    image = torch.randn(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    assert encoder()(image).shape == (2, 4, 4, 6)
    assert encoder(double_z=True)(image).shape == (2, 8, 4, 6)
    # any number of cells will do, one or odd
    assert decoder()(torch.zeros(2, 4, 5, 3)).shape == (2, 3, 20, 12)
    assert decoder(out_ch=1)(torch.zeros(1, 4, 1, 1)).shape == (1, 1, 4, 4)


@torch.no_grad()
def test_memory_format_changes_nothing(randomise):
    model = randomise(decoder())
    z = torch.randn(1, 4, 4, 6, generator=torch.Generator().manual_seed(0))
    plain = model(z)
    last = model.to(memory_format=torch.channels_last)(z.to(memory_format=torch.channels_last))
    assert (last - plain).abs().max() < 1e-4


def test_attention_is_at_nominal_resolutions_whatever_the_input():
    assert attention(encoder()) == ["down.1.attn.0", "mid.attn_1"]
    assert attention(decoder()) == ["mid.attn_1", "up.1.attn.0", "up.1.attn.1"]
    assert attention(encoder(attn_resolutions=())) == ["mid.attn_1"]
    assert attention(encoder(attn_type="none")) == []
    assert not any("attn_1" in key for key in decoder(attn_type="none").state_dict())


def test_decoder_runs_the_coarse_levels_first():
    model, seen = decoder(), []
    for name, part in model.up.named_modules():
        if re.fullmatch(r"\d\.((block|attn)\.\d|upsample)", name):
            part.register_forward_hook(lambda *_, name=name: seen.append(name))
    with torch.no_grad():
        model(torch.zeros(1, 4, 2, 2))
    first = ["2.block.0", "2.block.1", "2.upsample"]
    second = ["1.block.0", "1.attn.0", "1.block.1", "1.attn.1", "1.upsample"]
    assert seen == [*first, *second, "0.block.0", "0.block.1"]


def test_downsampling_pads_right_and_below_only(units):
    layer = Downsample(2)
    layer.conv.weight.data = units["ae_downsample/weight"]
    nn.init.zeros_(layer.conv.bias)
    assert torch.allclose(layer(units["ae_downsample/x"]), units["ae_downsample/out"], atol=1e-6)


def test_every_norm_has_the_published_epsilon(units):
    norms = [m for m in [*encoder().modules(), *decoder().modules()] if type(m) is nn.GroupNorm]
    assert {norm.eps for norm in norms} == {EPS}
    norm = nn.GroupNorm(32, 64, EPS)
    norm.weight.data, norm.bias.data = units["groupnorm/weight"], units["groupnorm/bias"]
    expected = units["groupnorm/out_firststage_and_transformer_eps1e-6"]
    assert torch.allclose(norm(units["groupnorm/x"]), expected, atol=1e-5)


@torch.no_grad()
def test_attention_is_one_head_over_all_positions(randomise):
    block = randomise(AttnBlock(8, 2))
    x = torch.randn(1, 8, 3, 5, generator=torch.Generator().manual_seed(0))
    q, k, v = (f(block.norm(x)).flatten(2)[0] for f in (block.q, block.k, block.v))
    weights = (q.T @ k / 8**0.5).softmax(1)  # (queries, keys)
    expected = x + block.proj_out((v @ weights.T).view(1, 8, 3, 5))
    assert torch.allclose(block(x), expected, atol=1e-5)


@pytest.mark.parametrize("make", [encoder, decoder], ids=["encoder", "decoder"])
def test_every_weight_learns(make, randomise):
    model = randomise(make())
    channels, side = (3, 16) if make is encoder else (4, 4)
    x = torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(0))
    model(x).square().sum().backward()
    assert [n for n, p in model.named_parameters() if not p.grad.abs().sum() > 0] == []
