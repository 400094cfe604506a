"""A long call turned into a generator, which pauses before every strip that the call computes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from typing import Any, Protocol, TypeVar

import torch
from torch import nn

Made = TypeVar("Made")
PAUSE_SECONDS = 0.2  # between two pauses of a canvas that is computed whole


class Pausing(Protocol):
    """Something that work passes through: a `Workspace`, or `LayerPauses`."""

    on_strip: Callable[[], None]  # called from time to time; what it raises ends the work


def _go_on() -> None:
    """Do not pause."""


class LayerPauses:
    """Pauses for a canvas that is computed whole: before a layer, every `PAUSE_SECONDS` or so.

    While `on_strip` is set to something, forward hooks lie on the layers.

    Args:
        networks: Their modules without children are the layers.
    """

    def __init__(self, *networks: nn.Module) -> None:
        self.layers = [m for net in networks for m in net.modules() if not any(m.children())]
        self._hooks: list[Any] = []
        self._on_strip: Callable[[], None] = _go_on
        self._paused = time.monotonic()

    @property
    def on_strip(self) -> Callable[[], None]:
        """What a pause calls."""
        return self._on_strip

    @on_strip.setter
    def on_strip(self, call: Callable[[], None]) -> None:
        self._on_strip = call
        if call is _go_on:
            for hook in self._hooks:
                hook.remove()
            self._hooks = []
        elif not self._hooks:
            self._hooks = [layer.register_forward_pre_hook(self._look) for layer in self.layers]

    def _look(self, *_: Any) -> None:
        if time.monotonic() - self._paused >= PAUSE_SECONDS:
            self._on_strip()
            self._paused = time.monotonic()


class _Stopped(BaseException):
    """Raised inside the work to end it; a BaseException, so that no network catches it."""


def stepwise(work: Callable[[], Made], space: Pausing) -> Generator[None, None, Made]:
    """Run `work` and pause wherever it passes through `space`: before a strip, or a layer.

    The work runs in a thread of its own, but takes turns with the caller: only one of the two runs
    at a time. Closing the generator ends the work at its next pause.

    Yields:
        None, at every pause.

    Returns:
        What `work` returned. An exception of `work` is raised here.
    """
    turns = _Turns(work)
    before, space.on_strip = space.on_strip, turns.pause
    turns.thread.start()
    try:
        while turns.go_on():
            yield
    finally:
        turns.stop()
        space.on_strip = before
    if turns.error is not None:
        raise turns.error
    return turns.made


class _Turns:
    """A thread for `work` that runs only while its caller waits for it."""

    def __init__(self, work: Callable[[], Made]) -> None:
        self.work = work
        self.made: Made | None = None
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, name="canvas", daemon=True)
        self._caller, self._worker = threading.Semaphore(0), threading.Semaphore(0)
        self._wants_stop = self._ended = False
        # torch keeps these modes per thread
        self._inference = torch.is_inference_mode_enabled()
        self._grad = torch.is_grad_enabled()

    def go_on(self) -> bool:
        """Let the work run to its next pause; return False if it has ended."""
        self._threads = torch.get_num_threads()
        self._worker.release()
        self._caller.acquire()
        return not self._ended

    def stop(self) -> None:
        """End the work where it pauses and join its thread; a finished work is not affected."""
        self._wants_stop = True
        self._worker.release()
        self.thread.join()

    def pause(self) -> None:
        """Hand the turn to the caller and wait for the next one; called by the work.

        Layers that have hooks may be used by others meanwhile: their threads go on.
        """
        if threading.current_thread() is not self.thread:
            return
        self._caller.release()
        self._worker.acquire()
        if self._wants_stop:
            raise _Stopped
        torch.set_num_threads(self._threads)

    def _run(self) -> None:
        self._worker.acquire()
        torch.set_num_threads(self._threads)
        try:
            with torch.inference_mode(self._inference), torch.set_grad_enabled(self._grad):
                self.made = self.work()
        except _Stopped:
            pass
        except BaseException as error:
            self.error = error
        finally:
            self._ended = True
            self._caller.release()
