"""Room `log` (imports `identity`, `world`, `model`): taking in leaves that somebody else wrote, verified first."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from antiphon.log import checkpoint, kinds
from antiphon.log.append import BLOCK_LEVEL
from antiphon.log.block import Leaves, pack_run
from antiphon.log.read import LogReader, hashes_of
from antiphon.log.seeds import Seeds
from antiphon.log.store import BlockRow, LogHead, LogStore, RunRow
from antiphon.log.tree import Frontier
from antiphon.model.errors import Corrupt, ProtocolViolation
from antiphon.model.event import Header, decode_header
from antiphon.model.limits import BLOCK_LEAVES


class Part(msgspec.Struct):
    """Leaves of one block, from its first leaf, with the block's seeds."""

    leaves: Leaves
    seeds: bytes


def parts_of(store: LogStore, reader: LogReader, head: LogHead, *, first: int = 0) -> Iterable[Part]:
    """The parts of a log from the block that holds `first`."""
    for start in range(first - first % BLOCK_LEAVES, head.size, BLOCK_LEAVES):
        row = store.block(head.no, start)
        if row is None:
            raise Corrupt(f"the block of events from {start} is missing", first=start)
        leaves = reader.leaves(head, start)
        del leaves.headers[head.size - start :], leaves.bodies[head.size - start :]
        yield Part(leaves, row.seeds)


def ingest(store: LogStore, head: LogHead, parts: Iterable[Part], note: bytes) -> LogHead:
    """The head after storing these parts behind what it has. Call inside a transaction: a failure stores nothing.

    Raises ProtocolViolation when headers, hashes or the signed root do not fit together.
    """
    signed = checkpoint.verify(note, head.key, log_id=head.id)
    head = msgspec.structs.replace(head, resets=list(head.resets))
    frontier = Frontier(head.size, head.frontier)
    for part in parts:
        _take(store, head, frontier, part)
    if signed.size != frontier.size or signed.root != frontier.root():
        raise ProtocolViolation(
            f"the events received give another root than the checkpoint of size {signed.size} signs"
        )
    head.frontier, head.note = frontier.packed(), note
    store.save_head(head)
    return head


def _take(store: LogStore, head: LogHead, frontier: Frontier, part: Part) -> None:
    leaves = part.leaves
    seeds = Seeds(head.id, leaves.first, part.seeds)
    try:
        hashes = hashes_of(leaves, seeds)
    except Corrupt as error:
        raise ProtocolViolation(str(error)) from None
    skip = frontier.size - leaves.first
    if not 0 <= skip <= len(hashes) or frontier.size // BLOCK_LEAVES != leaves.first // BLOCK_LEAVES:
        raise ProtocolViolation("blocks that do not follow what is here")
    for at in range(skip, len(hashes)):
        raw = leaves.headers[at]
        if raw is not None:
            _check(head, decode_header(raw), leaves.first + at)
    done = frontier.extend(hashes[skip:], keep_level=BLOCK_LEVEL)
    block = store.block(head.no, leaves.first) or BlockRow(leaves.first, 0, part.seeds)
    block.seeds = part.seeds
    block.root = done[0] if done else b""
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


def _check(head: LogHead, header: Header, seq: int) -> None:
    """A log's stamps rise, except at a clock reset."""
    if header.kind == kinds.CLOCK_RESET:
        head.resets.append((seq, header.hlc))
    elif header.hlc <= head.hlc:
        raise ProtocolViolation(f"event {seq} is stamped before the one it follows")
    head.hlc = header.hlc
