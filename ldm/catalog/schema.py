"""A preset as data: the contents of its YAML file, typed and checked. It needs no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from ldm.catalog.architecture import SENTENCE_KINDS, Architecture, check_choice
from ldm.catalog.colours import distinct
from ldm.catalog.ranges import check_ranges, number
from ldm.checkpoints.parts import is_there
from ldm.errors import PresetError

TASKS = (
    "text-to-image",
    "inpaint",
    "semantic",
    "layout",
    "upscale",
    "class-conditional",
    "unconditional",
    "first-stage",
    "classifier",
)
# (conditioning, kind of the conditioner) -> task of a model with a UNet
TASK_OF = {
    ("none", "none"): "unconditional",
    ("crossattn", "text"): "text-to-image",
    ("crossattn", "clip"): "text-to-image",
    ("crossattn", "tokens"): "layout",
    ("crossattn", "class"): "class-conditional",
    ("concat", "spatial_rescaler"): "semantic",
    ("concat", "identity"): "upscale",
    ("concat", "first_stage"): "inpaint",
    ("hybrid", "text"): "inpaint",
    ("hybrid", "clip"): "inpaint",
}
MAX_TRAINED_PX = 4096


@dataclass(frozen=True)
class Weights:
    """Source of one weight file. Without a `url` it is shipped with the preset."""

    file: str  # its name in the preset's folder
    url: str | None = None
    member: str | None = None  # pattern of the weight file's name in the archive at `url`
    sha256: str | None = None  # of the download; None: not published, stored at first download
    bytes: int | None = None  # of the download


@dataclass(frozen=True)
class Defaults:
    """Values for settings that a request leaves open."""

    steps: int = 50
    sampler: str = "ddim"
    guidance_scale: float = 1.0
    eta: float = 0.0
    temperature: float = 1.0  # standard deviation of all noise that is drawn
    coarse: float = 0.0  # share of steps at full size, after a picture of the trained size
    scale: int = number(1, 4, default=1)  # sides of a picture: so many times the trained ones

    def __post_init__(self) -> None:
        check_ranges(self, PresetError, "defaults")

    def eta_for(self, sampler: str) -> float:
        """Return the default eta of a sampler; only DDIM has one other than 0."""
        return self.eta if sampler == "ddim" else 0.0


@dataclass(frozen=True)
class Preset:
    """One model that a user can choose."""

    name: str
    title: str
    task: str
    architecture: Architecture
    weights: Weights
    folder: Path  # folder of the weight file
    width: int = number(1, MAX_TRAINED_PX)  # px, trained size
    height: int = number(1, MAX_TRAINED_PX)  # px
    parameters: int | None = None  # number of learned parameters; None: not counted
    description: str = ""
    licence: str = ""
    links: tuple[str, ...] = ()  # web pages of the authors
    defaults: Defaults = field(default_factory=Defaults)
    classes: tuple[str, ...] = ()  # names in the order of their ids; (): not published
    class_colours: tuple[str, ...] = ()  # "#rrggbb" each, for palettes and boxes
    # text models: lines like "Sky: fog, clear sky", what a prompt may say; (): not known
    words: tuple[str, ...] = ()
    null_class: int | None = None  # id for "no class given"; None: there is none
    smooth_holes: bool = False  # inpaint: holes are filled with the colours around, not with black
    # upscale: side in input px of the squares whose mean is kept; 1: each px, for clean inputs
    keeps_means: int = 0
    # first stage: name of the file of a small decoder that draws its previews; None: there is none
    preview: str | None = None
    preview_path: Path | None = None
    first_stage_preset: str | None = None  # preset whose weight file holds the first stage
    first_stage_path: Path | None = None
    is_own: bool = False  # the user's own folder, not a preset of the project

    def __post_init__(self) -> None:
        check_choice("task", self.task, TASKS)
        check_ranges(self, PresetError)
        self._check_task()
        if Path(self.weights.file).name != self.weights.file and self.weights.file != ".":
            raise PresetError(f"weights.file must be a name, got {self.weights.file!r:.80}")
        if self.preview is not None and not _is_name(self.preview):
            raise PresetError(f"preview must be a name, got {self.preview!r:.80}")
        multiple = self.size_multiple
        if self.width % multiple or self.height % multiple:
            raise PresetError(
                f"width and height must be multiples of {multiple} px, got "
                f"{self.width} x {self.height}"
            )
        if max(self.usual_sides) > MAX_TRAINED_PX:
            raise PresetError(
                f"defaults.scale times the trained sides must be at most {MAX_TRAINED_PX} px, got "
                f"{max(self.usual_sides)}"
            )
        for line, (title, words) in zip(self.words, self.word_groups, strict=True):
            if not all(text and text == text.strip(" ,") for text in (title, *words)):
                raise PresetError(
                    f"words must be lines like 'Sky: fog, clear sky', got {line!r:.80}"
                )
        if self.classes and len(self.class_colours) not in (0, len(self.classes)):
            raise PresetError("class_colours must be as many as classes, or none")
        about = self.architecture.conditioner
        if self.classes and about.kind in ("class", "spatial_rescaler"):
            count = about.in_channels or about.n_classes - (self.null_class is not None)
            if len(self.classes) != count:
                raise PresetError(f"classes must be {count} names, got {len(self.classes)}")

    def _check_task(self) -> None:
        """Check when the preset is loaded that the task can run this architecture."""
        about = self.architecture
        kind = about.conditioner.kind
        does = "classifier" if about.classifier else "first-stage"
        if about.unet is not None:
            does = TASK_OF.get((about.conditioning, kind), "nothing")
            if about.unet.num_classes is not None:
                raise PresetError(
                    f"unet.num_classes must be left out, got {about.unet.num_classes}; classes "
                    "are given by a conditioner of kind class"
                )
        if self.task != does:
            raise PresetError(
                f"task {self.task} does not go with the architecture: conditioning "
                f"{about.conditioning} by a conditioner of kind {kind} does {does}"
            )
        if kind in SENTENCE_KINDS and about.conditioner.vocabulary is None:
            raise PresetError(f"a conditioner of kind {kind} needs vocabulary to read sentences")

    @property
    def factor(self) -> int:
        """Pixels per latent cell."""
        return self.architecture.factor

    @property
    def size_multiple(self) -> int:
        """The number of px that the sides of a picture must be multiples of."""
        return self.architecture.size_multiple

    @property
    def fills_by_words(self) -> bool:
        """Whether it can be told what to make in a hole: an inpainting model, or any of text."""
        return self.architecture.conditioning == "hybrid" or self.task == "text-to-image"

    @property
    def schedule_length(self) -> int:
        """Number of time steps of the noise schedule, T."""
        return self.architecture.schedule.length

    @property
    def class_count(self) -> int:
        """Number of classes that a user can choose from; 0 if the task has none."""
        about = self.architecture.conditioner
        if about.kind == "class":
            return about.n_classes - (self.null_class is not None)
        return len(self.classes) or about.in_channels or 0

    @property
    def palette(self) -> tuple[tuple[str, str], ...]:
        """(name, "#rrggbb") of every class; without published names, ids are used."""
        names = self.classes or tuple(str(number) for number in range(self.class_count))
        return tuple(zip(names, self.class_colours or distinct(len(names)), strict=True))

    @property
    def word_groups(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """The `words` as (title, words or phrases) of each line."""
        parts = (line.partition(": ") for line in self.words)
        return tuple((title, tuple(words.split(", "))) for title, _, words in parts)

    def defaults_for(self, task: str) -> Defaults:
        """Return the defaults for requests of a task, of those that the preset can run.

        A text model was not trained on holes. What it makes in one fits what is around it better if
        every step draws new noise, as RePaint's do (arXiv:2201.09865).
        """
        if task == "inpaint" != self.task:
            return replace(self.defaults, sampler="ddim", eta=1.0)
        return self.defaults

    @property
    def usual_sides(self) -> tuple[int, int]:
        """(width, height) in px of a picture that is asked for without a size."""
        return self.defaults.scale * self.width, self.defaults.scale * self.height

    def sides_like(self, width: int, height: int, largest: int) -> tuple[int, int]:
        """Choose a canvas with the aspect ratio of a picture, near its size and the trained one.

        Args:
            width: Width of the picture in px.
            height: Height of the picture in px.
            largest: Most px of a side.

        Returns:
            (width, height) in px, multiples of `size_multiple`. The shorter side is once to twice
            the shorter trained side, unless `largest` requires less.
        """
        trained, short = min(self.width, self.height), min(width, height)
        scale = min(max(short, trained), 2 * trained) / short
        scale = min(scale, largest / max(width, height)) / self.size_multiple
        return tuple(max(1, round(scale * s)) * self.size_multiple for s in (width, height))

    @property
    def max_boxes(self) -> int:
        """Most boxes of a layout: three tokens each, and two for the picture."""
        about = self.architecture.conditioner
        return (about.max_seq_len - 2) // 3 if about.kind == "tokens" else 0

    @property
    def origin(self) -> str:
        """Origin of the model: "own" (the user's), "published" (by its authors) or "shipped"."""
        if self.is_own:
            return "own"
        return "published" if self.weights.url else "shipped"

    @property
    def how_to_get(self) -> str:
        """The command that downloads or trains the weights."""
        if self.weights.url:
            return f"python -m ldm download {self.name}"
        if self.is_own:
            return f"python -m ldm train {self.folder / 'train.yaml'}"
        return f"python -m ldm train presets/training/{self.name.removeprefix('demo-')}.yaml"

    @property
    def source(self) -> str:
        """Source of the weights; if they are missing and not published, `how_to_get`."""
        if not self.weights.url and not self.is_on_disk:
            return self.how_to_get
        return self.weights.url or ("shipped" if self.origin == "shipped" else "your own folder")

    @property
    def weight_path(self) -> Path:
        """The model's own weight file; a converted .safetensors beside a .ckpt is preferred."""
        declared = self.folder / self.weights.file
        converted = declared.with_suffix(".safetensors")
        # os.path: False for a folder that cannot be read
        is_new = os.path.exists(converted) and not os.path.isdir(declared)
        return converted if is_new else declared

    @property
    def weight_paths(self) -> tuple[Path, ...]:
        """The model's own weight file, then that of the first stage if it has a separate one."""
        return (self.weight_path, *([self.first_stage_path] if self.first_stage_path else []))

    @property
    def holds_first_stage(self) -> bool:
        """Whether its own weight file holds the networks of a first stage."""
        about = self.architecture.first_stage
        return self.first_stage_path is None and about is not None and about.kind != "identity"

    @property
    def is_on_disk(self) -> bool:
        """Whether every weight file exists."""
        return all(is_there(path) for path in self.weight_paths)


def _is_name(text: str) -> bool:
    """Whether a text names a file in its folder."""
    return text not in ("", "..") and Path(text).name == text
