"""Prepared networks give what plain ones give."""

import copy

import pytest
import torch
import torch.nn.functional as F

from ldm.benchmarks.decoding import Noted
from ldm.canvas.bounded import BoundedFirstStage, BoundedUNet
from ldm.canvas.workspace import Workspace
from ldm.inference import fast_attention, winograd
from ldm.inference.fast_attention import FastCrossAttention, attend
from ldm.inference.prepare import prepare
from ldm.models.autoencoder import Decoder, Encoder
from ldm.models.first_stage import AutoencoderKL
from ldm.models.unet import UNetModel

UNETS = {
    "qkv attention": {"attention_resolutions": (2,), "num_heads": 2},
    "spatial transformer": {
        "attention_resolutions": (1, 2),
        "num_head_channels": 16,
        "use_spatial_transformer": True,
        "context_dim": 12,
    },
    "transformer without a context": {
        "attention_resolutions": (1,),
        "num_head_channels": 16,
        "use_spatial_transformer": True,
    },
    "up and down in residual blocks": {
        "attention_resolutions": (2,),
        "num_head_channels": 32,
        "use_scale_shift_norm": True,
        "resblock_updown": True,
    },
    "pooling": {"attention_resolutions": (), "num_heads": 4, "conv_resample": False},
    "classes": {"attention_resolutions": (), "num_heads": 4, "num_classes": 5},
    "classes as scale and shift": {
        "attention_resolutions": (),
        "num_heads": 4,
        "num_classes": 5,
        "use_scale_shift_norm": True,
    },
    "wide": {"attention_resolutions": (), "num_heads": 4, "model_channels": 192},
}
DECODERS = {"attention": {"attn_resolutions": (16,)}, "none": {"attn_type": "none"}}


def unet(kind, randomise):
    sizes = {"in_channels": 3, "out_channels": 3, "model_channels": 32, "num_res_blocks": 1}
    return randomise(UNetModel(**sizes | {"channel_mult": (1, 2)} | UNETS[kind]))


def inputs(kind, batch=2):
    generator = torch.Generator().manual_seed(3)
    about = {}
    if "context_dim" in UNETS[kind]:
        about["context"] = torch.randn(batch, 5, 12, generator=generator)
    if "num_classes" in UNETS[kind]:
        about["y"] = torch.arange(batch)
    x = torch.randn(batch, 3, 12, 8, generator=generator)
    return x, torch.tensor([7, 900][:batch]), about


def first_stage(kind, randomise):
    about = {"ch": 32, "ch_mult": (1, 2), "num_res_blocks": 1, "attn_resolutions": (),
             "resolution": 32, "z_channels": 3} | DECODERS[kind]  # fmt: skip
    encoder, decoder = Encoder(double_z=True, in_channels=3, **about), Decoder(out_ch=3, **about)
    return randomise(AutoencoderKL(encoder=encoder, decoder=decoder, embed_dim=3, z_channels=3))


def difference(got, want):
    """Largest, in shares of the largest value."""
    return float((got.double() - want.double()).abs().max() / want.double().abs().max())


@pytest.mark.parametrize("kind", UNETS)
@torch.no_grad()
def test_a_unet(kind, randomise):
    plain = unet(kind, randomise)
    x, t, about = inputs(kind)
    want, fast = plain(x, t, **about), prepare(copy.deepcopy(plain))
    assert difference(fast(x, t, **about), want) < 1e-5
    assert difference(fast(x, t, **about), want) < 1e-5  # packed


@pytest.mark.parametrize("kind", ["qkv attention", "spatial transformer", "wide"])
@torch.no_grad()
def test_a_unet_in_bfloat16(kind, randomise):
    plain = unet(kind, randomise)
    x, t, about = inputs(kind)
    fast = prepare(copy.deepcopy(plain), torch.bfloat16)
    half = {k: v.bfloat16() if v.is_floating_point() else v for k, v in about.items()}
    got = fast(x.bfloat16(), t, **half)
    assert got.dtype == torch.bfloat16
    assert difference(got, plain(x, t, **about)) < 3e-2


@pytest.mark.parametrize("kind", DECODERS)
@torch.no_grad()
def test_a_first_stage(kind, randomise):
    plain = first_stage(kind, randomise)
    image = torch.randn(1, 3, 20, 12, generator=torch.Generator().manual_seed(1))
    z = plain.encode(image).mode()
    fast = prepare(copy.deepcopy(plain))
    assert difference(fast.encode(image).mode(), z) < 1e-5
    assert difference(fast.decode(z), plain.decode(z)) < 1e-5


@pytest.mark.parametrize("has_tiles", [True, False])
@pytest.mark.parametrize("shape", [(256, 256, 8), (600, 5, 8), (300, 1030, 8), (300, 1030, 256)])
@torch.no_grad()
def test_attention_in_bfloat16(shape, has_tiles, monkeypatch):
    """Fused or by plain products, the last of which are of fewer queries."""
    monkeypatch.setattr(fast_attention, "has_tiles", lambda dtype: has_tiles)
    torch.manual_seed(0)
    queries, keys, d = shape
    q, k, v = (torch.randn(2, 3, count, d).bfloat16() for count in (queries, keys, keys))
    want = F.scaled_dot_product_attention(q.double(), k.double(), v.double())
    got = attend(q, k, v)
    assert got.shape == (2, queries, 3 * d)
    assert difference(got, want.transpose(1, 2).flatten(2)) < 2e-2


@torch.no_grad()
def test_another_context_is_another_answer(randomise):
    """Keys and values are kept per context, and a context that was changed is another one."""
    kind = "spatial transformer"
    plain = unet(kind, randomise)
    x, t, about = inputs(kind)
    fast, context = prepare(copy.deepcopy(plain)), about["context"]
    other = context.flip(1) * 2
    for given in (context, other, context, context.mul_(3.0)):
        assert difference(fast(x, t, context=given), plain(x, t, context=given)) < 1e-5
    with torch.inference_mode():
        for given in (context * 1, other * 1):
            assert difference(fast(x, t, context=given), plain(x, t, context=given)) < 1e-5


@torch.no_grad()
def test_two_contexts_of_a_picture(randomise):
    plain = unet("spatial transformer", randomise)
    x, t, about = inputs("spatial transformer")
    fast = prepare(copy.deepcopy(plain))
    want = plain(x[:1].repeat(2, 1, 1, 1), t[:1].repeat(2), **about)
    assert difference(fast(x[:1], t[:1], **about), want) < 1e-5


@torch.no_grad()
def test_keys_and_values_are_computed_once_per_context(randomise, monkeypatch):
    fast = prepare(unet("spatial transformer", randomise))
    x, t, about = inputs("spatial transformer")
    layer = next(m for m in fast.modules() if isinstance(m, FastCrossAttention))
    calls = []
    layer.kv.register_forward_hook(lambda *_: calls.append(1))
    for _ in range(3):
        fast(x, t, **about)
    assert len(calls) == 1


@torch.no_grad()
def test_inputs_are_left_alone(randomise):
    fast = prepare(unet("qkv attention", randomise))
    x, t, _ = inputs("qkv attention")
    x = x.contiguous(memory_format=torch.channels_last)
    before = x.clone()
    fast(x, t)
    assert torch.equal(x, before)


@pytest.mark.parametrize("kind", ["qkv attention", "spatial transformer", "wide"])
@torch.no_grad()
def test_in_bands(kind, randomise):
    plain = unet(kind, randomise)
    x, t, about = inputs(kind)
    fast, space = prepare(copy.deepcopy(plain)), Workspace(2**22)
    for _ in range(2):  # packed layers give their weights back
        assert difference(BoundedUNet(fast, space)(x, t, **about), plain(x, t, **about)) < 1e-5
        fast(x, t, **about)


@torch.no_grad()
def test_in_bands_in_bfloat16(randomise):
    """Whole, its attention is of plain products; in bands it is fused."""
    fast = prepare(unet("spatial transformer", randomise), torch.bfloat16)
    _, t, about = inputs("spatial transformer")
    x = torch.randn(2, 3, 24, 16, generator=torch.Generator().manual_seed(5)).bfloat16()
    context = about["context"].bfloat16()
    whole = fast(x, t, context=context)
    banded = BoundedUNet(fast, Workspace(2**22))(x, t, context=context)
    assert 0 < difference(banded, whole) < 2e-2


@pytest.mark.parametrize("kind", DECODERS)
@pytest.mark.parametrize("turned", [True, False])
@torch.no_grad()
def test_a_decode_in_bands(kind, turned, randomise, monkeypatch):
    if turned:
        monkeypatch.setattr(winograd, "CHANNELS", 1)
        monkeypatch.setattr(winograd, "FEW", 0)
    plain = first_stage(kind, randomise)
    z = torch.randn(1, 3, 10, 6, generator=torch.Generator().manual_seed(1))
    fast, space = prepare(copy.deepcopy(plain)), Noted(2**17)
    for _ in range(2):
        assert difference(BoundedFirstStage(fast, space).decode(z), plain.decode(z)) < 1e-5
        assert space.borders(20)
        fast.decode(z)
