"""Room `engines` (imports all below it): rows that wait for full text, matched in memory where nothing can be written.

An index in the connection's temporary database, which lives in memory: the same columns, words and weights as the one
in the file, a batch of rows at a time. It is made again when the file has changed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Final

from antiphon.engines.sqlite import fulltext
from antiphon.engines.sqlite.file import SqliteFile, rows
from antiphon.model.table import Table

ROWS_AT_ONCE_MAX: Final = 65_536
"""Rows indexed in memory at one time: about as much memory as their text takes. So many are kept from one question to
the next; a longer backlog is gone through in batches at every question."""
_PHRASE: Final = re.compile(r'"([^"]+)"')
_MADE: Final = "CREATE TEMP TABLE IF NOT EXISTS waiting_made(name TEXT PRIMARY KEY, version INT, first INT, last INT)"


def match(
    file: SqliteFile, table: Table, query: str, *, terms: Sequence[str], values: Sequence[Any], limit: int
) -> list[tuple[int, float]]:
    """As `fulltext.match`, of the rows that are not in the file's index yet. *Cost*: about 20 µs a row when it is made.

    Relevance counts how rare a word is in both indexes, so that the two can be ranked together.
    """
    if not fulltext.is_there(file, table):
        return []
    found: dict[int, float] = {}
    first = fulltext.indexed(file, table.name)
    while True:
        last = file.reader.execute(
            f'SELECT max(n) FROM (SELECT n FROM "{table.name}" WHERE n > ? ORDER BY n LIMIT ?)',
            (first, ROWS_AT_ONCE_MAX),
        ).get
        if last is None:
            break
        _make(file, table, first, last)
        found |= _ranked(file, table, (first, last), query, terms, values)
        best = sorted(found.items(), key=lambda item: -item[1])[:limit]
        found, first = dict(best), last
    return list(found.items())


def _make(file: SqliteFile, table: Table, first: int, last: int) -> None:
    """Indexes the rows behind `first` up to `last`, unless that is what was indexed before."""
    wanted = (file.version(), first, last)
    reader, name = file.reader, f'temp."{table.name}_waiting"'
    reader.execute(_MADE)
    made = reader.execute("SELECT version, first, last FROM waiting_made WHERE name=?", (table.name,)).fetchone()
    if made == wanted:
        return
    reader.execute("DELETE FROM waiting_made WHERE name=?", (table.name,))
    reader.execute(f"DROP TABLE IF EXISTS {name}")
    reader.execute(f"CREATE VIRTUAL TABLE {name} USING fts5({fulltext.COLUMNS}, content='', {fulltext.TOKENIZE})")
    reader.execute(
        f'INSERT INTO {name}(rowid, {fulltext.COLUMNS}) SELECT n, {fulltext.COLUMNS} FROM main."{table.name}_text" '
        "WHERE n > ? AND n <= ?",
        (first, last),
    )
    reader.execute("INSERT INTO waiting_made VALUES(?,?,?,?)", (table.name, *wanted))


def _ranked(
    file: SqliteFile, table: Table, span: tuple[int, int], query: str, terms: Sequence[str], values: Sequence[Any]
) -> dict[int, float]:
    """The relevance of each row that matches: the sum over the words, each weighed by how rare it is everywhere."""
    fts, reader = f"{table.name}_waiting", file.reader
    here = reader.execute(f'SELECT count(*) FROM "{table.name}" WHERE n > ? AND n <= ?', span).get
    found: dict[int, float] = {}
    for phrase in _PHRASE.findall(query):
        one = f'"{phrase}"'
        mine, theirs = (
            reader.execute(f'SELECT count(*) FROM "{name}" WHERE "{name}" MATCH ?', (one,)).get
            for name in (fts, f"{table.name}_fts")
        )
        weight = _rarity(here + span[0], mine + theirs) / _rarity(here, mine)
        for n, relevance in rows(reader, fulltext.matching(table, fts, terms), (one, *values)):
            found[n] = found.get(n, 0.0) + weight * relevance
    return found


def _rarity(count: int, holding: int) -> float:
    """What bm25 makes of a word that so many of so many rows hold."""
    return max(1e-6, math.log((max(count, holding) - holding + 0.5) / (holding + 0.5)))
