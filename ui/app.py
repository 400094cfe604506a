"""The page: tabs in order, then what connects them."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ldm.jobs import JobQueue
from ui import theme
from ui.tabs import text_to_image

TITLE = "Latent Canvas"
CACHE_SECONDS = (3600, 86400)  # how often previews are swept, and how old they may get


def build(jobs: JobQueue) -> gr.Blocks:
    """The whole page, connected to the queue."""
    with gr.Blocks(
        title=TITLE, delete_cache=CACHE_SECONDS, analytics_enabled=False, fill_width=True
    ) as page:
        gr.HTML(theme.header(), elem_id="masthead", padding=False)
        with gr.Tabs(elem_id="tabs"), gr.Tab("Text to image", id="text-to-image"):
            tab = text_to_image.create(jobs)
        text_to_image.on_load(page, jobs, tab)
    return page


def launch_options() -> dict[str, Any]:
    """What `launch` needs besides host and port: looks, and nothing sent anywhere."""
    return {
        "theme": theme.theme(),
        "css": theme.css(),
        "head": theme.head(),
        "favicon_path": str(theme.MARK),
        "footer_links": ["api"],
        "run_history": False,
        "ssr_mode": False,
        "show_error": False,
        "max_file_size": "40mb",
        "quiet": True,
    }
