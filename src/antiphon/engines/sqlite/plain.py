"""Room `engines` (imports all below it): a plain SQLite file of rows, for any tool to read. Not encrypted."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import apsw
import msgspec

from antiphon.engines.sqlite.file import translated
from antiphon.model import errors


class PlainFile:
    """A new file that only its owner can read, with the tables of `schema`. What fails leaves none behind."""

    def __init__(self, path: Path, *, schema: str = "") -> None:
        self._path = path
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except FileExistsError:
            raise errors.Conflict(f"{path} exists already: choose another name") from None
        except OSError as error:
            raise errors.Unavailable(f"cannot create {path}: {error.strerror}") from None
        with translated(path):
            self._connection = apsw.Connection(str(path))
            for statement in ("PRAGMA journal_mode=OFF", "PRAGMA synchronous=OFF", "BEGIN", schema):
                self._connection.execute(statement).fetchall()

    def add(self, table: str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]], *, new: bool = True) -> int:
        """Writes plain values, lists and maps as JSON, into a `new` table or one of the schema; how many rows."""
        names = ", ".join(f'"{name}"' for name in columns)
        count = 0
        with translated(self._path):
            if new:
                self._connection.execute(f'CREATE TABLE "{table}"({names})')
            insert = f'INSERT INTO "{table}"({names}) VALUES({",".join("?" * len(columns))})'
            for row in rows:
                self._connection.execute(insert, tuple(_plain(row[name]) for name in columns))
                count += 1
        return count

    def close(self) -> None:
        """Ends the file, all of it on disk."""
        with translated(self._path):
            self._connection.execute("COMMIT")
            self._connection.close()
        with self._path.open("rb+") as file:
            os.fsync(file.fileno())

    def abandon(self) -> None:
        """Removes what there is."""
        self._connection.close()
        self._path.unlink(missing_ok=True)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float | bytes):
        return value
    return msgspec.to_builtins(value) if not isinstance(value, list | dict) else msgspec.json.encode(value).decode()
