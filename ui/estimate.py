"""Time and memory estimate of a request, shown beside the button before a run is started."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from typing import Any

import gradio as gr

from ldm.errors import LDMError, MemoryBudgetError, RequestError
from ldm.events import Estimate
from ldm.jobs import JobQueue
from ldm.requests import controls
from ui.controls import QUIET, check_filled
from ui.run import in_words
from ui.tab import Tab, Values
from ui.values import make_request
from ui.words import duration, memory

WHOLE = "whole"  # start of the plan text of an untiled canvas, which is not shown
# inputs that affect what is told, besides the advanced fields
DECISIVE = (
    *("preset", "width", "height", "steps", "sampler", "guidance_scale", "count", "passes"),
    # these take no time, but may be wrong
    *("seed", "mask_grow", "mask_feather"),
    *("outpaint_left", "outpaint_top", "outpaint_right", "outpaint_bottom"),
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
        request, wrong = request_of(tab, values)
        if request is None:
            return wrong
        try:
            found = jobs.estimate(request, wait=WAIT)
        except (RequestError, MemoryBudgetError) as error:
            return refused(tab, error)
        except LDMError:  # of the model; the page says elsewhere that it is missing
            return ""
        return told(found, has_notes=not is_open(tab, values))

    made = gr.on(
        triggers,
        estimate,
        None,
        tab.estimate,
        inputs_kwargs=tab.inputs,
        trigger_mode="always_last",
        queue=False,
        js=f"(...values) => latentCanvas.estimating({tab.task!r}, values)",
        **QUIET,
    )
    made.then(None, None, None, js=f"() => latentCanvas.estimated({tab.task!r})", **QUIET)


def request_of(tab: Tab, values: Values) -> tuple[Any, str]:
    """Return the request of a tab's values and "", or None and what is wrong with them as HTML.

    What is only missing, such as a picture, is told on submit.
    """
    try:
        given = tab.to_fields(values)
    except (LDMError, gr.Error):  # nothing is loaded or painted yet
        return None, ""
    try:
        check_filled(tab.request_type, tab.inputs, values)
    except RequestError as error:
        return None, refused(tab, error)
    try:
        return make_request(tab.request_type, writable(tab, given)), ""
    except (LDMError, gr.Error) as error:
        value = given.get(str(error).partition(" ")[0])
        is_there = value is not None and str(value).strip() != ""
        return None, refused(tab, error) if is_there else ""


def refused(tab: Tab, error: Exception) -> str:
    """Why a request cannot be run, as HTML that says which field is at fault."""
    words = in_words(tab.stage.reword(str(error)), tab.stage.labels)
    field = html.escape(str(error).partition(" ")[0])
    return f'<p class="refused" role="alert" data-field="{field}">{html.escape(words)}</p>'


def writable(tab: Tab, values: Values) -> Values:
    """Replace an empty prompt, which a request would refuse; the estimate is the same for all."""
    return values | {"prompt": ANY} if is_open(tab, values) else values


def is_open(tab: Tab, values: Values) -> bool:
    """Whether a prompt that has to be written is still empty."""
    needed = any(f.name == "prompt" and f.default is MISSING for f in fields(tab.request_type))
    return needed and not str(values["prompt"] or "").strip()


def told(estimate: Estimate | None, pictures: int = 1, *, has_notes: bool = True) -> str:
    """An estimate for `pictures` pictures as HTML; empty if the time is not known yet.

    `has_notes`: whether what it says of the words is true of what was asked for.
    """
    if estimate is None or estimate.seconds is None:
        return ""
    about = f"{pictures} pictures, " if pictures > 1 else ""
    about += f"about {duration(estimate.seconds)}, {memory(estimate.memory_bytes)} of memory"
    notes = estimate.notes if has_notes else ()
    plan = "" if estimate.plan.startswith(WHOLE) else f" · {estimate.plan}"
    warnings = (f'<p class="unknown" role="status">{html.escape(note)}</p>' for note in notes)
    return "".join((f"<p>{html.escape(about + plan)}</p>", *warnings))
