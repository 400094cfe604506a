"""Start a training run from its configuration file."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from ldm.catalog.registry import OWN_NAME, load_preset
from ldm.checkpoints.parts import is_there
from ldm.errors import TrainingError
from ldm.training.config import TrainConfig, load_config
from ldm.training.loop import SNAPSHOT
from ldm.training.loop import train as train_loop
from ldm.training.snapshots import CRITIC_WEIGHTS

# kind -> module with its `make_run`; imported on demand
MAKERS = {
    "first_stage": "ldm.training.autoencoder",
    "latent_diffusion": "ldm.training.diffusion",
    "critic": "ldm.training.critic",
    "preview": "ldm.training.preview",
}
CRITIC_MULTIPLE = 16  # the critic needs sides that are multiples of this many px
log = logging.getLogger(__name__)


def train(
    config_path: str | Path,
    changes: Sequence[str] = (),
    *,
    resume: bool = False,
    replace: bool = False,
) -> None:
    """Run the training that `config_path` describes.

    Args:
        config_path: A YAML file with the fields of `ldm.training.config.TrainConfig`. Snapshots,
            statistics and samples are written to the folder `<config.runs>/<file name>/`.
        changes: Values in place of the file's, see `load_config`.
        resume: Whether to resume from the snapshot of an earlier run, if there is one.
        replace: Whether a new run may write over weights that the preset has already.

    Raises:
        PresetError: If there is no preset of that name.
        TrainingError: If the configuration, the preset or the snapshot cannot be used, or if the
            preset has weights that would be lost.
    """
    config = load_config(config_path, changes)
    folder = config.runs / Path(config_path).stem
    _check_model(config)
    if not replace and not (folder / SNAPSHOT).exists():
        _check_weights(config)
    for needed in (folder, config.data.folder):
        _check_folder(needed)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    run = importlib.import_module(MAKERS[config.kind]).make_run(config)
    train_loop(run, config, folder, resume=resume)


def _check_model(config: TrainConfig) -> None:
    """Refuse presets that were not trained here or do not fit the run, before data are loaded."""
    multiple = CRITIC_MULTIPLE
    if config.kind != "critic":
        preset = load_preset(config.preset)
        multiple = preset.size_multiple
        made_here = preset.origin == "shipped" or (preset.folder / OWN_NAME).is_file()
        if not made_here or preset.weight_path.suffix != ".safetensors":
            raise TrainingError(
                f"{preset.name} is not trained here: its file {preset.weight_path} is not ours to "
                f"write over; python -m ldm new NAME --like {preset.name} sets up one of your own."
            )
        is_of_first_stage = config.kind in ("first_stage", "preview")
        if is_of_first_stage != (preset.task == "first-stage"):
            raise TrainingError(
                f"kind {config.kind} does not go with {preset.name}, {preset.task}."
            )
        if config.kind not in ("first_stage", "preview") and config.data.size != preset.width:
            log.warning(
                "it trains at %d px, and %s draws %d x %d px by default; see data.size here, "
                "width and height there.",
                *(config.data.size, preset.name, preset.width, preset.height),
            )
    if config.start_from is not None:
        load_preset(config.start_from)
    for name, side in (("size", config.data.size), ("crop", config.data.crop)):
        if side is not None and side % multiple:
            raise TrainingError(f"data.{name} must be a multiple of {multiple} px, got {side}.")


def _check_weights(config: TrainConfig) -> None:
    """Refuse a new run of a preset that has weights: its first snapshot would replace them."""
    name = config.preset
    path = CRITIC_WEIGHTS
    if config.kind != "critic":
        preset = load_preset(name)
        path = preset.preview_path if config.kind == "preview" else preset.weight_path
    if path is not None and is_there(path):
        more = "" if config.kind == "critic" else f", with start_from: {name} to go on from them"
        raise TrainingError(
            f"{name} has weights already, {path}; pass --replace to write over them{more}."
        )


def _check_folder(folder: Path) -> None:
    """Create the folder if necessary, and check that it is writable."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_ours = os.access(folder, os.W_OK)
    except OSError as error:
        raise TrainingError(f"{folder} cannot be written ({error.strerror}).") from error
    if not is_ours:
        raise TrainingError(f"{folder} cannot be written; check its rights.")
