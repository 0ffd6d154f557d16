"""Room `log` (imports `identity`, `world`, `model`): full verification: every stored byte hashed again.

Says nothing about time, nor whether the whole log was rolled back to an older state: that needs a checkpoint seen
before (`since`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from antiphon.identity.statements import log_id_of
from antiphon.log import checkpoint, kinds
from antiphon.log.append import BLOCK_LEVEL
from antiphon.log.block import Leaves
from antiphon.log.ingest import Part, uncovered
from antiphon.log.loaded import hashes_of
from antiphon.log.seeds import Seeds
from antiphon.log.store import LogHead
from antiphon.log.tree import Frontier
from antiphon.model.errors import AntiphonError, Corrupt, ProtocolViolation
from antiphon.model.event import State, decode_header
from antiphon.model.limits import BLOCK_LEAVES, BODY_BYTES_MAX
from antiphon.model.note import Checkpoint


class Verdict(msgspec.Struct):
    """The outcome of verifying one log.

    *Shapes*: `first_bad` is the half-open range of seqs of the first bad block, None when all is well. `held` counts
    whole events, `gone` leaves of which only the hash is left.
    """

    log: bytes
    ok: bool
    size: int
    root: bytes
    held: int = 0
    gone: int = 0
    first_bad: tuple[int, int] | None = None
    reason: str = ""


def verify_log(
    head: LogHead,
    load: Callable[[int], Part],
    *,
    block_roots: dict[int, bytes],
    since: Checkpoint | None = None,
    erased_by_principal: Iterable[tuple[int, int]] = (),
    progress: Callable[[int], None] = lambda count: None,
) -> Verdict:
    """Hashes everything again and compares it with the newest signed checkpoint, and an older one if given.

    `load` gives the part that starts at a block's first seq; what it raises counts as that block being bad.
    *Cost*: about 4 µs an event.
    """
    frontier = Frontier()
    verdict = Verdict(head.id, True, head.size, b"")
    covered: list[tuple[int, int]] = []
    erased: list[int] = []
    last_stamp = -1
    since_root: bytes | None = None
    for first in range(0, head.size, BLOCK_LEAVES):
        last = min(first + BLOCK_LEAVES, head.size)
        try:
            part = load(first)
            hashes = hashes_of(part.leaves, Seeds(head.id, first, part.seeds))
            if len(hashes) != last - first:
                raise Corrupt(f"it holds {len(hashes)} events instead of {last - first}")
            last_stamp = _read(part.leaves, verdict, covered, erased, last_stamp)
            if since is not None and first < since.size <= last:
                twin = frontier.copy()
                twin.extend(hashes[: since.size - first], keep_level=-1)
                since_root = twin.root()
            roots = frontier.extend(hashes, keep_level=BLOCK_LEVEL)
            if roots and block_roots.get(first, roots[0]) != roots[0]:
                raise Corrupt("its events do not hash to the root stored when they were written")
        except AntiphonError as error:
            return _bad(verdict, (first, last), str(error))
        progress(last - first)
    verdict.root = frontier.root()
    if uncovered(erased, covered) is not None:  # asked only then: a principal's log may be long
        covered += erased_by_principal
    return _judge(verdict, head, frontier, covered, erased, since, since_root)


def _read(leaves: Leaves, verdict: Verdict, covered: list[tuple[int, int]], erased: list[int], last_stamp: int) -> int:
    """Checks what the hashes alone cannot say: canonical headers, rising stamps, who erased what."""
    for at, raw in enumerate(leaves.headers):
        seq = leaves.first + at
        if raw is None:
            verdict.gone += 1
            erased.append(seq)  # pruned and hidden leaves will need a statement of their own: nobody makes them yet
            continue
        header = decode_header(raw)
        verdict.held += leaves.state(at) == State.WHOLE
        if header.hlc <= last_stamp and header.kind != kinds.CLOCK_RESET:
            raise Corrupt(f"event {seq} is stamped before the one it follows")
        last_stamp = header.hlc
        body = leaves.bodies[at]
        if body is not None and len(body) > BODY_BYTES_MAX:
            raise Corrupt(f"event {seq} has a body over BODY_BYTES_MAX ({BODY_BYTES_MAX}) bytes")
        if header.kind == kinds.ERASED and body is not None:
            covered += kinds.read_erased(body, seq).own_ranges
    return last_stamp


def _judge(
    verdict: Verdict,
    head: LogHead,
    frontier: Frontier,
    covered: list[tuple[int, int]],
    erased: list[int],
    since: Checkpoint | None,
    since_root: bytes | None,
) -> Verdict:
    if log_id_of(head.owner, head.key) != head.id:
        return _bad(verdict, (0, head.size), "its id does not follow from its owner and its key")
    if head.frontier and head.frontier != frontier.packed():
        return _bad(verdict, (head.size - head.size % BLOCK_LEAVES, head.size), "its stored frontier is another one's")
    if head.size and not head.note:
        return _bad(verdict, (0, head.size), "the log has no checkpoint")
    if head.size:
        try:
            signed = checkpoint.verify(head.note, head.key, log_id=head.id)
        except ProtocolViolation as error:
            return _bad(verdict, (0, head.size), f"its checkpoint does not verify: {error}")
        if signed.size != head.size or signed.root != verdict.root:
            where = (head.size - head.size % BLOCK_LEAVES, head.size)
            return _bad(verdict, where, "the events do not add up to the root that the checkpoint signs")
    missing = uncovered(erased, covered)
    if missing is not None:
        return _bad(verdict, (missing, missing + 1), f"event {missing} is gone, but no event of the log erases it")
    if since is not None and (since.size > head.size or since_root not in (None, since.root)):
        reason = "the log is shorter than" if since.size > head.size else "the log was rewritten since"
        return _bad(verdict, (min(since.size, head.size), since.size), f"{reason} the checkpoint given")
    return verdict


def _bad(verdict: Verdict, where: tuple[int, int], reason: str) -> Verdict:
    verdict.ok, verdict.first_bad, verdict.reason = False, where, reason
    return verdict
