"""The text-to-image tab."""

from __future__ import annotations

import html
from pathlib import Path

import gradio as gr

from ldm.catalog.schema import Preset
from ldm.jobs import JobQueue
from ldm.requests import TextToImage
from ldm.titles import title_of
from ui.controls import QUIET
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
                words = gr.HTML(vocabulary(made.start), padding=False, **made.named("vocabulary"))
            made.act()
            made.settings(sized=True)
            made.inputs["preset"].change(
                lambda name: vocabulary(find_preset(name)), made.inputs["preset"], words, **QUIET
            )
        with gr.Column(**made.named("right")):
            made.show(HINT)
    return made.tab(jobs, receive=received)


def vocabulary(preset: Preset) -> str:
    """The words that a preset's model was trained on as HTML, see ui/vocabulary.js; may be ""."""
    if not preset.words:
        return ""
    groups = ""
    for title, words in preset.word_groups:
        buttons = (f'<button type="button">{html.escape(word)}</button>' for word in words)
        groups += f"<dt>{html.escape(title)}</dt><dd>{''.join(buttons)}</dd>"
    return f"<details><summary>Words that it knows</summary><dl>{groups}</dl></details>"


def received(path: Path, preset: str) -> Values:
    """Input values that start from a picture of another tab, at a size that suits the preset.

    The prompt is what the picture shows, if its file says so.
    """
    prompt = {"prompt": title} if (title := title_of(path)) else {}
    return {"image": str(path)} | prompt | sides_like(path, find_preset(preset))
