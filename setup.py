"""What pyproject.toml cannot say: an installation has the presets too, within `ldm`."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["ldm", "ldm.*"]), "ldm.presets"],
    package_dir={"ldm.presets": "presets"},
    package_data={"ldm.presets": ["**/*"]},
)
