"""Extensions that come to a server after its tables: these go on as they are; `migrate` makes use of what came."""

from __future__ import annotations

from contextlib import closing

import msgspec
import psycopg
import pytest

from antiphon.engines.postgres.migrating import Migration, forgotten
from antiphon.engines.postgres.source import PostgresSource
from antiphon.engines.postgres.tables import PostgresTables
from antiphon.model.errors import Conflict, Unavailable
from antiphon.model.places import DAY_MS, HOUR_MS, Places, Relational, Series, Vectors
from antiphon.model.table import ANYONE, READ_ALL, Column, Index, Retention, Table, Type
from antiphon.model.values import key_of
from antiphon.query.access import Reader
from antiphon.query.plan import Ask, plan
from antiphon.views.feed import Change, version_of
from antiphon.world.clock import SystemClock
from servers.places import PostgresPlace

pytestmark = pytest.mark.server
LATER = Table(
    "later",
    key=("at", "id"),
    minted=False,
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("at", Type.TIMESTAMP, nullable=False),
        Column("direction", Type.VECTOR, size=3, nullable=False),
        Column("other", Type.VECTOR, size=2),
    ),
    indexes=(Index(("at",)),),
    retention=Retention("at", 30 * DAY_MS),
    shared=True,
    access=READ_ALL,
    writers=ANYONE,
    places=Places(
        relational=Relational(by_time="at", every_ms=DAY_MS), vectors=(Vectors("direction"),), series=Series("at")
    ),
)


def laters(epoch: int) -> list[Change]:
    found = []
    for n in range(60):
        at = SystemClock().now_ms() // DAY_MS * DAY_MS - n * HOUR_MS
        values = {"id": bytes([n] * 16), "at": at, "direction": [1.0, n, 0.5], "other": None if n % 2 else [n, 1.0]}
        found.append(Change("later", key_of(LATER, values), version_of(epoch, n + 1), values))
    return found


def begun(sink: PostgresTables, known: int) -> int:
    """As a follower begins, under the next epoch."""
    sink.prepare([LATER])
    assert sink.fence(known, known + 1)
    sink.apply(known + 1, laters(known + 1))
    sink.retire(known + 1, [LATER])
    assert [change.row for change in sink.rows(LATER, after=None, limit=100)] == [
        change.row for change in sorted(laters(1), key=lambda one: (one.row or {})["at"])
    ]
    return known + 1


@pytest.mark.needs("vector", "timescaledb")
def test_extensions_that_come_later_are_made_use_of_by_migrate(
    postgres: PostgresPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.url(postgres.make_database())
    with monkeypatch.context() as patch:
        patch.setattr("antiphon.engines.postgres.connection.Server.extend", lambda server: None)
        with closing(PostgresTables(url)) as plain:
            assert begun(plain, 0) == 1
            assert plain.lacks == [
                "later: its vectors are arrays without an index: no pgvector",
                "later: it is no hypertable: no TimescaleDB",
            ]
    sink = PostgresTables(url)
    epoch = begun(sink, 1)  # it goes on as it is, and says so
    assert sink.lacks == [
        "later: its vectors are arrays without an index: the extension came after it: `antiphon migrate`",
        "later: it is no hypertable: the extension came after it: `antiphon migrate`",
    ]
    source = PostgresSource(url, {"later": LATER})
    reader, wanted = Reader(bytes(32), ()), [1.0, 5.0, 0.5]

    def near() -> list[int]:
        asked = plan(LATER, Ask())
        with source.reading():
            found = source.nearest(asked, reader, "direction", wanted, metric="cosine", k=3)
            rows = source.rows(LATER, [n for _, n in found], reader)
        return [rows[n].values["id"][0] for _, n in found]

    with pytest.raises(Unavailable, match="are arrays in this PostgreSQL: `antiphon migrate`"):
        near()
    with closing(Migration(url, {"later": LATER})) as migration:
        migration.run(migration.due().steps)
        with pytest.raises(Conflict):
            sink.apply(epoch, [])  # whoever feeds begins again
        begun(sink, epoch + 1)
        migration.run(migration.due().steps)
        assert (migration.due().steps, migration.due().waiting) == ([], [])
    assert sink.lacks == []
    assert near() == [5, 6, 4] or near() == [5, 4, 6]
    with psycopg.connect(url) as session:
        hypertables = session.execute("SELECT hypertable_name FROM timescaledb_information.hypertables").fetchall()
        assert hypertables == [("later",)]
        indexes = session.execute("SELECT count(*) FROM pg_indexes WHERE indexname = 'later_direction_hnsw'").fetchone()
        assert indexes == (1,)
    with closing(Migration(url, {"later": LATER})) as migration:
        due = migration.due()
        assert [step.sql.split('"')[0] for step in due.leftover] == ["DROP TABLE IF EXISTS "]
        migration.run([*due.leftover, forgotten("antiphon")])
    assert len(sink.rows(LATER, after=None, limit=100)) == 60
    source.close()
    sink.close()


@pytest.mark.needs("vector")
def test_vectors_come_into_the_place_of_arrays_column_by_column(
    postgres: PostgresPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.url(postgres.make_database())
    of = msgspec.structs.replace(LATER, retention=None, places=Places(relational=Relational(hash=("id",), partitions=2),
                                                                      vectors=(Vectors("direction"),)))  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr("antiphon.engines.postgres.connection.Server.extend", lambda server: None)
        with closing(PostgresTables(url)) as plain:
            plain.prepare([of])
            assert plain.fence(0, 1)
            plain.apply(1, laters(1))
    with closing(PostgresTables(url)) as sink, closing(Migration(url, {"later": of})) as migration:
        sink.prepare([of])
        migration.run(migration.due().steps)
        (said,) = migration.due().waiting
        assert "being filled" in said
        sink.prepare([of])
        assert sink.fence(2, 3)
        sink.apply(3, laters(3))
        migration.run(migration.due().steps)
        assert (migration.due().steps, migration.due().waiting) == ([], [])
        assert len(sink.rows(of, after=None, limit=100)) == 60
        with psycopg.connect(url) as session:
            kinds = session.execute(
                "SELECT format_type(atttypid, atttypmod), attnotnull FROM pg_attribute WHERE attrelid = "
                "'antiphon.later'::regclass AND attname IN ('direction', 'other') ORDER BY attname"
            ).fetchall()
            assert kinds == [("vector(3)", True), ("vector(2)", False)]
        assert len(migration.due().leftover) == 2
        migration.run(migration.due().leftover)
        assert migration.due().leftover == []
