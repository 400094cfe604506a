"""The code in docs/python.md, run from top to bottom as a reader would."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from ldm.catalog.registry import load_preset

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "python.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The names that all blocks leave, run in a folder with a model of one's own."""
    folder = tmp_path_factory.mktemp("reader")
    preset = load_preset("demo-text-to-image")
    own = folder / "my-models" / "mine"
    own.mkdir(parents=True)
    yaml = (ROOT / "presets" / "demo" / f"{preset.name}.yaml").read_text("utf-8")
    (own / "preset.yaml").write_text(yaml, "utf-8")
    for path in preset.folder.glob(f"{preset.name}*.safetensors"):
        (own / path.name).symlink_to(path)
    names = {}
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for block in BLOCKS:
            exec(compile(block, str(PAGE), "exec"), names)
    return names


def test_every_block_is_run():
    assert len(BLOCKS) == PAGE.read_text("utf-8").count("```python") == 14


def test_every_request_is_met_and_comes_back_from_its_file(ran):
    sides = {name: image.shape[1::-1] for name, image in ran["made"].items()}
    assert sides.pop("wider") == (192, 128)
    assert sides.pop("larger") == (128, 128)
    assert set(sides.values()) == {(128, 128)}
    assert len(sides) == 6
    assert ran["recipe"] == ran["lake"].requests[0]
    assert len(ran["sheet"].paths) == 5
    assert [path.suffix for path in ran["played"].paths] == [".png"] * 2


def test_the_loop_makes_the_pictures_of_the_studio(ran):
    assert [picture.shape for picture in ran["pictures"]] == [(128, 128, 3)] * 2
    (image,) = ran["result"].images
    # a batch of two may round otherwise than one
    assert np.abs(image.astype(int) - ran["pictures"][1]).max() <= 1
    assert np.abs(image.astype(int) - ran["pictures"][0]).mean() > 5


def test_previews_are_small_and_come_at_every_step(ran):
    assert [preview.shape for pair in ran["shown"] for preview in pair] == [(128, 128, 3)] * 8


def test_noise_belongs_to_its_place(ran):
    assert torch.equal(ran["part"], ran["whole"][:, 40:48, 10:18])


def test_a_loop_that_was_left_goes_on_to_the_same_end(ran):
    for want, early, late in zip(ran["pictures"], ran["early"], ran["late"], strict=True):
        assert (late == want).all()
        assert np.abs(early.astype(int) - want).mean() > 1
    assert (ran["noisy"].x_t - ran["rest"].x_t).abs().mean() > 0.1


def test_latents_give_the_picture_back(ran):
    assert ran["z"].shape == (2, 3, 32, 32)
    for again, want in zip(ran["again"], ran["pictures"], strict=True):
        assert np.abs(again.astype(int) - want).mean() < 5
    near = (ran["redrawn"].x_t - ran["z"]).flatten(1).norm(dim=1)
    far = (ran["redrawn"].x_t - ran["z"].flip(0)).flatten(1).norm(dim=1)
    assert (near < far).all()


def test_a_hole_is_filled_and_around_it_the_picture_is_as_it_was(ran):
    hole = ran["mask"][0, 0].numpy() > 0
    for name in ("filled", "around_it"):
        change = np.abs(ran[name][0].astype(int) - ran["pictures"][0]).mean(2)
        assert change[hole].mean() > 2 * change[~hole].mean()
    assert np.abs(ran["around_it"][0].astype(int) - ran["again"][0])[~hole].mean() < 3


def test_the_gradient_of_a_denoised_picture_is_the_way_to_a_lighter_one(ran):
    gradient = ran["gradient"]
    assert gradient.shape == ran["x_t"].shape == (2, 3, 32, 32)
    means = []
    with torch.no_grad(), ran["plain"].use("demo-text-to-image") as model:
        for far in (-0.1, 0.1):
            x_t = ran["x_t"].detach() + far * gradient / gradient.norm()
            t = x_t.new_full((len(x_t),), 600).long()
            z_0 = model.schedule.predict_x0(x_t, t, model.denoise(x_t, t, ran["cond"]))
            means.append(float(model.decode(z_0).mean()))
    assert (means[1] - means[0]) / 0.2 == pytest.approx(float(gradient.norm()), rel=0.1)


def test_the_training_loop_learns(ran):
    losses, learned = np.array(ran["losses"]), ran["learned"].x_t
    assert losses[-5:].mean() < 0.6 * losses[:5].mean()
    assert learned.shape == ran["z"].shape
    assert learned.isfinite().all()


def test_the_loop_by_hand_is_ddim_and_noise_covers_the_picture(ran):
    assert ran["same"]
    means = [np.abs(seen.astype(int) - ran["pictures"][0]).mean() for seen, _ in ran["film"]]
    assert means == sorted(means)
    assert all((curve.diff() < 0).all() for curve in ran["curves"].values())


def test_every_sampler_reaches_what_a_plain_function_knows(ran):
    assert set(ran["found"]) == set(ran["SAMPLERS"])
    for found in ran["found"].values():
        assert (found.x_t.mean() - 0.5).abs() < 0.02


def test_a_model_of_ones_own_is_found_in_its_folder(ran):
    assert ran["last"].x_t.shape == (1, 3, 16, 16)
    assert ran["last"].x_t.isfinite().all()


@pytest.mark.parametrize("page", ["README.md", *sorted(p.name for p in PAGE.parent.glob("*.md"))])
def test_every_file_that_a_page_names_is_there(page):
    text = next(p for p in (ROOT / page, PAGE.parent / page) if p.exists()).read_text("utf-8")
    named = set(re.findall(r"`((?:ldm|ui|tests|presets|docs)/[\w/.-]+)`", text))
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
