"""The text-to-image tab."""

from __future__ import annotations

import gradio as gr

from ldm.jobs import JobQueue
from ldm.requests import TextToImage
from ui import form, stage
from ui.form import Form, Tab

PLACEHOLDER = "a sailing boat on a quiet lake at dawn, high mountains"
HINT = "Describe a landscape and press Generate, or start from one of the pictures below."


def create(jobs: JobQueue) -> Tab:
    """Build the tab and connect it to the queue."""
    made = Form(TextToImage)
    with gr.Row(**made.named("studio")):
        with gr.Column(**made.named("left")):
            with gr.Column(**made.named("words")):
                made.add(
                    "prompt",
                    lines=3,
                    max_lines=8,
                    info=None,
                    placeholder=PLACEHOLDER,
                    autofocus=True,
                )
                made.add(
                    "negative_prompt",
                    max_lines=3,
                    value="",
                    info=None,
                    placeholder="what to leave out",
                )
            go, stop = made.act()
            made.model(sized=True)
            _, reuse = made.seed_and_count()
            made.sampling()
            restore, link = made.tools()
        with gr.Column(**made.named("right")):
            place = stage.create(made.task, go, stop, hint=HINT)
            examples = form.examples(made.task)
    tab = Tab(TextToImage, made.inputs, place, restore, link, made.estimate, examples)
    stage.connect(jobs, place, TextToImage, tab.inputs)
    form.connect(tab, reuse)
    return tab
