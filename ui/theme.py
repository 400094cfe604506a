"""Appearance of the page: Gradio theme in light and dark, bundled fonts, style sheet, scripts."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
from gradio.themes.utils.fonts import LocalFont

from ui import scripts

HERE = Path(__file__).parent
MARK = HERE / "mark.svg"

# Bundled with Gradio, so nothing is fetched. Bold, not the usual semibold: that file of Gradio's
# has no letters except a and b.
PLEX = LocalFont("IBM Plex Sans", weights=(400, 700))
FONTS = (PLEX, "system-ui", "-apple-system", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "monospace")

# Gradio variable -> (light, dark); style.css repeats these colours as variables of its own
COLOURS = {
    "body_background_fill": ("#f6f4ee", "#0e1516"),
    "body_text_color": ("#1b2a2d", "#e6ebe8"),
    "body_text_color_subdued": ("#5b6a69", "#93a3a0"),
    "background_fill_primary": ("#fffefb", "#151f20"),
    "background_fill_secondary": ("#f6f4ee", "#0e1516"),
    "block_background_fill": ("#fffefb", "#151f20"),
    "block_border_color": ("#e4e1d7", "#243133"),
    "border_color_primary": ("#e4e1d7", "#243133"),
    "block_title_text_color": ("#36484a", "#c3cecb"),
    "block_info_text_color": ("#5b6a69", "#93a3a0"),
    "input_background_fill": ("#ffffff", "#0f1819"),
    "input_background_fill_focus": ("#ffffff", "#0f1819"),
    "input_border_color": ("#858f8c", "#657674"),
    "input_border_color_focus": ("#1f6b5c", "#5dbfa6"),
    "input_placeholder_color": ("#697675", "#7b8c8a"),
    "checkbox_border_color": ("#858f8c", "#657674"),
    "checkbox_background_color_selected": ("#1f6b5c", "#2a7d6c"),
    "checkbox_border_color_selected": ("#1f6b5c", "#5dbfa6"),
    "checkbox_border_color_focus": ("#1f6b5c", "#5dbfa6"),
    "color_accent_soft": ("#e3eeea", "#18302c"),
    "border_color_accent": ("#1f6b5c", "#5dbfa6"),
    "slider_color": ("#1f6b5c", "#5dbfa6"),
    "loader_color": ("#1f6b5c", "#5dbfa6"),
    "link_text_color": ("#1f6b5c", "#5dbfa6"),
    "button_primary_background_fill": ("#1f6b5c", "#2a7d6c"),
    "button_primary_background_fill_hover": ("#18574b", "#338d7b"),
    "button_primary_border_color": ("transparent", "transparent"),
    "button_primary_border_color_hover": ("transparent", "transparent"),
    "button_primary_text_color": ("#ffffff", "#ffffff"),
    "button_secondary_background_fill": ("transparent", "transparent"),
    "button_secondary_background_fill_hover": ("#efece3", "#1c2829"),
    "button_secondary_border_color": ("#d6d3c7", "#2e3d3f"),
    "button_secondary_text_color": ("#36484a", "#c3cecb"),
    "error_background_fill": ("#fdf3ee", "#2a1b17"),
}
SHAPES = {
    "block_border_width": "1px",
    "block_radius": "12px",
    "block_shadow": "none",
    "block_label_background_fill": "transparent",
    "block_title_text_weight": "600",
    "block_title_text_size": "13px",
    "block_info_text_size": "12px",
    "input_border_width": "1px",
    "input_radius": "8px",
    "input_shadow": "none",
    "input_shadow_focus": "none",
    "button_large_radius": "10px",
    "button_small_radius": "8px",
    "button_primary_shadow": "none",
    "button_secondary_shadow": "none",
    "shadow_drop": "none",
}


def theme() -> gr.Theme:
    """The Gradio theme that the style sheet refines."""
    values = dict(SHAPES)
    for name, (light, dark) in COLOURS.items():
        values |= {name: light, f"{name}_dark": dark}
    base = gr.themes.Base(font=list(FONTS), font_mono=list(MONO))
    return base.set(**values)


def css() -> str:
    """The style sheet."""
    return _read("style.css")


def head() -> str:
    """HTML for the head: the page's scripts, and styles for what Gradio draws outside the page."""
    names = ("page", "drop", "undo", "row", "estimate", "names")
    page = "\n".join(_read(f"{name}.js") for name in names)
    alone = ("zoom.js", "vocabulary.js", "several.js", "keys.js", "focus.js")
    modules = (_read(name) for name in alone)
    return (
        f"<style>{_read('frame.css')}</style><script>{page}\n{scripts.all_components()}</script>"
        + "".join(f'<script type="module">{module}</script>' for module in modules)
        + '<meta name="color-scheme" content="light dark">'
    )


def first_script() -> str:
    """JavaScript that must run before Gradio's own."""
    return _read("gradio.js")


def _read(name: str) -> str:
    return (HERE / name).read_text("utf-8")


def header() -> str:
    """HTML of the logo, the title and the light/dark switch."""
    mark = MARK.read_text("utf-8").replace(
        "<svg ", '<svg width="34" height="34" aria-hidden="true" '
    )
    return (
        f'<header class="masthead">{mark}<h1>Latent Canvas</h1>'
        '<button type="button" class="shade" data-shade aria-label="Switch between light and dark" '
        'title="Light or dark"></button></header>'
    )
