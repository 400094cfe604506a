"""The prompt of a tab, with the words that its model knows."""

from __future__ import annotations

import html
from dataclasses import asdict, dataclass
from typing import Any

import gradio as gr

from ldm.catalog.schema import Preset
from ui.controls import IN_ORDER, QUIET
from ui.form import Form
from ui.run import find_preset
from ui.tab import Values

PROMPTS = ("prompt", "negative_prompt")


def add(made: Form, *, beside: str = "", known: Preset | None = None, **options: Any) -> gr.HTML:
    """Add the prompt, without its help text, and the words that its model knows.

    Args:
        made: The tab.
        beside: Another request field to add under the prompt, such as the negative prompt.
        known: The preset whose words are shown; None: that of the tab.
        options: Of the prompt's text box.

    Returns:
        The words; `follow` lets them follow the preset, once that is there.
    """
    with gr.Column(**made.named("words")):
        made.add("prompt", info=None, **options)
        if beside:
            made.add(beside, max_lines=3, value="", info=None, placeholder="what to leave out")
        return gr.HTML(vocabulary(known or made.start), padding=False, **made.named("vocabulary"))


def follow(made: Form, words: gr.HTML, known: Preset | None = None) -> None:
    """Show the words of the chosen preset, or of `known` if that reads none."""

    def shown(name: str) -> str:
        preset = find_preset(name)
        return vocabulary(preset if known is None or preset.fills_by_words else known)

    made.inputs["preset"].change(shown, made.inputs["preset"], words, **QUIET)


@dataclass(frozen=True)
class Reader:
    """The model that takes the place of a tab's usual one as soon as there are words."""

    usual: Preset  # reads no words
    reads: Preset | None  # None: there is none on this machine

    @classmethod
    def of(cls, made: Form) -> Reader:
        """Choose among the presets of a tab that come with the program, trained for its task."""
        usual = (p for p in made.presets if p.task == made.task and p.is_on_disk and not p.is_own)
        reads = (preset for preset in usual if preset.fills_by_words)
        return cls(made.start, None if made.start.fills_by_words else next(reads, None))

    def suited(self, values: Values, *, back: bool = False) -> Values:
        """Return the values with the model that suits the words, and its own defaults.

        Any other model than the usual one is kept, and so are settings that were changed.

        Args:
            values: Of the prompts, the preset and any of the fields of its defaults.
            back: Whether to return to the usual model if there are no words any more.
        """
        is_told, name = _is_told(values), values["preset"]
        if self.reads is None:
            return values
        if is_told and name == self.usual.name:
            before, after = self.usual, self.reads
        elif back and not is_told and name == self.reads.name:
            before, after = self.reads, self.usual
        else:
            return values
        old, new = asdict(before.defaults), asdict(after.defaults)
        changed = {n: new[n] for n in old if n in values and values[n] == old[n]}
        return values | changed | {"preset": after.name}


def _is_told(values: Values) -> bool:
    return any(str(values.get(name) or "").strip() for name in PROMPTS)


def choose_by_words(made: Form, reader: Reader) -> None:
    """Choose the model that suits the words when they are written.

    The usual one comes back when they are taken away, if it was they that brought the other: from
    then on the model counts as not chosen by hand, also after a reload.
    """
    names = [*PROMPTS, "preset", *asdict(made.start.defaults)]
    names = [name for name in names if name in made.inputs]

    def choose(by_hand: bool, *given: Any) -> list[Any]:
        values = dict(zip(names, given, strict=True))
        suited = reader.suited(values, back=not by_hand)
        changes = [gr.skip() if suited[n] == values[n] else suited[n] for n in names]
        return [by_hand and suited is values, *changes[len(PROMPTS) :]]

    boxes = [made.inputs[name] for name in names]
    outputs = [made.by_hand, *boxes[len(PROMPTS) :]]
    left = [box.blur for box in boxes[: len(PROMPTS)]]
    event = gr.on(left, choose, [made.by_hand, *boxes], outputs, **IN_ORDER, **QUIET)
    js = f"(hand) => latentCanvas.suited({made.task!r}, hand)"
    for follow in (event.success, event.failure):  # Generate waits for it, see ui/row.js
        follow(None, made.by_hand, None, js=js, **QUIET)


def vocabulary(preset: Preset) -> str:
    """The words that a preset's model was trained on as HTML, see ui/vocabulary.js; may be ""."""
    if not preset.words:
        return ""
    groups = ""
    for title, words in preset.word_groups:
        buttons = (f'<button type="button">{html.escape(word)}</button>' for word in words)
        groups += f"<dt>{html.escape(title)}</dt><dd>{''.join(buttons)}</dd>"
    return f"<details><summary>Words that it knows</summary><dl>{groups}</dl></details>"
