"""Benchmark of UNet steps, decodes and whole runs on a CUDA card, beside diffusers.

Each kind of network is built, run and freed before the next one, so that its peak of memory is its
own: the weights and what a call takes besides. Time is measured by CUDA events over successive
calls, as a sampler makes them; the shortest of several rounds counts. If a kind fails, the table
says why and the others are still measured.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ldm.benchmarks.alone import machine
from ldm.benchmarks.peers import best, check_installed
from ldm.benchmarks.samples import PAPER, samples
from ldm.benchmarks.speed import DECODES, MODELS, STEPS, Call, Subject, psnr, subject
from ldm.errors import RequestError
from ldm.inference.prepare import prepare
from ldm.runtime.device import choose_device, exact_float32

BATCHES = (1, 8)
STOCK = "diffusers float16"  # the reference of the ratios
SECONDS = 0.15  # intended duration of a round's calls
CALLS = (3, 60)  # fewest and most calls of a round
WARM = 4  # calls before the measurement; the second one is recorded as a CUDA graph
MIB = 2**20
HEADS = ("what", "batch", "kind", "ms", f"{STOCK} / it", "PSNR, dB", "peak, MiB", "recorded")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """What to measure.

    Args:
        models: Names of models; empty: all.
        batches: Batch sizes.
        against: Whether to run diffusers as well.
        rounds: Rounds of successive calls; the shortest counts.
        search: Whether cuDNN benchmarks its algorithms for all kinds; else it uses its heuristics.
        samples: Whether to measure whole runs instead.
    """

    models: tuple[str, ...] = ()
    batches: tuple[int, ...] = BATCHES
    against: bool = False
    rounds: int = 5
    search: bool = False
    samples: bool = False


@dataclass(frozen=True)
class Measured:
    """The figures of one kind of network."""

    seconds: float  # per call
    peak: int  # bytes of the weights and of a call
    made: Tensor  # the output, float32, on the CPU
    recorded: int  # number of CUDA graphs


Made = tuple[nn.Module, Call]


def table(choice: Choice) -> Iterator[str]:
    """Yield the figures as lines of Markdown, each as soon as it is measured.

    Raises:
        RequestError: If a name is unknown, there is no CUDA device, or diffusers is asked for and
            not installed.
    """
    choose_device("cuda")
    if choice.against:
        check_installed()
    known = tuple(PAPER) if choice.samples else MODELS
    for name in choice.models:
        if name not in known:
            raise RequestError(f"--model must be one of {', '.join(known)}, got {name!r:.60}.")
    exact_float32()
    yield from (f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}, {machine()}", "")
    with _searching(choice.search), torch.inference_mode():
        if choice.samples:
            yield from samples(choice.models)
        else:
            yield from _rows(choice)


def _rows(choice: Choice) -> Iterator[str]:
    yield f"| {' | '.join(HEADS)} |"
    yield "|---" * len(HEADS) + "|"
    for name in choice.models or MODELS:
        for batch in choice.batches:
            side = STEPS[name][1] if name in STEPS else DECODES[name]
            what = f"{name}, {'step' if name in STEPS else 'decode'} of {side} x {side}"
            try:
                yield from _kinds_of(f"{what} | {batch}", subject(name, batch, "cuda"), choice)
            except Exception as error:  # the other models are still measured
                yield _failed(f"{what} | {batch} | all", error)
            _free()


def _kinds_of(what: str, about: Subject, choice: Choice) -> Iterator[str]:
    """Yield a line for each kind of network."""
    found: dict[str, Measured] = {}
    for kind, make in _kinds(about, choice.against).items():
        try:
            found[kind] = _measured(make, choice.rounds)
            yield _line(what, kind, found)
        except Exception as error:  # the other kinds are still measured
            yield _failed(f"{what} | {kind}", error)
        _free()


def _kinds(about: Subject, against: bool) -> dict[str, Callable[[], Made]]:
    """Return the kinds to compare, with the references of quality and time first."""

    def plain() -> Made:
        network = copy.deepcopy(about.plain)
        return network, about.ours(network, torch.float32)

    def fast(dtype: torch.dtype) -> Made:
        network = prepare(copy.deepcopy(about.plain).to(dtype), dtype)
        return network, about.ours(network, dtype)

    def theirs(convert: Callable[[nn.Module], nn.Module]) -> Made:
        network = convert(copy.deepcopy(about.peer()))
        return network, about.theirs(network, torch.float16)

    half = torch.float16
    peers = {
        STOCK: lambda: theirs(lambda network: nn.Module.to(network, half)),
        f"{STOCK}, channels-last": lambda: theirs(lambda network: best(network, half)),
    }
    return {
        "plain float32": plain,
        **(peers if against else {}),
        "bfloat16": lambda: fast(torch.bfloat16),
        "float16": lambda: fast(torch.float16),
    }


def _measured(make: Callable[[], Made], rounds: int) -> Measured:
    _free()
    before = torch.cuda.memory_allocated()
    network, call = make()
    _free()
    torch.cuda.reset_peak_memory_stats()
    for _ in range(WARM):
        made = call()
    torch.cuda.synchronize()
    number = min(max(CALLS[0], int(SECONDS / _seconds(call, 1))), CALLS[1])
    seconds = min(_seconds(call, number) for _ in range(max(1, rounds)))
    peak = torch.cuda.max_memory_allocated() - before
    graphs = [m.graphs for m in network.modules() if hasattr(m, "graphs")]
    return Measured(seconds, peak, made.float().cpu(), sum(map(len, graphs)))


def _seconds(call: Call, number: int) -> float:
    """Return the seconds per call, measured over `number` successive calls."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(number):
        call()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1000 / number


def _line(what: str, kind: str, found: dict[str, Measured]) -> str:
    got, stock, plain = found[kind], found.get(STOCK), found.get("plain float32")
    ratio = f"{stock.seconds / got.seconds:.2f}x" if stock else "-"
    quality = f"{psnr(got.made, plain.made):.0f}" if plain and plain is not got else "-"
    peak = f"{got.peak / MIB:.0f}"
    ms = f"{1000 * got.seconds:.3f}"
    return f"| {what} | {kind} | {ms} | {ratio} | {quality} | {peak} | {got.recorded or '-'} |"


def _failed(what: str, error: Exception) -> str:
    log.error("%s", what, exc_info=error)
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return f"| {what} | failed: {text.replace('|', '/'):.300} |"


def _free() -> None:
    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()


@contextlib.contextmanager
def _searching(on: bool) -> Iterator[None]:
    backend: Any = torch.backends.cudnn
    before, backend.benchmark = backend.benchmark, on
    try:
        yield
    finally:
        backend.benchmark = before
