"""Room `log` (imports `identity`, `world`, `model`): rewriting stored blocks to the same root: packing and erasing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import accumulate

import msgspec

from antiphon.log import block as blocks
from antiphon.log.block import Leaves
from antiphon.log.frames import cut_frames, pack_frames
from antiphon.log.loaded import LoadedBlock, hashes_of
from antiphon.log.seeds import Seeds
from antiphon.log.store import BlockRow, LogHead, LogStore, RunRow
from antiphon.model.errors import Corrupt
from antiphon.model.event import State
from antiphon.model.limits import BLOCK_LEAVES
from antiphon.model.text import EntityIds

Snapshot = Callable[[], AbstractContextManager[None]]


class Packed(msgspec.Struct):
    """A block with everything in it packed, and what it was packed from."""

    row: BlockRow
    frames: list[tuple[int, bytes]]
    was: BlockRow
    runs: list[RunRow]


def pack(store: LogStore, head: LogHead, first: int, snapshot: Snapshot = nullcontext) -> Packed | None:
    """Packs everything in one block, and stores nothing; None where there is nothing to pack. The snapshot is held
    while it reads, no longer.
    """
    with snapshot():
        loaded = LoadedBlock(store, head, first)
        if not loaded.runs:
            return None
        leaves = loaded.leaves(store)
    row, frames = _packed(head, leaves, loaded.row, loaded.seeds)
    return Packed(row, frames, loaded.row, loaded.runs)


def save_packed(store: LogStore, head: LogHead, done: Packed) -> bool:
    """Stores a packed block; False where what it was packed from is not there any more. Runs that came behind stay."""
    first, was = done.row.first, done.was
    now = store.block(head.no, first)
    if now is None or (now.packed, now.seeds, now.columns) != (was.packed, was.seeds, was.columns):
        return False
    if store.runs(head.no, first + was.packed, first + done.row.packed) != done.runs:
        return False
    done.row.root = now.root
    store.save_block(head.no, done.row, done.frames)
    return True


def pack_block(store: LogStore, head: LogHead, first: int) -> bool:
    """Packs everything in one block into columns and frames; False when there was nothing to pack."""
    done = pack(store, head, first)
    return done is not None and save_packed(store, head, done)


def _packed(head: LogHead, leaves: Leaves, row: BlockRow, seeds: Seeds) -> tuple[BlockRow, list[tuple[int, bytes]]]:
    cuts = cut_frames(leaves.bodies)
    ids = EntityIds(head.id)
    columns = blocks.pack_columns(leaves, ids=ids, frames=cuts)
    again = blocks.headers_of(blocks.unpack_columns(columns), first=leaves.first, ids=ids)
    if blocks.encode_headers(again) != leaves.headers:
        raise Corrupt(f"packing the block of events from {leaves.first} would change it", first=leaves.first)
    starts = accumulate(cuts, initial=leaves.first)
    frames = list(zip(starts, pack_frames(leaves.bodies, cuts), strict=False))
    return BlockRow(leaves.first, len(leaves.headers), seeds.packed(), row.root, columns), frames


def erase(store: LogStore, head: LogHead, seqs: list[int], state: State = State.ERASED) -> None:
    """Destroys headers, bodies, blinds and salts of these leaves (ascending); their hashes stay.

    Call inside the store's transaction. *Cost*: each touched block is written again, about 10 ms for a full one.
    """
    at = 0
    while at < len(seqs):
        first = seqs[at] - seqs[at] % BLOCK_LEAVES
        end = at
        while end < len(seqs) and seqs[end] < first + BLOCK_LEAVES:
            end += 1
        _erase_in_block(store, head, first, seqs[at:end], state)
        at = end


def _erase_in_block(store: LogStore, head: LogHead, first: int, seqs: list[int], state: State) -> None:
    loaded = LoadedBlock(store, head, first)
    leaves, seeds = loaded.leaves(store), loaded.seeds
    hashes = hashes_of(leaves, seeds)
    for seq in seqs:
        if leaves.state(seq - first) <= State.WITHHELD:
            leaves.forget(seq - first, hashes[seq - first], state)
    seeds.destroy(seqs)
    if loaded.row.packed:
        row, frames = _packed(head, leaves, loaded.row, seeds)
        store.save_block(head.no, row, frames)
        return
    loaded.row.seeds = seeds.packed()
    store.save_block(head.no, loaded.row, None)
    gone = set(seqs)
    for run in loaded.runs:
        if gone.isdisjoint(range(run.first, run.first + run.count)):
            continue
        low, high = run.first - first, run.first - first + run.count
        part = Leaves(
            run.first,
            leaves.headers[low:high],
            leaves.bodies[low:high],
            None if leaves.states is None else leaves.states[low:high],
            {at - low: value for at, value in leaves.hashes.items() if low <= at < high},
        )
        store.save_run(head.no, RunRow(run.first, run.count, blocks.pack_run(part)))
