"""A run that is killed and resumed ends exactly where an unbroken one does, whose batches other
processes drew ahead."""

import json
import math
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate.state import AcceleratorState
from torch import nn

from ldm.errors import TrainingError
from ldm.training import loop
from ldm.training.config import OptimizerConfig, TrainConfig
from ldm.training.loop import Run, train

ROOT = Path(__file__).parents[1]
CONFIG = TrainConfig(
    kind="critic",
    preset="x",
    steps=40,
    batch_size=8,
    accumulate=2,
    precision="no",
    log_every=1,
    snapshot_every=5,
    optimizer=OptimizerConfig(learning_rate=1e-2, warmup_steps=4, decay_steps=10),
)


class Sum(Run):
    def __init__(self, folder, pause=0.0):
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(4, 8), nn.SiLU(), nn.Linear(8, 1))
        self.folder, self.pause = folder, pause

    def batch(self, rng, size):
        x = torch.from_numpy(rng.standard_normal((size, 4), dtype="float32"))
        return x, x.sum(1, keepdim=True)

    def loss(self, model, batch):
        time.sleep(self.pause)
        x, y = batch
        noise = 0.01 * torch.randn_like(y)  # the global generator is part of what must resume
        return {"loss": (model(x) - y + noise).square().mean()}

    def sample(self, model, path):
        pass

    def export(self, model, step):
        torch.save(model.state_dict(), self.folder / "final.pt")


def model_of(folder):
    return SimpleNamespace(
        model=nn.Linear(1, 1),
        held_out=None,
        batch=lambda rng, size: (torch.ones(size, 1),),
        loss=lambda model, batch: {"loss": model(batch[0]).square().mean()},
        sample=lambda model, path: None,
        export=lambda model, step: (folder / "weights").touch(),
        measured=dict,
    )


def test_weights_that_are_not_finite_take_no_ones_place(tmp_path):
    config = TrainConfig("critic", "x", 2, 1, precision="no")
    run = model_of(tmp_path)
    run.loss = lambda model, batch: {"loss": model(batch[0]).mean() * math.inf}
    with pytest.raises(TrainingError, match="not finite at step 2; take a lower"):
        train(run, config, tmp_path / "run", resume=False)
    assert not (tmp_path / "weights").exists()
    assert not (tmp_path / "run" / "snapshot.pt").exists()


@pytest.mark.parametrize("has_bfloat16", [True, False])
def test_it_learns_in_bfloat16_where_there_is_arithmetic_for_it(
    has_bfloat16, tmp_path, monkeypatch
):
    monkeypatch.setattr(loop, "has_bfloat16", lambda device: has_bfloat16)
    monkeypatch.setattr(AcceleratorState, "_shared_state", {})  # that of the whole process
    run, seen = model_of(tmp_path), []
    run.model = nn.Sequential(run.model)
    run.model[0].register_forward_hook(lambda layer, given, made: seen.append(made.dtype))
    train(run, TrainConfig("critic", "x", 1, 1), tmp_path / "run", resume=False)
    assert seen == [torch.bfloat16 if has_bfloat16 else torch.float32]


def test_a_run_is_not_lost_to_another_one(tmp_path):
    config = TrainConfig("critic", "x", 2, 1, precision="no")
    run, folder = model_of(tmp_path), tmp_path / "run"
    train(run, config, folder, resume=False)
    with pytest.raises(TrainingError, match="holds a run already; pass --resume"):
        train(run, config, folder, resume=False)
    run.model = nn.Linear(2, 1)
    with pytest.raises(TrainingError, match="is of another model than the configuration's"):
        train(run, config, folder, resume=True)


@pytest.mark.parametrize("killed_in", ["export", "save_snapshot"])
def test_weights_are_written_in_the_end_wherever_a_run_is_killed(tmp_path, monkeypatch, killed_in):
    def killed(*_):
        raise KeyboardInterrupt

    config = TrainConfig("critic", "x", 2, 1, precision="no")
    run, folder, exported = model_of(tmp_path), tmp_path / "run", []
    run.export = killed if killed_in == "export" else lambda model, step: exported.append(step)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        if killed_in == "save_snapshot":
            patch.setattr(loop, "save_snapshot", killed)
        train(run, config, folder, resume=False)
    run.export = lambda model, step: exported.append(step)
    train(run, config, folder, resume=True)
    assert exported[-1:] == [2]
    assert (folder / "snapshot.pt").exists()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of an unbroken run."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(Sum(folder), replace(CONFIG, workers=2), folder, resume=False)
    return folder


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_ended_and_resumed_equals_an_unbroken_one(tmp_path, whole, how):
    broken = tmp_path / "broken"
    process = subprocess.Popen([sys.executable, "-m", "tests.test_training_loop", broken], cwd=ROOT)
    stats = broken / "stats.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if stats.exists() and stats.read_text().count("\n") >= 12:
            break
        time.sleep(0.02)
    process.send_signal(how)
    assert process.wait() == (-signal.SIGKILL if how == signal.SIGKILL else -signal.SIGINT)
    interrupted_at = torch.load(broken / "snapshot.pt", weights_only=True)["step"]
    assert 10 <= interrupted_at < 40
    if how != signal.SIGKILL:  # it ends after its step, and what is done is saved
        assert interrupted_at >= stats.read_text().count("\n")
    train(Sum(broken), CONFIG, broken, resume=True)
    ours = torch.load(broken / "final.pt", weights_only=True)
    theirs = torch.load(whole / "final.pt", weights_only=True)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    lines = [json.loads(line) for line in (whole / "stats.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] < lines[0]["loss"]


def test_the_rate_rises_first_and_falls_in_the_end(whole):
    lines = [json.loads(line) for line in (whole / "stats.jsonl").read_text().splitlines()]
    rates = [line["rate"] for line in lines]
    assert rates[:5] == pytest.approx([0.0025, 0.005, 0.0075, 0.01, 0.01])
    assert set(rates[3:31]) == {0.01}
    assert rates[31:] == pytest.approx([0.001 * left for left in range(9, 0, -1)])


@pytest.mark.parametrize(("clip_norm", "moved"), [(10.0, 1.0), (1.0, 0.5**0.5)])
def test_a_step_is_by_the_mean_of_its_batches_and_clipped(tmp_path, monkeypatch, clip_norm, moved):
    monkeypatch.setattr(loop, "_optimizer", lambda model, _: torch.optim.SGD(model.parameters()))
    about = OptimizerConfig(learning_rate=1.0, warmup_steps=0, decay_steps=0, clip_norm=clip_norm)
    run = model_of(tmp_path)
    run.loss = lambda model, batch: {"loss": model(batch[0]).sum()}  # a gradient of 1 for both
    before = [p.item() for p in run.model.parameters()]
    config = TrainConfig("critic", "x", 1, 1, precision="no", accumulate=3, optimizer=about)
    train(run, config, tmp_path / "run", resume=False)
    after = [p.item() for p in run.model.parameters()]
    assert [b - a for a, b in zip(after, before, strict=True)] == pytest.approx([moved, moved])


def test_norms_and_biases_do_not_decay():
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    groups = loop._optimizer(model, OptimizerConfig(weight_decay=0.1)).param_groups
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert [decays[id(p)] for p in model.parameters()] == [0.1, 0, 0, 0]


def test_every_batch_is_drawn_with_its_own_seed():
    run = Sum(Path("nowhere"))
    drawn = [
        loop._Drawn(run, replace(CONFIG, seed=seed), process)[at]
        for seed, process, at in (
            *((0, 0, (3, 1)), (0, 0, (3, 1)), (1, 0, (3, 1)), (0, 1, (3, 1))),
            *((0, 0, (4, 1)), (0, 0, (3, 0))),
        )
    ]
    assert drawn[0][0] == drawn[1][0] and torch.equal(drawn[0][1][0], drawn[1][1][0])
    assert len({seed for seed, _ in drawn}) == 5
    assert len({float(batch[0].sum()) for _, batch in drawn}) == 5


def test_what_is_learned_by_heart_shows_in_the_loss_on_held_out_pictures(tmp_path, monkeypatch):
    run = model_of(tmp_path)
    drawn = []

    def other(rng, size):
        drawn.append((int(rng.integers(2**30)), torch.randint(2**30, (1,)).item()))
        return (3 * torch.ones(size, 1),)

    run.held_out = SimpleNamespace(**vars(run) | {"batch": other})
    config = TrainConfig("critic", "x", 4, 8, precision="no", log_every=3, sample_every=2)
    monkeypatch.setattr(loop, "SHORT", 2)
    train(run, config, tmp_path, resume=False)
    lines = [json.loads(line) for line in (tmp_path / "stats.jsonl").read_text().splitlines()]
    assert [(line["step"], "held_out_loss" in line) for line in lines] == [
        *((2, True), (3, False), (4, True)),
    ]
    last = lines[-1]
    weight, bias = (p.item() for p in run.model.parameters())
    assert last["trained_loss"] == pytest.approx((weight + bias) ** 2, rel=0.1)
    assert last["held_out_loss"] == pytest.approx((3 * weight + bias) ** 2, rel=0.1)
    assert drawn[:3] == drawn[3:]  # the same every time
    assert len(set(drawn)) == 3


if __name__ == "__main__":  # slow enough to be ended on the way
    train(Sum(Path(sys.argv[1]), 0.05), CONFIG, Path(sys.argv[1]), resume=False)
