"""What a request will take on this machine, told beside the button before it is pressed."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from ldm.errors import LDMError
from ldm.events import Estimate
from ldm.jobs import JobQueue
from ldm.requests import controls
from ui.controls import QUIET
from ui.run import make_request
from ui.tab import Tab, Values

GIB = 2**30
WHOLE = "whole"  # a plan that needs no words
# what decides it, beside what is advanced: how large, how often, how many
DECISIVE = (
    *("preset", "width", "height", "steps", "sampler", "guidance_scale", "count", "passes"),
    *("image", "strength"),
)
# task -> the input that says how large
SIZED_BY = {"inpaint": "painting", "semantic": "label_map"}
WAIT = 30.0  # seconds at most for a model to be loaded and measured
ANY = "any"  # stands for a prompt that was not written yet
Trigger = Callable[..., Any]


def connect(jobs: JobQueue, tab: Tab, opened: Sequence[Trigger]) -> None:
    """Keep the tab's estimate true while its settings change, from when it is opened."""
    advanced = [name for name, about in controls(tab.request_type).items() if about.advanced]
    names = dict.fromkeys((*DECISIVE, *advanced, SIZED_BY.get(tab.task)))  # each once
    boxes = [tab.inputs[name] for name in names if name in tab.inputs]
    boxes.append(tab.stage.plate)  # after a run more is known
    triggers: list[Trigger] = [*opened, *(box.change for box in boxes)]

    def estimate(**values: Any) -> str:
        try:
            request = make_request(tab.request_type, writable(tab.to_fields(values)))
            return told(jobs.estimate(request, wait=WAIT))
        except (LDMError, gr.Error):  # said when it is asked for, not while it is being written
            return ""

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


def writable(fields: Values) -> Values:
    """A request's fields with a prompt, even if none was written yet: all take the same."""
    written = str(fields.get("prompt", ANY) or "").strip()
    return fields if written else fields | {"prompt": ANY}


def told(estimate: Estimate | None, pictures: int = 1) -> str:
    """An estimate of so many pictures as HTML; nothing while nothing is known."""
    if estimate is None or estimate.seconds is None:
        return ""
    about = f"{pictures} pictures, " if pictures > 1 else ""
    about += f"about {duration(estimate.seconds)}, {memory(estimate.memory_bytes)} of memory"
    plan = "" if estimate.plan.startswith(WHOLE) else f" · {estimate.plan}"
    return f"<p>{html.escape(about + plan)}</p>"


def duration(seconds: float) -> str:
    """Seconds in words a person would use."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def memory(count: int) -> str:
    """Bytes likewise."""
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / 2**20:.0f} MiB"
