"""Words that a folder's tokenizer adds to CLIP's: what the library reads of them, and bad files."""

import json
import shutil

import pytest

from ldm.catalog.clip_tokens import BytePairs, _ids
from ldm.catalog.compvis import CLIP_MERGES
from ldm.catalog.learned_tokens import learned_tokens
from ldm.errors import PresetError

WORDS = ("<My-cat>", "sks2", "<a b>")
TEXTS = ["a photo of <my-cat> sitting", "a <MY-CAT>x, sks2 <a b>", "sks2", "my-cat sks 2 < a b >"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """CLIP's tokenizer in the library's files."""
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "vocab.json").write_text(json.dumps(_ids(BytePairs(CLIP_MERGES)._read())))
    shutil.copy(CLIP_MERGES, folder / "merges.txt")
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 77}')
    return folder


def test_the_library_reads_and_writes_the_same_words(plain, tmp_path):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.CLIPTokenizer.from_pretrained(plain)
    theirs.add_tokens(list(WORDS))
    theirs.save_pretrained(tmp_path)
    assert learned_tokens(plain, CLIP_MERGES) == ()
    assert learned_tokens(tmp_path, CLIP_MERGES) == WORDS
    ours = BytePairs(CLIP_MERGES, learned=WORDS)
    ids = theirs(TEXTS, padding="max_length", truncation=True)["input_ids"]
    assert ours(TEXTS).tolist() == ids
    assert 49410 in ids[1]
    assert ours(TEXTS)[3].max() == 49407  # words that are only like them


def test_a_folder_without_a_tokenizer_adds_none(tmp_path):
    assert learned_tokens(tmp_path / "none", CLIP_MERGES) == ()


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("added_tokens.json", '{"<a>": 49409}', "do not follow CLIP's 49408"),
        ("added_tokens.json", '{"<a>": 49408, "<b>": 60000}', "do not follow CLIP's 49408"),
        ("added_tokens.json", '{"": 49408}', "adds '', which is no word"),
        ("added_tokens.json", '{"<a>": null}', "is no readable tokenizer"),
        ("added_tokens.json", "[]", "holds no JSON object"),
        ("added_tokens.json", "[" * 100_000, "is missing or no JSON"),
        (
            "tokenizer_config.json",
            '{"added_tokens_decoder": {"49408": 1}}',
            "no readable tokenizer",
        ),
        ("tokenizer.json", '{"added_tokens": [{"id": 49408, "content": 5}]}', "which is no word"),
        ("merges.txt", "#version: 0.2\na b</w>\n", "joins other pieces than CLIP's"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path, name, text, says):
    (tmp_path / name).write_text(text)
    with pytest.raises(PresetError, match=says):
        learned_tokens(tmp_path, CLIP_MERGES)


def test_older_versions_keep_them_in_a_file_of_their_own(tmp_path):
    (tmp_path / "added_tokens.json").write_text(
        '{"<b>": 49409, "<a>": 49408, "<|endoftext|>": 49407}'
    )
    assert learned_tokens(tmp_path, CLIP_MERGES) == ("<a>", "<b>")


def test_a_word_that_is_known_already_is_told():
    with pytest.raises(PresetError, match="knows 'a</w>', which is to be learned"):
        BytePairs(CLIP_MERGES, learned=("a</w>",))(["a"])
