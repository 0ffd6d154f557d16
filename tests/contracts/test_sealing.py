"""Personal data in engines: ciphertext that nobody reads there, found by its whole value, opened in its row alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import msgspec
import pytest

from antiphon.engines.memory import MemoryTables
from antiphon.engines.sealing import SealedSink, SealedSource, Seals, blind_name
from antiphon.model.errors import Corrupt, InvalidInput
from antiphon.model.places import Cache, Places, Relational
from antiphon.model.table import ANYONE, READ_ALL, Column, Index, Table, Type
from antiphon.query.access import Reader
from antiphon.query.plan import Ask, Range, plan
from antiphon.views.feed import Change, version_of
from tests.contracts.engines import seals

ME = bytes([1]) * 32
_schemas = count()
PEOPLE = Table(
    "customers",
    key="id",
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("name", Type.TEXT, pii=True),
        Column("email", Type.TEXT, pii=True, blind=True),
        Column("city", Type.TEXT),
    ),
    indexes=(Index(("city",)), Index(("email",))),
    shared=True,
    writers=ANYONE,
    access=READ_ALL,
    places=Places(relational=Relational(), caches=(Cache("customer:{id}:all"), Cache("customer:{id}", of=("city",)))),
)
ROWS = [("Ada Lovelace", "ada@example.org", "London"), ("Bob", "Bob@Example.org", "Rome"), (None, None, "Rome")]


def changes() -> list[Change]:
    found = []
    for n, (name, email, city) in enumerate(ROWS):
        key = bytes([n]) * 16
        row = {"id": key, "name": name, "email": email, "city": city}
        found.append(Change("customers", key, version_of(1, n + 1), row, ME))
    return found


def fed(sink: Any) -> Any:
    sink.prepare([PEOPLE])
    sink.fence(0, 1)
    sink.apply(1, changes())
    return sink


def test_an_engine_gets_nothing_that_names_anybody() -> None:
    engine = MemoryTables()
    sink = fed(SealedSink(engine, seals()))
    held = repr(engine.rows(PEOPLE, after=None, limit=10))
    for word in ("Ada", "ada@", "Lovelace", "Bob", "xample"):
        assert word not in held
    assert "London" in held
    assert [change.row for change in sink.rows(PEOPLE, after=None, limit=10)] == [one.row for one in changes()]


def test_the_same_value_is_sealed_differently_each_time_and_found_alike() -> None:
    ours = seals()
    row = changes()[0].row or {}
    one, other = ours.seal(PEOPLE, row), ours.seal(PEOPLE, row)
    assert one["email"] != other["email"]
    assert one[blind_name("email")] == other[blind_name("email")]
    upper = {**row, "email": "ADA@example.org"}
    assert ours.seal(PEOPLE, upper)[blind_name("email")] == one[blind_name("email")]
    assert seals(blind=b"c" * 32).seal(PEOPLE, row)[blind_name("email")] != one[blind_name("email")]


def test_a_value_opens_in_its_own_row_and_column_alone() -> None:
    ours = seals()
    ada, bob = (ours.seal(PEOPLE, change.row or {}) for change in changes()[:2])
    for wrong in ({**bob, "email": ada["email"]}, {**ada, "email": ada["name"]}, {**ada, "name": b"short"}):
        with pytest.raises(Corrupt, match="customers"):
            ours.open(PEOPLE, wrong)
    with pytest.raises(Corrupt):
        Seals(seal_key=b"x" * 32, blind_key=b"b" * 32, entropy=ours._entropy).open(PEOPLE, ada)


def test_places_that_would_show_it_are_left_out() -> None:
    sealed = seals().table(PEOPLE)
    assert [place.pattern for place in sealed.places.caches] == ["customer:{id}"]
    assert [index.columns for index in sealed.indexes] == [("city",), ("email_blind",)]
    assert sealed.fulltext is None
    plain = msgspec.structs.replace(PEOPLE, columns=(PEOPLE.columns[0], PEOPLE.columns[3]), indexes=())
    assert seals().table(plain) is plain


@contextmanager
def served(url: str) -> Iterator[SealedSource]:
    from antiphon.engines.postgres.source import PostgresSource
    from antiphon.engines.postgres.tables import PostgresTables

    schema = f"sealed{next(_schemas)}"
    sink = fed(SealedSink(PostgresTables(url, schema=schema), seals()))
    source = PostgresSource(url, {PEOPLE.name: PEOPLE}, schema=schema)
    yield SealedSource(source, seals())
    source.close()
    sink.close()


@pytest.mark.server
def test_postgres_finds_it_by_its_whole_value_and_knows_no_word_of_it(postgres: Any) -> None:
    with served(postgres.url()) as source:
        reader = Reader(ME, ())

        def cities(ask: Ask) -> list[str]:
            part = source.page(plan(PEOPLE, ask), reader, after=None, limit=10, scanned_max=100)
            return [row.values["city"] for row in part.rows]

        assert cities(Ask({"email": "ada@example.org"})) == ["London"]
        assert cities(Ask({"email": "bob@example.org"})) == ["Rome"]
        assert cities(Ask({"email": "eve@example.org"})) == []
        assert cities(Ask({"city": "Rome"})) == ["Rome", "Rome"]
        row = source.row(PEOPLE, bytes(16), reader)
        assert row is not None
        assert row.values == changes()[0].row
        with pytest.raises(InvalidInput, match="personal data"):
            cities(Ask(within=Range("email", least="a")))
        with pytest.raises(InvalidInput, match="personal data"):
            cities(Ask(order=("email",)))
        with pytest.raises(InvalidInput, match="personal data"):
            source.values(plan(PEOPLE, Ask(order=("email",))), reader, "email", limit=3)
    dumped = postgres.dump()
    for word in ("Lovelace", "ada@", "Bob@"):
        assert word not in dumped
    assert "London" in dumped
