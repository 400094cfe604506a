"""Installations: `ldm` and the shipped presets from any folder, with and without the repository."""

import shutil
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from ldm import __version__

ROOT = Path(__file__).parents[1]
BUILD = "import sys; from setuptools import build_meta as b; b.{how}(sys.argv[1])"
FILES = ("pyproject.toml", "setup.py", "README.md", "LICENSE")


def python(folder, *arguments):
    """What Python prints, run in a folder by itself."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def unpacked(copy, how):
    """The folder for `site` that an installation of this kind fills."""
    site = copy.parent / how
    site.mkdir()
    python(copy, "-c", BUILD.format(how=how), site)
    (wheel,) = site.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)
    return site


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The repository in small: all code and presets, but the weights of one."""
    copy = tmp_path_factory.mktemp("repository") / "copy"
    without = shutil.ignore_patterns("__pycache__", "*.safetensors")
    for folder in ("ldm", "presets"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=without)
    shutil.copy(ROOT / "presets/demo/demo-kl-f4-preview.safetensors", copy / "presets/demo")
    for name in FILES:
        shutil.copy(ROOT / name, copy)
    (copy / "ui").mkdir()
    (copy / "ui" / "__init__.py").touch()
    return copy


@pytest.fixture(scope="module")
def editable(copy):
    return unpacked(copy, "build_editable")


@pytest.fixture(scope="module")
def whole(copy):
    return unpacked(copy, "build_wheel")


@pytest.mark.parametrize("kind", ["editable", "whole"])
def test_models_are_found_from_another_folder(kind, copy, tmp_path, request):
    site = request.getfixturevalue(kind)
    start = f"import site; site.addsitedir({str(site)!r}); "
    where = start + "import ldm, importlib.util as u; print(ldm.__file__, u.find_spec('ui'))"
    place = {"editable": copy, "whole": site}[kind] / "ldm/__init__.py"
    assert python(tmp_path, "-I", "-c", where).split() == [str(place), "None"]
    shown = start + "from ldm.cli import main; main(['presets'])"
    assert "demo-text-to-image" in python(tmp_path, "-I", "-c", shown)


def test_whole_it_has_all_of_the_code_and_the_presets_and_nothing_else(whole, copy):
    def files(folder):
        return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}

    wanted = {f"ldm/{name}" for name in files(copy / "ldm")}
    wanted |= {f"ldm/presets/{name}" for name in files(copy / "presets")}
    there = {name for name in files(whole) if name.endswith(".whl") or ".dist-info/" in name}
    assert files(whole) - there == wanted


def test_it_is_called_as_here_and_what_the_requirements_pin_is_allowed(whole):
    (path,) = whole.glob("*.dist-info/METADATA")
    about = message_from_bytes(path.read_bytes())
    assert (about["Name"], about["Version"]) == ("latent-canvas", __version__)
    assert about["Requires-Python"] == ">=3.10"
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    pinned = [Requirement(line) for line in lines if line and not line.startswith("#")]
    allowed = [Requirement(line) for line in about.get_all("Requires-Dist")]
    ranges = {requirement.name: requirement.specifier for requirement in allowed}
    assert ranges.keys() == {requirement.name for requirement in pinned} - {"gradio"}
    for requirement in pinned:
        for version in (bound.version for bound in requirement.specifier if bound.operator != "<"):
            assert version in ranges.get(requirement.name, requirement.specifier)
