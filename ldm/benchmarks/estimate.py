"""Benchmark of the estimates: expected and actual peak memory and seconds of requests."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ldm.benchmarks.alone import machine
from ldm.catalog.registry import load_preset
from ldm.data import scenes
from ldm.data.rendering import render
from ldm.events import Result
from ldm.images import EncodedImage
from ldm.requests import Box, ClassConditional, Inpaint, Layout, Semantic, TextToImage, Upscale
from ldm.studio import Studio

MIB = 2**20
STEPS = 6
BOXES = (Box("house", 0.2, 0.4, 0.5, 0.8),)
SIZES = ((128, 128), (256, 128), (256, 256), (512, 256), (512, 512), (1024, 256))
NEAR_MEMORY, NEAR_SECONDS = 0.15, 0.25  # relative errors that count as right


@dataclass(frozen=True)
class Row:
    """Expected and actual figures of one request."""

    what: str
    expected_seconds: float
    seconds: float
    expected_memory: int  # peak bytes of the process
    memory: int

    @property
    def errors(self) -> tuple[float, float]:
        """Relative errors of memory and of seconds."""
        return self.expected_memory / self.memory - 1, self.expected_seconds / self.seconds - 1


def requests() -> Iterator[tuple[str, Any]]:
    """Yield a name and a request for each of about fifty cases of all tasks and sizes."""
    for width, height in SIZES:
        size = {"width": width, "height": height, "steps": STEPS, "seed": 1}
        scene = render(scenes.sample(np.random.default_rng(1), width, height))
        picture, labels = map(EncodedImage.from_array, (scene.image, scene.labels))
        hole = np.zeros((height, width), np.uint8)
        hole[height // 4 : height // 2, width // 4 : width // 2] = 255
        mask = EncodedImage.from_array(hole)
        small = EncodedImage.from_array(scene.image[: height // 4 * 2, : width // 4 * 2])
        rest = {"steps": STEPS, "seed": 1}
        text = TextToImage(prompt="a lake", **size)
        yield f"text, {width} x {height}", text
        yield f"text, {width} x {height}, two", replace(text, count=2)
        yield f"text, {width} x {height}, redrawn", replace(text, image=picture)
        yield f"semantic, {width} x {height}", Semantic(label_map=labels, **rest)
        yield f"inpaint, {width} x {height}", Inpaint(image=picture, mask=mask, **rest)
        yield f"layout, {width} x {height}", Layout(boxes=BOXES, **size)
        yield f"class, {width} x {height}", ClassConditional(class_index=1, **size)
        yield f"upscale to {2 * width} x {2 * height}", Upscale(image=small, **rest)


def rows() -> Iterator[Row]:
    """Run all requests whose preset is on disk, in one process that learns from each run."""
    with tempfile.TemporaryDirectory() as data:
        studio = Studio(data_dir=Path(data))
        for what, request in requests():
            if not load_preset(request.preset).is_on_disk:
                continue
            studio.load(request.preset)
            *_, result = studio.run(request)
            if isinstance(result, Result) and result.estimate and result.memory_bytes:
                seconds = result.estimate.seconds or 0.0
                took = result.estimate.memory_bytes
                yield Row(what, seconds, result.seconds, took, result.memory_bytes)


def table() -> Iterator[str]:
    """Yield the rows as lines of Markdown, each as soon as it is known, then a summary."""
    yield from (machine(), "")
    yield "| request | seconds, expected | took | error | peak MiB, expected | took | error |"
    yield "|---|---|---|---|---|---|---|"
    errors = []
    for row in rows():
        memory, seconds = row.errors
        errors.append((abs(memory), abs(seconds)))
        yield (
            f"| {row.what} | {row.expected_seconds:.1f} | {row.seconds:.1f} | {seconds:+.0%} "
            f"| {row.expected_memory / MIB:.0f} | {row.memory / MIB:.0f} | {memory:+.0%} |"
        )
    near = [sum(m <= NEAR_MEMORY for m, _ in errors), sum(s <= NEAR_SECONDS for _, s in errors)]
    yield ""
    yield (
        f"Of {len(errors)} requests {near[0]} were within {NEAR_MEMORY:.0%} in memory and "
        f"{near[1]} within {NEAR_SECONDS:.0%} in time."
    )
