"""What a person may ask for and what comes back: a frozen dataclass per task, and a run's events.

A field's label, range, step, unit and help stand once, in `control(...)`; the page's widgets, the
CLI's flags and the checks here are all made from it. None in a field means "the preset's own
default" (for `seed`: drawn anew); `ldm.studio` fills it in before the run, so the request that is
stored with a result holds every number that made it. This module needs no torch.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar

from ldm.errors import RequestError

if typing.TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

MAX_SEED = 2**32 - 1
MAX_PROMPT_CHARACTERS = 2000
MAX_SIDE_PX = 4096
SAMPLER_NAMES = ("ddim", "dpmpp_2m", "plms", "ddpm")


@dataclass(frozen=True)
class Control:
    """How one request field is shown and checked. Ranges are inclusive."""

    label: str
    help: str = ""
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: tuple[str, ...] | None = None
    max_length: int | None = None
    advanced: bool = False


def control(default: Any = MISSING, **about: Any) -> Any:
    """A dataclass field with its `Control` in the metadata."""
    return field(default=default, metadata={"control": Control(**about)})


def controls(request_type: type) -> dict[str, Control]:
    """Field name -> Control, in the order of declaration."""
    return {f.name: f.metadata["control"] for f in fields(request_type)}


@dataclass(frozen=True, kw_only=True)
class TextToImage:
    """Make pictures from a sentence (LDM Sec. 4.3.1).

    Raises:
        RequestError: If a field is of the wrong type or out of the range that its control states.
    """

    task: ClassVar[str] = "text-to-image"

    prompt: str = control(
        label="Prompt", help="What the picture shows", max_length=MAX_PROMPT_CHARACTERS
    )
    negative_prompt: str = control(
        "",
        label="Negative prompt",
        help="What the picture should not show; needs a guidance scale above 1",
        max_length=MAX_PROMPT_CHARACTERS,
    )
    preset: str = control("demo-text-to-image", label="Model", help="The preset that makes it")
    width: int | None = control(
        None, label="Width", unit="px", minimum=16, maximum=MAX_SIDE_PX, step=16
    )
    height: int | None = control(
        None, label="Height", unit="px", minimum=16, maximum=MAX_SIDE_PX, step=16
    )
    steps: int | None = control(
        None, label="Steps", help="More steps, more time", minimum=1, maximum=1000, step=1
    )
    sampler: str | None = control(
        None, label="Sampler", help="How noise becomes a picture", choices=SAMPLER_NAMES
    )
    guidance_scale: float | None = control(
        None,
        label="Guidance",
        help="How strictly the prompt is followed; 1 switches guidance off",
        minimum=1.0,
        maximum=30.0,
        step=0.1,
    )
    eta: float = control(
        0.0,
        label="Eta",
        help="Fresh noise per step, for DDIM: 0 none, 1 as much as DDPM",
        minimum=0.0,
        maximum=1.0,
        step=0.05,
        advanced=True,
    )
    seed: int | None = control(
        None,
        label="Seed",
        help="The same seed makes the same picture; picture i of a batch uses seed + i",
        minimum=0,
        maximum=MAX_SEED,
        step=1,
    )
    count: int = control(1, label="Pictures", minimum=1, maximum=16, step=1)

    def __post_init__(self) -> None:
        check(self)
        if not self.prompt.strip():
            raise RequestError("prompt must say what to draw, got an empty one.")


REQUESTS: dict[str, type] = {TextToImage.task: TextToImage}
"""Task name -> request type."""


def to_dict(request: Any) -> dict[str, Any]:
    """The request's fields as JSON-ready values, `task` first."""
    return {"task": request.task, **dataclasses.asdict(request)}


def from_dict(values: dict[str, Any]) -> Any:
    """The request that `to_dict` wrote.

    Raises:
        RequestError: If the task or a field is unknown, missing or out of range.
    """
    values = dict(values)
    task = values.pop("task", None)
    if not isinstance(task, str) or task not in REQUESTS:
        raise RequestError(f"task must be one of {', '.join(REQUESTS)}, got {task!r:.80}.")
    request_type = REQUESTS[task]
    known = {f.name for f in fields(request_type)}
    if unknown := sorted(set(values) - known):
        raise RequestError(
            f"{task} has no field {unknown[0]!r:.80}; it has {', '.join(sorted(known))}."
        )
    required = {f.name for f in fields(request_type) if f.default is MISSING}
    if missing := sorted(required - set(values)):
        raise RequestError(f"{task} needs the field {missing[0]!r}.")
    return request_type(**values)


def check(request: Any) -> None:
    """Check every field against its type and its control.

    Raises:
        RequestError: With the field, the value that came and what is allowed.
    """
    hints = typing.get_type_hints(type(request))
    for name, about in controls(type(request)).items():
        value = getattr(request, name)
        allowed_types = _types(hints[name])
        if value is None and type(None) in allowed_types:
            continue
        _check_type(name, value, allowed_types)
        _check_range(name, value, about)


def _types(hint: Any) -> tuple[type, ...]:
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def _check_type(name: str, value: Any, allowed: tuple[type, ...]) -> None:
    numbers = (int, float) if float in allowed else allowed
    if isinstance(value, bool) or not isinstance(value, tuple({*allowed, *numbers})):
        wanted = " or ".join(t.__name__ for t in allowed if t is not type(None))
        raise RequestError(f"{name} must be {wanted}, got {value!r:.80}.")
    if isinstance(value, float) and not math.isfinite(value):
        raise RequestError(f"{name} must be a finite number, got {value}.")
    if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise RequestError(f"{name} must be text, got {value!r:.80}, which is half a character.")


def _check_range(name: str, value: Any, about: Control) -> None:
    unit = f" {about.unit}" if about.unit else ""
    if about.minimum is not None and not about.minimum <= value <= about.maximum:
        raise RequestError(
            f"{name} must be {about.minimum:.12g} to {about.maximum:.12g}{unit}, got {value!s:.40}."
        )
    if about.choices is not None and value not in about.choices:
        raise RequestError(f"{name} must be one of {', '.join(about.choices)}, got {value!r:.80}.")
    if about.max_length is not None and len(value) > about.max_length:
        raise RequestError(
            f"{name} must be at most {about.max_length} characters, got {len(value)}."
        )


# The events of a run, in the order in which they can come. Exactly one of Result, Failed and
# Cancelled ends a run.


@dataclass(frozen=True)
class Queued:
    """The job waits; `position` runs are before it (0: it is next)."""

    position: int


@dataclass(frozen=True)
class Progress:
    """The run is at `step` of `total` in `stage`."""

    stage: str  # "loading the model", "sampling", "decoding"
    step: int = 0
    total: int = 0
    seconds: float = 0.0  # since the run began
    eta_seconds: float | None = None  # None: not known yet
    preview: np.ndarray | None = None  # (H, W, 3) uint8, all pictures of the batch side by side


@dataclass(frozen=True)
class Result:
    """The finished pictures, each with the request that makes exactly that one (count 1)."""

    requests: tuple[Any, ...]
    images: tuple[np.ndarray, ...]  # (H, W, 3) uint8 RGB
    seconds: float = 0.0
    notes: tuple[str, ...] = ()  # what a person should know, e.g. words the model has never seen
    paths: tuple[Path, ...] = ()  # the saved PNGs, filled in by the studio


@dataclass(frozen=True)
class Failed:
    """The run ended in an error that `message` explains in one sentence."""

    message: str


@dataclass(frozen=True)
class Cancelled:
    """The run was cancelled."""
