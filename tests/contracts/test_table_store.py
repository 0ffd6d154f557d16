"""What every `TableStore` and `MentionStore` promises, and `TextIndex` beside them. One factory an engine."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from antiphon.engines.sqlite import fulltext
from antiphon.engines.sqlite.file import SqliteFile
from antiphon.engines.sqlite.gone import SqliteGone
from antiphon.engines.sqlite.mentions import SqliteMentions
from antiphon.engines.sqlite.search import SqliteText
from antiphon.engines.sqlite.tables import SqliteTables
from antiphon.knowledge.recall import TextIndex, fts_query
from antiphon.model.errors import InvalidInput, Rejected
from antiphon.model.table import Column, FullText, Index, Table, Type
from antiphon.views.store import MentionStore, StoredRow, TableStore

TABLE = Table(
    "things",
    key="id",
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("at", Type.TIMESTAMP),
        Column("words", Type.TEXT),
        Column("size", Type.INTEGER),
        Column("weight", Type.REAL),
        Column("done", Type.BOOLEAN, default=False),
        Column("extra", Type.JSON),
        Column("raw", Type.BYTES),
        Column("order", Type.TEXT),
    ),
    indexes=(Index(("at",), descending=True), Index(("size", "at")), Index(("order",), where=("done", True))),
    fulltext=FullText("words", time="at", tags="extra"),
    subject="words",
)


class Engine(NamedTuple):
    tables: TableStore
    mentions: MentionStore
    text: TextIndex
    transaction: Callable[[], AbstractContextManager[None]]
    index: Callable[[], object]


@pytest.fixture(params=["sqlite/aegis", "sqlite/sqlcipher"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    file = SqliteFile(tmp_path / "x", bytes(32), cipher=request.param.partition("/")[2], create=True)
    tables = SqliteTables(file)

    def index() -> None:
        with file.transaction():
            while fulltext.catch_up(file, TABLE, rows_max=2):
                pass

    mentions = SqliteMentions(file)

    @contextmanager
    def transaction() -> Iterator[None]:
        try:
            with file.transaction():
                yield
        except BaseException:
            tables.forget_caches()
            mentions.forget_caches()
            raise

    yield Engine(tables, mentions, SqliteText(file, tables), transaction, index)
    file.close()


def key(at: int) -> bytes:
    return bytes([at]) * 16


def row(n: int, seq: int, text: str | None = "words", **values: Any) -> tuple[Any, ...]:
    given = {"id": key(seq), "at": seq * 1_000, "words": text, "done": False, **values}
    return (n, 1, seq, *(given.get(name) for name in TABLE.names))


def filled(engine: Engine, *rows: tuple[Any, ...]) -> None:
    with engine.transaction():
        engine.tables.insert(TABLE, rows)


def found(engine: Engine, query: str, **filters: Any) -> list[int]:
    engine.index()
    given = {"terms": [], "values": [], "limit": 10, **filters}
    return [n for n, _ in engine.text.match(TABLE, fts_query(query), **given)]


# -- tables --------------------------------------------------------------------------------------------------------


def test_a_table_never_written_is_empty(engine: Engine) -> None:
    assert engine.tables.count(TABLE) == 0
    assert engine.tables.row(TABLE, key(1)) is None
    assert engine.tables.select(TABLE, {}, order="at", descending=False, limit=5) == []
    with engine.transaction():
        engine.tables.drop(TABLE)
        assert engine.tables.replace(TABLE, key(1), None) is False


def test_every_type_comes_back_as_it_went_in(engine: Engine) -> None:
    values = {
        "at": -(1 << 53), "words": "a\0b 🎻 עברית", "size": (1 << 63) - 1, "weight": 0.1, "done": True,
        "extra": {"ключ": [1, 2.5, None, {"deep": "ü"}]}, "raw": b"\0\xff", "order": 'quoted " and \'',
    }  # fmt: skip
    filled(engine, row(1, 1, **values), row(2, 2, None, at=None, done=None))
    assert engine.tables.row(TABLE, key(1)) == StoredRow(1, 1, 1, {"id": key(1), **values})
    empty = engine.tables.row(TABLE, key(2))
    assert empty is not None
    assert set(empty.values.values()) == {key(2), None}


def test_select_filters_orders_and_limits(engine: Engine) -> None:
    filled(engine, *(row(n, n, size=n % 2, order=None if n == 3 else "x") for n in range(1, 7)))

    def chosen(equal: dict[str, Any], **how: Any) -> list[int]:
        given = {"order": "at", "descending": False, "limit": 10, **how}
        return [one.n for one in engine.tables.select(TABLE, equal, **given)]

    assert chosen({}) == [1, 2, 3, 4, 5, 6]
    assert chosen({}, descending=True, limit=2) == [6, 5]
    assert chosen({"size": 1}) == [1, 3, 5]
    assert chosen({"size": 1, "order": None}) == [3]
    assert chosen({}, limit=0) == []
    for wrong in ({"order": "nothing"}, {"limit": -1}, {"order": '"; DROP TABLE things'}):
        with pytest.raises(InvalidInput):
            chosen({}, **wrong)
    with pytest.raises(InvalidInput):
        chosen({"nothing": 1})


def test_replace_keeps_the_number_and_says_whether_anything_changed(engine: Engine) -> None:
    filled(engine, row(7, 1))
    with engine.transaction():
        assert engine.tables.replace(TABLE, key(1), row(99, 1, "new")) is True
        assert engine.tables.replace(TABLE, key(1), row(99, 1, "new")) is False
        assert engine.tables.replace(TABLE, key(2), row(8, 2)) is True
    changed, fresh = engine.tables.row(TABLE, key(1)), engine.tables.row(TABLE, key(2))
    assert changed is not None
    assert fresh is not None
    assert (changed.n, changed.values["words"], fresh.n) == (7, "new", 8)
    with engine.transaction():
        assert engine.tables.replace(TABLE, key(1), None) is True
        assert engine.tables.replace(TABLE, key(1), None) is False
    assert engine.tables.count(TABLE) == 1


def test_what_was_there_is_known(engine: Engine) -> None:
    assert not engine.tables.knows(TABLE, key(1))
    filled(engine, *(row(n, n) for n in range(1, 6)))
    assert engine.tables.knows(TABLE, key(1)), "it is there"
    with engine.transaction():
        assert engine.tables.replace(TABLE, key(1), None)
        assert not engine.tables.replace(TABLE, key(9), None)
    assert engine.tables.knows(TABLE, key(1)), "it was there"
    assert not engine.tables.knows(TABLE, key(9)), "it never was"
    assert not engine.tables.knows(msgspec.structs.replace(TABLE, name="others"), key(1))
    with suppress(InvalidInput), engine.transaction():
        assert engine.tables.replace(TABLE, key(2), None)
        raise InvalidInput("no")
    with engine.transaction():
        engine.tables.drop(TABLE)
    assert engine.tables.knows(TABLE, key(1))
    assert not engine.tables.knows(TABLE, key(2))


def test_so_many_that_are_gone_are_known(tmp_path: Path) -> None:
    file = SqliteFile(tmp_path / "x", bytes(32), create=True)
    gone = SqliteGone(file, most=3)
    with file.transaction():
        for at in (1, 2, 3, 4, 2, 5):
            gone.add("things", key(at))
    assert [at for at in range(1, 6) if gone.has("things", key(at))] == [2, 4, 5], "the last ones to go"
    file.close()


def test_a_dropped_table_is_empty_and_can_be_filled_again(engine: Engine) -> None:
    filled(engine, row(1, 1))
    engine.index()
    with engine.transaction():
        engine.tables.drop(TABLE)
    assert engine.tables.count(TABLE) == 0
    filled(engine, row(1, 2, "afresh"))
    assert found(engine, "words") == []
    assert found(engine, "afresh") == [1]


@pytest.mark.parametrize(
    "wrong", [row(1, 1, id=None), row(1, 1, extra=object()), row(1, 1, size=1 << 63), row(1, 1, words="\ud800")]
)
def test_a_row_that_does_not_fit_is_refused_for_good(engine: Engine, wrong: tuple[Any, ...]) -> None:
    with pytest.raises(Rejected, match="things"), engine.transaction():
        engine.tables.insert(TABLE, [wrong])
    with pytest.raises(Rejected, match="things"), engine.transaction():
        engine.tables.replace(TABLE, key(1), wrong)
    assert engine.tables.count(TABLE) == 0


def test_a_key_is_unique(engine: Engine) -> None:
    with pytest.raises(Rejected), engine.transaction():
        engine.tables.insert(TABLE, [row(1, 1), row(2, 1)])
    assert engine.tables.count(TABLE) == 0


def test_a_transaction_that_fails_leaves_no_rows(engine: Engine) -> None:
    filled(engine, row(1, 1))
    with pytest.raises(RuntimeError), engine.transaction():  # noqa: PT012  # each of them must be undone
        engine.tables.insert(TABLE, [row(2, 2)])
        engine.tables.replace(TABLE, key(1), None)
        engine.mentions.add([(b"m", 1, 1)])
        raise RuntimeError
    assert engine.tables.row(TABLE, key(2)) is None
    assert engine.tables.row(TABLE, key(1)) is not None
    assert engine.mentions.find(b"m") == []


# -- mentions ------------------------------------------------------------------------------------------------------


def test_mentions_are_a_set_in_order(engine: Engine) -> None:
    assert engine.mentions.find(b"a") == []
    with engine.transaction():
        engine.mentions.remove([(b"a", 1, 1)])
        engine.mentions.add([(b"a", 2, 1), (b"a", 1, 9), (b"a", 1, 10), (b"a", 1, 9), (b"ab", 1, 1), (b"", 3, 3)])
        engine.mentions.add([(b"a", 2, 1)])
        assert engine.mentions.find(b"a") == [(1, 9), (1, 10), (2, 1)]
    with engine.transaction():
        engine.mentions.remove([(b"a", 1, 10), (b"a", 7, 7)])
    assert engine.mentions.find(b"a") == [(1, 9), (2, 1)]
    assert engine.mentions.find(b"ab") == [(1, 1)]


# -- full text -----------------------------------------------------------------------------------------------------


def test_a_match_is_by_stem_and_best_first(engine: Engine) -> None:
    assert found(engine, "anything") == []
    long = "a boat " + "and much else that was said that day " * 5
    filled(engine, row(1, 1, long), row(2, 2, "boats"), row(3, 3, "a train"), row(4, 4, None))
    assert found(engine, "boats") == [2, 1]
    assert found(engine, "boating trains") == [3, 2, 1]
    assert found(engine, "boat", limit=1) == [2]
    assert found(engine, "boat", terms=["t.n < ?"], values=[2]) == [1]


def test_a_phrase_stays_together_and_tags_and_date_count(engine: Engine) -> None:
    filled(engine, row(1, 1, "red green", extra=["urgent"]), row(2, 2, "green red", at=1_700_000_000_000))
    assert found(engine, '"red green"') == [1]
    assert found(engine, "urgent") == [1]
    assert found(engine, "November") == [2]
    assert found(engine, "2023-11-14") == [2]


def test_the_index_follows_changes(engine: Engine) -> None:
    filled(engine, row(1, 1, "first a\0b"), row(2, 2, "second"))
    engine.index()
    with engine.transaction():
        engine.tables.replace(TABLE, key(1), row(1, 1, "changed"))
        engine.tables.replace(TABLE, key(2), None)
    assert found(engine, "first") == found(engine, "second") == []
    assert found(engine, "changed") == [1]
    rows = engine.text.rows(TABLE, [1, 2, 3])
    assert list(rows) == [1]
    assert engine.text.row(TABLE, key(2)) is None
    assert rows[1] == engine.text.row(TABLE, key(1))
