"""Typed reads in PostgreSQL use the index that is meant for them, in the role `agent`, with row access in force."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import psycopg
import pytest

from antiphon.engines.postgres.tables import PostgresTables
from antiphon.model.places import Places, Relational, Vectors
from antiphon.model.table import READ_ALL, Column, FullText, Index, Table, Type
from antiphon.model.values import canonical, key_of
from antiphon.query.access import Reader
from antiphon.query.plan import Ask, Range, plan
from antiphon.views.feed import Change, version_of
from servers.places import PostgresPlace, own_name
from tests.contracts.explained import ExplainedSource

pytestmark = pytest.mark.server
ME, YOU = bytes([1]) * 32, bytes([2]) * 32
SCHEMA = own_name("plans")
ROWS = 5_000
WORDS = ("owl", "wren", "lark", "swift")


def table(name: str, **how: Any) -> Table:
    return Table(
        name,
        key="id",
        columns=(
            Column("id", Type.ID, nullable=False),
            Column("at", Type.TIMESTAMP, nullable=False),
            Column("label", Type.TEXT),
            Column("price", Type.DECIMAL),
            Column("status", Type.TEXT),
            Column("kind", Type.TEXT),
            Column("size", Type.INTEGER),
            Column("words", Type.TEXT),
            Column("tags", Type.LIST, of=Type.TEXT),
            Column("direction", Type.VECTOR, size=8),
        ),
        indexes=(
            Index(("label", "at")),
            Index(("price",)),
            Index(("size",), descending=True),
            Index(("at",), where=("status", "open")),
            Index(("kind", "size"), include=("at",)),
            Index(("tags",)),
        ),
        fulltext=FullText("words", time="at"),
        places=Places(relational=Relational(), vectors=(Vectors("direction"),)),
        **how,
    )


OWN, OPEN = table("own_things"), table("open_things", access=READ_ALL, shared=True)
TICKS = Table(
    "ticks",
    key="id",
    columns=(Column("id", Type.ID, nullable=False), Column("made", Type.TIMESTAMP, nullable=False)),
    indexes=(Index(("made",), time_block=True),),
    minted=False,
    places=Places(relational=Relational()),
)
TABLES = {"own_things": OWN, "open_things": OPEN, "ticks": TICKS}


@pytest.fixture(scope="module")
def url(postgres: PostgresPlace) -> Iterator[str]:
    """The tables, filled in the order of `made`, a tenth of the rows by ME, and analysed."""
    chance = Random(5)
    sink = PostgresTables(postgres.url(), schema=SCHEMA)
    sink.prepare([OWN, OPEN, TICKS])
    assert sink.fence(0, 1)
    for of in (OWN, OPEN):
        changes = []
        for n in range(ROWS):
            values = {
                "id": chance.randbytes(16), "at": chance.randrange(10**12),
                "label": f"label {n % 300}", "price": f"{n % 4_000}.5", "status": "open" if n % 50 == 0 else "done",
                "kind": f"k{n // 10 % 5}", "size": chance.randrange(10**6),
                "words": f"{chance.choice(WORDS)} number{n % 2_000}", "tags": [f"tag{n % 1_000}", "all"],
                "direction": [chance.uniform(-1, 1) for _ in range(8)],
            }  # fmt: skip
            row = {column.name: canonical(column, values[column.name]) for column in of.columns}
            author = ME if n % 10 == 0 else YOU
            changes.append(Change(of.name, key_of(of, row), version_of(1, 1), row, author))
        sink.apply(1, changes)
    sink.pulse(1)
    with psycopg.connect(postgres.url(), autocommit=True) as session:
        session.execute(
            f"INSERT INTO {SCHEMA}.ticks SELECT gen_random_uuid(), timestamptz 'epoch' + n * INTERVAL '1 minute', 1, "
            "CASE WHEN mod(n, 10) = 0 THEN %s ELSE %s END FROM generate_series(1, 200000) n".encode(),
            (ME, YOU),
        )
        session.execute(f"VACUUM ANALYZE {SCHEMA}.own_things, {SCHEMA}.open_things, {SCHEMA}.ticks".encode())
    yield postgres.url()
    sink.close()


@pytest.fixture(scope="module")
def source(url: str) -> Iterator[ExplainedSource]:
    made = ExplainedSource(url, TABLES, schema=SCHEMA)
    yield made
    made.close()


MINE = Reader(ME, ())
PAGES = {
    "btree": (Ask({"label": "label 20"}, order=("at",)), "label_at_idx"),
    "btree, an exact number": (Ask({"price": "20.5"}), "price_idx"),
    "btree, a range of times": (Ask({"label": "label 20"}, within=Range("at", least=10**11, most=2 * 10**11)),
                                "label_at_idx"),
    "btree, a range of numbers": (Ask(within=Range("price", least="19", most="31")), "price_idx"),
    "descending": (Ask(order=("size",), descending=True), "size_idx"),
    "descending, a range": (Ask(within=Range("size", least=10, most=900)), "size_idx"),
    "partial": (Ask({"status": "open"}, order=("at",)), "at_where_status_idx"),
    "covering": (Ask({"kind": "k3"}, within=Range("size", least=5_000, most=50_000)), "kind_size_idx"),
}  # fmt: skip


NOT_LEAKPROOF = ("btree, an exact number", "btree, a range of numbers")
"""`numeric` is compared by functions that are not known to keep values to themselves: a policy is asked first."""


@pytest.mark.parametrize("of", [OWN, OPEN], ids=["own", "open"])
@pytest.mark.parametrize("kind", PAGES)
def test_a_page_goes_along_its_index(source: ExplainedSource, of: Table, kind: str) -> None:
    ask, index = PAGES[kind]
    source.plans.clear()
    part = source.page(plan(of, ask), MINE, after=None, limit=10, scanned_max=1_000)
    assert part.rows
    if of is OWN and kind in NOT_LEAKPROOF:
        assert all("Index Cond: (price" not in shown for shown in source.plans), "no exception is needed any more"
        return
    for shown in source.plans:
        assert index in shown, shown
        assert "Seq Scan" not in shown, shown


def test_a_stretch_of_time_goes_along_its_blocks(source: ExplainedSource) -> None:
    source.plans.clear()
    asked = plan(TICKS, Ask(within=Range("made", least=60_000 * 50_000, most=60_000 * 50_100)))
    assert len(source.page(asked, MINE, after=None, limit=50, scanned_max=1_000).rows) == 11
    for shown in source.plans:
        assert "ticks_made_brin" in shown, shown


def test_lists_are_found_by_their_items_where_a_policy_lets_the_index_be_used(url: str) -> None:
    """No typed read asks for items; architects do, and agents where everybody may read the table."""
    for role, of, used in (("architect", OWN, True), ("agent", OPEN, True), ("agent", OWN, False)):
        with psycopg.connect(url) as session:
            session.execute(f"SET LOCAL ROLE {SCHEMA}_{role}".encode())
            asked = f"EXPLAIN (COSTS OFF) SELECT * FROM {SCHEMA}.{of.name} WHERE tags @> ARRAY['tag7']"
            shown = "\n".join(line for (line,) in session.execute(asked.encode()).fetchall())
        assert (f"{of.name}_tags_gin" in shown) is used, shown


@pytest.mark.parametrize("of", [OWN, OPEN], ids=["own", "open"])
def test_a_row_is_found_by_its_key(source: ExplainedSource, of: Table) -> None:
    key = source.page(plan(of, Ask(order=("size",))), MINE, after=None, limit=1, scanned_max=9).rows[0].values["id"]
    for ask in (source.row, source.find):
        source.plans.clear()
        assert ask(of, key, MINE) is not None
        (shown,) = source.plans
        assert f"{of.name}_pkey" in shown, shown


@pytest.mark.needs("vector")
@pytest.mark.parametrize("of", [OWN, OPEN], ids=["own", "open"])
def test_neighbours_are_found_by_hnsw(source: ExplainedSource, of: Table) -> None:
    source.plans.clear()
    found = source.nearest(plan(of, Ask()), MINE, "direction", [0.1] * 8, metric="cosine", k=10)
    assert len(found) == 10
    (shown,) = source.plans
    assert f"{of.name}_direction_hnsw" in shown, shown


@pytest.mark.parametrize("of", [OWN, OPEN], ids=["own", "open"])
def test_words_are_found_by_the_full_text_index(source: ExplainedSource, url: str, of: Table) -> None:
    source.plans.clear()
    found = source.match(of, "number70", [], MINE, 10)
    assert len(found) == 3
    assert len(source.match(of, "number71", [], MINE, 10)) == (0 if of is OWN else 3)
    source.plans.pop()
    (shown,) = source.plans
    if f"{of.name}_words_words" in shown:
        return
    with psycopg.connect(url) as session:  # in a function: its own plan
        session.execute("LOAD 'auto_explain'")
        session.execute("SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on")
        session.execute("SET auto_explain.log_level = notice")
        heard: list[str] = []
        session.add_notice_handler(lambda said: heard.append(said.message_primary or ""))
        session.execute(f"SELECT set_config('antiphon.agent', '{ME.hex()}', true)".encode())
        session.execute(f"SELECT * FROM {SCHEMA}._match_{of.name}('number70')".encode())
    assert any(f"{of.name}_words_words" in one for one in heard), "\n".join(heard)
