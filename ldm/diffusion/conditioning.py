"""All that is given to the denoiser besides x_t and t."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Conditioning:
    """Concatenated channels (B, K, h, w), context tokens (B, L, D) and labels (B,), or None each."""

    concat: Tensor | None = None
    context: Tensor | None = None
    label: Tensor | None = None
