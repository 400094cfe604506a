"""Widgets that compare values of one or two settings on a contact sheet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ldm.catalog.registry import list_presets
from ldm.errors import LDMError, MemoryBudgetError, RequestError
from ldm.jobs import JobQueue
from ldm.requests import PRESET_TASKS
from ldm.requests.comparison import Axis, Comparison, comparable, said
from ldm.requests.progression import Progression
from ui.controls import COMPARED, QUIET, check_filled, named, on_choice
from ui.estimate import is_open, refused, request_of, told
from ui.run import Visit
from ui.stage import starts_run
from ui.tab import Component, Tab, Values, fields_of
from ui.values import make_request

TITLE = "Compare settings"
ABOUT = "One picture for each value, all with one seed, and a sheet of them."
GO = "Compare"
NOTHING = ""  # no second setting: the sheet has a single row
ACROSS, DOWN = COMPARED
SUGGESTED = {
    "steps": "5, 10, 20, 40",
    "guidance_scale": "1, 1.5, 3, 6",
    "eta": "0, 0.5, 1",
    "temperature": "0.8, 0.9, 1",
    "seed": "1, 2, 3, 4",
    "variations": "7:0, 7:0.25, 7:0.5, 7:0.75, 7:1",
    "strength": "0.25, 0.5, 0.75, 1",
    "inversion": "0, 0.5, 0.8, 1",
    "coarse": "0, 0.2, 0.4",
    "passes": "1, 2",
    "mask_grow": "0, 8, 16",
    "mask_feather": "0, 4, 16",
    "working_size": "128, 256, 512",
}
NONE = Axis(NOTHING, ())
OPENED = "() => ({ __type__: 'update', open: true })"
FIRST = {ACROSS: "steps", DOWN: NOTHING}
VALUES = {way: f"{way}_values" for way in COMPARED}  # axis -> name of the text box with its values
NAMES = frozenset({*VALUES, *VALUES.values()})


@dataclass(frozen=True)
class Comparing:
    """The widgets of a comparison: fields, values as text, estimate and button."""

    inputs: Mapping[str, Component]  # by NAMES
    fold: gr.Accordion
    go: gr.Button
    estimate: gr.HTML


def create(request_type: type) -> Comparing:
    """Build the widgets in an accordion that is closed at first."""
    task, inputs = request_type.task, {}
    fields = [(about.label, name) for name, about in comparable(request_type).items()]
    with gr.Accordion(TITLE, open=False, **named(task, "comparing")) as fold:
        gr.HTML(f"<p>{ABOUT}</p>", padding=False, **named(task, "comparing-about"))
        for way, choices in ((ACROSS, fields), (DOWN, [("Nothing", NOTHING), *fields])):
            first = FIRST[way]
            with gr.Row(elem_classes="pair"):
                label = "From left to right" if way == ACROSS else "From top to bottom"
                name = inputs[way] = gr.Dropdown(
                    choices, value=first, label=label, min_width=100, elem_id=f"{task}-{way}"
                )
                values = inputs[VALUES[way]] = gr.Textbox(
                    SUGGESTED.get(first, ""),
                    label="Values",
                    placeholder="with commas, or |",
                    max_lines=1,
                    min_width=100,
                    elem_id=f"{task}-{way}-values",
                )
            on_choice(name, lambda name: [suggested(request_type, name)], [], [values])
            values.change(None, None, fold, js=OPENED, **QUIET)
        go = gr.Button(GO, size="sm", **named(task, "comparing-go"))
        about = gr.HTML(padding=False, **named(task, "comparing-estimate"))
    return Comparing(inputs, fold, go, about)


def added(
    to_fields: Callable[[Values], Values] = dict,
    to_values: Callable[[Any], Values] = fields_of,
    **about: Any,
) -> dict[str, Any]:
    """Extend a tab's options (see `ui.tab.Tab`) so that it also restores comparison sheets."""

    def asked(values: Values) -> Values:
        return to_fields({name: value for name, value in values.items() if name not in NAMES})

    def shown(made: Any) -> Values:
        if isinstance(made, Progression):
            made = made.request
        if not isinstance(made, Comparison):
            return to_values(made)
        axes = {way: getattr(made, way) or NONE for way in COMPARED}
        names = {way: axis.name for way, axis in axes.items()}
        values = {VALUES[way]: axis.typed() for way, axis in axes.items()}
        return to_values(made.request) | names | values

    return about | {"to_fields": asked, "to_values": shown, "not_linked": NAMES}


def _told(values: Values) -> Values:
    """Put compared prompts into an empty prompt: they bring the model that reads them."""
    for way in COMPARED:
        if values[way] == "prompt" and not str(values.get("prompt") or "").strip():
            return values | {"prompt": values[VALUES[way]]}
    return values


def suggested(request_type: type, name: str) -> str:
    """Suggest values that show the effect of a setting, as text; empty for no setting."""
    if name == NOTHING:
        return ""
    if name == "preset":
        presets = list_presets(tasks=PRESET_TASKS[request_type.task])
        return ", ".join(preset.name for preset in presets if preset.is_on_disk)
    return SUGGESTED.get(name) or ", ".join(comparable(request_type)[name].choices or ())


def connect(jobs: JobQueue, tab: Tab, comparing: Comparing) -> None:
    """Connect the button, which starts a comparison of the tab's settings, and its estimate."""

    def wanted(_: Visit, **values: Any) -> Comparison:
        values = _told(values)
        check_filled(tab.request_type, tab.inputs, values)
        return compared_by(make_request(tab.request_type, tab.to_fields(values)), values)

    def estimate(**values: Any) -> str:
        if any(values[way] and not values[VALUES[way]].strip() for way in COMPARED):
            return ""
        values = _told(values)
        request, wrong = request_of(tab, values)
        if request is None:
            return wrong
        try:
            comparison = compared_by(request, values)
            has_notes = not is_open(tab, values)
            return told(jobs.estimate(comparison), comparison.number, has_notes=has_notes)
        except (RequestError, MemoryBudgetError) as error:
            return refused(tab, error)
        except LDMError:
            return ""

    starts_run(jobs, tab.stage, comparing.go, wanted, tab.inputs)
    changes = [box.change for box in (*comparing.inputs.values(), tab.estimate)]
    gr.on(
        [comparing.fold.expand, *changes],
        estimate,
        None,
        comparing.estimate,
        inputs_kwargs=tab.inputs,
        trigger_mode="always_last",
        queue=False,
        **QUIET,
    )


def compared_by(request: Any, values: Values) -> Comparison:
    """Build the comparison of a request over the fields and values in a tab's widgets.

    Raises:
        RequestError: If the fields or values make no valid comparison.
    """
    words = [f"{values[way]}={values[VALUES[way]]}" if values[way] else "" for way in COMPARED]
    return said(request, *words)
