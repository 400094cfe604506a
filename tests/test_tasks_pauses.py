"""A large canvas that is computed whole can be ended within a step."""

from dataclasses import replace

import numpy as np
import pytest

from ldm.canvas import stepwise
from ldm.canvas.estimate import facts_of
from ldm.canvas.plan import Canvas, Resources
from ldm.tasks import covering
from ldm.tasks.covering import RunContext
from ldm.tasks.text_to_image import run
from tests.test_tasks_covering import REQUEST, made


@pytest.fixture(scope="module")
def facts(tiny_model):
    return facts_of(tiny_model)


def test_a_long_step_of_a_whole_canvas_can_be_ended_within(tiny_model, facts, monkeypatch):
    monkeypatch.setattr(covering, "SMALL_CELLS", 0)
    _, plain = made(tiny_model, context=RunContext(lambda: facts, Resources(2**30)))
    monkeypatch.setattr(covering, "LONG", 1)
    monkeypatch.setattr(stepwise, "PAUSE_SECONDS", 0)
    progress, result = made(tiny_model, context=RunContext(lambda: facts, Resources(2**30)))
    assert np.array_equal(result.images[0], plain.images[0])
    for stage, step in (("sampling", 0), ("sampling", 1), ("decoding", 3)):
        assert sum((event.stage, event.step) == (stage, step) for event in progress) > 20

    work = []
    hook = tiny_model.unet.register_forward_hook(lambda *_: work.append("step"))
    events = run(tiny_model, REQUEST, RunContext(lambda: facts, Resources(2**30)))
    for _ in range(12):
        next(events)
    events.close()
    hook.remove()
    assert work == []  # it was in the middle of its first step

    left_open = run(tiny_model, REQUEST, RunContext(lambda: facts, Resources(2**30)))
    for _ in range(12):
        next(left_open)
    _, other = made(tiny_model)  # the layers are those of the run that waits
    assert np.array_equal(other.images[0], plain.images[0])
    left_open.close()
    assert not any(layer._forward_pre_hooks for layer in tiny_model.unet.modules())


def test_whether_a_step_is_long_counts_all_that_it_computes(tiny_model, monkeypatch):
    monkeypatch.setattr(covering, "LONG", 128)
    canvas = Canvas(8, 8)
    assert covering._pauses(tiny_model, canvas) is None
    for changes in ({"rows": 16}, {"passes": 2}, {"count": 2}):
        assert covering._pauses(tiny_model, replace(canvas, **changes)) is not None
