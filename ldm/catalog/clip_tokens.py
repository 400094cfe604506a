"""Tokenizer of CLIP's text (Radford et al., arXiv:2103.00020): byte-pair encoding in lower case.

It uses `tokenizers`, the library under `transformers.CLIPTokenizer`, with the same ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ldm.errors import PresetError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor

START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"
# contractions, words, single digits, and marks
PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
# bytes that stand for themselves; each of the others is written as a letter from U+0100 on
_VISIBLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))


class BytePairs:
    """Sentences -> ids, `START pieces END END ...`; the file of merges is read at first use.

    Args:
        merges: A file with one pair of pieces per line, in the order in which they were joined; a
            first line that begins with "#version" is passed over.
        max_length: Ids per sentence; longer sentences are truncated, with END last.
        learned: Words that a model has learned as one token each, with the ids after END.
    """

    def __init__(self, merges: Path, max_length: int = 77, learned: Sequence[str] = ()) -> None:
        self.merges = Path(merges)
        self.max_length = max_length
        self.learned = tuple(learned)

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Convert sentences to ids, (B, max_length) int64.

        Raises:
            PresetError: If the file of merges cannot be used.
        """
        import torch  # noqa: PLC0415  (the catalog answers without it)

        rows = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        return torch.tensor(rows, dtype=torch.int64).reshape(-1, self.max_length)

    def unknown_words(self, text: str) -> tuple[str, ...]:
        """Return no word: every byte is a piece."""
        return ()

    def is_cut(self, text: str) -> bool:
        """Whether `text` has more pieces than `max_length` allows, and so is truncated."""
        return bool(self._tokenizer.encode(text).overflowing)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        pairs = self._read()
        from tokenizers import (  # noqa: PLC0415  (lazy)
            Regex,
            Tokenizer,
            models,
            normalizers,
            pre_tokenizers,
            processors,
        )

        ids = _ids(pairs)
        joined = {"vocab": ids, "merges": pairs, "end_of_word_suffix": WORD_END}
        tokenizer = Tokenizer(models.BPE(**joined, unk_token=END))
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
        split = pre_tokenizers.Split(Regex(PIECES), behavior="removed", invert=True)
        in_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, in_bytes])
        tokenizer.add_special_tokens([START, END])
        if known := [word for word in self.learned if word in ids]:
            raise PresetError(f"{self.merges} knows {known[0]!r:.80}, which is to be learned.")
        tokenizer.add_tokens(list(self.learned))
        around = [(START, ids[START]), (END, ids[END])]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{START} $0 {END}", special_tokens=around
        )
        tokenizer.enable_truncation(self.max_length)
        tokenizer.enable_padding(pad_id=ids[END], pad_token=END, length=self.max_length)
        return tokenizer

    def _read(self) -> list[tuple[str, str]]:
        """Read the pairs of pieces."""
        try:
            lines = self.merges.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise PresetError(f"{self.merges} is no readable list of merges: {error}.") from error
        pairs = [tuple(line.split()) for line in lines if not line.startswith("#version") and line]
        if not pairs or any(len(pair) != 2 for pair in pairs):
            raise PresetError(f"{self.merges} is no list of merges, two pieces in each line.")
        known = set(_letters())
        for left, right in pairs:
            if not {left, right} <= known:
                raise PresetError(f"{self.merges} joins {left!r:.40} and {right!r:.40} too early.")
            known.add(left + right)
        return pairs


def _letters() -> list[str]:
    """Return the pieces that nothing was joined to: all bytes, within a word and at its end."""
    hidden = 256 - len(_VISIBLE)
    letters = [*map(chr, _VISIBLE), *(chr(0x100 + number) for number in range(hidden))]
    return letters + [letter + WORD_END for letter in letters]


def _ids(pairs: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Return piece -> id: letters, then what was joined in its order, then the two marks."""
    pieces = [*_letters(), *(left + right for left, right in pairs), START, END]
    return {piece: number for number, piece in enumerate(pieces)}
