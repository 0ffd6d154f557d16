"""Room `engines` (imports all below it): where a file's bytes are: by table and index, and by log."""

from __future__ import annotations

from collections.abc import Iterable

from antiphon.engines.sqlite.file import SqliteFile, rows
from antiphon.engines.sqlite.logs import SEQ_BITS
from antiphon.engines.sqlite.made import is_made
from antiphon.model.declared import GENERATION

LOG_TABLES = ("logs", "sqlite_autoindex_logs_1", "blocks", "frames", "runs")


def bytes_by_owner(file: SqliteFile) -> dict[str, int]:
    """Bytes of pages of every table and index. *Cost*: reads the whole file."""
    return dict(rows(file.reader, "SELECT name, sum(pgsize) FROM dbstat GROUP BY name"))


def payload_of_logs(file: SqliteFile, numbers: Iterable[int]) -> int:
    """Bytes of what is stored of these logs: heads, blocks, frames and runs, without the slack of pages."""
    wanted = set(numbers)
    total = 0
    parts = [
        f"SELECT place >> {SEQ_BITS}, 8 + length(seeds) + ifnull(length(root), 0) + ifnull(length(columns), 0) "
        "FROM blocks",
        f"SELECT place >> {SEQ_BITS}, length(data) + 8 FROM runs",
        "SELECT no, length(id) + length(owner) + length(key) + length(frontier) + length(note) + 24 FROM logs",
    ]
    if is_made(file.reader, "frames"):
        parts.append(f"SELECT place >> {SEQ_BITS}, length(data) + 8 FROM frames")
    for part in parts:
        total += sum(size for no, size in rows(file.reader, part) if no in wanted)
    return total


def offset_in(file: SqliteFile, table: str) -> int:
    """The offset in the file of a page in the middle of a table's data."""
    found = rows(file.reader, "SELECT pgoffset FROM dbstat WHERE name=? ORDER BY pageno", (table,))
    return int(found[len(found) // 2][0])


def bytes_by_table(file: SqliteFile) -> dict[tuple[str, bool], int]:
    """Bytes of each declared table with its indexes and full text, by (name, whether it is of a generation to come).
    What a swap has put away counts as neither.

    *Cost*: reads the whole file.
    """
    sql = (
        "SELECT coalesce(s.tbl_name, d.name), sum(d.pgsize) FROM dbstat d LEFT JOIN sqlite_schema s ON s.name = d.name "
        "GROUP BY 1"
    )
    found: dict[tuple[str, bool], int] = {}
    for name, size in rows(file.reader, sql):
        whole = name.rpartition("_fts_")[0] or name
        declared, mark, number = whole.partition(GENERATION)
        if mark and not number.isdigit():
            continue
        key = (declared, bool(mark))
        found[key] = found.get(key, 0) + size
    return found
