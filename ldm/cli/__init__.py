"""The command line: `python -m ldm VERB`.

Exit codes: 0 done, 1 a check failed or not all could be made, 2 wrong input, 130 ended by Ctrl+C.
"""

from __future__ import annotations

import argparse
import dataclasses
import errno
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ldm.benchmarks.command import add_suites
from ldm.catalog.registry import load_preset
from ldm.cli.pictures import add_compare, add_progression, add_sample
from ldm.cli.presets import add_presets
from ldm.cli.studies import add_rate, add_reconstruct
from ldm.errors import LDMError
from ldm.outputs.metadata import program

# The verbs import what they need when they are called: `--help` and `presets` answer at once.
# ruff: noqa: PLC0415

# errors of files that nobody's input is to blame for: full or failing disks, too many open files
OF_SYSTEM = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code."""
    try:
        parsed = _parse(arguments)
        level = logging.INFO if parsed.verbose else parsed.log_level
        logging.basicConfig(level=level, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
        code = parsed.run(parsed)
        sys.stdout.flush()  # here, where a broken pipe is caught
        return code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # e.g. `| head` closes the pipe early
        _end_output()
        return 0
    except LDMError as error:
        print(f"error: {error}", file=sys.stderr)
        _end_output()
        return _exit_code(error)
    except OSError as error:  # an unforeseen file error; the message names the file
        where = f"{error.filename}: " if error.filename is not None else ""
        print(f"error: {where}{error.strerror or error}.", file=sys.stderr)
        _end_output()
        return _exit_code(error)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    try:
        return _parser().parse_args(arguments)
    finally:
        sys.stdout.flush()  # what --help wrote


def _end_output() -> None:
    """Drop what cannot be written: the interpreter would try again and end with 120."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _exit_code(error: BaseException | None) -> int:
    """Return 1 if the system failed, on its own or behind the error that tells it; else 2."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in OF_SYSTEM:
            return 1
        error = error.__cause__
    return 2


class _Parser(argparse.ArgumentParser):
    """An argument parser that reports an error in one line, without the usage text."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m ldm", description="Latent Canvas")
    parser.add_argument("--version", action="version", version=program())
    parser.add_argument("--verbose", action="store_true", help="say more on stderr")
    parser.set_defaults(log_level=logging.WARNING)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for add in (
        add_presets,
        add_sample,
        add_compare,
        add_progression,
        add_rate,
        add_reconstruct,
        _add_verify,
        _add_new,
        _add_train,
        _add_evaluate,
        _add_bench,
        _add_convert,
        _add_merge,
        _add_download,
    ):
        add(verbs)
    return parser


def _verb(verbs: Any, name: str, run: Callable[[Any], int], text: str) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=text, description=text)
    parser.set_defaults(run=run)
    return parser


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_verify(verbs: Any) -> None:
    text = "compare the networks and samplers with numbers recorded from the authors' code"
    parser = _verb(verbs, "verify", _verify, text)
    parser.add_argument("--cases", type=Path, help="folder of recorded cases")
    parser.add_argument("--manifests", type=Path, help="folder of published key lists")
    parser.add_argument(
        "--fast", action="store_true", help="compare the networks as they are used on a CPU"
    )
    parser.add_argument(
        "--rehearse",
        metavar="PRESET",
        help="instead: run a preset's task on random weights, at its published size and width",
    )
    _add_json(parser)


def _verify(arguments: Any) -> int:
    from ldm.evaluation.rehearsal import rehearse
    from ldm.evaluation.verify import run_checks

    passed = failed = 0
    for check in (
        [rehearse(arguments.rehearse)]
        if arguments.rehearse
        else run_checks(arguments.cases, arguments.manifests, fast=arguments.fast)
    ):
        passed += check.passed
        failed += not check.passed
        if arguments.json:
            print(json.dumps(dataclasses.asdict(check)))
        else:
            print(f"{'ok    ' if check.passed else 'FAILED'} {check.name}: {check.detail}")
    print(f"{passed} passed, {failed} failed", file=sys.stderr if arguments.json else sys.stdout)
    return 1 if failed else 0


def _add_train(verbs: Any) -> None:
    parser = _verb(verbs, "train", _train, "train a model")
    parser.add_argument("config", type=Path, help="a YAML file, see presets/training/")
    parser.add_argument(
        "changes", nargs="*", metavar="KEY=VALUE", help="in place of the file's, like steps=2000"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last snapshot")
    parser.add_argument(
        "--replace", action="store_true", help="write over weights that the preset has already"
    )
    parser.set_defaults(log_level=logging.INFO)  # shows the progress


def _train(arguments: Any) -> int:
    from ldm.training.run import train

    how = {"resume": arguments.resume, "replace": arguments.replace}
    train(arguments.config, arguments.changes, **how)
    return 0


def _add_evaluate(verbs: Any) -> None:
    parser = _verb(verbs, "evaluate", _evaluate, "measure a model on held-out scenes")
    parser.add_argument("--preset", required=True)
    parser.add_argument("--scenes", type=int, help="how many; default: each measure's own number")
    parser.add_argument(
        "--grid", type=Path, help="write a PNG of uncurated samples instead of measuring"
    )
    _add_json(parser)


def _evaluate(arguments: Any) -> int:
    from ldm.evaluation.report import evaluate, table

    if arguments.grid is not None:
        from ldm.evaluation.grid import write_grid

        write_grid(arguments.preset, arguments.grid)
        return 0
    rows = evaluate(arguments.preset, scenes=arguments.scenes)
    if arguments.json:
        print(json.dumps([dataclasses.asdict(row) | {"passed": row.passed} for row in rows]))
    else:
        print(table(rows))
    return 0 if all(row.passed for row in rows) else 1


def _add_bench(verbs: Any) -> None:
    add_suites(_verb(verbs, "bench", _bench, "measure where the time goes on this machine"))


def _bench(arguments: Any) -> int:
    for line in arguments.lines(arguments):
        print(line, flush=True)
    return 0


def _add_new(verbs: Any) -> None:
    parser = _verb(verbs, "new", _new, "set up a model of your own pictures, to be trained")
    parser.add_argument("name", help="what it will be called")
    parser.add_argument("--like", required=True, metavar="PRESET", help="whose task it will do")
    parser.add_argument("--pictures", type=Path, required=True, help="a folder of pictures")
    parser.add_argument("--first-stage", metavar="PRESET", help="instead of that preset's own")


def _new(arguments: Any) -> int:
    from ldm.training.own import create

    about = (arguments.name, arguments.like, arguments.pictures)
    path = create(*about, first_stage=arguments.first_stage)
    print(f"{path.parent / 'preset.yaml'}\n{path}\nTrain it: python -m ldm train {path}")
    return 0


def _add_convert(verbs: Any) -> None:
    parser = _verb(verbs, "convert", _convert, "turn a .ckpt into a .safetensors, safely")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)


def _add_merge(verbs: Any) -> None:
    text = "write a model's weights with a LoRA's changes added"
    parser = _verb(verbs, "merge", _merge, text)
    parser.add_argument("base", type=Path, help="the model's file or diffusers folder")
    parser.add_argument("lora", type=Path, help="the LoRA's file")
    parser.add_argument("out", type=Path, help="the new .safetensors file")
    parser.add_argument("--strength", type=float, default=1.0, help="1: as it was trained")


def _merge(arguments: Any) -> int:
    from ldm.checkpoints.lora import merge

    print(merge(arguments.base, arguments.lora, arguments.out, arguments.strength))
    return 0


def _convert(arguments: Any) -> int:
    from ldm.checkpoints.convert import convert

    print(convert(arguments.checkpoint, arguments.out))
    return 0


def _add_download(verbs: Any) -> None:
    parser = _verb(verbs, "download", _download, "fetch a published model's weights")
    parser.add_argument("preset")


def _download(arguments: Any) -> int:
    from ldm.catalog.download import download_preset

    print(download_preset(load_preset(arguments.preset), _tell_download))
    return 0


def _tell_download(done: int, total: int | None) -> None:
    """Show the bytes `done` of `total` of a download on one line, if stderr is a terminal."""
    if sys.stderr.isatty():
        of = f" of {total / 2**20:.1f}" if total else ""
        end = "\n" if done == total else ""
        print(f"\r{done / 2**20:.1f}{of} MiB  ", end=end, file=sys.stderr)
