"""Room `replica` (imports all below it): moving the home of tables from one log to another; carrying logs over."""

from __future__ import annotations

from antiphon.log import kinds
from antiphon.log.ingest import parts_of
from antiphon.log.store import LogHead, LogRole
from antiphon.log.tree import Frontier
from antiphon.model.errors import Conflict, InvalidInput, NotFound
from antiphon.model.event import Draft, encode_body
from antiphon.model.text import id_text
from antiphon.replica.authority import Move
from antiphon.replica.commit import Batch
from antiphon.replica.core import Replica
from antiphon.replica.enrol import follow_homes, homes_of, is_provisional, root_of, standing_in
from antiphon.replica.hear import hear, receive
from antiphon.replica.moving import fault_of, learn


def take_in(source: Replica, log_id: bytes, target: Replica) -> int:
    """Copies what is new of a log from one file to another, verified, where it counts in the shared tables; how many
    events. A log that the other file writes itself is left alone.
    """
    head, known = source.head(log_id), target.logs.head(log_id)
    before = 0 if known is None else known.size
    if (known is not None and known.role in (LogRole.OWN, LogRole.PAST)) or before >= head.size:
        return 0
    receive(target, head, parts_of(source.logs, source.reader, head, first=before), head.note)
    return head.size - before


def take_in_all(source: Replica, target: Replica) -> int:
    """The same of every log in a file, principals' logs first; how many events."""
    heads = sorted(source.heads(), key=lambda head: not _is_home(source, head))
    return sum(take_in(source, head.id, target) for head in heads if head.size)


def _is_home(replica: Replica, head: LogHead) -> bool:
    first = replica.reader.header(head, 0) if head.size else None
    return first is not None and first.kind == kinds.PRINCIPAL_INCEPTED


def may_hold_home(replica: Replica, head: LogHead) -> bool:
    """Whether a log may decide: a clone's may not before its principal has certified it."""
    if not head.size or not is_provisional(replica, head):
        return True
    principal = replica.authority.principal_of(head.owner)
    homes = [] if principal is None else homes_of(replica, principal)
    return bool(homes) and head.id in standing_in(replica, homes[0].id).logs


def move_home(
    principal: Replica, principal_log: bytes, replica: Replica, *, source: bytes, target: bytes, size: int | None = None
) -> Move:
    """Lets `target` decide from now on what `source` has decided. `principal` is the file of the principal's log.

    What `source` decided in its first `size` events (all that `replica` holds when not given) stands, the rest is
    void, and what was asked is asked again. A lost home moves like any other, from what is left of it here. Raises
    InvalidInput, NotFound or Conflict where such a move would not count.
    """
    head = replica.logs.head(source)
    if head is None:
        raise NotFound(f"nothing is here of the log {id_text(source)}: move it from a file that holds a copy")
    kept = head.size if size is None else size
    if not 0 <= kept <= head.size:
        raise InvalidInput(f"the log {id_text(source)} has {head.size:,} events here, so it cannot be cut at {kept:,}")
    if source in replica.authority.line(target):
        raise InvalidInput(f"{id_text(target)} gave this home up, or is it: move it to a log that never had it")
    body = kinds.HomeMoved(source, kept, _root_at(replica, head, kept), target)
    with principal.transaction():
        home = principal.head(principal_log)
        if home.role != LogRole.OWN:
            raise Conflict(f"the principal's log {id_text(home.id)} is not written in {principal.file.path}")
        fault = fault_of(standing_in(principal, principal_log), source, target)
        if fault:
            raise InvalidInput(fault)
        principal.append_in_transaction(Batch(home.id, [Draft(kinds.HOME_MOVED, encode_body(body))], [body]))
    hear_homes(principal, principal_log, replica)
    return Move(source, kept, target)


def hear_homes(source: Replica, principal_log: bytes, target: Replica) -> None:
    """Lets what a principal's logs say, of which one is named, count in another file, or in the same one."""
    if source is not target:
        follow_homes(source, principal_log, target)
    hear(target)
    with target.transaction():
        learn(target, principal_log)


def _root_at(replica: Replica, head: LogHead, size: int) -> bytes:
    if size == head.size:
        return root_of(head)
    return replica.reader.subtree(head)(0, size) if size else Frontier(0, b"").root()
