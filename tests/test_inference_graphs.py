"""What is recorded and when, with a recording that only calls again."""

import copy
import gc
import threading
import weakref

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ldm.inference import graphs
from ldm.inference.graphs import Graphs
from ldm.inference.prepare import prepare
from tests.test_inference_prepare import (
    DECODERS,
    UNETS,
    difference,
    first_stage,
    inputs,
    unet,
)


class Recorder:
    """Stands for CUDA's recording: a replay writes the same output tensor again."""

    def __init__(self):
        self.count = 0
        self.error = None

    def __call__(self, run, pool):
        self.count += 1
        if self.error:
            raise self.error
        run()
        made = run()
        return lambda: made.copy_(run()), made


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def made(recorder):
    return Graphs(64, recorder, kind="cpu")


def double(x, t=None):
    return 2 * x if t is None else 2 * x + t


def ones(*shape):
    return torch.ones(shape)


@torch.no_grad()
def test_the_second_call_is_recorded_and_all_are_right(made, recorder):
    for number in range(4):
        x = number * ones(1, 2, 4, 4)
        assert torch.equal(made(double, (x, None)), 2 * x)
        assert recorder.count == (number > 0)
    assert len(made) == 1


@torch.no_grad()
def test_an_output_is_the_callers_own(made):
    outputs = [made(double, (number * ones(1, 2, 4, 4), None)) for number in range(4)]
    assert [float(output.max()) for output in outputs] == [0, 2, 4, 6]


@torch.no_grad()
def test_each_shape_and_type_has_its_own(made, recorder):
    for x in (ones(1, 2, 4, 4), ones(2, 2, 4, 4), ones(1, 2, 4, 4).double()):
        for t in (None, torch.tensor(3.0)):
            for _ in range(3):
                assert torch.equal(made(double, (x, t)), double(x, t))
    assert len(made) == recorder.count == 6


@torch.no_grad()
def test_contexts_count_where_there_are_more_than_pictures(made, recorder):
    """They make that many maps of each."""
    for contexts in (2, 3):
        for _ in range(3):
            made(
                lambda x, context: x.repeat(len(context), 1, 1, 1),
                (ones(1, 2, 4, 8), ones(contexts)),
            )
    assert recorder.count == 1


@torch.no_grad()
def test_the_least_recently_used_goes_and_comes_back(made, recorder, monkeypatch):
    monkeypatch.setattr(graphs, "KEPT", 2)
    shapes = [(1, 1, 1, side) for side in (1, 2, 3)]
    for shape in shapes:
        for _ in range(2):
            made(double, (ones(*shape),))
    assert len(made) == 2
    for _ in range(2):
        made(double, (ones(*shapes[0]),))
    assert recorder.count == 4
    assert len(made) == 2


@torch.no_grad()
def test_what_fails_is_told_once_and_called_as_ever(made, recorder, caplog):
    recorder.error = RuntimeError("operation not permitted when stream is capturing")
    for _ in range(4):
        assert torch.equal(made(double, (ones(1, 1, 2, 2),)), 2 * ones(1, 1, 2, 2))
    assert recorder.count == 1
    assert [record.getMessage() for record in caplog.records] == [
        "this network runs without CUDA graphs: operation not permitted when stream is capturing"
    ]


def test_what_is_not_recorded(made, recorder):
    large, wanted = ones(1, 1, 8, 9), ones(1, 1, 2, 2).requires_grad_()
    for _ in range(3):
        made(double, (large,))
        made(double, (wanted,)).sum().backward()
        made(lambda x, y: x + y, (ones(1, 1, 2, 2), wanted)).sum().backward()
        with FlopCounterMode(display=False):  # it counts every operation
            made(double, (ones(1, 1, 2, 2),))
    elsewhere = Graphs(64, recorder)
    for _ in range(3):
        elsewhere(double, (ones(1, 1, 2, 2),))
    assert recorder.count == 0


@torch.no_grad()
def test_while_another_records_it_is_called_as_ever_and_recorded_later(made, recorder):
    x = ones(1, 1, 2, 2)
    with graphs.RECORDING:
        for _ in range(3):
            assert torch.equal(made(double, (x,)), 2 * x)
    assert recorder.count == 0
    made(double, (x,))
    assert recorder.count == 1


@torch.no_grad()
def test_another_thread_does_not_wait_and_is_right(made, recorder):
    x, inside, go_on, seen = ones(1, 1, 2, 2), threading.Event(), threading.Event(), []

    def slow(x):
        inside.set()
        assert go_on.wait(10)
        return 2 * x

    thread = threading.Thread(target=lambda: seen.append(made(slow, (x,))))
    thread.start()
    assert inside.wait(10)
    assert torch.equal(made(double, (3 * x,)), 6 * x)
    go_on.set()
    thread.join(10)
    assert torch.equal(seen[0], 2 * x)


def test_a_recording_serves_every_mode(made, recorder):
    """Tensors that are made in inference mode cannot be written to outside of it."""
    for mode in (torch.inference_mode, torch.no_grad, torch.inference_mode, torch.no_grad):
        with mode():
            x = ones(1, 1, 2, 2)
            assert torch.equal(made(double, (x,)), 2 * x)
    assert recorder.count == 1


class Conditioned:
    """A network whose output follows from what it once computed of a context."""

    def __init__(self):
        self.computed = 0

    def of(self, context):
        self.computed += 1
        return 10 * context

    def hold(self, context):
        kept = self.kept = self.of(context)
        return lambda: kept.copy_(self.of(context))

    def __call__(self, x, context):
        return x + self.kept


@torch.no_grad()
def test_what_follows_from_a_context_is_computed_once_per_context(made):
    network, x = Conditioned(), ones(1, 1, 1, 1)
    first, second = torch.tensor([1.0]), torch.tensor([2.0])
    network.hold(first)
    made(network, (x, first), 1, network.hold)
    network.computed = 0
    for context, wanted, computed in (
        (first, 11, 2),  # for the recording, and again with the first call of it
        (first, 11, 2),
        (second, 21, 3),
        (second, 21, 3),
        (first, 11, 4),
    ):
        assert float(made(network, (x, context), 1, network.hold)) == wanted
        assert network.computed == computed
    first.fill_(5)
    assert float(made(network, (x, first), 1, network.hold)) == 51


@torch.no_grad()
def test_nothing_is_left_of_those_that_are_cleared(made, recorder):
    for _ in range(2):
        made(double, (ones(1, 1, 2, 2),))
    made.clear()
    assert len(made) == 0
    made(double, (ones(1, 1, 2, 2),))
    assert recorder.count == 2


@pytest.mark.parametrize("kind", UNETS)
@torch.no_grad()
def test_a_unet_leaves_its_inputs_alone_and_follows_its_context(kind, randomise, recorder):
    plain = unet(kind, randomise)
    fast = prepare(copy.deepcopy(plain))
    fast.graphs = Graphs(2**16, recorder, kind="cpu")
    x, t, about = inputs(kind)
    others = {k: v.flip(0) for k, v in about.items()}
    for some in (about, about, about, others, others, about):
        assert difference(fast(x, t, **some), plain(x, t, **some)) < 1e-5
        x, t = x.flip(3), t.flip(0)
    assert len(fast.graphs) == recorder.count == 1


@pytest.mark.parametrize("kind", DECODERS)
@torch.no_grad()
def test_a_decoder(kind, randomise, recorder):
    plain = first_stage(kind, randomise)
    fast = prepare(copy.deepcopy(plain))
    fast.decoder.graphs = Graphs(2**16, recorder, kind="cpu")
    z = torch.randn(1, 3, 10, 6, generator=torch.Generator().manual_seed(1))
    for _ in range(4):
        assert difference(fast.decode(z), plain.decode(z)) < 1e-5
        z = z.flip(2)
    assert recorder.count == 1


@torch.no_grad()
def test_a_network_that_goes_takes_its_recordings_along(randomise):
    """At once, not when somebody looks for circles: another model needs the room."""
    fast = prepare(unet("spatial transformer", randomise))
    fast.graphs = Graphs(2**16, lambda run, pool: (int, run()), kind="cpu")
    x, t, about = inputs("spatial transformer")
    for _ in range(3):
        fast(x, t, **about)
    (recorded,) = fast.graphs._known.values()
    alive = weakref.ref(recorded)
    del recorded
    gc.disable()
    try:
        del fast
        assert alive() is None
    finally:
        gc.enable()
