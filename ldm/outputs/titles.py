"""One-line descriptions of a picture: what it shows, and how it was made."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Container, Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

import numpy as np

from ldm.catalog.registry import load_preset
from ldm.errors import LDMError
from ldm.images import EncodedImage
from ldm.images.files import title_of as title_of  # re-exported for callers
from ldm.outputs.settings_line import grown, how, size_of
from ldm.requests import (
    ClassConditional,
    Inpaint,
    Layout,
    Semantic,
    TextToImage,
    Upscale,
)
from ldm.requests.comparison import Axis, Comparison, comparable
from ldm.requests.progression import Progression

CACHED_S = 10  # s that a preset's texts are kept: many pictures in a row have the same one
MANY = 4  # class names, or titles of compared pictures, in a title; others are only counted
SHORT = 60  # characters of a compared picture's title in that of their sheet
# the fields that a title may depend on; others are not looked at, as a mask takes time to read
DECIDING = {"prompt", "class_index", "preset", "passes"}
DECIDING |= {f"outpaint_{side}" for side in ("left", "top", "right", "bottom")}


def title(request: Any) -> str:
    """What the picture of a request, comparison or progression shows, in a line."""
    if isinstance(request, Comparison):
        return _listed(_on_sheet(request))
    if isinstance(request, Progression):
        return title(request.request)
    return TITLES[type(request)](request)


def _on_sheet(made: Comparison) -> list[str]:
    """What the pictures of a sheet show, each once; if they differ, in short."""
    titles = _compared(made)
    if isinstance(made.request, Inpaint):  # what they have in common would leave no room
        prompts = {_in_a_line(request.prompt): None for row in made.rows() for request in row}
        titles = list(prompts) if len(prompts) > 1 and all(prompts) else titles
    return titles if len(titles) == 1 else [*map(_short, titles)]


def _compared(made: Comparison) -> list[str]:
    """The titles of the pictures of a comparison, each once."""
    if DECIDING.isdisjoint(made.record()):
        return [title(made.request)]
    return list(dict.fromkeys(title(request) for row in made.rows() for request in row))


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MANY
    return ", ".join(names[:MANY]) + (f" and {more} more" if more > 0 else "")


def _short(text: str) -> str:
    text = _in_a_line(text)
    return text if len(text) <= SHORT else f"{text[: SHORT - 1].rstrip()}…"


def _in_a_line(text: str) -> str:
    return " ".join(text.split())


def subject(request: Any) -> str:
    """What a finished picture shows, in a line, for its file; "" if it is not known.

    Of a picture made of another it is what that shows, with what was drawn into it, but without
    how it was made.
    """
    one = request.request if isinstance(request, Comparison) else request
    with suppress(LDMError):
        if isinstance(one, Inpaint) and one.prompt.strip():
            return _in_a_line(_with(one))
        if isinstance(one, Inpaint) and _marks_all(one):
            return ""
        is_of = isinstance(one, (Inpaint, Upscale))
        return _in_a_line(one.image.title if is_of else title(request))
    return ""


def searched(request: Any) -> str:
    """What a search finds a request's picture by, besides its title and its settings.

    These are the title of its model, if that is still there, its sampler and variations as a
    request has them, and all classes of a painted map; of a comparison, all titles in full.
    """
    if isinstance(request, Comparison):
        return " ".join([*_compared(request), searched(request.request)])
    if isinstance(request, Progression):
        return searched(request.request)
    model, _ = _preset(request.preset)
    painted = _painted(request) if isinstance(request, Semantic) else ()
    prompt = request.prompt if isinstance(request, Inpaint) else ""  # in the title it may be cut
    return " ".join([model, str(request.sampler), request.variations, prompt, *painted])


def headline(requests: Sequence[Any], varied: Container[str] = ()) -> str:
    """What the pictures of a sheet have in common, in a line: prompt, model and settings.

    Args:
        requests: Those of its pictures, with all settings filled in.
        varied: Fields that are compared. They are left out, as are others that differ: another
            model may bring another sampler.
    """
    first = requests[0]
    names = comparable(type(first))
    out = {name for name in names if name in varied or _differ(getattr(r, name) for r in requests)}
    sides = zip(*map(size_of, requests), strict=True)
    out |= {name for name, of in zip(("width", "height"), sides, strict=True) if _differ(of)}
    prompt = textwrap.shorten(getattr(first, "prompt", ""), 120, placeholder=" …")
    common = {"prompt": prompt, "preset": _model(first.preset)}
    about = [text for name, text in common.items() if text and name not in out]
    told = next((one for one in requests if getattr(one, "is_told", True)), first)
    return " · ".join([*about, *how(told, out)])


def _differ(values: Iterable[Any]) -> bool:
    return len(set(values)) > 1


def axis_said(axis: Axis) -> list[str]:
    """The values of a comparison's axis as people call them."""
    return [_model(name) for name in axis.values] if axis.name == "preset" else axis.said()


def _model(preset: str) -> str:
    """The title of a preset; its name if it is gone."""
    title, _ = _preset(preset)
    return title or preset


def settings(request: Any) -> str:
    """The settings of a finished picture in a line; of a sheet, what it compares or shows."""
    if isinstance(request, Comparison):
        parts = [_difference(request, axis) for axis in request.axes]
        parts.append("" if "seed" in request.record() else f"seed {request.request.seed}")
        return " · ".join(filter(None, parts))
    if isinstance(request, Progression):
        return f"its steps · {settings(request.request)}"
    return " · ".join(how(request))


def _difference(made: Comparison, axis: Axis) -> str:
    """A field that is compared and its values; prompts that the title says are only counted."""
    told = {_in_a_line(text) for text in _on_sheet(made)[:MANY]} if axis.name == "prompt" else set()
    if told.issuperset(map(_in_a_line, map(str, axis.values))):
        return f"{len(axis.values)} prompts" if len(axis.values) > 1 else ""
    return made.difference(axis, axis_said)


def _layout(request: Layout) -> str:
    labels = [box.label for box in request.boxes]
    return ", ".join(_counted(label, labels.count(label)) for label in dict.fromkeys(labels))


def _counted(label: str, count: int) -> str:
    return f"{count} × {label}" if count > 1 else label


def _marks_all(request: Inpaint) -> bool:
    """Whether nothing is left of what the picture showed."""
    return request.mask is not None and bool(request.mask.marked().all())


def _with(request: Inpaint) -> str:
    """What a picture shows after words were drawn into it, as far as that is known."""
    prompt = textwrap.shorten(request.prompt, 120, placeholder=" …")
    title = request.image.title
    if _marks_all(request) or not title:
        return prompt
    return title if f", with {prompt}," in f"{title}," else f"{title}, with {prompt}"


def _inpaint(request: Inpaint) -> str:
    size = ["grown to {} × {} px".format(*grown(request))] if any(request.outpaint) else []
    if request.prompt.strip():
        if request.image.title or _marks_all(request):
            return ", ".join([_with(request), *size])
        return _sentence(", ".join([_with(request), "drawn in", *size]))
    if _marks_all(request):
        return "All filled in"
    parts = []
    if request.mask is not None:
        share = 100 * float(request.mask.marked().mean())
        parts.append(f"{share:.0f} % filled in" if share >= 1 else "a small part filled in")
    return _made_of(request.image, ", ".join([*parts, *size]))


def _made_of(image: EncodedImage, what: str) -> str:
    """What was done to a picture, after what it shows, if its file says so."""
    return f"{image.title}, {what}" if image.title else _sentence(what)


def _semantic(request: Semantic) -> str:
    """The names of the classes with the largest areas."""
    return _sentence(_listed(_painted(request)))


def _painted(request: Semantic) -> list[str]:
    """The names of all classes in the map, largest area first."""
    numbers = _numbers(request.label_map)
    return [_class(request.preset, number) or f"class {number}" for number in numbers]


@lru_cache(maxsize=1)  # a title and the words of a search are asked for one after the other
def _numbers(label_map: EncodedImage) -> list[int]:
    """The numbers of the classes in a map, largest area first."""
    counts = np.bincount(label_map.array().ravel())
    return [int(number) for number in np.argsort(-counts, kind="stable") if counts[number]]


def class_name(request: ClassConditional) -> str:
    """The name of the requested class, "class N" if it has no name, or "Any class".

    Of a model without classes, its title.
    """
    index = request.class_index
    if index is None:
        model, classes = _preset(request.preset)
        return model if model and not classes else "Any class"
    return _sentence(_class(request.preset, index) or f"class {index}")


def _class(preset: str, number: int) -> str | None:
    _, classes = _preset(preset)
    return classes[number] if number < len(classes) else None


def _preset(name: str) -> tuple[str, Sequence[str]]:
    """The title of a preset and its classes; ("", ()) if it is gone, as that of an old picture."""
    return _loaded(name, int(time.monotonic() // CACHED_S))


@lru_cache(maxsize=64)
def _loaded(name: str, _period: int) -> tuple[str, Sequence[str]]:
    with suppress(LDMError):
        preset = load_preset(name)
        return preset.title, preset.classes
    return "", ()


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


TITLES = {
    TextToImage: lambda request: request.prompt,
    Inpaint: _inpaint,
    Semantic: _semantic,
    Layout: _layout,
    Upscale: lambda request: _made_of(request.image, f"{4**request.passes} times as large"),
    ClassConditional: class_name,
}
