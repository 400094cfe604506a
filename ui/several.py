"""Several pictures of the history at once: to download, to make favourites of, to remove.

They are marked in the browser, see ui/several.js, which tells the server which ones as soon as
something is to be done with them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import gradio as gr

from ldm.history import Entry
from ui.controls import named
from ui.run import fail
from ui.words import entry_name

COUNT = "<p role='status' data-part='marked'></p>"
MARKED = "(_, ...others) => [latentCanvas.marked(), ...others]"  # puts them into the first input
CHANGED = "The pictures have changed meanwhile; choose them again."


@dataclass(frozen=True)
class Several:
    """The buttons for all marked pictures; the style sheet shows them while pictures are marked."""

    marked: gr.Textbox  # hidden: JSON of [index in the gallery, name] of each
    save: gr.Button
    star: gr.Button  # makes all of them favourites, or none if all are
    remove: gr.Button

    def of(self, marked: str, found: list[Entry]) -> list[Entry]:
        """Return the marked ones of the pictures that were found.

        Raises:
            gr.Error: If none is marked, or others have taken their places since.
        """
        names = dict(enumerate(map(entry_name, found)))
        try:
            chosen = dict(json.loads(marked or "[]"))
            if any(names[index] != name for index, name in chosen.items()):
                raise fail(CHANGED)
        except (ValueError, TypeError, LookupError) as error:
            raise fail(CHANGED) from error
        if not chosen:
            raise fail("No picture is chosen yet; click on some.")
        return [found[index] for index in chosen]


def create(task: str) -> Several:
    """Build the bar; without its JavaScript it is never seen."""
    about = {"size": "sm", "scale": 0, "min_width": 0}
    with gr.Row(**named(task, "several")):
        gr.HTML(COUNT, padding=False, **named(task, "several-count"))
        gr.Button("All shown", **about, **named(task, "several-all"))
        save = gr.Button("Download", **about, **named(task, "several-save"))
        star = gr.Button("☆ Favourites", **about, **named(task, "several-star"))
        remove = gr.Button("Remove", **about, **named(task, "several-remove"))
        gr.Button("Done", **about, **named(task, "several-done"))
        marked = gr.Textbox(visible="hidden", **named(task, "marked"))
    return Several(marked, save, star, remove)
