"""CLIP's text transformer against the library's, with the same weights."""

import pytest
import torch

from ldm.models.clip import CLIPTextEncoder

SIZES = {"n_embed": 128, "n_layer": 3, "vocab_size": 300, "max_seq_len": 20}


@pytest.fixture
def encoder(randomise):
    return randomise(CLIPTextEncoder(**SIZES).eval())


@pytest.fixture
def tokens():
    return torch.randint(300, (2, 20), generator=torch.Generator().manual_seed(0))


def test_it_computes_what_the_library_does(encoder, tokens):
    transformers = pytest.importorskip("transformers")
    config = transformers.CLIPTextConfig(
        vocab_size=300,
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=20,
        bos_token_id=298,
        eos_token_id=299,
    )
    theirs = transformers.CLIPTextModel(config).eval()
    bare = "transformer.text_model."  # as the library writes it since its version 5
    theirs.load_state_dict(
        {name.removeprefix(bare): value for name, value in encoder.state_dict().items()}
    )
    with torch.no_grad():
        expected = theirs(tokens).last_hidden_state
        assert expected.std() > 0.5
        torch.testing.assert_close(encoder(tokens), expected, rtol=0, atol=1e-5)


def test_a_token_does_not_see_what_comes_after_it(encoder, tokens):
    other = tokens.clone()
    other[:, 7:] = (other[:, 7:] + 1) % 300
    with torch.no_grad():
        change = (encoder(tokens) - encoder(other)).abs().amax((0, 2))
    assert (change[:7] == 0).all()
    assert (change[7:] > 1e-3).all()


def test_too_many_tokens_are_an_error(encoder):
    with pytest.raises(ValueError, match="at most 20 tokens, got 21"):
        encoder(torch.zeros(1, 21, dtype=torch.int64))
