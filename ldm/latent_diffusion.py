"""A latent diffusion model: first stage, UNet, conditioner and schedule in one object (LDM Sec. 3).

B, C, h, w: batch, latent channels, latent rows and columns; H, W: picture rows and columns in px.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ldm.diffusion.conditioning import Conditioning
from ldm.diffusion.guidance import as_eps
from ldm.diffusion.schedule import NoiseSchedule
from ldm.models.first_stage import DiagonalGaussian

Tokenizer = Callable[[Sequence[str]], Tensor]


class LatentDiffusion(nn.Module):
    """What every task needs of a model.

    Args:
        unet: The denoising network.
        first_stage: Pixels to unscaled latents and back.
        conditioner: Input -> context or concatenated channels; None passes the input on.
        schedule: Noise schedule of the training.
        scale_factor: Latents = scale_factor * code; about 1 / standard deviation of the codes.
        conditioning: "none", "crossattn" or "concat".
        prediction: What the UNet predicts: "eps", "x0" or "v".
        tokenizer: Sentences -> (B, L) token ids; text models only.
    """

    def __init__(
        self,
        *,
        unet: nn.Module,
        first_stage: nn.Module,
        conditioner: nn.Module | None = None,
        schedule: NoiseSchedule,
        scale_factor: float = 1.0,
        conditioning: str = "none",
        prediction: str = "eps",
        tokenizer: Tokenizer | None = None,
    ) -> None:
        super().__init__()
        self.unet = unet
        self.first_stage = first_stage
        self.conditioner = conditioner
        self.schedule = schedule
        self.scale_factor = scale_factor
        self.conditioning = conditioning
        self.prediction = prediction
        self.tokenizer = tokenizer

    @property
    def factor(self) -> int:
        """Pixels per latent cell."""
        return self.first_stage.factor

    @property
    def size_multiple(self) -> int:
        """Picture sides must be multiples of it, in px."""
        return self.factor * self.unet.factor

    @property
    def latent_channels(self) -> int:
        """C."""
        return self.unet.out_channels

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """What the UNet computes in."""
        return next(self.unet.parameters()).dtype

    def encode(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        """Picture -> scaled latents.

        Args:
            image: (B, 3, H, W) in [-1, 1].
            noise: Standard normal (B, C, h, w) to sample a KL posterior with; None: its mode.

        Returns:
            (B, C, h, w).
        """
        code = self.first_stage.encode(image)
        if isinstance(code, DiagonalGaussian):
            code = code.mode() if noise is None else code.sample(noise)
        return self.scale_factor * code

    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents (B, C, h, w) -> picture (B, 3, H, W), about [-1, 1], not clamped."""
        return self.first_stage.decode(latents / self.scale_factor)

    def condition(self, inputs: Any) -> Conditioning:
        """What the user gave -> conditioning.

        Args:
            inputs: Sentences or token ids for text, class ids, one-hot label maps, pictures.
        """
        if self.conditioning == "none":
            return Conditioning()
        if self.tokenizer is not None and not isinstance(inputs, Tensor):
            inputs = self.tokenizer(inputs)
        inputs = inputs.to(self.device)
        if inputs.is_floating_point():
            inputs = inputs.to(self.dtype)
        code = inputs if self.conditioner is None else self.conditioner(inputs)
        return Conditioning(**{_FIELDS[self.conditioning]: code})

    def denoise(self, x_t: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        """Predict the noise in x_t.

        Args:
            x_t: (B, C, h, w).
            t: (B,) int64 in [0, schedule.length).
            cond: For the same B.

        Returns:
            eps, (B, C, h, w), whatever the network itself predicts.
        """
        x = x_t if cond.concat is None else torch.cat([x_t, cond.concat], dim=1)
        output = self.unet(x.to(self.dtype), t, context=cond.context, y=cond.label)
        return as_eps(output.to(x_t.dtype), x_t, t, self.schedule, self.prediction)


_FIELDS = {"crossattn": "context", "concat": "concat"}
