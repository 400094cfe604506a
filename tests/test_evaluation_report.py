from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from ldm.catalog import registry
from ldm.data import scenes
from ldm.data.rendering import render
from ldm.errors import PresetError, RequestError
from ldm.evaluation import grid, report, semantic
from ldm.evaluation.critic import judge, load_critic
from ldm.evaluation.drawing import Size
from ldm.evaluation.frechet import frechet_row
from ldm.evaluation.held_out import held_out
from ldm.evaluation.metrics import frechet_distance, mean_iou
from ldm.evaluation.report import Row, evaluate, table
from ldm.images import to_tensor
from ldm.requests import REQUESTS
from ldm.training.own import create
from ldm.training.world import SPLITS


def test_the_table_says_what_is_below_its_bar():
    rows = [
        Row("good", 31.0, "dB", 30.0, "128 x 128"),
        Row("bad", 0.5, "", 0.9),
        Row("seen", 1.0),
        Row("far", 38.0, between_real=117.25),
    ]
    lines = table(rows).splitlines()
    assert [row.passed for row in rows] == [True, False, True, True]
    assert lines[0].endswith("at least 30  ok")
    assert lines[1].endswith("at least 0.9  below")
    assert "at least" not in lines[2]
    assert lines[3].endswith(" 38.000   between real scenes 117.250")


@pytest.mark.parametrize("name", ["demo-kl-f4", "demo-vq-f4"])
def test_the_shipped_first_stages_reach_their_bars(name):
    rows = evaluate(name, scenes=12)
    assert {row.size for row in rows} == {"128 x 128", "256 x 128", "512 x 128"}
    assert [row for row in rows if not row.passed] == []


def test_a_task_without_measures_is_refused(monkeypatch):
    monkeypatch.delitem(report.EVALUATORS, "unconditional")
    with pytest.raises(PresetError, match="ffhq256 does unconditional, which has no measures"):
        evaluate("ffhq256")


def test_models_of_ones_own_are_measured_if_they_know_what_is_in_the_scenes(
    tmp_path, monkeypatch, caplog
):
    """Classes and words of one's own are refused; what a picture alone is asked for is not."""
    for kind, sentence in (("tulip", "a tulip"), ("aster", "an aster")):
        (tmp_path / "pictures" / kind).mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(tmp_path / "pictures" / kind / "a.png")
        (tmp_path / "pictures" / kind / "a.txt").write_text(sentence)
    known, models = registry.load_preset, tmp_path / "models"
    refused = {
        "demo-class-conditional": r"knows other classes \(aster, tulip\); class-conditional is "
        "measured on the procedural landscapes, whose classes are grass by day, grass at dawn, "
        "grass at sunset and 13 more",
        "demo-text-to-image": r"does not know the words afternoon, .* and \d+ more; "
        "text-to-image is measured",
    }
    row = Row("PSNR", 40.0, "dB", at_least=30.0)
    monkeypatch.setattr(report, "EVALUATORS", dict.fromkeys(report.EVALUATORS, lambda *_: [row]))
    for module in (report, grid):
        monkeypatch.setattr(module, "load_preset", lambda name: known(name, models))
    for like in (*refused, "demo-kl-f4", "demo-upscale-bsr", "demo-inpaint"):
        name = like.replace("demo", "my")
        create(name, like, tmp_path / "pictures", models_dir=models)
        if like not in refused:
            assert evaluate(name) == [replace(row, at_least=None)]
            assert caplog.messages[0].startswith(f"{name} is measured on the procedural lands")
            caplog.clear()
            continue
        for measure in (evaluate, lambda name: grid.write_grid(name, tmp_path / "grid.png")):
            with pytest.raises(PresetError, match=f"{name} {refused[like]}"):
                measure(name)
    for request_type in REQUESTS.values():
        assert evaluate(request_type.preset) == [row]
    assert not caplog.messages


@pytest.mark.parametrize("name", ["semantic-synthesis256", "layout2img-openimages256", "cin256-v2"])
def test_a_model_of_other_classes_is_refused(name):
    with pytest.raises(PresetError, match=f"{name} knows other classes.*; .* on the procedural"):
        evaluate(name)


def test_a_model_of_other_pictures_is_refused():
    words = "celeba256 draws other pictures; unconditional is measured on the procedural land"
    with pytest.raises(PresetError, match=words):
        evaluate("celeba256")


def test_no_model_was_trained_on_the_scenes_of_its_measures():
    seeds = (np.random.default_rng([SPLITS["train"], i]) for i in range(2))
    trained = to_tensor([render(scenes.sample(rng, 64, 64)).image for rng in seeds])
    assert not any(
        torch.equal(*pair) for pair in zip(held_out(2, 64, 64).images, trained, strict=True)
    )


def test_the_critic_knows_the_world():
    real = held_out(24)
    seen = judge(load_critic(), real.images)
    assert float((seen.answers == real.truth).float().mean()) > 0.95
    assert mean_iou(seen.labels, real.labels[:, ::2, ::2], classes=15) > 0.7
    # and it is not fooled by a picture without anything in it
    blank = judge(load_critic(), torch.zeros(1, 3, 128, 128))
    assert float((blank.answers == real.truth[:1]).float().mean()) < 0.9


def test_a_distance_stands_beside_that_of_as_many_other_real_scenes():
    """Few scenes are far from any others; more of them are nearer. Nothing is asked of a model."""
    critic, rows = load_critic(), []
    features = judge(critic, held_out(48, 64, 64).images).features
    for count in (6, 24):
        row = frechet_row(critic, features[:count], features[:count], Size(1, 64, 64, count))
        others = features[count : 2 * count]
        assert row.between_real == pytest.approx(frechet_distance(features[:count], others))
        rows.append(row)
    assert all(row.value < 0.01 * row.between_real for row in rows)
    assert rows[1].between_real < 0.8 * rows[0].between_real


@pytest.mark.parametrize("scenes", [3, 0, -5])
def test_too_few_scenes_are_refused(scenes):
    with pytest.raises(PresetError, match=f"scenes must be at least 4, got {scenes}"):
        evaluate("demo-kl-f4", scenes=scenes)


@pytest.mark.parametrize("name", ["a-file/grid.png", "grid.nothing", "grid", "folder.png"])
def test_a_grid_that_cannot_be_written_is_told_before_anything_is_made(tmp_path, monkeypatch, name):
    (tmp_path / "a-file").touch()
    (tmp_path / "folder.png").mkdir()
    monkeypatch.setattr(semantic, "examples", lambda preset, model: pytest.fail("too late"))
    with pytest.raises(RequestError, match="cannot be written"):
        grid.write_grid("demo-semantic", tmp_path / name)
