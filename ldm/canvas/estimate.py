"""How much memory a network will take, from runs on small canvases."""

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
from ldm.canvas.calibration import Calibration, calibrate
from ldm.canvas.facts import Bands, Facts, Line, Work
from ldm.canvas.operations import banded
from ldm.canvas.workspace import Rehearsal
from ldm.models.first_stage import DiagonalGaussian

GAPS = 0.9  # bytes of gaps per byte of tensors on a CPU, as long as they are small


class LiveBytes(TorchDispatchMode):
    """Counts the tensors that are made while it is entered, and forgets those that are gone."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.peak = 0
        self._known: set[int] = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled here; to tell it so, torch would import its compiler: 2 seconds."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Run the operation and count what it made."""
        made = func(*args, **(kwargs or {}))
        for value in tree_leaves(made):
            if isinstance(value, Tensor) and value.layout == torch.strided:  # no packed weights
                self._count(value)
        return made

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage.data_ptr()
        if key in self._known:  # a view, or changed in place
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
    """Fit the line to two square canvases.

    Every layer of our networks takes memory in proportion to the area (attention is fused), so two
    points are enough. Only the working memory of wide convolutions on the CPU stops growing at some
    size; of those the line tells too much.

    Args:
        run: Runs the network on a canvas of so many cells a side.
        sides: Two sides that the network takes; the larger they are, the surer the line.
    """
    small, large = (_peak(run, side) for side in sides)
    areas = [side * side for side in sides]
    slope = (large - small) / (areas[1] - areas[0])
    return Line(small - slope * areas[0], slope)


def _peak(run: Callable[[int], Any], side: int) -> int:
    run(side)  # weights are put in order for this size
    with LiveBytes() as live:
        run(side)
    return live.peak


def bands_of(run: Callable[[Any], Any], side: int, like: Tensor) -> Bands:
    """What a network takes in bands, from a rehearsal with everything on the disk.

    Args:
        run: Runs the network on a map.
        side: Cells a side of the rehearsed canvas.
        like: Its input, a square of so many cells.
    """
    space = Rehearsal(0)
    run(banded(like, space))
    return Bands(space.least / side, space.most_spilled / side**2)


def work_of(run: Callable[[Any], Any], of: Callable[[int], Tensor], side: int) -> Work:
    """Count a network's operations in rehearsals of three square canvases: they settle a parabola.

    Args:
        run: Runs the network on a map.
        of: Makes the map of so many cells a side.
        side: The smallest; the others are twice and four times as large.
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
    """The networks of a `LatentDiffusion` on inputs of zeros, whole or in bands.

    Args:
        model: The model.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.unet, self.stage = model.unet, model.first_stage
        multiple = self.unet.factor
        self.sides = tuple(multiple * max(1, side // multiple) for side in (16, 32))

    def noisy(self, side: int) -> Tensor:
        """What the UNet takes."""
        return self._zeros(self.unet.in_channels, side)

    def latents(self, side: int) -> Tensor:
        """What the decoder takes."""
        return self._zeros(self.model.latent_channels, side)

    def image(self, side: int) -> Tensor:
        """What the encoder takes."""
        return self._zeros(3, self.model.factor * side)

    @property
    def differs_in_context(self) -> bool:
        """Whether nothing but the context differs between two conditions of a picture."""
        has_label = self.unet.label_emb is not None
        is_beside = self.unet.in_channels != self.model.latent_channels  # concatenated channels
        return self.unet.context_dim is not None and not (has_label or is_beside)

    def denoise(self, x: Any, contexts: int = 1) -> Any:
        """One pass of the UNet, under so many contexts."""
        about: dict[str, Any] = {}
        if self.unet.context_dim is not None:
            context = torch.zeros(contexts, 77, self.unet.context_dim)
            about["context"] = context.to(x.device, x.dtype)
        t = torch.zeros(1, dtype=torch.int64, device=x.device)
        if self.unet.label_emb is not None:
            about["y"] = t
        return _whole(self.unet(x, t, **about))

    def decode(self, z: Any) -> Any:
        """One decode."""
        return _whole(self.stage.decode(z))

    def encode(self, image: Any) -> Any:
        """One encode."""
        code = self.stage.encode(image)
        return _whole(code.mean if isinstance(code, DiagonalGaussian) else code)

    def _zeros(self, channels: int, side: int) -> Tensor:
        shape, model = (1, channels, side, side), self.model
        return torch.zeros(shape, dtype=model.dtype, device=model.device)


def _whole(made: Any) -> Any:
    return made.whole() if isinstance(made, Banded) else made


@torch.inference_mode()
def facts_of(model: Any) -> Facts:
    """Measure a `LatentDiffusion` on tiny canvases: its memory, whole and in bands."""
    trial = Trial(model)
    ways = {
        "unet": (trial.denoise, trial.noisy),
        "decoder": (trial.decode, trial.latents),
        "encoder": (trial.encode, trial.image),
    }
    found: dict[str, Any] = {}
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
def calibration_of(model: Any) -> Calibration:
    """Facts and first times of a model; takes a second or two."""
    trial = Trial(model)
    runs = {
        "unet": lambda side: (trial.denoise(trial.noisy(side)), model.wait()),
        "decoder": lambda side: (trial.decode(trial.latents(side)), model.wait()),
    }
    # on CUDA the first run of a size sets up, the second may be recorded
    unseen = 2 if model.device.type == "cuda" else 0
    return calibrate(facts_of(model), runs, trial.sides[0], unseen)
