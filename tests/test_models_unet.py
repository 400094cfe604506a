import pytest
import torch
from torch import nn

from ldm.models.residual import Downsample, ResBlock, Upsample
from ldm.models.unet import UNetModel

UNETS = {
    "attention blocks": {},
    "spatial transformer": {"use_spatial_transformer": True, "context_dim": 8},
    "scale shift, resblock up and down": {"use_scale_shift_norm": True, "resblock_updown": True},
    "no convolution in resampling": {"conv_resample": False, "num_res_blocks": 2},
    "labels": {"num_classes": 5},
}
VARIANTS = pytest.mark.parametrize("changes", UNETS.values(), ids=UNETS)


def unet(**changes):
    arguments = {
        "in_channels": 3,
        "out_channels": 3,
        "model_channels": 32,
        "num_res_blocks": 1,
        "attention_resolutions": (2,),
        "channel_mult": (1, 2),
        "num_heads": 2,
    }
    return UNetModel(**(arguments | changes))


def inputs(count, changes, side=(8, 12)):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(count, 3, *side, generator=generator)
    context = torch.randn(count, 6, 8, generator=generator) if "context_dim" in changes else None
    y = torch.arange(count) if "num_classes" in changes else None
    return x, torch.arange(count) * 100, context, y


@VARIANTS
@torch.no_grad()
def test_batch_equals_single_on_a_side_that_is_not_square(changes, randomise):
    model = randomise(unet(**changes))
    x, t, context, y = inputs(3, changes, side=(6, 10))
    together = model(x, t, context, y)
    assert together.shape == x.shape
    for i in range(3):
        one = slice(i, i + 1)
        parts = [None if part is None else part[one] for part in (context, y)]
        assert (model(x[one], t[one], *parts) - together[one]).abs().max() < 1e-5


@VARIANTS
@torch.no_grad()
def test_memory_format_and_half_precision_change_little(changes, randomise):
    model = randomise(unet(**changes))
    x, t, context, y = inputs(2, changes)
    plain = model(x, t, context, y)
    spread = plain.std()
    last = model.to(memory_format=torch.channels_last)(
        x.to(memory_format=torch.channels_last), t, context, y
    )
    assert (last - plain).abs().max() < 1e-4
    context = None if context is None else context.bfloat16()
    half = model.bfloat16()(x.bfloat16(), t, context, y)
    assert half.dtype == torch.bfloat16
    assert (half.float() - plain).std() < 0.05 * spread


@VARIANTS
def test_starts_at_zero_and_every_weight_learns(changes, randomise):
    x, t, context, y = inputs(2, changes)
    model = unet(**changes)
    assert torch.equal(model(x, t, context, y), torch.zeros_like(x))
    residual = [m for m in model.modules() if isinstance(m, ResBlock)]
    assert all(not block.out_layers[-1].weight.any() for block in residual)
    randomise(model)
    model(x, t, context, y).square().sum().backward()
    still = [name for name, p in model.named_parameters() if not p.grad.abs().sum()]
    # a bias right before a norm over that one channel is cancelled by it
    assert [name for name in still if "weight" in name and "emb" not in name] == []


def test_input_gets_a_gradient(randomise):
    x, t, _, _ = inputs(1, {})
    x.requires_grad_()
    randomise(unet())(x, t).sum().backward()
    assert x.grad.abs().min() > 0


def test_refuses_what_it_cannot_take():
    x, t = torch.zeros(1, 3, 8, 8), torch.zeros(1).long()
    with pytest.raises(ValueError, match="multiples of 2, got \\(8, 9\\)"):
        unet()(torch.zeros(1, 3, 8, 9), t)
    with pytest.raises(ValueError, match="multiples of 4, got \\(6, 8\\)"):
        unet(channel_mult=(1, 1, 2))(torch.zeros(1, 3, 6, 8), t)
    with pytest.raises(ValueError, match="x must have 3 channels, got 4"):
        unet()(torch.zeros(1, 4, 8, 8), t)
    text = unet(use_spatial_transformer=True, context_dim=8)
    with pytest.raises(ValueError, match="width must be 8, got None"):
        text(x, t)
    with pytest.raises(ValueError, match="width must be 8, got 9"):
        text(x, t, torch.zeros(1, 2, 9))
    with pytest.raises(ValueError, match="width must be None, got 8"):
        unet()(x, t, torch.zeros(1, 2, 8))
    with pytest.raises(ValueError, match="0 contexts do not go with 1 pictures"):
        text(x, t, torch.zeros(0, 2, 8))
    with pytest.raises(ValueError, match="a context, here of width 8, needs spatial transformers"):
        unet(context_dim=8)
    with pytest.raises(ValueError, match="takes labels y"):
        unet(num_classes=5)(x, t)
    with pytest.raises(ValueError, match="takes no labels"):
        unet()(x, t, y=t)


@torch.no_grad()
def test_time_context_and_label_change_the_prediction(randomise):
    x, t, context, y = inputs(1, {"context_dim": 8, "num_classes": 5})
    wide = {"model_channels": 64}  # alone in its group, a channel loses what is added to it
    model = randomise(unet(**wide))
    assert (model(x, t) - model(x, t + 900)).abs().max() > 1e-3
    model = randomise(unet(use_spatial_transformer=True, context_dim=8))
    assert (model(x, t, context) - model(x, t, -context)).abs().max() > 1e-3
    model = randomise(unet(num_classes=5, **wide))
    assert (model(x, t, y=y) - model(x, t, y=y + 1)).abs().max() > 1e-3


@torch.no_grad()
def test_what_comes_before_the_context_is_computed_once_for_all_of_it(randomise):
    about = {"channel_mult": (1, 2, 2), "attention_resolutions": (4,)}
    model = randomise(unet(use_spatial_transformer=True, context_dim=8, **about))
    x, t = torch.randn(2, 3, 8, 8), torch.tensor([5, 900])
    contexts = torch.randn(6, 3, 8)
    seen = []
    for block in [*model.input_blocks, *model.output_blocks]:
        block.register_forward_hook(lambda _block, _given, made: seen.append(len(made)))
    got = model(x, t, contexts)
    # one convolution, a block and a halving on two levels, then the block that attends
    assert seen == [2, 2, 2, 2, 2, 6, *[6] * 6]
    assert (got - model(x.repeat(3, 1, 1, 1), t.repeat(3), contexts)).abs().max() < 1e-5
    named = randomise(unet(use_spatial_transformer=True, context_dim=8, num_classes=5, **about))
    y = torch.tensor([1, 4])
    want = named(x.repeat(3, 1, 1, 1), t.repeat(3), contexts, y.repeat(3))
    assert (named(x, t, contexts, y) - want).abs().max() < 1e-5
    with pytest.raises(ValueError, match="3 contexts do not go with 2 pictures"):
        model(x, t, contexts[:3])


def test_heads_by_number_and_by_width():
    assert unet(num_heads=4).middle_block[1].heads == 4
    by_width = unet(num_heads=-1, num_head_channels=16)
    assert by_width.middle_block[1].heads == 4  # of 64 channels


def test_attention_stands_at_the_named_factors_and_in_the_middle():
    model = unet(channel_mult=(1, 2, 2), attention_resolutions=(2,))
    names = [name for name, m in model.named_modules() if type(m).__name__ == "AttentionBlock"]
    assert names == [
        "input_blocks.3.1",
        "middle_block.1",
        "output_blocks.2.1",
        "output_blocks.3.1",
    ]


def test_downsampling_pads_all_sides(units):
    layer = Downsample(2, use_conv=True)
    layer.op.weight.data = units["ae_downsample/weight"]
    nn.init.zeros_(layer.op.bias)
    out = layer(units["ae_downsample/x"])
    assert torch.allclose(out, units["unet_downsample/out_same_weight"], atol=1e-6)


def test_resampling_without_convolution_is_mean_and_nearest():
    x = torch.arange(8.0).view(1, 1, 2, 4)
    assert Downsample(1, use_conv=False)(x).flatten().tolist() == [2.5, 4.5]
    up = Upsample(1, use_conv=False)(x)
    assert torch.equal(up, x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert torch.equal(Downsample(1, use_conv=False)(up), x)


@torch.no_grad()
def test_norms_of_blocks_and_of_the_output_divide_by_the_published_epsilon(randomise):
    """Where the variance is about the epsilon, 1e-5, it decides the result."""
    model = randomise(unet())
    x = 3e-3 * torch.randn(2, 32, 4, 6, generator=torch.Generator().manual_seed(0))
    variance = x.square()  # 32 channels in 32 groups: one group per channel
    variance = variance.mean((2, 3), keepdim=True) - x.mean((2, 3), keepdim=True).square()
    normal = (x - x.mean((2, 3), keepdim=True)) / (variance + 1e-5).sqrt()
    for layers in (model.out, model.input_blocks[1][0].in_layers):
        norm, _, conv = layers
        affine = normal * norm.weight[:, None, None] + norm.bias[:, None, None]
        assert (layers(x) - conv(nn.functional.silu(affine))).abs().max() < 1e-5
