"""Building of networks from an `Architecture`: the one place that maps configuration to classes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ldm.catalog.architecture import (
    Architecture,
    ConditionerConfig,
    FirstStageConfig,
    ScheduleConfig,
)
from ldm.catalog.layout_tokens import LayoutTokens
from ldm.catalog.schema import Preset
from ldm.catalog.tokenizer import Tokenizer, tokenizer_of
from ldm.diffusion.schedule import NoiseSchedule
from ldm.errors import PresetError
from ldm.latent_diffusion import LatentDiffusion
from ldm.models.autoencoder import Decoder, Encoder
from ldm.models.classifier import EncoderUNetModel
from ldm.models.clip import CLIPTextEncoder
from ldm.models.conditioners import ClassEmbedder, SpatialRescaler
from ldm.models.first_stage import AutoencoderKL, IdentityFirstStage, VQModel
from ldm.models.preview import PreviewDecoder
from ldm.models.text import TextEncoder
from ldm.models.unet import UNetModel


def build_model(source: Preset | Architecture, device: str = "meta") -> LatentDiffusion:
    """Build a latent diffusion model.

    Args:
        source: The preset or architecture to build.
        device: "meta" for a model without storage, to which `load_weights` assigns a file's
            tensors; "cpu" for one with fresh random weights, to train.

    Returns:
        The model in evaluation mode, float32.

    Raises:
        PresetError: If `source` is a first stage or a classifier alone.
    """
    about = _architecture(source)
    if about.unet is None or about.first_stage is None:
        raise PresetError(f"{_name(source)} is no latent diffusion model: it has no unet.")
    with _on(device):
        unet = UNetModel(**_arguments(about.unet))
        conditioner = _conditioner(about.conditioner)
    model = LatentDiffusion(
        unet=unet,
        first_stage=build_first_stage(about, device),
        conditioner=conditioner,
        schedule=_schedule(about.schedule),
        scale_factor=_scale_factor(about, device),
        conditioning=about.conditioning,
        prediction=about.prediction,
        tokenizer=_tokenizer(about.conditioner),
        classes=source.classes if isinstance(source, Preset) else (),
        null_class=source.null_class if isinstance(source, Preset) else None,
        keeps_means=source.keeps_means if isinstance(source, Preset) else 0,
        box_classes=about.box_classes,
        grey_holes=about.grey_holes,
        smooth_holes=isinstance(source, Preset) and source.smooth_holes,
        trained_size=(source.height, source.width) if isinstance(source, Preset) else None,
    )
    return model.eval()


def build_first_stage(source: Preset | Architecture, device: str = "meta") -> nn.Module:
    """Build the autoencoder alone, with the arguments and mode of `build_model`.

    Raises:
        PresetError: If `source` has no first stage.
    """
    about = _architecture(source)
    if about.first_stage is None:
        raise PresetError(f"{_name(source)} has no first stage.")
    with _on(device):
        return _first_stage(about.first_stage).eval()


def build_preview(source: Preset | Architecture, device: str = "meta") -> PreviewDecoder:
    """Build the small decoder of a first stage's previews, as `build_model` does.

    Raises:
        PresetError: If `source` has no first stage.
    """
    first_stage = build_first_stage(source)
    channels = _architecture(source).first_stage.embed_dim
    with _on(device):
        return PreviewDecoder(channels, first_stage.factor).eval()


def build_classifier(source: Architecture, device: str = "meta") -> EncoderUNetModel:
    """Build a classifier of noisy latents, with the arguments and mode of `build_model`.

    Raises:
        PresetError: If `source` has no classifier.
    """
    if source.classifier is None:
        raise PresetError(f"{_name(source)} has no classifier.")
    with _on(device):
        return EncoderUNetModel(**_arguments(source.classifier)).eval()


def count_parameters(source: Preset | Architecture) -> int:
    """Count the parameters of all parts of a model together."""
    about = _architecture(source)
    if about.classifier is not None:
        model: nn.Module = build_classifier(about)
    else:
        model = build_model(about) if about.unet else build_first_stage(about)
    return sum(parameter.numel() for parameter in model.parameters())


class _NoInitialisation(TorchFunctionMode):
    """Skips the initialisation of weights on the meta device.

    Some initialisers have meta kernels in Python, whose import takes a second.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init" and "tensor" in kwargs:
            return kwargs["tensor"]
        return func(*args, **kwargs)


@contextmanager
def _on(device: str) -> Iterator[None]:
    """Create networks on a device, on "meta" without initialisation."""
    with torch.device(device), _NoInitialisation() if device == "meta" else nullcontext():
        yield


def _architecture(source: Preset | Architecture) -> Architecture:
    return source.architecture if isinstance(source, Preset) else source


def _name(source: Preset | Architecture) -> str:
    return source.name if isinstance(source, Preset) else "the architecture"


def _arguments(config: Any) -> dict[str, Any]:
    """Return the fields of a config as keyword arguments."""
    return {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}


def _first_stage(about: FirstStageConfig) -> nn.Module:
    if about.kind == "identity":
        return IdentityFirstStage()
    layers = _arguments(about)
    for name in ("kind", "embed_dim", "n_embed"):
        del layers[name]
    parts = {
        "encoder": Encoder(double_z=about.kind == "kl", **layers),
        "decoder": Decoder(**layers),
        "embed_dim": about.embed_dim,
        "z_channels": about.z_channels,
    }
    return AutoencoderKL(**parts) if about.kind == "kl" else VQModel(n_embed=about.n_embed, **parts)


def _conditioner(about: ConditionerConfig) -> nn.Module | None:
    """Build the conditioner; None for kinds without a network of their own."""
    if about.kind in ("text", "clip", "tokens"):
        return (CLIPTextEncoder if about.kind == "clip" else TextEncoder)(
            n_embed=about.n_embed,
            n_layer=about.n_layer,
            vocab_size=about.vocab_size,
            max_seq_len=about.max_seq_len,
        )
    if about.kind == "class":
        return ClassEmbedder(n_classes=about.n_classes, embed_dim=about.embed_dim)
    if about.kind == "spatial_rescaler":
        return SpatialRescaler(
            n_stages=about.n_stages, in_channels=about.in_channels, out_channels=about.out_channels
        )
    return None


def _scale_factor(about: Architecture, device: str) -> float:
    """Return the scale factor; if only the weight file has it, nan on "meta" and 1.0 elsewhere."""
    if about.scale_factor is not None:
        return about.scale_factor
    return math.nan if device == "meta" else 1.0


def _schedule(about: ScheduleConfig) -> NoiseSchedule:
    if about.kind == "cosine":
        return NoiseSchedule.cosine(about.length)
    if about.kind == "linear":
        return NoiseSchedule.linear(about.start, about.end, about.length)
    return NoiseSchedule.scaled_linear(about.start, about.end, about.length)


def _tokenizer(about: ConditionerConfig) -> Tokenizer | LayoutTokens | None:
    if about.kind == "tokens":
        return LayoutTokens(about.vocab_size, about.max_seq_len)
    return tokenizer_of(about)
