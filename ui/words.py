"""Texts of the page: a run's events, the progress strip, a picture's caption, the history."""

from __future__ import annotations

import html
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from ldm.errors import LDMError
from ldm.events import Cancelled, Failed, Progress, Queued, Result, Unfinished
from ldm.history import About, Entry
from ldm.jobs.line import duration
from ldm.outputs import metadata
from ldm.outputs.titles import searched, title
from ldm.requests.comparison import Comparison
from ldm.requests.progression import Progression
from ui.run import Picture

IDLE = "Nothing is being made"
NONE_MADE = "Nothing has been made yet: what you make in the other tabs is kept here."
NONE_STARRED = "There is no favourite yet: choose a picture and give it a star."
NONE_FOUND = "No picture has all of this; try fewer words, or parts of them."
FAVOURITE = "a favourite"  # in the name of a picture; ui/row.js knows it by this
GIB = 2**30


def say(event: Any) -> tuple[str, str]:
    """An event in words: (what happens, further details or "")."""
    if isinstance(event, Progress) and event.step < event.total:
        left = event.seconds_left
        left = "" if left is None else f"about {duration(round(left))} left"
        what = "Step" if event.stage == "sampling" else f"{event.stage.capitalize()},"
        more = (event.detail, f"{event.seconds:.1f} s", left)
        return f"{what} {event.step} of {event.total}", " · ".join(filter(None, more))
    if isinstance(event, Progress):
        return event.stage.capitalize(), f"{event.seconds:.1f} s" if event.total else ""
    if isinstance(event, Queued):
        what = f"Waiting, {event.position} before this one" if event.position else "Starting"
        left = "" if event.seconds is None else duration(round(event.seconds))
        return what, left and f"its turn comes in about {left}"
    if isinstance(event, Result):
        expected = event.estimate and event.estimate.seconds
        was = [f"{expected:.1f} s were expected."] if expected else []
        return f"{_made(event)} in {event.seconds:.1f} s", " ".join([*event.notes, *was])
    if isinstance(event, Failed):
        return event.message, ""
    if isinstance(event, Unfinished):
        return f"Stopped after step {event.step} of {event.total}", title(event.request)
    if isinstance(event, Cancelled):
        return say(event.unfinished) if event.unfinished else ("Cancelled", "")
    return IDLE, ""


def _made(result: Result) -> str:
    count = len(result.requests)
    if isinstance(result.requests[0], Comparison):
        some = "One picture, and a sheet"
        return some if count == 2 else f"{count - 1} pictures and a sheet of them"
    if isinstance(result.requests[-1], Progression):
        return "The picture, and a sheet of its steps"
    return f"{count} pictures" if count > 1 else "Done"


def strip(
    event: Any, job_id: str = "", *, previewed: bool = False, rest: Unfinished | None = None
) -> str:
    """Render the progress strip as HTML.

    Args:
        event: The latest event of a run; None before the first run.
        job_id: Written into the strip, so that a reloaded page finds its job.
        previewed: Whether the shown picture is a preview of the run.
        rest: A stopped run that can be resumed; ignored while a run is in progress.
    """
    what, more = say(event)
    busy = "busy previewed" if previewed else "busy"
    if isinstance(event, Progress) and event.total:
        return _strip(busy, what, more, event.step / event.total, job_id)
    if isinstance(event, (Progress, Queued)):
        return _strip(f"{busy} vague", what, more, 0, job_id)
    kind = "done" if isinstance(event, Result) else "idle"
    kind = "failed" if isinstance(event, Failed) else kind
    return _strip(kind, what, more, 1, job_id, _rest(event, rest))


def _rest(event: Any, rest: Unfinished | None) -> str:
    """HTML that names the resumable run; without text if the event itself already reports it."""
    if rest is None:
        return ""
    is_told = not isinstance(event, Failed) and rest in (event, getattr(event, "unfinished", None))
    words = f"Stopped before, after step {rest.step} of {rest.total}: {title(rest.request)}"
    words = "" if is_told else words
    return f'<div class="rest">{html.escape(words)}</div>'


def _strip(  # noqa: PLR0913  (the parts of one line)
    kind: str, what: str, more: str, share: float, job_id: str, rest: str = ""
) -> str:
    percent = f"{100 * share:.1f}"
    # not "status" while busy: screen readers would announce every change
    role = 'role="status"'
    if kind == "failed":  # the time makes a repeated failure a new one, which is scrolled into view
        role = f'role="alert" data-told="{time.monotonic_ns()}"'
    if kind.startswith("busy"):
        words = html.escape(", ".join(filter(None, (what, more))))
        role = f'role="progressbar" aria-label="Progress" aria-valuenow="{percent}"'
        role += f' aria-valuetext="{words}"'
    return (
        f'<div class="strip {kind}" {role} data-job="{html.escape(job_id)}">'
        f'<div class="bar"><div style="transform:scaleX({share:.3f})"></div></div>'
        f'<div class="line">'
        f'<span class="what">{html.escape(what)}</span>'
        f'<span class="more">{html.escape(more)}</span></div>{rest}</div>'
    )


def caption_html(picture: Picture | None, more: str = "") -> str:
    """Render the caption under a picture as HTML, with `more` as its last line."""
    if picture is None:
        return ""
    without, kind = picture.without, "plate sheet" if picture.is_sheet else "plate"
    about = ""
    if picture.seed is not None:
        varied = html.escape(picture.variations)
        about = f' data-seed="{picture.seed}" data-variations="{varied}"'
    about += f' data-file="{html.escape(picture.place)}"'
    about += "" if picture.seamless == "no" else f' data-seamless="{picture.seamless}"'
    return (
        f'<div class="{kind}"{about}><p class="title">{html.escape(picture.title)}</p>'
        + (f"<p>without {html.escape(without)}</p>" if without else "")
        + f"<p>{html.escape(picture.settings)}</p>"
        + (f"<p>{html.escape(more)}</p>" if more else "")
        + "</div>"
    )


def memory(count: int) -> str:
    """Format bytes in MiB or GiB."""
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / 2**20:.0f} MiB"


def entry_name(entry: Entry) -> str:
    """Caption of a picture, unique because it includes the seed and the time."""
    star = f"{FAVOURITE}, " if entry.is_favourite else ""
    name = picture_name(entry.about, is_sheet=bool(entry.about.kind))
    return f"{name}, {star}{made_when(entry)}"


def picture_name(about: About | Picture, *, is_sheet: bool) -> str:
    """Title and settings of a picture; ui/row.js knows a sheet by its first word."""
    return f"{'Sheet: ' if is_sheet else ''}{about.title}, {about.settings}"


def made_when(entry: Entry) -> str:
    """When a picture was made, in local time; ui/row.js reads the day."""
    return f"{entry.day} {datetime.fromtimestamp(entry.made / 1e9):%H:%M:%S}"


def count_html(count: int, to_read: int, *, is_search: bool, none: str = NONE_FOUND) -> str:
    """The number of results, and of pictures still to be indexed, as HTML.

    `none`: said if nothing was found.
    """
    what = f"{count} picture{'' if count == 1 else 's'}"
    if to_read:
        what += f", {to_read} still to be read"
    elif not count:
        what = none if is_search else NONE_MADE
    return f'<p role="status">{what}</p>'


def describe(path: Path) -> About | None:
    """Texts of a picture for the search index; None if it holds no request of Latent Canvas."""
    try:
        record = metadata.load(path)
        made = record.made
        picture, more = Picture.of(path, made), searched(made)
    except LDMError:
        return None
    told = (picture.title, picture.settings, picture.without)
    kind = "sheet" if picture.is_sheet else ""
    words = (*told, kind, made.task, made.preset, more, path.parent.name, path.stem)
    return About(made.task, *told, " ".join(words), kind)
