"""Room `engines` (imports all below it): a file's pages read through the cipher, past SQLite's own view of them.

What the device itself keeps of overwritten or truncated bytes is out of reach.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import apsw

from antiphon.engines.sqlite.file import SqliteFile, translated
from antiphon.model.errors import Corrupt

WAL_HEADER, FRAME_HEADER = 32, 24


class Image(NamedTuple):
    """One stored version of one page; `frame` is its place in the write-ahead log, None in the main file."""

    number: int
    frame: int | None
    data: bytes


class _Methods(ctypes.Structure):
    _fields_ = [
        ("version", ctypes.c_int),
        ("close", ctypes.c_void_p),
        (
            "read",
            ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int64),
        ),
        ("write", ctypes.c_void_p),
        ("truncate", ctypes.c_void_p),
        ("sync", ctypes.c_void_p),
        ("size", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int64))),
    ]


class _File(ctypes.Structure):
    _fields_ = [("methods", ctypes.POINTER(_Methods))]


class RawFile:
    """One open file of a connection, read through its cipher."""

    def __init__(self, connection: apsw.Connection, which: int) -> None:
        found = ctypes.c_void_p()
        connection.file_control("main", which, ctypes.addressof(found))
        self._file = found.value
        methods = None if not self._file else ctypes.cast(self._file, ctypes.POINTER(_File)).contents.methods
        self._methods = methods.contents if methods else None

    def bytes_long(self) -> int:
        if self._methods is None:
            return 0
        size = ctypes.c_int64()
        return size.value if not self._methods.size(self._file, ctypes.byref(size)) else 0

    def read(self, at: int, count: int) -> bytes | None:
        """The bytes there, None when they do not decrypt."""
        assert self._methods is not None
        into = ctypes.create_string_buffer(count)
        return into.raw if not self._methods.read(self._file, into, count, at) else None


@contextlib.contextmanager
def opened(path: Path, key: bytes, cipher: str) -> Iterator[apsw.Connection]:
    file = SqliteFile(path, key, cipher=cipher, read_only=True)
    try:
        with translated(path):
            file.writer.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            file.writer.execute("BEGIN; SELECT count(*) FROM sqlite_schema")
            yield file.writer
    finally:
        file.close()


def images_of(path: Path, key: bytes, cipher: str) -> list[Image]:
    images: list[Image] = []
    with opened(path, key, cipher) as connection:
        page_bytes: int = connection.execute("PRAGMA page_size").get
        main = RawFile(connection, apsw.SQLITE_FCNTL_FILE_POINTER)
        for number in range(1, main.bytes_long() // page_bytes + 1):
            data = main.read((number - 1) * page_bytes, page_bytes) or unwritten(path, number, page_bytes)
            images.append(Image(number, None, data))
        log = RawFile(connection, apsw.SQLITE_FCNTL_JOURNAL_POINTER)
        step = FRAME_HEADER + page_bytes
        for frame in range((log.bytes_long() - WAL_HEADER) // step):
            at = WAL_HEADER + frame * step
            head, frame_data = log.read(at, FRAME_HEADER), log.read(at + FRAME_HEADER, page_bytes)
            if head is not None and frame_data is not None:  # a torn last frame was never acknowledged
                images.append(Image(int.from_bytes(head[:4], "big"), frame, frame_data))
    return images


def unwritten(path: Path, number: int, page_bytes: int) -> bytes:
    """A page that does not decrypt because it was never written: a hole of zeros. Raises Corrupt when it is not."""
    with path.open("rb") as file:
        file.seek((number - 1) * page_bytes)
        raw = file.read(page_bytes)
    if raw.strip(b"\0"):
        raise Corrupt(f"page {number} of {path} does not decrypt: `antiphon doctor` says what it held")
    return raw


def decrypted_pages(path: Path, key: bytes, cipher: str = "aegis") -> Iterator[tuple[str, bytes]]:
    """Every stored page of main file and write-ahead log, stale ones too, decrypted, with its place."""
    for image in images_of(path, key, cipher):
        yield place_of(image, None), image.data


def place_of(image: Image, owner: str | None) -> str:
    where = f"page {image.number}" + (f" ({owner})" if owner else "")
    return where if image.frame is None else f"write-ahead log frame {image.frame}, {where}"
