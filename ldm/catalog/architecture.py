"""A model's architecture as data: networks, conditioning and schedule, typed and checked.

Configuration is data, code chooses classes: `ldm.catalog.build` turns an `Architecture` into
networks with flat arguments, and no network ever sees these objects. This module needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ldm.errors import PresetError

FIRST_STAGE_KINDS = ("kl", "vq", "identity")
CONDITIONER_KINDS = (
    "none",
    "text",  # token ids of a sentence -> context
    "tokens",  # token ids of a layout -> context
    "class",  # class id -> context of one token
    "spatial_rescaler",  # one-hot label map -> concat
    "identity",  # the conditioning is given as it is, e.g. a low-resolution image -> concat
    "first_stage",  # masked image -> its latents, and the resized mask -> concat
)
CONDITIONING = ("none", "crossattn", "concat")
SCHEDULE_KINDS = ("scaled_linear", "linear", "cosine")
PREDICTIONS = ("eps", "x0", "v")
ATTENTION_TYPES = ("vanilla", "none")
NORM_GROUPS = 32  # every width is normalised in groups of channels


@dataclass(frozen=True)
class UNetConfig:
    """Arguments of `ldm.models.unet.UNetModel`. `attention_resolutions` are factors, not sides."""

    in_channels: int
    out_channels: int
    model_channels: int
    num_res_blocks: int
    attention_resolutions: tuple[int, ...]
    channel_mult: tuple[int, ...]
    num_heads: int = -1  # -1: given by num_head_channels
    num_head_channels: int = -1  # -1: given by num_heads
    use_spatial_transformer: bool = False
    transformer_depth: int = 1
    context_dim: int | None = None
    use_scale_shift_norm: bool = False
    resblock_updown: bool = False
    conv_resample: bool = True
    num_classes: int | None = None
    dropout: float = 0.0

    def __post_init__(self) -> None:
        _check_positive(self, "in_channels", "out_channels", "model_channels", "num_res_blocks")
        _check_widths("unet", self.model_channels, self.channel_mult)
        if self.channel_mult[0] != 1:
            raise PresetError(f"unet.channel_mult must start with 1, got {self.channel_mult[0]}")
        if (self.num_heads == -1) == (self.num_head_channels == -1):
            raise PresetError("unet needs exactly one of num_heads and num_head_channels")
        if self.context_dim is not None and not self.use_spatial_transformer:
            raise PresetError("unet.context_dim needs use_spatial_transformer: true")

    @property
    def factor(self) -> int:
        """Latent sides must be multiples of it."""
        return 2 ** (len(self.channel_mult) - 1)


@dataclass(frozen=True)
class FirstStageConfig:
    """An autoencoder between pixels and unscaled latents; `identity` works in pixels."""

    kind: str
    embed_dim: int = 3  # latent channels
    z_channels: int = 3
    ch: int = 128
    ch_mult: tuple[int, ...] = (1,)
    num_res_blocks: int = 2
    attn_resolutions: tuple[int, ...] = ()  # nominal sides in px, counted down from `resolution`
    resolution: int = 256
    in_channels: int = 3
    out_ch: int = 3
    attn_type: str = "vanilla"
    norm_groups: int = NORM_GROUPS
    dropout: float = 0.0
    n_embed: int | None = None  # codebook entries, vq only

    def __post_init__(self) -> None:
        check_choice("first_stage.kind", self.kind, FIRST_STAGE_KINDS)
        check_choice("first_stage.attn_type", self.attn_type, ATTENTION_TYPES)
        _check_positive(self, "embed_dim", "z_channels", "ch", "num_res_blocks", "norm_groups")
        if self.kind != "identity":
            _check_widths("first_stage", self.ch, self.ch_mult, self.norm_groups)
        if (self.kind == "vq") != (self.n_embed is not None):
            raise PresetError("first_stage.n_embed belongs to kind vq, and only to it")

    @property
    def factor(self) -> int:
        """Pixels per latent cell."""
        return 2 ** (len(self.ch_mult) - 1)


@dataclass(frozen=True)
class ConditionerConfig:
    """What turns the user's input into conditioning; each kind uses its own fields only."""

    kind: str = "none"
    n_embed: int | None = None  # text, tokens: width of the context
    n_layer: int | None = None  # text, tokens
    vocab_size: int | None = None  # text, tokens
    max_seq_len: int | None = None  # text, tokens
    vocabulary: Path | None = None  # text: WordPiece file, relative to presets/
    n_classes: int | None = None  # class
    embed_dim: int | None = None  # class: width of the context
    n_stages: int | None = None  # spatial_rescaler: times the map is halved
    in_channels: int | None = None  # spatial_rescaler: label classes
    out_channels: int | None = None  # spatial_rescaler

    def __post_init__(self) -> None:
        check_choice("conditioner.kind", self.kind, CONDITIONER_KINDS)
        required = _CONDITIONER_FIELDS[self.kind]
        optional = {"vocabulary"} if self.kind == "text" else set()
        for name in _ALL_CONDITIONER_FIELDS:
            given = getattr(self, name) is not None
            if name in required and not given:
                raise PresetError(f"a conditioner of kind {self.kind} needs {name}")
            if given and name not in required | optional:
                raise PresetError(f"a conditioner of kind {self.kind} has no {name}")


_CONDITIONER_FIELDS: Mapping[str, set[str]] = {
    "none": set(),
    "text": {"n_embed", "n_layer", "vocab_size", "max_seq_len"},
    "tokens": {"n_embed", "n_layer", "vocab_size", "max_seq_len"},
    "class": {"n_classes", "embed_dim"},
    "spatial_rescaler": {"n_stages", "in_channels", "out_channels"},
    "identity": set(),
    "first_stage": set(),
}
_ALL_CONDITIONER_FIELDS = sorted(set().union(*_CONDITIONER_FIELDS.values()) | {"vocabulary"})


@dataclass(frozen=True)
class ScheduleConfig:
    """Noise schedule; `scaled_linear` is linear in sqrt(beta), as in every published model."""

    kind: str = "scaled_linear"
    start: float = 0.0015  # first beta; linear kinds only
    end: float = 0.0195  # last beta; linear kinds only
    length: int = 1000

    def __post_init__(self) -> None:
        check_choice("schedule.kind", self.kind, SCHEDULE_KINDS)
        if not 0 < self.start < self.end < 1:
            raise PresetError(f"schedule needs 0 < start < end < 1, got {self.start}, {self.end}")
        _check_positive(self, "length")


@dataclass(frozen=True)
class ClassifierConfig:
    """Arguments of `ldm.models.classifier.EncoderUNetModel`, a classifier of noisy latents."""

    image_size: int
    in_channels: int
    out_channels: int
    model_channels: int
    num_res_blocks: int
    attention_resolutions: tuple[int, ...]
    channel_mult: tuple[int, ...]
    num_heads: int = -1
    num_head_channels: int = -1
    use_scale_shift_norm: bool = False
    resblock_updown: bool = False
    conv_resample: bool = True
    pool: str = "adaptive"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        _check_positive(self, "image_size", "in_channels", "out_channels", "model_channels")
        _check_widths("classifier", self.model_channels, self.channel_mult)
        check_choice("classifier.pool", self.pool, ("adaptive", "attention"))


@dataclass(frozen=True)
class Architecture:
    """A latent diffusion model; without `unet` a first stage alone; or a classifier alone."""

    first_stage: FirstStageConfig | None = None
    unet: UNetConfig | None = None
    classifier: ClassifierConfig | None = None
    conditioner: ConditionerConfig = field(default_factory=ConditionerConfig)
    conditioning: str = "none"
    box_classes: int = 0  # tokens: the boxes are drawn too, a channel per class and two of place
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    scale_factor: float | None = 1.0  # null: a number that only the weight file knows
    prediction: str = "eps"

    def __post_init__(self) -> None:
        check_choice("conditioning", self.conditioning, CONDITIONING)
        check_choice("prediction", self.prediction, PREDICTIONS)
        if (self.first_stage is None) == (self.classifier is None):
            raise PresetError("an architecture needs a first_stage, or is a classifier alone")
        if (self.conditioning == "none") != (self.conditioner.kind == "none"):
            raise PresetError(
                f"conditioning {self.conditioning} does not go with a conditioner of kind "
                f"{self.conditioner.kind}"
            )
        if self.box_classes and self.conditioner.kind != "tokens":
            raise PresetError(
                f"box_classes goes with a conditioner of kind tokens, not {self.conditioner.kind}"
            )
        if self.unet is not None and self.unet.out_channels != self.first_stage.embed_dim:
            raise PresetError(
                f"unet.out_channels {self.unet.out_channels} must equal "
                f"first_stage.embed_dim {self.first_stage.embed_dim}"
            )

    @property
    def factor(self) -> int:
        """Pixels per latent cell."""
        return self.first_stage.factor if self.first_stage else 1

    @property
    def size_multiple(self) -> int:
        """Picture sides must be multiples of it, in px."""
        return self.factor * (self.unet.factor if self.unet else 1)


def check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuse a value that is not among those allowed."""
    if value not in allowed:
        raise PresetError(f"{name} must be one of {', '.join(allowed)}, got {value!r:.80}")


def _check_positive(config: Any, *names: str) -> None:
    for name in names:
        if getattr(config, name) < 1:
            raise PresetError(f"{name} must be at least 1, got {getattr(config, name)}")


def _check_widths(
    name: str, width: int, multipliers: tuple[int, ...], groups: int = NORM_GROUPS
) -> None:
    if not 1 <= len(multipliers) <= 8 or min(multipliers) < 1:
        raise PresetError(f"{name} needs 1 to 8 channel multipliers of at least 1")
    if width % groups:
        raise PresetError(f"{name} widths must be multiples of {groups}, got {width}")
