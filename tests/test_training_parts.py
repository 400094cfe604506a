import re

import numpy as np
import pytest
import torch
from torch import nn

from ldm.catalog.registry import load_preset
from ldm.checkpoints.read import read_checkpoint
from ldm.errors import TrainingError
from ldm.training.autoencoder import FirstStageRun
from ldm.training.config import TrainConfig, load_config
from ldm.training.ema import EMA
from ldm.training.snapshots import export_weights, load_snapshot, save_snapshot, start_alike
from ldm.training.world import World

REQUIRED = "kind: critic\npreset: demo-kl-f4\nsteps: 3\nbatch_size: 2\n"


# a number that no run can have, one a line
ODD = (
    "sample_every: 0",
    "log_every: -1",
    "seed: -1",
    "ema_decay: 1.5",
    "workers: -1",
    "data: {scenes: 0}",
    "data: {size: 0}",
    "data: {size: 64, crop: 128}",
    "data: {captions: 0}",
    "data: {zoom: .nan}",
    "optimizer: {learning_rate: -0.001}",
    "optimizer: {learning_rate: .inf}",
    "optimizer: {betas: [0.9, 1.0]}",
    "optimizer: {betas: [-0.1, 0.9]}",
    "optimizer: {betas: [0.9]}",
    "optimizer: {clip_norm: 0}",
    "loss: {noise_bias: 0}",
    "loss: {min_snr_gamma: -5}",
    "loss: {condition_dropout: 2}",
    "loss: {object_weights: {tree: -1}}",
)


def test_config_reads_nested_values_and_keeps_defaults(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(REQUIRED + "data: {scenes: 7}\n")
    config = load_config(path)
    assert load_config(str(path)) == config
    assert config.data.scenes == 7
    assert config.data.size == TrainConfig("critic", "x", 1, 1).data.size


def test_values_are_changed_for_one_run(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(REQUIRED + "data: {scenes: 7, size: 64}\n")
    changes = (
        "steps=9",
        "data.scenes=8",
        "optimizer.learning_rate=1e-4",
        "steps=10",
        "start_from=null",
    )
    config = load_config(path, changes)
    assert (config.steps, config.data.scenes, config.data.size) == (10, 8, 64)
    assert (config.optimizer.learning_rate, config.start_from) == (1e-4, None)
    assert load_config(path).steps == 3
    for change, says in (
        ("steps", "must be written KEY=VALUE, like steps=2000, got 'steps'"),
        ("=3", "must be written KEY=VALUE"),
        ("steps=many", "steps"),
        ("step=3", "step: unknown key; known are"),
        ("data.scene=3", "scene: unknown key"),
        ("steps=[1", "'steps=\\[1' holds no readable YAML"),
        ("runs=${oc.env:HOME}", "values must be written out"),
    ):
        with pytest.raises(TrainingError, match=says):
            load_config(path, [change])


@pytest.mark.parametrize(
    "text",
    [
        REQUIRED + "step: 3\n",
        REQUIRED + "precision: fp8\n",
        REQUIRED.replace("steps: 3", "steps: 0"),
        REQUIRED.replace("steps: 3", "steps: many"),
        re.sub(r"batch_size: \d+", "batch_size: 3", REQUIRED) + "data: {pairs: true}\n",
        REQUIRED + "data: {zoom: 0.5}\n",
        REQUIRED + "data: {zoom_noise: 1.5}\n",
        REQUIRED + "loss: {object_weights: {cow: 2}}\n",
        REQUIRED + "loss: {fog_weight: 0.5}\n",
        REQUIRED + "runs: ${oc.env:HOME}\n",
        "kind: critic\n",
        "- a list\n",
        "a: [broken\n",
        "5\n",
        "",
        *(REQUIRED + f"{line}\n" for line in ODD),
    ],
)
def test_a_wrong_config_is_one_sentence(tmp_path, text):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(TrainingError) as error:
        load_config(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_a_missing_config_is_named(tmp_path):
    with pytest.raises(TrainingError, match="there is no file .*absent.yaml'."):
        load_config(tmp_path / "absent.yaml")
    with pytest.raises(TrainingError, match="is no readable YAML.*Is a directory"):
        load_config(tmp_path)


def test_ema_follows_the_published_rule():
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 0.0)
    ema = EMA(model, decay=0.9999)
    nn.init.constant_(model.weight, 1.0)
    expected = 0.0
    for n in range(1, 6):
        ema.update(model)
        expected -= (1 - (1 + n) / (10 + n)) * (expected - 1.0)
    assert abs(float(ema.model.weight.detach()) - expected) < 1e-6


def test_snapshot_round_trip_and_damage(tmp_path):
    path = tmp_path / "snapshot.pt"
    save_snapshot(path, {"step": 3, "model": {"w": torch.ones(2)}})
    assert load_snapshot(path)["step"] == 3
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(TrainingError, match="no usable snapshot"):
        load_snapshot(path)


def test_start_alike_takes_what_fits_and_leaves_new_inputs_at_zero(tmp_path):
    path = tmp_path / "other.safetensors"
    first = "unet.input_blocks.0.0.weight"
    export_weights(path, {first: torch.ones(4, 4, 1, 1), "b.weight": torch.ones(2, 2)}, {})
    model = nn.ModuleDict({"b": nn.Linear(2, 2), "d": nn.Linear(1, 1), "unet": nn.Module()})
    model["unet"].input_blocks = nn.ModuleList([nn.Sequential(nn.Conv2d(5, 4, 1))])
    before = model["d"].weight.detach().clone()
    assert start_alike(model, path, latent_channels=3) == 2
    state = model.state_dict()
    assert torch.equal(state[first][:, :3], torch.ones(4, 3, 1, 1))
    assert torch.equal(state[first][:, 3:], torch.zeros(4, 2, 1, 1))
    assert torch.equal(state["b.weight"], torch.ones(2, 2))
    assert torch.equal(state["d.weight"], before)
    with pytest.raises(TrainingError, match="missing"):
        start_alike(model, tmp_path / "absent.safetensors", latent_channels=3)


def test_a_start_from_weights_that_fit_nowhere_is_refused_and_others_are_counted(tmp_path, caplog):
    path, model = tmp_path / "other.safetensors", nn.Linear(2, 2)
    export_weights(path, {"bias": torch.ones(2), "other": torch.ones(2)}, {})
    with caplog.at_level("INFO"):
        assert start_alike(model, path) == 1
    assert caplog.messages == [f"1 of 2 weights are taken from {path}"]
    export_weights(path, {"other": torch.ones(2), "weight": torch.ones(3)}, {})
    with pytest.raises(TrainingError, match=r"holds no weight of .* start_from must name a preset"):
        start_alike(model, path)


@pytest.mark.parametrize("weight", [7e4, float("nan")])
def test_weights_that_float16_cannot_hold_take_no_ones_place(tmp_path, weight):
    path = tmp_path / "model.safetensors"
    export_weights(path, {"a.weight": torch.ones(2)}, {})
    before = path.read_bytes()
    with pytest.raises(TrainingError, match=r"a\.weight holds (7e\+04|nan), .* up to 6.55e\+04"):
        export_weights(path, {"a.weight": torch.tensor([weight, 1.0])}, {})
    assert path.read_bytes() == before


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_first_stage_goes_on_from_its_own_weights_only_if_told_to(goes_on):
    name = "demo-kl-f4"
    more = {"start_from": name} if goes_on else {}
    none = World(np.zeros((0, 8, 8, 3), np.uint8), np.zeros((0, 8, 8), np.uint8), [])
    run = FirstStageRun(TrainConfig("first_stage", name, 1, 1, **more), none, none)
    stored = read_checkpoint(load_preset(name).weight_path)
    ours = run.model.first_stage.state_dict()
    assert all(torch.equal(ours[key], stored[key].float()) for key in ours) == goes_on
