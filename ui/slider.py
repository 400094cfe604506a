"""Before/after comparison: two overlaid pictures with a divider to drag."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.processing_utils import save_pil_to_cache
from PIL import Image

from ui import scripts

HERE = Path(__file__).parent
FILE = {"_type": "gradio.FileData"}


@dataclass(frozen=True, eq=False)
class Pair:
    """Two pictures of the same aspect ratio, with their captions."""

    before: Image.Image | str  # an image, or its path
    after: str  # path of the picture, which can be downloaded
    names: tuple[str, str] = ("Before", "After")
    at: int = 50  # where the divider stands at first, in percent of the width


class BeforeAfter(gr.HTML):
    """Component that shows a `Pair`, or nothing if its value is None."""

    def __init__(self, value: Pair | None = None, **options: Any) -> None:
        super().__init__(
            value,
            html_template="<div class='laid'></div>",
            css_template=(HERE / "slider.css").read_text("utf-8"),
            js_on_load=scripts.start("slider"),
            apply_default_css=False,
            padding=False,
            **options,
        )

    def postprocess(self, value: Pair | None) -> dict[str, Any] | None:
        """Convert a pair to JSON for the browser."""
        if value is None:
            return None
        before = value.before
        if isinstance(before, Image.Image):
            before = save_pil_to_cache(before, self.GRADIO_CACHE, format="png")
        files = {"before": before, "after": value.after}
        return {"names": list(value.names), "at": value.at} | {
            name: {"path": path, "orig_name": Path(path).name, "meta": FILE}
            for name, path in files.items()
        }

    def api_info(self) -> dict[str, Any]:
        """JSON schema of the value."""
        return {"type": "object"}

    def example_payload(self) -> None:
        """None: the component is only an output."""

    def example_value(self) -> None:
        """None: the component is only an output."""
