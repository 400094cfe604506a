"""Small pictures side by side, to choose from; and the row of what a visit has made."""

from __future__ import annotations

import html
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr
from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder

from ui.controls import named
from ui.run import Visit


class Strip(gr.Gallery):
    """A gallery that no endpoint gives or takes, so the page does not carry its long schema."""

    is_template = True  # to the browser it is a gallery

    @property
    def skip_api(self) -> bool:
        """Left out of what programs are told."""
        return True


def strip_of_pictures(
    pictures: Sequence[Any] | None = None,
    *,
    label: str,
    elem_id: str,
    elem_classes: str,
    **options: Any,
) -> gr.Gallery:
    """A gallery without a frame and without a preview of its own: a click chooses.

    Args:
        pictures: As `gr.Gallery` takes them.
        label: For those who hear it.
        elem_id: Its id.
        elem_classes: What it is called in the style sheet.
        options: Passed on to `gr.Gallery`.
    """
    about = {
        "label": label,
        "show_label": False,
        "height": "auto",
        "object_fit": "cover",
        "allow_preview": False,
        "buttons": [],
        "interactive": False,
    }
    classes = [elem_classes, "strip-of-pictures"]
    return Strip(pictures, elem_id=elem_id, elem_classes=classes, **(about | options))


@dataclass(frozen=True)
class Row:
    """A visit's pictures, and what can be done with them."""

    gallery: gr.Gallery
    gone: gr.HTML  # the names of what was removed, for the browser to keep
    back: gr.Button  # puts back what was removed last
    save: gr.Button  # all of them, as one file
    archive: gr.DownloadButton  # that file, never seen
    remove: gr.Button  # the one on show

    @property
    def changed(self) -> list[gr.components.Component]:
        """What shows the pictures."""
        return [self.gallery, self.gone, self.back, self.save]

    def show(self, visit: Visit) -> dict[gr.components.Component, Any]:
        """A visit's pictures; each is called by what it shows."""
        pictures = [(p.path, f"{p.title}, {p.settings}") for p in visit.pictures]
        removed = [Path(picture.path).name for _, picture in visit.removed]
        back = f"Put back what was removed ({len(removed)})"
        return {
            self.gallery: gr.Gallery(pictures, visible=bool(pictures)),
            self.gone: f"<i data-removed='{html.escape(json.dumps(removed))}'></i>",
            self.back: gr.Button(back, visible=bool(removed)),
            self.save: gr.Button("Download all", visible=len(pictures) > 1),
        }


def row_of_pictures(task: str) -> Row:
    """The row of a task's tab, empty at first."""
    label = "Pictures of this visit"
    gallery = strip_of_pictures(label=label, visible=False, **named(task, "results"))
    with gr.Row(**named(task, "row-tools")):
        gone = gr.HTML(padding=False, **named(task, "gone"))
        remove = gr.Button("Remove this one", size="sm", scale=0, **named(task, "remove"))
        about = {"size": "sm", "scale": 0, "visible": False}
        back = gr.Button("Put back what was removed", **about, **named(task, "back"))
        save = gr.Button("Download all", **about, **named(task, "save"))
        archive = gr.DownloadButton(visible="hidden", **named(task, "archive"))
    return Row(gallery, gone, back, save, archive, remove)


def zipped(visit: Visit) -> str:
    """One file of all of a visit's pictures, as they are: a PNG does not get smaller."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "latent-canvas.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for picture in (Path(picture.path) for picture in visit.pictures):
                if picture.exists():
                    archive.write(picture, picture.name)
        return save_file_to_cache(path, get_upload_folder())
