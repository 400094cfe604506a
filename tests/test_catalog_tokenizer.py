"""WordPiece against the ids of the authors' tokenizer, and small vocabularies of our own."""

import hashlib
import json
import random
from pathlib import Path

import pytest
import torch

from ldm.catalog.compvis import BERT_VOCABULARY
from ldm.catalog.registry import load_preset
from ldm.catalog.tokenizer import WordPiece
from ldm.errors import PresetError

GOLDEN = json.loads((Path(__file__).parent / "reference" / "bert_tokens.json").read_text("utf-8"))
SMALL = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]", "a", "red", "house", "##boat", "sun", ","]


@pytest.fixture(scope="module")
def bert() -> WordPiece:
    return WordPiece(BERT_VOCABULARY)


@pytest.fixture
def small(tmp_path) -> WordPiece:
    path = tmp_path / "vocabulary.txt"
    path.write_text("\n".join(SMALL) + "\n")
    return WordPiece(path, max_length=8)


def _text(example: dict) -> str:
    if example["text"] is not None:
        return example["text"]
    piece, times = example["text_repeat"]
    return piece * times


def test_vocabulary_is_the_published_file():
    digest = hashlib.sha256(BERT_VOCABULARY.read_bytes()).hexdigest()
    assert digest == GOLDEN["facts"]["vocab_file_used"]["sha256"]


@pytest.mark.parametrize("example", GOLDEN["examples"], ids=lambda e: repr(_text(e))[:30])
def test_ids_equal_the_reference(bert, example):
    ids = bert([_text(example)])
    expected = example["ids_without_trailing_pad"]
    assert ids.dtype == torch.int64
    assert ids.tolist() == [expected + [0] * (77 - len(expected))]


def test_a_batch_equals_its_rows(bert):
    texts = [_text(example) for example in GOLDEN["examples"]]
    assert torch.equal(bert(texts), torch.cat([bert([text]) for text in texts]))


def test_the_words_that_the_page_offers_are_known():
    preset = load_preset("demo-text-to-image")
    words = WordPiece(preset.architecture.conditioner.vocabulary)
    assert preset.word_groups
    for _, phrases in preset.word_groups:
        assert words.unknown_words(" ".join(phrases)) == ()


def test_no_texts_give_no_rows(bert):
    assert bert([]).shape == (0, 77)


def test_transformers_gives_the_same_ids(bert):
    transformers = pytest.importorskip("transformers")
    vocabulary = {t: i for i, t in enumerate(BERT_VOCABULARY.read_text("utf-8").split("\n")) if t}
    theirs = transformers.BertTokenizer(vocab=vocabulary, do_lower_case=True)
    rng = random.Random(0)
    pool = list(vocabulary)[1000:] + [
        "[MASK]",
        "\u00c9t\u00e9",
        "\u6f22",
        "\u200d",
        "\t",
        "x" * 120,
    ]
    texts = [" ".join(rng.choices(pool, k=rng.randint(1, 120))) for _ in range(50)]
    ids = theirs(texts, padding="max_length", truncation=True, max_length=77)["input_ids"]
    assert bert(texts).tolist() == ids


def test_special_ids_are_found_by_name(small):
    assert small(["a red houseboat"]).tolist() == [[1, 5, 6, 7, 8, 2, 0, 0]]


def test_long_sentences_end_in_sep(small):
    assert small(["a " * 20]).tolist() == [[1, 5, 5, 5, 5, 5, 5, 2]]


def test_unknown_words_are_named_once_in_order(small):
    assert small.unknown_words("A Red unicorn, a sun, an unicorn") == ("unicorn", "an")
    assert small.unknown_words("a red house") == ()


def test_bert_spells_unknown_words_out_of_pieces(bert):
    assert bert.unknown_words("xyzzyqwv caf\u00e9") == ()
    assert bert.unknown_words("a \u5b57 house") == ("\u5b57",)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no readable"), (b"\xff\xfe\x00", "no readable"), (b"a\n", "[PAD]")],
)
def test_unusable_vocabulary_is_a_preset_error(tmp_path, content, message):
    path = tmp_path / "v.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PresetError) as caught:
        WordPiece(path)(["a"])
    assert str(path) in str(caught.value)
    assert message in str(caught.value)
