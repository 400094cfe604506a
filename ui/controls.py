"""Widgets from request fields: label, range, step and help stand in the request alone."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any

import gradio as gr

from ldm.requests import Control, controls

MAX_SLIDER = 4096  # more values than this are typed


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
    common = {
        "label": f"{about.label} ({about.unit})" if about.unit else about.label,
        "info": about.help or None,
        "elem_id": f"field-{name.replace('_', '-')}",
    }
    made = (kind or _kind(about, hint))(**(_arguments(about, hint) | common | options))
    # the request checks values, in a sentence that names the field; Gradio's own check does not
    made.preprocess = _as_it_came
    return made


def _as_it_came(payload: Any) -> Any:
    return payload


def _kind(about: Control, hint: str) -> type[gr.components.Component]:
    if about.choices is not None:
        return gr.Dropdown
    if "str" in hint:
        return gr.Textbox
    if about.maximum > MAX_SLIDER:
        return gr.Textbox  # a slider would be too coarse, and gr.Number cannot be left empty
    return gr.Number if about.unit == "px" else gr.Slider


def _arguments(about: Control, hint: str) -> dict[str, Any]:
    if about.choices is not None:
        return {"choices": list(about.choices)}
    if "str" in hint:
        return {}  # the request checks the length, so that its sentence is what a person reads
    if about.maximum > MAX_SLIDER:
        return {}
    if about.unit == "px":
        return {"precision": 0}  # the request says what is allowed, in its own words
    return {"minimum": about.minimum, "maximum": about.maximum, "step": about.step}


def signature(request_type: type) -> inspect.Signature:
    """The parameters of an endpoint: the request's fields in order, with their defaults."""
    parameters = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
        )
        for field in fields(request_type)
    ]
    return inspect.Signature(parameters)


def with_signature(function: Callable[..., Any], request_type: type) -> Callable[..., Any]:
    """Let `function(*values)` be seen, by Gradio's API too, as taking the request's fields."""
    function.__signature__ = signature(request_type)
    return function
