"""Room `engines` (imports all below it): which tables of a file are there; many are made when first written."""

from __future__ import annotations

import apsw

from antiphon.engines.sqlite.file import SqliteFile


def is_made(connection: apsw.Connection, name: str) -> bool:
    """Whether a table or an index of this name is there, as this connection sees the file."""
    return connection.execute("SELECT 1 FROM sqlite_schema WHERE name=?", (name,)).get is not None


class MadeWhenWritten:
    """One such table. Once it is there that is remembered, until the caches are dropped."""

    def __init__(self, file: SqliteFile, name: str) -> None:
        self._file, self._name = file, name
        self._there = False

    def forget(self) -> None:
        """What another writer, or a rollback, may have changed is looked up again."""
        self._there = False

    @property
    def is_there(self) -> bool:
        """Whether somebody has written it."""
        self._there = self._there or is_made(self._file.reader, self._name)
        return self._there
