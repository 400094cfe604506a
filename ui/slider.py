"""A picture before and after, laid on each other, with a bar between them to drag or to move."""

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
    """Two pictures of one shape, and what each is called."""

    before: Image.Image | str  # a picture, or the path of one
    after: str  # its path; it can be downloaded
    names: tuple[str, str] = ("Before", "After")


class BeforeAfter(gr.HTML):
    """Shows a `Pair`, or nothing while it is None."""

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
        """A pair as the browser takes it."""
        if value is None:
            return None
        before = value.before
        if isinstance(before, Image.Image):
            before = save_pil_to_cache(before, self.GRADIO_CACHE, format="png")
        files = {"before": before, "after": value.after}
        return {"names": list(value.names)} | {
            name: {"path": path, "orig_name": Path(path).name, "meta": FILE}
            for name, path in files.items()
        }

    def api_info(self) -> dict[str, Any]:
        """What a program would get."""
        return {"type": "object"}

    def example_payload(self) -> None:
        """Nothing: it is never sent."""

    def example_value(self) -> None:
        """Nothing, likewise."""
