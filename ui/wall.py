"""The picture area of a tab, and the buttons that act on its picture."""

from __future__ import annotations

import html

import gradio as gr

from ui.controls import named

# task of a tab that accepts a picture -> verb on its button
TARGETS = {"inpaint": "Inpaint", "upscale": "Upscale", "text-to-image": "Redraw"}
EMPTY = """
<div class="empty-canvas"><h2>The picture comes here</h2>
<p>{hint}</p></div>
"""
ZOOM_BAR = """
<div class="zoom-bar" role="toolbar" aria-label="Zoom">
<button type="button" data-zoom="out" aria-label="Zoom out" title="Zoom out (-)">−</button>
<button type="button" data-zoom="fit" title="All of the picture (0)">Fit</button>
<button type="button" data-zoom="actual" title="Its own size (1)">100 %</button>
<button type="button" data-zoom="in" aria-label="Zoom in" title="Zoom in (+)">+</button>
<span data-part="share" title="100 %: a pixel of the picture takes one of the screen"></span></div>
"""


def wall(task: str, hint: str) -> gr.Image:
    """Build a tab's picture area; `hint` is shown while it is empty."""
    with gr.Column(**named(task, "wall")):
        picture = gr.Image(
            type="filepath",
            format="jpeg",  # for previews; finished pictures are passed as files
            interactive=False,
            show_label=False,
            buttons=["download"],
            **named(task, "picture"),
        )
        gr.HTML(ZOOM_BAR, padding=False, **named(task, "zoom"))
        gr.HTML(EMPTY.format(hint=html.escape(hint)), padding=False, **named(task, "empty"))
    return picture


def look_closer(task: str) -> None:
    """Add the button that opens the picture in a dialog with zoom, see ui/zoom.js."""
    gr.Button("Look closer", size="sm", scale=0, **named(task, "closer"))


def send_buttons(task: str) -> dict[str, gr.Button]:
    """Add the buttons that send the picture to another tab, keyed by that tab's task."""
    return {
        target: gr.Button(f"{name} it", size="sm", scale=0, **named(task, f"to-{target}"))
        for target, name in TARGETS.items()
    }
