"""The authors' numbers, held by the project's own tests."""

import gzip
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ldm.errors import CheckpointError
from ldm.evaluation import verify
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


@pytest.mark.parametrize("name", ["t2i_numheadchannels_ema", "ae_kl_attn"])
def test_the_networks_of_inference_give_the_recorded_tensors_too(name):
    checks = list(verify_case(REFERENCE / "tiny" / name, fast=True))
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


def test_without_the_repository_a_folder_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(verify, "REFERENCE", tmp_path / "none")
    with pytest.raises(CheckpointError, match="none does not exist; .* --cases or --manifests"):
        list(run_checks(None, None))


def test_a_broken_case_fails_alone(tmp_path):
    source = REFERENCE / "tiny" / "noisy_classifier_adaptive"
    for name in ("a", "b", "c"):
        shutil.copytree(source, tmp_path / name)
    (tmp_path / "a" / "model.ckpt.xz").write_bytes(b"no archive")
    (tmp_path / "b" / "config.yaml").write_text("model: {target: os.system}")
    failed = [check for check in run_checks(tmp_path, None) if not check.passed]
    assert [check.name for check in failed] == ["a files", "b files"]
    assert "os.system" in failed[1].detail


def test_wrong_weights_and_unknown_tensors_fail(tmp_path):
    folder = tmp_path / "case"
    shutil.copytree(REFERENCE / "tiny" / "noisy_classifier_adaptive", folder)
    about = json.loads((folder / "case.json").read_text())
    (folder / "case.json").write_text(json.dumps(about | {"ckpt_sha256": "0"}))
    tensors = load_file(folder / "io.safetensors")
    tensors["clf/t0/logits"] = tensors["clf/t0/logits"] * 1.001
    save_file(tensors | {"clf/odd": torch.zeros(1)}, folder / "io.safetensors")
    failed = {check.name: check.detail for check in verify_case(folder) if not check.passed}
    assert [*failed] == ["case checkpoint", "case clf/odd", "case clf/t0/logits"]
    assert failed["case clf/odd"] == "nothing here computes it"


CHANGES = {
    "a missing key": (lambda m: m["state_dict"].pop("betas"), "1 not published (first betas)"),
    "a key too many": (
        lambda m: m["state_dict"].update({"model.odd": [[1], "float32"]}),
        "1 unknown here (first model.odd)",
    ),
    "a shape": (
        lambda m: m["state_dict"].update({"model.diffusion_model.out.2.bias": [[4], "float32"]}),
        "1 of another shape (first model.diffusion_model.out.2.bias)",
    ),
    "a type": (
        lambda m: m["state_dict"].update({"model_ema.num_updates": [[], "int64"]}),
        "1 of another shape (first model_ema.num_updates)",
    ),
    "a head": (
        lambda m: m["attention"]["model.diffusion_model.middle_block.1"].update(heads=1),
        "1 differ (first model.diffusion_model.middle_block.1)",
    ),
    "a count": (lambda m: m["counts"].update(unet=1), "unet 113,622,563, recorded 1"),
}


@pytest.mark.parametrize(("change", "detail"), CHANGES.values(), ids=CHANGES)
def test_a_changed_key_list_fails(tmp_path, change, detail):
    path = REFERENCE / "manifests" / "ldm-bsr_sr.json.gz"
    manifest = json.loads(gzip.decompress(path.read_bytes()))
    change(manifest)
    changed = tmp_path / "changed.json.gz"
    changed.write_bytes(gzip.compress(json.dumps(manifest).encode()))
    failed = [check.detail for check in run_checks(None, tmp_path) if not check.passed]
    assert detail in failed[0]


def test_an_unreadable_key_list_fails(tmp_path):
    (tmp_path / "x.json.gz").write_bytes(b"no archive")
    (check,) = run_checks(None, tmp_path)
    assert not check.passed
