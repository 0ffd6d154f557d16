"""Personal data in engines: ciphertext that nobody reads there, found by its whole value, opened in its row alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from antiphon import Agent, AssertRow, Domain, Kind
from antiphon.engines.memory import MemoryTables
from antiphon.engines.sealing import SEAL_KEY, SealedPlace, SealedSink, SealedSource, Seals, blind_name
from antiphon.engines.sqlite import fulltext
from antiphon.engines.sqlite.file import SqliteFile
from antiphon.engines.sqlite.select import SqliteSource
from antiphon.engines.sqlite.tables import SqliteTables
from antiphon.model.errors import Corrupt, InvalidInput
from antiphon.model.places import Cache, Places, Relational
from antiphon.model.table import ANYONE, READ_ALL, Column, FullText, Index, Table, Type
from antiphon.model.values import canonical
from antiphon.query.access import Reader
from antiphon.query.plan import Ask, Range, plan
from antiphon.query.reach import Found, Gone
from antiphon.query.rows import Rows
from antiphon.views.feed import Change, version_of
from servers.places import own_name
from tests.contracts.engines import held, seals

ME = bytes([1]) * 32
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

TOLD = Table(
    "told",
    key="id",
    columns=(Column("id", Type.ID, nullable=False), Column("name", Type.TEXT, pii=True)),
    places=Places(relational=Relational(), caches=(Cache("told:{id}"),)),
)


class Told(msgspec.Struct):
    """That somebody is called so."""

    name: str


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


SPELLINGS = ["Zoe Smith", "ZOE SMITH", "zoe  smith"]


@pytest.fixture
def spelled(tmp_path: Path) -> Iterator[tuple[Rows, Rows]]:
    """Many rows with one name in three spellings, as the file answers and as an engine does."""
    met = Table(
        "people_met",
        key="id",
        columns=(
            Column("id", Type.ID, nullable=False),
            Column("label", Type.TEXT, pii=True, blind=True),
            Column("words", Type.TEXT),
            Column("at", Type.VECTOR, size=2),
            Column("day", Type.TIMESTAMP),
        ),
        indexes=(Index(("label",)),),
        fulltext=FullText("words", time="day"),
        shared=True,
        access=READ_ALL,
    )
    with ExitStack() as ending:

        def rows(name: str, table: Table, row: Any) -> SqliteSource:
            file = SqliteFile(tmp_path / name, bytes(32), create=True)
            ending.callback(file.close)
            tables = SqliteTables(file)
            with file.transaction():
                for n in range(30):
                    values = {
                        "id": bytes([n]) * 16,
                        "label": SPELLINGS[n % 3],
                        "words": "met today",
                        "at": [n, 1],
                        "day": n,
                    }
                    values["at"] = canonical(met.column("at"), values["at"])
                    made = row(values)
                    tables.insert(table, [(n + 1, 1, n, *(made[name] for name in table.names))])
                while fulltext.catch_up(file, table, rows_max=100):
                    pass
            return SqliteSource(file, tables, {table.name: table})

        ours = seals()
        plain = rows("file", met, dict)
        sealed = rows("engine", ours.table(met), lambda values: ours.seal(met, values))
        reader = Reader(ME, ())
        yield Rows(plain, met, lambda: reader), Rows(SealedSource(sealed, ours), met, lambda: reader)


def test_an_engine_answers_letter_by_letter_as_the_file_does(spelled: tuple[Rows, Rows]) -> None:
    for label in (*SPELLINGS, "Zoe", "zoe smith"):
        file, engine = ([row["id"] for row in rows.select(label=label)] for rows in spelled)
        assert engine == file
        assert len(file) == (10 if label in SPELLINGS else 0)
        file, engine = ([row["id"] for row in rows.select(label=label, limit=7)] for rows in spelled)
        assert engine == file, "a page is full though other spellings stand between"
        file, engine = ([row["id"] for row in rows.every({"label": label})] for rows in spelled)
        assert engine == file
        near, far = (
            [(one.row["id"], one.distance) for one in rows.neighbours("at", [4.0, 1.0], k=4, metric="l2", label=label)]
            for rows in spelled
        )
        assert far == near
        near, far = ([one.row["id"] for one in rows.search("today", limit=4, label=label)] for rows in spelled)
        assert sorted(far) == sorted(near)
        assert len(near) == (4 if label in SPELLINGS else 0)


def test_what_would_be_asked_for_personal_data_unsealed_refuses() -> None:
    from antiphon.engines.postgres.source import PostgresSource
    from antiphon.engines.redis.source import RedisRows

    reader, tables = Reader(ME, ()), {PEOPLE.name: PEOPLE}
    near, far = RedisRows("redis://127.0.0.1:1/0", tables), PostgresSource("postgresql://127.0.0.1:1/x", tables)
    asked: list[Callable[[], Any]] = [
        lambda: near.find(PEOPLE, bytes(16), reader),
        lambda: near.keep(PEOPLE, bytes(16), Found(changes()[0].row or {}, ME)),  # type: ignore[arg-type]
        lambda: far.find(PEOPLE, bytes(16), reader),
        lambda: far.row(PEOPLE, bytes(16), reader),
    ]
    for ask in asked:
        with pytest.raises(InvalidInput, match="personal data"):
            ask()
    near.close()
    far.close()


def test_an_agent_reaches_with_its_own_keys_and_needs_none_for_other_tables(own_home: Path) -> None:
    class Shelf:
        name = "shelf"

        def __init__(self) -> None:
            self.tables: list[Table] = []
            self.rows: dict[bytes, Found] = {}

        def find(self, table: Table, key: bytes, reader: Reader) -> Found | Gone | None:
            self.tables.append(table)
            return self.rows.get(key)

        def keep(self, table: Table, key: bytes, found: Found) -> None:
            self.rows[key] = found

    near, far, key = Shelf(), Shelf(), bytes([7]) * 16
    row = dict(changes()[0].row or {}, id=key)
    domain = Domain("customers", kinds=(), tables=(PEOPLE,), folds={})
    with Agent.create("ada", home=own_home, domains=[domain]) as agent:
        reach = agent.reach([near, far])
        assert reach.get("tasks", key) is None
        assert SEAL_KEY not in list(agent.replica.keys.names())
        far.rows[key] = Found(agent.seals.seal(PEOPLE, row), ME)
        found = reach.get("customers", key)
        assert found is not None
        assert dict(found) == row
        assert "ada@" not in repr(near.rows[key]), "kept nearer as it was far away"
        assert not near.tables[-1].personal
        assert dict(reach.get("customers", key) or {}) == row
        sealed = SealedPlace(far, seals())
        assert SealedPlace.around(sealed, lambda: agent.seals) is sealed, "by whoever's keys"


@contextmanager
def served(url: str) -> Iterator[SealedSource]:
    from antiphon.engines.postgres.source import PostgresSource
    from antiphon.engines.postgres.tables import PostgresTables

    schema = own_name("sealed")
    sink = fed(SealedSink(PostgresTables(url, schema=schema), seals()))
    source = PostgresSource(url, {PEOPLE.name: PEOPLE}, schema=schema)
    yield SealedSource(source, seals())
    source.close()
    sink.close()


@pytest.mark.server
@pytest.mark.parametrize("engine", ["postgres", "valkey"])
def test_who_follows_with_a_bare_engine_sends_nothing_that_names_anybody(
    engine: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue(engine)
    kind = Kind("customer.told", Told)
    people = Domain("customers", kinds=(kind,), tables=(TOLD,), folds={kind.name: (AssertRow(TOLD, name="name"),)})
    with Agent.create("ada", home=tmp_path, domains=[people]) as agent, ExitStack() as ending:
        agent.record("customer.told", {"name": "Ada Lovelace"})
        if engine == "postgres":
            from antiphon.engines.postgres.tables import PostgresTables

            bare: Any = PostgresTables(server.url(server.make_database("bare")))
        else:
            from antiphon.engines.redis.tables import RedisTables

            bare = RedisTables(server.url(), prefix=server.prefix())
        ending.callback(bare.close)
        follower = agent.follow(bare, name="bare", tables=["told"])
        ending.callback(follower.close)
        follower.run()
        (change,) = bare.rows(agent.seals.table(TOLD), after=None, limit=10)
        assert "Lovelace" not in repr(change)
        assert isinstance(change.row["name"], bytes)
        assert not list(follower.check())


@pytest.mark.server
def test_postgres_finds_it_by_its_whole_value_and_knows_no_word_of_it(postgres: Any) -> None:
    url = postgres.url(postgres.make_database("sealed"))
    with served(url) as source:
        reader = Reader(ME, ())

        def cities(ask: Ask) -> list[str]:
            part = source.page(plan(PEOPLE, ask), reader, after=None, limit=10, scanned_max=100)
            return [row.values["city"] for row in part.rows]

        assert cities(Ask({"email": "ada@example.org"})) == ["London"]
        assert cities(Ask({"email": "Bob@Example.org"})) == ["Rome"]
        assert cities(Ask({"email": "bob@example.org"})) == [], "another spelling is none in the file either"
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
    dumped = held(url)
    for word in ("Lovelace", "ada@", "Bob@"):
        assert word not in dumped
    assert "London" in dumped
