import pytest

from ldm.catalog.registry import list_presets
from ldm.errors import PresetError
from ldm.evaluation.rehearsal import EXAMPLES, rehearse
from ldm.requests import PRESET_TASKS
from ldm.resolve import resolve


@pytest.mark.parametrize("name", ["demo-inpaint", "demo-upscale-bicubic", "demo-layout"])
def test_a_task_runs_without_its_weight_file(name):
    check = rehearse(name)
    assert check.passed, check.detail
    assert "128 x 128 px" in check.detail


def test_every_task_can_be_rehearsed_and_nothing_else():
    assert set(EXAMPLES) == {task for tasks in PRESET_TASKS.values() for task in tasks}
    with pytest.raises(PresetError, match="does first-stage; rehearsed are text-to-image"):
        rehearse("kl-f8")


RUNNABLE = {preset.name: preset for preset in list_presets() if preset.task in EXAMPLES}


@pytest.mark.parametrize("name", RUNNABLE)
def test_every_preset_has_a_request_to_rehearse(name):
    preset = RUNNABLE[name]
    request = resolve(EXAMPLES[preset.task](preset), preset)
    assert request.preset == name
    if preset.task == "layout":
        known = preset.classes or ("0", "1")
        assert {box.label for box in request.boxes} <= set(known)
