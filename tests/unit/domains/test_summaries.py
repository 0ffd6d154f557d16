"""Summaries by rule: the same memories in any order make the same text."""

from random import Random
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from antiphon.domains.memory import commands
from antiphon.domains.memory.bodies import Summarized
from antiphon.model.event import Ref, Role
from antiphon.views.store import StoredRow

REFS = (Ref(Role.SOURCE, bytes(32), 0, bytes(32)),)
BASE: dict[str, Any] = {"namespace": "n", "user": None, "significance": 0.1, "timestamp": 0, "content": ""}


def rows(*given: dict[str, Any]) -> list[StoredRow]:
    return [StoredRow(n, 1, n, {**BASE, "id": bytes([n]) * 16, **values}) for n, values in enumerate(given)]


def summary(found: list[StoredRow]) -> Summarized:
    draft, body = commands.summarize(found, REFS)
    assert msgspec.msgpack.decode(draft.body, type=Summarized) == body
    assert isinstance(body, Summarized)
    return body


@given(st.lists(st.tuples(st.text(max_size=40), st.floats(0, 1), st.integers(0, 1 << 41)), min_size=2, max_size=8),
       st.integers())  # fmt: skip
def test_order_changes_nothing(memories: list[tuple[str, float, int]], seed: int) -> None:
    found = rows(*({"content": text, "significance": weight, "timestamp": at} for text, weight, at in memories))
    shuffled = list(found)
    Random(seed).shuffle(shuffled)
    assert summary(found).text == summary(shuffled).text
    assert set(summary(shuffled).sources) == {row.values["id"] for row in found}


def test_it_says_when_how_many_what_recurs_and_what_weighed_most() -> None:
    day = 86_400_000
    found = rows(
        {"content": "the harbour at dawn", "timestamp": 0},
        {"content": "the harbour\n in fog", "timestamp": 10 * day, "significance": 0.3},
        {"content": None, "timestamp": 5 * day},
    )
    body = summary(found)
    assert body.text.startswith("3 memories from 1970-01-01 to 1970-01-11: harbour, dawn.")
    assert body.text.index("the harbour in fog") < body.text.index("the harbour at dawn")
    assert (body.significance, body.namespace, body.user) == (0.3, "n", None)


def test_it_is_about_the_person_all_its_sources_are_about() -> None:
    bob, eve = b"b" * 16, b"e" * 16
    draft, body = commands.summarize(rows({"user": bob}, {"user": bob}), REFS)
    assert (body.user, draft.about) == (bob, (bob,))
    draft, body = commands.summarize(rows({"user": bob}, {"user": eve}), REFS)
    assert (body.user, draft.about) == (None, (bob, eve))
