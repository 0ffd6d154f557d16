"""Room `log` (imports `identity`, `world`, `model`): taking in leaves that somebody else wrote, verified first."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from antiphon.identity.signing import Statement, decode_statement
from antiphon.identity.statements import PrincipalInception, log_id_of
from antiphon.identity.validity import Evidence, Standing, standing_of
from antiphon.log import checkpoint, kinds
from antiphon.log.append import BLOCK_LEVEL
from antiphon.log.block import Leaves, pack_run
from antiphon.log.loaded import LoadedBlock, hashes_of
from antiphon.log.read import LogReader
from antiphon.log.seeds import Seeds
from antiphon.log.store import BlockRow, LogHead, LogStore, RunRow
from antiphon.log.tree import Frontier
from antiphon.model.errors import Corrupt, ProtocolViolation
from antiphon.model.event import Header, State, decode_header
from antiphon.model.limits import BLOCK_LEAVES, BODY_BYTES_MAX


class Part(msgspec.Struct):
    """Leaves of one block, from its first leaf, with the block's seeds."""

    leaves: Leaves
    seeds: bytes


def parts_of(
    store: LogStore, reader: LogReader, head: LogHead, *, first: int = 0, shared: bool = False
) -> Iterable[Part]:
    """The parts of a log from the block that holds `first`; `shared` ones go to others: no seeds of later leaves."""
    for start in range(first - first % BLOCK_LEAVES, head.size, BLOCK_LEAVES):
        row = store.block(head.no, start)
        if row is None:
            raise Corrupt(f"the block of events from {start} is missing", first=start)
        leaves = reader.leaves(head, start)
        del leaves.headers[head.size - start :], leaves.bodies[head.size - start :]
        seeds = Seeds(head.id, start, row.seeds)
        if reader.veil(head):  # what is hidden here goes out as what is gone does
            seeds.destroy(start + at for at in range(len(leaves.headers)) if leaves.state(at) > State.WITHHELD)
        yield Part(leaves, seeds.shared(len(leaves.headers)) if shared else seeds.packed())


class Home:
    """What a log says as the home of a principal: who its agents are, and what it erases in their logs.

    Any other log says nothing of the kind, whatever is in it. Believe it only once the log itself has verified.
    """

    def __init__(self, head: LogHead) -> None:
        self.id = head.id
        self._owner = head.owner
        self.inception: Statement | None = None
        self.evidence: list[Evidence] = []
        self.erased: list[tuple[int, kinds.Erased]] = []

    @property
    def is_home(self) -> bool:
        """Whether it begins with its principal's inception, as every home does; known from its first part on.

        Whether its principal stands behind it, the statements of all its homes say together: see `Homes`.
        """
        return self.inception is not None

    def hear(self, leaves: Leaves) -> None:
        """Takes note of what these leaves, in order from the log's first, say. Raises ProtocolViolation."""
        if leaves.first == 0:
            self.inception = _inception_of(self._owner, leaves)
        if self.inception is None:
            return
        for seq, (raw, body) in enumerate(zip(leaves.headers, leaves.bodies, strict=True), leaves.first):
            if raw is None or body is None:
                continue
            kind = decode_header(raw).kind
            if kind in kinds.STATEMENT_KINDS:
                self.evidence.append(Evidence(decode_statement(body), self.id, seq))
            elif kind == kinds.ERASED:
                self.erased.append((seq, kinds.read_erased(body, seq)))

    def erases_in(self, head: LogHead) -> list[tuple[int, int]]:
        """As `Homes.erases_in`, where this is the only home."""
        alone = Homes()
        alone.add(self)
        return alone.erases_in(head)


class Homes:
    """The homes of principals, several of one principal where it was recovered, and what they say together."""

    def __init__(self) -> None:
        self._of: dict[bytes, list[Home]] = {}
        self._standing: dict[bytes, Standing] = {}

    def add(self, home: Home) -> None:
        """Hears one more; what is no home says nothing."""
        if home.inception is not None:
            self._of.setdefault(home.inception.id, []).append(home)
            self._standing.pop(home.inception.id, None)

    def principals(self) -> list[bytes]:
        """Those that have a home here."""
        return list(self._of)

    def standing(self, principal: bytes) -> Standing | None:
        """Who may speak for a principal, None where none of its homes is known."""
        homes = self._of.get(principal, [])
        if principal not in self._standing and homes and homes[0].inception is not None:
            evidence = [item for home in homes for item in home.evidence]
            self._standing[principal] = standing_of(homes[0].inception, evidence)
        return self._standing.get(principal)

    def erases_in(self, head: LogHead) -> list[tuple[int, int]]:
        """The ranges that principals erase in the log of an agent of their own; none in anybody else's."""
        return [one for _, _, ranges in self.erasing(head) for one in ranges]

    def erasing(self, head: LogHead) -> list[tuple[bytes, int, list[tuple[int, int]]]]:
        """As `erases_in`, one by one: (the home, the seq of its event, ranges)."""
        found: list[tuple[bytes, int, list[tuple[int, int]]]] = []
        for principal, homes in self._of.items():
            standing = self.standing(principal)
            if standing is None or head.owner not in standing.agents:
                continue
            for home in homes:
                for seq, event in home.erased:
                    if event.log == head.id and standing.counts(home.id, seq):
                        found.append((home.id, seq, event.ranges))
        return found


def _inception_of(owner: bytes, leaves: Leaves) -> Statement | None:
    """The inception of its owner that a log begins with, None where it is no principal's home."""
    raw, body = (leaves.headers[0], leaves.bodies[0]) if leaves.headers else (None, None)
    if raw is None or body is None or decode_header(raw).kind != kinds.PRINCIPAL_INCEPTED:
        return None
    try:
        statement = decode_statement(body)
        PrincipalInception.read(statement)
    except ProtocolViolation:
        return None
    return statement if statement.id == owner else None


def uncovered(erased: Iterable[int], covered: list[tuple[int, int]]) -> int | None:
    """The first of these seqs (ascending) that no range covers."""
    ranges = sorted(covered)
    at = 0
    reach = -1
    for seq in erased:
        while at < len(ranges) and ranges[at][0] <= seq:
            reach = max(reach, ranges[at][1])
            at += 1
        if seq >= reach:
            return seq
    return None


Said = list[tuple[int, list[tuple[int, int]]]]
"""What erasing events of a log name in it: (seq of the event, ranges)."""


def ingest(store: LogStore, head: LogHead, parts: Iterable[Part], note: bytes, erasing: Said | None = None) -> LogHead:
    """The head after storing these parts behind what it has. Call inside a transaction: a failure stores nothing.

    What is held here stays, whatever the parts say of it: what their erasing events name is added to `erasing`, and is
    for the caller to hide and destroy. Raises ProtocolViolation when id, headers, hashes and the signed root do not fit
    together, or a leaf is bare that neither the log erases nor its principal's home in this store.
    """
    if log_id_of(head.owner, head.key) != head.id:
        raise ProtocolViolation("a log whose id does not follow from its owner and its key")
    signed = checkpoint.verify(note, head.key, log_id=head.id)
    head = msgspec.structs.replace(head, resets=list(head.resets))
    frontier = Frontier(head.size, head.frontier)
    bare: list[int] = []
    said: Said = [] if erasing is None else erasing
    for part in parts:
        _take(store, head, frontier, part, bare, said)
    if signed.size != frontier.size or signed.root != frontier.root():
        raise ProtocolViolation(
            f"the events received give another root than the checkpoint of size {signed.size} signs"
        )
    own = [one for _, ranges in said for one in ranges]
    if uncovered(bare, own) is not None:  # a home may be long: read only when it must have spoken
        missing = uncovered(bare, [*own, *_erased_at_home(store, head)])
        if missing is not None:
            raise ProtocolViolation(f"event {missing} is gone, but neither its log nor its principal erases it")
    head.frontier, head.note = frontier.packed(), note
    store.save_head(head)
    return head


def _erased_at_home(store: LogStore, head: LogHead) -> list[tuple[int, int]]:
    """What principals whose homes are in this store, verified as they came, erase in a log."""
    homes = Homes()
    for other in list(store.heads()):
        home = Home(other)
        for first in range(0, other.size if other.id != head.id else 0, BLOCK_LEAVES):
            home.hear(LoadedBlock(store, other, first).leaves(store))
            if not home.is_home:
                break
        homes.add(home)
    return homes.erases_in(head)


def _take(
    store: LogStore,
    head: LogHead,
    frontier: Frontier,
    part: Part,
    bare: list[int],
    said: Said,
) -> None:
    leaves = part.leaves
    skip = frontier.size - leaves.first
    if leaves.first % BLOCK_LEAVES or not 0 <= skip <= len(leaves.headers) <= BLOCK_LEAVES or skip == BLOCK_LEAVES:
        raise ProtocolViolation("blocks that do not follow what is here")
    try:
        seeds = Seeds(head.id, leaves.first, part.seeds)
        hashes = hashes_of(leaves, seeds)
    except Corrupt as error:
        raise ProtocolViolation(str(error)) from None
    packed = _rejoin(store, head, leaves, hashes[:skip], seeds) if skip else part.seeds
    for at in range(skip, len(hashes)):
        raw, body = leaves.headers[at], leaves.bodies[at]
        if raw is None:
            bare.append(leaves.first + at)
        else:
            _check(head, decode_header(raw), body, leaves.first + at, said)
    done = frontier.extend(hashes[skip:], keep_level=BLOCK_LEVEL)
    block = store.block(head.no, leaves.first) or BlockRow(leaves.first, 0, packed)
    block.seeds = packed
    block.root = done[0] if done else block.root
    store.save_block(head.no, block, None)
    if skip < len(hashes):
        rest = Leaves(
            frontier.size - len(hashes) + skip,
            leaves.headers[skip:],
            leaves.bodies[skip:],
            None if leaves.states is None else leaves.states[skip:],
            {at - skip: value for at, value in leaves.hashes.items() if at >= skip},
        )
        store.save_run(head.no, RunRow(rest.first, len(rest.headers), pack_run(rest)))
    head.size = frontier.size


def _rejoin(store: LogStore, head: LogHead, leaves: Leaves, hashes: list[bytes], seeds: Seeds) -> bytes:
    """The block's seeds, ours for the leaves held here already: those must be the same, whoever sends them again."""
    held = LoadedBlock(store, head, leaves.first)
    ours = held.leaves(store)
    if hashes_of(ours, held.seeds)[: len(hashes)] != hashes or len(ours.headers) != len(hashes):
        raise ProtocolViolation(f"the block of events from {leaves.first} is not the one that is here")
    return held.seeds.joined(seeds, len(hashes))


def _check(head: LogHead, header: Header, body: bytes | None, seq: int, said: Said) -> None:
    """A log's stamps rise, except at a clock reset; bodies keep their limit; what is erased is said in `said`."""
    if header.kind == kinds.CLOCK_RESET:
        head.resets.append((seq, header.hlc))
    elif header.hlc <= head.hlc:
        raise ProtocolViolation(f"event {seq} is stamped before the one it follows")
    head.hlc = header.hlc
    if body is not None and len(body) > BODY_BYTES_MAX:
        raise ProtocolViolation(f"event {seq} has a body over BODY_BYTES_MAX ({BODY_BYTES_MAX}) bytes")
    if body is not None and header.kind == kinds.ERASED:
        said.append((seq, kinds.read_erased(body, seq).own_ranges))
