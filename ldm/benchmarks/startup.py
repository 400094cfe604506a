"""Benchmark of the app's start: time to the page, the first and the next picture, and its parts."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ldm.errors import LDMError

ROOT = Path(__file__).parents[2]
PROMPT = "a calm lake with mountains at sunset"
PRESET = "demo-text-to-image"
STEPS = 50
REQUEST = {"prompt": PROMPT, "width": 128, "height": 128, "steps": STEPS, "seed": 1}


@dataclass(frozen=True)
class Timing:
    """A named time."""

    what: str
    seconds: float


def startup() -> list[Timing]:
    """Time the app as a user experiences it: page, first picture, next picture."""
    with tempfile.TemporaryDirectory() as data, _app(Path(data)) as (begin, address):
        rows = [Timing("python app.py until the page answers", time.perf_counter() - begin)]
        os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
        from gradio_client import Client  # noqa: PLC0415  (after the environment is set)

        client = Client(address, verbose=False, analytics_enabled=False)
        for what in ("the click until the first picture", "the click until the next picture"):
            click = time.perf_counter()
            client.predict(**REQUEST, api_name="/text_to_image")
            rows.append(Timing(what, time.perf_counter() - click))
    return rows


@contextmanager
def _app(data: Path) -> Iterator[tuple[float, str]]:
    """Start the app; yield (start time, address) once its page answers.

    Raises:
        LDMError: If it ends before that.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    begin = time.perf_counter()
    command = [sys.executable, "app.py", "--port", str(port), "--data-dir", str(data)]
    app = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        while True:
            if app.poll() is not None:
                raise LDMError(f"app.py ended in {ROOT}; it is timed in the repository's folder.")
            try:
                urllib.request.urlopen(address, timeout=5).read()
                break
            except OSError:
                time.sleep(0.02)
        yield begin, address
    finally:
        app.terminate()
        app.wait(30)


def parts() -> list[Timing]:
    """Time the parts in this process: imports, loading, and each part of one request."""
    rows: list[Timing] = []

    @contextmanager
    def timed(what: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        rows.append(Timing(what, time.perf_counter() - begin))

    # ruff: noqa: PLC0415  (the imports are what is measured)
    with timed("import torch"):
        import torch
    with timed("import the studio"):
        from ldm.resolve import resolve
        from ldm.studio import Studio
    with tempfile.TemporaryDirectory() as data:
        from ldm.catalog.registry import load_preset
        from ldm.requests import TextToImage

        studio = Studio(data_dir=Path(data))
        with timed(f"load {PRESET}"):
            studio.load(PRESET)
        request = TextToImage(**REQUEST)
        request = resolve(request, load_preset(PRESET))
        with timed("a whole request, first"):
            list(studio.run(request))
        with timed("a whole request, next"):
            list(studio.run(request))
        with timed("the same without guidance"):
            list(studio.run(replace(request, guidance_scale=1.0)))
        with studio.manager.use(PRESET) as model, torch.no_grad():
            with timed("  of which: text encoder, both prompts"):
                cond = model.condition([PROMPT, ""])
            x = torch.randn(2, model.latent_channels, 32, 32)
            with timed(f"  of which: {STEPS} denoiser passes of two"):
                for _ in range(STEPS):
                    model.denoise(x, torch.tensor([500, 500]), cond)
            with timed("  of which: decoder"):
                model.decode(x[:1])
            with timed("  of which: one preview"):
                model.preview(x[:1], 512)
    return rows


def table(rows: list[Timing]) -> str:
    """Format the rows as Markdown."""
    lines = ["| what | seconds |", "|---|---|"]
    return "\n".join([*lines, *(f"| {row.what} | {row.seconds:.2f} |" for row in rows)])
