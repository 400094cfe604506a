"""How the page looks: one accent, quiet neutrals, local fonts; light and dark."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

FONTS = ("Inter", "system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "monospace")
HERE = Path(__file__).parent

# Gradio confines the style sheet to the page's contents; the frame around them is reached from here
FRAME = """
<style>@media (max-width: 820px) {
  .gradio-container .main.fillable { padding: 0 !important; }
  .gradio-container .main.fillable > .wrap { padding: 0 14px !important; }
}</style>
"""
HEADER = """
<header class="masthead">
  <svg viewBox="0 0 48 48" width="40" height="40" aria-hidden="true">
    <rect width="48" height="48" rx="11" fill="#1f3a5f"/>
    <circle cx="33" cy="16" r="6" fill="#f6b25c"/>
    <path d="M4 40 18 17l9 14 5-7 12 16v1a7 7 0 0 1-7 7H11a7 7 0 0 1-7-7z" fill="#6f8fb3"/>
    <path d="M4 40 18 17l4.500 7L12 36l4 12h-5a7 7 0 0 1-7-7z" fill="#a9c0d6"/>
    <path d="M0 38c12-5 30-6 48 0v0a10 10 0 0 1-10 10H10A10 10 0 0 1 0 38z" fill="#2f6b5e"/>
  </svg>
  <div><h1>Latent Canvas</h1><p>A studio for latent diffusion models</p></div>
</header>
"""


def theme() -> gr.Theme:
    """The Gradio theme under the style sheet."""
    base = gr.themes.Base(
        primary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.slate,
        font=list(FONTS),
        font_mono=list(MONO),
        radius_size=gr.themes.sizes.radius_md,
        spacing_size=gr.themes.sizes.spacing_md,
        text_size=gr.themes.sizes.text_md,
    )
    return base.set(
        body_background_fill="#f6f7f5",
        body_background_fill_dark="#10161d",
        block_background_fill="#ffffff",
        block_background_fill_dark="#18212b",
        block_border_width="1px",
        block_border_color="#e2e6e4",
        block_border_color_dark="#26323f",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_title_text_weight="600",
        input_border_width="1px",
        input_border_color="#d9dfdc",
        input_border_color_dark="#2c3a48",
        block_title_text_color="#3d4a55",
        block_title_text_color_dark="#b9c4ce",
        button_secondary_background_fill="#eef1ef",
        button_secondary_background_fill_dark="#223040",
        input_background_fill="#fbfcfb",
        input_background_fill_dark="#121a22",
        button_primary_background_fill="#1f6f63",
        button_primary_background_fill_hover="#185a50",
        button_primary_background_fill_dark="#2b8a7b",
        button_primary_text_color="#ffffff",
        slider_color="#1f6f63",
        slider_color_dark="#3aa593",
        shadow_drop="none",
    )


def css() -> str:
    """The style sheet."""
    return (HERE / "style.css").read_text("utf-8")


def head() -> str:
    """The page's own script and frame."""
    return FRAME + f"<script>{(HERE / 'page.js').read_text('utf-8')}</script>"
