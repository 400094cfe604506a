"""Small Stable Diffusions in diffusers' folders, and what that library makes of them.

`python -m tests.stable_diffusion`, where diffusers is installed, records its numbers anew.
"""

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from ldm.catalog import diffusers
from ldm.catalog.architecture import Architecture
from ldm.catalog.build import build_model
from ldm.catalog.clip_tokens import BytePairs, _ids
from ldm.catalog.compvis import CLIP_MERGES
from ldm.catalog.parsing import parse
from ldm.checkpoints.diffusers_names import first_stage_to_diffusers
from ldm.checkpoints.diffusers_unet import unet_to_diffusers
from ldm.checkpoints.keymaps import part
from ldm.diffusion.noise import normal

RECORDED = Path(__file__).parent / "reference" / "stable_diffusion.safetensors"
TEXT, HOLE = "StableDiffusionPipeline", "StableDiffusionInpaintPipeline"
PROMPT, SCALE, STEPS, SIDE = "a photograph of a red house, 1930", 2.0, 10, 64
WIDTHS = [32, 64, 64, 64]


def _config(kind: str) -> dict[str, dict]:
    downs = [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"]
    ups = ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3]
    text = ["transformers", "CLIPTextModel"], ["transformers", "CLIPTokenizer"]
    return {
        "model_index.json": {
            "_class_name": kind,
            "_diffusers_version": "0.42.1",
            "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"],
            "text_encoder": text[0],
            "tokenizer": text[1],
            "scheduler": ["diffusers", "DDIMScheduler"],
            "safety_checker": [None, None],
            "feature_extractor": [None, None],
            "image_encoder": [None, None],
        },
        "unet/config.json": {
            "_class_name": "UNet2DConditionModel",
            "_diffusers_version": "0.42.1",
            "attention_head_dim": 4,
            "block_out_channels": WIDTHS,
            "cross_attention_dim": 64,
            "down_block_types": downs,
            "up_block_types": ups,
            "in_channels": 4 if kind == TEXT else 9,
            "out_channels": 4,
            "layers_per_block": 1,
            "sample_size": SIDE // 8,
        },
        "vae/config.json": {
            "_class_name": "AutoencoderKL",
            "block_out_channels": WIDTHS,
            "down_block_types": ["DownEncoderBlock2D"] * 4,
            "up_block_types": ["UpDecoderBlock2D"] * 4,
            "latent_channels": 4,
            "layers_per_block": 1,
            "scaling_factor": 0.18215,
        },
        "text_encoder/config.json": {
            "architectures": ["CLIPTextModel"],
            "model_type": "clip_text_model",
            "hidden_act": "quick_gelu",
            "hidden_size": 64,
            "intermediate_size": 256,
            "max_position_embeddings": 77,
            "num_attention_heads": 1,
            "num_hidden_layers": 2,
            "vocab_size": 49408,
        },
        "scheduler/scheduler_config.json": {
            "_class_name": "DDIMScheduler",
            "beta_schedule": "scaled_linear",
            "beta_start": 0.00085,
            "beta_end": 0.012,
            "clip_sample": False,
            "set_alpha_to_one": False,
            "steps_offset": 1,
        },
    }


def write_folder(folder: Path, kind: str) -> None:
    """Write a pipeline's folder, with weights that are the same everywhere."""
    for name, about in _config(kind).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(about))
    architecture = parse(Architecture, diffusers.preset_values(folder)["architecture"], kind)
    shapes = build_model(architecture).state_dict()
    weights = {name: _weight(name, t.shape) for name, t in sorted(shapes.items())}
    parts = {
        "unet": unet_to_diffusers(part(weights, "unet."), 1, None),
        "vae": first_stage_to_diffusers(part(weights, "first_stage.")),
        "text_encoder": part(weights, "conditioner.transformer."),
    }
    for name, tensors in parts.items():
        file = "model" if name == "text_encoder" else "diffusion_pytorch_model"
        tensors = {key: tensor.contiguous() for key, tensor in tensors.items()}
        save_file(tensors, folder / name / f"{file}.safetensors", metadata={"format": "pt"})


def _weight(name: str, shape: torch.Size) -> torch.Tensor:
    """Return a weight by which a layer keeps about the size of what it is given."""
    values = normal(seed=sum(map(ord, name)), step=0, shape=(1, 1, shape.numel())).view(shape)
    if len(shape) > 1 and "embedding" not in name:
        return values / shape[1:].numel() ** 0.5
    is_norm = name.endswith(".weight") and len(shape) == 1
    return 0.1 * values + is_norm


def start() -> torch.Tensor:
    """Return x_T, (1, 4, h, w)."""
    return normal(seed=1, step=0, shape=(4, SIDE // 8, SIDE // 8))[None]


def picture_and_hole() -> tuple[np.ndarray, np.ndarray]:
    """Return a picture (H, W, 3) uint8 and the mask of its hole, (H, W) uint8, 255 in it."""
    down, across = np.mgrid[:SIDE, :SIDE]
    image = np.stack([3 * down, 2 * across, down + across], axis=2).astype(np.uint8)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[16:48, 24:56] = 255
    return image, mask


def recorded(kind: str) -> torch.Tensor:
    """Return the latents (1, 4, h, w) that the library ends at."""
    return load_file(RECORDED)[kind]


def _record(kind: str, folder: Path) -> torch.Tensor:
    import diffusers as library  # noqa: PLC0415  (not installed with the tests)
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution  # noqa: PLC0415
    from PIL import Image  # noqa: PLC0415

    write_folder(folder, kind)
    (folder / "tokenizer").mkdir()
    shutil.copy(CLIP_MERGES, folder / "tokenizer" / "merges.txt")
    ids = _ids(BytePairs(CLIP_MERGES)._read())
    (folder / "tokenizer" / "vocab.json").write_text(json.dumps(ids))
    (folder / "tokenizer" / "tokenizer_config.json").write_text('{"model_max_length": 77}')
    # the hole's surroundings are the mean of their distribution here, not drawn from it
    DiagonalGaussianDistribution.sample = lambda self, generator=None: self.mean
    about = {"latents": start(), "num_inference_steps": STEPS, "guidance_scale": SCALE}
    if kind == HOLE:
        image, mask = map(Image.fromarray, picture_and_hole())
        about |= {"image": image, "mask_image": mask, "height": SIDE, "width": SIDE}
    pipeline = getattr(library, kind).from_pretrained(folder)
    return pipeline(PROMPT, output_type="latent", **about).images


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        save_file({kind: _record(kind, Path(place) / kind) for kind in (TEXT, HOLE)}, RECORDED)
