"""Widgets from request fields: label, range, step and help stand in the request alone."""

from __future__ import annotations

import abc
import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components.json_component import JsonData

from ldm.errors import RequestError
from ldm.request_json import boxes_of, read_file
from ldm.requests import Control, EncodedImage, controls

# of events: not for programs, and without Gradio's own signs of work, which redraw every frame
QUIET = {"api_visibility": "private", "show_progress": "hidden", "show_progress_on": []}
# what an endpoint takes besides the fields: those with several values, like "steps=5,10,20"
COMPARED = {"across": "Compared from left to right", "down": "Compared from top to bottom"}
FRAMES = "frames"  # likewise: how many of a picture's steps are shown
MAX_SLIDER = 4096  # more values than this are typed


def named(task: str, name: str) -> dict[str, Any]:
    """An id that this tab alone has, and a class for what looks alike in all tabs."""
    return {"elem_id": f"{task}-{name}", "elem_classes": f"lc-{name}"}


def widget(
    request_type: type,
    name: str,
    kind: type[gr.components.Component] | None = None,
    **options: Any,
) -> gr.components.Component:
    """The widget of one request field.

    Args:
        request_type: A request dataclass.
        name: One of its fields.
        kind: The widget's class; None chooses by the field.
        options: Passed on to the widget; they win over what the field says.
    """
    about = controls(request_type)[name]
    hint = str(typing.get_type_hints(request_type)[name])
    kind = kind or _kind(about, hint)
    common = {
        "label": about.label,
        "info": about.help or None,
        "elem_id": f"{request_type.task}-{name.replace('_', '-')}",
        "elem_classes": f"field-{name.replace('_', '-')}",
    }
    return unchecked(kind(**(_arguments(kind, about) | common | options)))


def labels_of(request_type: type, inputs: Mapping[str, gr.components.Component]) -> dict[str, str]:
    """What the page calls a request's fields."""
    labels = {name: about.label for name, about in controls(request_type).items()}
    return labels | {n: box.label for n, box in inputs.items() if n in labels and box.label}


def limits(request_type: type, name: str, box: gr.components.Component) -> dict[str, Any]:
    """What a widget's value may be, for the browser, which drops anything else from a link.

    A widget that is none of the request's fields is of choices or of any text.
    """
    about = controls(request_type).get(name)
    told: dict[str, Any] = {"label": box.label or about.label}
    if (choices := getattr(box, "choices", None)) is not None:
        return told | {"choices": [value for _, value in choices]}
    if about is None or about.minimum is None:
        return told | {"longest": about and about.max_length}
    hint = typing.get_type_hints(request_type)[name]
    is_whole = float not in (hint, *typing.get_args(hint))
    extremes = [about.minimum, about.maximum]
    return told | {"range": extremes, "isWhole": is_whole, "other": box.value}


def check_filled(
    request_type: type, inputs: Mapping[str, gr.components.Component], values: Mapping[str, Any]
) -> None:
    """A number that is emptied is none: only text may be left open.

    Raises:
        RequestError: With the field and what is allowed.
    """
    for name, about in controls(request_type).items():
        if isinstance(inputs.get(name), (gr.Number, gr.Slider)) and values[name] in (None, ""):
            unit = f" {about.unit}" if about.unit else ""
            allowed = f"{about.minimum:.12g} to {about.maximum:.12g}{unit}"
            raise RequestError(f"{name} must be {allowed}, got nothing.")


@dataclass(frozen=True)
class EndpointWidget:
    """A widget that is never shown: a parameter of an endpoint, with its field's own default.

    A field left open is None here, whatever the page shows, so the preset's default is taken.
    """

    kind: type[gr.components.Component]
    label: str
    value: Any

    def make(self) -> gr.components.Component:
        """Put it on the page."""
        return unchecked(self.kind(label=self.label, value=self.value, visible=False))


def endpoint_widgets(request_type: type) -> dict[str, EndpointWidget]:
    """The parameters of a request's endpoint, by name."""
    hints = typing.get_type_hints(request_type)
    return {
        field.name: EndpointWidget(
            _endpoint_kind(hints[field.name]),
            controls(request_type)[field.name].label,
            None if field.default is MISSING else field.default,
        )
        for field in fields(request_type)
    } | {
        **{name: EndpointWidget(gr.Textbox, label, "") for name, label in COMPARED.items()},
        FRAMES: EndpointWidget(gr.Number, "Steps that are shown", 0),
    }


def _endpoint_kind(hint: Any) -> type[gr.components.Component]:
    if EncodedImage in (hint, *typing.get_args(hint)):
        return gr.File
    if typing.get_origin(hint) is tuple:
        return gr.JSON
    return gr.Textbox if "str" in str(hint) else gr.Number


def from_files(values: dict[str, Any]) -> dict[str, Any]:
    """An endpoint's values with the uploaded files read and the boxes made.

    Raises:
        RequestError: If a file holds no picture, or a box is none.
    """
    return {name: _from_file(name, value) for name, value in values.items()}


def _from_file(name: str, value: Any) -> Any:
    if isinstance(value, gr.FileData):
        return read_file(name, Path(value.path))
    if isinstance(value, JsonData):
        value = value.root
    return boxes_of(value) if name == "boxes" and value is not None else value


def as_endpoint(function: Callable[..., Any], request_type: type) -> Callable[..., Any]:
    """Let a generator function of `**values` be seen as taking the request's fields by name, and
    what is to be compared or shown."""

    def endpoint(**values: Any) -> Any:
        yield from function(**values)

    given = {
        field.name: inspect.Parameter.empty if field.default is MISSING else field.default
        for field in fields(request_type)
    }
    keyword = inspect.Parameter.KEYWORD_ONLY
    endpoint.__signature__ = inspect.Signature(
        inspect.Parameter(name, keyword, default=default)
        for name, default in (given | dict.fromkeys(COMPARED, "") | {FRAMES: 0}).items()
    )
    endpoint.__name__ = function.__name__
    endpoint.__doc__ = function.__doc__
    return endpoint


def unchecked(made: gr.components.Component) -> gr.components.Component:
    """Let the value through as it came: the request checks it, in a sentence that names the field,
    and Gradio's own check does not. Of whatever class it is: whenever an event leaves it as it is,
    Gradio makes another one of its class from the same arguments."""
    made.__class__ = _unchecked(type(made))
    return made


@functools.cache
def _unchecked(kind: type[gr.components.Component]) -> type[gr.components.Component]:
    about = {"preprocess": _as_it_came, "is_template": True, "__module__": kind.__module__}
    # not by calling Gradio's metaclass, which wants to find each class in a file
    return abc.ABCMeta.__new__(type(kind), kind.__name__, (kind,), about)


def _as_it_came(_: Any, payload: Any) -> Any:
    return payload


def _kind(about: Control, hint: str) -> type[gr.components.Component]:
    if about.choices is not None:
        return gr.Dropdown
    if "bool" in hint:
        return gr.Checkbox
    if "str" in hint:
        return gr.Textbox
    if about.maximum > MAX_SLIDER:
        return gr.Textbox  # a slider would be too coarse, and gr.Number cannot be left empty
    return gr.Number if about.unit == "px" else gr.Slider


def _arguments(kind: type[gr.components.Component], about: Control) -> dict[str, Any]:
    if kind is gr.Dropdown:
        return {"choices": list(about.choices or ())}
    if kind is gr.Number:
        return {"precision": 0, "step": about.step}  # the request says what is allowed
    if kind is gr.Slider:
        limits = {"minimum": about.minimum, "maximum": about.maximum, "step": about.step}
        return {**limits, "buttons": []}
    return {}  # of text the request checks the length
