"""The authors' numbers, held by the project's own tests."""

from pathlib import Path

import pytest
import torch

from ldm.errors import CheckpointError
from ldm.evaluation.manifests import verify_manifest
from ldm.evaluation.verify import compare, run_checks, verify_case

REFERENCE = Path(__file__).parent / "reference"
CASES = sorted(path.parent for path in REFERENCE.glob("tiny/*/case.json"))
MANIFESTS = sorted(REFERENCE.glob("manifests/*.json.gz"))


@pytest.mark.parametrize("folder", CASES, ids=lambda path: path.name)
def test_every_recorded_tensor(folder):
    checks = list(verify_case(folder))
    assert len(checks) >= 7
    assert [f"{check.name}: {check.detail}" for check in checks if not check.passed] == []


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name.split(".")[0])
def test_every_published_key(path):
    checks = list(verify_manifest(path.name, path))
    assert len(checks) == 3
    assert [f"{check.name}: {check.detail}" for check in checks if not check.passed] == []


def test_nothing_is_missing_from_the_reference():
    assert len(CASES) == 14
    assert len(MANIFESTS) == 23


def test_compare_sees_values_shapes_and_integers():
    x = torch.tensor([1.0, 200.0])
    assert compare("x", x + 0.01, x).passed
    assert not compare("x", x + 0.03, x).passed
    assert not compare("x", x[:1], x).passed
    assert not compare("x", torch.tensor([1, 2]), torch.tensor([1, 3])).passed
    assert not compare("x", torch.tensor([float("nan")]), torch.tensor([0.0])).passed


@pytest.mark.parametrize("kind", ["cases", "manifests"])
def test_an_empty_folder_is_an_error(tmp_path, kind):
    folders = {"cases": None, "manifests": None} | {kind: tmp_path}
    with pytest.raises(CheckpointError, match="holds no"):
        list(run_checks(**folders))
