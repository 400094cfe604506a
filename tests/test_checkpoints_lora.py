"""LoRAs of each way of naming change the same weights, by the same product."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from ldm.checkpoints.keymaps import ema_name
from ldm.checkpoints.lora import TEXT, UNET, merge, merged_weights
from ldm.checkpoints.read import read_checkpoint
from ldm.cli import main
from ldm.errors import CheckpointError
from tests.stable_diffusion import TEXT as SENTENCES
from tests.stable_diffusion import write_folder

LINEAR = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0"
CONV = "up_blocks.1.resnets.0.conv1"
SAMPLER = "down_blocks.0.downsamplers.0.conv"
WORDS = "text_model.encoder.layers.0.self_attn.q_proj"
# what they are called in the published file
OURS = {
    LINEAR: f"{UNET}input_blocks.3.1.transformer_blocks.0.attn1.to_out.0.weight",
    CONV: f"{UNET}output_blocks.2.0.in_layers.2.weight",
    SAMPLER: f"{UNET}input_blocks.2.0.op.weight",
    WORDS: f"{TEXT}{WORDS}.weight",
}
RANK = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "small"
    write_folder(folder, SENTENCES)
    return folder


@pytest.fixture(scope="module")
def base(folder):
    return read_checkpoint(folder)


@pytest.fixture(scope="module")
def matrices(base):
    """Layer -> (up, down), of a convolution with its kernel in the second."""
    made, rng = {}, torch.Generator().manual_seed(0)
    for layer, name in OURS.items():
        out, *rest = base[name].shape
        ones = [1] * (len(rest) - 1)
        up, down = (torch.randn(s, generator=rng) for s in ([out, RANK, *ones], [RANK, *rest]))
        made[layer] = up, down
    return made


def kohya(matrices):
    named = {}
    for layer, (up, down) in matrices.items():
        start = f"lora_{'te' if layer == WORDS else 'unet'}_{layer.replace('.', '_')}"
        named |= {f"{start}.lora_up.weight": up, f"{start}.lora_down.weight": down}
        named[f"{start}.alpha"] = torch.tensor(1.5)
    return named


def library(matrices, up="lora_B", down="lora_A"):
    named = {}
    for layer, (first, second) in matrices.items():
        start = f"{'text_encoder' if layer == WORDS else 'unet'}.{layer}"
        named |= {f"{start}.{up}.weight": first, f"{start}.{down}.weight": second}
    return named


def saved(matrices):
    """What the library writes today; its own `fuse_lora` gives the same weights bit for bit."""
    words = {WORDS: matrices[WORDS]}
    rest = {layer: pair for layer, pair in matrices.items() if layer != WORDS}
    text = library(words, "lora_linear_layer.up", "lora_linear_layer.down")
    return text | library(rest, "lora.up", "lora.down")


def processors(matrices):
    """The first files of the library, of attention alone."""
    up, down = matrices[LINEAR]
    start = f"unet.{LINEAR.removesuffix('.to_out.0')}.processor.to_out_lora"
    return {f"{start}.up.weight": up, f"{start}.down.weight": down}


@pytest.mark.parametrize(
    ("named", "scale"),
    [
        (kohya, 1.5 / RANK),
        (library, 1.0),
        (saved, 1.0),
        (processors, 1.0),
    ],
)
def test_each_naming_adds_the_product(base, matrices, named, scale):
    lora = named(matrices)
    changed = merged_weights(base, lora, 0.5, "a LoRA")
    assert set(changed) == ({OURS[LINEAR]} if named is processors else set(OURS.values()))
    for layer, (up, down) in matrices.items():
        if (name := OURS[layer]) in changed:
            product = torch.einsum("or,r...->o...", up.flatten(1), down)
            assert torch.allclose(changed[name], base[name] + 0.5 * scale * product, atol=1e-5)


def test_a_merged_file_is_the_model_and_its_changes(folder, base, matrices, tmp_path, capsys):
    save_file(library(matrices), tmp_path / "lora.safetensors")
    out = tmp_path / "merged.safetensors"
    flags = [str(folder), str(tmp_path / "lora.safetensors"), str(out), "--strength", "-1"]
    assert main(["merge", *flags]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    merged = load_file(out)
    assert set(merged) == set(base)
    differ = {name for name in base if not torch.equal(merged[name], base[name])}
    assert differ == set(OURS.values())
    assert main(["merge", *flags]) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda lora: {"unet.a.hada_w1_a": torch.ones(1)}, "'unet.a.hada_w1_a', which is no part"),
        (lambda lora: {"unet.a.lora_A.weight": torch.ones(2, 2)}, "changes 'unet.a', which the"),
        (lambda lora: dict(list(lora.items())[:1]), "is damaged: .* has no down matrix"),
        (lambda lora: {k: t[:, :1] for k, t in lora.items()}, "has matrices of "),
        (lambda lora: {k: t.flatten() for k, t in lora.items()}, "has matrices of "),
        (lambda lora: {k: t[:0] for k, t in lora.items()}, "has matrices of "),
        (lambda lora: {k: torch.tensor(1.0) for k in lora}, "has matrices of "),
        (lambda lora: {}, "holds no weights"),
    ],
)
def test_what_is_no_lora_of_the_model_is_told(base, matrices, change, says):
    with pytest.raises(CheckpointError, match=says):
        merged_weights(base, change(library(matrices)), 1.0, "a LoRA")


def test_averaged_weights_are_changed_too(base, matrices):
    """They are preferred where a file has them."""
    averaged = {ema_name(name): 2 * base[name] for name in OURS.values() if name != OURS[WORDS]}
    changed = merged_weights(base | averaged, library(matrices), 1.0, "a LoRA")
    for name, weight in averaged.items():
        plain = next(one for one in OURS.values() if ema_name(one) == name)
        assert torch.allclose(changed[name] - weight, changed[plain] - base[plain], atol=1e-5)


def test_text_weights_with_short_names_are_changed_too(base, matrices):
    short = {name.replace(f"{TEXT}text_model.", TEXT): tensor for name, tensor in base.items()}
    changed = merged_weights(short, library(matrices), 1.0, "a LoRA")
    assert OURS[WORDS].replace("text_model.", "") in changed


def test_paths_may_be_text(base, matrices, tmp_path):
    model, lora, out = (tmp_path / f"{name}.safetensors" for name in ("model", "lora", "out"))
    save_file(base, model)
    save_file(library(matrices), lora)
    assert merge(str(model), str(lora), str(out)) == out
    assert out.is_file()


def test_a_strength_out_of_range_is_told(tmp_path):
    with pytest.raises(CheckpointError, match="strength must be -10 to 10, got 11"):
        merge(tmp_path / "a", tmp_path / "b", tmp_path / "c.safetensors", 11)
