"""CUDA graphs: all kernel launches of a network are recorded once and replayed as one launch.

On a fast card a step of a small batch waits for its hundreds of launches, not for the arithmetic.
The second call with inputs of the same shapes is recorded. From then on the inputs are copied into
the recording's own tensors, it is replayed, and a copy of its output is returned. The result is
that of a plain call, since the same kernels run on the same values.

A recording holds as much memory as one call takes. All recordings of a network share this memory,
since only one runs at a time; it is freed with the network and counts as memory of the canvas, not
of the model. The network is called plainly if the recordings would take more than a small share of
the card, if a map is large enough to keep the card busy, or if anything prevents recording.
"""

from __future__ import annotations

import functools
import logging
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import has_torch_function_unary
from torch.utils._python_dispatch import _get_current_dispatch_mode

KEPT = 6  # recordings that are kept per network; the least recently used one is dropped
SHARE = 8  # all recordings of a network take at most 1 / SHARE of the card's memory
RECORDING = threading.Lock()  # CUDA allows one recording at a time in a process
Network = Callable[..., Tensor]
Inputs = Sequence[Tensor | None]
Refresh = Callable[[], None]
Hold = Callable[[Tensor], Refresh]  # a recording's own input -> recomputes what depends on it
Record = Callable[[Callable[[], Tensor], Any], tuple[Callable[[], Any], Tensor]]
log = logging.getLogger(__name__)


def record_cuda(run: Callable[[], Tensor], pool: Any) -> tuple[Callable[[], Any], Tensor]:
    """Record a call on the current device.

    Args:
        run: The call; the memory of its tensors must not change later.
        pool: Memory pool, from `torch.cuda.graph_pool_handle`.

    Returns:
        A function that repeats the call, and the tensor that it writes.
    """
    here, aside = torch.cuda.current_stream(), _aside(torch.cuda.current_device())
    aside.wait_stream(here)
    with torch.cuda.stream(aside):
        run()  # libraries set themselves up once per stream, which cannot be recorded
    here.wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool, stream=aside, capture_error_mode="thread_local"):
        made = run()
    return graph.replay, made


@functools.cache
def _aside(device: int) -> torch.cuda.Stream:
    """The one stream for all recordings; libraries keep memory for every stream that they see."""
    return torch.cuda.Stream(device)


class Recorded:
    """One recorded call and the tensors that it reads and writes.

    Args:
        network: The network to record.
        inputs: Inputs of the first call; later ones must have the same shapes.
        seldom: Index of the input that is the same tensor for many calls; None: there is none.
        hold: Called with the recording's own copy of that input; see `Graphs.__call__`.
        record: Records a call, as `record_cuda` does.
        pool: Memory pool that the recordings share.
    """

    def __init__(  # noqa: PLR0913  (made in one place only)
        self,
        network: Network,
        inputs: Inputs,
        seldom: int | None,
        hold: Hold | None,
        record: Record,
        pool: Any,
    ) -> None:
        self._seldom = seldom
        self._last: tuple[weakref.ref[Tensor], int] | None = None
        # tensors made in inference mode could not be written outside of it
        with torch.inference_mode(False), torch.no_grad():
            self._own = [None if x is None else _own(x) for x in inputs]
            held = None if seldom is None else self._own[seldom]
            self._refresh = hold(held) if hold is not None and held is not None else None
            self._replay, self._made = record(lambda: network(*self._own), pool)

    def __call__(self, inputs: Inputs) -> Tensor:
        """Return the network's output for these inputs, as a new tensor."""
        for place, (own, given) in enumerate(zip(self._own, inputs, strict=True)):
            if own is None or (place == self._seldom and self._is_last(given)):
                continue
            own.copy_(given)
            if place == self._seldom:
                self._last = weakref.ref(given), version_of(given)
                if self._refresh is not None:
                    with torch.inference_mode(False), torch.no_grad():
                        self._refresh()
        self._replay()
        return self._made.clone()

    def _is_last(self, given: Tensor) -> bool:
        last = self._last
        return last is not None and last[0]() is given and last[1] == version_of(given)


class Graphs:
    """The recordings of one network.

    Args:
        largest: Most positions of a batch's maps; larger batches keep the card busy anyway.
        record: Records a call; tests pass another function.
        kind: Type of the device for which calls are recorded.
    """

    def __init__(self, largest: int, record: Record = record_cuda, kind: str = "cuda") -> None:
        self.largest = largest
        self._record, self._kind = record, kind
        self._known: OrderedDict[Any, Recorded] = OrderedDict()
        self._seen: set[Any] = set()  # shapes that were called before
        self._refused: set[Any] = set()  # shapes that could not be recorded or took too much memory
        self._lock = threading.Lock()
        self._pool: Any = None

    def __len__(self) -> int:
        return len(self._known)

    def __call__(
        self,
        network: Network,
        inputs: Inputs,
        seldom: int | None = None,
        hold: Hold | None = None,
    ) -> Tensor:
        """Return `network(*inputs)`, replayed if there is a recording for such inputs.

        Args:
            network: The network; the same one at every call.
            inputs: Its arguments; the first is a map (B, C, H, W).
            seldom: Index of the argument that is the same tensor for many calls.
            hold: Called before a recording with its own copy of that argument: computes what
                depends on it, and returns a function that recomputes this in place.
        """
        if not self._may(inputs) or not self._lock.acquire(blocking=False):
            return network(*inputs)
        try:
            recorded = self._of(network, inputs, seldom, hold)
            return network(*inputs) if recorded is None else recorded(inputs)
        finally:
            self._lock.release()

    def clear(self) -> None:
        """Drop all recordings and their memory."""
        with self._lock:
            self._drop()

    def _may(self, inputs: Inputs) -> bool:
        x = inputs[0]
        if has_torch_function_unary(x) or x.device.type != self._kind:
            return False
        maps = (given for given in inputs if given is not None and given.ndim)
        pictures = max(map(len, maps))  # or the number of contexts, if it is larger
        if pictures * x.shape[2] * x.shape[3] > self.largest:
            return False
        if _get_current_dispatch_mode() is not None:  # a mode must see every operation
            return False
        if torch.is_grad_enabled() and any(y is not None and y.requires_grad for y in inputs):
            return False  # the network itself refuses it
        return not (x.is_cuda and torch.cuda.is_current_stream_capturing())

    def _of(
        self, network: Network, inputs: Inputs, seldom: int | None, hold: Hold | None
    ) -> Recorded | None:
        """Return the recording for inputs of these shapes; None: there is none (yet)."""
        key = tuple(None if x is None else (x.shape, x.dtype, x.device) for x in inputs)
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        if key in self._refused or key not in self._seen:
            self._seen.add(key)
            return None
        if not RECORDING.acquire(blocking=False):
            return None
        try:
            made = self._recorded(network, inputs, seldom, hold)
        except Exception as error:  # after any error the plain call still works
            log.warning("this network runs without CUDA graphs: %s", error, exc_info=True)
            self._refused.add(key)
            return None
        finally:
            RECORDING.release()
        self._known[key] = made
        if len(self._known) > KEPT:
            self._seen.discard(self._known.popitem(last=False)[0])
        if self._takes_too_much(inputs[0].device):
            self._refused.add(key)
            self._drop()
            return None
        return made

    def _recorded(
        self, network: Network, inputs: Inputs, seldom: int | None, hold: Hold | None
    ) -> Recorded:
        device = inputs[0].device
        if device.type != "cuda":
            return Recorded(network, inputs, seldom, hold, self._record, None)
        with torch.cuda.device(device):
            if self._pool is None:
                self._pool = torch.cuda.graph_pool_handle()
            return Recorded(network, inputs, seldom, hold, self._record, self._pool)

    def _takes_too_much(self, device: torch.device) -> bool:
        if device.type != "cuda":
            return False
        _, total = torch.cuda.mem_get_info(device)
        return self.nbytes() > total // SHARE

    def nbytes(self) -> int:
        """Return the bytes of the memory that the recordings share."""
        if self._pool is None:
            return 0
        segments = torch.cuda.memory_snapshot()
        own = (s for s in segments if tuple(s.get("segment_pool_id", ())) == tuple(self._pool))
        return sum(segment["total_size"] for segment in own)

    def _drop(self) -> None:
        self._known.clear()
        self._pool = None


def version_of(tensor: Tensor) -> int:
    """Return a counter that rises when a tensor is written to; always 0 for inference tensors."""
    return 0 if tensor.is_inference() else tensor._version


def _own(given: Tensor) -> Tensor:
    """Copy a tensor; maps become channels-last."""
    order = torch.channels_last if given.ndim == 4 else torch.contiguous_format
    own = torch.empty(given.shape, dtype=given.dtype, device=given.device, memory_format=order)
    return own.copy_(given)
