"""SQLite files of other programs: read beside their writers, whatever state they are in, and left as they are."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon import InvalidInput, LimitExceeded, Unavailable
from antiphon.engines.sqlite import foreign
from antiphon.engines.sqlite.foreign import PAGE_ROWS, ForeignFile, is_beside


def text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def read(path: Path, table: str = "t", **how: Any) -> list[Any]:
    with ForeignFile(path, text, **how) as file:
        return [row["x"] for row in file.rows(table)]


def names(folder: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in folder.iterdir()}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "theirs.db"


@pytest.fixture
def writer(place: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(place, isolation_level=None)) as file:
        file.execute("PRAGMA synchronous=OFF")
        yield file


def make(writer: sqlite3.Connection, *, wal: bool = False) -> None:
    if wal:
        writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("CREATE TABLE t(x)")
    writer.execute("INSERT INTO t VALUES(1)")


def test_a_closed_file_in_wal_mode_is_left_alone(writer: sqlite3.Connection, place: Path) -> None:
    make(writer, wal=True)
    writer.close()
    before = names(place.parent)
    assert read(place) == [1]
    assert names(place.parent) == before, "SQLite would have left two files"


def test_a_log_that_nobody_has_open_is_read_as_a_copy(
    writer: sqlite3.Connection, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(writer, wal=True)
    copy = tmp_path / "copy"
    copy.mkdir()
    for ending in ("", "-wal"):
        shutil.copy(f"{place}{ending}", copy)
    before = names(copy)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    with ForeignFile(copy / place.name, text) as file:
        assert [*(tmp_path / "temporary").iterdir()] == [], "a kill leaves no copy behind"
        assert [row["x"] for row in file.rows("t")] == [1], "what the log alone has"
    assert names(copy) == before
    monkeypatch.setattr(foreign, "COPY_BYTES_MAX", 100)
    with pytest.raises(LimitExceeded, match="COPY_BYTES_MAX"):
        read(copy / place.name)


def test_a_journal_that_a_crash_left_is_rolled_back_in_a_copy(
    writer: sqlite3.Connection, place: Path, tmp_path: Path
) -> None:
    make(writer)
    writer.executemany("INSERT INTO t VALUES(?)", [("y" * 500,)] * 400)
    writer.execute("PRAGMA cache_size=1")
    writer.execute("PRAGMA cache_spill=1")
    writer.execute("BEGIN")
    writer.execute("UPDATE t SET x = 2")  # what does not fit the cache is in the file before it is committed
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for ending in ("", "-journal"):
        shutil.copy(f"{place}{ending}", crashed)
    before = names(crashed)
    assert set(read(crashed / place.name)) == {1, "y" * 500}
    assert names(crashed) == before
    writer.execute("ROLLBACK")


@pytest.mark.parametrize("wal", [False, True])
def test_it_is_read_beside_its_writer_and_holds_it_up_for_a_page_at_most(
    writer: sqlite3.Connection, place: Path, wal: bool
) -> None:
    make(writer, wal=wal)
    writer.executemany("INSERT INTO t VALUES(?)", [(n,) for n in range(3 * PAGE_ROWS)])
    writer.execute("PRAGMA busy_timeout=0")
    with ForeignFile(place, text) as file:
        rows = file.rows("t")
        assert next(rows)["x"] == 1
        writer.execute("UPDATE t SET x = -1 WHERE rowid = ?", (3 * PAGE_ROWS,))  # would be locked behind a long read
        rest = [row["x"] for row in rows]
        assert len(rest) == 3 * PAGE_ROWS
        assert -1 in rest, "a later page is read when it is asked for"


def test_what_is_locked_is_waited_for_and_said(writer: sqlite3.Connection, place: Path) -> None:
    make(writer)
    writer.execute("BEGIN EXCLUSIVE")
    with pytest.raises(Unavailable, match="is locked by whoever writes it: try again"):
        read(place, wait_s=0.05)
    writer.execute("COMMIT")
    assert read(place) == [1]


def test_what_is_written_while_it_is_read_as_it_stands_is_said(writer: sqlite3.Connection, place: Path) -> None:
    make(writer, wal=True)
    writer.executemany("INSERT INTO t VALUES(?)", [(n,) for n in range(2 * PAGE_ROWS)])
    writer.close()
    with ForeignFile(place, text) as file:
        rows = file.rows("t")
        next(rows)
        with closing(sqlite3.connect(place)) as other, other:
            other.execute("DELETE FROM t")
        with pytest.raises(Unavailable, match="was written while it was read"):
            list(rows)


@pytest.mark.parametrize(
    ("raw", "words"),
    [(b"", "no SQLite file"), (b"SQLite format 3\0" + b"torn" * 500, "cannot be read"), (b"hello", "no SQLite file")],
)
def test_what_is_damaged_is_refused(place: Path, raw: bytes, words: str) -> None:
    place.write_bytes(raw)
    with pytest.raises(InvalidInput, match=words):
        read(place)


def test_a_file_cut_short_is_refused(writer: sqlite3.Connection, place: Path) -> None:
    make(writer)
    writer.executemany("INSERT INTO t VALUES(?)", [("y" * 100,) for n in range(5_000)])
    writer.close()
    os.truncate(place, place.stat().st_size // 2)
    with pytest.raises(InvalidInput, match="cannot be read"):
        read(place)


def test_what_is_not_there(place: Path) -> None:
    with pytest.raises(Unavailable, match="No such file"):
        read(place)


def test_odd_tables(writer: sqlite3.Connection, place: Path) -> None:
    make(writer)
    writer.execute('CREATE TABLE "a ""b"(rowid, _rowid_, oid, x)')
    writer.execute('INSERT INTO "a ""b" VALUES(1, 2, 3, 4)')
    writer.execute("CREATE TABLE w(x PRIMARY KEY) WITHOUT ROWID")
    writer.executemany("INSERT INTO w VALUES(?)", [(n,) for n in range(PAGE_ROWS + 1)])
    writer.execute("CREATE TABLE g(y, x GENERATED ALWAYS AS (y + 1))")
    writer.execute("INSERT INTO g VALUES(1)")
    writer.execute("CREATE VIEW v AS SELECT x FROM t")
    writer.execute("INSERT INTO t(rowid, x) VALUES(-5, CAST(X'436166E9' AS TEXT))")
    with ForeignFile(place, text) as file:
        assert file.tables() == ['a "b', "g", "t", "w"]
        assert file.views() == ["v"]
        assert [row["x"] for row in file.rows('a "b')] == [4]
        assert [row["x"] for row in file.rows("t")] == ["Caf\N{REPLACEMENT CHARACTER}", 1]
        assert len([*file.rows("w")]) == PAGE_ROWS + 1
        assert [*file.rows("g")] == [{"y": 1}], "what is computed is not read"


def test_nothing_that_the_file_holds_is_run(writer: sqlite3.Connection, place: Path) -> None:
    big = ", ".join(f"x{n} GENERATED ALWAYS AS (zeroblob(500000000)) VIRTUAL" for n in range(2))
    writer.execute(f"CREATE TABLE t(id INTEGER PRIMARY KEY, {big})")
    writer.execute("INSERT INTO t(id) VALUES(1)")
    writer.execute("CREATE VIEW v AS SELECT zeroblob(500000000) AS x")
    writer.execute("CREATE VIRTUAL TABLE f USING fts5(x)")
    writer.execute("INSERT INTO f VALUES('harbour')")
    writer.execute("CREATE TABLE u(x)")
    writer.execute("CREATE TRIGGER r AFTER INSERT ON u BEGIN INSERT INTO u VALUES(zeroblob(500000000)); END")
    with ForeignFile(place, text) as file:
        assert [*file.rows("t")] == [{"id": 1}]
        assert file.views() == ["f", "r", "v"]
        assert [row["c0"] for row in file.rows("f_content")] == ["harbour"], "what a virtual table shows"
        assert not {"f", "v"} & {*file.tables()}
        for said in ("SELECT x FROM v", "SELECT hex('a')", "ATTACH ':memory:' AS other", "DELETE FROM u",
                     "PRAGMA writable_schema=ON"):  # fmt: skip
            with pytest.raises(sqlite3.DatabaseError):
                file._file.execute(said)


def test_a_value_that_is_too_long_is_refused_and_long_ones_make_short_pages(
    writer: sqlite3.Connection, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(writer)
    writer.executemany("INSERT INTO t VALUES(?)", [("y" * 1_000,) for n in range(50)])
    monkeypatch.setattr(foreign, "PAGE_BYTES_MAX", 5_000)
    with ForeignFile(place, text) as file:
        pages = [*file._by_rowid('"t"', ["x"], "rowid")]
        assert max(map(len, pages)) == 6
        assert sum(map(len, pages)) == 51
    monkeypatch.setattr(foreign, "ROW_BYTES_MAX", 999)
    with pytest.raises(InvalidInput, match="too big"):
        read(place)


@given(st.lists(st.integers(-(1 << 63), (1 << 63) - 1), unique=True, max_size=50), st.integers(1, 7))
@settings(max_examples=30, deadline=None)
def test_pages_are_the_whole_table(tmp_path_factory: pytest.TempPathFactory, rowids: list[int], page: int) -> None:
    place = tmp_path_factory.mktemp("pages") / "a.db"
    with closing(sqlite3.connect(place)) as file, file:
        file.execute("CREATE TABLE t(x)")
        file.executemany("INSERT INTO t(rowid, x) VALUES(?, ?)", [(one, one) for one in rowids])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(foreign, "PAGE_ROWS", page)
        assert read(place) == sorted(rowids)


def test_what_lies_beside_is_part_of_it(tmp_path: Path) -> None:
    for name in ("a.db", "a.db-wal", "b.db-wal"):
        (tmp_path / name).touch()
    assert [is_beside(tmp_path / name) for name in ("a.db", "a.db-wal", "b.db-wal")] == [False, True, False]
