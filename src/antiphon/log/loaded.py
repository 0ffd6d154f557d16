"""Room `log` (imports `identity`, `world`, `model`): one stored block in memory, and the hashes of what it holds."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate, pairwise

from antiphon.log import block as blocks
from antiphon.log.frames import Frame, unpack_frame
from antiphon.log.leaf import body_hash, leaf_hash
from antiphon.log.seeds import Seeds
from antiphon.log.store import LogHead, LogStore
from antiphon.log.tree import HASH_BYTES
from antiphon.model.errors import Corrupt
from antiphon.model.event import Header, State, decode_header
from antiphon.model.limits import BLOCK_LEAVES
from antiphon.model.text import EntityIds

Held = tuple[int, Header, bytes | None]
"""A leaf whose header is held: its seq, the header, and the body."""


class LoadedBlock:
    """One block in memory: columns for its packed leaves, the runs behind them as they are."""

    def __init__(self, store: LogStore, head: LogHead, first: int) -> None:
        row = store.block(head.no, first)
        if row is None:
            raise Corrupt(f"the block of events from {first} is missing", first=first)
        self.first = first
        self.row = row
        self._no = head.no
        self._ids = EntityIds(head.id)
        self._seeds = Seeds(head.id, first, row.seeds)
        self._columns = blocks.unpack_columns(row.columns) if row.columns else None
        if self._columns is not None and self._columns.count != row.packed:
            raise Corrupt(f"the block of events from {first} contradicts its columns", first=first)
        self._starts = list(accumulate(self._columns.frames, initial=0)) if self._columns else [0]
        self._sums: tuple[list[int], list[int]] | None = None
        self._reads = 0
        loose = row.packed < BLOCK_LEAVES
        self.runs = store.runs(head.no, first + row.packed, first + BLOCK_LEAVES) if loose else []
        self._run_leaves: dict[int, blocks.Leaves] = {}

    @property
    def seeds(self) -> Seeds:
        return self._seeds

    def _run_at(self, seq: int) -> blocks.Leaves | None:
        for run in self.runs:
            if run.first <= seq < run.first + run.count:
                leaves = self._run_leaves.get(run.first)
                if leaves is None:
                    leaves = self._run_leaves[run.first] = blocks.unpack_run(run.first, run.count, run.data)
                return leaves
        return None

    def state(self, seq: int) -> int:
        """How much of this leaf is held."""
        at = seq - self.first
        if at < self.row.packed and self._columns is not None:
            return State.WHOLE if self._columns.states is None else self._columns.states[at]
        run = self._run_at(seq)
        if run is None:
            raise Corrupt(f"event {seq} is missing from its block", seq=seq)
        return run.state(seq - run.first)

    def header(self, seq: int) -> Header | None:
        """This leaf's header, None where it is gone."""
        at = seq - self.first
        columns = self._columns
        if at < self.row.packed and columns is not None:
            self._reads += 1
            if self._sums is None and self._reads > 1:
                self._sums = columns.stamps_of(columns.count), columns.times_of(columns.count)
            if self._sums is None:
                return blocks.header_at(columns, at, first=self.first, ids=self._ids)
            stamps, times = self._sums
            return columns.header(at, stamps[at], times[at] if times else 0, first=self.first, ids=self._ids)
        run = self._run_at(seq)
        if run is None:
            raise Corrupt(f"event {seq} is missing from its block", seq=seq)
        raw = run.headers[seq - run.first]
        return None if raw is None else decode_header(raw)

    def place_of_frame(self, seq: int) -> tuple[int, int]:
        """The first seqs of the frame that holds this packed leaf's body, and of the next one."""
        at = seq - self.first
        low, high = 0, len(self._starts) - 1
        while high - low > 1:
            middle = (low + high) // 2
            if self._starts[middle] <= at:
                low = middle
            else:
                high = middle
        return self.first + self._starts[low], self.first + self._starts[high]

    def run_body(self, seq: int) -> bytes | None:
        """The body of a leaf that is still in a run."""
        run = self._run_at(seq)
        if run is None:
            raise Corrupt(f"event {seq} is missing from its block", seq=seq)
        return run.bodies[seq - run.first]

    def kept_hash(self, seq: int) -> bytes | None:
        """The stored hash of a leaf that is not whole."""
        at = seq - self.first
        if at < self.row.packed and self._columns is not None:
            return self._columns.hashes.get(at)
        run = self._run_at(seq)
        return None if run is None else run.hashes.get(seq - run.first)

    def leaves(self, store: LogStore) -> blocks.Leaves:
        """Everything held of the block, from its first leaf."""
        found = blocks.Leaves(self.first, [], [])
        if self._columns is not None:
            columns = self._columns
            headers = blocks.headers_of(columns, first=self.first, ids=self._ids)
            bodies: list[bytes | None] = []
            for start, end in pairwise(self._starts):
                frame = self.frame(store, self.first + start, self.first + end)
                bodies += [frame.body(at) for at in range(end - start)]
            states = None if columns.states is None else bytearray(columns.states)
            encoded = blocks.encode_headers(headers)
            found = blocks.Leaves(self.first, encoded, bodies, states, dict(columns.hashes))
        for run in self.runs:
            if run.first != self.first + len(found.headers):
                raise Corrupt(f"events are missing before {run.first}", seq=run.first)
            found.extend(blocks.unpack_run(run.first, run.count, run.data))
        return found

    def packed_in(self, store: LogStore, start: int, stop: int, whole: Callable[[str], bool]) -> list[Held]:
        """What is held in [start, stop) among the packed leaves; frames are inflated for kinds wanted whole."""
        columns = self._columns
        first, last = max(start - self.first, 0), min(stop - self.first, self.row.packed)
        if columns is None or first >= last:
            return []
        headers = blocks.headers_of(columns, first=self.first, ids=self._ids, low=first, high=last)
        wanted = {shape[0]: whole(shape[0]) for shape in columns.shapes}
        found: list[Held] = []
        for low, high in pairwise(self._starts):
            if high <= first or low >= last:
                continue
            frame: Frame | None = None
            for at in range(max(low, first), min(high, last)):
                header = headers[at - first]
                if header is None:
                    continue
                if not wanted[header.kind]:
                    found.append((self.first + at, header, None))
                    continue
                if frame is None:
                    frame = self.frame(store, self.first + low, self.first + high)
                found.append((self.first + at, header, frame.body(at - low)))
        return found

    def frame(self, store: LogStore, start: int, end: int) -> Frame:
        """The frame with the bodies of the packed leaves [start, end)."""
        data = store.frame(self._no, start)
        if data is None:
            raise Corrupt(f"the frame of bodies from event {start} is missing", seq=start)
        return unpack_frame(data, end - start)


def hashes_of(leaves: blocks.Leaves, seeds: Seeds) -> list[bytes]:
    """The leaf hashes of a block, computed from everything held. Raises Corrupt where something needed is gone."""
    count = len(leaves.headers)
    if len(leaves.bodies) != count or leaves.first % BLOCK_LEAVES + count > BLOCK_LEAVES:
        raise Corrupt(f"the events from {leaves.first} are not those of one block", seq=leaves.first)
    blinds, salts = seeds.span(leaves.first, count)
    found: list[bytes] = []
    for at, (header, body, blind, salt) in enumerate(zip(leaves.headers, leaves.bodies, blinds, salts, strict=True)):
        state = leaves.state(at)
        if state == State.WHOLE and header is not None and body is not None and blind and salt:
            found.append(leaf_hash(blind, header, body_hash(salt, body)))
        elif len(leaves.hashes.get(at, b"")) != HASH_BYTES:
            raise Corrupt(f"event {leaves.first + at} lacks what its state promises", seq=leaves.first + at)
        elif state == State.WITHHELD and header is not None and blind:
            found.append(leaf_hash(blind, header, leaves.hashes[at]))
        elif state > State.WITHHELD and header is None and body is None:
            found.append(leaves.hashes[at])
        else:
            raise Corrupt(f"event {leaves.first + at} lacks what its state promises", seq=leaves.first + at)
    return found
