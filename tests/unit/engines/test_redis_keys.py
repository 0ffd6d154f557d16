"""Names of keys in a cache: whatever the values are, no two are one name, and none is another pattern's."""

from __future__ import annotations

import re
from itertools import combinations
from random import Random
from typing import Any

import pytest

from antiphon.domains import BUILT_IN
from antiphon.engines.redis.entries import SEGMENT_BYTES_MAX, Entries, segment
from antiphon.model.places import Cache, Places
from antiphon.model.table import Column, Table, Type
from antiphon.views.domain import Registry

PIECES = ("", ":", "%", "{", "}", "\n", "\r", "\0", "%3A", "%.", ":of", "{x}", "ä", "\U0001f30a", "antiphon", " ", "*")
PATTERNS = ("a:{x}", "a:{x}:{y}", "a:{x}:b:{y}", "b:{x}:{y}:", "b:{x}::{y}:c", "c:{y}:{x}")
PAIRS = Table(
    "pairs",
    key=("x", "y"),
    columns=(Column("x", Type.TEXT, nullable=False), Column("y", Type.TEXT, nullable=False)),
    minted=False,
    places=Places(caches=tuple(Cache(pattern, ("x",), shape="list") for pattern in PATTERNS)),
)


def values(chance: Random, count: int) -> list[str]:
    made = ["".join(chance.choices((*PIECES, "a", "b"), k=chance.randrange(5))) for _ in range(count)]
    long = [letter * SEGMENT_BYTES_MAX + end for letter in ("a", ":", "%") for end in ("", "a", ":")]
    return [*PIECES, *made, *long, "z" * (1 << 20), "z" * ((1 << 20) - 1) + "y"]


@pytest.mark.parametrize("seed", range(5))
def test_no_two_values_are_one_part_of_a_name(seed: int) -> None:
    made = {value.encode() for value in values(Random(seed), 2_000)}
    parts = {segment(value): value for value in made}
    assert len(parts) == len(made)
    assert all(len(part) <= SEGMENT_BYTES_MAX and not re.search(rb"[:{}\x00-\x1f]", part) for part in parts)
    assert segment(b"loop-1 \xc3\xa4") == b"loop-1 \xc3\xa4", "most are written as they are"


@pytest.mark.parametrize("seed", range(5))
def test_no_two_rows_and_patterns_are_one_key(seed: int) -> None:
    chance = Random(seed)
    some = chance.sample(values(chance, 60), 40)
    taken: dict[bytes, Any] = {}
    for x in some:
        for y in some:
            for name, pattern in zip(names({"x": x, "y": y}), PATTERNS, strict=True):
                told = (pattern, x, y if "{y}" in pattern else "")
                assert taken.setdefault(name, told) == told
                assert name.startswith((b"fleet:a:", b"fleet:b:", b"fleet:c:"))


def names(row: dict[str, Any]) -> list[bytes]:
    entries = Entries(PAIRS, "fleet:")
    return [name for pattern in entries._patterns if (name := pattern._name(row)) is not None]


def test_what_is_looked_for_are_the_keys_of_the_pattern_alone() -> None:
    entries = Entries(PAIRS, "fleet:")
    made = names({"x": "%\n", "y": ""})
    assert all(re.fullmatch(name, key, re.DOTALL) for name, key in zip(entries.loose, made, strict=True))
    assert not any(re.fullmatch(name, b"fleet:a:b:c:d:e:f") for name in entries.loose)


def test_no_patterns_of_ours_share_a_key() -> None:
    """The registry refuses two that do; here their keys with equal values everywhere, which it does not look at."""
    caches = [cache for table in Registry(BUILT_IN).tables.values() for cache in table.places.caches]
    made = [re.sub(r"\{[^}]*\}", "x", cache.pattern) for cache in caches]
    assert len(made) > 10
    assert all(one != other for one, other in combinations(made, 2))
