"""Time and memory estimate of a request, shown beside the button before a run is started."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from ldm.errors import LDMError, MemoryBudgetError, RequestError
from ldm.events import Estimate
from ldm.jobs import JobQueue
from ldm.requests import controls
from ui.controls import QUIET
from ui.run import in_words, make_request
from ui.tab import Tab, Values
from ui.words import duration, memory

WHOLE = "whole"  # start of the plan text of an untiled canvas, which is not shown
# inputs that affect the estimate, besides the advanced fields
DECISIVE = (
    *("preset", "width", "height", "steps", "sampler", "guidance_scale", "count", "passes"),
    *("image", "strength", "inversion"),
)
# task -> the input that determines the canvas size
SIZED_BY = {"inpaint": "painting", "semantic": "label_map"}
WAIT = 30.0  # maximum seconds to wait until a model is loaded and measured
ANY = "any"  # stands in for a prompt that is still empty
Trigger = Callable[..., Any]


def connect(jobs: JobQueue, tab: Tab, opened: Sequence[Trigger]) -> None:
    """Update the tab's estimate when it is opened and whenever its settings change."""
    advanced = [name for name, about in controls(tab.request_type).items() if about.advanced]
    names = dict.fromkeys((*DECISIVE, *advanced, SIZED_BY.get(tab.task)))  # without duplicates
    boxes = [tab.inputs[name] for name in names if name in tab.inputs]
    boxes.append(tab.stage.plate)  # a finished run improves the estimate
    triggers: list[Trigger] = [*opened, *(box.change for box in boxes)]
    if "prompt" in tab.inputs:  # for the words that its model does not know
        triggers.append(tab.inputs["prompt"].blur)

    def estimate(**values: Any) -> str:
        fields = values
        try:
            fields = tab.to_fields(values)
            request = make_request(tab.request_type, writable(fields))
            found = jobs.estimate(request, wait=WAIT)
            is_written = writable(fields) is fields
            return told(found if is_written or found is None else replace(found, notes=()))
        except (LDMError, gr.Error) as error:
            return refused(tab, fields, error)

    gr.on(
        triggers,
        estimate,
        None,
        tab.estimate,
        inputs_kwargs=tab.inputs,
        trigger_mode="always_last",
        queue=False,
        **QUIET,
    )


def refused(tab: Tab, fields: Values, error: Exception) -> str:
    """Why a request cannot be run, as HTML; empty if it is not complete yet.

    What is still missing is told on submit, and by the page if it is the model.
    """
    message = str(error)
    value = fields.get(message.partition(" ")[0], message)
    is_missing = value is None or (isinstance(value, str) and not value.strip())
    if is_missing or not isinstance(error, (RequestError, MemoryBudgetError)):
        return ""
    words = in_words(tab.stage.reword(message), tab.stage.labels)
    return f'<p class="refused">{html.escape(words)}</p>'


def writable(fields: Values) -> Values:
    """Replace an empty prompt, which a request would refuse; the estimate is the same for all."""
    written = str(fields.get("prompt", ANY) or "").strip()
    return fields if written else fields | {"prompt": ANY}


def told(estimate: Estimate | None, pictures: int = 1) -> str:
    """An estimate for `pictures` pictures as HTML; empty if the time is not known yet."""
    if estimate is None or estimate.seconds is None:
        return ""
    about = f"{pictures} pictures, " if pictures > 1 else ""
    about += f"about {duration(estimate.seconds)}, {memory(estimate.memory_bytes)} of memory"
    plan = "" if estimate.plan.startswith(WHOLE) else f" · {estimate.plan}"
    return "".join(f"<p>{html.escape(words)}</p>" for words in (about + plan, *estimate.notes))
