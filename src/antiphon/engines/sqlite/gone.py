"""Room `engines` (imports all below it): which rows were in a file and are not any more, so that no copy elsewhere is
taken for news. *Cost*: about 40 bytes a row that went; nothing in files from which none did.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from antiphon.engines.sqlite.file import SqliteFile
from antiphon.engines.sqlite.made import MadeWhenWritten

GONE_MAX: Final = 100_000
"""So many are known; the oldest are forgotten first."""
_HASH_BYTES: Final = 16
_DDL: Final = "CREATE TABLE IF NOT EXISTS _rows_gone(n INTEGER PRIMARY KEY, what BLOB NOT NULL UNIQUE)"
"""No declared table can have this name."""


class SqliteGone:
    """Hashes of table and key, under the file's id: the keys themselves go with their rows."""

    def __init__(self, file: SqliteFile, *, most: int = GONE_MAX) -> None:
        self._file, self._most = file, most
        self._made = MadeWhenWritten(file, "_rows_gone")

    def forget_caches(self) -> None:
        """Drops what another writer, or a rollback, may have changed."""
        self._made.forget()

    def _what(self, table: str, key: bytes) -> bytes:
        said = table.encode() + b"\0" + key
        return blake2b(said, digest_size=_HASH_BYTES, key=self._file.get("id") or b"").digest()

    def add(self, table: str, key: bytes) -> None:
        """A row went. In a transaction."""
        writer = self._file.writer
        writer.execute(_DDL)
        writer.execute("INSERT OR REPLACE INTO _rows_gone(what) VALUES(?)", (self._what(table, key),))
        writer.execute("DELETE FROM _rows_gone WHERE n <= (SELECT max(n) FROM _rows_gone) - ?", (self._most,))

    def has(self, table: str, key: bytes) -> bool:
        """Whether a row of this key was here once and went; perhaps one has come back since."""
        if not self._made.is_there:
            return False
        sql = "SELECT 1 FROM _rows_gone WHERE what=?"
        return self._file.reader.execute(sql, (self._what(table, key),)).get is not None
