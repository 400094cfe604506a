"""Which weight files of a diffusers folder are read, and what is refused before any is."""

import json
import os
from itertools import combinations

import pytest
import torch
from safetensors.torch import save_file

from ldm.checkpoints import folders
from ldm.checkpoints.folders import part_files, weight_files
from ldm.checkpoints.headers import MAX_HEADER_BYTES
from ldm.checkpoints.read import read_files
from ldm.errors import CheckpointError
from tests.folder_forms import PICKLED, Form, write_part

WEIGHTS = {f"layer.{i}": torch.full((1000,), float(i)) for i in range(5)}  # 4000 bytes each
SHARDS = Form(shard=9000)  # three files
# what is read comes first
PREFERRED = [
    Form(),
    Form(suffix=PICKLED),
    Form("fp16"),
    Form("fp16", suffix=PICKLED),
    Form("bf16"),
    Form("non_ema"),
    Form("non_ema", suffix=PICKLED),
]
FORMS = [
    *PREFERRED,
    SHARDS,
    Form(suffix=PICKLED, shard=9000),
    Form("fp16", shard=9000),
    Form("fp16", shard=9000, old=True),
    Form("non_ema", PICKLED, shard=9000),
]


@pytest.fixture
def part(tmp_path):
    folder = tmp_path / "unet"
    folder.mkdir()
    return folder


def index_of(part, form=SHARDS):
    return part / form.index(part.name)


def change_index(part, **places):
    """Change where the index says that weights are."""
    path = index_of(part)
    about = json.loads(path.read_text())
    path.write_text(json.dumps(about | {"weight_map": about["weight_map"] | places}))


def refusal(part):
    with pytest.raises(CheckpointError) as caught:
        part_files(part)
    message = str(caught.value)
    assert message.startswith(str(part))
    assert "\n" not in message
    assert message.endswith(".")
    return message.replace(str(part), "")


@pytest.mark.parametrize("name", ["unet", "text_encoder"])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_every_form_is_read_whole_and_in_order(tmp_path, name, form):
    (tmp_path / name).mkdir()
    files = write_part(tmp_path / name, WEIGHTS, form)
    assert part_files(tmp_path / name) == tuple(files)
    read = read_files(files)
    assert read.keys() == WEIGHTS.keys()
    assert all(torch.equal(read[k], t) for k, t in WEIGHTS.items())


@pytest.mark.parametrize("name", ["unet", "text_encoder"])
@pytest.mark.parametrize(("first", "second"), list(combinations(PREFERRED, 2)), ids=str)
def test_of_two_forms_one_is_preferred(tmp_path, name, first, second):
    (tmp_path / name).mkdir()
    write_part(tmp_path / name, WEIGHTS, second)
    files = write_part(tmp_path / name, WEIGHTS, first)
    assert part_files(tmp_path / name) == tuple(files)


def test_one_file_comes_before_the_same_in_shards(part):
    write_part(part, WEIGHTS, SHARDS)
    files = write_part(part, WEIGHTS, Form())
    assert part_files(part) == tuple(files)


def test_full_precision_in_shards_comes_before_half_in_one_file(part):
    write_part(part, WEIGHTS, Form("fp16"))
    files = write_part(part, WEIGHTS, SHARDS)
    assert part_files(part) == tuple(files)


def test_an_index_alone_does_not_hide_the_variant_that_is_there(part):
    for file in write_part(part, WEIGHTS, SHARDS):
        file.unlink()
    assert "names weights of which no file is there" in refusal(part)
    files = write_part(part, WEIGHTS, Form("fp16", shard=9000))
    assert part_files(part) == tuple(files)


def test_shards_need_no_index(part):
    files = write_part(part, WEIGHTS, SHARDS)
    index_of(part).unlink()
    assert part_files(part) == tuple(files)
    files[1].unlink()
    assert "has no diffusion_pytorch_model.safetensors or other" in refusal(part)


@pytest.mark.parametrize("form", [SHARDS, Form(suffix=PICKLED, shard=9000)], ids=str)
def test_a_missing_shard_is_named(part, form):
    file = write_part(part, WEIGHTS, form)[1]
    write_part(part, WEIGHTS, Form("fp16"))  # nothing falls back to another variant
    file.unlink()
    assert f"names '{file.name}', which is not there; download" in refusal(part)


@pytest.mark.parametrize("form", [Form(), Form(suffix=PICKLED), SHARDS], ids=str)
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda whole: whole[:-300], "is cut off"),
        (lambda whole: whole[:3], "is no safetensors file|is cut off"),
        (lambda whole: b"a" * 99, "is no safetensors file|is no checkpoint"),
        (lambda whole: b"", "is empty"),
        (lambda whole: b"version https://git-lfs.github.com/spec/v1\n", "is a git-LFS pointer"),
        (lambda whole: b"<html>not found</html>", "is a web page"),
    ],
)
def test_a_damaged_file_is_told_before_it_is_read(part, form, content, words):
    file = write_part(part, WEIGHTS, form)[-1]
    part_files(part)
    file.write_bytes(content(file.read_bytes()))
    assert any(word in refusal(part) for word in words.split("|"))


@pytest.mark.parametrize(
    "name",
    [
        "../x.safetensors",
        "/etc/x.safetensors",
        "a/../../x.safetensors",
        "..\\x.safetensors",
        "C:x.safetensors",
        "x.safetensors\0",
        "x.bin",
        "",
        "..",
        7,
        None,
        ["x.safetensors"],
        {"x.safetensors": 1},
    ],
    ids=repr,
)
def test_an_index_names_only_files_beside_it(part, name):
    write_part(part, WEIGHTS, SHARDS)
    save_file(WEIGHTS, part.parent / "x.safetensors")
    change_index(part, **{"layer.0": name})
    assert "it must be one beside the index, without a folder, that ends in" in refusal(part)


def test_names_that_no_system_can_have_are_not_there(part):
    write_part(part, WEIGHTS, SHARDS)
    for name in ("\ud800.safetensors", "a" * 5000 + ".safetensors"):
        change_index(part, **{"layer.0": name})
        assert "download the whole folder" in refusal(part)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{}", "names no weights"),
        ('{"weight_map": {}}', "names no weights"),
        ('{"weight_map": []}', "names no weights"),
        ('{"weight_map": ' + "[" * 100_000, "is missing or no JSON"),
        ("[]", "holds no JSON object"),
        ("{", "is missing or no JSON"),
        (" " * (folders.MAX_INDEX_BYTES + 1), "is larger than any"),
    ],
)
def test_an_index_that_makes_no_sense_is_told(part, content, words):
    write_part(part, WEIGHTS, SHARDS)
    index_of(part).write_text(content)
    assert words in refusal(part)


def test_a_weight_in_two_shards_is_refused(part):
    files = write_part(part, WEIGHTS, SHARDS)
    save_file({"layer.4": torch.ones(3), "layer.0": torch.ones(3)}, files[2])
    assert "holds the weight 'layer.0' once more, which another file" in refusal(part)


def test_a_weight_in_two_pickled_shards_is_refused_when_it_is_read(part):
    files = write_part(part, WEIGHTS, Form(suffix=PICKLED, shard=9000))
    torch.save({"layer.4": torch.ones(3), "layer.0": torch.ones(3)}, files[2])
    with pytest.raises(CheckpointError, match="holds the weight 'layer.0' once more"):
        read_files(part_files(part))


def test_a_weight_that_is_not_where_the_index_says_is_refused(part):
    files = write_part(part, WEIGHTS, SHARDS)
    change_index(part, **{"layer.9": files[0].name})
    assert f"names 'layer.9' in {files[0].name}, which has no such weight" in refusal(part)


def test_other_variants_are_no_weights(part):
    write_part(part, WEIGHTS, Form("int8"))
    assert "diffusion_pytorch_model.fp16.safetensors" in refusal(part)


def test_an_enormous_header_is_not_read(part):
    (file,) = write_part(part, WEIGHTS, Form())
    with file.open("r+b") as sparse:
        sparse.write((2 * MAX_HEADER_BYTES).to_bytes(8, "little"))
        sparse.truncate(3 * MAX_HEADER_BYTES)
    assert f"claims a header of {2 * MAX_HEADER_BYTES} bytes" in refusal(part)
    assert MAX_HEADER_BYTES < 2**25


def test_many_files_have_no_more_weights_than_one_part_may(part, monkeypatch):
    write_part(part, WEIGHTS, SHARDS)
    monkeypatch.setattr(folders, "MAX_WEIGHTS", 4)
    assert "hold more than 4 weights, at most so many are allowed" in refusal(part)


def test_whole_files_are_looked_at_once(part, monkeypatch):
    files, seen = write_part(part, WEIGHTS, SHARDS), []
    look = folders.names_in
    monkeypatch.setattr(folders, "names_in", lambda path: seen.append(path) or look(path))
    for _ in range(3):
        part_files(part)
    assert seen == files
    os.utime(files[1], ns=(1, 1))
    part_files(part)
    assert seen == 2 * files


def test_all_files_of_a_pipeline_are_those_of_its_parts(tmp_path):
    (tmp_path / "model_index.json").write_text("{}")
    files = []
    for name, form in {"unet": SHARDS, "vae": Form("fp16"), "text_encoder": Form()}.items():
        (tmp_path / name).mkdir()
        files += write_part(tmp_path / name, WEIGHTS, form)
    (tmp_path / "safety_checker").mkdir()
    write_part(tmp_path / "safety_checker", WEIGHTS, Form())
    assert weight_files(tmp_path) == tuple(files)
    assert weight_files(tmp_path / "vae") == (files[3],)
