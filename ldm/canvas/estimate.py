"""Measurement of a model's memory, work and speed, by runs and rehearsals on small canvases."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ldm.canvas.banded import Banded
from ldm.canvas.calibration import Calibration, Rates, calibrate
from ldm.canvas.facts import Bands, Facts, Line, Work
from ldm.canvas.operations import banded
from ldm.canvas.workspace import Rehearsal
from ldm.models.first_stage import mode_of

OF_FIRST_STAGE = ("decoder", "encoder", "decoder_bands", "encoder_bands", "decoder_work")
GAPS = 0.9  # bytes that malloc loses in gaps per byte of tensors on a CPU; see `facts.Line`


class LiveBytes(TorchDispatchMode):
    """A dispatch mode that counts the bytes of the tensors created in it and still alive."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.peak = 0
        self._known: set[int] = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False, so that torch does not import its compiler, which takes 2 seconds."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Run the operation and count the tensors that it creates."""
        made = func(*args, **(kwargs or {}))
        for value in tree_leaves(made):
            if isinstance(value, Tensor) and value.layout == torch.strided:  # not packed weights
                self._count(value)
        return made

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage.data_ptr()
        if key in self._known:  # a view, or the result of an in-place operation
            return
        nbytes = storage.nbytes()
        self._known.add(key)
        self.now += nbytes
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key, nbytes)

    def _forget(self, key: int, nbytes: int) -> None:
        self._known.discard(key)
        self.now -= nbytes


def line_of(run: Callable[[int], Any], sides: tuple[int, int]) -> Line:
    """Fit peak memory as a line over the area, from two square canvases.

    Every layer of our networks takes memory in proportion to the area (attention is fused), so two
    points are enough. Only the working memory of wide convolutions on the CPU stops growing at some
    size; there the line overestimates.

    Args:
        run: Runs the network on a square canvas of the given side in cells.
        sides: Two sides that the network accepts; larger ones give a more accurate line.
    """
    small, large = (_peak(run, side) for side in sides)
    areas = [side * side for side in sides]
    slope = (large - small) / (areas[1] - areas[0])
    return Line(small - slope * areas[0], slope)


def _peak(run: Callable[[int], Any], side: int) -> int:
    run(side)  # the first run reorders weights for this size, which is not to be counted
    with LiveBytes() as live:
        run(side)
    return live.peak


def bands_of(run: Callable[[Any], Any], side: int, like: Tensor) -> Bands:
    """Measure what a network takes in bands, by a rehearsal with all maps on the disk.

    Args:
        run: Runs the network on a map.
        side: Side of the rehearsed square canvas in cells.
        like: The network's input for this canvas.
    """
    space = Rehearsal(0)
    run(banded(like, space))
    return Bands(space.least / side, space.most_spilled / side**2)


def work_of(run: Callable[[Any], Any], of: Callable[[int], Tensor], side: int) -> Work:
    """Fit a network's operations as a parabola over the area, from three square rehearsals.

    Args:
        run: Runs the network on a map.
        of: Side in cells -> the network's input for a square canvas.
        side: The smallest side; the others are twice and four times as long.
    """
    counts, areas = [], torch.tensor([side**2 * 4**i for i in range(3)], dtype=torch.float64)
    for doublings in range(3):
        space = Rehearsal(0)
        run(banded(of(side << doublings), space))
        counts.append(space.operations)
    powers = torch.stack([areas**0, areas, areas**2], dim=1)
    fitted = torch.linalg.solve(powers, torch.tensor(counts, dtype=torch.float64))
    return Work(*(max(0.0, float(value)) for value in fitted))


class Trial:
    """Runs of a `LatentDiffusion`'s networks on zeros; a banded input makes them run in bands.

    Args:
        model: The model.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.unet, self.stage = model.unet, model.first_stage
        multiple = self.unet.factor
        self.sides = tuple(multiple * max(1, side // multiple) for side in (16, 32))

    def noisy(self, side: int) -> Tensor:
        """Return the UNet's input for a square of `side` cells."""
        return self._zeros(self.unet.in_channels, side)

    def latents(self, side: int) -> Tensor:
        """Return the decoder's input for a square of `side` cells."""
        return self._zeros(self.model.latent_channels, side)

    def image(self, side: int) -> Tensor:
        """Return the encoder's input for a square of `side` cells."""
        return self._zeros(3, self.model.factor * side)

    @property
    def differs_in_context(self) -> bool:
        """Whether two conditions of one picture differ in the context only."""
        has_label = self.unet.label_emb is not None
        # concatenated channels; those around a hole do not depend on the words about it
        is_beside = self.unet.in_channels != self.model.latent_channels
        is_free = not is_beside or self.model.conditioning == "hybrid"
        return self.unet.context_dim is not None and is_free and not has_label

    def denoise(self, x: Any, contexts: int = 1) -> Any:
        """Run the UNet once, for one picture under `contexts` contexts."""
        about: dict[str, Any] = {}
        if self.unet.context_dim is not None:
            context = torch.zeros(contexts, 77, self.unet.context_dim)
            about["context"] = context.to(x.device, x.dtype)
        t = torch.zeros(1, dtype=torch.int64, device=x.device)
        if self.unet.label_emb is not None:
            about["y"] = t
        return _whole(self.unet(x, t, **about))

    def decode(self, z: Any) -> Any:
        """Decode once."""
        return _whole(self.stage.decode(z))

    def encode(self, image: Any) -> Any:
        """Encode once; of a posterior, the mean is computed."""
        return _whole(mode_of(self.stage.encode(image)))

    def _zeros(self, channels: int, side: int) -> Tensor:
        shape, model = (1, channels, side, side), self.model
        return torch.zeros(shape, dtype=model.dtype, device=model.device)


def _whole(made: Any) -> Any:
    return made.whole() if isinstance(made, Banded) else made


@torch.inference_mode()
def facts_of(model: Any, same: Facts | None = None) -> Facts:
    """Measure a `LatentDiffusion` on tiny canvases: memory whole and in bands, and operations.

    Args:
        model: The model.
        same: Facts of another model on the same first stage, which is then not measured again.
    """
    trial = Trial(model)
    ways: dict[str, Any] = {"unet": (trial.denoise, trial.noisy)}
    if same is None:
        ways["decoder"] = (trial.decode, trial.latents)
        ways["encoder"] = (trial.encode, trial.image)
    found = {} if same is None else {name: getattr(same, name) for name in OF_FIRST_STAGE}
    for name, (run, of) in ways.items():
        line = line_of(lambda side, run=run, of=of: run(of(side)), trial.sides)
        found[name] = replace(line, gaps=GAPS if model.device.type == "cpu" else 0.0)
        found[f"{name}_bands"] = bands_of(run, trial.sides[1], of(trial.sides[1]))
        if name != "encoder":
            found[f"{name}_work"] = work_of(run, of, trial.sides[0])
    found["guided_work"] = found["unet_work"].times(2)
    if trial.differs_in_context:
        found["guided_work"] = work_of(lambda x: trial.denoise(x, 2), trial.noisy, trial.sides[0])
    height, width = model.trained_size or (0, 0)
    return Facts(
        factor=model.factor,
        multiple=model.size_multiple,
        trained_rows=height // model.factor,
        trained_columns=width // model.factor,
        cells_at_once=model.cells_at_once,
        **found,
    )


@torch.inference_mode()
def calibration_of(model: Any, same: Calibration | None = None) -> Calibration:
    """Measure the facts and first times of a model; this takes a second or two.

    Args:
        model: The model.
        same: Calibration of another model on the same first stage, which takes more than half of
            the time; it is then not measured again.
    """
    trial = Trial(model)
    runs = {"unet": lambda side: (trial.denoise(trial.noisy(side)), model.wait())}
    if same is None:
        runs["decoder"] = lambda side: (trial.decode(trial.latents(side)), model.wait())
    # on CUDA the first run of a size sets kernels up, and the second may record a CUDA graph
    unseen = 2 if model.device.type == "cuda" else 0
    made = calibrate(facts_of(model, same and same.facts), runs, trial.sides[0], unseen)
    if same is not None:
        made.rates["decoder"] = Rates(list(same.rates.get("decoder", Rates()).times))
    return made
