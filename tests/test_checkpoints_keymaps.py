"""Published names <-> ours, and averaged weights in the place of raw ones."""

import gzip
import json
from pathlib import Path

import pytest
import torch

from ldm.checkpoints.keymaps import ema_name, part, to_our_names, to_published_names
from ldm.errors import CheckpointError

MANIFESTS = Path(__file__).parent / "reference" / "manifests"
NAMES = sorted(p.name.removesuffix(".json.gz") for p in MANIFESTS.glob("*.json.gz"))


def published(name: str) -> dict[str, torch.Tensor]:
    with gzip.open(MANIFESTS / f"{name}.json.gz") as file:
        about = json.load(file)
    return {k: torch.empty(s, device="meta") for k, (s, _) in about["state_dict"].items()}


@pytest.mark.parametrize("name", NAMES)
def test_round_trip_of_every_published_name(name):
    tensors = published(name)
    ours = to_our_names(tensors, name, ema=False)
    back = to_published_names(ours)
    if name.startswith("fs-"):
        back = part(back, "first_stage_model.")
    kept = {k: t for k, t in tensors.items() if not k.startswith("model_ema.")}
    assert back.keys() == kept.keys()
    assert all(back[k] is kept[k] for k in kept)


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("ldm-")])
def test_every_average_finds_its_weight(name):
    tensors = published(name)
    averages = {k for k in tensors if k.startswith("model_ema.diffusion_model")}
    raw = [k for k in tensors if k.startswith("model.diffusion_model.")]
    ours = to_our_names(tensors, name)
    expected = [tensors[ema_name(k)] if averages else tensors[k] for k in raw]
    got = [ours["unet." + k.removeprefix("model.diffusion_model.")] for k in raw]
    assert all(a is b for a, b in zip(got, expected, strict=True))
    assert len(averages) in (0, len(raw))


def small() -> dict[str, torch.Tensor]:
    return {
        "model.diffusion_model.out.0.weight": torch.zeros(2),
        "model.diffusion_model.out.0.bias": torch.zeros(2),
        "model_ema.diffusion_modelout0weight": torch.ones(2),
        "model_ema.diffusion_modelout0bias": torch.ones(2),
        "model_ema.decay": torch.tensor(0.9999),
        "model_ema.num_updates": torch.tensor(3),
        "first_stage_model.encoder.conv_in.bias": torch.full((2,), 5.0),
        "scale_factor": torch.tensor(0.5),
    }


def test_averages_are_preferred_and_can_be_declined():
    assert to_our_names(small(), "f")["unet.out.0.weight"].tolist() == [1, 1]
    assert to_our_names(small(), "f", ema=False)["unet.out.0.weight"].tolist() == [0, 0]
    assert set(to_our_names(small(), "f")) == {
        "unet.out.0.weight",
        "unet.out.0.bias",
        "first_stage.encoder.conv_in.bias",
        "scale_factor",
    }


@pytest.mark.parametrize(
    "lost", ["model_ema.diffusion_modelout0bias", "model.diffusion_model.out.0.bias"]
)
def test_averages_that_do_not_match_are_an_error(lost):
    tensors = small()
    del tensors[lost]
    with pytest.raises(CheckpointError, match="out0bias"):
        to_our_names(tensors, "file.ckpt")


@pytest.mark.parametrize("between", ["text_model.", ""])
def test_clip_is_known_by_both_of_its_names(between):
    below = "cond_stage_model.transformer." + between
    names = ("embeddings.token_embedding", "encoder.layers.0.mlp.fc1", "final_layer_norm")
    weights = {f"{below}{name}.weight": torch.ones(1) for name in names}
    ours = "conditioner.transformer.text_model."
    assert set(to_our_names(weights, "f")) == {f"{ours}{name}.weight" for name in names}


def test_a_first_stage_alone_is_known_by_its_parts():
    ours = to_our_names({"encoder.conv_in.bias": torch.ones(1), "loss.logvar": torch.ones(())}, "f")
    assert set(ours) == {"first_stage.encoder.conv_in.bias", "first_stage.loss.logvar"}
