"""Set up a user's own model: a preset and a training configuration, based on another preset.

Both are written to `models/NAME/`, where they can be edited before the training.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ldm.catalog.parsing import read_yaml
from ldm.catalog.registry import MODELS_DIR, OWN_NAME, load_preset, preset_file
from ldm.catalog.schema import Preset
from ldm.catalog.tokenizer import SPECIAL_TOKENS, words_of
from ldm.data import folder as folders
from ldm.data.folder import Picture
from ldm.errors import TrainingError
from ldm.training.config import NO_SENTENCE

TASKS = (
    *("first-stage", "text-to-image", "class-conditional", "unconditional", "inpaint"),
    "upscale",
)
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,59}")
# no folder of Windows can have these names: those of its devices, and such as end with a dot
NO_FOLDER = re.compile(r"(con|prn|aux|nul|com[1-9]|lpt[1-9])(\..*)?|.*\.")
WEIGHTS = "model.safetensors"
VOCABULARY = "vocabulary.txt"
MOST_WORDS = 8000
# keys of a preset that are specific to its own weights, and not taken over
NOT_OURS = (
    *("licence", "links", "parameters", "class_colours", "classes_file", "weights", "words"),
    "preview",
)

FIRST_STAGE = {
    "kind": "first_stage",
    "steps": 4000,
    "batch_size": 16,
    "ema_decay": 0.998,
    "optimizer": {"learning_rate": 0.0005, "warmup_steps": 100, "decay_steps": 2000},
    "loss": {"kl": 0.0001, "gradient": 0.5},
}
LATENT_DIFFUSION = {
    "kind": "latent_diffusion",
    "steps": 10_000,
    "batch_size": 32,
    "ema_decay": 0.999,
    "optimizer": {"learning_rate": 0.0005, "warmup_steps": 200, "decay_steps": 5000},
    "loss": {"noise_bias": 1.5},
}


def create(
    name: str,
    like: str,
    pictures: str | Path,
    *,
    first_stage: str | None = None,
    models_dir: str | Path = MODELS_DIR,
) -> Path:
    """Write the preset and the training configuration of a model for the user's pictures.

    Args:
        name: Name of the new model.
        like: The preset that gives task, architecture and, if they are on disk, initial weights.
        pictures: The folder of pictures, see `ldm.data.folder`.
        first_stage: A preset whose first stage is used instead of that of `like`, which has to be
            on disk if it is in the weights of `like` itself: it is taken from there.
        models_dir: The folder in which the model's folder is created.

    Returns:
        The path of the training configuration.

    Raises:
        LDMError: If the name is invalid or taken, `like` cannot be used, or the pictures do not
            suit the task.
    """
    pictures, models_dir = Path(pictures), Path(models_dir)
    folder = models_dir / name
    _check_name(name, folder)
    about = load_preset(like, models_dir)
    if about.task not in TASKS:
        raise TrainingError(
            f"{like} does {about.task}; from pictures are trained {', '.join(TASKS)}."
        )
    if about.is_own and not (about.folder / OWN_NAME).is_file():
        raise TrainingError(f"{like} has no {OWN_NAME}; --like takes a preset that has one.")
    if about.task != "first-stage" and first_stage is None:
        _check_first_stage(about)
    found = folders.pictures_in(pictures)
    _check_text("the path of the pictures", str(pictures.resolve()))
    values = _preset_values(name, about, found, first_stage)
    words = _vocabulary(found) if about.architecture.conditioner.kind == "text" else []
    if words:
        conditioner = values["architecture"]["conditioner"]
        conditioner |= {"vocabulary": VOCABULARY, "vocab_size": len(words)}
    folder.mkdir(parents=True)
    try:
        if words:
            (folder / VOCABULARY).write_text("".join(f"{word}\n" for word in words), "utf-8")
        _write(folder / OWN_NAME, values)
        _write(folder / "train.yaml", _training_values(name, about, pictures, folder))
        load_preset(name, models_dir)  # check that the result is valid
    except BaseException:
        shutil.rmtree(folder)
        raise
    return folder / "train.yaml"


def _check_name(name: str, folder: Path) -> None:
    if not NAME.fullmatch(name):
        raise TrainingError(
            f"name must be small letters, digits, dots, dashes and underscores, got {name!r:.80}."
        )
    if NO_FOLDER.fullmatch(name):
        raise TrainingError(
            "name must not end with a dot or be one of Windows' devices (con, prn, aux, nul, com1 "
            f"to com9, lpt1 to lpt9), alone or before a dot, got {name!r}."
        )
    if preset_file(name) is not None or folder.exists():
        raise TrainingError(f"there is a model {name!r} already; take another name.")


def _check_first_stage(like: Preset) -> None:
    """Refuse a model whose first stage would have random weights, which are never trained."""
    if like.holds_first_stage and not like.is_on_disk:
        raise TrainingError(
            f"{like.name} holds its first stage in weights that are not on disk; get them with "
            f"{like.how_to_get}, or name another one with --first-stage."
        )


def _check_text(what: str, text: str) -> None:
    """Refuse text that a preset cannot hold: non-UTF-8, and `${...}` and `???` of OmegaConf."""
    is_utf8 = text.encode("utf-8", "ignore").decode() == text
    if not is_utf8 or "${" in text or text == "???":
        raise TrainingError(
            f"{what} must be UTF-8 without ${{ and other than ???, got {text!r:.200}; rename it."
        )


def _preset_values(
    name: str, like: Preset, pictures: Sequence[Picture], first_stage: str | None
) -> dict[str, Any]:
    """The new preset's YAML values: those of `like`, adapted to the pictures, without NOT_OURS."""
    values = read_yaml(preset_file(like.name) or like.folder / OWN_NAME)
    values = {key: value for key, value in values.items() if key not in NOT_OURS}
    if "defaults" in values:  # what is seen at other sizes than the trained one is not known
        values["defaults"] = {k: v for k, v in values["defaults"].items() if k != "scale"}
    count = f"{len(pictures)} picture{'' if len(pictures) == 1 else 's'}"
    values |= {"title": name, "description": f"Trained on {count}.", "weights": {"file": WEIGHTS}}
    if first_stage is not None:
        if like.task == "first-stage":
            raise TrainingError(f"{like.name} is a first stage itself; leave --first-stage out.")
        values["architecture"]["first_stage"] = {"preset": first_stage}
    if like.task == "class-conditional":
        names = sorted({picture.class_name for picture in pictures})
        if "" in names:
            loose = next(picture.path for picture in pictures if not picture.class_name)
            raise TrainingError(f"{loose} lies in no folder; put each picture into its class's.")
        for name_of_class in names:
            _check_text("the name of a class's folder", name_of_class)
        values |= {"classes": names, "null_class": len(names)}
        values["architecture"]["conditioner"]["n_classes"] = len(names) + 1
    return values


def _vocabulary(pictures: Sequence[Picture]) -> list[str]:
    """The special tokens, then up to MOST_WORDS words of the captions, most frequent first."""
    captions = [caption for picture in pictures for caption in picture.captions()]
    if not captions:
        raise TrainingError(NO_SENTENCE)
    counts = Counter(word for caption in captions for word in words_of(caption))
    words = sorted(counts, key=lambda word: (-counts[word], word))
    return [*SPECIAL_TOKENS, *words[:MOST_WORDS]]


def _training_values(name: str, like: Preset, pictures: Path, folder: Path) -> dict[str, Any]:
    is_first_stage = like.task == "first-stage"
    values = dict(FIRST_STAGE if is_first_stage else LATENT_DIFFUSION)
    data = {"pictures": str(pictures.resolve()), "size": like.width, "folder": str(folder / "data")}
    if is_first_stage:
        data["crop"] = like.width // 2
    if like.keeps_means > 1:  # a preset for degraded pictures
        data["degradation"] = "bsr"
    values |= {"preset": name, "data": data, "runs": str(folder)}
    if like.is_on_disk:
        values["start_from"] = like.name
    return values


def _write(path: Path, values: Mapping[str, Any]) -> None:
    text = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=100)
    path.write_text(text, "utf-8")
