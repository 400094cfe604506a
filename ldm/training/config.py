"""A training run as data: YAML -> TrainConfig. Unknown keys and wrong values are errors."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ldm.catalog.parsing import written_out
from ldm.data.scenes import OBJECTS
from ldm.errors import TrainingError

KINDS = ("first_stage", "latent_diffusion", "critic")
PRECISIONS = ("no", "bf16")
DEGRADATIONS = ("bicubic", "bsr")


@dataclass(frozen=True)
class DataConfig:
    """Which part of the procedural world a run sees."""

    scenes: int = 20_000  # rendered once, then kept on disk
    size: int = 128  # px, both sides
    crop: int | None = None  # px, random square crops of this side; None: whole pictures
    captions: int = 8  # wordings kept per scene
    degradation: str = "bicubic"  # upscale: how the low-resolution pictures are made
    zoom: float = 1.0  # latent_diffusion: half of the scenes are crops of up to so much larger ones
    zoom_noise: float = 1.0  # those are seen with t / T up to this: later steps know their scale
    holes: int = 2  # inpaint: holes per picture, encoded once; 0: a new one at every sight
    pairs: bool = False  # text-to-image: batches of scenes that differ in their objects alone
    pictures: Path | None = None  # a folder of one's own instead of the procedural world
    folder: Path = Path("runs/world")  # where what is drawn, read or encoded once is kept

    def __post_init__(self) -> None:
        _check_choice("data.degradation", self.degradation, DEGRADATIONS)
        if self.zoom < 1:
            raise TrainingError(f"data.zoom must be at least 1, got {self.zoom:g}.")
        if not 0 < self.zoom_noise <= 1:
            raise TrainingError(f"data.zoom_noise must be in (0, 1], got {self.zoom_noise:g}.")
        if self.holes < 0:
            raise TrainingError(f"data.holes must be at least 0, got {self.holes}.")
        if self.pictures is not None and (self.pairs or self.zoom > 1):
            what = "data.pairs" if self.pairs else "data.zoom"
            raise TrainingError(f"{what} needs the procedural world; leave it out with pictures.")


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with warm-up, a constant stretch and a linear fall to zero."""

    learning_rate: float = 5e-4
    warmup_steps: int = 200
    decay_steps: int = 2000  # the last steps of the run, over which the rate falls to zero
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.99)
    clip_norm: float = 1.0


@dataclass(frozen=True)
class LossConfig:
    """Weights of the loss terms; each kind of run uses its own."""

    kl: float = 1e-6  # first_stage, KL: LDM App. G, a slight pull towards a standard normal
    codebook: float = 1.0  # first_stage, VQ
    gradient: float = 1.0  # first_stage: L1 between finite differences, keeps edges sharp
    min_snr_gamma: float | None = None  # latent_diffusion: arXiv:2303.09556; None: no weight
    noise_bias: float = 1.0  # latent_diffusion: t / T = u ** (1 / bias); above 1: noisier examples
    # of a latent cell that shows a tree, a house ... (semantic), or of the likeliest one for those
    # that the prompt names (text-to-image); 1 of a kind that is not listed
    object_weights: dict[str, float] = field(default_factory=dict)
    fog_weight: float = 1.0  # text-to-image: times as much where things are pale in the fog
    condition_dropout: float = 0.1  # latent_diffusion: share trained without prompt, class, boxes

    def __post_init__(self) -> None:
        for name in self.object_weights:
            _check_choice("loss.object_weights", name, OBJECTS)
        if self.fog_weight < 1:
            raise TrainingError(f"loss.fog_weight must be at least 1, got {self.fog_weight:g}.")


@dataclass(frozen=True)
class TrainConfig:
    """One run of `python -m ldm train`."""

    kind: str
    preset: str  # the preset whose architecture is trained and whose weight file is written
    steps: int
    batch_size: int
    accumulate: int = 1  # batches per optimiser step
    ema_decay: float = 0.999
    precision: str = "bf16"
    workers: int = 0  # processes that draw batches ahead; 0: drawn between the steps
    seed: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    freeze_encoder: bool = False  # first_stage: keep the latents as they are, train the decoder
    # first_stage, VQ: a trained KL preset of the same layers; latent_diffusion: a trained preset,
    # of whose weights all that fit are taken
    start_from: str | None = None
    log_every: int = 20  # steps
    snapshot_every: int = 200  # steps
    sample_every: int = 500  # steps
    runs: Path = Path("runs")

    def __post_init__(self) -> None:
        _check_choice("kind", self.kind, KINDS)
        _check_choice("precision", self.precision, PRECISIONS)
        for name in ("steps", "batch_size", "accumulate", "snapshot_every", "log_every"):
            if getattr(self, name) < 1:
                raise TrainingError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.workers < 0:
            raise TrainingError(f"workers must be at least 0, got {self.workers}.")
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
        given = OmegaConf.create(written_out(path.read_text("utf-8")))
        merged = OmegaConf.merge(OmegaConf.structured(TrainConfig), given)
        return OmegaConf.to_object(merged)
    except FileNotFoundError:
        raise TrainingError(f"{path} does not exist; give the path of a training YAML.") from None
    except OSError as error:
        raise TrainingError(f"{path} cannot be read ({error.strerror}).") from error
    except (OmegaConfBaseException, YAMLError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise TrainingError(f"{path} is no training configuration: {reason}") from error
