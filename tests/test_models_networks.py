import pytest
import torch

from ldm.models.autoencoder import Decoder, Encoder
from ldm.models.classifier import EncoderUNetModel
from ldm.models.conditioners import ClassEmbedder, SpatialRescaler
from ldm.models.critic import Critic
from ldm.models.first_stage import AutoencoderKL, VQModel
from ldm.models.layers import timestep_embedding
from ldm.models.text import TextEncoder
from ldm.models.unet import UNetModel


def randomise(model):
    """Give zero-initialised layers weights too, so that nothing is hidden behind a zero."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 4
        parameter.data = torch.randn(parameter.shape, generator=generator) / fan_in**0.5
    return model.eval()


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


UNETS = {
    "attention blocks": {},
    "spatial transformer": {"use_spatial_transformer": True, "context_dim": 8},
    "scale shift, resblock up and down": {"use_scale_shift_norm": True, "resblock_updown": True},
    "labels": {"num_classes": 5},
}


def inputs(count, changes, side=(8, 12)):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(count, 3, *side, generator=generator)
    context = torch.randn(count, 6, 8, generator=generator) if "context_dim" in changes else None
    y = torch.arange(count) if "num_classes" in changes else None
    return x, torch.arange(count) * 100, context, y


@pytest.mark.parametrize("changes", UNETS.values(), ids=UNETS)
@torch.no_grad()
def test_unet_batch_equals_single_on_a_side_that_is_not_square(changes):
    model = randomise(unet(**changes))
    x, t, context, y = inputs(3, changes)
    together = model(x, t, context, y)
    assert together.shape == x.shape
    for i in range(3):
        one = slice(i, i + 1)
        parts = [None if part is None else part[one] for part in (context, y)]
        assert (model(x[one], t[one], *parts) - together[one]).abs().max() < 1e-5


@pytest.mark.parametrize("changes", UNETS.values(), ids=UNETS)
def test_unet_starts_at_zero_and_every_weight_learns(changes):
    x, t, context, y = inputs(2, changes)
    assert torch.equal(unet(**changes)(x, t, context, y), torch.zeros_like(x))
    model = randomise(unet(**changes))
    model(x, t, context, y).square().sum().backward()
    still = [name for name, p in model.named_parameters() if not p.grad.abs().sum()]
    # a bias right before a norm over that one channel is cancelled by it
    assert [name for name in still if "weight" in name and "emb" not in name] == []


def test_unet_refuses_sides_it_cannot_halve():
    with pytest.raises(ValueError, match="multiples of 2, got \\(8, 9\\)"):
        unet()(torch.zeros(1, 3, 8, 9), torch.zeros(1).long())


def test_time_changes_the_prediction():
    model = randomise(unet(model_channels=64))
    x, _, _, _ = inputs(1, {})
    with torch.no_grad():
        early, late = (model(x, torch.tensor([t])) for t in (10, 900))
    assert (early - late).abs().max() > 1e-3


def test_timestep_embedding_is_cosines_then_sines():
    t = torch.tensor([0, 3])
    out = timestep_embedding(t, 5)
    assert out.shape == (2, 5)
    assert torch.equal(out[0], torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0]))
    assert abs(float(out[1, 0]) - float(torch.cos(torch.tensor(3.0)))) < 1e-6


LAYERS = {
    "ch": 16,
    "ch_mult": (1, 2),
    "num_res_blocks": 1,
    "attn_resolutions": (8,),
    "resolution": 16,
    "in_channels": 3,
    "out_ch": 3,
    "z_channels": 4,
    "norm_groups": 8,
}


def first_stage(kind):
    parts = {
        "encoder": Encoder(double_z=kind == "kl", **LAYERS),
        "decoder": Decoder(**LAYERS),
        "embed_dim": 4,
        "z_channels": 4,
    }
    return randomise(AutoencoderKL(**parts) if kind == "kl" else VQModel(n_embed=32, **parts))


@pytest.mark.parametrize("kind", ["kl", "vq"])
@torch.no_grad()
def test_first_stage_sizes_and_batches(kind):
    model = first_stage(kind)
    image = torch.randn(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    code = model.encode(image)
    z = code.mode() if kind == "kl" else code
    assert z.shape == (2, 4, 8, 12)
    assert model.factor == 2
    both = model.decode(z)
    assert both.shape == image.shape
    assert (model.decode(z[1:]) - both[1:]).abs().max() < 1e-5


def test_vq_finds_the_nearest_code_and_passes_the_gradient_through():
    model = first_stage("vq")
    z = torch.randn(2, 4, 6, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    quantised, loss, indices = model.quantize(z)
    flat = z.detach().permute(0, 2, 3, 1).reshape(-1, 4)
    assert torch.equal(indices, torch.cdist(flat, model.quantize.embedding.weight).argmin(1))
    quantised.sum().backward(retain_graph=True)
    assert torch.equal(z.grad, torch.ones_like(z))
    loss.backward()
    assert model.quantize.embedding.weight.grad.abs().sum() > 0


@torch.no_grad()
def test_conditioners():
    tokens = torch.tensor([[1, 2, 3], [3, 2, 1]])
    encoder = randomise(TextEncoder(n_embed=16, n_layer=2, vocab_size=9, max_seq_len=5))
    out = encoder(tokens)
    assert out.shape == (2, 3, 16)
    assert (encoder(tokens[:1]) - out[:1]).abs().max() < 1e-5
    assert ClassEmbedder(n_classes=4, embed_dim=6)(torch.tensor([1, 3])).shape == (2, 1, 6)
    rescaler = SpatialRescaler(n_stages=2, in_channels=5, out_channels=3)
    assert rescaler(torch.zeros(1, 5, 16, 24)).shape == (1, 3, 4, 6)


@torch.no_grad()
def test_classifier_pools():
    arguments = {
        "in_channels": 3,
        "model_channels": 32,
        "num_res_blocks": 1,
        "attention_resolutions": (2,),
        "channel_mult": (1, 2),
        "num_head_channels": 16,
        "image_size": 8,
        "out_channels": 7,
    }
    for pool in ("adaptive", "attention"):
        model = randomise(EncoderUNetModel(pool=pool, **arguments))
        assert model(torch.randn(2, 3, 8, 8), torch.tensor([1, 2])).shape == (2, 7)
    with pytest.raises(ValueError, match="pool must be"):
        EncoderUNetModel(pool="max", **arguments)


@torch.no_grad()
def test_critic_judges_wide_pictures():
    verdict = Critic(classes=5, answers=9)(torch.zeros(2, 3, 32, 64))
    assert verdict.labels.shape == (2, 5, 16, 32)
    assert verdict.attributes.shape == (2, 9)
    assert verdict.features.shape == (2, 256)
