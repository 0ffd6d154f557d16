"""Room `log` (imports `identity`, `world`, `model`): reading events and hashes out of stored blocks, cached."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import pairwise
from typing import Final, TypeVar

from antiphon.log.block import Leaves, unpack_run
from antiphon.log.frames import Frame
from antiphon.log.leaf import body_hash, leaf_hash
from antiphon.log.loaded import Held, LoadedBlock, hashes_of
from antiphon.log.store import LogHead, LogStore
from antiphon.log.tree import root_of
from antiphon.model import hlc
from antiphon.model.errors import Corrupt, NotFound
from antiphon.model.event import Event, Header, State, encode_header, stored_header
from antiphon.model.limits import BLOCK_LEAVES

T = TypeVar("T")
Ranges = Sequence[tuple[int, int]]
"""Of seqs: (first, one past the last), ascending and disjoint."""
Hidden = Mapping[int, Ranges]
"""By log number: events that are stored and that nobody is shown, since an erasure of them waits out its hold."""
_CACHED_BLOCKS: Final = 64
_CACHED_FRAMES: Final = 256


def every_kind(kind: str) -> bool:
    """Says that every kind is wanted."""
    return True


def stamp_of(head: LogHead, seq: int, recorded: int) -> int:
    """An event's stamp: the least of its own hlc and those of later clock resets in its log."""
    for at, reset in head.resets:
        if at > seq and reset < recorded:
            recorded = reset
    return recorded


def covers(ranges: Ranges, seq: int) -> bool:
    """Whether one of these ranges holds this seq."""
    at = bisect_right(ranges, seq, key=lambda one: one[0])
    return at > 0 and seq < ranges[at - 1][1]


class LogReader:
    """Events and hashes of the logs in one store.

    `fresh` returns a number that changes when stored blocks may have changed; cached ones are dropped then.
    Where somebody rewrites a block just while it is read, it is read again in a `snapshot`. What is `hidden` reads as
    if it were gone; `beneath` alone, which is for taking it out of tables and putting it back, reads it.
    """

    def __init__(
        self,
        store: LogStore,
        fresh: Callable[[], int],
        snapshot: Callable[[], AbstractContextManager[None]] = nullcontext,
        hidden: Callable[[], Hidden] = dict,
    ) -> None:
        self._store = store
        self._fresh = fresh
        self._snapshot = snapshot
        self._hidden = hidden
        self._veils: Hidden = {}
        self._version = -1
        self._blocks: OrderedDict[tuple[int, int], LoadedBlock] = OrderedDict()
        self._frames: OrderedDict[tuple[int, int], Frame] = OrderedDict()

    def forget_caches(self) -> None:
        """Drops everything cached."""
        self._blocks = OrderedDict()
        self._frames = OrderedDict()

    def loaded(self, head: LogHead, seq: int) -> LoadedBlock:
        """The block that holds this event."""
        if not 0 <= seq < head.size:
            raise NotFound(f"the log has {head.size:,} events; there is no event {seq}", seq=seq)
        self._refresh()
        key = (head.no, seq - seq % BLOCK_LEAVES)
        found = self._blocks.get(key)
        if found is None:
            found = LoadedBlock(self._store, head, key[1])
            self._blocks[key] = found
            if len(self._blocks) > _CACHED_BLOCKS:
                self._blocks.popitem(last=False)
        return found

    def _refresh(self) -> None:
        version = self._fresh()
        if version != self._version:
            self.forget_caches()
            self._veils = self._hidden()
            self._version = version

    def veil(self, head: LogHead) -> Ranges:
        """What of a log is hidden."""
        self._refresh()
        return self._veils.get(head.no, ()) if self._veils else ()

    def _steady(self, read: Callable[[], T]) -> T:
        try:
            return read()
        except Corrupt:
            with self._snapshot():
                self.forget_caches()
                return read()

    def header(self, head: LogHead, seq: int) -> Header | None:
        """One header, None where it is gone."""
        header = self._steady(lambda: self.loaded(head, seq).header(seq))
        return None if self._veils and covers(self.veil(head), seq) else header

    def event(self, head: LogHead, seq: int) -> Event:
        """One event. Raises NotFound when it was forgotten."""
        event = self._steady(lambda: self._event(head, seq))
        if self._veils and covers(self.veil(head), seq):
            raise NotFound(f"event {seq} was erased by its log; it is hidden, and destroyed after a hold", seq=seq)
        return event

    def beneath(self, head: LogHead, seq: int) -> Event:
        """One event, hidden or not. Raises NotFound when it is gone."""
        return self._steady(lambda: self._event(head, seq))

    def _event(self, head: LogHead, seq: int) -> Event:
        loaded = self.loaded(head, seq)
        header = loaded.header(seq)
        if header is None:
            raise NotFound(f"event {seq} was forgotten; only its hash is kept", seq=seq)
        body = self._body(head, loaded, seq)
        return Event(head.id, seq, header, body, stamp_of(head, seq, header.hlc), head.owner)

    def _body(self, head: LogHead, loaded: LoadedBlock, seq: int) -> bytes | None:
        if seq - loaded.first >= loaded.row.packed:
            return loaded.run_body(seq)
        start, end = loaded.place_of_frame(seq)
        key = (head.no, start)
        frame = self._frames.get(key)
        if frame is None:
            frame = self._frames[key] = loaded.frame(self._store, start, end)
            if len(self._frames) > _CACHED_FRAMES:
                self._frames.popitem(last=False)
        return frame.body(seq - start)

    def events(
        self, head: LogHead, first: int = 0, last: int | None = None, *, whole: Callable[[str], bool] = every_kind
    ) -> Iterator[Event]:
        """The events held in [first, last), in order, block by block; forgotten ones are left out.

        `whole` says of which kinds the bodies are wanted: of others they may be None, and are not inflated.
        """
        end = head.size if last is None else min(last, head.size)
        seq = max(first, 0)
        while seq < end:
            stop = min(end, seq - seq % BLOCK_LEAVES + BLOCK_LEAVES)
            veil = self.veil(head)
            for place, header, body in self._steady(partial(self._held, head, seq, stop, whole)):
                if veil and covers(veil, place):
                    continue
                yield Event(head.id, place, header, body, stamp_of(head, place, header.hlc), head.owner)
            seq = stop

    def _held(self, head: LogHead, start: int, stop: int, whole: Callable[[str], bool]) -> list[Held]:
        """The leaves held in [start, stop) of one block, uncached: what else is in the block is not decoded."""
        found: list[Held] = []
        runs = self._store.runs(head.no, start, stop)
        if not runs or runs[0].first != start:
            loaded = LoadedBlock(self._store, head, start - start % BLOCK_LEAVES)
            found, runs = loaded.packed_in(self._store, start, stop, whole), loaded.runs
            start = max(start, loaded.first + loaded.row.packed)
        for run in runs:
            if run.first + run.count <= start or run.first >= stop:
                continue
            if run.first > start:
                break
            leaves = unpack_run(run.first, run.count, run.data)
            for at in range(start - run.first, min(stop - run.first, run.count)):
                raw = leaves.headers[at]
                if raw is not None:
                    found.append((run.first + at, stored_header(raw), leaves.bodies[at]))
            start = run.first + run.count
        if start < stop:
            raise Corrupt(f"event {start} is missing from its block", seq=start)
        return found

    def leaves(self, head: LogHead, seq: int) -> Leaves:
        """Everything held of the block around this event, uncached; what is hidden as a hash alone."""
        if not 0 <= seq < head.size:
            raise NotFound(f"the log has {head.size:,} events; there is no event {seq}", seq=seq)
        first = seq - seq % BLOCK_LEAVES
        veil = [(low, high) for low, high in self.veil(head) if low < first + BLOCK_LEAVES and high > first]

        def read() -> Leaves:
            loaded = LoadedBlock(self._store, head, first)
            leaves = loaded.leaves(self._store)
            hashes = hashes_of(leaves, loaded.seeds) if veil else []
            for low, high in veil:
                for at in range(max(low, first) - first, min(high - first, len(hashes))):
                    if leaves.state(at) <= State.WITHHELD:
                        leaves.forget(at, hashes[at], State.ERASED)
            return leaves

        return self._steady(read)

    def hashes(self, head: LogHead, seq: int) -> list[bytes]:
        """The leaf hashes of the block around this event, from its first leaf, computed from what is held."""

        def read() -> list[bytes]:
            loaded = LoadedBlock(self._store, head, seq - seq % BLOCK_LEAVES)
            return hashes_of(loaded.leaves(self._store), loaded.seeds)

        return self._steady(read)

    def opening(self, head: LogHead, seq: int) -> tuple[Event, bytes, bytes]:
        """An event with the blind and the salt that open its leaf."""
        return self._opening(self.event(head, seq), head)

    def _opening(self, event: Event, head: LogHead) -> tuple[Event, bytes, bytes]:
        blind, salt = self.loaded(head, event.seq).seeds.of(event.seq)
        if blind is None or salt is None or event.body is None:
            raise NotFound(f"event {event.seq} was withheld or forgotten and cannot be shown", seq=event.seq)
        return event, blind, salt

    def leaf(self, head: LogHead, seq: int) -> bytes:
        """One leaf's hash."""
        return self._steady(lambda: self._leaf(head, seq))

    def _leaf(self, head: LogHead, seq: int) -> bytes:
        loaded = self.loaded(head, seq)
        kept = loaded.kept_hash(seq)
        if kept is not None and loaded.state(seq) != State.WITHHELD:
            return kept
        event, blind, salt = self._opening(self._event(head, seq), head)
        return leaf_hash(blind, encode_header(event.header), body_hash(salt, event.body or b""))

    def subtree(self, head: LogHead) -> Callable[[int, int], bytes]:
        """The roots of this log's subtrees, as `tree.inclusion_path` asks for them; stored block roots are used."""
        roots = {first: root for first, _, root in self._store.blocks(head.no) if root}
        known: dict[int, list[bytes]] = {}

        def find(first: int, last: int) -> bytes:
            block_first = first - first % BLOCK_LEAVES
            if last - first == BLOCK_LEAVES and first in roots:
                return roots[first]
            if last - first > BLOCK_LEAVES:  # blocks are aligned: the tree over block roots is that over leaves
                starts = range(first, last, BLOCK_LEAVES)
                return root_of([find(start, min(start + BLOCK_LEAVES, last)) for start in starts])
            if block_first not in known:
                known[block_first] = self.hashes(head, block_first)
            return root_of(known[block_first][first - block_first : last - block_first])

        return find

    def find_entity(self, head: LogHead, entity: bytes) -> int | None:
        """The seq of the event that created this entity in this log, by the time in the id."""
        ms = int.from_bytes(entity[:6], "big")
        edges = [0, *(at for at, _ in head.resets), head.size]
        for low, high in pairwise(edges):
            seq = self._first_at(head, low, high, hlc.from_ms(ms))
            while seq < high:
                header = self.header(head, seq)
                if header is not None:
                    if hlc.to_ms(header.hlc) != ms:
                        break
                    if header.entity == entity:
                        return seq
                seq += 1
        return None

    def _first_at(self, head: LogHead, low: int, high: int, stamp: int) -> int:
        """The first seq in [low, high) stamped at or after `stamp`; forgotten events are passed over."""
        while low < high:
            middle = (low + high) // 2
            probe = middle
            header = None
            while probe < high and (header := self.header(head, probe)) is None:
                probe += 1
            if header is None or header.hlc >= stamp:
                high = middle
            else:
                low = probe + 1
        return low
