"""Room `log` (imports `identity`, `world`, `model`): the kinds of event that the log itself understands.

They are never erased: without them what is left of a log could not be checked.
"""

from __future__ import annotations

from typing import Final

import msgspec

from antiphon.model.errors import ProtocolViolation
from antiphon.model.event import Draft, encode_body

CLOCK_RESET: Final = "clock.reset"
ERASED: Final = "log.erased"
ERASURE_REQUESTED: Final = "log.erasure_requested"
PRINCIPAL_INCEPTED: Final = "principal.incepted"
AGENT_INCEPTED: Final = "agent.incepted"
INSTANCE_CERTIFIED: Final = "instance.certified"
INSTANCE_PROVISIONAL: Final = "instance.provisional"
KEY_REVOKED: Final = "key.revoked"
ENROL_DELEGATED: Final = "enrol.delegated"
ROOT_ROTATED: Final = "root.rotated"
HOME_MOVED: Final = "home.moved"
GRANT_GIVEN: Final = "grant.given"
GRANT_WITHDRAWN: Final = "grant.withdrawn"
REQUEST_REFUSED: Final = "request.refused"

STATEMENT_KINDS: Final = frozenset(
    {PRINCIPAL_INCEPTED, AGENT_INCEPTED, INSTANCE_CERTIFIED, INSTANCE_PROVISIONAL, KEY_REVOKED, ENROL_DELEGATED,
     ROOT_ROTATED}
)  # fmt: skip
SYSTEM_KINDS: Final = STATEMENT_KINDS | {
    CLOCK_RESET, ERASED, ERASURE_REQUESTED, HOME_MOVED, GRANT_GIVEN, GRANT_WITHDRAWN, REQUEST_REFUSED,
}  # fmt: skip


class ClockReset(msgspec.Struct):
    """Stamps before this event count as this event's at the latest. *Units*: ms that the clock had been ahead."""

    ahead_ms: int


class Erased(msgspec.Struct):
    """These leaves are gone: of the log that says so, or of `log` where its principal says it.

    Reasons are codes, never text. *Shapes*: `ranges` are (first seq, one past the last), ascending and disjoint.
    """

    ranges: list[tuple[int, int]]
    reason: str
    log: bytes | None = None

    @property
    def own_ranges(self) -> list[tuple[int, int]]:
        """The ranges where they are of the log that says so, else none."""
        return self.ranges if self.log is None else []


def read_erased(body: bytes, seq: int) -> Erased:
    """What an erasing event says. Raises ProtocolViolation."""
    try:
        return msgspec.msgpack.decode(body, type=Erased)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeError, RecursionError) as error:
        raise ProtocolViolation(f"the erasing event {seq} cannot be read: {error}") from None


class ErasureRequested(msgspec.Struct):
    """Somebody asks that these events be forgotten; the owner decides. *Shapes*: (log id, seq) pairs."""

    events: list[tuple[bytes, int]]
    reason: str


class HomeMoved(msgspec.Struct):
    """In a principal's log: what `source` decides from `size` on (`root` is that of its events before) is void, and
    `target` decides instead. The last word on a source counts.
    """

    source: bytes
    size: int
    root: bytes
    target: bytes


def read_home_moved(body: bytes, seq: int) -> HomeMoved:
    """What a move says. Raises ProtocolViolation."""
    try:
        return msgspec.msgpack.decode(body, type=HomeMoved)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeError, RecursionError) as error:
        raise ProtocolViolation(f"the event {seq}, which moves a home, cannot be read: {error}") from None


class GrantGiven(msgspec.Struct):
    """In a principal's log: `agent` has this role, in these tables or (None) in all. `ceiling` is the most that it may
    declare where the highest number counts, None for what the table declares for everybody.
    """

    role: str
    agent: bytes
    tables: list[str] | None = None
    ceiling: int | None = None


class GrantWithdrawn(msgspec.Struct):
    """In a principal's log: a grant of its own, named by (log, seq), counts no more from these sizes on, one for each
    log of the agent; in a log that is not named nothing counts. The last word on a grant counts.
    """

    grant: tuple[bytes, int]
    sizes: list[tuple[bytes, int]]


def read_grant(kind: str, body: bytes, seq: int) -> GrantGiven | GrantWithdrawn:
    """What an event of either kind says. Raises ProtocolViolation."""
    shape: type[GrantGiven | GrantWithdrawn] = GrantGiven if kind == GRANT_GIVEN else GrantWithdrawn
    try:
        return msgspec.msgpack.decode(body, type=shape)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeError, RecursionError) as error:
        raise ProtocolViolation(f"the event {seq}, a {kind}, cannot be read: {error}") from None


class RequestRefused(msgspec.Struct):
    """A home's answer to a request that it does not grant; its cause names the request."""

    reason: str


def clock_reset(ahead_ms: int) -> Draft:
    """The event that puts a clock right."""
    return Draft(CLOCK_RESET, encode_body(ClockReset(ahead_ms)))


RANGES_PER_EVENT_MAX: Final = 8_192


def erased(seqs: list[int], reason: str, *, log: bytes | None = None) -> list[Draft]:
    """The events that erase these leaves (ascending) of their own log, or of another one of the principal's."""
    ranges = ranges_of(seqs)
    step = RANGES_PER_EVENT_MAX
    return [
        Draft(ERASED, encode_body(Erased(ranges[at : at + step], reason, log))) for at in range(0, len(ranges), step)
    ]


def ranges_of(seqs: list[int]) -> list[tuple[int, int]]:
    """Ascending numbers as half-open ranges."""
    ranges: list[tuple[int, int]] = []
    for seq in seqs:
        if ranges and ranges[-1][1] == seq:
            ranges[-1] = (ranges[-1][0], seq + 1)
        else:
            ranges.append((seq, seq + 1))
    return ranges
