"""The house rules as tests: who may import whom, what stays light, and what names agree."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from ldm.canvas import plan
from ldm.catalog.registry import list_presets
from ldm.diffusion.samplers import HISTORY_LENGTH, SAMPLERS
from ldm.outputs.titles import TITLES
from ldm.requests import REQUESTS
from ldm.requests.shared_fields import COVERS, SAMPLER_NAMES
from ldm.tasks import RUNNERS

ROOT = Path(__file__).parents[1]
FILES = sorted([*ROOT.glob("ldm/**/*.py"), *ROOT.glob("ui/**/*.py"), ROOT / "app.py"])

# Room -> the rooms that it may import, besides itself, errors and files. A room is a folder or file
# in ldm/, or ui, or app; an entry with a dot allows that one module only. Calls go down this list.
MAY_IMPORT = {
    "errors": set(),
    "files": set(),
    # what a run tells
    "events": set(),
    # pictures as values, and the files that they come from
    "images": set(),
    # a request holds pictures as values; a progression is asked for as one, and draws its sheet
    "requests": {"images", "events"},
    "models": set(),
    # the published networks, made fast
    "inference": {"models"},
    "diffusion": set(),
    "checkpoints": set(),
    # a training picture is read as any of a person's files is
    "data": {"images"},
    "canvas": {"diffusion.conditioning", "models", "inference"},
    "latent_diffusion": {"models", "diffusion"},
    # build is the one place where a preset becomes networks and the model that joins them; whether
    # its weights are there and whole is said by the names of the files that they may lie in, and by
    # the headers of these, as they are read again for the loading
    "catalog": {
        "models",
        "latent_diffusion",
        "diffusion.schedule",
        "checkpoints.parts",
        "checkpoints.headers",
        "checkpoints.folders",
    },
    # a preset fills in what a request leaves open
    "resolve": {"requests", "catalog"},
    "runtime": {"catalog", "checkpoints", "latent_diffusion", "inference"},
    # what a picture shows, in a line; classes have the names that their preset gives them
    "outputs": {"requests", "events", "images", "catalog.registry"},
    # the smooth filling of a hole is one function, for what a model sees and for what it made
    "tasks": {
        "requests",
        "events",
        "latent_diffusion",
        "diffusion",
        "canvas",
        "images",
        "models.hole",
        "outputs.unfinished",
        "outputs.rate_distortion",
    },
    "history": set(),
    # what a run took and will take depends on the tasks' canvases, their plans and the memory
    "studio": {
        "requests",
        "events",
        "resolve",
        "runtime",
        "tasks",
        "outputs",
        "history",
        "images",
        "catalog",
        "canvas",
    },
    "jobs": {"requests", "events", "studio"},
    "training": {
        "models",
        "diffusion",
        "data",
        "checkpoints",
        "catalog",
        "latent_diffusion",
        "images",
        "runtime.device",
    },
    # verify compares every room that computes with the authors' numbers
    "evaluation": {
        "models",
        "inference",
        "diffusion",
        "checkpoints",
        "catalog",
        "latent_diffusion",
        "requests",
        "data",
        "images",
        "tasks",
        "runtime",
        "canvas",
        "resolve",
        "training.snapshots",
    },
    "benchmarks": {
        "models",
        "inference",
        "checkpoints",
        "catalog",
        "requests",
        "events",
        "data",
        "images",
        "tasks",
        "runtime",
        "canvas",
        "resolve",
        "studio",
    },
    "cli": {
        "requests",
        "events",
        "images",
        "outputs",
        "catalog",
        "checkpoints",
        "runtime",
        "studio",
        "training",
        "evaluation",
        "benchmarks",
    },
    "__main__": {"cli"},
    # the page shows presets and reads requests from pictures; it computes nothing itself
    "ui": {
        "requests",
        "events",
        "jobs",
        "catalog.registry",
        "catalog.schema",
        "outputs",
        "history",
    },
    "app": {"ui", "jobs", "studio", "runtime", "history", "outputs"},
}

# What the page and `--help` wait for: none of it may bring in a heavy library.
LIGHT = (
    "ldm.errors",
    "ldm.requests",
    "ldm.requests.comparison",
    "ldm.requests.progression",
    "ldm.requests.as_json",
    "ldm.requests.flags",
    "ldm.events",
    "ldm.outputs.metadata",
    "ldm.images.files",
    "ldm.images",
    "ldm.jobs",
    "ldm.outputs.unfinished",
    "ldm.catalog.registry",
    "ldm.catalog.schema",
    "ldm.cli",
    "app",
    "ui.app",
)
HEAVY = ("torch", "transformers", "cv2", "diffusers", "accelerate")
ALLOWED_NAMES = ("log", "_safe_globals", "__version__")


def module_of(path):
    """The dotted name without `ldm.`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts[1:] if parts[0] == "ldm" else parts
    return ".".join(part for part in parts if part != "__init__")


def imports_of(path):
    """Our own modules that a file, or a parsed one, imports anywhere in it, without `ldm.`."""
    tree = path if isinstance(path, ast.Module) else ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            names = [node.module]
            if node.module == "ldm":
                names = [f"ldm.{alias.name}" for alias in node.names]
        for name in names:
            if name.split(".")[0] in ("ldm", "ui", "app"):
                yield name.removeprefix("ldm.")


def names_of(path):
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", FILES, ids=names_of)
def test_calls_go_down(path):
    room = module_of(path).split(".")[0]
    if not room:  # ldm/__init__.py
        assert not list(imports_of(path))
        return
    allowed = MAY_IMPORT[room] | {room, "errors", "files", "__version__"}
    wrong = [
        name
        for name in imports_of(path)
        if not any(name == entry or name.startswith(entry + ".") for entry in allowed)
    ]
    assert wrong == [], f"{room} may import {', '.join(sorted(allowed))}"


def test_the_table_has_no_circle():
    seen = []

    def visit(room, above):
        assert room not in above, f"{room} is above itself"
        for entry in MAY_IMPORT[room]:
            visit(entry.split(".")[0], {*above, room})
        seen.append(room)

    for room in MAY_IMPORT:
        visit(room, set())
    assert set(seen) == set(MAY_IMPORT)


def on_top(path):
    """Our own modules that come in with a file itself, not only where a function needs them."""
    whole = ast.parse(path.read_text("utf-8"))
    whole.body = [node for node in whole.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    return set(imports_of(whole))


def test_no_module_brings_in_itself():
    """Within a room, too: what a package's modules share lies below them."""
    files = {module_of(path): path for path in FILES}
    below = {name: on_top(path) & set(files) - {name} for name, path in files.items()}
    while free := [name for name, others in below.items() if not others]:
        below = {name: others - {*free} for name, others in below.items() if name not in free}
    assert below == {}


def test_light_modules_stay_light():
    code = (
        f"import sys, {', '.join(LIGHT)}; print(*[name for name in {HEAVY} if name in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split() == []


@pytest.mark.parametrize("path", FILES, ids=names_of)
def test_names_say_what_is_in_a_room(path):
    vague = {"util", "utils", "common", "helper", "helpers", "core", "base", "misc"}
    assert not vague & set(module_of(path).split("."))


@pytest.mark.parametrize("path", FILES, ids=names_of)
def test_no_state_lives_in_a_module(path):
    """Only constants in capitals, types, each module's own logger, and one lock for torch."""
    tree = ast.parse(path.read_text("utf-8"))
    targets = [target for node in tree.body for target in getattr(node, "targets", [])]
    targets += [node.target for node in tree.body if isinstance(node, ast.AnnAssign)]
    names = [target.id for target in targets if isinstance(target, ast.Name)]
    assert [name for name in names if name.islower() and name not in ALLOWED_NAMES] == []
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Global)]


@pytest.mark.parametrize("path", FILES, ids=names_of)
def test_library_code_does_not_print(path):
    if module_of(path).split(".")[0] in ("app", "cli"):
        return
    nodes = ast.walk(ast.parse(path.read_text("utf-8")))
    assert not [node for node in nodes if isinstance(node, ast.Name) and node.id == "print"]


def test_every_sampler_can_be_asked_for():
    assert tuple(SAMPLERS) == SAMPLER_NAMES


def test_every_way_to_cover_a_canvas_can_be_asked_for():
    assert COVERS == plan.COVERS


def test_every_request_has_a_runner():
    assert set(RUNNERS) == set(REQUESTS)
    assert set(TITLES) == set(REQUESTS.values())  # else a picture could not be saved
    assert set(HISTORY_LENGTH) <= set(SAMPLERS)


def test_every_preset_parses_and_names_its_samplers():
    presets = list_presets(models_dir=ROOT / "none")
    assert {preset.task for preset in presets} >= set(REQUESTS)
    assert [p.name for p in presets if p.defaults.sampler not in SAMPLER_NAMES] == []


def test_a_request_is_for_presets_of_its_own_task():
    for task, request_type in REQUESTS.items():
        assert request_type.task == task
