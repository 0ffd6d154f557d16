"""Room `engines` (imports all below it): the SQLite form of `LogStore`: rowids are (log number, seq) in 63 bits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from antiphon.engines.sqlite.file import SqliteFile, rows
from antiphon.engines.sqlite.made import MadeWhenWritten
from antiphon.log.store import BlockRow, LogHead, RunRow
from antiphon.model.limits import BLOCK_LEAVES, LOG_EVENTS_MAX

PACK_LEAVES_MIN = 8
"""A single run of at least so many leaves is worth packing: it is smaller as columns."""
SEQ_BITS = LOG_EVENTS_MAX.bit_length() - 1
_HEAD = "SELECT no, id, owner, key, role, size, hlc, frontier, note, resets FROM logs"
_FRAMES = "CREATE TABLE IF NOT EXISTS frames(place INTEGER PRIMARY KEY, data BLOB NOT NULL)"


def _head(row: tuple[Any, ...]) -> LogHead:
    resets = [] if row[9] is None else msgspec.msgpack.decode(row[9], type=list[tuple[int, int]])
    no, log_id, owner, key, role, size, hlc, frontier, note = row[:9]
    return LogHead(no, log_id, owner, key, role, size, hlc, frontier, note, resets)


class SqliteLogs:
    """Logs in one file; see `LogStore` for the promises."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._frames = MadeWhenWritten(file, "frames")

    def heads(self) -> Iterator[LogHead]:
        for row in rows(self._file.reader, _HEAD + " ORDER BY no"):
            yield _head(row)

    def head(self, log_id: bytes) -> LogHead | None:
        row = self._file.reader.execute(_HEAD + " WHERE id=?", (log_id,)).fetchone()
        return None if row is None else _head(row)

    def sizes(self) -> list[tuple[int, int, int]]:
        """(number, role, size) of all logs, by number."""
        return rows(self._file.reader, "SELECT no, role, size FROM logs ORDER BY no")

    def head_no(self, no: int) -> LogHead | None:
        """One log by its number."""
        row = self._file.reader.execute(_HEAD + " WHERE no=?", (no,)).fetchone()
        return None if row is None else _head(row)

    def save_head(self, head: LogHead) -> None:
        resets = msgspec.msgpack.encode(head.resets) if head.resets else None
        if head.no:
            self._file.writer.execute(
                "UPDATE logs SET role=?, size=?, hlc=?, frontier=?, note=?, resets=? WHERE no=?",
                (head.role, head.size, head.hlc, head.frontier, head.note, resets, head.no),
            )
            return
        self._file.writer.execute(
            "INSERT INTO logs(id, owner, key, role, size, hlc, frontier, note, resets) VALUES(?,?,?,?,?,?,?,?,?)",
            (head.id, head.owner, head.key, head.role, head.size, head.hlc, head.frontier, head.note, resets),
        )
        head.no = self._file.writer.last_insert_rowid()

    def block(self, no: int, first: int) -> BlockRow | None:
        row = self._file.reader.execute(
            "SELECT packed, seeds, root, columns FROM blocks WHERE place=?", (no << SEQ_BITS | first,)
        ).fetchone()
        return None if row is None else BlockRow(first, row[0], row[1], row[2] or b"", row[3] or b"")

    def blocks(self, no: int) -> Iterator[tuple[int, int, bytes]]:
        base = no << SEQ_BITS
        found = self._file.reader.execute(
            "SELECT place, packed, root FROM blocks WHERE place>=? AND place<? ORDER BY place",
            (base, base + LOG_EVENTS_MAX),
        )
        for place, packed, root in found:
            yield place - base, packed, root or b""

    def save_block(self, no: int, block: BlockRow, frames: Iterable[tuple[int, bytes]] | None) -> None:
        base = no << SEQ_BITS
        writer = self._file.writer
        writer.execute(
            "INSERT INTO blocks VALUES(?,?,?,?,?) ON CONFLICT(place) DO UPDATE SET "
            "packed=excluded.packed, seeds=excluded.seeds, root=excluded.root, columns=excluded.columns",
            (base + block.first, block.packed, block.seeds, block.root or None, block.columns or None),
        )
        if frames is None:
            return
        writer.execute(_FRAMES)
        span = (base + block.first, base + block.first + BLOCK_LEAVES)
        writer.execute("DELETE FROM frames WHERE place>=? AND place<?", span)
        writer.executemany("INSERT INTO frames VALUES(?,?)", [(base + first, data) for first, data in frames])
        writer.execute(
            "DELETE FROM runs WHERE place>=? AND place<?",
            (base + block.first, base + block.first + block.packed),
        )

    def frame(self, no: int, first: int) -> bytes | None:
        if not self._frames.is_there:
            return None
        found: bytes | None = self._file.reader.execute(
            "SELECT data FROM frames WHERE place=?", (no << SEQ_BITS | first,)
        ).get
        return found

    def runs(self, no: int, first: int, last: int) -> list[RunRow]:
        base = no << SEQ_BITS
        found = rows(
            self._file.reader,
            "SELECT place, count, data FROM runs WHERE place>=? AND place<? ORDER BY place",
            (base + first, base + last),
        )
        return [RunRow(place - base, count, data) for place, count, data in found]

    def save_run(self, no: int, run: RunRow) -> None:
        self._file.writer.execute(
            "INSERT INTO runs VALUES(?,?,?) ON CONFLICT(place) DO UPDATE SET count=excluded.count, data=excluded.data",
            (no << SEQ_BITS | run.first, run.count, run.data),
        )

    def loose_blocks(self, *, limit: int, runs_min: int) -> list[tuple[int, int]]:
        """(log number, first seq) of blocks with runs to pack: complete ones, and those with so many runs."""
        mask = ~(BLOCK_LEAVES - 1)
        found = rows(
            self._file.reader,
            "SELECT r.place & ?, count(*) AS runs, sum(r.count) AS leaves FROM runs r GROUP BY r.place & ? "
            "HAVING runs >= ? OR leaves = ? OR max(r.count) >= ? LIMIT ?",
            (mask, mask, runs_min, BLOCK_LEAVES, PACK_LEAVES_MIN, limit),
        )
        return [(place >> SEQ_BITS, place & (LOG_EVENTS_MAX - 1)) for place, _, _ in found]
