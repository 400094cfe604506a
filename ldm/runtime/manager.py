"""The cache of loaded models: loaded on first use, kept while they fit, evicted oldest first."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ldm.catalog.build import build_model, build_preview, count_parameters
from ldm.catalog.hashes import weight_stamps
from ldm.catalog.registry import load_preset
from ldm.catalog.schema import Preset
from ldm.checkpoints.apply import load_files, load_preview
from ldm.checkpoints.parts import is_there
from ldm.errors import CheckpointError, MemoryBudgetError
from ldm.inference.packed import seal
from ldm.inference.prepare import prepare, prepared_bytes
from ldm.runtime.device import choose_device, choose_dtype, exact_float32
from ldm.runtime.memory import default_budget, format_bytes, in_bytes

log = logging.getLogger(__name__)


@dataclass
class _Entry:
    """A loaded model and its use count."""

    model: Any
    nbytes: int
    source: Any  # see `_source`: the preset and the state of its weight files at loading
    pins: int = 0  # uses in progress; a pinned model is not evicted


class ModelManager:
    """The one owner of loaded models.

    Args:
        device: "auto", "cpu", "cuda" or "mps", or one with a number, like "cuda:1".
        memory_budget: For all loaded models together: bytes, or text like "4GiB"; None: a share of
            the free memory.
        precision: "auto", "float32" or "bfloat16"; auto is float32 on the CPU.
        prepared: Whether networks are made fast on the CPU and on CUDA, see
            `ldm.inference.prepare`. False: plain networks that can be differentiated, copied and
            trained, but are slower; their weights want no gradients until `requires_grad_()`.
        models_dir: Folder of the user's own models and of downloads; None: `models`.
        load: Preset -> model; None: read the preset's files.
        size_of: Preset -> bytes that the model will take; None: estimate them.
    """

    def __init__(
        self,
        *,
        device: str = "auto",
        memory_budget: int | str | None = None,
        precision: str = "auto",
        prepared: bool = True,
        models_dir: Path | str | None = None,
        load: Callable[[Preset], Any] | None = None,
        size_of: Callable[[Preset], int] | None = None,
    ) -> None:
        self.device = choose_device(device)
        self.dtype = choose_dtype(self.device, precision)
        if self.device.type == "cuda":
            exact_float32()
        free = default_budget(self.device) if memory_budget is None else memory_budget
        self.memory_budget = in_bytes(free)
        # elsewhere only plain networks were tried
        self._is_prepared = prepared and self.device.type in ("cpu", "cuda")
        self._places = {} if models_dir is None else {"models_dir": Path(models_dir)}
        self._load = load or self._load_files
        self._size_of = size_of or self._estimate
        self._entries: OrderedDict[str, _Entry] = OrderedDict()  # least recently used first
        self._reserved = 0  # bytes of models that are being loaded
        self._lock = threading.Lock()
        self._name_locks: dict[str, threading.Lock] = {}

    def preset(self, name: str, tasks: Sequence[str] | None = None) -> Preset:
        """Return the preset of a model, of the manager's own folder of models.

        Raises:
            PresetError: If there is none of this name that does one of `tasks`; None: any.
        """
        return load_preset(name, tasks=tasks, **self._places)

    @contextmanager
    def use(self, name: str) -> Iterator[Any]:
        """Yield the model of a preset, loaded if needed and kept in memory until the block ends.

        Raises:
            PresetError: If there is no such preset.
            CheckpointError: If its weights are missing or broken.
            MemoryBudgetError: If it does not fit beside the models in use.
        """
        entry = self._pin(name)
        try:
            yield entry.model
        finally:
            with self._lock:
                entry.pins -= 1

    def loaded(self) -> dict[str, int]:
        """Return name -> bytes of the models in memory, least recently used first."""
        with self._lock:
            return {name: entry.nbytes for name, entry in self._entries.items()}

    def unload(self, name: str) -> bool:
        """Drop a model that is not in use; return whether it was dropped."""
        with self._lock:
            entry = self._entries.get(name)
            if entry is None or entry.pins:
                return False
            del self._entries[name]
        self._release_cache()
        return True

    def _pin(self, name: str) -> _Entry:
        preset = self.preset(name)
        source = _source(preset)
        with self._lock:
            if entry := self._take(name, source):
                return entry
            name_lock = self._name_locks.setdefault(name, threading.Lock())
        with name_lock:  # one load per model at a time; other models go on
            with self._lock:
                if entry := self._take(name, source):
                    return entry
            return self._load_and_pin(preset)

    def _take(self, name: str, source: Any) -> _Entry | None:
        """Pin an entry and mark it as just used; drop an idle one whose files were replaced.

        The caller holds the lock.
        """
        entry = self._entries.get(name)
        if entry is None:
            return None
        if not entry.pins and entry.source != source:
            del self._entries[name]
            return None
        self._entries.move_to_end(name)
        entry.pins += 1
        return entry

    def _load_and_pin(self, preset: Preset) -> _Entry:
        nbytes = self._size_of(preset)
        dropped = self._reserve(preset.name, nbytes)
        begin = time.perf_counter()
        source = _source(preset)
        try:
            entry = _Entry(self._load(preset), nbytes, source, pins=1)
        except BaseException as error:
            with self._lock:
                self._reserved -= nbytes
            self._release_cache()
            if isinstance(error, Exception):
                self._load_again(dropped)
            raise
        with self._lock:
            self._reserved -= nbytes
            self._entries[preset.name] = entry
        seconds = time.perf_counter() - begin
        log.info("loaded %s, %s, in %.1f s", preset.name, format_bytes(nbytes), seconds)
        return entry

    def _reserve(self, name: str, nbytes: int) -> list[str]:
        """Make room for a model; return the idle models that were dropped, oldest first."""
        with self._lock:
            held = sum(entry.nbytes for entry in self._entries.values() if entry.pins)
            held += self._reserved
            if nbytes + held > self.memory_budget:
                raise MemoryBudgetError(self._no_room(name, nbytes, held))
            idle = [key for key, entry in self._entries.items() if not entry.pins]
            dropped = []
            while self._total() + nbytes > self.memory_budget:
                dropped.append(idle.pop(0))
                del self._entries[dropped[-1]]
            self._reserved += nbytes
        self._release_cache()
        return dropped

    def _no_room(self, name: str, nbytes: int, held: int) -> str:
        beside = f" beside {format_bytes(held)} in use" if held else ""
        return (
            f"{name} needs {format_bytes(nbytes)}{beside}, and the memory budget is "
            f"{format_bytes(self.memory_budget)}; raise --memory-budget or take a smaller model."
        )

    def _load_again(self, names: list[str]) -> None:
        """After a failed load, restore the models that were dropped for it."""
        for name in names:
            try:
                with self.use(name):
                    pass
            except Exception:
                log.warning("could not bring %s back", name, exc_info=True)

    def _total(self) -> int:
        return sum(entry.nbytes for entry in self._entries.values()) + self._reserved

    def _release_cache(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _estimate(self, preset: Preset) -> int:
        """Return the bytes of the weights; CheckpointError if a weight file is missing.

        This is called before room is made, so a missing file does not evict other models.
        """
        if missing := [path for path in preset.weight_paths if not is_there(path)]:
            raise CheckpointError(self._missing(preset, missing[0]))
        if self._is_prepared:
            return prepared_bytes(build_model(preset), self.dtype, self.device.type)
        return count_parameters(preset) * self.dtype.itemsize

    def _missing(self, preset: Preset, path: Path) -> str:
        owner = preset
        if path == preset.first_stage_path:
            owner = self.preset(preset.first_stage_preset)
        return f"{preset.name} is not on disk: {path} is missing; get it with {owner.how_to_get}"

    def _load_files(self, preset: Preset) -> Any:
        model = self._load_networks(preset)
        if (path := preset.preview_path) is not None and is_there(path):
            try:
                model.preview_decoder = self._preview_decoder(preset, path)
            except CheckpointError as error:  # previews are not worth a model
                log.warning("previews of %s are rougher: %s", preset.name, error)
        return model

    def _preview_decoder(
        self, preset: Preset, path: Path
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        decoder = build_preview(preset)
        load_preview(decoder, path, self.device)
        decoder.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        # a function: a network would be one of the model's own, and in its `state_dict`
        return lambda latents: decoder(latents.to(self.device))

    def _load_networks(self, preset: Preset) -> Any:
        if not self._is_prepared:
            return self._plain(preset, self.dtype)
        # on the CPU weights stay float32 in the mapped file until each layer packs its own
        on_cpu = self.device.type == "cpu"
        model = self._plain(preset, torch.float32 if on_cpu else self.dtype)
        prepare(model, self.dtype).is_prepared = True
        seal(model)
        if self.dtype == torch.float16:  # its small range may overflow; see `in_float32`
            model.in_float32 = partial(self._plain, preset, torch.float32)
        return model.eval()

    def _plain(self, preset: Preset, dtype: torch.dtype) -> Any:
        model = build_model(preset)
        load_files(model, preset.weight_paths, dtype=dtype, device=self.device)
        return model.eval().requires_grad_(False)


def _source(preset: Preset) -> Any:
    """Return a value that differs once the preset or a weight file has changed or is gone."""
    try:
        return preset, weight_stamps(preset), _preview_stamp(preset)
    except (OSError, CheckpointError):
        return preset, None


def _preview_stamp(preset: Preset) -> tuple[int, int] | None:
    """Bytes and modification time in ns of the preview decoder's file; None: there is none."""
    if preset.preview_path is None or not is_there(preset.preview_path):
        return None
    about = preset.preview_path.stat()
    return about.st_size, about.st_mtime_ns
