"""The prompt of a tab, with the words that its model knows."""

from __future__ import annotations

import html
from typing import Any

import gradio as gr

from ldm.catalog.schema import Preset
from ui.controls import QUIET
from ui.form import Form
from ui.run import find_preset


def add(made: Form, *, beside: str = "", **options: Any) -> gr.HTML:
    """Add the prompt, without its help text, and the words that the chosen preset's model knows.

    Args:
        made: The tab.
        beside: Another request field to add under the prompt, such as the negative prompt.
        options: Of the prompt's text box.

    Returns:
        The words; `follow` lets them follow the preset, once that is there.
    """
    with gr.Column(**made.named("words")):
        made.add("prompt", info=None, **options)
        if beside:
            made.add(beside, max_lines=3, value="", info=None, placeholder="what to leave out")
        return gr.HTML(vocabulary(made.start), padding=False, **made.named("vocabulary"))


def follow(made: Form, words: gr.HTML) -> None:
    """Show the words of the preset that is chosen."""
    preset = made.inputs["preset"]
    preset.change(lambda name: vocabulary(find_preset(name)), preset, words, **QUIET)


def vocabulary(preset: Preset) -> str:
    """The words that a preset's model was trained on as HTML, see ui/vocabulary.js; may be ""."""
    if not preset.words:
        return ""
    groups = ""
    for title, words in preset.word_groups:
        buttons = (f'<button type="button">{html.escape(word)}</button>' for word in words)
        groups += f"<dt>{html.escape(title)}</dt><dd>{''.join(buttons)}</dd>"
    return f"<details><summary>Words that it knows</summary><dl>{groups}</dl></details>"
