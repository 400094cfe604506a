"""The parts of a model wrapped so that they run in bands, with unchanged signatures.

B, C, h, w: batch, latent channels, latent rows and columns; H, W: picture rows and columns in px.
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from torch import Tensor, nn

from ldm.canvas.operations import banded
from ldm.canvas.plan import Plan
from ldm.canvas.workspace import Rehearsal, Workspace
from ldm.models.first_stage import DiagonalGaussian

Model = TypeVar("Model", bound=nn.Module)


class BoundedUNet(nn.Module):
    """A UNet that runs in bands, within the workspace's budget."""

    def __init__(self, unet: nn.Module, space: Workspace) -> None:
        super().__init__()
        self.unet = unet
        self.space = space
        self.factor = unet.factor
        self.out_channels = unet.out_channels

    def forward(self, x: Tensor, t: Tensor, **conditions: Any) -> Tensor:
        """Map latents (B, C, h, w) and time steps (B,) to (B, C', h, w)."""
        return self.unet(banded(x, self.space), t, **conditions).whole()


class BoundedFirstStage(nn.Module):
    """A first stage that encodes and decodes within the workspace's budget."""

    def __init__(self, first_stage: nn.Module, space: Workspace) -> None:
        super().__init__()
        self.first_stage = first_stage
        self.space = space
        self.factor = first_stage.factor

    def encode(self, image: Tensor) -> Tensor | DiagonalGaussian:
        """Encode (B, 3, H, W) to (B, C, h, w) or to the posterior over it."""
        code = self.first_stage.encode(banded(image, self.space))
        if isinstance(code, DiagonalGaussian):
            code.mean, code.logvar = code.mean.whole(), code.logvar.whole()
            return code
        return code.whole()

    def decode(self, z: Tensor) -> Tensor:
        """Decode (B, C, h, w) to (B, 3, H, W)."""
        return self.first_stage.decode(banded(z, self.space)).whole()

    def strips(self, z: Tensor) -> int:
        """Count the strips of a decode, by a rehearsal."""
        space = Rehearsal(self.space.budget)
        self.first_stage.decode(banded(z, space)).whole()
        return space.strips


def in_bands(model: Model, plan: Plan, space: Workspace) -> Model:
    """Return a shallow copy of the model whose networks run in bands where the plan says so.

    The copy shares the weights. Encoder and decoder run in bands together.
    """
    other = copy.copy(model)
    other._modules = dict(model._modules)
    if plan.unet:
        other.unet = BoundedUNet(model.unet, space)
    if plan.decoder or plan.encoder:
        other.first_stage = BoundedFirstStage(model.first_stage, space)
    return other
