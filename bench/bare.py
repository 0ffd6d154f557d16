"""The baseline: bare `apsw` with the same cipher and pragmas, writing bytes and rows that are given to it."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw

from antiphon.engines.sqlite.tables import ddl
from antiphon.model import limits
from antiphon.model.table import Table


class Bare:
    """One encrypted file with a table of event bytes and, where one is given, a view's table with its indexes."""

    def __init__(self, path: Path, table: Table | None) -> None:
        self.connection = apsw.Connection(str(path))
        run = self.connection.execute
        run("PRAGMA cipher='aegis'")
        run("PRAGMA aegis_algorithm='aegis-256'")
        run(f"PRAGMA key='raw:{os.urandom(32).hex()}'")
        run("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA secure_delete=ON; PRAGMA temp_store=MEMORY")
        run(f"PRAGMA cache_size=-16000; PRAGMA foreign_keys=OFF; PRAGMA wal_autocheckpoint={limits.WAL_PAGES_MAX}")
        run("CREATE TABLE events(seq INTEGER PRIMARY KEY, event BLOB NOT NULL)")
        self._insert = None
        if table is not None:
            made = [line for line in ddl(table) if line.startswith(("CREATE TABLE", "CREATE INDEX", "CREATE UNIQUE"))]
            for line in made:
                if '"authors"' not in line and "authors(" not in line:
                    run(line)
            self._insert = f'INSERT INTO "{table.name}" VALUES({",".join("?" * (3 + len(table.columns)))})'
        self._lock = threading.Lock()
        self._next = 0

    def commit(self, events: Sequence[bytes], rows: Sequence[tuple[Any, ...]]) -> None:
        """One transaction: the events, then their rows under new numbers; on disk when this returns."""
        with self._lock:
            run, many = self.connection.execute, self.connection.executemany
            start = self._next
            self._next += len(events)
            run("BEGIN IMMEDIATE")
            many("INSERT INTO events VALUES(?,?)", enumerate(events, start + 1))
            if self._insert is not None:
                many(self._insert, [(start + at, *row[1:]) for at, row in enumerate(rows, 1)])
            run("COMMIT")

    def close(self) -> None:
        self.connection.close()
