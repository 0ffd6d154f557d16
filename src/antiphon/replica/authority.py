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


MOVES = "moves/"
"""Settings, one a principal: the moves of homes that its log says, one a source."""
KIN = "kin/"
"""Settings, one a principal whose log is here: its agents."""


class Authorities:
    """`Authority` from the records of one file.

    Nothing here outlives a change: moves are compared with the stored ones at every question (10 µs), and agents,
    who never change principals, are looked for again only when one is not known.
    """

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._principals: dict[bytes, bytes] = {}
        self._raw: list[tuple[str, bytes]] = []
        self._moved: dict[bytes, Move] = {}
        self._seen: tuple[int, list[tuple[str, bytes]]] = (-1, [])

    def principal_of(self, agent: bytes) -> bytes | None:
        found = self._principals.get(agent)
        if found is not None:
            return found
        records, kin = self._file.settings("agent/"), self._file.settings(KIN)
        if (len(records), kin) != self._seen:
            self._seen = len(records), kin
            stored = [msgspec.msgpack.decode(raw, type=_Owner) for _, raw in records]
            self._principals = {record.agent: record.principal for record in stored}
            for name, raw in kin:
                principal = bytes.fromhex(name.removeprefix(KIN))
                self._principals |= dict.fromkeys(msgspec.msgpack.decode(raw, type=list[bytes]), principal)
        return self._principals.get(agent)

    def moves(self) -> dict[bytes, Move]:
        """Every move, by the log that was the home before."""
        raw = self._file.settings(MOVES)
        if raw != self._raw:
            listed = [move for _, one in raw for move in msgspec.msgpack.decode(one, type=list[Move])]
            self._moved, self._raw = {move.source: move for move in listed}, raw
        return self._moved

    def kept(self, principal: bytes) -> dict[bytes, Move]:
        """The moves that this principal's logs said when they were last looked at."""
        raw = self._file.get(MOVES + principal.hex())
        return {} if raw is None else {move.source: move for move in msgspec.msgpack.decode(raw, type=list[Move])}

    def keep(self, principal: bytes, moves: list[Move], agents: list[bytes]) -> None:
        """What a principal's logs say now, in place of what they said before. In a transaction."""
        self._file.put(MOVES + principal.hex(), msgspec.msgpack.encode(moves))
        self._file.put(KIN + principal.hex(), msgspec.msgpack.encode(agents))

    def current(self, home: bytes) -> bytes:
        """The log that decides now what a home was named for."""
        return self.line(home)[-1]

    def line(self, home: bytes) -> list[bytes]:
        """A home and those it was moved to, in order. A move that leads back to where it was is none."""
        moved, found = self.moves(), [home]
        while (move := moved.get(found[-1])) is not None and move.target not in found:
            found.append(move.target)
        return found

    def decides(self, home: bytes, log: bytes, seq: int) -> bool:
        line = self.line(home)
        if log not in line:
            return False
        return log == line[-1] or seq < self.moves()[log].size
