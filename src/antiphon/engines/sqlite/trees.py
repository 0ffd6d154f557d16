"""Room `engines` (imports all below it): a file's b-trees as their pages lie, and which page is whose."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from antiphon.engines.sqlite.rawpages import FRAME_HEADER, WAL_HEADER, Image
from antiphon.model.errors import Corrupt

TABLE_LEAF, TABLE_INNER, INDEX_LEAF, INDEX_INNER = 0x0D, 0x05, 0x0A, 0x02
TREE_TYPES: Final = frozenset({TABLE_LEAF, TABLE_INNER, INDEX_LEAF, INDEX_INNER})


class Cell(NamedTuple):
    """A cell of a page: where it lies, what it points to, and how much of its payload is on other pages."""

    start: int
    end: int
    child: int
    rowid: int
    payload_at: int
    payload_bytes: int
    local_bytes: int
    overflow: int


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for step in range(8):
        byte = data[at + step]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + step + 1
    return value << 8 | data[at + 8], at + 9


class Layout:
    """How cells, free blocks and overflow chains lie in pages of this many usable bytes."""

    def __init__(self, usable: int) -> None:
        self.usable = usable

    def head_at(self, number: int) -> int:
        """Where a page's own header begins."""
        return 100 if number == 1 else 0

    def cells(self, number: int, data: bytes) -> list[Cell]:
        """The cells of a b-tree page. Raises IndexError or struct.error on bytes that are none."""
        head = self.head_at(number)
        kind = data[head]
        (count,) = struct.unpack_from(">H", data, head + 3)
        pointers = head + (8 if kind in (TABLE_LEAF, INDEX_LEAF) else 12)
        return [self._cell(kind, data, at) for at in struct.unpack_from(f">{count}H", data, pointers)]

    def _cell(self, kind: int, data: bytes, start: int) -> Cell:
        at, child, rowid, payload = start, 0, 0, 0
        if kind in (TABLE_INNER, INDEX_INNER):
            (child,) = struct.unpack_from(">I", data, at)
            at += 4
        if kind != TABLE_INNER:
            payload, at = _varint(data, at)
        if kind in (TABLE_LEAF, TABLE_INNER):
            rowid, at = _varint(data, at)
        local = self._local(kind, payload)
        end = at + local
        overflow = 0
        if local < payload:
            (overflow,) = struct.unpack_from(">I", data, end)
            end += 4
        return Cell(start, max(end, start + 4), child, rowid, at, payload, local, overflow)

    def _local(self, kind: int, payload: int) -> int:
        most = self.usable - 35 if kind == TABLE_LEAF else (self.usable - 12) * 64 // 255 - 23
        if payload <= most:
            return payload
        least = (self.usable - 12) * 32 // 255 - 23
        local = least + (payload - least) % (self.usable - 4)
        return local if local <= most else least

    def free(self, number: int, data: bytes) -> list[tuple[int, int]]:
        """The free spans of a b-tree page: the gap, the free blocks behind their own 4 bytes, the fragments."""
        head = self.head_at(number)
        kind, block, count = struct.unpack_from(">BHH", data, head)
        taken = [(0, head + (8 if kind in (TABLE_LEAF, INDEX_LEAF) else 12) + 2 * count)]
        taken += [(cell.start, cell.end) for cell in self.cells(number, data)]
        while block:
            taken.append((block, block + 4))
            (block,) = struct.unpack_from(">H", data, block)
        spans: list[tuple[int, int]] = []
        reached = 0
        for start, end in sorted(taken):
            if start > reached:
                spans.append((reached, start))
            reached = max(reached, end)
        if reached < self.usable:
            spans.append((reached, self.usable))
        return spans


def columns_in(payload: bytes) -> list[Any]:
    """The text and whole numbers of a record; None for what is neither."""
    size, at = _varint(payload, 0)
    kinds: list[int] = []
    while at < size:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    values: list[Any] = []
    widths = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 7: 8, 8: 0, 9: 0}
    for kind in kinds:
        width = widths.get(kind, (kind - 12) // 2)
        raw = payload[at : at + width]
        at += width
        text = kind >= 13 and kind % 2 == 1
        values.append(raw.decode("utf-8", "replace") if text else int.from_bytes(raw, "big") if 0 < kind < 7 else None)
    return values


class View:
    """The database as its newest committed pages make it: which page belongs to what, and where it ends."""

    def __init__(self, images: list[Image], committed: int) -> None:
        self.pages = {image.number: image.data for image in images if image.frame is None}
        for image in images:
            if image.frame is not None and image.frame < committed:
                self.pages[image.number] = image.data
        first = self.pages[1]
        self.layout = Layout(struct.unpack_from(">H", first, 16)[0] - first[20])
        self.count: int = struct.unpack_from(">I", first, 28)[0]
        self.owner: dict[int, str] = {}
        self.free: dict[int, list[tuple[int, int]]] = {}
        self._walk("sqlite_schema", 1)
        for kind, name, _, root in self._schema():
            if root:
                self._walk(f"{kind} {name}", root)
        self.free_pages = self._walk_free_list()

    def _schema(self) -> Iterator[tuple[str, str, str, int]]:
        waiting = [1]
        while waiting:
            number = waiting.pop()
            data = self.pages[number]
            for cell in self.layout.cells(number, data):
                if cell.child:
                    waiting.append(cell.child)
                    continue
                kind, name, table, root, *_ = columns_in(self.payload(cell, data))
                yield kind, name, table, root or 0
            if data[self.layout.head_at(number)] == TABLE_INNER:
                waiting.append(struct.unpack_from(">I", data, self.layout.head_at(number) + 8)[0])

    def holds_numbers(self, number: int) -> bool:
        """Whether a page's cells are page and row numbers alone: the inner pages of tables."""
        return self.pages[number][self.layout.head_at(number)] == TABLE_INNER and "overflow" not in self.owner[number]

    def payload(self, cell: Cell, data: bytes) -> bytes:
        """A cell's record, with what of it is on overflow pages."""
        found = data[cell.payload_at : cell.payload_at + cell.local_bytes]
        following = cell.overflow
        while following and len(found) < cell.payload_bytes:
            page = self.pages[following]
            (following,) = struct.unpack_from(">I", page, 0)
            found += page[4 : 4 + min(self.layout.usable - 4, cell.payload_bytes - len(found))]
        return found

    def _walk(self, owner: str, root: int) -> None:
        waiting = [root]
        while waiting:
            number = waiting.pop()
            data = self.pages.get(number, b"")
            head = self.layout.head_at(number)
            if number in self.owner or not data or data[head] not in TREE_TYPES:
                raise Corrupt(f"page {number} is not a page of {owner}")
            self.owner[number] = owner
            self.free[number] = self.layout.free(number, data)
            if data[head] in (TABLE_INNER, INDEX_INNER):
                waiting.append(struct.unpack_from(">I", data, head + 8)[0])
            for cell in self.layout.cells(number, data):
                if cell.child:
                    waiting.append(cell.child)
                self._walk_chain(f"{owner}, overflow", cell)

    def _walk_chain(self, owner: str, cell: Cell) -> None:
        left, following = cell.payload_bytes - cell.local_bytes, cell.overflow
        while following:
            number = following
            self.owner[number] = owner
            held = min(left, self.layout.usable - 4)
            left -= held
            self.free[number] = [(4 + held, self.layout.usable)] if held < self.layout.usable - 4 else []
            (following,) = struct.unpack_from(">I", self.pages[number], 0)

    def _walk_free_list(self) -> int:
        (trunk,) = struct.unpack_from(">I", self.pages[1], 32)
        pages = 0
        while trunk:
            data = self.pages[trunk]
            number, (trunk, count) = trunk, struct.unpack_from(">II", data, 0)
            self.owner[number] = "free list"
            self.free[number] = [(8 + 4 * count, self.layout.usable)]
            leaves = struct.unpack_from(f">{count}I", data, 8)
            for leaf in leaves:
                self.owner[leaf] = "free page"
                self.free[leaf] = [(0, self.layout.usable)]
            pages += 1 + len(leaves)
        return pages


def _committed_frames(path: Path, page_bytes: int) -> int:
    """How many frames of the write-ahead log count: those of its present salt, to the last that ends a commit."""
    log = path.with_name(path.name + "-wal")
    raw = log.read_bytes() if log.exists() else b""
    step, committed = FRAME_HEADER + page_bytes, 0
    for frame in range((len(raw) - WAL_HEADER) // step):
        head = raw[WAL_HEADER + frame * step :][:FRAME_HEADER]
        if head[8:16] != raw[16:24]:
            break
        if head[4:8] != bytes(4):
            committed = frame + 1
    return committed


def view_of(path: Path, images: list[Image]) -> View:
    """A file's pages as its last commit left them."""
    return View(images, _committed_frames(path, len(images[0].data)))
