import pytest
import torch

from ldm.models.classifier import AttentionPool2d, EncoderUNetModel

POOLS = pytest.mark.parametrize("pool", ["adaptive", "attention"])


def classifier(pool, **changes):
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
    return EncoderUNetModel(pool=pool, **(arguments | changes))


def latents(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@POOLS
@torch.no_grad()
def test_batch_equals_single(pool, randomise):
    model = randomise(classifier(pool))
    x, t = latents(2, 3, 8, 8), torch.tensor([1, 900])
    logits = model(x, t)
    assert logits.shape == (2, 7)
    assert (model(x[1:], t[1:]) - logits[1:]).abs().max() < 1e-5


@POOLS
def test_guides_its_input_and_every_weight_learns(pool, randomise):
    model = randomise(classifier(pool))
    x = latents(2, 3, 8, 8).requires_grad_()
    model(x, torch.tensor([1, 900])).square().sum().backward()
    assert x.grad.abs().max() > 0
    weights = {n: p for n, p in model.named_parameters() if "weight" in n and "emb" not in n}
    assert [n for n, p in weights.items() if not p.grad.abs().sum() > 0] == []


def test_pool_orders_its_channels_q_k_v(units):
    pool = AttentionPool2d(side=2, channels=8, head_channels=4, outputs=8)
    pool.c_proj = torch.nn.Identity()
    pool.qkv_proj.forward = lambda _: units["qkv/x"]  # (2, 24, 5)
    out = pool(torch.zeros(2, 8, 2, 2))
    assert torch.allclose(out, units["qkv/heads2_new"][:, :, 0], atol=1e-6)


@torch.no_grad()
def test_only_the_attention_pool_is_bound_to_its_size(randomise):
    assert classifier("adaptive")(torch.zeros(1, 3, 12, 10), torch.tensor([1])).shape == (1, 7)
    with pytest.raises(ValueError, match="sides must be 8, got \\(12, 10\\)"):
        classifier("attention")(torch.zeros(1, 3, 12, 10), torch.tensor([1]))


def test_an_unknown_pool_is_refused():
    with pytest.raises(ValueError, match="pool must be adaptive or attention, got 'max'"):
        classifier("max")
