import pytest

from ldm.errors import PresetError
from ldm.evaluation.rehearsal import EXAMPLES, rehearse
from ldm.requests import REQUESTS


@pytest.mark.parametrize("name", ["demo-inpaint", "demo-upscale-bicubic", "demo-layout"])
def test_a_task_runs_without_its_weight_file(name):
    check = rehearse(name)
    assert check.passed, check.detail
    assert "128 x 128 px" in check.detail


def test_every_task_can_be_rehearsed_and_nothing_else():
    assert set(EXAMPLES) == set(REQUESTS)
    with pytest.raises(PresetError, match="does first-stage; rehearsed are text-to-image"):
        rehearse("kl-f8")
