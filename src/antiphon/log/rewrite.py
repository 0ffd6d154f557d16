"""Room `log` (imports `identity`, `world`, `model`): rewriting stored blocks to the same root: packing and erasing."""

from __future__ import annotations

from itertools import accumulate

from antiphon.log import block as blocks
from antiphon.log.block import Leaves
from antiphon.log.read import LoadedBlock, hashes_of
from antiphon.log.seeds import Seeds
from antiphon.log.store import BlockRow, LogHead, LogStore, RunRow
from antiphon.model.errors import Corrupt
from antiphon.model.event import State
from antiphon.model.limits import BLOCK_LEAVES
from antiphon.model.text import EntityIds


def pack_block(store: LogStore, head: LogHead, first: int) -> bool:
    """Packs everything in one block into columns and frames; False when there was nothing to pack."""
    loaded = LoadedBlock(store, head, first)
    if not loaded.runs:
        return False
    _save_packed(store, head, loaded.leaves(store), loaded.row, loaded.seeds)
    return True


def _save_packed(store: LogStore, head: LogHead, leaves: Leaves, row: BlockRow, seeds: Seeds) -> None:
    cuts = blocks.cut_frames(leaves.bodies)
    ids = EntityIds(head.id)
    columns = blocks.pack_columns(leaves, ids=ids, frames=cuts)
    again = blocks.headers_of(blocks.unpack_columns(columns), first=leaves.first, ids=ids)
    if blocks.encode_headers(again) != leaves.headers:
        raise Corrupt(f"packing the block of events from {leaves.first} would change it", first=leaves.first)
    starts = accumulate(cuts, initial=leaves.first)
    frames = zip(starts, blocks.pack_frames(leaves.bodies, cuts), strict=False)
    packed = BlockRow(leaves.first, len(leaves.headers), seeds.packed(), row.root, columns)
    store.save_block(head.no, packed, frames)


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
        _save_packed(store, head, leaves, loaded.row, seeds)
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
