"""Room `replica` (imports all below it): who belongs to whom and who decides, as far as this file knows."""

from __future__ import annotations

import msgspec

from antiphon.engines.sqlite.file import SqliteFile


class _Owner(msgspec.Struct):
    """Of an agent's record, what says whose it is."""

    agent: bytes
    principal: bytes


class Move(msgspec.Struct, array_like=True, frozen=True):
    """A home was moved: what the log `source` decides from `size` on is void, `target` decides instead."""

    source: bytes
    size: int
    target: bytes


MOVES: str = "moves"


class Authorities:
    """`Authority` from the records of one file."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._version = -1
        self._principals: dict[bytes, bytes] = {}
        self._moves: list[Move] = []

    def principal_of(self, agent: bytes) -> bytes | None:
        self._refresh()
        return self._principals.get(agent)

    def decides(self, home: bytes, log: bytes, seq: int) -> bool:
        if self._version < 0:
            self._refresh()
        moved = {move.source: move for move in self._moves}
        seen: set[bytes] = set()
        while home not in seen:
            seen.add(home)
            move = moved.get(home)
            if log == home:
                return move is None or seq < move.size
            if move is None:
                return False
            home = move.target
        return False

    def forget_caches(self) -> None:
        """Drops what may have changed."""
        self._version = -1

    def _refresh(self) -> None:
        if self._version >= 0:
            return
        stored = [msgspec.msgpack.decode(raw, type=_Owner) for _, raw in self._file.settings("agent/")]
        self._principals = {record.agent: record.principal for record in stored}
        raw = self._file.get(MOVES)
        self._moves = [] if raw is None else msgspec.msgpack.decode(raw, type=list[Move])
        self._version = 1
