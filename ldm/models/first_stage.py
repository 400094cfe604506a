"""The two first stages: KL-regularised and vector-quantised autoencoders (LDM Sec. 3.1, App. G).

B, C, h, w: batch, latent channels, latent rows and columns.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function_unary

from ldm.models.autoencoder import Decoder, Encoder

MAX_DISTANCES = 2**24  # distances to codebook entries held at once, 64 MiB


class DiagonalGaussian:
    """The KL encoder's posterior q(z | image); mean and logvar are (B, C, h, w)."""

    def __init__(self, moments: Tensor) -> None:
        self.mean, logvar = moments.chunk(2, dim=1)
        self.logvar = logvar.clamp(-30.0, 20.0)

    @property
    def std(self) -> Tensor:
        """Standard deviation."""
        return torch.exp(0.5 * self.logvar)

    def sample(self, noise: Tensor) -> Tensor:
        """Return mean + std * noise."""
        return self.mean + self.std * noise

    def mode(self) -> Tensor:
        """Return the mean."""
        return self.mean

    def kl(self) -> Tensor:
        """Return the KL divergence from a standard normal, summed over C, h, w: (B,) in nats."""
        terms = self.mean.square() + self.logvar.exp() - 1.0 - self.logvar
        return 0.5 * terms.sum((1, 2, 3))


def mode_of(code: Tensor | DiagonalGaussian) -> Tensor:
    """Return the latents that a first stage encodes to: of a posterior, its mode."""
    return code.mode() if isinstance(code, DiagonalGaussian) else code


class AutoencoderKL(nn.Module):
    """image -> posterior over z -> image."""

    def __init__(
        self, *, encoder: Encoder, decoder: Decoder, embed_dim: int, z_channels: int
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.quant_conv = nn.Conv2d(2 * z_channels, 2 * embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(embed_dim, z_channels, 1)
        self.factor = 2 ** (len(encoder.down) - 1)

    def encode(self, image: Tensor) -> DiagonalGaussian:
        """(B, 3, H, W) in [-1, 1] -> posterior over (B, C, h, w).

        Raises:
            ValueError: If H or W is no multiple of `factor`.
        """
        _check_sides(image, self.factor)
        return DiagonalGaussian(self.quant_conv(self.encoder(image)))

    def decode(self, z: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, 3, H, W), not clamped."""
        return self.decoder(self.post_quant_conv(z))


class VectorQuantizer(nn.Module):
    """Nearest codebook entry in squared distance, with a straight-through gradient."""

    def __init__(self, n_embed: int, embed_dim: int, beta: float = 0.25) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_embed, embed_dim)
        nn.init.uniform_(self.embedding.weight, -1.0 / n_embed, 1.0 / n_embed)
        self.beta = beta

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, C, h, w) -> quantised z, scalar codebook loss, flat indices (B * h * w,)."""
        flat = z.permute(0, 2, 3, 1).reshape(-1, z.shape[1])
        indices = self.nearest(flat)
        quantised = self.embedding(indices).view(z.shape[0], *z.shape[2:], -1).permute(0, 3, 1, 2)
        # the published code weighs the codebook term with beta, not the commitment term
        loss = (quantised.detach() - z).square().mean()
        loss = loss + self.beta * (quantised - z.detach()).square().mean()
        return z + (quantised - z).detach(), loss, indices

    @torch.no_grad()
    def nearest(self, flat: Tensor) -> Tensor:
        """Find the nearest entries, (N, C) -> (N,) indices, in chunks to save memory.

        In half precision, |code|^2 - 2 z.code would lose the order of near entries: it is float32.
        """
        with torch.autocast(flat.device.type, enabled=False):
            codes = self.embedding.weight.float()
            norms = codes.square().sum(1)
            chunks = flat.float().split(max(1, MAX_DISTANCES // len(codes)))
            distances = (torch.addmm(norms, c, codes.T, alpha=-2.0) for c in chunks)
            return torch.cat([d.argmin(1) for d in distances])


def quantise(z: Tensor, quantizer: VectorQuantizer) -> Tensor:
    """Replace each position of z, (B, C, h, w), by its nearest code; banded maps work too."""
    if has_torch_function_unary(z):
        return handle_torch_function(quantise, (z,), z, quantizer)
    return quantizer(z)[0]


class VQModel(nn.Module):
    """image -> un-quantised code -> image; the quantiser is part of the decoder (LDM App. G)."""

    def __init__(
        self,
        *,
        encoder: Encoder,
        decoder: Decoder,
        embed_dim: int,
        z_channels: int,
        n_embed: int,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.quantize = VectorQuantizer(n_embed, embed_dim)
        self.quant_conv = nn.Conv2d(z_channels, embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(embed_dim, z_channels, 1)
        self.factor = 2 ** (len(encoder.down) - 1)

    def encode(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, C, h, w), not quantised.

        Raises:
            ValueError: If H or W is no multiple of `factor`.
        """
        _check_sides(image, self.factor)
        return self.quant_conv(self.encoder(image))

    def decode(self, z: Tensor, force_not_quantize: bool = False) -> Tensor:
        """(B, C, h, w) -> (B, 3, H, W), not clamped."""
        if not force_not_quantize:
            z = quantise(z, self.quantize)
        return self.decoder(self.post_quant_conv(z))


class IdentityFirstStage(nn.Module):
    """A first stage whose latents are the pixels."""

    factor = 1

    def encode(self, image: Tensor) -> Tensor:
        """Return the picture itself."""
        return image

    def decode(self, z: Tensor) -> Tensor:
        """Return the picture itself."""
        return z


def _check_sides(image: Tensor, factor: int) -> None:
    if image.shape[2] % factor or image.shape[3] % factor:
        raise ValueError(
            f"image sides must be multiples of {factor} px, got {tuple(image.shape[2:])}"
        )
