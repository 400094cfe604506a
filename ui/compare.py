"""Several values of one setting, or of two, side by side on a sheet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ldm.catalog.registry import list_presets
from ldm.comparison import Comparison, comparable, said
from ldm.jobs import JobQueue
from ldm.requests import MET_BY
from ui.controls import COMPARED, QUIET, check_filled, named
from ui.run import Visit, make_request
from ui.stage import Stage, starts_run
from ui.tab import Component, Values

TITLE = "Compare settings"
ABOUT = "One picture for each value, all with one seed, and a sheet of them."
GO = "Compare"
NOTHING = ""  # there are no rows
ACROSS, DOWN = COMPARED
SUGGESTED = {
    "steps": "5, 10, 20, 40",
    "guidance_scale": "1, 1.5, 3, 6",
    "eta": "0, 0.5, 1",
    "temperature": "0.8, 0.9, 1",
    "seed": "1, 2, 3, 4",
    "strength": "0.25, 0.5, 0.75, 1",
    "coarse": "0, 0.2, 0.4",
}
FIRST = {ACROSS: "steps", DOWN: NOTHING}


@dataclass(frozen=True)
class Comparing:
    """The fields that differ, their values as text, and the button."""

    names: Mapping[str, gr.Dropdown]  # by ACROSS and DOWN
    values: Mapping[str, gr.Textbox]
    go: gr.Button


def create(request_type: type) -> Comparing:
    """The widgets, closed at first."""
    task, names, values = request_type.task, {}, {}
    fields = [(about.label, name) for name, about in comparable(request_type).items()]
    with gr.Accordion(TITLE, open=False, **named(task, "comparing")):
        gr.HTML(f"<p>{ABOUT}</p>", padding=False, **named(task, "comparing-about"))
        for way, choices in ((ACROSS, fields), (DOWN, [("Nothing", NOTHING), *fields])):
            first = FIRST[way]
            with gr.Row(elem_classes="pair"):
                label = "From left to right" if way == ACROSS else "From top to bottom"
                names[way] = gr.Dropdown(
                    choices, value=first, label=label, min_width=100, elem_id=f"{task}-{way}"
                )
                values[way] = gr.Textbox(
                    SUGGESTED.get(first, ""),
                    label="Values",
                    placeholder="with commas, or |",
                    max_lines=1,
                    min_width=100,
                    elem_id=f"{task}-{way}-values",
                )
            names[way].input(
                lambda name: suggested(request_type, name), names[way], values[way], **QUIET
            )
        go = gr.Button(GO, size="sm", **named(task, "comparing-go"))
    return Comparing(names, values, go)


def suggested(request_type: type, name: str) -> str:
    """Values that show what a setting does."""
    if name == NOTHING:
        return ""
    if name == "preset":
        presets = list_presets(tasks=MET_BY[request_type.task])
        return ", ".join(preset.name for preset in presets if preset.is_on_disk)
    return SUGGESTED.get(name) or ", ".join(comparable(request_type)[name].choices or ())


def connect(
    jobs: JobQueue,
    stage: Stage,
    request_type: type,
    inputs: Mapping[str, Component],
    to_fields: Callable[[Values], Values],
    comparing: Comparing,
) -> None:
    """Let the button start a run of the tab's settings with those values."""

    def wanted(_: Visit, **values: Any) -> Comparison:
        about = {key: values.pop(key) for key in axes}
        check_filled(request_type, inputs, values)
        request = make_request(request_type, to_fields(values))
        names, typed = ([about[key] for key in keys] for keys in (comparing.names, of_values))
        words = [f"{n}={text}" if n else "" for n, text in zip(names, typed, strict=True)]
        return said(request, *words)

    of_values = {f"{way}_values": box for way, box in comparing.values.items()}
    axes = {**comparing.names, **of_values}
    starts_run(jobs, stage, comparing.go, wanted, {**inputs, **axes})
