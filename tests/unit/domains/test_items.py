"""The domain of items: from puts and deletes to rows, whatever order they come in."""

from collections.abc import Iterator
from itertools import permutations
from typing import Any

import pytest

from antiphon import Agent, InvalidInput
from antiphon.domains.items import ITEMS, ITEMS_TABLE
from antiphon.model.text import parse_entity
from antiphon.views.domain import Op, Write
from antiphon.views.merge import Placed, merge

ENTITY = "00000000-0000-8000-8000-000000000001"
ENTITY_ID = bytes(6) + b"\x80\0" + bytes(7) + b"\x01"


@pytest.fixture
def ada() -> Iterator[Agent]:
    with Agent.create("ada") as agent:
        yield agent


def put(value: dict[str, Any]) -> dict[str, Any]:
    return {"namespace": ["a", "b"], "key": "k", "value": value, "text": "owl"}


def test_puts_and_deletes_make_rows(ada: Agent) -> None:
    key = parse_entity(ENTITY)
    first = ada.record("item.put", put({"n": 1}), entity=ENTITY)
    ada.record("item.put", put({"n": 2}), entity=ENTITY)
    row = ada.table("items").get(key)
    assert row is not None
    assert (row["namespace"], row["key"], row["value"], row["created_at"]) == ("a.b", "k", {"n": 2}, first.recorded_ms)
    ada.record("item.deleted", {}, entity=ENTITY)
    assert ada.table("items").get(key) is None
    ada.record("item.put", put({"n": 3}), entity=ENTITY)
    assert [row["value"] for row in ada.table("items").select()] == [{"n": 3}]
    assert len(ada.history(ENTITY)) == 4


def test_a_forgotten_put_leaves_the_one_before(ada: Agent) -> None:
    ada.record("item.put", put({"n": 1}), entity=ENTITY)
    newer = ada.record("item.put", put({"n": 2}), entity=ENTITY)
    ada.forget(newer.event)
    assert [row["value"] for row in ada.table("items").select()] == [{"n": 1}]


def test_the_row_does_not_depend_on_the_order_of_arrival() -> None:
    def write(at: int, op: Op) -> Placed:
        values = (
            {"id": ENTITY_ID, "namespace": "a", "key": "k", "value": at, "created_at": at, "updated_at": at}
            if op == Op.ASSERT
            else {}
        )
        return Placed(at, b"log", at, Write(ITEMS_TABLE.name, ENTITY_ID, op, values))

    writes = [write(1, Op.ASSERT), write(2, Op.DELETE), write(3, Op.ASSERT), write(4, Op.ASSERT)]
    merged = [merge(ITEMS_TABLE, order).row for order in permutations(writes)]
    rows = {row and row.values for row in merged}
    assert len(rows) == 1
    values = dict(zip(ITEMS_TABLE.names, rows.pop() or (), strict=True))
    assert (values["value"], values["created_at"], values["updated_at"]) == (4, 3, 4)
    assert merge(ITEMS_TABLE, writes[:2]).row is None


def test_the_domain_is_there_with_or_without_being_named(ada: Agent) -> None:
    ada.close()
    for domains in ((), (ITEMS,)):
        with Agent.open("ada", domains=domains) as again:
            again.record("item.put", put({}), entity=ENTITY)


def test_a_body_that_does_not_fit_is_refused(ada: Agent) -> None:
    with pytest.raises(InvalidInput, match=r"item\.put"):
        ada.record("item.put", {"namespace": "a.b", "key": "k", "value": {}}, entity=ENTITY)
