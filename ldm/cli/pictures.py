"""The verbs of the command line that make pictures: `sample`, `compare` and `progression`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import sys
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ldm.errors import LDMError, RequestError
from ldm.events import Result, Unfinished
from ldm.requests import REQUESTS, takes_start_image
from ldm.requests.as_json import from_lines, in_line, to_dict
from ldm.requests.comparison import NOT_COMPARED, Comparison, said
from ldm.requests.flags import add_flags, from_flags, values_of
from ldm.requests.progression import FRAMES, MOST, Progression, lacks_sheet
from ldm.runtime.device import PRECISIONS

if TYPE_CHECKING:
    from ldm.studio import Studio


def add_sample(verbs: Any) -> None:
    """Add `sample TASK`, with one flag for each field of the request, and many requests at once."""
    for parser, flags in _by_task(verbs, "sample", "make pictures", _sample):
        about = (
            "a file (- for stdin) with a request in each line, a JSON object as --json prints it "
            "among its requests, in which pictures may be named as files; the other flags hold "
            "for what a line leaves out. Or a picture that was made here, to make it again, with "
            "what other flags change"
        )
        parser.add_argument(
            "--requests", type=Path, action=_Lines, flags=flags, metavar="FILE", help=about
        )


def add_compare(verbs: Any) -> None:
    """Add `compare TASK`: the flags of `sample` without `--count`, and the axes to compare."""
    text = "make a picture with several values of one setting, or of two, side by side"
    for parser, _ in _by_task(verbs, "compare", text, _compare, NOT_COMPARED):
        parser.set_defaults(count=1)
        about = "a setting and its values, from left to right, like steps=5,10,20"
        parser.add_argument("--across", metavar="FIELD=VALUES", required=True, help=about)
        about = "another, from top to bottom; values with commas are parted by |"
        parser.add_argument("--down", metavar="FIELD=VALUES", default="", help=about)


def add_progression(verbs: Any) -> None:
    """Add `progression TASK`: a picture and its sampling steps, for tasks that support it."""
    text = "make a picture whose file plays its steps, and a sheet of them"
    able = {task: kind for task, kind in REQUESTS.items() if takes_start_image(kind)}
    for parser, _ in _by_task(verbs, "progression", text, _progression, NOT_COMPARED, able):
        parser.set_defaults(count=1)
        about = f"steps that are shown, 2 to {MOST} (default: {FRAMES})"
        parser.add_argument("--frames", type=int, default=FRAMES, help=about)


class _Lines(argparse.Action):
    """A flag that names a file of requests, and with which no other flag is required."""

    def __init__(self, *given: Any, flags: Sequence[argparse.Action], **about: Any) -> None:
        super().__init__(*given, **about)
        self.flags = flags

    def __call__(self, parser: Any, namespace: Any, values: Any, _: str | None = None) -> None:
        """Keep the file's path."""
        setattr(namespace, self.dest, values)
        for flag in self.flags:
            flag.required = False


def _by_task(  # noqa: PLR0913  (the verbs differ in these)
    verbs: Any,
    name: str,
    text: str,
    run: Callable[[Any], int],
    without: tuple[str, ...] = (),
    requests: Mapping[str, type] = REQUESTS,
) -> list[tuple[argparse.ArgumentParser, list[argparse.Action]]]:
    """Add a verb; return the parser of each of its tasks with the flags of the request's fields."""
    verb = verbs.add_parser(name, help=text, description=text)
    tasks = verb.add_subparsers(dest="task", required=True, metavar="TASK")
    parsers = []
    for task, request_type in requests.items():
        about = (request_type.__doc__ or task).splitlines()[0]
        parser = tasks.add_parser(task, help=about, description=about)
        parser.set_defaults(run=run, request_type=request_type)
        flags = add_flags(parser, request_type, without)
        where = "folder for the pictures (that of the day in data/outputs, as the app)"
        parser.add_argument("--out", type=Path, help=where)
        parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
        parser.add_argument("--precision", choices=PRECISIONS, default="auto")
        parser.add_argument("--memory-budget", help="for loaded models, like 4GiB")
        parser.add_argument("--canvas-budget", help="for what they compute, like 1GiB")
        parser.add_argument("--json", action="store_true", help="print JSON")
        parsers.append((parser, flags))
    return parsers


def _sample(arguments: Any) -> int:
    if arguments.requests is None:
        return _run(arguments, from_flags(arguments.request_type, arguments))
    return _run_lines(arguments, _read_lines(arguments))


def _read_lines(arguments: Any) -> dict[int, Any]:
    """Read the file of requests: line number -> request."""
    values = values_of(arguments.request_type, arguments)
    if arguments.requests.suffix.lower() == ".png":
        return {1: _made_again(arguments, values)}
    values |= {"task": arguments.task}
    requests = from_lines(_text(arguments.requests), values, reads_files=True)
    if not requests:
        raise RequestError(f"{arguments.requests} holds no request; one is a line of JSON.")
    return requests


def _text(path: Path) -> str:
    try:
        # the console's own encoding need not be UTF-8
        content = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        return content.decode("utf-8-sig")
    except FileNotFoundError as error:
        raise RequestError(f"there is no file {str(path)!r:.200}.") from error
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise RequestError(f"{path} must be text in UTF-8.") from error


def _made_again(arguments: Any, values: Mapping[str, Any]) -> Any:
    """Return the request that made a picture, with the values of other flags."""
    from ldm.outputs.metadata import load  # noqa: PLC0415  (pictures are read only if one is given)

    made = load(arguments.requests).made
    if type(made) not in REQUESTS.values():
        raise RequestError(
            f"{arguments.requests} is a sheet; name one of the pictures that are on it."
        )
    if made.task != arguments.task:
        raise RequestError(f"task must be {made.task} for {arguments.requests}.")
    return dataclasses.replace(made, **values)


def _compare(arguments: Any) -> int:
    request = from_flags(arguments.request_type, arguments)
    return _run(arguments, said(request, arguments.across, arguments.down))


def _progression(arguments: Any) -> int:
    request = from_flags(arguments.request_type, arguments)
    return _run(arguments, Progression(request, arguments.frames))


def _run(arguments: Any, request: Any) -> int:
    return _make(_studio(arguments), request, as_json=arguments.json)


def _run_lines(arguments: Any, requests: Mapping[int, Any]) -> int:
    """Run the requests of a file's lines, after all have been checked."""
    studio, codes = _studio(arguments), []
    for line, request in requests.items():
        with in_line(line):
            studio.check(request)
    for line, request in requests.items():
        with in_line(line):
            codes.append(_make(studio, request, as_json=arguments.json, line=line))
    return max(codes)


def _studio(arguments: Any) -> Studio:
    from ldm.studio import Studio  # noqa: PLC0415  (heavy; wrong flags are reported first)

    return Studio(
        device=arguments.device,
        memory_budget=arguments.memory_budget,
        canvas_budget=arguments.canvas_budget,
        precision=arguments.precision,
        out_dir=arguments.out,
    )


def _make(studio: Studio, request: Any, *, as_json: bool, line: int = 0) -> int:
    """Run a request and print its pictures' paths; `line`: of its file; 0: it has none."""
    is_line_open, code = False, 0  # whether a progress line is not ended yet
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: the run is kept
    event, told, events = None, None, studio.run(request)
    try:
        for event in events:
            if isinstance(event, Result):
                print(end="\n" if is_line_open else "", file=sys.stderr)
                _report(event, as_json=as_json)
                code = int(_lacks_pictures(request, event))
            elif sys.stderr.isatty() and (event.stage, event.step, event.total) != told:
                told = event.stage, event.step, event.total  # pauses within a step tell it again
                is_line_open = event.step != event.total
                end = "" if is_line_open else "\n"
                print(f"\r{event.stage} {event.step}/{event.total}  ", end=end, file=sys.stderr)
    except (KeyboardInterrupt, LDMError):
        events.close()  # stores the unfinished run
        if (unfinished := studio.resumable(event)) is not None:
            print(f"\n{_how_to_go_on(unfinished, line)}", file=sys.stderr)
        raise
    return code


def _lacks_pictures(request: Any, result: Result) -> bool:
    """Whether less was made or saved than was requested."""
    if isinstance(request, (Comparison, Progression)):
        return lacks_sheet(request, result)
    return len(result.paths) < request.count


def _how_to_go_on(unfinished: Unfinished, line: int) -> str:
    seeds = {"seed": unfinished.request.seed}
    if unfinished.request.variations:
        seeds["variations"] = unfinished.request.variations
    where, what = f" in line {line}" if line else "", "line" if line else "command"
    if line:
        given = json.dumps(seeds).strip("{}")
    else:
        given = " ".join(f"--{name} {json.dumps(value)}" for name, value in seeds.items())
    return (
        f"Stopped{where} after step {unfinished.step} of {unfinished.total}; the same {what} with "
        f"{given} goes on from there."
    )


def _report(result: Result, *, as_json: bool) -> None:
    if as_json:
        paths = [str(path) for path in result.paths]
        requests = [_as_json(request, result) for request in result.requests]
        about = {"paths": paths, "requests": requests, "seconds": result.seconds}
        print(json.dumps(about | {"notes": result.notes}), flush=True)
        return
    for path in result.paths:
        print(path, flush=True)
    for note in result.notes:
        print(f"note: {note}", file=sys.stderr)


def _as_json(request: Any, result: Result) -> dict[str, Any]:
    if isinstance(request, Comparison):
        made = [to_dict(one) for one in result.requests if one is not request]
        return _in_common(made, request.record()) | {"compared": request.record()}
    if isinstance(request, Progression):
        return to_dict(request.request) | {"frames": request.frames}
    return to_dict(request)


def _in_common(made: Sequence[dict[str, Any]], without: Container[str]) -> dict[str, Any]:
    """Return the values that all requests have, except for the fields in `without`."""
    first, *others = made
    return {
        name: value
        for name, value in first.items()
        if name not in without and all(other[name] == value for other in others)
    }
