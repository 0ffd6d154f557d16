"""Texts to write: English-like, of a chosen length, never the same twice; the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import accumulate

_ONSETS = (
    "b", "br", "c", "ch", "cl", "d", "dr", "f", "fl", "g", "gr", "h", "j", "k", "l", "m", "n", "p", "pl", "pr", "qu",
    "r", "s", "sh", "sl", "sp", "st", "str", "t", "th", "tr", "v", "w", "y",
)  # fmt: skip
_VOWELS = (
    "a", "a", "e", "e", "e", "i", "i", "o", "o", "u", "ai", "ea", "ee", "ie", "oa", "ou",
)  # fmt: skip
_ENDS = (
    "n", "r", "s", "t", "l", "d", "m", "ck", "nd", "nt", "rd", "st", "ng", "y", "ve", "te", "se", "",
)  # fmt: skip
_SMALL = (
    "the", "of", "and", "to", "a", "in", "that", "is", "was", "for", "it", "with", "as", "his", "on", "be", "at",
    "by", "i", "this", "had", "not", "are", "but", "from", "or", "have", "an",
)  # fmt: skip


def _vocabulary(chance: random.Random, words: int) -> list[str]:
    known = dict.fromkeys(_SMALL)
    while len(known) < words:
        syllables = chance.choice((1, 1, 2, 2, 2, 3))
        word = "".join(chance.choice(_ONSETS) + chance.choice(_VOWELS) for _ in range(syllables)) + chance.choice(_ENDS)
        known[word] = None
    return list(known)


def texts(chars: int, *, seed: int = 1, words: int = 6_000) -> Iterator[str]:
    """Endless texts of about so many characters. *Shapes*: word frequencies fall as 1/rank, as in real text."""
    chance = random.Random(seed)
    vocabulary = _vocabulary(chance, words)
    weights = list(accumulate(1 / rank for rank in range(1, len(vocabulary) + 1)))
    while True:
        picked = chance.choices(vocabulary, cum_weights=weights, k=chars // 4)
        text = " ".join(picked).capitalize()
        yield text[: chars + chance.randrange(-chars // 5, chars // 5 + 1)].rstrip() + "."
