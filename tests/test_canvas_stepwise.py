"""Long work comes back before every strip, and ends there if nobody goes on."""

import itertools
import threading
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ldm.canvas import stepwise as module
from ldm.canvas.nodes import Strip
from ldm.canvas.operations import banded
from ldm.canvas.stepwise import LayerPauses, stepwise
from ldm.canvas.workspace import Workspace
from ldm.inference import fast_attention
from ldm.inference.fast_attention import Attention
from ldm.models.autoencoder import Decoder

DECODER = {
    "ch": 16, "num_res_blocks": 1, "norm_groups": 8, "resolution": 32, "out_ch": 3, "z_channels": 4,
    "ch_mult": (1, 1, 2, 2), "attn_resolutions": (),
}  # fmt: skip


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


def test_long_attention_pauses_in_its_midst(monkeypatch):
    """A whole 3600 x 2400 px step of the demo's upscaler was five seconds of one attention."""
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.0)
    attention, q = Attention(), torch.randn(1, 2, 2500, 8)
    want = attention(q, q, q)
    assert want.shape == (1, 2500, 16)
    monkeypatch.setattr(fast_attention, "PIECE", 1.0)
    pauses, made = LayerPauses(attention), []
    assert len(list(stepwise(lambda: made.append(attention(q, q, q)), pauses))) == 3
    torch.testing.assert_close(made[0], want)


def test_the_run_can_be_ended_before_any_strip():
    seen = []

    def enough() -> None:
        seen.append(len(seen))
        if len(seen) == 3:
            raise KeyboardInterrupt

    decoder = Decoder(**DECODER)
    with pytest.raises(KeyboardInterrupt):
        decoder(banded(torch.randn(1, 4, 8, 8), Workspace(2**19, on_strip=enough))).whole()
    assert len(seen) == 3


@torch.no_grad()
def test_nothing_is_computed_once_a_decode_is_closed(monkeypatch):
    """As a person's cancel does, at the start, in the middle and near the end."""
    rows, computed = Strip.rows, []
    monkeypatch.setattr(Strip, "rows", lambda *args: computed.append(0) or rows(*args))
    decoder = Decoder(**DECODER)
    z, space = torch.randn(1, 4, 8, 8), Workspace(2**19)
    strips = sum(1 for _ in stepwise(lambda: decoder(banded(z, space)).whole(), space))
    assert strips > 40
    others = set(threading.enumerate())  # of other tests, which may end meanwhile
    for wanted in (1, strips // 2, strips - 1):
        run = stepwise(lambda: decoder(banded(z, space)).whole(), space)
        for _ in range(wanted):
            next(run)
        before = len(computed)
        run.close()
        assert len(computed) == before
        left = set(threading.enumerate()) - others
        assert "canvas" not in {thread.name for thread in left}
        assert space.kept == 0
