"""Names and forms of the diffusers library, against key lists that the library itself printed."""

import gzip
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from ldm.checkpoints.diffusers_names import (
    first_stage_from_diffusers,
    first_stage_to_diffusers,
    text_from_diffusers,
)
from ldm.checkpoints.diffusers_unet import unet_from_diffusers, unet_to_diffusers
from ldm.checkpoints.read import read_checkpoint
from ldm.errors import CheckpointError
from ldm.models.attention import AttentionBlock

REFERENCE = Path(__file__).parent / "reference"
MANIFESTS = REFERENCE / "manifests"
NAMES = sorted(p.name.removesuffix(".json.gz") for p in MANIFESTS.glob("*.json.gz"))
with gzip.open(REFERENCE / "diffusers_names.json.gz") as file:
    LIBRARY = json.load(file)["models"]

PREFIXES = {"unet": "model.diffusion_model.", "bert": "cond_stage_model.transformer."}


def manifest(name: str) -> tuple[dict, dict[str, Tensor]]:
    with gzip.open(MANIFESTS / f"{name}.json.gz") as file:
        about = json.load(file)
    weights = {k: torch.empty(s, device="meta") for k, (s, _) in about["state_dict"].items()}
    return about["model"]["params"], weights


def below(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k[len(prefix) :]: t for k, t in weights.items() if k.startswith(prefix)}


def shapes(weights: dict[str, Tensor]) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in weights.items()}


def unet_settings(params: dict) -> tuple[int, int | None]:
    about = params["unet_config"]["params"]
    width = about.get("num_head_channels", -1)
    return about["num_res_blocks"], width if width > 0 else None


@pytest.mark.parametrize("model", LIBRARY)
def test_names_and_shapes_equal_the_librarys(model):
    name, kind = model.split("/")
    params, weights = manifest(name)
    if kind == "unet":
        theirs = unet_to_diffusers(below(weights, PREFIXES[kind]), *unet_settings(params))
    elif kind == "bert":
        named = text_from_diffusers(LIBRARY[model], model)  # their shapes stand for weights
        assert named == shapes(below(weights, PREFIXES[kind]))
        return
    else:
        theirs = first_stage_to_diffusers(weights)
    assert shapes(theirs) == LIBRARY[model]


@pytest.mark.parametrize("name", NAMES)
def test_round_trip_of_every_published_weight(name):
    params, weights = manifest(name)
    if "unet_config" in params:
        unet = below(weights, PREFIXES["unet"])
        depth, width = unet_settings(params)
        there = unet_to_diffusers(unet, depth, width)
        assert shapes(unet_from_diffusers(there, name, width)) == shapes(unet)
    code = below(weights, "" if name.startswith("fs-") else "first_stage_model.")
    assert shapes(first_stage_from_diffusers(first_stage_to_diffusers(code), name)) == shapes(code)


def attention_weights(channels: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    names = {"group_norm.weight": (channels,), "group_norm.bias": (channels,)}
    for part in ("to_q", "to_k", "to_v", "to_out.0"):
        names |= {f"{part}.weight": (channels, channels), f"{part}.bias": (channels,)}
    return {n: 0.2 * torch.randn(s, generator=generator) for n, s in names.items()}


def library_attention(x: Tensor, w: dict[str, Tensor], width: int) -> Tensor:
    """What diffusers computes: three matrices, heads cut from each in order."""
    h = F.group_norm(x, 32, w["group_norm.weight"], w["group_norm.bias"], 1e-5)
    h = h.flatten(2).transpose(1, 2)
    q, k, v = (
        F.linear(h, w[f"{p}.weight"], w[f"{p}.bias"]).unflatten(2, (-1, width)).transpose(1, 2)
        for p in ("to_q", "to_k", "to_v")
    )
    h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    h = F.linear(h, w["to_out.0.weight"], w["to_out.0.bias"])
    return x + h.transpose(1, 2).reshape(x.shape)


OLD_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


@pytest.mark.parametrize("names", [{}, OLD_NAMES], ids=["new", "old"])
def test_joined_attention_computes_what_three_matrices_do(names):
    weights, width = attention_weights(64), 16
    named = {}
    for name, tensor in weights.items():
        layer, _, kind = name.rpartition(".")
        named[f"mid_block.attentions.0.{names.get(layer, layer)}.{kind}"] = tensor
    ours = below(unet_from_diffusers(named, "f", width), "middle_block.1.")
    block = AttentionBlock(64, 4)
    block.load_state_dict(ours, strict=True)
    x = torch.randn(2, 64, 4, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(block(x), library_attention(x, weights, width))


def write_part(folder: Path, weights: dict[str, Tensor], config: dict) -> None:
    folder.mkdir(parents=True)
    save_file(
        {k: t.contiguous() for k, t in weights.items()},
        folder / "diffusion_pytorch_model.safetensors",
    )
    (folder / "config.json").write_text(json.dumps(config))


@pytest.fixture
def pipeline(tmp_path):
    unet = {f"mid_block.attentions.0.{n}": t for n, t in attention_weights(32).items()}
    write_part(tmp_path / "unet", unet, {"attention_head_dim": 8})
    write_part(tmp_path / "vqvae", {"quant_conv.bias": torch.ones(3)}, {})
    (tmp_path / "model_index.json").write_text('{"_class_name": "LDMPipeline"}')
    return tmp_path


def test_a_pipelines_folder_is_read_under_published_names(pipeline):
    assert set(read_checkpoint(pipeline)) == {
        *(f"model.diffusion_model.middle_block.1.{part}.{kind}"
          for part in ("norm", "qkv", "proj_out") for kind in ("weight", "bias")),
        "first_stage_model.quant_conv.bias",
    }  # fmt: skip


def test_clips_part_of_a_pipeline_keeps_its_names(pipeline):
    name = "text_model.final_layer_norm.bias"
    write_part(pipeline / "text_encoder", {name: torch.ones(3)}, {})
    assert f"cond_stage_model.transformer.{name}" in read_checkpoint(pipeline)


def test_a_part_may_be_there_in_half_precision_alone(pipeline):
    file = pipeline / "unet" / "diffusion_pytorch_model.safetensors"
    names = set(read_checkpoint(pipeline))
    file.rename(file.with_suffix(".fp16.safetensors"))
    assert set(read_checkpoint(pipeline)) == names


def test_a_first_stages_folder_is_read_alone(pipeline):
    assert set(read_checkpoint(pipeline / "vqvae")) == {"quant_conv.bias"}


@pytest.mark.parametrize(
    ("part", "name", "words"),
    [
        ("unet", "lora.down.weight", "lora.down.weight"),
        ("unet", "down_blocks.x.resnets.y.norm1.weight", "norm1"),
        ("unet", "down_blocks.0.gadgets.0.norm1.weight", "gadgets"),
        ("unet", "mid_block.attentions.0.to_q.weight", "lacks a part"),
        ("vqvae", "encoder.mid_block.other.0.weight", "other"),
        ("vqvae", "middle.weight", "middle.weight"),
    ],
)
def test_an_unknown_weight_is_an_error(pipeline, part, name, words):
    path = pipeline / part / "diffusion_pytorch_model.safetensors"
    save_file({name: torch.ones(2, 2)}, path)
    with pytest.raises(CheckpointError, match=words) as caught:
        read_checkpoint(pipeline)
    assert str(pipeline / part) in str(caught.value)


@pytest.mark.parametrize(
    "missing", ["unet/config.json", "vqvae/diffusion_pytorch_model.safetensors"]
)
def test_a_missing_part_is_an_error(pipeline, missing):
    (pipeline / missing).unlink()
    with pytest.raises(CheckpointError, match="download the whole folder"):
        read_checkpoint(pipeline)


def test_a_weight_of_another_form_is_an_error(pipeline):
    weights = {f"mid_block.attentions.0.{n}": t for n, t in attention_weights(36).items()}
    save_file(weights, pipeline / "unet" / "diffusion_pytorch_model.safetensors")
    with pytest.raises(CheckpointError, match="another architecture") as caught:
        read_checkpoint(pipeline)
    assert "\n" not in str(caught.value)
