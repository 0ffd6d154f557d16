"""Room `engines` (imports all below it): a file's pages as they lie on disk, decrypted: what forgetting must clear.

Reads main file and write-ahead log through the cipher, page by page, past SQLite's own view of them: live cells, free
pages, gaps, slack and stale frames alike. It changes nothing, and never folds the log in. What the device itself keeps
of overwritten or truncated bytes (flash wear levelling, file system journals) is out of its reach.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import apsw
import zstandard

from antiphon.engines.sqlite.file import SqliteFile, translated
from antiphon.engines.sqlite.rawpages import (
    FRAME_HEADER,
    WAL_HEADER,
    Image,
    RawFile,
    images_of,
    opened,
    place_of,
    unwritten,
)
from antiphon.model.errors import Corrupt

_TABLE_LEAF, _TABLE_INNER, _INDEX_LEAF, _INDEX_INNER = 0x0D, 0x05, 0x0A, 0x02
_TREE_TYPES: Final = frozenset({_TABLE_LEAF, _TABLE_INNER, _INDEX_LEAF, _INDEX_INNER})
_ZSTD_MAGIC: Final = zstandard.FRAME_HEADER
_BLOCK_MASK: Final = ~1_023
_INFLATED_BYTES_MAX: Final = 1 << 28
_LEFTOVER_BYTES_MIN: Final = 4
"""Fewer bytes than the smallest cell has are what is left between cells, not a cell."""


class Leftover(NamedTuple):
    """Bytes that belong to nothing and are not zero: where, and which."""

    place: str
    data: bytes


class FreeSpace(NamedTuple):
    """The free space of a file: how much was looked at, and what in it is not zero."""

    bytes_checked: int
    free_pages: int
    leftovers: list[Leftover]


class _Cell(NamedTuple):
    start: int
    end: int
    child: int
    rowid: int
    payload_at: int
    payload_bytes: int
    local_bytes: int
    overflow: int


# -- the file format -------------------------------------------------------------------------------------------------


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for step in range(8):
        byte = data[at + step]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + step + 1
    return value << 8 | data[at + 8], at + 9


class _Layout:
    """How cells, free blocks and overflow chains lie in pages of this many usable bytes."""

    def __init__(self, usable: int) -> None:
        self.usable = usable

    def head_at(self, number: int) -> int:
        return 100 if number == 1 else 0

    def cells(self, number: int, data: bytes) -> list[_Cell]:
        """The cells of a b-tree page. Raises IndexError or struct.error on bytes that are none."""
        head = self.head_at(number)
        kind = data[head]
        (count,) = struct.unpack_from(">H", data, head + 3)
        pointers = head + (8 if kind in (_TABLE_LEAF, _INDEX_LEAF) else 12)
        return [self._cell(kind, data, at) for at in struct.unpack_from(f">{count}H", data, pointers)]

    def _cell(self, kind: int, data: bytes, start: int) -> _Cell:
        at, child, rowid, payload = start, 0, 0, 0
        if kind in (_TABLE_INNER, _INDEX_INNER):
            (child,) = struct.unpack_from(">I", data, at)
            at += 4
        if kind != _TABLE_INNER:
            payload, at = _varint(data, at)
        if kind in (_TABLE_LEAF, _TABLE_INNER):
            rowid, at = _varint(data, at)
        local = self._local(kind, payload)
        end = at + local
        overflow = 0
        if local < payload:
            (overflow,) = struct.unpack_from(">I", data, end)
            end += 4
        return _Cell(start, max(end, start + 4), child, rowid, at, payload, local, overflow)

    def _local(self, kind: int, payload: int) -> int:
        most = self.usable - 35 if kind == _TABLE_LEAF else (self.usable - 12) * 64 // 255 - 23
        if payload <= most:
            return payload
        least = (self.usable - 12) * 32 // 255 - 23
        local = least + (payload - least) % (self.usable - 4)
        return local if local <= most else least

    def free(self, number: int, data: bytes) -> list[tuple[int, int]]:
        """The free spans of a b-tree page: the gap, the free blocks behind their own 4 bytes, the fragments."""
        head = self.head_at(number)
        kind, block, count = struct.unpack_from(">BHH", data, head)
        taken = [(0, head + (8 if kind in (_TABLE_LEAF, _INDEX_LEAF) else 12) + 2 * count)]
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


def _columns(payload: bytes) -> list[Any]:
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


class _View:
    """The database as its newest committed pages make it: which page belongs to what, and where it ends."""

    def __init__(self, images: list[Image], committed: int) -> None:
        self.pages = {image.number: image.data for image in images if image.frame is None}
        for image in images:
            if image.frame is not None and image.frame < committed:
                self.pages[image.number] = image.data
        first = self.pages[1]
        self.layout = _Layout(struct.unpack_from(">H", first, 16)[0] - first[20])
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
                kind, name, table, root, *_ = _columns(self.payload(cell, data))
                yield kind, name, table, root or 0
            if data[self.layout.head_at(number)] == _TABLE_INNER:
                waiting.append(struct.unpack_from(">I", data, self.layout.head_at(number) + 8)[0])

    def holds_numbers(self, number: int) -> bool:
        """Whether a page's cells are page and row numbers alone: the inner pages of tables."""
        return self.pages[number][self.layout.head_at(number)] == _TABLE_INNER and "overflow" not in self.owner[number]

    def payload(self, cell: _Cell, data: bytes) -> bytes:
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
            if number in self.owner or not data or data[head] not in _TREE_TYPES:
                raise Corrupt(f"page {number} is not a page of {owner}")
            self.owner[number] = owner
            self.free[number] = self.layout.free(number, data)
            if data[head] in (_TABLE_INNER, _INDEX_INNER):
                waiting.append(struct.unpack_from(">I", data, head + 8)[0])
            for cell in self.layout.cells(number, data):
                if cell.child:
                    waiting.append(cell.child)
                self._walk_chain(f"{owner}, overflow", cell)

    def _walk_chain(self, owner: str, cell: _Cell) -> None:
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


def _view_of(path: Path, images: list[Image]) -> _View:
    return _View(images, _committed_frames(path, len(images[0].data)))


# -- questions -------------------------------------------------------------------------------------------------------


def free_space(path: Path, key: bytes, cipher: str = "aegis") -> FreeSpace:
    """What in the file's free space is not zero: free pages, gaps and free blocks of b-trees, slack behind overflow.

    Numbers alone (stale page, row and cell numbers that SQLite leaves in its own tables) are no leftovers, nor are
    fewer bytes than make a cell. Call it on a settled file; frames of the write-ahead log are not free space and are
    not looked at. *Cost*: reads every page.
    """
    images = images_of(path, key, cipher)
    view = _view_of(path, images)
    checked, leftovers = 0, []
    for number, spans in sorted(view.free.items()):
        data, owner = view.pages[number], view.owner[number]
        for at, (start, end) in enumerate(spans):
            checked += end - start
            span = data[start:end]
            if owner == "free list":
                span = _without_page_numbers(span, view.count)
            elif at == 0 and "overflow" not in owner and owner != "free page":
                span = _without_pointers(span, view.layout.usable)
            if len(span.strip(b"\0")) >= _LEFTOVER_BYTES_MIN and not (at == 0 and view.holds_numbers(number)):
                leftovers.append(Leftover(f"page {number} ({owner}), bytes {start} to {end}", span))
    lost = set(view.pages).difference(view.owner)
    leftovers += [
        Leftover(f"page {number} (of nothing)", view.pages[number]) for number in sorted(lost) if number <= view.count
    ]
    return FreeSpace(checked, view.free_pages, leftovers)


def _without_page_numbers(span: bytes, most: int) -> bytes:
    """A free-list trunk keeps numbers of pages that it has given away."""
    words = len(span) // 4
    numbers = struct.unpack_from(f">{words}I", span, 0)
    return b"".join(struct.pack(">I", number) for number in numbers if number > most) + span[words * 4 :]


def _without_pointers(span: bytes, usable: int) -> bytes:
    """A b-tree page keeps, right behind its cell pointers, some of cells it no longer has."""
    at = 0
    while at + 2 <= len(span) and 0 < struct.unpack_from(">H", span, at)[0] < usable:
        at += 2
    return span[at:]


def wipe(file: SqliteFile, *, file_bytes_max: int) -> bool:
    """Whether the free space of an open, settled file is zero now; it is rewritten where that was needed.

    Secure delete zeroes what is deleted, but when SQLite moves cells between pages it leaves copies behind the
    moved ones; only rewriting the file reaches those. *Cost*: 10 µs a page to look, 10 ms a MiB to rewrite.
    """
    with file.transaction(), translated(file.path):
        if not _has_dirty_gap(file.writer):
            return True
    if file.path.stat().st_size > file_bytes_max:
        return False
    file.rewrite()
    return file.settle()


def _has_dirty_gap(connection: apsw.Connection) -> bool:
    """Whether a b-tree page holds anything between its cell pointers and its cells: only there do copies stay."""
    page_bytes: int = connection.execute("PRAGMA page_size").get
    path = Path(connection.filename)
    main = RawFile(connection, apsw.SQLITE_FCNTL_FILE_POINTER)
    for number in range(1, main.bytes_long() // page_bytes + 1):
        data = main.read((number - 1) * page_bytes, page_bytes) or unwritten(path, number, page_bytes)
        head = 100 if number == 1 else 0
        kind = data[head]
        if kind in _TREE_TYPES and kind != _TABLE_INNER:
            count, start = struct.unpack_from(">HH", data, head + 3)
            gap = data[head + (8 if kind in (_TABLE_LEAF, _INDEX_LEAF) else 12) + 2 * count : start or len(data)]
            if gap.strip(b"\0") and len(_without_pointers(gap, len(data)).strip(b"\0")) >= _LEFTOVER_BYTES_MIN:
                return True
    return False


def find_text(path: Path, key: bytes, needle: bytes, cipher: str = "aegis") -> list[str]:
    """Every place that holds these bytes: pages and stale frames, records put together, whatever inflates from them,
    and the full-text indexes (asked for the words in order). An empty list means: not in the file.

    *Cost*: reads every page and inflates every frame, about a second for 10 MiB.
    """
    if not needle:
        return []
    images = images_of(path, key, cipher)
    view = _view_of(path, images)
    search = _Search(images, view, needle)
    for image in images:
        search.look(image)
    search.look_at_dictionary_frames()
    return sorted(search.found) + _matches(path, key, cipher, needle)


class _Search:
    """Finds bytes in page images, in the records that they make up, and in what those records inflate to."""

    def __init__(self, images: list[Image], view: _View, needle: bytes) -> None:
        self._view = view
        self._needle = needle
        self._versions: dict[int, list[Image]] = {}
        for image in images:
            self._versions.setdefault(image.number, []).append(image)
        self._firsts: dict[int, list[bytes]] = {}
        self._waiting: list[tuple[str, int, bytes]] = []
        self.found: set[str] = set()

    def look(self, image: Image) -> None:
        """Searches one page image."""
        owner = self._view.owner.get(image.number)
        at = image.data.find(self._needle)
        while at >= 0:
            spans = self._view.free.get(image.number, ()) if image.data == self._view.pages.get(image.number) else ()
            free = any(start <= at < end for start, end in spans)
            self.found.add(("free space of " if free else "") + place_of(image, owner))
            at = image.data.find(self._needle, at + 1)
        self._look_at_pieces(image, owner)
        if image.data[self._view.layout.head_at(image.number)] in (_TABLE_LEAF, _INDEX_LEAF, _INDEX_INNER):
            with contextlib.suppress(IndexError, struct.error, KeyError):  # an image of something else
                self._look_at_records(image, owner)

    def _look_at_pieces(self, image: Image, owner: str | None) -> None:
        """What begins to inflate anywhere on the page, be it in a record or not."""
        at = image.data.find(_ZSTD_MAGIC)
        while at >= 0:
            with contextlib.suppress(zstandard.ZstdError):
                raw = zstandard.ZstdDecompressor().decompressobj().decompress(image.data[at : self._view.layout.usable])
                if self._needle in raw:
                    self.found.add(place_of(image, owner) + ", inflated")
            at = image.data.find(_ZSTD_MAGIC, at + 1)

    def _look_at_records(self, image: Image, owner: str | None) -> None:
        for cell in self._view.layout.cells(image.number, image.data):
            payload = self._payload(image, cell)
            if self._needle in payload:
                self.found.add(place_of(image, owner))
            at = payload.find(_ZSTD_MAGIC)
            while at >= 0:
                self._inflate(place_of(image, owner), cell.rowid, payload[at:])
                at = payload.find(_ZSTD_MAGIC, at + 1)

    def _payload(self, image: Image, cell: _Cell) -> bytes:
        """A record's bytes, its overflow as it was when this image was written."""
        found = image.data[cell.payload_at : cell.payload_at + cell.local_bytes]
        following = cell.overflow
        room = self._view.layout.usable - 4
        while following and len(found) < cell.payload_bytes:
            versions = self._versions.get(following, [])
            if image.frame is None:
                versions = versions[:1]
            else:
                versions = [one for one in versions if one.frame is None or one.frame <= image.frame]
            if not versions:
                break
            page = versions[-1].data
            (following,) = struct.unpack_from(">I", page, 0)
            found += page[4 : 4 + min(room, cell.payload_bytes - len(found))]
        return found

    def _inflate(self, where: str, rowid: int, data: bytes) -> None:
        try:
            raw = zstandard.ZstdDecompressor().decompress(data, max_output_size=_INFLATED_BYTES_MAX)
        except zstandard.ZstdError:
            self._waiting.append((where, rowid, data))
            return
        if rowid == rowid & _BLOCK_MASK:
            self._firsts.setdefault(rowid, []).append(raw)
        if self._needle in raw:
            self.found.add(f"{where}, inflated")

    def look_at_dictionary_frames(self) -> None:
        """Frames that inflate only beside the first of their block."""
        for where, rowid, data in self._waiting:
            for first in self._firsts.get(rowid & _BLOCK_MASK, ()):
                shared = zstandard.ZstdCompressionDict(first, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
                with contextlib.suppress(zstandard.ZstdError):
                    raw = zstandard.ZstdDecompressor(dict_data=shared).decompress(
                        data, max_output_size=_INFLATED_BYTES_MAX
                    )
                    if self._needle in raw:
                        self.found.add(f"{where}, inflated beside its block's first frame")


def _matches(path: Path, key: bytes, cipher: str, needle: bytes) -> list[str]:
    """The full-text indexes that know these words in this order."""
    phrase = needle.decode("utf-8", "replace").replace('"', " ").replace("\0", " ")
    found: list[str] = []
    with opened(path, key, cipher) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE sql LIKE '%USING fts5%'")]
        for name in names:
            with contextlib.suppress(apsw.SQLError):  # nothing in the phrase is a word
                hit = connection.execute(f'SELECT rowid FROM "{name}" WHERE "{name}" MATCH ? LIMIT 1', (f'"{phrase}"',))
                if hit.get is not None:
                    found.append(f"full-text index {name}")
    return found
