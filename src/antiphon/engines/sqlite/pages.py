"""Room `engines` (imports all below it): a file's pages as they lie on disk, decrypted: what forgetting must clear.

Reads main file and write-ahead log through the cipher, page by page, past SQLite's own view of them: live cells, free
pages, gaps, slack and stale frames alike. It changes nothing, and never folds the log in. What the device itself keeps
of overwritten or truncated bytes (flash wear levelling, file system journals) is out of its reach.
"""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path
from typing import Final, NamedTuple

import apsw
import zstandard

from antiphon.engines.sqlite.file import SqliteFile, translated
from antiphon.engines.sqlite.rawpages import (
    Image,
    RawFile,
    images_of,
    opened,
    place_of,
    unwritten,
)
from antiphon.engines.sqlite.trees import (
    INDEX_INNER,
    INDEX_LEAF,
    TABLE_INNER,
    TABLE_LEAF,
    TREE_TYPES,
    Cell,
    View,
    view_of,
)

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


def free_space(path: Path, key: bytes, cipher: str = "aegis") -> FreeSpace:
    """What in the file's free space is not zero: free pages, gaps and free blocks of b-trees, slack behind overflow.

    Numbers alone (stale page, row and cell numbers that SQLite leaves in its own tables) are no leftovers, nor are
    fewer bytes than make a cell. Call it on a settled file; frames of the write-ahead log are not free space and are
    not looked at. *Cost*: reads every page.
    """
    images = images_of(path, key, cipher)
    view = view_of(path, images)
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
        if kind in TREE_TYPES and kind != TABLE_INNER:
            count, start = struct.unpack_from(">HH", data, head + 3)
            gap = data[head + (8 if kind in (TABLE_LEAF, INDEX_LEAF) else 12) + 2 * count : start or len(data)]
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
    view = view_of(path, images)
    search = _Search(images, view, needle)
    for image in images:
        search.look(image)
    search.look_at_dictionary_frames()
    return sorted(search.found) + _matches(path, key, cipher, needle)


class _Search:
    """Finds bytes in page images, in the records that they make up, and in what those records inflate to."""

    def __init__(self, images: list[Image], view: View, needle: bytes) -> None:
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
        if image.data[self._view.layout.head_at(image.number)] in (TABLE_LEAF, INDEX_LEAF, INDEX_INNER):
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

    def _payload(self, image: Image, cell: Cell) -> bytes:
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
