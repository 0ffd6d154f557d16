"""Room `engines` (imports all below it): `MentionStore` in SQLite."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from antiphon.engines.sqlite.file import SqliteFile, rows
from antiphon.engines.sqlite.made import MadeWhenWritten


class SqliteMentions:
    """Mentions in one file; see `MentionStore` for the promises."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._made = MadeWhenWritten(file, "mentions")

    def forget_caches(self) -> None:
        """Drops what another writer, or a rollback, may have changed."""
        self._made.forget()

    def add(self, mentions: Iterable[tuple[bytes, int, int]]) -> None:
        self._file.writer.execute(
            "CREATE TABLE IF NOT EXISTS mentions(what BLOB, log INTEGER, seq INTEGER, PRIMARY KEY(what, log, seq)) "
            "WITHOUT ROWID"
        )
        self._file.writer.executemany("INSERT OR IGNORE INTO mentions VALUES(?,?,?)", mentions)

    def find(self, what: bytes) -> list[tuple[int, int]]:
        if not self._made.is_there:
            return []
        return rows(self._file.reader, "SELECT log, seq FROM mentions WHERE what=? ORDER BY log, seq", (what,))

    def has(self, what: bytes, log: int, seq: int) -> bool:
        """Whether this one mention is kept."""
        sql = "SELECT 1 FROM mentions WHERE what=? AND log=? AND seq=?"
        return self._made.is_there and self._file.reader.execute(sql, (what, log, seq)).get is not None

    def ends(self, what: bytes) -> tuple[int, int] | None:
        if not self._made.is_there:
            return None
        lowest, highest = (
            self._file.reader.execute(
                f"SELECT log FROM mentions WHERE what=? ORDER BY what {order}, log {order} LIMIT 1", (what,)
            ).get
            for order in ("ASC", "DESC")
        )
        return None if lowest is None else (lowest, highest)

    def mentioned_by(self, log: int, seqs: Collection[int]) -> list[bytes]:
        """What these events of a log mention. *Cost*: every mention is looked at."""
        if not self._made.is_there or not seqs:
            return []
        listed = ",".join(map(str, sorted(seqs)))
        sql = f"SELECT DISTINCT what FROM mentions WHERE log=? AND seq IN ({listed})"
        return [what for (what,) in rows(self._file.reader, sql, (log,))]

    def since(self, what: bytes, log: int, seq: int) -> int:
        if not self._made.is_there:
            return 0
        sql = "SELECT count(*) FROM mentions WHERE what=? AND log=? AND seq>=?"
        found: int = self._file.reader.execute(sql, (what, log, seq)).get
        return found

    def remove(self, mentions: Iterable[tuple[bytes, int, int]]) -> None:
        if self._made.is_there:
            self._file.writer.executemany("DELETE FROM mentions WHERE what=? AND log=? AND seq=?", mentions)
