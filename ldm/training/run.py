"""Start a training run from its configuration file."""

from __future__ import annotations

import importlib
import logging
from pathlib import Path

from ldm.training.config import load_config
from ldm.training.loop import train as train_loop

# kind -> the module that builds its run; imported when it is asked for
MAKERS = {
    "first_stage": "ldm.training.autoencoder",
    "latent_diffusion": "ldm.training.diffusion",
    "critic": "ldm.training.critic",
}


def train(config_path: Path, *, resume: bool = False) -> None:
    """Train what `config_path` describes; everything is written to `runs/<file name>/`.

    Args:
        config_path: A YAML file with the fields of `ldm.training.config.TrainConfig`.
        resume: Go on from the snapshot of an earlier start, if there is one.

    Raises:
        TrainingError: If the configuration or the snapshot cannot be used.
    """
    config = load_config(config_path)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    run = importlib.import_module(MAKERS[config.kind]).make_run(config)
    train_loop(run, config, config.runs / Path(config_path).stem, resume=resume)
