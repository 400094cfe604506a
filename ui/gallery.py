"""Galleries of thumbnails, and the row of pictures that a visit has made."""

from __future__ import annotations

import html
import json
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr
from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder

from ui.controls import QUIET, named
from ui.run import Visit, fail
from ui.words import picture_name

MAX_ARCHIVE = 2 * 2**30  # bytes of pictures that are downloaded at once


class Strip(gr.Gallery):
    """A gallery that is left out of the API, which keeps its long schema off the page."""

    is_template = True  # the browser uses the code of gr.Gallery

    @property
    def skip_api(self) -> bool:
        """True: exclude the component from the API."""
        return True


def strip_of_pictures(
    pictures: Sequence[Any] | None = None,
    *,
    label: str,
    elem_id: str,
    elem_classes: str,
    **options: Any,
) -> gr.Gallery:
    """Build a frameless gallery without a preview of its own: a click selects a picture.

    Args:
        pictures: As `gr.Gallery` takes them.
        label: Name for screen readers; it is not shown.
        elem_id: Element id.
        elem_classes: CSS class.
        options: Passed on to `gr.Gallery`.
    """
    about = {
        "label": label,
        "show_label": False,
        "height": "auto",
        "object_fit": "contain",
        "allow_preview": False,
        "buttons": [],
        "interactive": False,
    }
    classes = [elem_classes, "strip-of-pictures"]
    return Strip(pictures, elem_id=elem_id, elem_classes=classes, **(about | options))


@dataclass(frozen=True)
class Row:
    """The gallery of a visit's pictures and its buttons."""

    gallery: gr.Gallery
    gone: gr.HTML  # names of files that were made and removed, for the browser to remember
    back: gr.Button  # puts back the picture that was removed last
    save: gr.Button  # packs all pictures into one file
    archive: gr.DownloadButton  # hidden: downloads that file
    remove: gr.Button  # removes the shown picture

    @property
    def changed(self) -> list[gr.components.Component]:
        """The components that depend on the visit's pictures."""
        return [self.gallery, self.gone, self.back, self.save]

    def show(self, visit: Visit) -> dict[gr.components.Component, Any]:
        """Updates that show a visit's pictures, each captioned with title and settings."""
        pictures = [(p.path, picture_name(p, is_sheet=p.is_sheet)) for p in visit.pictures]
        removed = [picture.place for _, picture in visit.removed]
        return {
            self.gallery: gr.Gallery(pictures, visible=bool(pictures)),
            self.gone: _marks(removed=removed, row=[picture.place for picture in visit.pictures]),
            self.back: putting_back(len(removed)),
            self.save: gr.Button("Download all", visible=len(pictures) > 1),
        }


def putting_back(count: int) -> gr.Button:
    """Return the button that puts back what was removed last; it is seen if there is anything."""
    return gr.Button(f"Put back what was removed ({count})", visible=count > 0)


def _marks(**lists: list[str]) -> str:
    """Render lists of names as HTML that is not seen."""
    marks = (f"data-{name}='{html.escape(json.dumps(names))}'" for name, names in lists.items())
    return f"<i {' '.join(marks)}></i>"


def row_of_pictures(task: str) -> Row:
    """Build the empty row of a task's tab."""
    label = "Pictures of this visit"
    gallery = strip_of_pictures(label=label, visible=False, **named(task, "results"))
    with gr.Row(**named(task, "row-tools")):
        gone = gr.HTML(padding=False, **named(task, "gone"))
        remove = gr.Button("Take out of this row", size="sm", scale=0, **named(task, "remove"))
        about = {"size": "sm", "scale": 0, "visible": False}
        back = gr.Button("Put back what was removed", **about, **named(task, "back"))
        save = gr.Button("Download all", **about, **named(task, "save"))
        archive = gr.DownloadButton(visible="hidden", **named(task, "archive"))
    return Row(gallery, gone, back, save, archive, remove)


def downloads(
    task: str,
    save: gr.Button,
    archive: gr.DownloadButton,
    paths_of: Callable[[Any], Iterable[Path]],
    given: gr.State,
) -> None:
    """Let a button download pictures as one file.

    Args:
        task: The tab's task.
        save: The button.
        archive: The hidden button that the browser downloads with, named "archive".
        paths_of: Maps the value of `given` to files; those that are gone are left out.
        given: What holds the pictures.
    """
    packed = save.click(lambda value: zipped(paths_of(value)), given, archive, **QUIET)
    press = f"() => latentCanvas.download({task!r})"
    packed.success(None, None, None, js=press, **QUIET)


def zipped(paths: Iterable[Path]) -> str:
    """Write the pictures that exist into one uncompressed ZIP file; return its path.

    Raises:
        gr.Error: If none exists, they are larger than MAX_ARCHIVE together, or the disk is full.
    """
    there = [path for path in paths if path.exists()]
    if not there:
        raise fail("None of these pictures is in its folder any more.")
    cache = Path(get_upload_folder())  # with the data: the system's own may be memory
    try:
        size = sum(path.stat().st_size for path in there)
        if size > MAX_ARCHIVE:
            allowed = f"up to {MAX_ARCHIVE >> 30} GiB are downloaded at once"
            raise fail(f"These pictures take {size / 2**30:.1f} GiB; {allowed}.")
        cache.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=cache) as folder:
            packed = Path(folder) / "latent-canvas.zip"
            # a ZIP has no times before 1980, and files that were copied may have them
            with zipfile.ZipFile(packed, "w", strict_timestamps=False) as archive:
                for path in there:
                    archive.write(path, f"{path.parent.name}/{path.name}")
            return save_file_to_cache(packed, str(cache))
    except OSError as error:
        raise fail(f"The pictures cannot be packed: {error.strerror or error}.") from error
