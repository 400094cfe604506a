"""Verify our networks and samplers against recorded results of the authors' code, and key lists.

A case folder holds a `config.yaml` in the authors' format, an xz-compressed checkpoint, and the
tensors that the authors' code computed with it (`io.safetensors`). Each tensor is either an input
or is computed here by our own code; a tensor that is neither fails its check.
"""

from __future__ import annotations

import copy
import hashlib
import json
import lzma
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from lzma import LZMAError
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ldm.catalog.architecture import Architecture
from ldm.catalog.build import build_classifier, build_first_stage, build_model
from ldm.catalog.compvis import read_architecture
from ldm.catalog.parsing import read_yaml
from ldm.checkpoints.apply import load_classifier, load_files, load_first_stage
from ldm.checkpoints.read import read_checkpoint
from ldm.errors import CheckpointError, LDMError
from ldm.evaluation.cases import Case, is_input
from ldm.evaluation.routes import outputs
from ldm.inference.prepare import prepare

BROKEN = (LDMError, OSError, LZMAError, SafetensorError, KeyError, ValueError, RuntimeError)
TABLES = (  # buffers of the noise schedule in published checkpoints
    "betas",
    "alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
)
TOLERANCE = 1e-4  # maximum error relative to max(1, largest absolute reference value)
REFERENCE = Path(__file__).parents[2] / "tests" / "reference"


@dataclass(frozen=True)
class Check:
    """The result of one comparison."""

    name: str
    passed: bool
    detail: str


def run_checks(
    cases: Path | None, manifests: Path | None, *, fast: bool = False
) -> Iterator[Check]:
    """Run the checks of the given folders; if none is given, those that come with the project.

    Args:
        cases: Folder of recorded cases.
        manifests: Folder of published key lists.
        fast: Whether to compare the networks as prepared for inference, not the plain ones.

    Raises:
        CheckpointError: If a folder holds no case or no key list, or no folder is given and the
            project's are not there.
    """
    if cases is None and manifests is None:
        if not REFERENCE.is_dir():  # installed without the repository
            raise CheckpointError(
                f"{REFERENCE} does not exist; the recorded numbers are in the repository's tests/, "
                "name a folder of yours with --cases or --manifests."
            )
        cases, manifests = REFERENCE / "tiny", REFERENCE / "manifests"
    if cases is not None:
        yield from verify_cases(cases, fast=fast)
    if manifests is not None:
        from ldm.evaluation.manifests import verify_manifests  # noqa: PLC0415  (imports this module)

        yield from verify_manifests(manifests)


def verify_cases(folder: Path, *, fast: bool = False) -> Iterator[Check]:
    """Compare every tensor of every case below `folder`.

    Raises:
        CheckpointError: If there is no case.
    """
    paths = sorted(path.parent for path in Path(folder).glob("*/case.json"))
    if not paths:
        raise CheckpointError(f"{folder} holds no case; each is a folder with a case.json.")
    for path in paths:
        yield from verify_case(path, fast=fast)


def verify_case(folder: Path, *, fast: bool = False) -> Iterator[Check]:
    """Compare every tensor of one case; what cannot be read or computed is a failed check."""
    try:
        reference = load_file(folder / "io.safetensors")
        case = load_case(folder, reference)
    except BROKEN as error:
        yield Check(f"{folder.name} files", False, f"{type(error).__name__}: {error}")
        return
    yield from _checkpoint(folder.name, case)
    if fast:
        case = _as_used(case)
    computed: dict[str, Tensor] = {}
    try:
        for name, value in outputs(case):
            computed[name] = value
    except BROKEN as error:
        yield Check(f"{folder.name} run", False, f"{type(error).__name__}: {error}")
    for name, expected in sorted(reference.items()):
        if is_input(name):
            continue
        if name not in computed:
            yield Check(f"{folder.name} {name}", False, "nothing here computes it")
        else:
            yield compare(f"{folder.name} {name}", computed[name], expected)


def _as_used(case: Case) -> Case:
    """The case with networks prepared for inference, except where gradients are compared."""
    if case.architecture.classifier is not None:
        return case
    averaged = prepare(copy.deepcopy(case.averaged))
    is_alone = case.architecture.unet is None
    return replace(case, averaged=averaged, raw=averaged if is_alone else case.raw)


def _checkpoint(name: str, case: Case) -> Iterator[Check]:
    """Check the checkpoint's hash, and its noise schedule against that of the configuration."""
    if case.digest is not None:
        yield Check(
            f"{name} checkpoint", case.digest[0] == case.digest[1], f"sha256 {case.digest[0]}"
        )
    for key, value in case.tables.items():
        yield compare(f"{name} {key}", getattr(case.raw.schedule, key), value)


def load_case(folder: Path, reference: Mapping[str, Tensor]) -> Case:
    """Build the models of a case and load its weights, tensors and notes."""
    about = json.loads((folder / "case.json").read_text("utf-8"))
    config = read_yaml(folder / "config.yaml")
    architecture = read_architecture(config, str(folder))
    content = lzma.decompress((folder / "model.ckpt.xz").read_bytes())
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.ckpt"
        path.write_bytes(content)
        averaged, raw = _load(architecture, path)
        stored = read_checkpoint(path)
        tables = {key: stored[key].clone() for key in TABLES if key in stored}
        del stored  # Windows removes no file that is still mapped
    recorded = about.get("ckpt_sha256")
    return Case(
        architecture=architecture,
        averaged=averaged,
        raw=raw,
        tensors=dict(reference),
        notes=about.get("notes", {}),
        loss_type=config["model"]["params"].get("loss_type", "l2"),
        digest=recorded and (hashlib.sha256(content).hexdigest(), recorded),
        tables=tables,
    )


def _load(architecture: Architecture, path: Path) -> tuple[torch.nn.Module, torch.nn.Module]:
    """The model with averaged and with raw UNet weights; equal for models without a UNet."""
    if architecture.classifier is not None:
        model = build_classifier(architecture)
        load_classifier(model, path, device="cpu")
        return _own(model), model
    if architecture.unet is None:
        model = build_first_stage(architecture)
        load_first_stage(model, path, device="cpu")
        return _own(model), model
    models = []
    for ema in (True, False):
        model = build_model(architecture)
        load_files(model, [path], ema=ema)
        models.append(_own(model))
    return models[0], models[1]


def _own(model: torch.nn.Module) -> torch.nn.Module:
    """Copy the weights out of the memory-mapped file, which is about to be deleted."""
    for tensor in [*model.parameters(), *model.buffers()]:
        tensor.data = tensor.data.clone()
    return model


def compare(name: str, value: Tensor, expected: Tensor) -> Check:
    """Compare a tensor with its reference: equality for integers, TOLERANCE for floats."""
    if tuple(value.shape) != tuple(expected.shape):
        shapes = f"shape {tuple(value.shape)}, recorded {tuple(expected.shape)}"
        return Check(name, False, shapes)
    if not expected.is_floating_point():
        differing = int((value != expected).sum())
        return Check(name, differing == 0, f"{differing} of {expected.numel()} differ")
    if not expected.numel():
        return Check(name, True, "empty")
    scale = max(1.0, float(expected.abs().max()))
    error = float((value.double() - expected.double()).abs().max()) / scale
    return Check(name, error <= TOLERANCE, f"relative error {error:.1e}")
