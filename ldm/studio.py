"""A request goes in; progress and finished, saved pictures come out."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from ldm import metadata
from ldm.catalog.hashes import weights_sha256
from ldm.catalog.registry import load_preset
from ldm.catalog.schema import Preset
from ldm.errors import RequestError
from ldm.requests import MAX_SEED, Progress, Result
from ldm.runtime.manager import ModelManager
from ldm.tasks import RUNNERS


class Studio:
    """Runs requests, one after the other.

    Args:
        device: "auto", "cpu", "cuda" or "mps".
        memory_budget: Bytes for loaded models; None takes a share of what is free.
        data_dir: Pictures are saved in `outputs/<date>/` under it.
        manager: Owner of the models; None makes one.
    """

    def __init__(
        self,
        *,
        device: str = "auto",
        memory_budget: int | None = None,
        data_dir: Path = Path("data"),
        manager: ModelManager | None = None,
    ) -> None:
        self.manager = manager or ModelManager(device=device, memory_budget=memory_budget)
        self.data_dir = Path(data_dir)

    def run(self, request: Any) -> Iterator[Progress | Result]:
        """Meet a request; closing the iterator stops the work within a step.

        Yields:
            Progress, then one Result with the paths of the saved pictures.

        Raises:
            LDMError: In one sentence, if the request cannot be met.
        """
        begin = time.perf_counter()
        preset = load_preset(request.preset)
        request = resolve(request, preset)
        yield Progress(f"loading {preset.title}")
        with self.manager.use(preset.name) as model:
            loaded = time.perf_counter()
            for event in RUNNERS[request.task](model, request):
                now = time.perf_counter()
                if isinstance(event, Result):
                    yield self._save(replace(event, seconds=now - begin), preset)
                else:
                    left = (now - loaded) / max(event.step, 1) * (event.total - event.step)
                    yield replace(event, seconds=now - begin, eta_seconds=left)

    def load(self, preset_name: str) -> None:
        """Bring a model into memory before it is asked for."""
        with self.manager.use(preset_name):
            pass

    def _save(self, result: Result, preset: Preset) -> Result:
        now = datetime.now()
        folder = self.data_dir / "outputs" / now.strftime("%Y-%m-%d")
        folder.mkdir(parents=True, exist_ok=True)
        weights = weights_sha256(preset)
        paths = []
        for request, image in zip(result.requests, result.images, strict=True):
            path = _free_path(folder, f"{now.strftime('%H%M%S')}-{request.seed}")
            metadata.save(path, image, request, weights)
            paths.append(path)
        return replace(result, paths=tuple(paths))


def resolve(request: Any, preset: Preset) -> Any:
    """The request with every None filled in from the preset; the seed is drawn.

    Raises:
        RequestError: If the preset is for another task.
    """
    if preset.task != request.task:
        raise RequestError(f"{preset.name} does {preset.task}, not {request.task}.")
    defaults = {
        "width": preset.width,
        "height": preset.height,
        "steps": preset.defaults.steps,
        "sampler": preset.defaults.sampler,
        "guidance_scale": preset.defaults.guidance_scale,
        "seed": secrets.randbelow(MAX_SEED + 1),
    }
    names = {field.name for field in fields(request)}
    missing = {n: v for n, v in defaults.items() if n in names and getattr(request, n) is None}
    return replace(request, **missing)


def _free_path(folder: Path, stem: str) -> Path:
    """A PNG path that does not exist yet."""
    path = folder / f"{stem}.png"
    number = 2
    while path.exists():
        path = folder / f"{stem}-{number}.png"
        number += 1
    return path
