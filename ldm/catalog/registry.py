"""The registry of models: the project's presets and the user's own folders.

A preset is `presets/NAME.yaml` (published) or `presets/demo/NAME.yaml` (shipped). The weights of a
published one are in `models/NAME/`, those of a shipped one beside its YAML file. A folder in
`models/` is a preset as well if it holds a CompVis config and a weight file, a diffusers pipeline,
or a `preset.yaml` of the same format; so is a single file there that is known by its weights. The
environment variable `LATENT_CANVAS_MODELS` names another folder than `models/`. This module needs
no torch.
"""

from __future__ import annotations

import difflib
import functools
import logging
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PureWindowsPath
from typing import Any

from ldm.catalog import diffusers
from ldm.catalog.compvis import PRESETS_DIR, preset_values
from ldm.catalog.parsing import parse, read_yaml
from ldm.catalog.schema import Preset, Weights
from ldm.catalog.single_files import PICKLED, SUFFIX, preset_like
from ldm.checkpoints.folders import PIPELINE_NAME
from ldm.errors import PresetError

USUAL_DIR = Path("models")  # of the current folder
MODELS_DIR = Path(os.environ.get("LATENT_CANVAS_MODELS") or USUAL_DIR)
CONFIG_NAMES = ("config.yaml", "project.yaml")
OWN_NAME = "preset.yaml"  # preset of a model that the user has trained here
WEIGHT_NAMES = ("model.safetensors", "model.ckpt", "last.ckpt")
# fields that are derived and must not be in a YAML file
_RESOLVED = (
    *("name", "folder", "first_stage_preset", "first_stage_path", "preview_path", "is_own"),
)

log = logging.getLogger(__name__)


def list_presets(
    models_dir: Path = MODELS_DIR,
    presets_dir: Path = PRESETS_DIR,
    tasks: Collection[str] | None = None,
) -> list[Preset]:
    """List all presets: the shipped ones, then the published ones, then the user's folders.

    With `tasks`, only presets of these tasks are listed. The project's other preset files are then
    not parsed, since parsing takes most of the time.

    A user's folder or file is left out with a warning if it cannot be read (`load_preset` raises
    the reason) or if it has the name of a shipped model.

    Raises:
        PresetError: If a preset file of the project is broken.
    """
    files = _preset_files(presets_dir).values()
    if tasks is not None:
        files = [path for path in files if read_yaml(path).get("task") in tasks]
    presets = [_load(path, models_dir, presets_dir) for path in files]
    if models_dir != USUAL_DIR and not os.path.isdir(models_dir):
        _tell_of_no_folder(models_dir)
    for place in _own_models(models_dir, presets_dir).values():
        try:
            presets.append(_load_own(place, models_dir, presets_dir))
        except PresetError as error:
            log.warning("left out: %s", error)
    for preset in presets:
        taken = models_dir / preset.name
        if taken != preset.folder and os.path.isdir(taken):
            log.warning("left out: %s has the name of a shipped model; rename the folder.", taken)
        single = models_dir / f"{preset.name}{SUFFIX}"
        if not preset.is_own and os.path.isfile(single):
            log.warning("left out: %s has the name of a shipped model; rename the file.", single)
    return [preset for preset in presets if tasks is None or preset.task in tasks]


@functools.lru_cache
def _tell_of_no_folder(models_dir: Path) -> None:
    """Warn once: the page lists the presets of each of its tabs."""
    log.warning("there are no models of your own: %s is no folder.", models_dir)


def load_preset(
    name: str,
    models_dir: Path = MODELS_DIR,
    presets_dir: Path = PRESETS_DIR,
    tasks: Collection[str] | None = None,
) -> Preset:
    """Return the preset called `name`, of any task.

    Raises:
        PresetError: If there is no such preset, or it is broken. For an unknown name the message
            proposes similar or all names; with `tasks`, only those of presets of these tasks.
    """
    files = _preset_files(presets_dir)
    if name in files:
        return _load(files[name], models_dir, presets_dir)
    own = _own_models(models_dir, presets_dir)
    if name in own:
        return _load_own(own[name], models_dir, presets_dir)
    known = [*files, *own]
    if tasks is not None:
        known = [preset.name for preset in list_presets(models_dir, presets_dir, tasks)]
    if near := difflib.get_close_matches(name, known, n=3, cutoff=0.5):
        raise PresetError(f"there is no preset {name!r:.80}; did you mean {' or '.join(near)}?")
    raise PresetError(f"preset must be one of {', '.join(known)}, got {name!r:.80}.")


def preset_file(name: str, presets_dir: Path = PRESETS_DIR) -> Path | None:
    """Return the YAML file of the project's preset of this name; None if there is none."""
    return _preset_files(presets_dir).get(name)


def _preset_files(presets_dir: Path) -> dict[str, Path]:
    paths = [*sorted((presets_dir / "demo").glob("*.yaml")), *sorted(presets_dir.glob("*.yaml"))]
    return {path.stem: path for path in paths}


def _own_models(models_dir: Path, presets_dir: Path) -> dict[str, Path]:
    """Return the user's own folders and single files by name, without those of presets."""
    published = _preset_files(presets_dir)
    names = (*CONFIG_NAMES, PIPELINE_NAME, OWN_NAME)
    configs = [path for name in names for path in sorted(models_dir.glob(f"*/{name}"))]
    files = [path for end in (PICKLED, SUFFIX) for path in sorted(models_dir.glob(f"[!.]*{end}"))]
    singles = {path.stem: path for path in files if os.path.isfile(path)}
    places = singles | _alone(models_dir) | {path.parent.name: path.parent for path in configs}
    return {name: place for name, place in places.items() if name not in published}


def _alone(models_dir: Path) -> dict[str, Path]:
    """Return files that lie alone in a folder, by its name."""
    files: dict[str, list[Path]] = {}
    for end in (SUFFIX, PICKLED):
        for path in sorted(models_dir.glob(f"[!.]*/[!.]*{end}")):
            files.setdefault(path.parent.name, []).append(path)
    return {name: paths[0] for name, paths in files.items() if len(paths) == 1}


def _load(path: Path, models_dir: Path, presets_dir: Path) -> Preset:
    values = read_yaml(path)
    if reserved := [key for key in _RESOLVED if key in values]:
        raise PresetError(f"{path}: {reserved[0]} is worked out, it must not be given.")
    is_own = path.name == OWN_NAME
    beside = is_own or path.parent.name == "demo"
    values["name"] = path.parent.name if is_own else path.stem
    values["folder"] = path.parent if beside else models_dir / path.stem
    values["is_own"] = is_own
    if isinstance(values.get("preview"), str):
        values["preview_path"] = values["folder"] / values["preview"]
    _resolve_first_stage(values, path, models_dir, presets_dir)
    places = (path.parent, presets_dir) if is_own else (presets_dir,)
    _resolve_vocabulary(values, path, places)
    _resolve_classes(values, path, places)
    return parse(Preset, values, str(path), _RESOLVED)


def _resolve_first_stage(
    values: dict[str, Any], path: Path, models_dir: Path, presets_dir: Path
) -> None:
    """Replace `first_stage: {preset: NAME}` in `values` by that preset's first stage and file."""
    architecture = values.get("architecture")
    reference = architecture.get("first_stage") if isinstance(architecture, Mapping) else None
    if not isinstance(reference, Mapping) or "preset" not in reference:
        return
    own = {file.parent.name: file for file in models_dir.glob(f"*/{OWN_NAME}")}
    files = own | _preset_files(presets_dir)
    name = reference["preset"]
    if len(reference) == 1 and isinstance(name, str) and name not in files:
        raise PresetError(f"{path}: it needs the first stage {name!r:.80}, which is not there.")
    if len(reference) > 1 or name not in files or name == values["name"]:
        raise PresetError(f"{path}: first_stage.preset must name one other preset, got {name!r}.")
    other = read_yaml(files[name])["architecture"]["first_stage"]
    if "preset" in other:
        raise PresetError(f"{path}: first_stage.preset {name!r} is itself only a reference.")
    architecture["first_stage"] = other
    values["first_stage_preset"] = name
    first_stage = _load(files[name], models_dir, presets_dir)
    if first_stage.task != "first-stage":
        raise PresetError(f"{path}: {name} does {first_stage.task} and is no first stage.")
    values["first_stage_path"] = first_stage.weight_path
    values["preview_path"] = first_stage.preview_path


def _resolve_vocabulary(values: Mapping[str, Any], path: Path, places: Sequence[Path]) -> None:
    architecture = values.get("architecture")
    conditioner = architecture.get("conditioner") if isinstance(architecture, Mapping) else None
    if isinstance(conditioner, dict) and conditioner.get("vocabulary"):
        conditioner["vocabulary"] = _named(str(conditioner["vocabulary"]), path, places)


def _named(file: str, path: Path, places: Sequence[Path]) -> Path:
    """Return the path of a file that a preset names, in the first of `places` that has it.

    If none has it, this is the path in the last one.

    Raises:
        PresetError: If the name is an absolute path, names a drive or contains "..".
    """
    parts = PureWindowsPath(file)  # knows the roots of every system, so that all refuse the same
    if parts.anchor or ".." in parts.parts:
        raise PresetError(f"{path}: files must lie beside it or in presets/, got {file!r:.80}.")
    return next((place / file for place in places if (place / file).is_file()), places[-1] / file)


def _resolve_classes(values: dict[str, Any], path: Path, places: Sequence[Path]) -> None:
    """Replace `classes_file` by the names in it: one per line; `#` at its start is a comment."""
    if "classes_file" not in values:
        return
    file = _named(str(values.pop("classes_file")), path, places)
    if "classes" in values:
        raise PresetError(f"{path}: classes and classes_file must not both be given.")
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise PresetError(f"{path}: classes_file {file} cannot be read.") from error
    values["classes"] = [line.strip() for line in lines if line.strip() and line[0] != "#"]


def _load_own(place: Path, models_dir: Path, presets_dir: Path) -> Preset:
    """Make a preset from one of the user's own folders or single files.

    Raises:
        PresetError: If anything is wrong with it.
    """
    try:
        if (place / OWN_NAME).is_file():
            return _load(place / OWN_NAME, models_dir, presets_dir)
        if place.is_dir():
            return _parse_folder(place)
        return _like_a_preset(place, models_dir, presets_dir)
    except (TypeError, ValueError, LookupError, AttributeError, OSError) as error:
        # its files may hold any values
        raise PresetError(f"{place} holds what makes no sense as a model ({error}).") from error


def _like_a_preset(path: Path, models_dir: Path, presets_dir: Path) -> Preset:
    like = load_preset(preset_like(path), models_dir, presets_dir)
    about = f"A file of your own, with the networks of {like.name}."
    name = path.stem if path.parent == models_dir else path.parent.name
    own = {"name": name, "title": name, "folder": path.parent, "description": about}
    return replace(like, **own, weights=Weights(path.name), licence="", links=(), is_own=True)


def _parse_folder(folder: Path) -> Preset:
    is_pipeline = (folder / PIPELINE_NAME).is_file()
    if is_pipeline:
        values = diffusers.preset_values(folder) | {"weights": {"file": "."}}
        where = str(folder)
    else:
        found = [folder / name for name in CONFIG_NAMES if (folder / name).is_file()]
        if not found:
            raise PresetError(f"{folder} has no file {' or '.join(CONFIG_NAMES)}.")
        config = found[0]
        where = str(config)
        weights = {"file": _find_weights(folder).name}
        values = preset_values(read_yaml(config), where) | {"weights": weights}
    values |= {"name": folder.name, "title": folder.name, "folder": folder, "is_own": True}
    preset = parse(Preset, values, where)
    if is_pipeline:
        diffusers.check_weights(folder)
    return preset


def _find_weights(folder: Path) -> Path:
    """Return the weight file: the first of the usual names, or the only weight file there."""
    usual = [folder / name for name in WEIGHT_NAMES if (folder / name).is_file()]
    found = usual[:1] or [*folder.glob("*.safetensors"), *folder.glob("*.ckpt")]
    if len(found) != 1:
        count = "several weight files" if found else "no weight file"
        raise PresetError(f"{folder} has {count}; put one there as {WEIGHT_NAMES[1]}.")
    return found[0]
