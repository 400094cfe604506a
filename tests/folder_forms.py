"""The forms in which the diffusers library saves the weights of a part's folder."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from ldm.checkpoints.parts import divided

SAFE, PICKLED = ".safetensors", ".bin"
STEMS = {SAFE: "model", PICKLED: "pytorch_model"}  # of the text encoder, which transformers saves
PARTS = ("unet", "vae", "text_encoder")


@dataclass(frozen=True)
class Form:
    """As `save_pretrained` is told; `old` is the place of a variant before diffusers 0.31."""

    variant: str = ""
    suffix: str = SAFE
    shard: int | None = None  # bytes of a shard, at most; None: one file
    old: bool = False

    def stem(self, part: str) -> str:
        return STEMS[self.suffix] if part == "text_encoder" else "diffusion_pytorch_model"

    def names(self, part: str, count: int) -> list[str]:
        """The names of `count` files."""
        mark = self.variant and f".{self.variant}"
        stem, before, after = self.stem(part), "" if self.old else mark, mark if self.old else ""
        if self.shard is None:
            return [f"{stem}{mark}{self.suffix}"]
        numbers = [f"-{i:05}-of-{count:05}" for i in range(1, count + 1)]
        return [f"{stem}{before}{number}{after}{self.suffix}" for number in numbers]

    def index(self, part: str) -> str:
        return f"{self.stem(part)}{self.suffix}.index{self.variant and f'.{self.variant}'}.json"


def write_part(folder: Path, weights: dict[str, torch.Tensor], form: Form) -> list[Path]:
    """Write a part's weights in a form beside what is there; returns its files."""
    sizes = {name: tensor.nbytes for name, tensor in weights.items()}
    groups = divided(sizes, form.shard) if form.shard is not None else [list(weights)]
    files = [folder / name for name in form.names(folder.name, len(groups))]
    for file, group in zip(files, groups, strict=True):
        held = {name: weights[name] for name in group}
        torch.save(held, file) if form.suffix == PICKLED else save_file(held, file)
    if form.shard is not None:
        places = {n: file.name for file, group in zip(files, groups, strict=True) for n in group}
        index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": places}
        (folder / form.index(folder.name)).write_text(json.dumps(index))
    return files


def rewrite(pipeline: Path, form: Form, dtype: torch.dtype = torch.float32) -> None:
    """Replace the one weight file of each part of a pipeline's folder by this form."""
    for part in PARTS:
        (one,) = (pipeline / part).glob("*.safetensors")
        weights = {name: tensor.to(dtype) for name, tensor in load_file(one).items()}
        one.unlink()
        write_part(pipeline / part, weights, form)
