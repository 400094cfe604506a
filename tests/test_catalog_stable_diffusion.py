"""Stable Diffusion 1: the weights that its published file holds, told by what it is made of.

The file itself cannot be had here. Its UNet is that of the large text-to-image model with a context
of another width, its first stage is the published KL-f8, and its text transformer is the library's.
"""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ldm.catalog.build import build_model
from ldm.catalog.registry import load_preset
from ldm.checkpoints.apply import load_weights
from ldm.checkpoints.keymaps import to_our_names, to_published_names
from ldm.diffusion.guidance import classifier_free
from ldm.diffusion.samplers import ddim
from ldm.images import to_tensor
from ldm.requests import Inpaint, TextToImage
from ldm.runtime.manager import ModelManager
from ldm.studio import Studio
from ldm.tasks import covering
from tests.stable_diffusion import (
    HOLE,
    PROMPT,
    SCALE,
    SIDE,
    STEPS,
    TEXT,
    picture_and_hole,
    recorded,
    start,
    write_folder,
)

MANIFEST = Path(__file__).parent / "reference" / "manifests" / "ldm-txt2img-1p4B-eval.json.gz"
POSITIONS = "cond_stage_model.transformer.text_model.embeddings.position_ids"


@pytest.fixture(scope="module")
def model():
    return build_model(load_preset("stable-diffusion-v1-4"))


def shapes(weights, prefix: str) -> dict[str, list[int]]:
    return {k: list(t.shape) for k, t in weights.items() if k.startswith(prefix)}


def test_unet_and_first_stage_are_those_of_the_large_text_model_but_for_the_context(model):
    published = to_published_names(model.state_dict())
    with gzip.open(MANIFEST) as file:
        recorded = {k: shape for k, (shape, _) in json.load(file)["state_dict"].items()}
    for prefix in ("model.diffusion_model.", "first_stage_model."):
        theirs = {
            k: [shape[0], 768] if k.endswith(("attn2.to_k.weight", "attn2.to_v.weight")) else shape
            for k, shape in recorded.items()
            if k.startswith(prefix) and ".loss." not in k
        }
        assert shapes(published, prefix) == theirs


def test_the_text_transformer_has_the_librarys_weights(model):
    transformers = pytest.importorskip("transformers")
    with torch.device("meta"):
        theirs = transformers.CLIPTextModel(
            transformers.CLIPTextConfig(
                hidden_size=768, intermediate_size=3072, num_attention_heads=12
            )
        )
    prefix = "cond_stage_model.transformer.text_model."
    ours = shapes(to_published_names(model.state_dict()), prefix)
    expected = {prefix + k: list(t.shape) for k, t in theirs.state_dict().items()}
    assert ours == expected
    assert len(ours) == 196


def test_what_a_file_holds_beside_the_text_transformer_is_passed_over():
    clip = build_model(load_preset("stable-diffusion-v1-4")).conditioner
    holder = torch.nn.Module()
    holder.conditioner = clip
    weights = {k: torch.zeros(t.shape) for k, t in holder.state_dict().items()}
    file = to_published_names(weights) | {POSITIONS: torch.arange(77)[None]}
    beside = ("logit_scale", "text_projection", "transformer.text_projection.weight")
    file |= {f"cond_stage_model.{name}": torch.ones(1) for name in beside}
    report = load_weights(holder, to_our_names(file, "f"), "f")
    left = (POSITIONS, *(f"cond_stage_model.{name}" for name in beside))
    assert report.ignored == tuple(n.replace("cond_stage_model", "conditioner") for n in left)


def test_a_small_one_reads_sentences():
    about = load_preset("stable-diffusion-v1-4").architecture
    conditioner = replace(about.conditioner, n_embed=64, n_layer=1)
    unet = replace(about.unet, model_channels=32, num_res_blocks=1, context_dim=64)
    small = replace(about, conditioner=conditioner, unet=unet)
    model = build_model(small, "cpu").requires_grad_(False)
    first, second, third = model.condition(["a lake", "a lake at night", "a lake"]).context
    assert first.shape == (77, 64)
    assert torch.equal(first, third)
    assert torch.equal(first[:3], second[:3])  # the start, "a" and "lake" do not see what follows
    assert (first[3:] - second[3:]).abs().max() > 0.01


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("place") / "models"
    for kind in (TEXT, HOLE):
        write_folder(place / kind, kind)
    return place


# random weights enlarge what fast layers round otherwise, step by step
@pytest.mark.parametrize(("prepared", "tolerance"), [(False, 2e-5), (True, 1e-3)])
@pytest.mark.parametrize("kind", [TEXT, HOLE])
def test_a_diffusers_folder_makes_what_the_library_makes_of_it(folders, kind, prepared, tolerance):
    about = {"device": "cpu", "precision": "float32", "models_dir": folders}
    with ModelManager(prepared=prepared, **about).use(kind) as model, torch.no_grad():
        said, nothing = (model.condition([words]) for words in (PROMPT, ""))
        if kind == HOLE:
            image, mask = picture_and_hole()
            around = model.condition_hole(
                to_tensor([image]), torch.from_numpy(mask > 0)[None, None]
            )
            said, nothing = (replace(around, context=c.context) for c in (said, nothing))
        eps = classifier_free(model.denoise, said, nothing, SCALE)
        *_, last = ddim(eps, start(), model.schedule, steps=STEPS)
    expected = recorded(kind)
    assert expected.std() > 1
    assert (last.x_t - expected).abs().max() < tolerance * expected.abs().max()


def test_a_word_that_a_folder_has_learned_is_read_with_its_own_embedding(tmp_path):
    """As textual inversion leaves it: one more row of the embeddings, and the word's id."""
    folder = tmp_path / "models" / "learned"
    write_folder(folder, TEXT)
    weights = load_file(folder / "text_encoder" / "model.safetensors")
    name = next(name for name in weights if name.endswith("token_embedding.weight"))
    row = torch.full_like(weights[name][:1], 0.5)
    save_file(
        weights | {name: torch.cat([weights[name], row])},
        folder / "text_encoder" / "model.safetensors",
    )
    config = folder / "text_encoder" / "config.json"
    about = json.loads(config.read_text())
    config.write_text(json.dumps(about | {"vocab_size": len(weights[name]) + 1}))
    (folder / "tokenizer").mkdir()
    words = {"<my-cat>": len(weights[name])}
    (folder / "tokenizer" / "added_tokens.json").write_text(json.dumps(words))
    with ModelManager(device="cpu", models_dir=folder.parent).use("learned") as model:
        ids = model.tokenizer(["a photo of <my-cat>"])[0].tolist()
        assert ids[4] == len(weights[name]) == 49408
        said = [model.condition([text]).context for text in ("a <my-cat>", "a < my - cat >")]
        assert (said[0] - said[1]).abs().max() > 0.1


@pytest.mark.parametrize(("kind", "budget"), [(TEXT, "12MiB"), (HOLE, "4MiB")])
def test_in_bands_it_is_the_same_picture(folders, kind, budget, tmp_path, monkeypatch):
    monkeypatch.chdir(folders.parent)  # where models are looked for
    monkeypatch.setattr(covering, "SMALL_CELLS", 0)
    about = {"preset": kind, "prompt": PROMPT, "steps": 2, "seed": 1, "sampler": "ddim"}
    about["guidance_scale"] = 1.0  # random weights and guidance enlarge rounding, here to 7 levels
    if kind == HOLE:
        image, mask = picture_and_hole()
        request = Inpaint(image=image, mask=mask, working_size=SIDE, **about)
    else:
        request = TextToImage(width=128, height=192, **about)
    how = {"data_dir": tmp_path, "device": "cpu", "precision": "float32"}
    whole, bands = (Studio(canvas_budget=b, **how).make(request) for b in (None, budget))
    assert [any("in bands" in note for note in made.notes) for made in (whole, bands)] == [0, 1]
    change = np.abs(whole.images[0].astype(int) - bands.images[0])
    assert change.max() <= 1
    assert whole.images[0].std() > 5
