"""A model's architecture as data: networks, conditioning and schedule, typed and checked.

`ldm.catalog.build` turns an `Architecture` into networks, which take flat arguments and never see
these objects. This module needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ldm.catalog.ranges import check_ranges, number, numbers
from ldm.errors import PresetError

FIRST_STAGE_KINDS = ("kl", "vq", "identity")
CONDITIONER_KINDS = (
    "none",
    "text",  # token ids of a sentence -> context
    "clip",  # token ids of a sentence -> context, by CLIP's text transformer
    "tokens",  # token ids of a layout -> context
    "class",  # class id -> context of one token
    "spatial_rescaler",  # one-hot label map -> concat
    "identity",  # the input is the conditioning, e.g. a low-resolution image -> concat
    "first_stage",  # masked image -> its latents, and the resized mask -> concat
)
SENTENCE_KINDS = ("text", "clip")
CLIP_HEAD_DIM = 64  # of all text transformers of CLIP
CLIP_TOKENS = 49_408  # that CLIP's tokenizer knows; some files have learned more
# hybrid: the latents around a hole and its mask -> concat, words -> context
CONDITIONING = ("none", "crossattn", "concat", "hybrid")
SCHEDULE_KINDS = ("scaled_linear", "linear", "cosine")
PREDICTIONS = ("eps", "x0", "v")
ATTENTION_TYPES = ("vanilla", "none")
NORM_GROUPS = 32  # every width is normalised in groups of channels
MAX_CHANNELS = 4096  # of latents, label maps and concatenated conditioning
MAX_WIDTH = 16_384  # of layers, heads and context
MAX_MULTIPLIER = 64  # of a level's width
MAX_LEVELS = 8
MAX_BLOCKS = 16  # in sequence
MAX_NAMES = 2**20  # tokens, classes, codebook entries


@dataclass(frozen=True)
class UNetConfig:
    """Arguments of `ldm.models.unet.UNetModel`. `attention_resolutions` are factors, not sides."""

    in_channels: int = number(1, MAX_CHANNELS)
    out_channels: int = number(1, MAX_CHANNELS)
    model_channels: int = number(NORM_GROUPS, MAX_WIDTH)
    num_res_blocks: int = number(1, MAX_BLOCKS)
    attention_resolutions: tuple[int, ...] = numbers((0, MAX_LEVELS), 1, 1024)
    channel_mult: tuple[int, ...] = numbers((1, MAX_LEVELS), 1, MAX_MULTIPLIER)
    num_heads: int = number(1, MAX_WIDTH, -1)  # -1: given by num_head_channels
    num_head_channels: int = number(1, MAX_WIDTH, -1)  # -1: given by num_heads
    use_spatial_transformer: bool = False
    transformer_depth: int = number(1, MAX_BLOCKS, 1)
    context_dim: int | None = number(1, MAX_WIDTH, None)
    use_scale_shift_norm: bool = False
    resblock_updown: bool = False
    conv_resample: bool = True
    num_classes: int | None = number(1, MAX_NAMES, None)
    dropout: float = number(0, 1, 0.0)

    def __post_init__(self) -> None:
        check_ranges(self, PresetError, "unet")
        _check_widths("unet", self.model_channels)
        if self.channel_mult[0] != 1:
            raise PresetError(f"unet.channel_mult must start with 1, got {self.channel_mult[0]}")
        _check_heads("unet", self)
        if self.context_dim is not None and not self.use_spatial_transformer:
            raise PresetError("unet.context_dim needs use_spatial_transformer: true")

    @property
    def factor(self) -> int:
        """The number that latent sides must be multiples of."""
        return 2 ** (len(self.channel_mult) - 1)


@dataclass(frozen=True)
class FirstStageConfig:
    """An autoencoder between pixels and unscaled latents; `identity` works in pixels."""

    kind: str
    embed_dim: int = number(1, MAX_CHANNELS, 3)  # latent channels
    z_channels: int = number(1, MAX_CHANNELS, 3)
    ch: int = number(1, MAX_WIDTH, 128)
    ch_mult: tuple[int, ...] = numbers((1, MAX_LEVELS), 1, MAX_MULTIPLIER, (1,))
    num_res_blocks: int = number(1, MAX_BLOCKS, 2)
    # nominal sides in px, counted down from `resolution`
    attn_resolutions: tuple[int, ...] = numbers((0, 16), 1, 2**16, ())
    resolution: int = number(1, 2**16, 256)
    in_channels: int = number(3, 3, 3)  # pictures are RGB
    out_ch: int = number(3, 3, 3)
    attn_type: str = "vanilla"
    norm_groups: int = number(1, MAX_WIDTH, NORM_GROUPS)
    dropout: float = number(0, 1, 0.0)
    n_embed: int | None = number(1, MAX_NAMES, None)  # codebook entries, vq only

    def __post_init__(self) -> None:
        check_choice("first_stage.kind", self.kind, FIRST_STAGE_KINDS)
        check_choice("first_stage.attn_type", self.attn_type, ATTENTION_TYPES)
        check_ranges(self, PresetError, "first_stage")
        if self.kind != "identity":
            _check_widths("first_stage", self.ch, self.norm_groups)
        if (self.kind == "vq") != (self.n_embed is not None):
            raise PresetError("first_stage.n_embed belongs to kind vq, and only to it")

    @property
    def factor(self) -> int:
        """Pixels per latent cell."""
        return 2 ** (len(self.ch_mult) - 1)


@dataclass(frozen=True)
class ConditionerConfig:
    """The network that turns input into conditioning; each kind uses its own fields only."""

    kind: str = "none"
    n_embed: int | None = number(1, MAX_WIDTH, None)  # text, clip, tokens: width of the context
    n_layer: int | None = number(1, 128, None)  # text, clip, tokens
    vocab_size: int | None = number(1, MAX_NAMES, None)  # text, clip, tokens
    max_seq_len: int | None = number(2, 4096, None)  # text, clip, tokens
    # relative to presets/; text: WordPiece file, clip: file of merges
    vocabulary: Path | None = None
    learned: tuple[str, ...] = ()  # clip: words with the ids after CLIP's own
    n_classes: int | None = number(1, MAX_NAMES, None)  # class
    embed_dim: int | None = number(1, MAX_WIDTH, None)  # class: width of the context
    n_stages: int | None = number(0, MAX_LEVELS, None)  # spatial_rescaler: number of halvings
    in_channels: int | None = number(1, MAX_CHANNELS, None)  # spatial_rescaler: label classes
    out_channels: int | None = number(1, MAX_CHANNELS, None)  # spatial_rescaler

    def __post_init__(self) -> None:
        check_choice("conditioner.kind", self.kind, CONDITIONER_KINDS)
        check_ranges(self, PresetError, "conditioner")
        required = _CONDITIONER_FIELDS[self.kind]
        optional = {"vocabulary"} if self.kind in SENTENCE_KINDS else set()
        for name in _ALL_CONDITIONER_FIELDS:
            given = getattr(self, name) is not None
            if name in required and not given:
                raise PresetError(f"a conditioner of kind {self.kind} needs {name}")
            if given and name not in required | optional:
                raise PresetError(f"a conditioner of kind {self.kind} has no {name}")
        if self.learned and self.kind != "clip":
            raise PresetError(f"a conditioner of kind {self.kind} has no learned")
        if self.kind == "clip":
            self._check_clip()

    def _check_clip(self) -> None:
        if self.n_embed % CLIP_HEAD_DIM:
            raise PresetError(
                f"conditioner.n_embed must be a multiple of {CLIP_HEAD_DIM}, got {self.n_embed}"
            )
        needed = CLIP_TOKENS + len(self.learned)
        if self.vocab_size < needed:
            raise PresetError(
                f"conditioner.vocab_size must be at least {needed}, got {self.vocab_size}"
            )


_CONDITIONER_FIELDS: Mapping[str, set[str]] = {
    "none": set(),
    "text": {"n_embed", "n_layer", "vocab_size", "max_seq_len"},
    "clip": {"n_embed", "n_layer", "vocab_size", "max_seq_len"},
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
    length: int = number(1, 100_000, 1000)

    def __post_init__(self) -> None:
        check_choice("schedule.kind", self.kind, SCHEDULE_KINDS)
        if not 0 < self.start < self.end < 1:
            raise PresetError(f"schedule needs 0 < start < end < 1, got {self.start}, {self.end}")
        check_ranges(self, PresetError, "schedule")


@dataclass(frozen=True)
class ClassifierConfig:
    """Arguments of `ldm.models.classifier.EncoderUNetModel`, a classifier of noisy latents."""

    image_size: int = number(1, 4096)
    in_channels: int = number(1, MAX_CHANNELS)
    out_channels: int = number(1, MAX_NAMES)
    model_channels: int = number(NORM_GROUPS, MAX_WIDTH)
    num_res_blocks: int = number(1, MAX_BLOCKS)
    attention_resolutions: tuple[int, ...] = numbers((0, MAX_LEVELS), 1, 1024)
    channel_mult: tuple[int, ...] = numbers((1, MAX_LEVELS), 1, MAX_MULTIPLIER)
    num_heads: int = number(1, MAX_WIDTH, -1)
    num_head_channels: int = number(1, MAX_WIDTH, -1)
    use_scale_shift_norm: bool = False
    resblock_updown: bool = False
    conv_resample: bool = True
    pool: str = "adaptive"
    dropout: float = number(0, 1, 0.0)

    def __post_init__(self) -> None:
        check_ranges(self, PresetError, "classifier")
        _check_widths("classifier", self.model_channels)
        _check_heads("classifier", self)
        check_choice("classifier.pool", self.pool, ("adaptive", "attention"))


@dataclass(frozen=True)
class Architecture:
    """A latent diffusion model, a first stage alone (without `unet`), or a classifier alone."""

    first_stage: FirstStageConfig | None = None
    unet: UNetConfig | None = None
    classifier: ClassifierConfig | None = None
    conditioner: ConditionerConfig = field(default_factory=ConditionerConfig)
    conditioning: str = "none"
    # tokens: boxes are drawn as well, with a channel per class and two for the place in the box
    box_classes: int = number(0, MAX_CHANNELS, 0)
    # hybrid: a hole is shown as to Stable Diffusion, see `LatentDiffusion.condition_hole`
    grey_holes: bool = False
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    # None (null in YAML): stored in the weight file only
    scale_factor: float | None = number(1e-6, 1e6, 1.0)
    prediction: str = "eps"

    def __post_init__(self) -> None:
        check_choice("conditioning", self.conditioning, CONDITIONING)
        check_choice("prediction", self.prediction, PREDICTIONS)
        check_ranges(self, PresetError)
        is_alone = self.classifier is not None
        if (self.first_stage is None) != is_alone or (is_alone and self.unet is not None):
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
        if self.grey_holes and self.conditioning != "hybrid":
            raise PresetError(f"grey_holes goes with conditioning hybrid, not {self.conditioning}")
        if self.unet is not None:
            self._check_channels(self.unet, self.first_stage.embed_dim)

    def _check_channels(self, unet: UNetConfig, latent: int) -> None:
        """Check that the UNet's channels and context fit the latents and the conditioning."""
        about = self.conditioner
        if unet.out_channels != latent:
            raise PresetError(
                f"unet.out_channels {unet.out_channels} must equal first_stage.embed_dim {latent}"
            )
        if (self.conditioning, about.kind) == ("crossattn", "identity"):
            return  # the width of an arbitrary context is not known
        if about.n_stages is not None and 2**about.n_stages != self.factor:
            raise PresetError(
                f"conditioner.n_stages must halve a map to latents, {self.factor} times as small, "
                f"got {about.n_stages}"
            )
        beside = {"spatial_rescaler": about.out_channels, "identity": 3, "first_stage": latent + 1}
        added = beside[about.kind] if self.conditioning == "concat" else 0
        added += latent + 1 if self.conditioning == "hybrid" else 0
        added += self.box_classes + 2 if self.box_classes else 0
        if unet.in_channels != latent + added:
            raise PresetError(
                f"unet.in_channels must be {latent + added}, the latents' {latent} and {added} of "
                f"the conditioning, got {unet.in_channels}"
            )
        attends = self.conditioning in ("crossattn", "hybrid")
        context = (about.n_embed or about.embed_dim) if attends else None
        if unet.context_dim != context:
            raise PresetError(f"unet.context_dim must be {context}, got {unet.context_dim}")

    @property
    def factor(self) -> int:
        """Pixels per latent cell."""
        return self.first_stage.factor if self.first_stage else 1

    @property
    def size_multiple(self) -> int:
        """The number of px that the sides of a picture must be multiples of."""
        return self.factor * (self.unet.factor if self.unet else 1)


def check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise PresetError if a value is not among those allowed."""
    if value not in allowed:
        raise PresetError(f"{name} must be one of {', '.join(allowed)}, got {value!r:.80}")


def _check_widths(name: str, width: int, groups: int = NORM_GROUPS) -> None:
    if width % groups:
        raise PresetError(f"{name} widths must be multiples of {groups}, got {width}")


def _check_heads(name: str, about: UNetConfig | ClassifierConfig) -> None:
    """Check that heads divide the width of the last level and every level with attention."""
    if (about.num_heads == -1) == (about.num_head_channels == -1):
        raise PresetError(f"{name} needs exactly one of num_heads and num_head_channels")
    field_name = "num_heads" if about.num_heads != -1 else "num_head_channels"
    divisor = getattr(about, field_name)
    for level, multiplier in enumerate(about.channel_mult):
        is_last = level == len(about.channel_mult) - 1
        width = about.model_channels * multiplier
        if (is_last or 2**level in about.attention_resolutions) and width % divisor:
            raise PresetError(
                f"{name}.{field_name} must divide the {width} channels of a level, got {divisor}"
            )
