"""The training loop, shared by all kinds of runs.

All randomness of step k is seeded with (seed, k, batch, process), and a snapshot holds all other
state. A run that was killed and resumed therefore ends in the same weights as an uninterrupted one.
"""

from __future__ import annotations

import logging
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
from ldm.training.ending import asked_to_end
from ldm.training.snapshots import load_snapshot, save_snapshot
from ldm.training.stats import Stats

SNAPSHOT = "snapshot.pt"  # in the folder of a run
COMPARED = 256  # pictures, drawn again if there are fewer
SHORT = 50  # a run of fewer steps than this for each batch of them compares fewer

log = logging.getLogger(__name__)


class Run(Protocol):
    """What the training loop needs of one kind of run."""

    model: nn.Module  # all trained parts, with a single forward
    held_out: Run | None = None  # the same run on pictures that it is not trained on

    def batch(self, rng: np.random.Generator, size: int) -> tuple[Tensor, ...]:
        """Return `size` training examples as CPU tensors, with randomness from `rng` alone.

        This may run in a worker process.
        """

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Return the terms to log; "loss" is minimised. `model` may be `self.model`, wrapped."""

    def sample(self, model: nn.Module, path: Path) -> None:
        """Write a sample picture of the averaged `model`."""

    def export(self, model: nn.Module, step: int) -> None:
        """Write the averaged weights to the preset's weight file."""

    def measured(self) -> dict[str, float]:
        """Values measured on the data at the start of the run, on which the weights depend."""
        return {}

    def go_on_with(self, measured: dict[str, float]) -> None:
        """Use the measured values of a snapshot instead of those of the current data."""


def train(run: Run, config: TrainConfig, folder: Path, *, resume: bool) -> None:
    """Train `run` up to `config.steps`; write snapshots, `stats.jsonl` and samples to `folder`.

    Raises:
        TrainingError: If the folder holds a run and `resume` is False, if the snapshot cannot be
            used, or if the weights are not finite. Files that were written before are kept.
        KeyboardInterrupt: After Ctrl+C or SIGTERM, when the step is done and its snapshot saved.
    """
    if not resume and (folder / SNAPSHOT).exists():
        raise TrainingError(f"{folder} holds a run already; pass --resume, or move it away.")
    accelerator = Accelerator(mixed_precision=_precision(config))
    run.model.to(accelerator.device, memory_format=_memory_format(accelerator.device))
    ema = EMA(run.model, config.ema_decay)
    optimizer = _optimizer(run.model, config.optimizer)
    model, optimizer = accelerator.prepare(run.model, optimizer)
    step = _restore(folder, run, ema, optimizer) if resume else 0
    ema.model.to(accelerator.device)
    stats = Stats(folder / "stats.jsonl", config, accelerator.is_main_process)
    with asked_to_end() as is_asked:
        batches = iter(_batches(run, config, step, accelerator))  # its workers are not ended either
        while step < config.steps:
            _set_rate(optimizer, config, step)
            terms = _step(accelerator, model, optimizer, run, config, batches)
            ema.update(run.model)
            step += 1
            last, ends = step == config.steps, _any(accelerator, is_asked())
            is_shown = accelerator.is_main_process and (last or step % config.sample_every == 0)
            with stats.paused():
                compared = compare(run, ema.model, config) if is_shown else {}
            stats.add(step, terms, optimizer.param_groups[0]["lr"], compared)
            is_due = last or ends or step % config.snapshot_every == 0
            if is_due:  # in every process: the others would wait for ever for one that ended
                _check_finite(ema.model, step)
            if accelerator.is_main_process and is_due:
                run.export(ema.model, step)  # first: a run that is killed here comes here again
                save_snapshot(folder / SNAPSHOT, _state(step, run, ema, optimizer))
            if is_shown:
                run.sample(ema.model, folder / f"samples-{step:06d}.png")
            if ends and not last:
                log.info("ended after step %d; --resume goes on from there", step)
                raise KeyboardInterrupt


@torch.no_grad()
def compare(run: Run, model: nn.Module, config: TrainConfig) -> dict[str, float]:
    """Return the loss of the averaged `model` on held-out pictures, and on some of the training.

    The latter falls below the former as the model learns its pictures by heart. Both are over the
    same noise, which is the same every time. A run without held-out pictures: an empty dictionary.
    """
    if run.held_out is None:
        return {}
    device = next(model.parameters()).device
    enough = -(-COMPARED // config.batch_size)
    pieces = range(min(enough, 1 + config.steps // SHORT))
    found = {}
    for name, data in (("held_out_loss", run.held_out), ("trained_loss", run)):
        losses = []
        for piece in pieces:
            torch.manual_seed(piece)  # each step of the training is seeded anew
            batch = data.batch(np.random.default_rng(piece), config.batch_size)
            with attention_kernel(device):
                losses.append(data.loss(model, tuple(t.to(device) for t in batch))["loss"])
        found[name] = float(torch.stack(losses).mean())
    return found


def _any(accelerator: Accelerator, here: bool) -> bool:
    """Whether something is so in any process: all have to end after the same step."""
    if accelerator.num_processes == 1:
        return here
    number = torch.tensor(float(here), device=accelerator.device)
    return bool(accelerator.reduce(number, "sum") > 0)


def _precision(config: TrainConfig) -> str:
    """The configured precision, but float32 on devices that only emulate bfloat16."""
    if config.precision == "no" or has_bfloat16(PartialState().device):
        return config.precision
    log.info("this machine has no arithmetic for bfloat16; training in float32")
    return "no"


def _check_finite(model: nn.Module, step: int) -> None:
    """Check that all weights are finite, before a snapshot replaces a good one."""
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
    """Dataset: (step, batch of the step) -> (torch seed of the forward pass, training batch)."""

    def __init__(self, run: Run, config: TrainConfig, process: int) -> None:
        self.run, self.config, self.process = run, config, process

    def __getitem__(self, at: tuple[int, int]) -> tuple[int, tuple[Tensor, ...]]:
        seed = [self.config.seed, *at, self.process]
        batch = self.run.batch(np.random.default_rng(seed), self.config.batch_size)
        return int(np.random.SeedSequence(seed).generate_state(1)[0]), batch


def _batches(run: Run, config: TrainConfig, step: int, accelerator: Accelerator) -> DataLoader:
    """All batches from `step` on, prepared by `config.workers` processes.

    The batches do not depend on the number of processes.
    """
    return DataLoader(
        _Drawn(run, config, accelerator.process_index),
        batch_size=None,
        sampler=[(k, part) for k in range(step, config.steps) for part in range(config.accumulate)],
        num_workers=config.workers,
        pin_memory=accelerator.device.type == "cuda",
    )


def _memory_format(device: torch.device) -> torch.memory_format:
    """Channels-last, except on the CPU, where GroupNorm's backward pass crashes with it."""
    return torch.contiguous_format if device.type == "cpu" else torch.channels_last


def attention_kernel(device: torch.device) -> AbstractContextManager:
    """Use plain attention on the CPU, where the fused kernel's backward pass is slower."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


def _optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """AdamW without weight decay of norms and biases."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    fused = next(model.parameters()).is_cuda or None  # None: the library's default
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
    """Load the snapshot of `folder` if there is one; return the step to resume from."""
    path = folder / SNAPSHOT
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
    if measured := state.get("measured"):  # missing in old snapshots
        run.go_on_with(measured)
    log.info("resuming at step %d", state["step"])
    return state["step"]
