"""The verbs of the command line that make pictures: `sample`, `compare` and `progression`."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ldm.comparison import NOT_COMPARED, Comparison, said
from ldm.errors import LDMError
from ldm.events import Result, Unfinished
from ldm.progression import FRAMES, MOST, Progression, lacks_sheet
from ldm.request_flags import add_flags, from_flags
from ldm.request_json import to_dict
from ldm.requests import REQUESTS, takes_start_image
from ldm.runtime.device import PRECISIONS


def add_sample(verbs: Any) -> None:
    """Add `sample TASK`, with one flag for each field of the request."""
    _by_task(verbs, "sample", "make pictures", _sample)


def add_compare(verbs: Any) -> None:
    """Add `compare TASK`: the flags of `sample` without `--count`, and the axes to compare."""
    text = "make a picture with several values of one setting, or of two, side by side"
    for parser in _by_task(verbs, "compare", text, _compare, NOT_COMPARED):
        parser.set_defaults(count=1)
        about = "a setting and its values, from left to right, like steps=5,10,20"
        parser.add_argument("--across", metavar="FIELD=VALUES", required=True, help=about)
        about = "another, from top to bottom; values with commas are parted by |"
        parser.add_argument("--down", metavar="FIELD=VALUES", default="", help=about)


def add_progression(verbs: Any) -> None:
    """Add `progression TASK`: a picture and its sampling steps, for tasks that support it."""
    text = "make a picture whose file plays its steps, and a sheet of them"
    able = {task: kind for task, kind in REQUESTS.items() if takes_start_image(kind)}
    for parser in _by_task(verbs, "progression", text, _progression, NOT_COMPARED, able):
        parser.set_defaults(count=1)
        about = f"steps that are shown, 2 to {MOST} (default: {FRAMES})"
        parser.add_argument("--frames", type=int, default=FRAMES, help=about)


def _by_task(  # noqa: PLR0913  (the verbs differ in these)
    verbs: Any,
    name: str,
    text: str,
    run: Callable[[Any], int],
    without: tuple[str, ...] = (),
    requests: Mapping[str, type] = REQUESTS,
) -> list[argparse.ArgumentParser]:
    verb = verbs.add_parser(name, help=text, description=text)
    tasks = verb.add_subparsers(dest="task", required=True, metavar="TASK")
    parsers = []
    for task, request_type in requests.items():
        about = (request_type.__doc__ or task).splitlines()[0]
        parser = tasks.add_parser(task, help=about, description=about)
        parser.set_defaults(run=run, request_type=request_type)
        add_flags(parser, request_type, without)
        where = "folder for the pictures (that of the day in data/outputs, as the app)"
        parser.add_argument("--out", type=Path, help=where)
        parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
        parser.add_argument("--precision", choices=PRECISIONS, default="auto")
        parser.add_argument("--memory-budget", help="for loaded models, like 4GiB")
        parser.add_argument("--canvas-budget", help="for what they compute, like 1GiB")
        parser.add_argument("--json", action="store_true", help="print JSON")
        parsers.append(parser)
    return parsers


def _sample(arguments: Any) -> int:
    return _run(arguments, from_flags(arguments.request_type, arguments))


def _compare(arguments: Any) -> int:
    request = from_flags(arguments.request_type, arguments)
    return _run(arguments, said(request, arguments.across, arguments.down))


def _progression(arguments: Any) -> int:
    request = from_flags(arguments.request_type, arguments)
    return _run(arguments, Progression(request, arguments.frames))


def _run(arguments: Any, request: Any) -> int:
    from ldm.studio import Studio  # noqa: PLC0415  (heavy; wrong flags are reported first)

    studio = Studio(
        device=arguments.device,
        memory_budget=arguments.memory_budget,
        canvas_budget=arguments.canvas_budget,
        precision=arguments.precision,
        out_dir=arguments.out,
    )
    is_line_open, code = False, 0  # whether a progress line is not ended yet
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: the run is kept
    event, told, events = None, None, studio.run(request)
    try:
        for event in events:
            if isinstance(event, Result):
                print(end="\n" if is_line_open else "", file=sys.stderr)
                _report(event, as_json=arguments.json)
                code = int(lacks_sheet(request, event))
            elif sys.stderr.isatty() and (event.stage, event.step, event.total) != told:
                told = event.stage, event.step, event.total  # pauses within a step tell it again
                is_line_open = event.step != event.total
                end = "" if is_line_open else "\n"
                print(f"\r{event.stage} {event.step}/{event.total}  ", end=end, file=sys.stderr)
    except (KeyboardInterrupt, LDMError):
        events.close()  # stores the unfinished run
        if (unfinished := studio.resumable(event)) is not None:
            print(f"\n{_how_to_go_on(unfinished)}", file=sys.stderr)
        raise
    return code


def _how_to_go_on(unfinished: Unfinished) -> str:
    flags = f"--seed {unfinished.request.seed}"
    if unfinished.request.variations:
        flags += f' --variations "{unfinished.request.variations}"'
    return (
        f"Stopped after step {unfinished.step} of {unfinished.total}; the same command with "
        f"{flags} goes on from there."
    )


def _report(result: Result, *, as_json: bool) -> None:
    if as_json:
        paths = [str(path) for path in result.paths]
        requests = [_as_json(request) for request in result.requests]
        about = {"paths": paths, "requests": requests, "seconds": result.seconds}
        print(json.dumps(about | {"notes": result.notes}))
        return
    for path in result.paths:
        print(path)
    for note in result.notes:
        print(f"note: {note}", file=sys.stderr)


def _as_json(request: Any) -> dict[str, Any]:
    if isinstance(request, Comparison):
        return to_dict(request.request) | {"compared": request.record()}
    if isinstance(request, Progression):
        return to_dict(request.request) | {"frames": request.frames}
    return to_dict(request)
