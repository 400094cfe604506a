"""A golden case: its models, and the tensors recorded from the authors' code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ldm.catalog.architecture import Architecture
from ldm.diffusion.conditioning import Conditioning

Named = Iterator[tuple[str, Tensor]]
INPUTS = re.compile(
    r"in/.*|(un)?cond/(?!output).*|.*/noise|q/t|unet(_raw)?/tmixed/t|fs/(posterior|encoding)_noise"
    r"|ddim\d+_mask/(mask|x0)|ddpm_last\d+/x_start_t\d+|patched/(x|cond|z)|clf/y"
    r"|inpaint/(image|mask)01|posterior_clamp/moments"
)


def is_input(name: str) -> bool:
    """Whether a recorded tensor is an input, which we do not compute."""
    return INPUTS.fullmatch(name) is not None


@dataclass(frozen=True)
class Case:
    """A case's models and recorded tensors."""

    architecture: Architecture
    averaged: Any  # with EMA weights if the file has them; used for sampling
    raw: Any  # with the weights as trained, without averaging
    tensors: dict[str, Tensor]
    notes: dict[str, Any]
    loss_type: str = "l2"
    digest: tuple[str, str] | None = None  # SHA-256 of the checkpoint: (actual, recorded)
    tables: dict[str, Tensor] = field(default_factory=dict)  # schedule in the checkpoint

    def __contains__(self, prefix: str) -> bool:
        return any(name.startswith(prefix) for name in self.tensors)

    @property
    def parts(self) -> list[str]:
        """The recorded names' parts before the first slash, sorted and without duplicates."""
        return sorted({name.split("/")[0] for name in self.tensors})

    def steps(self, pattern: str) -> list[int]:
        """The time steps in the recorded names that match; t is the pattern's only group."""
        found = (re.fullmatch(pattern, name) for name in self.tensors)
        return sorted({int(match[1]) for match in found if match})

    @property
    def first_stage(self) -> nn.Module:
        """The first stage: part of a model, or the model itself."""
        return self.raw if self.architecture.unet is None else self.raw.first_stage

    def condition(self, branch: str) -> Conditioning:
        """The conditioning of one branch, "cond" or "uncond", from its recorded input."""
        kind, given = self.architecture.conditioner.kind, self.tensors
        model = self.raw
        if kind == "none":
            return Conditioning()
        if kind == "first_stage":
            return model.condition_hole(2 * given["inpaint/image01"] - 1, given["inpaint/mask01"])
        if kind == "spatial_rescaler":
            return model.condition_map(given[f"{branch}/segmentation_labels"])
        inputs = {"class": "class_label", "identity": "LR_image"}.get(kind, "tokens")
        return model.condition(given[f"{branch}/{inputs}"])


def full(x: Tensor, t: int) -> Tensor:
    """The time step t for every picture of x: (B,) int64."""
    return torch.full((len(x),), t, dtype=torch.int64)
