"""Byte pairs against the ids of the library's tokenizer, and files that are no merges."""

import hashlib
import json
import random
import shutil

import pytest
import torch

from ldm.catalog.clip_tokens import END, START, BytePairs, _ids
from ldm.catalog.compvis import CLIP_MERGES
from ldm.catalog.registry import load_preset
from ldm.catalog.tokenizer import tokenizer_of
from ldm.errors import PresetError

# of the file that openai/clip-vit-large-patch14 is published with
PUBLISHED = "9fd691f7c8039210e0fced15865466c65820d09b63988b0174bfe25de299051a"
TEXTS = [
    "a photograph of an astronaut riding a horse",
    "",
    "naïve Café — “quotes” 1234 don't, it's the '80s!!!",
    "日本語 🎉 hello",
    "  x \n\t y\u00a0z\u200b",
    "<|endoftext|> and <|startoftext|>",
    "e\u0301 is é, 1st ½ ² Ⅷ",
    "word " * 100,
]


@pytest.fixture(scope="module")
def clip() -> BytePairs:
    return BytePairs(CLIP_MERGES)


def test_merges_are_the_published_file():
    assert hashlib.sha256(CLIP_MERGES.read_bytes()).hexdigest() == PUBLISHED


def test_a_sentence_stands_between_its_marks_and_is_filled_up_with_the_last(clip):
    ids = clip(["a photograph of an astronaut riding a horse"])
    assert ids.dtype == torch.int64
    words = [320, 8853, 539, 550, 18376, 6765, 320, 4558]
    assert ids.tolist() == [[49406, *words, *[49407] * 68]]
    assert clip([]).shape == (0, 77)


def test_transformers_gives_the_same_ids(clip, tmp_path):
    transformers = pytest.importorskip("transformers")
    vocabulary = _ids(clip._read())
    assert len(vocabulary) == 49408
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    shutil.copy(CLIP_MERGES, tmp_path / "merges.txt")
    theirs = transformers.CLIPTokenizer(
        str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"), model_max_length=77
    )
    rng = random.Random(0)
    pool = [
        *" 'aeinorst.,-_#@ÄéßñΩЖ中🎨\u0301\u0130\n",
        "'LL ",
        "of ",
        "2024",
        "ing ",
        "</w>",
        START,
        END,
    ]
    texts = TEXTS + ["".join(rng.choices(pool, k=rng.randint(1, 120))) for _ in range(300)]
    expected = theirs(texts, padding="max_length", truncation=True)["input_ids"]
    assert clip(texts).tolist() == expected


def test_what_is_cut_is_told_and_no_word_is_unknown(clip):
    assert not clip.is_cut("word " * 75)
    assert clip.is_cut("word " * 76)
    assert clip.unknown_words("qwxz 漢") == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "is no readable list of merges"),
        ("", "is no list of merges"),
        ("a b\nc\n", "is no list of merges"),
        ("#version: 0.2\na b\nab cd\n", "joins 'ab' and 'cd' too early"),
    ],
)
def test_a_file_that_is_no_merges_is_an_error(tmp_path, text, words):
    path = tmp_path / "merges.txt"
    if text is not None:
        path.write_text(text)
    with pytest.raises(PresetError, match=words):
        BytePairs(path)(["a"])


def test_a_preset_reads_with_the_tokenizer_of_its_kind():
    about = load_preset("stable-diffusion-v1-4").architecture.conditioner
    reader = tokenizer_of(about)
    assert isinstance(reader, BytePairs)
    assert tokenizer_of(about) is reader
