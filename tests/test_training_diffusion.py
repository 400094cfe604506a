"""A run of every task: what it trains is what the studio later loads and samples."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from ldm.catalog.build import build_first_stage, build_model
from ldm.catalog.registry import load_preset
from ldm.checkpoints.apply import load_files
from ldm.data.rendering import render
from ldm.data.scenes import IDS, OBJECTS, sample
from ldm.diffusion.conditioning import Conditioning
from ldm.diffusion.guidance import as_eps
from ldm.diffusion.schedule import NoiseSchedule
from ldm.errors import TrainingError
from ldm.training import conditions, diffusion, latents
from ldm.training.config import DataConfig, LossConfig, TrainConfig
from ldm.training.diffusion import DiffusionRun, min_snr_weight
from ldm.training.latents import encoder_key
from ldm.training.loop import train
from ldm.training.snapshots import load_snapshot, save_snapshot
from ldm.training.world import World

NAMES = [
    "demo-text-to-image",
    "demo-layout",
    "demo-class-conditional",
    "demo-semantic",
    "demo-upscale-bicubic",
    "demo-inpaint",
    "demo-inpaint-words",
    "demo-ddpm",
]


@pytest.fixture(scope="module")
def world():
    samples = [render(sample(np.random.default_rng(i))) for i in range(3)]
    about = [
        {
            "captions": [s.caption, s.caption],
            "boxes": [dataclasses.asdict(box) for box in s.boxes],
            "attributes": s.attributes,
        }
        for s in samples
    ]
    images = np.stack([s.image for s in samples])
    return World(images, np.stack([s.labels for s in samples]), about)


@pytest.fixture
def make(world, tmp_path, monkeypatch):
    """Preset name -> a run that writes to a folder of the test, from random weights."""
    monkeypatch.setattr(conditions, "EXAMPLES", 2)

    def elsewhere(name):
        return dataclasses.replace(load_preset(name), folder=tmp_path)

    monkeypatch.setattr(diffusion, "load_preset", elsewhere)

    def make(name, world=world, held_out=world, **config):
        data = DataConfig(folder=tmp_path, holes=1)
        about = TrainConfig("latent_diffusion", name, 1, 2, precision="no", data=data, **config)
        return DiffusionRun(about, world, held_out)

    return make


@pytest.mark.parametrize("name", NAMES)
def test_what_is_exported_predicts_what_was_trained(name, make, randomise):
    run = make(name)
    randomise(run.model)
    x0, noise, t, drawn, cells = run.batch(np.random.default_rng(0), 2)
    side = 128 // run.diffusion.factor
    assert x0.shape == noise.shape == (2, 3, side, side)
    # latents have the spread that the schedule expects
    assert abs(float(run.latents.std()) - 1) < 1e-3
    terms = run.loss(run.model, (x0, noise, t, drawn, cells))
    assert torch.isfinite(terms["loss"])
    inputs = run.condition.prepared(drawn)
    run.export(run.model, step=1)
    loaded = build_model(run.preset)
    load_files(loaded, run.preset.weight_paths, dtype=torch.float32)
    schedule = run.diffusion.schedule
    x_t = schedule.q_sample(x0, t, noise)
    seen = x_t  # by the network: of a picture with a hole, what the smooth filling leaves over
    if run.diffusion.centres_on_guess:
        seen = schedule.q_sample(x0 - run.diffusion.guess(inputs), t, noise)
    with torch.no_grad():
        trained = as_eps(run.model(seen, t, inputs), seen, t, schedule, "v")
        again = loaded.denoise(x_t, t, run._condition(loaded, inputs))
        other = loaded.denoise(x_t, t, run._condition(loaded, turned(inputs)))
    assert loaded.scale_factor == pytest.approx(run.diffusion.scale_factor)
    spread = trained.std()
    assert (again - trained).abs().max() < 0.02 * spread  # the file is in half precision
    if isinstance(inputs, Conditioning) or not torch.equal(inputs, turned(inputs)):
        assert (other - again).abs().max() > 1e-3 * spread  # the condition reaches the network


def turned(inputs):
    """The inputs of a batch in the opposite order."""
    if not isinstance(inputs, Conditioning):
        return inputs.flip(0)
    return Conditioning(concat=inputs.concat.flip(0), context=inputs.context.flip(0))


@pytest.mark.parametrize(("name", "ratio"), [("demo-inpaint", 10.0), ("demo-upscale-bicubic", 1.0)])
def test_errors_in_the_hole_count_ten_times_as_much(name, ratio, make):
    run = make(name)
    x0, noise, t, inputs, _ = run.batch(np.random.default_rng(0), 2)
    inputs = inputs.clone()
    inputs[:, -1] = -1.0
    inputs[:, -1, :16] = 1.0  # the upper half is a hole, for a model that knows holes
    cells = run.condition.weight(np.arange(2), inputs)
    guess = run.diffusion.guess(inputs) if run.diffusion.smooth_holes else 0
    target = run.diffusion.schedule.velocity(x0 - guess, t, noise)
    losses = []
    for rows in (slice(0, 16), slice(16, 32)):
        wrong = target.clone()
        wrong[:, :, rows] += 1.0
        model = lambda x_t, t, inputs, wrong=wrong: wrong  # noqa: E731
        losses.append(float(run.loss(model, (x0, noise, t, inputs, cells))["loss"]))
    assert losses[0] / losses[1] == pytest.approx(ratio, rel=1e-4)
    assert sum(losses) == pytest.approx(1.0, rel=1e-4)  # the mean weight is 1


def test_a_run_goes_on_from_its_weights_and_starts_from_a_relative(make, tmp_path, randomise):
    first = make("demo-semantic")
    randomise(first.model)
    first.export(first.model, step=1)
    again, anew = make("demo-semantic", start_from="demo-semantic"), make("demo-semantic")
    assert torch.equal(again.latents, first.latents)  # read from the cache
    ours, theirs = again.model.state_dict(), first.model.state_dict()
    assert all((ours[key] - theirs[key]).abs().max() < 0.01 for key in ours)
    others = anew.model.state_dict()
    assert not all((others[key] - theirs[key]).abs().max() < 0.01 for key in others)
    relative = make("demo-upscale-bicubic", start_from="demo-semantic")
    ours = relative.model.state_dict()
    key = "unet.input_blocks.0.0.weight"
    assert (ours[key][:, :3] - theirs[key][:, :3]).abs().max() < 0.01
    assert ours[key][:, 3:].abs().max() == 0
    (tmp_path / "demo-semantic.safetensors").unlink()
    with pytest.raises(TrainingError, match="demo-semantic.safetensors is missing"):
        make("demo-upscale-bicubic", start_from="demo-semantic")


@pytest.mark.parametrize("name", ["demo-class-conditional", "demo-semantic"])
def test_pictures_along_the_way_show_the_condition_above_them(name, make, tmp_path, monkeypatch):
    monkeypatch.setattr(diffusion, "SAMPLE_STEPS", 1)
    monkeypatch.setattr(diffusion, "COLUMNS", 2)
    run = make(name)
    few = run.condition.examples
    parts = (few.inputs, few.empty, few.shown)
    run.condition.examples = conditions.Examples(
        *(None if part is None else part[:2] for part in parts)
    )
    run.sample(run.model, tmp_path / "samples.png")
    expected = (256, 128) if few.shown is None else (256, 256)
    assert Image.open(tmp_path / "samples.png").size == expected


@pytest.mark.parametrize("kind", ["eps", "v", "x0"])
def test_a_min_snr_weight_is_the_same_weight_of_x0_whatever_is_predicted(kind):
    schedule, t = NoiseSchedule.cosine(1000), torch.tensor([10, 400, 900])
    x0, noise, off = torch.randn(3, 3, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    x_t, snr = schedule.q_sample(x0, t, noise), schedule.snr(t)
    target = {"eps": noise, "v": schedule.velocity(x0, t, noise), "x0": x0}[kind]
    made = schedule.predict_x0(x_t, t, as_eps(target + 0.1 * off, x_t, t, schedule, kind))
    weighted = min_snr_weight(snr, 5.0, kind) * (0.1 * off).square().mean((1, 2, 3))
    want = snr.clamp_max(5.0) * (made - x0).square().mean((1, 2, 3))
    assert torch.allclose(weighted, want, rtol=1e-2)
    assert snr[0] > 5.0 > snr[2]


def test_a_bias_above_1_trains_on_more_noise(make):
    run = make("demo-ddpm", loss=LossConfig(noise_bias=3.0))
    t = run.batch(np.random.default_rng(0), 200)[2] / run.diffusion.schedule.length
    assert float(t.mean()) == pytest.approx(3 / 4, abs=0.05)


def test_latents_are_named_by_what_makes_them():
    first_stage = build_first_stage(load_preset("demo-vq-f4"), "cpu")
    key = encoder_key(first_stage)
    with torch.no_grad():
        first_stage.decoder.conv_in.weight.add_(1)
        first_stage.quantize.embedding.weight.add_(1)
        assert encoder_key(first_stage) == key
        first_stage.quant_conv.bias.add_(1)
    assert encoder_key(first_stage) != key


def test_latents_of_another_encoder_are_not_taken(make, tmp_path, monkeypatch):
    for number, key in enumerate("ab", 1):
        monkeypatch.setattr(latents, "encoder_key", lambda _, key=key: key)
        make("demo-ddpm")
        assert len([*tmp_path.glob("latents-*.npy")]) == number


def test_a_preset_without_a_condition_to_train_is_refused(world, monkeypatch):
    monkeypatch.delitem(conditions.CONDITIONS, "unconditional")
    config = TrainConfig("latent_diffusion", "ffhq256", 1, 2)
    with pytest.raises(TrainingError, match="ffhq256 does unconditional; trained are text-to-im"):
        DiffusionRun(config, world, world)


def test_scenes_that_share_their_land_share_noise_and_step(make, world):
    run = make("demo-text-to-image")
    run.world = dataclasses.replace(world, group=2)
    _, noise, t, *_ = run.batch(np.random.default_rng(0), 4)
    assert torch.equal(noise[:2], noise[2:]) and torch.equal(t[:2], t[2:])
    assert not torch.equal(noise[0], noise[1])


def test_close_views_are_seen_at_the_less_noisy_steps_alone(make, world):
    run = make("demo-text-to-image")
    run.world = dataclasses.replace(world, far=2)
    data = dataclasses.replace(run.config.data, zoom_noise=0.25)
    run.config = dataclasses.replace(run.config, data=data)
    x0, _, t, _, _ = run.batch(np.random.default_rng(0), 400)
    is_close = (x0 == run.latents[2]).flatten(1).all(1)
    assert 0 < is_close.sum() < 400
    assert t[is_close].max() < 250 < 900 < t[~is_close].max()


def test_held_out_pictures_are_given_the_noise_of_those_trained_on(make, world, caplog):
    other = world.first(2)  # said in one way alone, so that less is drawn for each
    other = dataclasses.replace(other, about=[one | {"captions": ["a"]} for one in other.about])
    run = make("demo-text-to-image", held_out=other)
    ours, theirs = (some.batch(np.random.default_rng(0), 4) for some in (run, run.held_out))
    assert torch.equal(ours[1], theirs[1]) and torch.equal(ours[2], theirs[2])
    assert run.held_out.world is not run.world and len(run.held_out.latents) == 2
    assert (run.held_out.latents - run.latents[:2]).abs().mean() < 0.01  # encoded in another batch
    run.go_on_with({"scale_factor": 2 * run.diffusion.scale_factor})
    assert (run.held_out.latents - run.latents[:2]).abs().mean() < 0.01  # encoded in another batch
    caplog.set_level("INFO")
    silent = dataclasses.replace(other, about=[one | {"captions": []} for one in other.about])
    assert make("demo-text-to-image", held_out=silent).held_out is None
    assert "held-out pictures is not measured" in caplog.text


def test_the_cells_of_objects_count_as_much_as_the_configuration_says(make):
    run = make("demo-semantic", loss=LossConfig(object_weights=dict.fromkeys(OBJECTS, 5.0)))
    *_, weight = run.batch(np.random.default_rng(0), 2)
    assert weight.shape == (2, 1, 32, 32)
    assert weight.min() == 1
    assert weight.max() == 5


def test_a_prompt_weighs_where_its_things_may_stand_whatever_the_picture_shows(make, world):
    """Else the network would draw more things than there are."""
    pine, none = ({"objects": kinds, "weather": "clear"} for kinds in (["pine"], []))
    fog = {"objects": ["pine"], "weather": "fog"}
    about = [one | {"attributes": a} for one, a in zip(world.about, (pine, none, fog), strict=True)]
    labels = np.zeros_like(world.labels)
    labels[0, :64], labels[2, :32] = IDS["pine"], IDS["pine"]
    other = dataclasses.replace(world, about=about, labels=labels)
    loss = LossConfig(object_weights={"pine": 5.0}, fog_weight=2.0, condition_dropout=0.0)
    condition = make("demo-text-to-image", world=other, loss=loss).condition
    told = condition.draw(np.random.default_rng(0), np.arange(3))
    of_rows = condition.weight(np.arange(3), told)[:, 0, :, 0]
    assert of_rows[:, [0, 8, 16]].tolist() == [[5, 3, 1], [1, 1, 1], [10, 5.5, 1]]
    assert condition.weight(np.arange(3), condition.empty.expand_as(told)).unique().tolist() == [1]


def test_a_resumed_run_goes_on_with_the_scale_it_began_with(make, world, tmp_path, monkeypatch):
    """Whatever the pictures have become."""
    monkeypatch.setattr(DiffusionRun, "sample", lambda run, model, path: None)
    first = make("demo-semantic")
    scale, folder = first.diffusion.scale_factor, tmp_path / "run"
    train(first, first.config, folder, resume=False)
    pale = dataclasses.replace(world, images=world.images // 4 + 96, kind="pale")
    again = make("demo-semantic", world=pale)
    of_pale = again.diffusion.scale_factor
    assert of_pale > 1.5 * scale
    train(again, again.config, folder, resume=True)
    assert again.diffusion.scale_factor == scale
    assert float(again.latents.std()) == pytest.approx(scale / of_pale, rel=1e-3)
    state = load_snapshot(folder / "snapshot.pt")
    del state["measured"]  # as before it was kept
    save_snapshot(folder / "snapshot.pt", state)
    train(make("demo-semantic"), first.config, folder, resume=True)


def test_scaled_conditions_are_made_anew_at_the_scale_that_a_run_began_with(make, tmp_path):
    run = make("demo-inpaint-words")
    run.diffusion.grey_holes = True
    began = 2 * run.diffusion.scale_factor
    run.go_on_with({"scale_factor": began})
    assert list(tmp_path.glob(f"worded-holes-grey-{began:.6g}-*.npy"))
    weight = run.condition.weight(None, run.batch(np.random.default_rng(0), 2)[3])
    assert weight.min() > 0
