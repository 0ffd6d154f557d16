"""Room `views` (imports `log` and below): what a principal has granted to an agent, and when an event may go by it."""

from __future__ import annotations

import msgspec

from antiphon.model.event import Header, Role

Cited = tuple[bytes, int, bytes]
"""A grant as an event cites it: its log, its seq, and the leaf hash that says which event is meant."""


class Grant(msgspec.Struct, frozen=True, array_like=True):
    """A role that a principal's log gives to an agent: in these tables, or (None) wherever that principal grants.

    *Shapes*: `ended` is None while it stands, else the size that is accepted of each log of the agent: of a log that
    is not named, nothing. *Units*: `given` is a stamp.
    """

    log: bytes
    seq: int
    leaf: bytes
    principal: bytes
    agent: bytes
    role: str
    tables: tuple[str, ...] | None
    ceiling: int | None
    given: int
    ended: tuple[tuple[bytes, int], ...] | None = None

    def serves(self, *, log: bytes, seq: int, table: str, leaf: bytes) -> bool:
        """Whether the event `seq` of its agent's `log`, which cites the grant by this leaf, may go by it in a table."""
        if leaf != self.leaf or (self.tables is not None and table not in self.tables):
            return False
        return self.stands(log, seq)

    def stands(self, log: bytes, seq: int) -> bool:
        """Whether it was not withdrawn before this event."""
        return self.ended is None or seq < max((size for named, size in self.ended if named == log), default=0)


def cited_by(header: Header) -> tuple[Cited, ...]:
    """What an event names as its cause, which may be grants."""
    if header.refs is None:
        return ()
    return tuple((ref.log, ref.seq, ref.leaf) for ref in header.refs if ref.role == Role.CAUSE)
