"""Room `replica` (imports all below it): who belongs to whom and who decides, as far as this file knows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from antiphon.engines.sqlite.file import SqliteFile
from antiphon.views.grants import Grant


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
_PROVISIONAL: Final = f"{MOVES}provisional"
"""Among them, so that one look finds both: the logs begun here without a certificate. They decide nothing."""
KIN = "kin/"
"""Settings, one a principal whose log is here: its agents."""


GRANT = "grant/"
"""Settings, one a grant: by the agent, the log and the seq."""
GRANTOR = "grantor/"
"""Settings, one a principal that grants: the names of its grants."""
_GRANTS_KEPT: Final = 4_096
"""Grants kept decoded."""
TRUST = "trust"
"""The principals that the configuration names; absent, those of the agents that this file is about."""


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
        self._provisional: frozenset[bytes] = frozenset()
        self._grants: dict[bytes, Grant] = {}
        self._own: tuple[int, frozenset[bytes]] = (-1, frozenset())
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

    def grant(self, agent: bytes, log: bytes, seq: int) -> Grant | None:
        """What the event `seq` of a principal's `log` grants to an agent, None when that is not known here."""
        raw = self._file.get(_grant_key(agent, log, seq))
        return None if raw is None else self._decoded(raw)

    def _decoded(self, raw: bytes) -> Grant:
        found = self._grants.get(raw)
        if found is None:
            if len(self._grants) > _GRANTS_KEPT:
                self._grants.clear()
            found = self._grants[raw] = msgspec.msgpack.decode(raw, type=Grant)
        return found

    def grants_of(self, agent: bytes) -> list[Grant]:
        """All that an agent was granted, as far as it is known here."""
        return [self._decoded(raw) for _, raw in self._file.settings(f"{GRANT}{agent.hex()}/")]

    def grants_by(self, principal: bytes) -> dict[tuple[bytes, int], Grant]:
        """The grants that this principal's logs said when they were last looked at, by log and seq."""
        raw = self._file.get(GRANTOR + principal.hex())
        names = [] if raw is None else msgspec.msgpack.decode(raw, type=list[tuple[bytes, bytes, int]])
        found = {(log, seq): self.grant(agent, log, seq) for agent, log, seq in names}
        return {name: grant for name, grant in found.items() if grant is not None}

    def keep_grants(self, principal: bytes, grants: Mapping[tuple[bytes, int], Grant]) -> None:
        """What a principal's logs grant now, in place of what they granted before. In a transaction."""
        before = self.grants_by(principal)
        for name in before.keys() - grants.keys():
            self._file.drop(_grant_key(before[name].agent, *name))
        for name, grant in grants.items():
            if before.get(name) != grant:
                self._file.put(_grant_key(grant.agent, *name), msgspec.msgpack.encode(grant))
        if grants:
            names = [(grants[name].agent, *name) for name in sorted(grants)]
            self._file.put(GRANTOR + principal.hex(), msgspec.msgpack.encode(names))
        else:
            self._file.drop(GRANTOR + principal.hex())

    def named(self) -> frozenset[bytes] | None:
        """The principals that the configuration names for that, None where it names none."""
        raw = self._file.get(TRUST)
        return None if raw is None else frozenset(msgspec.msgpack.decode(raw, type=list[bytes]))

    def trusted(self) -> frozenset[bytes]:
        """The principals whose grants count for rows that are no agent's."""
        named = self.named()
        if named is not None:
            return named
        records = self._file.count("agent/")
        if self._own[0] != records:
            stored = [msgspec.msgpack.decode(raw, type=_Owner) for _, raw in self._file.settings("agent/")]
            self._own = records, frozenset(record.principal for record in stored)
        return self._own[1]

    def trusts(self, principal: bytes) -> bool:
        """Whether a principal may grant roles for rows that are no agent's."""
        return principal in self.trusted()

    def keep_trusted(self, principals: Iterable[bytes] | None) -> None:
        """Trusts these, or (None) those of the agents that this file is about. In a transaction."""
        if principals is None:
            self._file.drop(TRUST)
        else:
            self._file.put(TRUST, msgspec.msgpack.encode(sorted(principals)))

    def moves(self) -> dict[bytes, Move]:
        """Every move, by the log that was the home before."""
        self._look()
        return self._moved

    def provisional(self) -> frozenset[bytes]:
        """The logs begun here that no principal has certified yet, as far as it was heard."""
        self._look()
        return self._provisional

    def keep_provisional(self, logs: Iterable[bytes]) -> None:
        """In a transaction: these logs alone are provisional now."""
        self._file.put(_PROVISIONAL, msgspec.msgpack.encode(sorted(logs)))

    def _look(self) -> None:
        raw = self._file.settings(MOVES)
        if raw == self._raw:
            return
        said = [one for name, one in raw if name != _PROVISIONAL]
        listed = [move for one in said for move in msgspec.msgpack.decode(one, type=list[Move])]
        kept = [one for name, one in raw if name == _PROVISIONAL]
        unfit = [log for one in kept for log in msgspec.msgpack.decode(one, type=list[bytes])]
        self._moved, self._provisional, self._raw = {move.source: move for move in listed}, frozenset(unfit), raw

    def kept(self, principal: bytes) -> dict[bytes, Move]:
        """The moves that this principal's logs said when they were last looked at."""
        raw = self._file.get(MOVES + principal.hex())
        return {} if raw is None else {move.source: move for move in msgspec.msgpack.decode(raw, type=list[Move])}

    def keep(self, principal: bytes, moves: list[Move], agents: list[bytes]) -> None:
        """What a principal's logs say now, in place of what they said before. In a transaction."""
        self._file.put(MOVES + principal.hex(), msgspec.msgpack.encode(moves))
        self._file.put(KIN + principal.hex(), msgspec.msgpack.encode(agents))

    def kin(self, principal: bytes) -> list[bytes]:
        """The agents that this principal's logs named when they were last looked at."""
        raw = self._file.get(KIN + principal.hex())
        return [] if raw is None else msgspec.msgpack.decode(raw, type=list[bytes])

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
        if log not in line or log in self.provisional():
            return False
        return log == line[-1] or seq < self.moves()[log].size


def _grant_key(agent: bytes, log: bytes, seq: int) -> str:
    return f"{GRANT}{agent.hex()}/{log.hex()}/{seq}"
