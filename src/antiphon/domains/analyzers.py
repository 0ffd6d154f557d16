"""Room `domains` (imports `views` and below): how the built-in domains' texts become words, for any search engine.

The designs name an analyzer `sacred_wisdom` of three filters and leave the last two open. Ours: a metaphor of the
designs is found by the plain word that it stands for, and the reverse; a pair of harmonies written as one word
(`love_wisdom`, as `harmony_pair` in resonance patterns) is found by each of the two.
"""

from __future__ import annotations

from typing import Final

from antiphon.model.places import LOWERCASE, Analyzer, Filter

METAPHORS: Final = (
    ("spore", "gossip"),
    ("crystal", "agreement", "consensus"),
    ("oracle", "recall"),
    ("resonance", "similarity"),
    ("entanglement", "correlation"),
    ("harmony", "category"),
    ("energy", "activation"),
    ("whisper", "prompt"),
    ("blessing", "endorsement"),
    ("prophecy", "prediction"),
    ("drift", "volatility"),
    ("federation", "fleet"),
)
"""Words of the designs, each with the plain ones for it."""

SACRED_WISDOM: Final = Analyzer(
    "sacred_wisdom",
    tokenizer="standard",
    filters=(
        LOWERCASE,
        Filter("metaphor_expansion", "synonyms", synonyms=METAPHORS),
        Filter("harmony_recognition", "parts", patterns=("([^_]+)",)),
    ),
)
