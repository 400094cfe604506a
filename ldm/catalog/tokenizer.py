"""Tokenizer of sentences: WordPiece with the rules of BERT uncased (Devlin et al. 2018).

It uses `tokenizers`, the library under `transformers.BertTokenizer`: the ids are the same, but the
import of `transformers`, which takes a second before the first picture, is avoided.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ldm.catalog.clip_tokens import BytePairs
from ldm.errors import PresetError

if TYPE_CHECKING:
    from tokenizers.implementations import BertWordPieceTokenizer
    from torch import Tensor

    from ldm.catalog.architecture import ConditionerConfig

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def words_of(text: str) -> list[str]:
    """Split a text into the lower-case words and punctuation marks that `WordPiece` looks up."""
    from tokenizers.normalizers import BertNormalizer  # noqa: PLC0415  (lazy)
    from tokenizers.pre_tokenizers import BertPreTokenizer  # noqa: PLC0415

    normal = BertNormalizer(lowercase=True).normalize_str(text)
    return [word for word, _ in BertPreTokenizer().pre_tokenize_str(normal)]


class WordPiece:
    """Sentences -> ids, `[CLS] pieces [SEP] [PAD] ...`; the vocabulary is read at first use.

    Args:
        vocabulary: A file with one token per line; the line number, from 0, is the id.
        max_length: Ids per sentence; longer sentences are truncated, with [SEP] last.
    """

    def __init__(self, vocabulary: Path, max_length: int = 77) -> None:
        self.vocabulary = Path(vocabulary)
        self.max_length = max_length

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Convert sentences to ids, (B, max_length) int64.

        Raises:
            PresetError: If the vocabulary file cannot be used.
        """
        import torch  # noqa: PLC0415  (the catalog answers without it)

        rows = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        return torch.tensor(rows, dtype=torch.int64).reshape(-1, self.max_length)

    def unknown_words(self, text: str) -> tuple[str, ...]:
        """Return the words of `text` with pieces outside of the vocabulary, each once, in order."""
        normal = self._tokenizer.normalizer.normalize_str(text)
        words = [word for word, _ in self._tokenizer.pre_tokenizer.pre_tokenize_str(normal)]
        unknown = [
            word
            for word in words
            if "[UNK]" in self._tokenizer.encode(word, add_special_tokens=False).tokens
        ]
        return tuple(dict.fromkeys(unknown))

    def is_cut(self, text: str) -> bool:
        """Whether `text` has more pieces than `max_length` allows, and so is truncated."""
        return bool(self._tokenizer.encode(text).overflowing)

    @cached_property
    def _tokenizer(self) -> BertWordPieceTokenizer:
        ids = self._read()
        from tokenizers.implementations import BertWordPieceTokenizer  # noqa: PLC0415  (lazy)

        tokenizer = BertWordPieceTokenizer(vocab=ids, lowercase=True)
        tokenizer.enable_truncation(self.max_length)
        tokenizer.enable_padding(pad_id=ids["[PAD]"], length=self.max_length)
        return tokenizer

    def _read(self) -> dict[str, int]:
        """Read the vocabulary: token -> id."""
        try:
            lines = self.vocabulary.read_text("utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise PresetError(f"{self.vocabulary} is no readable vocabulary: {error}.") from error
        ids = {token.rstrip("\r"): i for i, token in enumerate(lines) if token}
        if missing := [token for token in SPECIAL_TOKENS if token not in ids]:
            raise PresetError(f"{self.vocabulary} lacks the token {missing[0]}.")
        return ids


Tokenizer = WordPiece | BytePairs


def tokenizer_of(about: ConditionerConfig) -> Tokenizer | None:
    """Return the tokenizer of a model's sentences, without the model; None: it reads none."""
    if about.vocabulary is None:
        return None
    written = about.vocabulary.stat().st_mtime_ns if about.vocabulary.exists() else 0
    return _tokenizer(about, written)


@lru_cache(maxsize=4)  # an estimate after each change asks for it
def _tokenizer(about: ConditionerConfig, _written: int) -> Tokenizer:
    if about.kind == "clip":
        return BytePairs(about.vocabulary, about.max_seq_len, about.learned)
    return WordPiece(about.vocabulary, about.max_seq_len)
