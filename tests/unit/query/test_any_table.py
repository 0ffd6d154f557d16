"""Any table, any rows, any question: what an index serves is what a plain list answers, and SQLite uses that index."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from antiphon.engines.sqlite.file import SqliteFile
from antiphon.model.errors import InvalidInput
from antiphon.model.table import ANYONE, READ_ALL, Column, Index, Table, Type
from antiphon.query.access import Reader
from antiphon.query.plan import MADE, Ask, Position, plan, stretches
from tests.unit.query.made import FEW, LOGS, ME, THEM, YOU, Held, Store, asks, fits, held, in_order, sees, tables

SLOW = [
    HealthCheck.function_scoped_fixture,
    HealthCheck.too_slow,
    HealthCheck.data_too_large,
    HealthCheck.filter_too_much,
]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[SqliteFile]:
    found = SqliteFile(tmp_path / "x", bytes(32), create=True)
    yield found
    found.close()


def explained(store: Store, sql: str, values: tuple[object, ...]) -> list[str]:
    return [row[3] for row in store.file.reader.execute("EXPLAIN QUERY PLAN " + sql, values)]


def check_uses_the_index(store: Store, ask: Ask, after: Position | None) -> None:
    """Every stretch is one search of the index that was meant, in its own order."""
    made = plan(store.table, ask)
    for stretch in stretches(made, after):
        lines = explained(store, *store.source.statement(made, stretch, Reader(ME, LOGS[ME]), 10))
        assert len(lines) == 1, lines
        assert "TEMP B-TREE" not in lines[0]
        if made.path.name == MADE:
            assert "SEARCH made USING INTEGER PRIMARY KEY" in lines[0] or lines[0] == "SCAN made"
        else:
            assert f"USING INDEX {store.source.index_of(made)}" in lines[0] or "USING COVERING INDEX" in lines[0]
            bounded = bool(made.served or made.bounds or (stretch.tests or stretch.after is not None))
            assert lines[0].startswith("SEARCH" if bounded else "SCAN"), (lines, stretch)


def ask_anything(data: st.DataObject, file: SqliteFile) -> None:
    table: Table = data.draw(tables())
    store = Store(file, table)
    rows: list[Held] = data.draw(held(table))
    store.put(rows)
    try:
        for ask in data.draw(st.lists(asks(table), min_size=4, max_size=4)):
            check(store, rows, ask, data)
    finally:
        store.clear()


@settings(deadline=None, suppress_health_check=SLOW)
@given(data=st.data())
def test_any_question_that_is_accepted(data: st.DataObject, file: SqliteFile) -> None:
    ask_anything(data, file)


@pytest.mark.slow
@settings(deadline=None, suppress_health_check=SLOW, max_examples=10_000)
@given(data=st.data())
def test_ten_thousand_tables(data: st.DataObject, file: SqliteFile) -> None:
    ask_anything(data, file)


def check(store: Store, rows: list[Held], ask: Ask, data: st.DataObject) -> None:
    try:
        made = plan(store.table, ask)
    except InvalidInput:
        event("refused")
        return
    event(f"served by {made.path.name}, {len(made.order)} in order{', with a range' * bool(made.bounds)}")
    how = {"within": ask.within, "below": ask.below, "order": ask.order, "descending": ask.descending}
    for agent in (ME, YOU, THEM):
        wanted = {row.n: row.values for row in rows if sees(store.table, agent, row) and fits(ask, row)}
        reader = store.rows(agent)
        whole = reader.page(ask.equal, limit=1_000, **how)  # type: ignore[arg-type]
        assert {row.n: dict(row) for row in whole.rows} == wanted
        assert len(whole.rows) == len(wanted)
        assert whole.cursor is None
        assert in_order(ask, whole.rows)
        if ask.order == ("n",):
            assert [row.n for row in whole.rows] == sorted(wanted, reverse=ask.descending)
        size = data.draw(st.integers(1, 4))
        joined, cursor = [], None
        while True:
            page = reader.page(ask.equal, limit=size, after=cursor, **how)  # type: ignore[arg-type]
            joined += page.rows
            cursor = page.cursor
            if cursor is None:
                break
            assert len(page.rows) == size
        assert [row.n for row in joined] == [row.n for row in whole.rows]
    if rows:
        check_uses_the_index(store, ask, None)
        some = data.draw(st.sampled_from(rows))
        after = Position(tuple(some.values[name] for name, _ in made.order), some.n)
        check_uses_the_index(store, ask, after)


@settings(deadline=None, suppress_health_check=SLOW)
@given(data=st.data())
def test_every_row_by_its_key(data: st.DataObject, file: SqliteFile) -> None:
    table: Table = data.draw(tables())
    store = Store(file, table)
    rows: list[Held] = data.draw(held(table))
    store.put(rows)
    try:
        for row in rows:
            parts = [row.values[name] for name in table.key]
            for agent in (ME, YOU, THEM):
                found = store.rows(agent).get(*parts)
                assert (None if found is None else dict(found)) == (row.values if sees(table, agent, row) else None)
                assert store.rows(agent).get(**dict(zip(table.key, parts, strict=True))) == found
    finally:
        store.clear()


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("declared", [False, True])
@pytest.mark.parametrize("kind", FEW)
def test_null_and_the_least_value_at_the_seam_of_two_pages(
    kind: Type, declared: bool, descending: bool, file: SqliteFile
) -> None:
    values = tuple(FEW[kind]) if kind == Type.ENUM else ()
    columns = (
        Column("id", Type.INTEGER, nullable=False),
        Column("a", kind, values=values),
        Column("b", kind, values=values),
    )
    indexes = (Index(("a", "b"), descending=declared),)
    table = Table("made", "id", columns, indexes=indexes, minted=False, shared=True, writers=ANYONE, access=READ_ALL)
    store, some = Store(file, table), [None, *FEW[kind][:2]]
    rows = [Held(n, 1, {"id": n, "a": a, "b": b}) for n, (a, b) in enumerate([*product(some, some)] * 2, 1)]
    store.put(rows)
    least = {value: at for at, value in enumerate([None, *sorted(FEW[kind])])}
    up = sorted(rows, key=lambda row: (least[row.values["a"]], least[row.values["b"]], row.n * (-1) ** declared))
    wanted = [row.n for row in (up[::-1] if descending else up)]
    for size in (1, 2, 5):
        found, cursor = [], None
        while True:
            page = store.rows().page(order=("a", "b"), descending=descending, limit=size, after=cursor)
            found += [row.n for row in page.rows]
            cursor = page.cursor
            if cursor is None:
                break
        assert found == wanted
    store.clear()
