"""Long work comes back before every strip, and ends there if nobody goes on."""

import itertools
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ldm.canvas import stepwise as module
from ldm.canvas.stepwise import LayerPauses, stepwise
from ldm.canvas.workspace import Workspace


def work_in(space, strips, done):
    def work():
        for number in range(strips):
            space.on_strip()
            done.append((number, torch.is_grad_enabled(), torch.is_inference_mode_enabled()))
        return "made"

    return work


def test_it_pauses_before_every_strip_and_returns_what_was_made():
    space, done, seen = Workspace(1), [], []
    run = stepwise(work_in(space, 3, done), space)
    while True:
        try:
            next(run)
        except StopIteration as end:
            assert end.value == "made"
            break
        seen.append(len(done))
    assert seen == [0, 1, 2]


def test_closing_ends_the_work_before_its_next_strip():
    space, done = Workspace(1), []
    run = stepwise(work_in(space, 100, done), space)
    next(run), next(run)
    run.close()
    assert len(done) == 1
    space.on_strip()  # as it was before: it does not wait for anybody


def test_errors_come_out_and_torch_stays_in_its_mode():
    space, done = Workspace(1), []

    def broken():
        work_in(space, 1, done)()
        raise ValueError("broken")

    with torch.inference_mode(), pytest.raises(ValueError, match="broken"):
        list(stepwise(broken, space))
    assert done == [(0, False, True)]


def test_layers_pause_after_a_while_and_not_each(monkeypatch):
    now = itertools.count()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(now) * 0.04))
    network = nn.Sequential(*(nn.Identity() for _ in range(20)))
    pauses, x = LayerPauses(network), torch.zeros(1)
    run, count = stepwise(lambda: network(x), pauses), 0
    for _ in run:
        count += 1
    assert 2 <= count <= 5  # of 20 layers
    assert not any(layer._forward_pre_hooks for layer in network)
