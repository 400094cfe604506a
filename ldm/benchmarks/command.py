"""The command `python -m ldm bench SUITE`: the flags of each suite and the lines that it prints."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ldm.catalog.registry import load_preset
from ldm.errors import RequestError

# A suite imports what it needs when it is called, so that `--help` answers at once.
# ruff: noqa: PLC0415

DTYPES = ("float32", "bfloat16")
DEVICES = ("cpu", "cuda")
WAYS = ("whole", "bands", "diffusers", "diffusers, tiled")
Lines = Iterable[str]


def add_suites(parser: argparse.ArgumentParser) -> None:
    """Add the suites as sub-commands; `arguments.lines(arguments)` then runs the chosen one."""
    suites = parser.add_subparsers(dest="suite", required=True, metavar="SUITE")
    for name, (lines, add, text) in SUITES.items():
        suite = suites.add_parser(name, help=text, description=text)
        suite.set_defaults(lines=lines)
        add(suite)


def _against(suite: argparse.ArgumentParser) -> None:
    suite.add_argument("--against", choices=["diffusers"], help="measure it as well")


def _preset(suite: argparse.ArgumentParser) -> None:
    suite.add_argument("--preset", default="kl-f8", help="whose first stage (kl-f8)")


def _timed(suite: argparse.ArgumentParser) -> None:
    _against(suite)
    suite.add_argument("--rounds", type=int, default=5, help="the least of so many counts (5)")
    suite.add_argument(
        "--busy", action="store_true", help="processor time on one thread, beside other work"
    )


def _nothing(suite: argparse.ArgumentParser) -> None:
    """Add no flags."""


def _add_speed(suite: argparse.ArgumentParser) -> None:
    _timed(suite)
    suite.add_argument("--model", action="append", default=[], help="only this one, or these")
    suite.add_argument("--device", choices=DEVICES, default="cpu", help="where (cpu)")
    suite.add_argument("--batch", type=int, action="append", default=[], help="CUDA: 1 and 8")
    suite.add_argument(
        "--search", action="store_true", help="CUDA: let cuDNN try its algorithms for all kinds"
    )
    suite.add_argument(
        "--samples", action="store_true", help="CUDA: whole runs, beside the paper's samples/s"
    )


def _add_canvas(suite: argparse.ArgumentParser) -> None:
    _preset(suite)
    _against(suite)
    several = {"action": "append", "default": []}
    suite.add_argument("--side", type=int, help="only this one, px (UNet: cells)", **several)
    suite.add_argument("--dtype", choices=DTYPES, help="only this one", **several)
    suite.add_argument("--way", choices=WAYS, help="only this one, at any size", **several)
    suite.add_argument("--record", type=Path, help="JSON file of all rows; a figure goes beside it")


def _add_cancel(suite: argparse.ArgumentParser) -> None:
    _preset(suite)
    suite.add_argument("--side", type=int, default=2048, help="of the picture, px (2048)")
    what = "bfloat16 where the processor computes in it, else float32"
    suite.add_argument("--dtype", choices=DTYPES, help=f"of the decode ({what})")


def _add_loading(suite: argparse.ArgumentParser) -> None:
    suite.add_argument("--preset", default="celeba256", help="of which size (celeba256)")


def _startup(arguments: Any) -> Lines:
    from ldm.benchmarks.startup import parts, startup, table

    return [table(startup() + parts())]


def _speed(arguments: Any) -> Lines:
    timing = _timing(arguments)
    if min(arguments.batch, default=1) < 1:
        raise RequestError(f"--batch must be at least 1, got {min(arguments.batch)}.")
    if arguments.device == "cuda":
        from ldm.benchmarks import cuda

        choice = cuda.Choice(
            models=tuple(arguments.model),
            batches=tuple(arguments.batch) or cuda.BATCHES,
            against=timing["against"],
            rounds=timing["rounds"],
            search=arguments.search,
            samples=arguments.samples,
        )
        return cuda.table(choice)
    if arguments.batch or arguments.search or arguments.samples:
        raise RequestError("--batch, --search and --samples are for --device cuda, got cpu.")
    from ldm.benchmarks.speed import table

    return table(arguments.model, **timing)


def _request(arguments: Any) -> Lines:
    from ldm.benchmarks.request import table

    return table(**_timing(arguments))


def _timing(arguments: Any) -> dict[str, Any]:
    if arguments.rounds < 1:
        raise RequestError(f"--rounds must be at least 1, got {arguments.rounds}.")
    return {
        "against": arguments.against == "diffusers",
        "rounds": arguments.rounds,
        "busy": arguments.busy,
    }


def _loading(arguments: Any) -> Lines:
    from ldm.benchmarks.loading import table

    return table(arguments.preset)


def _canvas(arguments: Any) -> Lines:
    from ldm.benchmarks.canvas import Choice, earlier_rows, table

    about = load_preset(arguments.preset).architecture
    _check_sides(arguments.side, about.unet.factor if about.unet else about.factor)
    if arguments.record is not None:
        earlier_rows(arguments.record)  # checks the file before minutes of measuring
    choice = Choice(
        preset=arguments.preset,
        sides=arguments.side,
        dtypes=arguments.dtype,
        ways=arguments.way,
        against=arguments.against == "diffusers",
        record=arguments.record,
    )
    return table(choice)


def _check_sides(sides: Iterable[int], multiple: int) -> None:
    for side in sides:
        if side < multiple or side % multiple:
            raise RequestError(f"--side must be a multiple of {multiple}, got {side}.")


def _cancel(arguments: Any) -> Lines:
    import torch

    from ldm.benchmarks.cancel import table
    from ldm.inference.kernels import has_arithmetic

    _check_sides([arguments.side], load_preset(arguments.preset).factor)
    usual = "bfloat16" if has_arithmetic(torch.bfloat16) else "float32"
    return table(arguments.preset, arguments.side, arguments.dtype or usual)


def _estimate(arguments: Any) -> Lines:
    from ldm.benchmarks.estimate import table

    return table()


Run = Callable[[Any], Lines]
Add = Callable[[argparse.ArgumentParser], None]
SUITES: dict[str, tuple[Run, Add, str]] = {
    "startup": (_startup, _nothing, "page, first and next picture"),
    "speed": (_speed, _add_speed, "a UNet step, a decode"),
    "request": (_request, _timed, "a whole text-to-image request"),
    "loading": (_loading, _add_loading, "a checkpoint becomes a model"),
    "canvas": (_canvas, _add_canvas, "large decodes and UNet steps, whole and in bands"),
    "cancel": (_cancel, _add_cancel, "how soon a decode in bands ends"),
    "estimate": (_estimate, _nothing, "what was expected of requests, what it took"),
}
