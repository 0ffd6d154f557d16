"""Room `engines` (imports all below it): who follows a file, how far each has come, and what its engine refused.

Kept in the file that is followed, in tables made when first written. Letters hold keys and the rule that was broken,
never rows; what is done to a row later, forgetting included, supersedes its letters.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping

import msgspec

from antiphon.engines.sqlite.file import SqliteFile, rows
from antiphon.engines.sqlite.made import is_made
from antiphon.model.errors import InvalidInput
from antiphon.model.table import Table, table_from
from antiphon.views.batch import RowKey

_TABLES = """
CREATE TABLE IF NOT EXISTS followers(name TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS letters(follower TEXT, tbl TEXT, key BLOB, reason TEXT, PRIMARY KEY(follower, tbl, key))
  WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reached(follower TEXT, log INTEGER, seq INTEGER, PRIMARY KEY(follower, log)) WITHOUT ROWID;
"""
_DECLARED = "followed/"


class Bootstrap(msgspec.Struct):
    """How far the first reading of tables has come: at which table, behind which row number.

    `since` is the epoch in which it began: what the engine has from before is swept at the end.
    """

    since: int
    table: int = 0
    after: int = 0


class FollowerRecord(msgspec.Struct):
    """How far one follower has come.

    `cursor` is the feed's version up to which everything was delivered; `epoch` the one it raised in its engine, `mark`
    one that the engine had acknowledged by then. They mean what they say only in the incarnation of the file that is
    named here: a copy or a restored backup has another. `left` are tables that it follows no more and has still to
    empty.
    """

    name: str
    engine: str
    tables: list[str]
    topics: list[str] = []
    epoch: int = 0
    mark: int = 0
    cursor: int = 0
    incarnation: bytes = b""
    bootstrap: Bootstrap | None = None
    state: str = "new"
    error: str = ""
    error_ms: int = 0
    failures: int = 0
    delivered: int = 0
    saved_ms: int = 0
    left: list[str] = []


class SqliteFollowers:
    """The followers of one file. Writing is inside a transaction."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    def _has_tables(self) -> bool:
        return is_made(self._file.reader, "letters")

    def load(self, name: str) -> FollowerRecord | None:
        """One follower's record."""
        if not self._has_tables():
            return None
        raw = self._file.reader.execute("SELECT record FROM followers WHERE name=?", (name,)).get
        return None if raw is None else msgspec.msgpack.decode(raw, type=FollowerRecord)

    def all(self) -> list[FollowerRecord]:
        """All followers, by name."""
        if not self._has_tables():
            return []
        found = rows(self._file.reader, "SELECT record FROM followers ORDER BY name")
        return [msgspec.msgpack.decode(raw, type=FollowerRecord) for (raw,) in found]

    def save(self, record: FollowerRecord) -> None:
        """Keeps a record, in place of the older one."""
        self._file.writer.execute(_TABLES)
        self._file.writer.execute(
            "INSERT INTO followers VALUES(?,?) ON CONFLICT(name) DO UPDATE SET record=excluded.record",
            (record.name, msgspec.msgpack.encode(record)),
        )

    def remove(self, name: str) -> None:
        """Forgets a follower with its letters."""
        if self._has_tables():
            for table, column in (("followers", "name"), ("letters", "follower"), ("reached", "follower")):
                self._file.writer.execute(f"DELETE FROM {table} WHERE {column}=?", (name,))
            self._file.drop(_DECLARED + name)

    def declared(self, name: str) -> dict[str, Table]:
        """The tables that a follower has filled, as they were declared then: those it follows no more, too.

        Without those that today's rules of declarations refuse.
        """
        raw = self._file.get(_DECLARED + name)
        found: dict[str, Table] = {}
        for one in [] if raw is None else msgspec.msgpack.decode(raw):
            with contextlib.suppress(InvalidInput, msgspec.ValidationError):
                table = table_from(one)
                found[table.name] = table
        return found

    def declare(self, name: str, tables: Iterable[Table]) -> None:
        """Keeps these in place of what was kept. Nothing is written where it is the same."""
        raw = msgspec.msgpack.encode(list(tables))
        if self._file.get(_DECLARED + name) != raw:
            self._file.put(_DECLARED + name, raw)

    def refuse(self, name: str, refused: Mapping[RowKey, str]) -> None:
        """Keeps letters: (table, key) and the rule that was broken."""
        self._file.writer.executemany(
            "INSERT OR REPLACE INTO letters VALUES(?,?,?,?)",
            [(name, table, key, reason) for (table, key), reason in refused.items()],
        )

    def letters(self, name: str, *, limit: int) -> list[tuple[str, bytes, str]]:
        """(table, key, reason) of what a follower's engine refused."""
        if not self._has_tables():
            return []
        sql = "SELECT tbl, key, reason FROM letters WHERE follower=? ORDER BY tbl, key LIMIT ?"
        return rows(self._file.reader, sql, (name, limit))

    def letter_count(self, name: str) -> int:
        """How many letters a follower has."""
        if not self._has_tables():
            return 0
        count: int = self._file.reader.execute("SELECT count(*) FROM letters WHERE follower=?", (name,)).get
        return count

    def settle(self, keys: Iterable[RowKey], *, name: str | None = None) -> None:
        """Drops the letters about these rows: of one follower, or of all."""
        if self._has_tables():
            where, of = ("", ()) if name is None else (" AND follower=?", (name,))
            self._file.writer.executemany(
                f"DELETE FROM letters WHERE tbl=? AND key=?{where}", [(*key, *of) for key in keys]
            )

    def reached(self, name: str) -> dict[int, int]:
        """By log number: the seq up to which events were delivered."""
        if not self._has_tables():
            return {}
        return dict(rows(self._file.reader, "SELECT log, seq FROM reached WHERE follower=?", (name,)))

    def reach(self, name: str, reached: Mapping[int, int]) -> None:
        """Keeps how far some logs were delivered."""
        self._file.writer.executemany(
            "INSERT OR REPLACE INTO reached VALUES(?,?,?)", [(name, log, seq) for log, seq in reached.items()]
        )

    def trim_outbox(self, *, keep: int) -> None:
        """Drops feed entries that every follower is past, but for the newest `keep`. The one that a cursor stands at
        stays: it shows that nothing behind it is missing.
        """
        cursors = [record.cursor for record in self.all() if record.tables]
        if cursors:
            self._file.writer.execute(
                "DELETE FROM outbox WHERE version < ? AND version <= "
                "(SELECT version FROM outbox ORDER BY version DESC LIMIT 1 OFFSET ?)",
                (min(cursors), keep),
            )
