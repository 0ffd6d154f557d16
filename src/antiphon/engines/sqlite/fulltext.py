"""Room `engines` (imports all below it): full text by FTS5, over text, author, date and tags, with secure delete.

External content over a view: contentless tables leave terms behind when rows are deleted. Rows up to a number
(`indexed/<table>`) are indexed; those above it are a backlog that `catch_up` drains.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from antiphon.engines.sqlite.file import SqliteFile, rows
from antiphon.engines.sqlite.made import is_made
from antiphon.model.table import Table

_MONTHS: Final = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
COLUMNS: Final = "text, author, date, tags"
TOKENIZE: Final = "tokenize='porter unicode61'"
_WEIGHTS: Final = "1.0, 0.5, 0.5, 0.8"
HELD: Final = "antiphon_held"
"""The SQL function that reads a held column's value out of the log: (table, key, log number, seq)."""
_CONTENT: Final = re.compile(r"content='([^']+)'")
AUTHORS: Final = "CREATE TABLE IF NOT EXISTS authors(log INTEGER PRIMARY KEY, name TEXT NOT NULL)"


def ddl(table: Table) -> list[str]:
    """The view of what is indexed, and the index."""
    spec = table.fulltext
    assert spec is not None
    time = f"\"{spec.time}\" / 1000.0, 'unixepoch'"
    months = " ".join(f"WHEN '{at:02}' THEN '{name}'" for at, name in enumerate(_MONTHS, 1))
    text = f"{HELD}('{table.name}', \"{table.key[0]}\", log, seq)" if table.held == spec.text else f'"{spec.text}"'
    tags = f'"{spec.tags}"' if spec.tags else "NULL"
    return [
        AUTHORS,
        f'CREATE VIEW "{table.name}_text" AS SELECT n, {text} AS text, '
        f'(SELECT name FROM authors WHERE authors.log = "{table.name}".log) AS author, '
        f"strftime('%Y-%m-%d', {time}) || ' ' || (CASE strftime('%m', {time}) {months} END) AS date, "
        f'{tags} AS tags FROM "{table.name}"',
        f"CREATE VIRTUAL TABLE \"{table.name}_fts\" USING fts5({COLUMNS}, content='{table.name}_text', "
        f"content_rowid='n', {TOKENIZE})",
        f'INSERT INTO "{table.name}_fts"("{table.name}_fts", rank) VALUES(\'secure-delete\', 1)',
    ]


def _cursor_name(table: str) -> str:
    return f"indexed/{table}"


def indexed(file: SqliteFile, table: str) -> int:
    """The highest row number of a table that is indexed."""
    found = file.get(_cursor_name(table))
    return 0 if found is None else int.from_bytes(found, "big")


def backlog(file: SqliteFile, table: Table) -> int:
    """How many rows wait to be indexed."""
    if not is_there(file, table):
        return 0
    last = indexed(file, table.name)
    found: int = file.reader.execute(f'SELECT count(*) FROM "{table.name}" WHERE n > ?', (last,)).get
    return found


def catch_up(file: SqliteFile, table: Table, *, rows_max: int) -> int:
    """Indexes up to `rows_max` more rows; how many it did. *Cost*: about 11 µs a row. In a transaction."""
    if not is_there(file, table):
        return 0
    start = indexed(file, table.name)
    last = file.writer.execute(
        f'SELECT max(n), count(*) FROM (SELECT n FROM "{table.name}" WHERE n > ? ORDER BY n LIMIT ?)',
        (start, rows_max),
    ).fetchone()
    if not last or not last[1]:
        return 0
    file.writer.execute(
        f'INSERT INTO "{table.name}_fts"(rowid, {COLUMNS}) SELECT n, {COLUMNS} FROM "{table.name}_text" '
        "WHERE n > ? AND n <= ?",
        (start, last[0]),
    )
    file.put(_cursor_name(table.name), last[0].to_bytes(8, "big"))
    count: int = last[1]
    return count


def remove(file: SqliteFile, table: Table, n: int) -> None:
    """Takes a row out of the index, before it changes or goes."""
    if n > indexed(file, table.name):
        return
    file.writer.execute(
        f'INSERT INTO "{table.name}_fts"("{table.name}_fts", rowid, {COLUMNS}) '
        f"SELECT 'delete', n, {COLUMNS} FROM \"{table.name}_text\" WHERE n = ?",
        (n,),
    )


def restore(file: SqliteFile, table: Table, n: int) -> None:
    """Puts a changed row back into the index."""
    if n > indexed(file, table.name):
        return
    file.writer.execute(
        f'INSERT INTO "{table.name}_fts"(rowid, {COLUMNS}) SELECT n, {COLUMNS} FROM "{table.name}_text" WHERE n = ?',
        (n,),
    )


def drop(file: SqliteFile, table: str) -> None:
    """Removes a table's index, if it has one, and the views that it is made from."""
    if put_away(file, table):
        file.writer.execute(f'DROP TABLE "{table}_fts"')


def put_away(file: SqliteFile, table: str) -> bool:
    """Takes away what reads a table's index, before both get another name; whether there is an index."""
    made = file.writer.execute("SELECT sql FROM sqlite_schema WHERE name=?", (f"{table}_fts",)).get
    content = None if made is None else _CONTENT.search(made)
    file.writer.execute(f'DROP VIEW IF EXISTS "{table}_text"')
    if content is not None:
        file.writer.execute(f'DROP VIEW IF EXISTS "{content[1]}"')
    file.drop(_cursor_name(table))
    return made is not None


def move_cursor(file: SqliteFile, old: str, new: str) -> None:
    """Says of a table's new name how far it is indexed."""
    found = file.get(_cursor_name(old))
    if found is not None:
        file.put(_cursor_name(new), found)
        file.drop(_cursor_name(old))


def is_there(file: SqliteFile, table: Table) -> bool:
    """Whether a table's index was made: older code may have made the table without one."""
    return is_made(file.reader, f"{table.name}_fts")


def match(
    file: SqliteFile, table: Table, query: str, *, terms: Sequence[str], values: Sequence[Any], limit: int
) -> list[tuple[int, float]]:
    """(row number, relevance) of the best matches, best first; relevance is -bm25, higher is better.

    `terms` are SQL conditions over the table's columns, with `values`.
    """
    if not is_there(file, table):
        return []
    sql = matching(table, f"{table.name}_fts", terms) + " ORDER BY relevance DESC LIMIT ?"
    return rows(file.reader, sql, (query, *values, limit))


def matching(table: Table, index: str, terms: Sequence[str]) -> str:
    """The query for the (row number, relevance) of what matches in an index and fulfils the terms."""
    fts = f'"{index}"'
    return (
        f"SELECT f.rowid, -bm25({fts}, {_WEIGHTS}) AS relevance FROM {fts} f "
        + (f'JOIN "{table.name}" t ON t.n = f.rowid ' if terms else "")
        + f"WHERE {fts} MATCH ?"
        + "".join(f" AND {term}" for term in terms)
    )
