"""Memory: amounts given by the user, free and used bytes, and out-of-memory errors."""

from __future__ import annotations

import contextlib
import ctypes
import re
import sys
from collections.abc import Iterator
from decimal import Decimal
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from ldm.errors import MemoryBudgetError, RequestError

if TYPE_CHECKING:  # the command line reads amounts without torch
    import torch

UNITS = {
    "": 1,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
CGROUP = Path("/sys/fs/cgroup")  # what a container may use
SHARE_OF_FREE = 0.6  # share of the free memory for models; the rest is for activations


def parse_bytes(text: str, what: str = "memory") -> int:
    """ "4GiB", "500 MB" or "1000" -> bytes; an error names `what` they are of.

    Raises:
        RequestError: If the text is no positive amount.
    """
    match = re.fullmatch(r"\s*(\d{1,18}(?:\.\d{1,18})?)\s*([A-Za-z]*)\s*", text)
    unit = match.group(2).upper() if match else None
    amount = int(Decimal(match.group(1)) * UNITS[unit]) if match and unit in UNITS else 0
    if amount < 1:
        raise RequestError(f"{what} must be an amount like 4GiB or 500MB, got {text!r:.40}.")
    return amount


def in_bytes(amount: int | str) -> int:
    """Return bytes given as a whole number of at least 0, or as text for `parse_bytes`.

    Raises:
        RequestError: If the amount is neither.
    """
    if isinstance(amount, str):
        return parse_bytes(amount)
    if isinstance(amount, bool) or not isinstance(amount, Integral) or amount < 0:
        raise RequestError(f"memory must be bytes or an amount like 4GiB, got {amount!r:.40}.")
    return int(amount)


def format_bytes(amount: int) -> str:
    """Format bytes for messages, like "1.5 GiB"."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if amount >= size:
            return f"{amount / size:.1f} {unit}"
    return f"{amount} bytes"


def default_budget(device: torch.device) -> int:
    """Return SHARE_OF_FREE of the bytes that are free on the device now."""
    if (cuda := _cuda(device)) is not None:
        free, _ = cuda.mem_get_info(device)
        # torch's allocator keeps freed blocks, which the system does not count as free
        free += cuda.memory_reserved(device) - cuda.memory_allocated(device)
    else:
        free = min(psutil.virtual_memory().available, left_to_container())
    return int(SHARE_OF_FREE * free)


def left_to_container(folder: Path = CGROUP) -> int:
    """Return the bytes that this container may still take; a large number if there is no limit."""
    for limit, used, about in (
        ("memory.max", "memory.current", "memory.stat"),
        # cgroup version 1
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    ):
        with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
            most, taken = (int((folder / name).read_text()) for name in (limit, used))
            return max(0, most - taken + _cached((folder / about).read_text()))
    return 2**63


def _cached(about: str) -> int:
    """Return the bytes of cached files, which count as used but are freed on demand."""
    counts = dict(line.split() for line in about.splitlines())
    return sum(int(counts.get(f"{kind}_file", 0)) for kind in ("active", "inactive"))


def resident(device: torch.device | None = None) -> int:
    """Return the bytes in use now: of this process, or by torch on a CUDA device.

    Memory that the process has freed is first returned to the system.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # glibc only
            ctypes.CDLL(None).malloc_trim(0)
    if (cuda := _cuda(device)) is not None:
        return cuda.memory_allocated(device)
    return psutil.Process().memory_info().rss


def reset_peak(device: torch.device | None = None) -> None:
    """Restart the measurement of `peak_resident`, if the system supports it."""
    if (cuda := _cuda(device)) is not None:
        cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_resident(device: torch.device | None = None) -> int | None:
    """Return the peak of `resident` since `reset_peak`; None: the system does not tell it."""
    if (cuda := _cuda(device)) is not None:
        return cuda.max_memory_allocated(device)
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    return None


def _cuda(device: torch.device | None) -> Any:
    """Return `torch.cuda` for a CUDA device, else None."""
    if device is None or device.type != "cuda":
        return None
    import torch  # noqa: PLC0415  (whoever has a device has imported it already)

    return torch.cuda


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python or torch says that memory has run out."""
    text = str(error).lower()
    is_torch = isinstance(error, RuntimeError) and any(sign in text for sign in OUT_OF_MEMORY)
    return isinstance(error, MemoryError) or is_torch


@contextlib.contextmanager
def out_of_memory_as(message: str) -> Iterator[None]:
    """Raise MemoryBudgetError with a sentence where Python or torch runs out of memory."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise MemoryBudgetError(message) from error
        raise
