"""The text-to-image tab."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import gradio as gr

from ldm.errors import LDMError
from ldm.jobs import JobQueue
from ldm.outputs import metadata
from ldm.outputs.titles import title_of
from ldm.requests import TextToImage
from ui import prompt
from ui.form import Form
from ui.prompt import PROMPTS
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


def received(path: Path, preset: str, prompt: str) -> Values:
    """Input values that start from a picture of another tab, at a size that suits the preset.

    The prompts are those it was made from. If there were none, the prompt is what it shows, if its
    file says so and there is no `prompt` yet.
    """
    return {"image": str(path)} | _words(path, prompt) | sides_like(path, find_preset(preset))


def _words(path: Path, prompt: str) -> Values:
    with suppress(LDMError):
        made = metadata.load(path).request
        if isinstance(made, TextToImage):
            return {name: getattr(made, name) for name in PROMPTS}
    title = title_of(path)
    return {"prompt": title} if title and not prompt.strip() else {}
