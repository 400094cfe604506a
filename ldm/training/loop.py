"""The training loop, the same for every kind of run.

All randomness of step k is drawn from (seed, k, process), and a snapshot holds everything else, so
a run that was killed and resumed ends in the same weights as one that was not.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader, Dataset

from ldm.errors import TrainingError
from ldm.runtime.device import has_bfloat16
from ldm.training.config import OptimizerConfig, TrainConfig
from ldm.training.ema import EMA
from ldm.training.snapshots import load_snapshot, save_snapshot

log = logging.getLogger(__name__)


class Run(Protocol):
    """What one kind of run brings along."""

    model: nn.Module  # all that is trained, behind one forward

    def batch(self, rng: np.random.Generator, size: int) -> tuple[Tensor, ...]:
        """`size` training examples, drawn from `rng` alone; CPU tensors, maybe in a process of
        its own."""

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The terms to log; `loss` is the one to minimise. `model` may wrap `self.model`."""

    def sample(self, model: nn.Module, path: Path) -> None:
        """Draw a picture of how well the averaged `model` does."""

    def export(self, model: nn.Module, step: int) -> None:
        """Write the averaged weights where the preset expects them."""

    def measured(self) -> dict[str, float]:
        """What was measured on the pictures when the run began: the weights are learned with it."""
        return {}

    def go_on_with(self, measured: dict[str, float]) -> None:
        """Take what was measured when the run began in place of what the pictures give today."""


def train(run: Run, config: TrainConfig, folder: Path, *, resume: bool) -> None:
    """Train `run` up to `config.steps`; `folder` gets snapshots, `stats.jsonl` and samples.

    Raises:
        TrainingError: If there is a run already and it is not to be resumed, or its snapshot cannot
            be used, or the weights grow without bound; what was written before stays.
    """
    if not resume and (folder / "snapshot.pt").exists():
        raise TrainingError(f"{folder} holds a run already; pass --resume, or move it away.")
    accelerator = Accelerator(mixed_precision=_precision(config))
    run.model.to(accelerator.device, memory_format=_memory_format(accelerator.device))
    ema = EMA(run.model, config.ema_decay)
    optimizer = _optimizer(run.model, config.optimizer)
    model, optimizer = accelerator.prepare(run.model, optimizer)
    step = _restore(folder, run, ema, optimizer) if resume else 0
    ema.model.to(accelerator.device)
    batches = iter(_batches(run, config, step, accelerator))
    stats = Stats(folder / "stats.jsonl", config, accelerator.is_main_process)
    while step < config.steps:
        _set_rate(optimizer, config, step)
        terms = _step(accelerator, model, optimizer, run, config, batches)
        ema.update(run.model)
        step += 1
        stats.add(step, terms, optimizer.param_groups[0]["lr"])
        last = step == config.steps
        if accelerator.is_main_process and (last or step % config.snapshot_every == 0):
            _check_finite(ema.model, step)
            save_snapshot(folder / "snapshot.pt", _state(step, run, ema, optimizer))
            run.export(ema.model, step)
        if accelerator.is_main_process and (last or step % config.sample_every == 0):
            run.sample(ema.model, folder / f"samples-{step:06d}.png")


def _precision(config: TrainConfig) -> str:
    """What the configuration asks for, but float32 where bfloat16 would only be imitated."""
    if config.precision == "no" or has_bfloat16(PartialState().device):
        return config.precision
    log.info("this machine has no arithmetic for bfloat16; training in float32")
    return "no"


def _check_finite(model: nn.Module, step: int) -> None:
    """Before weights take the place of others that work."""
    if not all(torch.isfinite(weight).all() for weight in model.parameters()):
        raise TrainingError(
            f"the weights are not finite at step {step}; take a lower optimizer.learning_rate, or "
            "resume from the snapshot before."
        )


def _step(
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    run: Run,
    config: TrainConfig,
    batches: Iterator[tuple[int, tuple[Tensor, ...]]],
) -> dict[str, Tensor]:
    """One optimiser step over `accumulate` batches; returns the terms of the last one."""
    for _ in range(config.accumulate):
        seed, batch = next(batches)
        torch.manual_seed(seed)
        batch = tuple(t.to(accelerator.device, non_blocking=True) for t in batch)
        with attention_kernel(accelerator.device):
            terms = run.loss(model, batch)
            accelerator.backward(terms["loss"] / config.accumulate)
    accelerator.clip_grad_norm_(model.parameters(), config.optimizer.clip_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return terms


class _Drawn(Dataset):
    """(step, part) -> the seed of what the step itself draws, and its batch."""

    def __init__(self, run: Run, config: TrainConfig, process: int) -> None:
        self.run, self.config, self.process = run, config, process

    def __getitem__(self, at: tuple[int, int]) -> tuple[int, tuple[Tensor, ...]]:
        seed = [self.config.seed, *at, self.process]
        batch = self.run.batch(np.random.default_rng(seed), self.config.batch_size)
        return int(np.random.SeedSequence(seed).generate_state(1)[0]), batch


def _batches(run: Run, config: TrainConfig, step: int, accelerator: Accelerator) -> DataLoader:
    """All batches from `step` on, drawn ahead by `config.workers` processes; they are the same
    however many there are."""
    return DataLoader(
        _Drawn(run, config, accelerator.process_index),
        batch_size=None,
        sampler=[(k, part) for k in range(step, config.steps) for part in range(config.accumulate)],
        num_workers=config.workers,
        pin_memory=accelerator.device.type == "cuda",
    )


def _memory_format(device: torch.device) -> torch.memory_format:
    """Channels-last where it is fast; on the CPU GroupNorm's backward pass crashes with it."""
    return torch.contiguous_format if device.type == "cpu" else torch.channels_last


def attention_kernel(device: torch.device) -> AbstractContextManager:
    """Plain matrix products on the CPU, where the fused kernel's backward pass is slower."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


def _optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """AdamW; norms and biases are not decayed."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    fused = next(model.parameters()).is_cuda or None  # None: as the library chooses
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=fused)


def _set_rate(optimizer: torch.optim.Optimizer, config: TrainConfig, step: int) -> None:
    about = config.optimizer
    warm = min(1.0, (step + 1) / max(1, about.warmup_steps))
    left = min(1.0, (config.steps - step) / max(1, about.decay_steps))
    for group in optimizer.param_groups:
        group["lr"] = about.learning_rate * warm * left


def _state(step: int, run: Run, ema: EMA, optimizer: Any) -> dict[str, Any]:
    return {
        "step": step,
        "model": run.model.state_dict(),
        "measured": run.measured(),
        "ema": ema.model.state_dict(),
        "ema_updates": ema.updates,
        "optimizer": optimizer.state_dict(),
    }


def _restore(folder: Path, run: Run, ema: EMA, optimizer: Any) -> int:
    """Load the snapshot of `folder` if there is one; returns the step to go on from."""
    path = folder / "snapshot.pt"
    if not path.exists():
        log.info("%s does not exist yet; starting at step 0", path)
        return 0
    state = load_snapshot(path)
    try:
        run.model.load_state_dict(state["model"])
        ema.model.load_state_dict(state["ema"])
        ema.updates = state["ema_updates"]
        optimizer.load_state_dict(state["optimizer"])
    except (KeyError, RuntimeError, ValueError) as error:
        raise TrainingError(
            f"{path} is of another model than the configuration's; move it away to start anew."
        ) from error
    if measured := state.get("measured"):  # not in snapshots of before it was kept
        run.go_on_with(measured)
    log.info("resuming at step %d", state["step"])
    return state["step"]


class Stats:
    """Means of the logged terms, a JSON line and a log line every `log_every` steps."""

    def __init__(self, path: Path, config: TrainConfig, enabled: bool) -> None:
        self.path = path
        self.config = config
        self.enabled = enabled
        self.sums: dict[str, Tensor] = {}
        self.count = 0
        self.since = time.perf_counter()
        path.parent.mkdir(parents=True, exist_ok=True)

    def add(self, step: int, terms: dict[str, Tensor], rate: float) -> None:
        """Note one step; nothing is synchronised with the device before a line is due."""
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach()
        self.count += 1
        if step % self.config.log_every == 0 and self.enabled:
            self._write(step, rate)

    def _write(self, step: int, rate: float) -> None:
        seconds = time.perf_counter() - self.since
        images = self.count * self.config.batch_size * self.config.accumulate
        line = {"step": step, "images_per_second": round(images / seconds, 2), "rate": rate}
        line |= {name: float(total) / self.count for name, total in self.sums.items()}
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        about = "  ".join(f"{name} {value:.4g}" for name, value in line.items() if name != "step")
        log.info("step %d / %d  %s", step, self.config.steps, about)
        self.sums, self.count, self.since = {}, 0, time.perf_counter()
