"""A long call turned into a generator, which pauses before every strip that the call computes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from typing import TypeVar

import torch

from ldm.canvas.workspace import Workspace

Made = TypeVar("Made")


class _Stopped(BaseException):
    """Raised inside the work to end it; a BaseException, so that no network catches it."""


def stepwise(work: Callable[[], Made], space: Workspace) -> Generator[None, None, Made]:
    """Run `work` and pause before every strip that it computes in `space`.

    The work runs in a thread of its own, but takes turns with the caller: only one of the two runs
    at a time. Closing the generator ends the work before its next strip.

    Yields:
        None, before every strip.

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
        """Hand the turn to the caller and wait for the next one; called by the work."""
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
