"""Build widgets from request fields, which alone define label, range, step and help text."""

from __future__ import annotations

import abc
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components.json_component import JsonData

from ldm.errors import RequestError
from ldm.requests import Control, EncodedImage, controls
from ldm.requests.as_json import boxes_of, read_file
from ldm.requests.fields import field_types
from ldm.requests.shared_fields import called
from ui.in_turn import in_turn

# event options: hidden from the API, no progress display of Gradio's, which redraws every frame
QUIET = {"api_visibility": "private", "show_progress": "hidden", "show_progress_on": []}
# every click is handled, one after the other; else one is lost while another is on its way
# what the HTTP API takes for one
A_FILE = 'a file that was uploaded, {"path": PATH, "meta": {"_type": "gradio.FileData"}}'
IN_ORDER = {"trigger_mode": "multiple", "concurrency_limit": 1}
# endpoint parameters besides the request's fields: the two axes of a comparison, each written
# like "steps=5,10,20"
COMPARED = {"across": "Compared from left to right", "down": "Compared from top to bottom"}
FRAMES = "frames"  # endpoint parameter: number of steps to show of a progression
MAX_SLIDER = 4096  # numbers that may be larger get a text box, if they are no px


def named(task: str, name: str) -> dict[str, Any]:
    """Element id that is unique to the tab, and a CSS class shared by all tabs."""
    return {"elem_id": f"{task}-{name}", "elem_classes": f"lc-{name}"}


def on_choice(
    dropdown: gr.Dropdown,
    updates: Callable[..., list[Any]],
    inputs: Sequence[gr.components.Component],
    outputs: Sequence[gr.components.Component],
    then: str = "(value) => value",
) -> None:
    """Call a function when the user chooses another option of a dropdown.

    Gradio's own input event comes also when a dropdown is entered and left again.

    Args:
        dropdown: It must have an element id.
        updates: Maps the new value and those of `inputs` to one update per output.
        inputs: Further components.
        outputs: What it updates.
        then: A JavaScript function that the new value, or null, is passed through.
    """

    def choose(value: Any, *others: Any) -> Any:
        made = [gr.skip()] * len(outputs) if value is None else updates(value, *others)
        return made if len(outputs) > 1 else made[0]

    name = dropdown.elem_id
    dropdown.focus(None, dropdown, js=f"(value) => latentCanvas.enter({name!r}, value)", **QUIET)
    js = f"(value, ...rest) => [({then})(latentCanvas.chosen({name!r}, value)), ...rest]"
    dropdown.input(choose, [dropdown, *inputs], outputs, js=js, **QUIET)


def widget(
    request_type: type,
    name: str,
    kind: type[gr.components.Component] | None = None,
    **options: Any,
) -> gr.components.Component:
    """Build the widget of one request field.

    Args:
        request_type: A request dataclass.
        name: One of its fields.
        kind: The widget's class; None: chosen by the field's type and control.
        options: Passed on to the widget; they override the field's control.
    """
    about = controls(request_type)[name]
    kind = kind or _kind(about, field_types(request_type)[name].kind)
    common = {
        "label": about.label,
        "info": about.help or None,
        "elem_id": f"{request_type.task}-{name.replace('_', '-')}",
        "elem_classes": f"field-{name.replace('_', '-')}",
    }
    return unchecked(kind(**(_arguments(kind, about, name) | common | options)))


def labels_of(request_type: type, inputs: Mapping[str, gr.components.Component]) -> dict[str, str]:
    """Field name -> its label on the page."""
    labels = {name: about.label for name, about in controls(request_type).items()}
    return labels | {n: box.label for n, box in inputs.items() if n in labels and box.label}


def limits(request_type: type, name: str, box: gr.components.Component) -> dict[str, Any]:
    """Describe a widget's valid values for the browser, which drops all others from a link.

    A widget that is not a request field may have choices or hold any text.
    """
    about = controls(request_type).get(name)
    told: dict[str, Any] = {"label": box.label or about.label}
    if (choices := getattr(box, "choices", None)) is not None:
        return told | {"choices": [value for _, value in choices]}
    if about is None or about.minimum is None:
        return told | {"longest": about and about.max_length}
    is_whole = field_types(request_type)[name].kind is int
    extremes = [about.minimum, about.maximum]
    return told | {"range": extremes, "isWhole": is_whole, "other": box.value}


def check_filled(
    request_type: type, inputs: Mapping[str, gr.components.Component], values: Mapping[str, Any]
) -> None:
    """Check that no number widget or slider is empty; only text boxes may be.

    Raises:
        RequestError: If one is empty. The message names the field and its range.
    """
    for name, about in controls(request_type).items():
        if isinstance(inputs.get(name), (gr.Number, gr.Slider)) and values[name] in (None, ""):
            unit = f" {about.unit}" if about.unit else ""
            allowed = f"{about.minimum:.12g} to {about.maximum:.12g}{unit}"
            raise RequestError(f"{name} must be {allowed}, got nothing.")


@dataclass(frozen=True)
class EndpointWidget:
    """A hidden widget for one parameter of an API endpoint, with the request field's default.

    An omitted parameter is None whatever the page shows, so the preset's default applies.
    """

    kind: type[gr.components.Component]
    label: str
    value: Any

    def make(self) -> gr.components.Component:
        """Create the hidden Gradio component."""
        return unchecked(self.kind(label=self.label, value=self.value, visible=False))


def endpoint_widgets(request_type: type) -> dict[str, EndpointWidget]:
    """The parameters of a request's API endpoint, by name."""
    types = field_types(request_type)
    return {
        field.name: EndpointWidget(
            _endpoint_kind(types[field.name].kind),
            controls(request_type)[field.name].label,
            None if field.default is MISSING else field.default,
        )
        for field in fields(request_type)
    } | {
        **{name: EndpointWidget(gr.Textbox, label, "") for name, label in COMPARED.items()},
        FRAMES: EndpointWidget(gr.Number, "Steps that are shown", 0),
    }


def _endpoint_kind(kind: type) -> type[gr.components.Component]:
    return {EncodedImage: gr.File, tuple: gr.JSON, str: gr.Textbox}.get(kind, gr.Number)


def from_files(request_type: type, values: dict[str, Any]) -> dict[str, Any]:
    """Convert an endpoint's values: read uploaded files and parse boxes.

    Raises:
        RequestError: If a file is not a readable picture or a box is invalid.
    """
    return {name: _from_file(request_type, name, value) for name, value in values.items()}


def _from_file(request_type: type, name: str, value: Any) -> Any:
    if isinstance(value, gr.FileData):
        return in_turn(read_file, request_type, name, Path(value.path))
    if isinstance(value, JsonData):
        value = value.root
    if name == "boxes":
        return boxes_of(value)
    about = field_types(request_type)[name]
    if value is None and about.kind is EncodedImage and not about.is_optional:
        raise RequestError(f"{name} must be {A_FILE}, got null.")
    return value


def as_endpoint(function: Callable[..., Any], request_type: type) -> Callable[..., Any]:
    """Wrap a generator function of `**values` so that its signature names the request's fields
    and the parameters for comparison and progression."""

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
    """Disable Gradio's own validation of a component, so that the request checks the value and
    its error message names the field.

    This replaces the component's class: whenever an event leaves a component as it is, Gradio
    makes a new one of the same class from the same arguments.
    """
    made.__class__ = _unchecked(type(made))
    return made


@functools.cache
def _unchecked(kind: type[gr.components.Component]) -> type[gr.components.Component]:
    about = {"preprocess": _as_it_came, "is_template": True, "__module__": kind.__module__}
    # bypass Gradio's metaclass, which expects every class to come from a source file
    return abc.ABCMeta.__new__(type(kind), kind.__name__, (kind,), about)


def _as_it_came(_: Any, payload: Any) -> Any:
    return payload


def _kind(about: Control, kind: type) -> type[gr.components.Component]:
    if about.choices is not None:
        return gr.Dropdown
    if kind is str:
        return gr.Textbox
    if about.unit == "px":
        return gr.Number
    # where a slider would be too coarse; gr.Number cannot be left empty
    return gr.Textbox if about.maximum > MAX_SLIDER else gr.Slider


def _arguments(kind: type[gr.components.Component], about: Control, name: str) -> dict[str, Any]:
    if kind is gr.Dropdown:
        return {"choices": [(called(name, value), value) for value in about.choices or ()]}
    if kind is gr.Number:
        return {"precision": 0, "step": about.step}  # the request checks the range
    if kind is gr.Slider:
        limits = {"minimum": about.minimum, "maximum": about.maximum, "step": about.step}
        return {**limits, "buttons": []}
    return {}  # the request checks the length of text
