"""A UNet step and a decode: our plain networks, those of inference, and the diffusers library.

All kinds hold the same weights and run in turn in one process; the least of the rounds counts, for
other work on the machine can only make a round slower. On a machine that is never quiet, `busy`
takes one thread and counts the processor's time instead of the clock's. Published presets get
random weights, which change neither the arithmetic nor the time; the shipped ones have their own.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ldm.benchmarks.peers import check_installed, diffusers_first_stage, diffusers_unet
from ldm.catalog.build import build_first_stage, build_model
from ldm.catalog.registry import load_preset
from ldm.catalog.schema import Architecture, Preset
from ldm.checkpoints.apply import load_files
from ldm.errors import RequestError
from ldm.models.inference import prepare

STEPS = {  # preset -> pictures, cells a side
    "demo-text-to-image": (2, 32),  # guidance: two at once
    "demo-semantic": (1, 32),
    "semantic-synthesis256": (1, 64),
    "bsr-sr": (1, 64),
    "celeba256": (1, 64),
    "text2img-large": (1, 32),
}
DECODES = {"demo-kl-f4": 128, "kl-f8": 64, "vq-f4-noattn": 128}  # first stage -> cells a side
MODELS = (*STEPS, *DECODES)
KINDS = ("plain float32", "float32", "bfloat16", "diffusers float32", "diffusers bfloat16")
ROUNDS = 5
TOKENS = 77


@dataclass(frozen=True)
class Timed:
    """Least seconds of each kind, and how far bfloat16 is from float32."""

    what: str
    seconds: dict[str, float]
    error: float  # of the fast float32 kind, share of the largest value
    psnr: float  # of the fast bfloat16 kind, dB

    def ratio(self, slow: str, fast: str) -> str:
        """How many times faster, where both were timed."""
        if slow not in self.seconds:
            return "-"
        return f"{self.seconds[slow] / self.seconds[fast]:.2f}x"


def run(name: str, *, against: bool, rounds: int = ROUNDS, busy: bool = False) -> Timed:
    """Time one model.

    Args:
        name: One of MODELS.
        against: Whether diffusers runs too.
        rounds: Of all kinds in turn; the first comes on top.
        busy: Processor time on one thread.

    Raises:
        RequestError: If the name is none of MODELS, or diffusers is asked for and not there.
    """
    if name not in MODELS:
        raise RequestError(f"--model must be one of {', '.join(MODELS)}, got {name!r:.60}.")
    if against:
        check_installed()
    torch.manual_seed(0)
    if busy:
        torch.set_num_threads(1)
    with torch.inference_mode():
        kinds = _steps(name, against) if name in STEPS else _decodes(name, against)
        made = {kind: call().float() for kind, call in kinds.items()}  # packs, too
        seconds = _least(kinds, rounds, time.process_time if busy else time.perf_counter)
    plain = made["plain float32"]
    cells = STEPS[name][1] if name in STEPS else DECODES[name]
    what = f"{name}, {'step' if name in STEPS else 'decode'} of {cells} x {cells} cells"
    error = float((made["float32"] - plain).abs().max() / plain.abs().max())
    return Timed(what, seconds, error, _psnr(made["bfloat16"], plain))


def _least(
    kinds: dict[str, Callable[[], Any]], rounds: int, clock: Callable[[], float]
) -> dict[str, float]:
    least = dict.fromkeys(kinds, math.inf)
    for _ in range(rounds):
        for kind, call in kinds.items():
            begin = clock()
            call()
            least[kind] = min(least[kind], clock() - begin)
    return least


def _psnr(got: Tensor, want: Tensor) -> float:
    span = float(want.max() - want.min())
    return 20 * math.log10(span) - 10 * math.log10(float((got - want).square().mean()))


def _steps(name: str, against: bool) -> dict[str, Callable[[], Tensor]]:
    preset = load_preset(name)
    about = preset.architecture.unet
    B, side = STEPS[name]
    plain = _weighted(preset).unet
    x, t = torch.randn(B, about.in_channels, side, side), torch.full((B,), 500)
    context = torch.randn(B, TOKENS, about.context_dim) if about.context_dim else None
    half = x.bfloat16().contiguous(memory_format=torch.channels_last)
    half_context = None if context is None else context.bfloat16()
    kinds = {"plain float32": lambda: plain(x, t, context)}
    fast = prepare(copy.deepcopy(plain), torch.float32)
    kinds["float32"] = lambda: fast(x, t, context)
    faster = prepare(copy.deepcopy(plain), torch.bfloat16)
    kinds["bfloat16"] = lambda: faster(half, t, half_context)
    if against:
        theirs = diffusers_unet(about, plain)
        half_theirs = _halved(theirs)
        key = "encoder_hidden_states"
        given = {} if context is None else {key: context}
        half_given = {} if context is None else {key: half_context}
        kinds["diffusers float32"] = lambda: theirs(x, t, **given).sample
        kinds["diffusers bfloat16"] = lambda: half_theirs(half, t, **half_given).sample
    return kinds


def _decodes(name: str, against: bool) -> dict[str, Callable[[], Tensor]]:
    about = load_preset(name).architecture.first_stage
    plain = _random(build_first_stage(Architecture(first_stage=about), "cpu"))
    z = torch.randn(1, about.embed_dim, DECODES[name], DECODES[name])
    half = z.bfloat16().contiguous(memory_format=torch.channels_last)
    vq = {"force_not_quantize": True} if about.kind == "vq" else {}
    fast = prepare(copy.deepcopy(plain), torch.float32)
    faster = prepare(copy.deepcopy(plain), torch.bfloat16)
    kinds = {
        "plain float32": lambda: plain.decode(z, **vq),
        "float32": lambda: fast.decode(z, **vq),
        "bfloat16": lambda: faster.decode(half, **vq),
    }
    if against:
        theirs = diffusers_first_stage(about, plain)
        half_theirs = _halved(theirs)
        kinds["diffusers float32"] = lambda: theirs.decode(z, **vq).sample
        kinds["diffusers bfloat16"] = lambda: half_theirs.decode(half, **vq).sample
    return kinds


def _halved(theirs: nn.Module) -> nn.Module:
    """The library's best variant on a CPU."""
    return copy.deepcopy(theirs).to(torch.bfloat16, memory_format=torch.channels_last)


def _weighted(preset: Preset) -> Any:
    """With its own weights where they are; else the UNet alone, with random ones."""
    if preset.is_on_disk:
        model = build_model(preset)
        load_files(model, preset.weight_paths, dtype=torch.float32, device="cpu")
        return model.requires_grad_(False)
    about = preset.architecture
    stage = dataclasses.replace(about.first_stage, kind="identity", n_embed=None)
    model = build_model(dataclasses.replace(about, first_stage=stage), "meta")
    model.unet.to_empty(device="cpu")
    _random(model.unet)
    return model


def _random(network: nn.Module) -> nn.Module:
    """Weights of a size that keeps the numbers near 1; many begin at zero."""
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 4
        parameter.data.normal_(0.0, fan_in**-0.5, generator=generator)
    return network.eval().requires_grad_(False)


def table(
    names: Sequence[str], *, against: bool, rounds: int = ROUNDS, busy: bool = False
) -> Iterator[str]:
    """The figures as Markdown, a line as soon as it is known; seconds in ms."""
    peers = KINDS if against else KINDS[:3]
    heads = [f"{kind}, ms" for kind in peers]
    ratios = [
        ("diffusers float32", "bfloat16"),
        ("diffusers bfloat16", "bfloat16"),
        ("diffusers float32", "float32"),
    ]
    heads += [f"{slow} / {fast}" for slow, fast in ratios] if against else []
    heads += ["error of float32", "PSNR of bfloat16"]
    yield f"| what | {' | '.join(heads)} |"
    yield "|---" * (len(heads) + 1) + "|"
    for name in names or MODELS:
        got = run(name, against=against, rounds=rounds, busy=busy)
        cells = [f"{1000 * got.seconds[kind]:.1f}" for kind in peers]
        cells += [got.ratio(*pair) for pair in ratios] if against else []
        cells += [f"{got.error:.0e}", f"{got.psnr:.0f} dB"]
        yield f"| {got.what} | {' | '.join(cells)} |"
