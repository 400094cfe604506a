import math

import pytest
import torch

from ldm.models import first_stage as module
from ldm.models.autoencoder import Decoder, Encoder
from ldm.models.first_stage import (
    AutoencoderKL,
    DiagonalGaussian,
    IdentityFirstStage,
    VectorQuantizer,
    VQModel,
)

LAYERS = {
    "ch": 16,
    "ch_mult": (1, 2),
    "num_res_blocks": 1,
    "attn_resolutions": (),
    "resolution": 16,
    "in_channels": 3,
    "out_ch": 3,
    "z_channels": 5,
    "norm_groups": 8,
}
KINDS = pytest.mark.parametrize("kind", ["kl", "vq"])


def build(kind):
    parts = {
        "encoder": Encoder(double_z=kind == "kl", **LAYERS),
        "decoder": Decoder(**LAYERS),
        "embed_dim": 4,
        "z_channels": 5,
    }
    return AutoencoderKL(**parts) if kind == "kl" else VQModel(n_embed=32, **parts)


def picture(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@KINDS
@torch.no_grad()
def test_sizes_and_batches(kind, randomise):
    model = randomise(build(kind))
    image = picture(2, 3, 16, 22)
    code = model.encode(image)
    z = code.mode() if kind == "kl" else code
    assert z.shape == (2, 4, 8, 11)
    assert model.factor == 2
    both = model.decode(z)
    assert both.shape == image.shape
    assert (model.decode(z[1:]) - both[1:]).abs().max() < 1e-5
    alone = model.encode(image[1:])
    assert ((alone.mean if kind == "kl" else alone) - z[1:]).abs().max() < 1e-5


@KINDS
def test_sides_must_be_multiples_of_the_factor(kind):
    with pytest.raises(ValueError, match="multiples of 2 px, got \\(16, 21\\)"):
        build(kind).encode(torch.zeros(1, 3, 16, 21))


@KINDS
def test_every_weight_learns_through_the_code(kind, randomise):
    model = randomise(build(kind))
    code = model.encode(picture(2, 3, 16, 16))
    if kind == "kl":
        z, penalty = code.sample(picture(2, 4, 8, 8)), code.kl().sum()
        out = model.decode(z)
    else:
        z, penalty, _ = model.quantize(code)
        out = model.decode(z, force_not_quantize=True)
    (out.square().sum() + penalty).backward()
    assert [n for n, p in model.named_parameters() if not p.grad.abs().sum() > 0] == []


def test_kl_is_that_of_two_normals():
    mean, logvar = picture(2, 3, 2, 2), picture(2, 3, 2, 2) / 2
    posterior = DiagonalGaussian(torch.cat([mean, logvar], dim=1))
    normal = torch.distributions.Normal(0.0, 1.0)
    ours = torch.distributions.Normal(mean, torch.exp(logvar / 2))
    expected = torch.distributions.kl_divergence(ours, normal).sum((1, 2, 3))
    assert torch.allclose(posterior.kl(), expected, rtol=1e-5)
    assert torch.equal(posterior.sample(torch.zeros_like(mean)), posterior.mode())
    assert torch.allclose(posterior.sample(torch.ones_like(mean)), mean + torch.exp(logvar / 2))


def test_log_variance_is_clamped():
    posterior = DiagonalGaussian(torch.tensor([0.0, 0.0, -99.0, 99.0]).view(1, 4, 1, 1))
    assert posterior.logvar.flatten().tolist() == [-30.0, 20.0]
    assert posterior.std.flatten().tolist() == pytest.approx([math.exp(-15), math.exp(10)])


def test_quantiser_finds_the_nearest_code_and_passes_the_gradient_through(randomise):
    quantise = randomise(VectorQuantizer(32, 4))
    z = picture(2, 4, 6, 5).requires_grad_()
    quantised, loss, indices = quantise(z)
    flat = z.detach().permute(0, 2, 3, 1).reshape(-1, 4)
    assert torch.equal(indices, torch.cdist(flat, quantise.embedding.weight).argmin(1))
    found = quantise.embedding(indices).view(2, 6, 5, 4).permute(0, 3, 1, 2)
    assert torch.allclose(quantised, found, atol=1e-6)
    distance = (found - z).square().mean()
    assert float(loss.detach()) == pytest.approx(1.25 * float(distance.detach()), rel=1e-5)
    quantised.sum().backward(retain_graph=True)
    assert torch.equal(z.grad, torch.ones_like(z))
    z.grad = None
    loss.backward()
    # the published code weighs the codebook's part with 0.25, the encoder's with 1
    pull = (2 * (z - found) / z.numel()).detach()
    assert torch.allclose(z.grad, pull, atol=1e-7)
    total = -0.25 * pull.permute(0, 2, 3, 1).reshape(-1, 4)
    expected = torch.zeros(32, 4).index_add_(0, indices, total)
    assert torch.allclose(quantise.embedding.weight.grad, expected, atol=1e-7)


@torch.no_grad()
def test_search_in_chunks_and_in_half_precision_finds_the_same(monkeypatch):
    quantise = VectorQuantizer(256, 3)
    quantise.embedding.weight.copy_(20 + picture(256, 3).round(decimals=1))  # bfloat16 blurs these
    flat = (20 + picture(50, 3)).bfloat16()
    expected = torch.cdist(flat.double(), quantise.embedding.weight.double()).argmin(1)
    found = quantise.nearest(flat.float())
    monkeypatch.setattr(module, "MAX_DISTANCES", 256 * 7)
    assert torch.equal(quantise.nearest(flat.float()), found)
    monkeypatch.setattr(module, "MAX_DISTANCES", 1)  # one row at a time
    assert torch.equal(quantise.nearest(flat.float()), found)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(quantise.nearest(flat), found)
    chosen, best = quantise.embedding.weight[found], quantise.embedding.weight[expected]
    gap = (flat - chosen).square().sum(1) - (flat - best).square().sum(1)
    assert gap.abs().max() < 1e-3


@torch.no_grad()
def test_vq_decode_quantises_unless_told_not_to(randomise):
    model = randomise(build("vq"))
    z = picture(1, 4, 4, 4)
    quantised = model.quantize(z)[0]
    assert torch.equal(model.decode(z), model.decode(quantised, force_not_quantize=True))
    raw = model.decode(z, force_not_quantize=True)
    assert (raw - model.decode(z)).abs().max() > 1e-3


def test_identity_is_the_picture():
    image = picture(1, 3, 5, 7)
    model = IdentityFirstStage()
    assert model.factor == 1
    assert torch.equal(model.decode(model.encode(image)), image)
