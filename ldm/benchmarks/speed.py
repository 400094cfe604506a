"""Benchmark of a UNet step and a decode: our plain networks, the prepared ones, and diffusers.

All kinds have the same weights and run in turn in one process; those of a very large model run one
after the other, since they do not fit beside each other. The shortest of the rounds counts, as
other work on the machine can only make a round slower. On a machine that is never idle, `busy` uses
one thread and measures processor time instead of wall time. Weights that are not on disk are
random, which changes neither the arithmetic nor the time.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ldm.benchmarks.alone import machine
from ldm.benchmarks.networks import plain_first_stage, plain_unet
from ldm.benchmarks.peers import best, check_installed, diffusers_first_stage, diffusers_unet
from ldm.catalog.registry import load_preset
from ldm.errors import RequestError
from ldm.inference.kernels import has_arithmetic
from ldm.inference.prepare import prepare
from ldm.models.layers import repeated

STEPS = {  # preset -> pictures, side in cells
    "demo-text-to-image": (1, 32),
    "demo-semantic": (1, 32),
    "semantic-synthesis256": (1, 64),
    "bsr-sr": (1, 64),
    "celeba256": (1, 64),
    "stable-diffusion-v1-4": (1, 64),
    "text2img-large": (1, 32),
}
GUIDED = ("demo-text-to-image",)  # with two conditions at once, as in requests
DECODES = {"demo-kl-f4": 128, "kl-f8": 64, "vq-f4-noattn": 128}  # first stage -> side in cells
MODELS = (*STEPS, *DECODES)
KINDS = ("plain float32", "float32", "bfloat16", "diffusers float32", "diffusers bfloat16")
RATIOS = (
    ("diffusers float32", "bfloat16"),
    ("diffusers bfloat16", "bfloat16"),
    ("diffusers float32", "float32"),
)
# models whose kinds do not fit beside each other
LARGE = ("stable-diffusion-v1-4", "text2img-large")
ROUNDS = 5
IN_A_ROW = 3  # successive calls of a kind in a round
LONG = 2.0  # seconds: after a call that takes longer, there are no more in this round
TOKENS = 77
Call = Callable[[], Tensor]
Kind = Callable[[], Call]


@dataclass(frozen=True)
class Subject:
    """The networks of one model with the same weights, and how each is run on the same input."""

    plain: nn.Module  # our network as built, in float32
    ours: Callable[[nn.Module, torch.dtype], Call]  # runs our network, plain or prepared
    peer: Callable[[], nn.Module]  # builds diffusers' network, which shares the weights of `plain`
    theirs: Callable[[nn.Module, torch.dtype], Call]  # runs diffusers' network


@dataclass(frozen=True)
class Timed:
    """The shortest time of each kind, and the deviations from plain float32."""

    what: str
    seconds: dict[str, float]
    error: float  # largest error of the prepared float32 kind, as a share of the largest value
    psnr: float | None  # dB, of the prepared bfloat16 kind; None: it was not timed

    def ratio(self, slow: str, fast: str) -> str:
        """Format how many times faster `fast` is; "-" unless both were timed."""
        if not {slow, fast} <= self.seconds.keys():
            return "-"
        return f"{self.seconds[slow] / self.seconds[fast]:.2f}x"

    def cells(self, kinds: Sequence[str], ratios: Sequence[tuple[str, str]]) -> list[str]:
        """Return the cells of a row of the table."""
        ms = [f"{1000 * self.seconds[k]:.1f}" if k in self.seconds else "-" for k in kinds]
        likeness = "-" if self.psnr is None else f"{self.psnr:.0f} dB"
        return [*ms, *(self.ratio(*pair) for pair in ratios), f"{self.error:.0e}", likeness]


def run(name: str, *, against: bool, rounds: int = ROUNDS, busy: bool = False) -> Timed:
    """Time one model.

    Args:
        name: One of MODELS.
        against: Whether to run diffusers as well.
        rounds: Rounds of all kinds in turn, after a first run that does not count.
        busy: Whether to measure processor time on one thread.

    Raises:
        RequestError: If the name is not in MODELS, or diffusers is asked for and not installed.
    """
    if name not in MODELS:
        raise RequestError(f"--model must be one of {', '.join(MODELS)}, got {name!r:.60}.")
    if against:
        check_installed()
    torch.manual_seed(0)
    if busy:
        torch.set_num_threads(1)
    clock = time.process_time if busy else time.perf_counter
    with torch.inference_mode():
        kinds = kinds_of(name, against)
        together = [list(kinds)] if name not in LARGE else [[kind] for kind in kinds]
        made: dict[str, Tensor] = {}
        seconds: dict[str, float] = {}
        for some in together:
            calls = {kind: kinds[kind]() for kind in some}
            made |= {kind: call().float() for kind, call in calls.items()}  # packs the weights, too
            seconds |= least_seconds(calls, rounds, clock)
            del calls
    plain = made["plain float32"]
    cells = STEPS[name][1] if name in STEPS else DECODES[name]
    what = f"{name}, {'step' if name in STEPS else 'decode'} of {cells} x {cells} cells"
    error = float((made["float32"] - plain).abs().max() / plain.abs().max())
    half = made.get("bfloat16")
    return Timed(what, seconds, error, None if half is None else psnr(half, plain))


def kinds_of(name: str, against: bool) -> dict[str, Kind]:
    """Return the kinds to compare; each builds its network when called and returns its run."""
    return _kinds(subject(name), against)


def least_seconds(
    kinds: dict[str, Callable[[], Any]], rounds: int, clock: Callable[[], float]
) -> dict[str, float]:
    """Return the shortest call of each kind, over rounds of all kinds in turn.

    In a round each kind runs a few times in succession, as in a sampler: the first call after
    another network is much slower, since caches and allocator are still set up for that one.
    """
    least = dict.fromkeys(kinds, math.inf)
    for _ in range(rounds):
        for kind, call in kinds.items():
            for _ in range(IN_A_ROW):
                begin = clock()
                call()
                took = clock() - begin
                least[kind] = min(least[kind], took)
                if took > LONG:
                    break
    return least


def psnr(got: Tensor, want: Tensor) -> float:
    """Return the PSNR in dB, with the range of `want` as the peak."""
    span = float(want.max() - want.min())
    return 20 * math.log10(span) - 10 * math.log10(float((got - want).square().mean()))


def subject(name: str, batch: int | None = None, device: str = "cpu") -> Subject:
    """Return the networks of a model and how to run them.

    Args:
        name: One of MODELS.
        batch: Pictures, without guidance; None: those of the CPU's suite, guided if in GUIDED.
        device: Device of networks and inputs.
    """
    return (_step if name in STEPS else _decode)(name, batch, device)


def _step(name: str, batch: int | None, device: str) -> Subject:
    preset = load_preset(name)
    about = preset.architecture.unet
    B, side = STEPS[name]
    passes = 2 if name in GUIDED and batch is None else 1
    B = batch or B
    plain = plain_unet(preset, device)
    x = torch.randn(B, about.in_channels, side, side, device=device)
    t = torch.full((B,), 500, device=device)
    context = None
    if about.context_dim is not None:
        context = torch.randn(passes * B, TOKENS, about.context_dim, device=device)

    def ours(unet: nn.Module, dtype: torch.dtype) -> Call:
        given = (_as(x, dtype), t, None if context is None else context.to(dtype))
        return lambda: unet(*given)

    def theirs(unet: nn.Module, dtype: torch.dtype) -> Call:
        given = {} if context is None else {"encoder_hidden_states": context.to(dtype)}
        copies, times = _as(repeated(x, passes * B), dtype), repeated(t, passes * B)
        return lambda: unet(copies, times, **given).sample

    return Subject(plain, ours, lambda: diffusers_unet(about, plain), theirs)


def _decode(name: str, batch: int | None, device: str) -> Subject:
    preset = load_preset(name)
    about = preset.architecture.first_stage
    plain = plain_first_stage(preset, device)
    z = torch.randn(batch or 1, about.embed_dim, DECODES[name], DECODES[name], device=device)
    vq = {"force_not_quantize": True} if about.kind == "vq" else {}

    def ours(stage: nn.Module, dtype: torch.dtype) -> Call:
        given = _as(z, dtype)
        return lambda: stage.decode(given, **vq)

    def theirs(stage: nn.Module, dtype: torch.dtype) -> Call:
        given = _as(z, dtype)
        return lambda: stage.decode(given, **vq).sample

    return Subject(plain, ours, lambda: diffusers_first_stage(about, plain), theirs)


def _kinds(about: Subject, against: bool) -> dict[str, Kind]:
    """Return the KINDS whose dtype the processor computes in; all share one plain network.

    Those of diffusers are only included if `against`.
    """

    def fast(dtype: torch.dtype) -> Call:
        return about.ours(prepare(copy.deepcopy(about.plain), dtype), dtype)

    def theirs(dtype: torch.dtype) -> Call:
        return about.theirs(_converted(about.peer(), dtype), dtype)

    single, half = torch.float32, torch.bfloat16
    makers: tuple[Kind, ...] = (
        lambda: about.ours(about.plain, single),
        lambda: fast(single),
        lambda: fast(half),
        lambda: theirs(single),
        lambda: theirs(half),
    )
    every = dict(zip(KINDS, makers[: len(KINDS) if against else 3], strict=False))
    on_cpu = next(about.plain.parameters()).device.type == "cpu"
    if on_cpu and not has_arithmetic(half):
        every = {kind: make for kind, make in every.items() if "bfloat16" not in kind}
    return every


def _as(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Convert an input; bfloat16 on the CPU becomes channels-last, elsewhere the format is kept."""
    half = dtype == torch.bfloat16 and x.device.type == "cpu"
    return x.to(dtype, memory_format=torch.channels_last) if half else x.to(dtype)


def _converted(theirs: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Return diffusers' network unchanged in float32, or a copy in its fastest form in `dtype`."""
    return theirs if dtype == torch.float32 else best(copy.deepcopy(theirs), dtype)


def table(
    names: Sequence[str], *, against: bool, rounds: int = ROUNDS, busy: bool = False
) -> Iterator[str]:
    """Yield the figures as lines of Markdown, each as soon as it is measured; times are in ms."""
    peers = KINDS if against else KINDS[:3]
    heads = [f"{kind}, ms" for kind in peers]
    ratios = RATIOS if against else ()
    heads += [f"{slow} / {fast}" for slow, fast in ratios]
    heads += ["error of float32", "PSNR of bfloat16"]
    yield from (machine(), "")
    yield f"| what | {' | '.join(heads)} |"
    yield "|---" * (len(heads) + 1) + "|"
    for name in names or MODELS:
        got = run(name, against=against, rounds=rounds, busy=busy)
        yield f"| {got.what} | {' | '.join(got.cells(peers, ratios))} |"
