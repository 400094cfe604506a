"""One hash for all weight files of a preset."""

import hashlib
import os
from dataclasses import replace

import pytest

from ldm.catalog.hashes import weights_sha256
from ldm.catalog.registry import load_preset
from ldm.errors import PresetError


@pytest.fixture
def preset(tmp_path):
    return load_preset("celeba256", models_dir=tmp_path / "models")


def test_the_hash_of_missing_weights_is_an_error(preset):
    with pytest.raises(PresetError, match="celeba256"):
        weights_sha256(preset)


def test_the_hash_follows_the_file_and_covers_all_files(preset, tmp_path):
    preset.weight_path.parent.mkdir(parents=True)
    preset.weight_path.write_bytes(b"one")
    one = weights_sha256(preset)
    assert one == hashlib.sha256(b"one").hexdigest()
    preset.weight_path.write_bytes(b"two")
    os.utime(preset.weight_path, ns=(1, 1))  # a coarse clock could give both the same time
    other = weights_sha256(preset)
    assert other == hashlib.sha256(b"two").hexdigest()
    (tmp_path / "stage.safetensors").write_bytes(b"stage")
    both = replace(preset, first_stage_path=tmp_path / "stage.safetensors")
    assert weights_sha256(both) not in (one, other)
