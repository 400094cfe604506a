import pytest
import torch

from ldm.models.text import TextEncoder


def encoder():
    return TextEncoder(n_embed=16, n_layer=2, vocab_size=9, max_seq_len=5)


@torch.no_grad()
def test_batch_equals_single_and_short_sentences_will_do(randomise):
    model = randomise(encoder())
    tokens = torch.tensor([[1, 2, 3], [3, 2, 1]])
    out = model(tokens)
    assert out.shape == (2, 3, 16)
    assert (model(tokens[:1]) - out[:1]).abs().max() < 1e-5


@torch.no_grad()
def test_position_matters_and_padding_is_attended_to(randomise):
    model = randomise(encoder())
    out = model(torch.tensor([[1, 2, 3], [2, 1, 3], [1, 2, 4]]))
    assert (out[0, 0] - out[1, 1]).abs().max() > 1e-3
    assert (out[0, 0] - out[2, 0]).abs().max() > 1e-4


def test_too_many_tokens_are_refused():
    with pytest.raises(ValueError, match="at most 5 tokens, got 6"):
        encoder()(torch.zeros(1, 6).long())


def test_every_weight_but_the_unused_head_learns(randomise):
    model = randomise(encoder())
    model(torch.arange(5)[None]).square().sum().backward()
    still = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == ["transformer.to_logits.weight", "transformer.to_logits.bias"]


def test_attention_and_feed_forward_take_turns():
    layers = encoder().transformer.attn_layers.layers
    kinds = [type(layer).__name__ for _, layer, _ in layers]
    assert kinds == ["SelfAttention", "FeedForward"] * 2
    assert layers[0][1].to_q.weight.shape == (512, 16)  # 8 heads of 64, whatever the width
