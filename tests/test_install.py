"""An editable installation: `ldm` and the shipped presets from any folder."""

import shutil
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from ldm import __version__

ROOT = Path(__file__).parents[1]
BUILD = "import sys; from setuptools import build_meta; build_meta.build_editable(sys.argv[1])"


def python(folder, *arguments):
    """What Python prints, run in a folder by itself."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A copy of the code and a folder for `site` with what an editable installation puts there."""
    copy, site = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("site")
    for name in ("pyproject.toml", "requirements.txt"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "ldm", copy / "ldm", ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "ui").mkdir()
    (copy / "ui" / "__init__.py").touch()
    (copy / "presets").symlink_to(ROOT / "presets")
    python(copy, "-c", BUILD, site)
    (wheel,) = site.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)
    return copy, site


def test_it_is_called_as_here_and_wants_what_the_requirements_name(installed):
    (path,) = installed[1].glob("*.dist-info/METADATA")
    about = message_from_bytes(path.read_bytes())
    assert (about["Name"], about["Version"]) == ("latent-canvas", __version__)
    assert about["Requires-Python"] == ">=3.10"
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    wanted = [line for line in lines if line and not line.startswith("#")]
    assert len(about.get_all("Requires-Dist")) == len(wanted)


def test_models_are_found_from_another_folder(installed, tmp_path):
    copy, site = installed
    start = f"import site; site.addsitedir({str(site)!r}); "
    where = start + "import ldm, importlib.util as u; print(ldm.__file__, u.find_spec('ui'))"
    assert python(tmp_path, "-I", "-c", where).split() == [str(copy / "ldm/__init__.py"), "None"]
    shown = start + "from ldm.cli import main; main(['presets'])"
    assert "demo-text-to-image" in python(tmp_path, "-I", "-c", shown)
