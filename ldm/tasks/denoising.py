"""Sampling of one batch of pictures on a covered canvas, with previews, and its decoding."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ldm.diffusion.conditioning import Conditioning
from ldm.diffusion.guidance import classifier_free, held
from ldm.diffusion.noise import batch_noise, slerp
from ldm.diffusion.resizing import averaged
from ldm.diffusion.samplers import HISTORY_LENGTH, SAMPLERS, Step
from ldm.events import Frame, Progress
from ldm.images import to_arrays
from ldm.latent_diffusion import LatentDiffusion
from ldm.tasks.bookmark import Page
from ldm.tasks.covering import Covered, FrameRecorder, NetworkTiming, RunContext, Stopwatch, pausing
from ldm.tasks.inverting import denoiser_of, own_noise, timesteps_on, timing_of
from ldm.tasks.settings import Sampling

PREVIEWS = 12  # previews per batch, about
PREVIEW_SIDE = 1024  # px: the longer side of a preview
EMPTY = 128  # grey level of unused places in a grid of pictures, unobtrusive on any page
FRAME_SIDE = 512  # px: the longer side of a recorded frame
START_DRAW = 2**20  # draw of the noise on a picture to start from; steps use draws 1, 2, ...
HELD_CELLS = 4  # side of the squares of latent cells whose mean follows `start`
Conditions = tuple[Conditioning, Conditioning]  # condition, and the empty or negative one


@dataclass(frozen=True)
class StepPosition:
    """The position of one sampling among all steps of the run."""

    done: int  # steps of the run before it
    total: int
    detail: str = ""  # see `Progress`

    def after(self, steps: int, detail: str | None = None) -> StepPosition:
        """Return the position `steps` steps later, with another detail unless it is None."""
        detail = self.detail if detail is None else detail
        return StepPosition(self.done + steps, self.total, detail)

    def progress(self, preview: np.ndarray | None = None) -> Progress:
        """Return the progress of a sampling that has reached this position."""
        return Progress("sampling", self.done, self.total, preview=preview, detail=self.detail)


def denoised(
    on: Covered,
    sampling: Sampling,
    conditions: Conditions,
    position: StepPosition,
    context: RunContext | None,
    start: Tensor | None = None,
) -> Generator[Progress, None, Tensor]:
    """Sample the latents of one batch.

    Args:
        on: The model and how its canvas is covered.
        sampling: Settings, with the seeds of this batch.
        conditions: For each picture of the batch, or one that all pictures share.
        position: Position among the steps of the run, for the progress.
        context: Receives the time that it took; None: nothing is kept.
        start: Latents (B, C, h, w) to be noised and denoised in `sampling.resampled_steps`;
            None: start from noise.

    Yields:
        Progress after every step, with a preview after some.

    Returns:
        (B, C, h, w).
    """
    stopwatch, page = Stopwatch(), _page(on, sampling, start, context)
    if page.since is not None:
        place = position.after(page.since.index + 1)
        context.note_resumed(place.done, place.total)
        seen = _preview(on.bare, page.since.x0, sampling)
        yield place.progress(seen)
    own = None
    if sampling.inverts and start is not None and page.since is None:
        own = yield from own_noise(on, sampling, conditions[1], start, context)
    begun = _steps(on, sampling, conditions, (start, own), page.since)
    step = yield from stopwatch.timed(_run_steps(on, sampling, begun, page, position, context))
    if context is not None and page.left:
        context.timings.append(timing_of(on, sampling, len(page.left), stopwatch.seconds))
    return step.x_t.to(on.model.device, on.model.dtype)


def _page(
    on: Covered, sampling: Sampling, start: Tensor | None, context: RunContext | None
) -> Page:
    """Return the bookmark's page of this sampling; each batch and small picture has its own."""
    total = sampling.steps if start is None else sampling.resampled_steps
    if context is None or context.bookmark is None:
        return Page(total)
    seeds, (C, h, w) = sampling.seeds, _shape(on, sampling)
    origin = "noise" if start is None else "latents"
    name = f"{len(seeds)} from seed {seeds[0]}, {h} x {w}, from {origin}, {on.model.dtype}"
    memory = HISTORY_LENGTH.get(sampling.sampler, 0)
    grid = timesteps_on(on, sampling, start)
    return context.bookmark.page(name, (len(seeds), C, h, w), grid, memory)


def _run_steps(  # noqa: PLR0913  (the arguments of `denoised`)
    on: Covered,
    sampling: Sampling,
    begun: tuple[Tensor, Iterator[Step]],
    page: Page,
    position: StepPosition,
    context: RunContext | None,
) -> Generator[Progress, None, Step]:
    """Take the steps that are left and return the last one; `begun`: x_T and the steps from it."""
    x_t, steps = begun
    step, recorder = page.since, context and context.recorder
    for index in page.left:
        before = position.after(index).progress()
        step = yield from pausing(lambda: next(steps), on.space, lambda _, before=before: before)
        show = step.index % max(1, step.total // PREVIEWS) == 0
        picture = _preview(on.bare, step.x0, sampling) if show else None
        now = position.after(step.index + 1)
        page.mark(step, now.done, now.total)
        yield now.progress(picture)
        if recorder is not None and now.done in recorder.shown(now.total):
            yield from _record_frame(on, sampling, (x_t, step), now, recorder)
        x_t = step.x_t
    on.model.wait()
    return step


def _record_frame(
    on: Covered,
    sampling: Sampling,
    taken: tuple[Tensor, Step],
    position: StepPosition,
    recorder: FrameRecorder,
) -> Generator[Progress, None, None]:
    """Record a frame of the batch's first picture: `taken`, x_t and the step from it."""
    x_t, step = taken
    height, width = sampling.inner or (sampling.height, sampling.width)
    scale = min(1.0, FRAME_SIDE / max(height, width))
    size = [max(1, round(scale * side)) for side in (height, width)]
    made = []
    for latents in (step.x0, x_t):
        part = latents[:1].to(on.model.dtype)
        work = decoded(on, sampling, part, position, None)
        image = yield from _with_progress(position.progress(), work)
        image = image[:, :, :height, :width]
        made += to_arrays(image if scale == 1 else averaged(image, size))
    # a batch that is repeated in float32 records its steps again
    recorder.frames = [frame for frame in recorder.frames if frame.step < position.done]
    recorder.frames.append(Frame(position.done, position.total, step.t, *made))


def _with_progress(
    event: Progress, work: Generator[Progress, None, Tensor]
) -> Generator[Progress, None, Tensor]:
    """Run `work` with `event` in place of its own progress; return what it returns."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value
        yield event


def decoded(
    on: Covered,
    sampling: Sampling,
    latents: Tensor,
    position: StepPosition,
    context: RunContext | None,
    stage: str = "decoding",
) -> Generator[Progress, None, Tensor]:
    """Decode latents (B, C, h, w) to pictures (B, 3, H, W): whole, or strip by strip in bands.

    `position`: after the steps that were taken; `stage`: name of the stage in the progress.
    """
    h, w = latents.shape[2:]
    padded, stopwatch = sampling.wrap.pad(latents), Stopwatch()
    made = yield from stopwatch.timed(_pictures(on, padded, position, stage))
    if context is not None:
        cells = padded.shape[2] * padded.shape[3]
        context.timings.append(NetworkTiming("decoder", len(latents), cells, stopwatch.seconds))
    return sampling.wrap.cut(made, h, w, on.model.factor)


def _pictures(
    on: Covered, padded: Tensor, position: StepPosition, stage: str
) -> Generator[Progress, None, Tensor]:
    """Decode latents with margins to pictures with margins."""
    if on.plan.decoder:
        strips = on.model.first_stage.strips(padded)
        yield Progress(stage, 0, strips)
        made = yield from pausing(
            lambda: on.model.decode(padded),
            on.space,
            lambda count: Progress(stage, min(count + 1, strips), strips),
        )
    else:
        yield Progress(stage, position.done, position.total)
        made = yield from pausing(
            lambda: on.model.decode(padded),
            on.space,
            lambda _: Progress(stage, position.done, position.total),
        )
    on.model.wait()
    return made


def _shape(on: Covered, sampling: Sampling) -> tuple[int, int, int]:
    """(C, h, w) of a picture's latents."""
    factor = on.model.factor
    return on.model.latent_channels, sampling.height // factor, sampling.width // factor


def _steps(
    on: Covered,
    sampling: Sampling,
    conditions: Conditions,
    starts: tuple[Tensor | None, Tensor | None],
    since: Step | None,
) -> tuple[Tensor, Iterator[Step]]:
    """Return x_T and the sampler's steps for one batch, in float32 between network calls.

    `starts`: the latents to start from, and their own noise; None: there are none.
    """
    model, seeds, shape = on.model, sampling.seeds, _shape(on, sampling)
    (start, own), timesteps = starts, timesteps_on(on, sampling, starts[0])
    cond, uncond = (part.expand(len(seeds)) for part in conditions)
    eps = classifier_free(denoiser_of(on, sampling), cond, uncond, sampling.guidance_scale)

    def noise(draw: int) -> Tensor:
        return batch_noise(seeds, draw, shape, sampling.temperature).to(model.device)

    # with the noise from which a picture was made, its own seed would only reproduce it
    x = noise(0 if sampling.image is None else START_DRAW)
    if own is not None:
        x = slerp(x, own, sampling.inversion)
    if start is not None:
        start = start.float()
        size = [max(1, side // HELD_CELLS) for side in start.shape[2:]]
        small = averaged(start, size)
        eps = held(eps, model.schedule, small, sampling.coarse_hold)
        t = x.new_full((len(seeds),), timesteps[0]).long()
        x = model.schedule.q_sample(start, t, x)
    steps = SAMPLERS[sampling.sampler](
        eps,
        x,
        model.schedule,
        steps=sampling.steps,
        eta=sampling.eta,
        noise=lambda index: noise(index + 1),  # 0 is the starting noise
        timesteps=timesteps,
        after=since,
    )
    return x, steps


def _preview(model: LatentDiffusion, x0: Tensor, sampling: Sampling) -> np.ndarray:
    """Preview predicted x0 of all pictures in a grid, at full size up to PREVIEW_SIDE px."""
    most = PREVIEW_SIDE // math.ceil(math.sqrt(len(x0)))
    pictures = to_arrays(model.preview(x0, most))
    if sampling.shown is not None:
        pictures = [sampling.shown(picture, most) for picture in pictures]
    return grid(pictures)


def grid(arrays: Sequence[np.ndarray], columns: int | None = None) -> np.ndarray:
    """Arrange pictures of one size in a grid, by default with about as many columns as rows."""
    columns = columns or math.ceil(math.sqrt(len(arrays)))
    height, width, _ = arrays[0].shape
    rows = -(-len(arrays) // columns)
    sheet = np.full((rows * height, columns * width, 3), EMPTY, np.uint8)
    for i, array in enumerate(arrays):
        y, x = i // columns * height, i % columns * width
        sheet[y : y + height, x : x + width] = array
    return sheet
