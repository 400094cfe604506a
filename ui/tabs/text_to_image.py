"""The text-to-image tab."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from ldm.jobs import JobQueue
from ldm.outputs.titles import title_of
from ldm.requests import TextToImage
from ui import prompt
from ui.form import Form
from ui.run import find_preset
from ui.start import sides_like
from ui.tab import Tab, Values

PLACEHOLDER = "a sailing boat on a quiet lake at dawn, high mountains"
HINT = "Describe a landscape and press Generate, or start from one of the pictures below."


def create(jobs: JobQueue) -> Tab:
    """Build the tab and connect it to the queue."""
    made = Form(TextToImage)
    with gr.Row(**made.named("studio")):
        with gr.Column(**made.named("left")):
            about = {"lines": 3, "max_lines": 8, "placeholder": PLACEHOLDER, "autofocus": True}
            words = prompt.add(made, beside="negative_prompt", **about)
            made.act()
            made.settings(sized=True)
            prompt.follow(made, words)
        with gr.Column(**made.named("right")):
            made.show(HINT)
    return made.tab(jobs, receive=received)


def received(path: Path, preset: str) -> Values:
    """Input values that start from a picture of another tab, at a size that suits the preset.

    The prompt is what the picture shows, if its file says so.
    """
    told = {"prompt": title} if (title := title_of(path)) else {}
    return {"image": str(path)} | told | sides_like(path, find_preset(preset))
