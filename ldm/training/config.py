"""A training run as data: YAML -> TrainConfig. Unknown keys and wrong values are errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ldm.catalog.parsing import parse, read_yaml, with_change
from ldm.catalog.ranges import check_ranges, number, numbers
from ldm.data.scenes import OBJECTS
from ldm.errors import PresetError, TrainingError

KINDS = ("first_stage", "latent_diffusion", "critic", "preview")
PRECISIONS = ("no", "bf16")
DEGRADATIONS = ("bicubic", "bsr")
MOST = 10**9  # steps
CAPTIONS = 8  # per scene, by default
NO_SENTENCE = (
    "no picture has a sentence; put a text file of its name beside each, a line for each way to "
    "say what it shows."
)


@dataclass(frozen=True)
class DataConfig:
    """The data of a run: a part of the procedural world, or a folder of pictures."""

    scenes: int = number(2, 10**7, 20_000)  # rendered once, then kept on disk
    size: int = number(16, 1024, 128)  # px, both sides
    crop: int | None = number(16, 1024, None)  # px, random square crops; None: whole pictures
    captions: int = number(1, 100, CAPTIONS)  # different captions per scene
    degradation: str = "bicubic"  # upscale: how the low-resolution pictures are made
    # latent_diffusion: above 1, half of the scenes are close views: crops of scenes rendered up to
    # this many times as large
    zoom: float = number(1, 8, 1.0)
    # above 1: scenes are stretched along one side, up to this many times
    stretch: float = number(1, 4, 1.0)
    # close views are trained with t / T up to this; noisier steps keep to the usual scale
    zoom_noise: float = number(0.001, 1, 1.0)
    holes: int = number(0, 100, 2)  # inpaint: per picture, encoded once; 0: a new hole for each use
    pairs: bool = False  # text-to-image: batches of scenes that differ in their objects alone
    pictures: Path | None = None  # a folder of pictures to train on instead
    folder: Path = Path("runs/world")  # cache of rendered, read and encoded data

    def __post_init__(self) -> None:
        check_ranges(self, TrainingError, "data")
        _check_choice("data.degradation", self.degradation, DEGRADATIONS)
        if self.crop is not None and self.crop > self.size:
            raise TrainingError(
                f"data.crop must be at most data.size {self.size}, got {self.crop}."
            )
        asked = {"pairs": self.pairs, "zoom": self.zoom > 1, "stretch": self.stretch > 1}
        named = [f"data.{name}" for name, is_asked in asked.items() if is_asked]
        if self.pictures is not None and named:
            raise TrainingError(
                f"{named[0]} needs the procedural world; leave it out with pictures."
            )
        if self.stretch > 1 and len(named) > 1:
            raise TrainingError(f"{named[0]} does not go with data.stretch; leave one of them out.")


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with linear warm-up, a constant learning rate, and linear decay to zero."""

    learning_rate: float = number(1e-9, 1, 5e-4)
    warmup_steps: int = number(0, MOST, 200)
    # the rate falls to zero over the last `decay_steps` steps
    decay_steps: int = number(0, MOST, 2000)
    weight_decay: float = number(0, 1, 0.01)
    betas: tuple[float, float] = numbers((2, 2), 0, 0.99999, (0.9, 0.99))
    clip_norm: float = number(1e-6, 1e6, 1.0)

    def __post_init__(self) -> None:
        check_ranges(self, TrainingError, "optimizer")


@dataclass(frozen=True)
class LossConfig:
    """Loss weights; each kind of run uses some of them."""

    # first_stage, KL: weak regularisation towards a standard normal, LDM App. G
    kl: float = number(0, 1000, 1e-6)
    codebook: float = number(0, 1000, 1.0)  # first_stage, VQ
    # first_stage: L1 of finite differences, which keeps edges sharp
    gradient: float = number(0, 1000, 1.0)
    # latent_diffusion: min-SNR weighting, arXiv:2303.09556; None: off
    min_snr_gamma: float | None = number(0.001, 1000, None)
    # latent_diffusion: t / T = u ** (1 / bias), u uniform; above 1: noisier examples
    noise_bias: float = number(0.01, 100, 1.0)
    # kind of object -> weight of a latent cell that shows it (semantic), or of the cell that is
    # most likely to show it if the prompt names it (text-to-image); default 1
    object_weights: dict[str, float] = field(default_factory=dict)
    # text-to-image: factor on object_weights of scenes in fog, where objects are pale
    fog_weight: float = number(1, 1000, 1.0)
    # latent_diffusion: share trained without prompt, class or boxes
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
    preset: str  # its architecture is trained, its weight file written
    steps: int = number(1, MOST)
    batch_size: int = number(1, 65_536)
    accumulate: int = number(1, 65_536, 1)  # batches per optimiser step
    ema_decay: float = number(0, 0.999999, 0.999)
    precision: str = "bf16"
    # processes that prepare batches ahead; 0: prepared between the steps
    workers: int = number(0, 256, 0)
    seed: int = number(0, 2**32 - 1, 0)
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    freeze_encoder: bool = False  # first_stage: train the decoder only; latents stay valid
    # a trained preset to initialise from: the run's own, to go on from its weights, or another, of
    # which all weights that fit are taken. first_stage, VQ: may be a KL preset of the same layers
    start_from: str | None = None
    log_every: int = number(1, MOST, 20)  # steps
    snapshot_every: int = number(1, MOST, 200)  # steps
    sample_every: int = number(1, MOST, 500)  # steps; so often the loss on held-out pictures, too
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


def load_config(path: str | Path, changes: Sequence[str] = ()) -> TrainConfig:
    """Read a training configuration.

    Args:
        path: A YAML file.
        changes: Values in place of the file's, like "steps=2000" and "optimizer.warmup_steps=0";
            what follows the sign is YAML.

    Raises:
        TrainingError: If the file is missing or not YAML, or has an unknown key or a wrong value,
            or a change is not written like that.
    """
    path = Path(path)
    try:
        values = read_yaml(path)
        for change in changes:
            values = with_change(values, change)
        return parse(TrainConfig, values, str(path))
    except PresetError as error:
        raise TrainingError(str(error)) from error
    except TrainingError as error:
        raise TrainingError(f"{path}: {error}") from error
