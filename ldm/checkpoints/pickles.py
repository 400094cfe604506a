"""Reading of pickled checkpoints without running their code.

A pickle is a program. torch's weights-only reader runs the part that rebuilds tensors and refuses
the rest. But the published files also hold the training state of PyTorch Lightning, with a class of
that library as a dictionary key. Every such name is replaced by a stand-in class that can be stored
but not called, so nothing is imported, and a file that calls one is refused.
"""

from __future__ import annotations

import re
import threading
import zipfile
from mmap import ACCESS_READ
from mmap import mmap as MappedFile
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from ldm.checkpoints.headers import ARCHIVE_MAGIC, check_pickle
from ldm.errors import CheckpointError

MAX_PICKLE_BYTES = 64 * 1024 * 1024  # names and shapes; the weights are stored outside the pickle
# Constructors of plain numbers, found in the learning-rate state of published files. Their
# stand-ins accept a call and ignore its arguments.
HARMLESS = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype")

_safe_globals = threading.Lock()  # torch's table of allowed names is global to the process


def read_pickle(path: Path, start: bytes) -> dict[str, Tensor]:
    """Read the state dict of a checkpoint that `torch.save` wrote; `start` are its first bytes.

    Raises:
        CheckpointError: If the file is damaged, holds no weights or tries to run code.
    """
    check_pickle(path, start)
    if start.startswith(ARCHIVE_MAGIC):
        payload = _load_archive(path, _check_archive(path))
    else:
        with path.open("rb") as file, MappedFile(file.fileno(), 0, access=ACCESS_READ) as whole:
            _check_program(path, whole)
        payload = _load(path, [], mmap=False)
    return _state_dict(path, payload)


def _check_archive(path: Path) -> list[int]:
    """Check the zip before torch reads it; return the bytes of its weight records in file order."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            program = archive.read(_pickle_among(entries, path))
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, EOFError):
        raise CheckpointError(f"{path} is cut off or damaged; download it again.") from None
    _check_program(path, program)
    records = [e for e in entries if e.filename.split("/")[1:-1] == ["data"]]
    return [e.file_size for e in sorted(records, key=lambda e: e.header_offset) if e.file_size]


def _pickle_among(entries: list[zipfile.ZipInfo], path: Path) -> zipfile.ZipInfo:
    """Return the entry of the checkpoint's pickle; refuse an archive that is no checkpoint."""
    pickles = [e for e in entries if e.filename.split("/")[1:] == ["data.pkl"]]
    if len(pickles) != 1:
        inside = next((e.filename for e in entries if e.filename.endswith((".ckpt", ".pt"))), None)
        advice = f"unpack {inside!r:.80} from it" if inside else "download the checkpoint itself"
        raise CheckpointError(f"{path} is a zip archive, not a checkpoint; {advice}.")
    if any(e.compress_type != zipfile.ZIP_STORED for e in entries):
        raise CheckpointError(f"{path} is compressed, as no checkpoint is; do not use it.")
    if pickles[0].file_size > MAX_PICKLE_BYTES:
        raise CheckpointError(
            f"{path} has a pickle of {pickles[0].file_size} bytes; do not use it."
        )
    if sum(e.file_size for e in entries) > path.stat().st_size:
        raise CheckpointError(f"{path} claims more bytes than it has; do not use it.")
    return pickles[0]


def _check_program(path: Path, program: bytes | MappedFile) -> None:
    """Refuse what torch allows and no weights need.

    `bytearray` may have any length, and torch does not check the sizes of nested tensors.
    """
    for name in ("bytearray", "_rebuild_nested_tensor"):
        if program.find(name.encode()) >= 0:
            raise CheckpointError(
                f"{path} wants to run {name!r}, which no weights need; do not use it."
            )


def _load_archive(path: Path, records: list[int]) -> Any:
    """Load the payload, mapped from the file, and check the sizes, which torch does not do."""
    mapped: dict[int, int] = {}  # address in memory -> bytes that the pickle reads from there

    def note(storage: torch.UntypedStorage, location: str) -> torch.UntypedStorage:
        if storage.nbytes():
            mapped[storage.data_ptr()] = storage.nbytes()
        return storage

    # one lock for scan and load: the scan would omit names that another thread allows meanwhile
    with _safe_globals:
        payload = _load(path, _foreign_names(path), mmap=True, map_location=note)
    # the file is mapped in one piece, so both lists are in the order of the records in it
    if [mapped[place] for place in sorted(mapped)] != records:
        raise CheckpointError(
            f"{path} is damaged: its weights want other bytes than are stored for them; "
            "download it again."
        )
    return payload


def _foreign_names(path: Path) -> list[str]:
    """List the names in the pickle that torch would refuse."""
    try:
        return torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception as error:
        # Any error of torch's scan of a hostile file means that the file is unusable.
        _refuse(path, error)


def _load(path: Path, foreign: list[str], *, mmap: bool, map_location: Any = "cpu") -> Any:
    try:
        stand_ins = [(_stand_in(name), name) for name in foreign]
        with torch.serialization.safe_globals(stand_ins):
            return torch.load(path, map_location=map_location, weights_only=True, mmap=mmap)
    except Exception as error:
        # torch raises nearly every kind of error over a damaged pickle.
        _refuse(path, error)


def _refuse(path: Path, error: Exception) -> NoReturn:
    if isinstance(error, CheckpointError):
        raise CheckpointError(f"{path} {error}") from None
    text = " ".join(str(error).split())
    wanted = re.search(r"GLOBAL (\S+)", text) or re.search(r"function (\S.{0,60})", text)
    if wanted:
        raise CheckpointError(
            f"{path} wants to run {wanted[1].rstrip('.')!r}, which no weights need; do not use it."
        ) from None
    text = text.rpartition("WeightsUnpickler error: ")[2]
    reason = f"{type(error).__name__} {text}".strip()[:120]
    raise CheckpointError(
        f"{path} is damaged or no checkpoint ({reason}); download it again."
    ) from None


def _stand_in(name: str) -> type:
    """Make a class that replaces a foreign name; calling it fails unless the name is HARMLESS."""

    def refuse(cls: type, *args: Any) -> NoReturn:
        raise CheckpointError(f"wants to run {name!r}, which no weights need; do not use it.")

    def accept(cls: type, *args: Any) -> Any:
        return object.__new__(cls)

    def forget(self: Any, state: Any) -> None:
        """Accept the pickled state and ignore it."""

    new = accept if name in HARMLESS else refuse
    return type(name.rpartition(".")[2], (), {"__new__": new, "__setstate__": forget})


def _state_dict(path: Path, payload: Any) -> dict[str, Tensor]:
    tensors = payload.get("state_dict", payload) if isinstance(payload, dict) else None
    if not isinstance(tensors, dict) or not tensors:
        raise CheckpointError(f"{path} holds no state_dict; it is no checkpoint of a model.")
    for name, value in tensors.items():
        if not isinstance(name, str) or not _is_plain(value):
            raise CheckpointError(
                f"{path} holds no weight under {name!r:.80} but {type(value).__name__}; "
                "it is no checkpoint of a model."
            )
    return dict(tensors)


def _is_plain(value: Any) -> bool:
    """Whether a value is a dense CPU tensor that is not quantised."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
        and not value.is_nested
    )
