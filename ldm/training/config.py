"""A training run as data: YAML -> TrainConfig. Unknown keys and wrong values are errors."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ldm.catalog.parsing import parse, read_yaml
from ldm.catalog.ranges import check_ranges, number, numbers
from ldm.data.scenes import OBJECTS
from ldm.errors import PresetError, TrainingError

KINDS = ("first_stage", "latent_diffusion", "critic")
PRECISIONS = ("no", "bf16")
DEGRADATIONS = ("bicubic", "bsr")
MOST = 10**9  # steps


@dataclass(frozen=True)
class DataConfig:
    """Which part of the procedural world a run sees."""

    scenes: int = number(2, 10**7, 20_000)  # rendered once, then kept on disk
    size: int = number(64, 1024, 128)  # px, both sides
    crop: int | None = number(16, 1024, None)  # px, random square crops; None: whole pictures
    captions: int = number(1, 100, 8)  # wordings kept per scene
    degradation: str = "bicubic"  # upscale: how the low-resolution pictures are made
    # latent_diffusion: half of the scenes are crops of up to so much larger ones
    zoom: float = number(1, 8, 1.0)
    # those are seen with t / T up to this: later steps know their scale
    zoom_noise: float = number(0.001, 1, 1.0)
    holes: int = number(0, 100, 2)  # inpaint: per picture, encoded once; 0: new ones at every sight
    pairs: bool = False  # text-to-image: batches of scenes that differ in their objects alone
    pictures: Path | None = None  # a folder of one's own instead of the procedural world
    folder: Path = Path("runs/world")  # where what is drawn, read or encoded once is kept

    def __post_init__(self) -> None:
        check_ranges(self, TrainingError, "data")
        _check_choice("data.degradation", self.degradation, DEGRADATIONS)
        if self.crop is not None and self.crop > self.size:
            raise TrainingError(
                f"data.crop must be at most data.size {self.size}, got {self.crop}."
            )
        if self.pictures is not None and (self.pairs or self.zoom > 1):
            what = "data.pairs" if self.pairs else "data.zoom"
            raise TrainingError(f"{what} needs the procedural world; leave it out with pictures.")


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with warm-up, a constant stretch and a linear fall to zero."""

    learning_rate: float = number(1e-9, 1, 5e-4)
    warmup_steps: int = number(0, MOST, 200)
    # the last steps of the run, over which the rate falls to zero
    decay_steps: int = number(0, MOST, 2000)
    weight_decay: float = number(0, 1, 0.01)
    betas: tuple[float, float] = numbers((2, 2), 0, 0.99999, (0.9, 0.99))
    clip_norm: float = number(1e-6, 1e6, 1.0)

    def __post_init__(self) -> None:
        check_ranges(self, TrainingError, "optimizer")


@dataclass(frozen=True)
class LossConfig:
    """Weights of the loss terms; each kind of run uses its own."""

    # first_stage, KL: LDM App. G, a slight pull towards a standard normal
    kl: float = number(0, 1000, 1e-6)
    codebook: float = number(0, 1000, 1.0)  # first_stage, VQ
    # first_stage: L1 between finite differences, keeps edges sharp
    gradient: float = number(0, 1000, 1.0)
    # latent_diffusion: arXiv:2303.09556; None: no weight
    min_snr_gamma: float | None = number(0.001, 1000, None)
    # latent_diffusion: t / T = u ** (1 / bias); above 1: noisier examples
    noise_bias: float = number(0.01, 100, 1.0)
    # of a latent cell that shows a tree, a house ... (semantic), or of the likeliest one for those
    # that the prompt names (text-to-image); 1 of a kind that is not listed
    object_weights: dict[str, float] = field(default_factory=dict)
    # text-to-image: times as much where things are pale in the fog
    fog_weight: float = number(1, 1000, 1.0)
    # latent_diffusion: share trained without prompt, class, boxes
    condition_dropout: float = number(0, 1, 0.1)

    def __post_init__(self) -> None:
        check_ranges(self, TrainingError, "loss")
        for name, weight in self.object_weights.items():
            _check_choice("loss.object_weights", name, OBJECTS)
            if not 0 <= weight <= 1000:
                raise TrainingError(f"loss.object_weights.{name} must be 0 to 1000, got {weight}.")


@dataclass(frozen=True)
class TrainConfig:
    """One run of `python -m ldm train`."""

    kind: str
    preset: str  # the preset whose architecture is trained and whose weight file is written
    steps: int = number(1, MOST)
    batch_size: int = number(1, 65_536)
    accumulate: int = number(1, 65_536, 1)  # batches per optimiser step
    ema_decay: float = number(0, 0.999999, 0.999)
    precision: str = "bf16"
    # processes that draw batches ahead; 0: drawn between the steps
    workers: int = number(0, 256, 0)
    seed: int = number(0, 2**32 - 1, 0)
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    freeze_encoder: bool = False  # first_stage: keep the latents as they are, train the decoder
    # first_stage, VQ: a trained KL preset of the same layers; latent_diffusion: a trained preset,
    # of whose weights all that fit are taken
    start_from: str | None = None
    log_every: int = number(1, MOST, 20)  # steps
    snapshot_every: int = number(1, MOST, 200)  # steps
    sample_every: int = number(1, MOST, 500)  # steps
    runs: Path = Path("runs")

    def __post_init__(self) -> None:
        _check_choice("kind", self.kind, KINDS)
        _check_choice("precision", self.precision, PRECISIONS)
        check_ranges(self, TrainingError)
        if self.data.pictures is not None and self.loss.object_weights:
            raise TrainingError(
                "loss.object_weights needs the procedural world; leave it out with data.pictures."
            )
        if self.data.pairs and self.batch_size % 2:
            raise TrainingError(f"batch_size must be even with data.pairs, got {self.batch_size}.")


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise TrainingError(f"{name} must be one of {', '.join(allowed)}, got {value!r}.")


def load_config(path: Path) -> TrainConfig:
    """Read a training configuration.

    Raises:
        TrainingError: If the file is missing, is no YAML, or has an unknown key or a wrong value.
    """
    try:
        return parse(TrainConfig, read_yaml(path), str(path))
    except PresetError as error:
        raise TrainingError(str(error)) from error
    except TrainingError as error:
        raise TrainingError(f"{path}: {error}") from error
