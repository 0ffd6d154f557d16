"""Room `engines` (imports all below it): SQLite files of other programs: read beside their writers, never written.

Nothing is made in their folder either. SQLite itself would leave a `-shm` beside a file in WAL mode that it only reads:
such a file is read as it stands where nobody writes it, and as a private copy where a log lies beside it that nobody
has open. Rows come in pages, so that no writer waits for longer than one page takes.

What is in the file is not trusted: SQLite may read it, and run nothing that it holds. Columns that are computed are not
read (what they are computed from is), nor views and virtual tables.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from antiphon.model.errors import InvalidInput, LimitExceeded, Unavailable

MAGIC: Final = b"SQLite format 3\0"
BESIDE: Final = ("-wal", "-shm", "-journal")
"""What a SQLite file has beside it, and is read with it."""
LOCKED_WAIT_S: Final = 5.0
"""How long a file that somebody writes is waited for."""
PAGE_ROWS: Final = 200
PAGE_BYTES_MAX: Final = 16 << 20
"""A page ends where its texts and blobs are longer than that."""
ROW_BYTES_MAX: Final = 64 << 20
"""A row, and a value, may be so long: SQLite refuses to read a longer one."""
SCHEMA_BYTES_MAX: Final = 1 << 20
"""A statement, as that of a table's own, may be so long."""
COPY_BYTES_MAX: Final = 1 << 30
"""Of a file that can be read as a copy alone, with what is beside it."""
_WAL_MODE: Final = 2
_STORED: Final = 0
"""What `table_xinfo` says of a column that stands in the file; others are computed, or parts of virtual tables."""
_PERMITTED: Final = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ})
_ROWIDS: Final = ("rowid", "_rowid_", "oid")
_BUSY: Final = frozenset({"SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL"})

_LOOK: Final = "SELECT name FROM sqlite_master LIMIT 1"

Row = dict[str, Any]


class ForeignFile:
    """One file of another program, open for reading. Close it.

    `decode` makes text of what is stored as such. Raises Unavailable where somebody keeps it locked, or writes it while
    it is read as it stands; InvalidInput where it is damaged, or no SQLite file; LimitExceeded.
    """

    def __init__(self, path: Path, decode: Callable[[bytes], str], *, wait_s: float = LOCKED_WAIT_S) -> None:
        self._path, self._closing = path, contextlib.ExitStack()
        self._stands: tuple[int, ...] | None = None
        """What the file was when it was opened as it stands; None where SQLite's locks look after it."""
        try:
            with self._translated():
                self._file = self._opened(wait_s)
                self._file.text_factory = decode
                self._file.set_authorizer(_authorized)
                self._file.execute(_LOOK).fetchone()
        except BaseException:
            self._closing.close()
            raise

    def __enter__(self) -> ForeignFile:
        return self

    def __exit__(self, *failed: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets the file go, and a copy of it."""
        self._closing.close()

    # -- what is in it -----------------------------------------------------------------------------------------------

    def tables(self) -> list[str]:
        """The names of its tables, in order. What a virtual one shows lies in tables of its own."""
        return [name for name, sort, page in self._listed() if sort == "table" and page and name[:7] != "sqlite_"]

    def views(self) -> list[str]:
        """The names of its views, virtual tables and triggers, in order."""
        return [name for name, sort, page in self._listed() if sort != "index" and not page]

    def _listed(self) -> list[tuple[str, str, int]]:
        """(name, sort, first page) of everything in it, by name; what has no page of its own has page 0."""
        with self._translated():
            found = self._file.execute("SELECT name, type, rootpage FROM sqlite_master ORDER BY name").fetchall()
        return [(str(name), str(sort), int(page or 0)) for name, sort, page in found]

    def rows(self, table: str) -> Iterator[Row]:
        """All rows of a table, by their columns' names; in the order of their rowids where they have them."""
        quoted = _quoted(table)
        with self._translated():
            about = self._file.execute(f"PRAGMA table_xinfo({quoted})").fetchall()
            rowid = self._rowid_of(quoted, {str(one[1]).lower() for one in about})
        columns = [str(one[1]) for one in about if one[-1] == _STORED]
        pages = self._at_once(quoted, columns) if rowid is None else self._by_rowid(quoted, columns, rowid)
        for page in pages:
            self._check_stands()
            yield from page

    def _rowid_of(self, quoted: str, columns: set[str]) -> str | None:
        """What the rowid of a table is called, None where it has none, or none that can be named."""
        free = next((name for name in _ROWIDS if name not in columns), None)
        if free is None:
            return None
        try:
            self._file.execute(f"SELECT {free} FROM {quoted} LIMIT 0")
        except sqlite3.OperationalError as error:
            if "no such column" in str(error):  # WITHOUT ROWID, or virtual
                return None
            raise
        return free

    def _by_rowid(self, quoted: str, columns: list[str], rowid: str) -> Iterator[list[Row]]:
        after: int | None = None
        shown = ", ".join([rowid, *map(_quoted, columns)])
        while True:
            where = "" if after is None else f"WHERE {rowid} > {after}"
            with self._translated():
                question = f"SELECT {shown} FROM {quoted} {where} ORDER BY {rowid} LIMIT {PAGE_ROWS}"
                with contextlib.closing(self._file.execute(question)) as cursor:
                    found = _page(cursor)
            if not found:
                return
            last = int(found[-1][0])
            if after is not None and last <= after:
                raise InvalidInput("a SQLite file that cannot be read: its rows go in a circle", path=str(self._path))
            after = last
            yield [dict(zip(columns, row[1:], strict=True)) for row in found]

    def _at_once(self, quoted: str, columns: list[str]) -> Iterator[list[Row]]:
        with self._translated():
            cursor = self._file.execute(f"SELECT {', '.join(map(_quoted, columns))} FROM {quoted}")
        while True:
            with self._translated():
                found = _page(cursor)
            if not found:
                return
            yield [dict(zip(columns, row, strict=True)) for row in found]

    # -- opening -----------------------------------------------------------------------------------------------------

    def _opened(self, wait_s: float) -> sqlite3.Connection:
        with self._path.open("rb") as file:
            head = file.read(20)
        if not head.startswith(MAGIC):
            raise InvalidInput(f"{self._path} is no SQLite file")
        log, shared = _size(self._path, "-wal"), _size(self._path, "-shm")
        if log and shared is None:
            return self._copied(wait_s)
        if not log and not _size(self._path, "-journal") and head[18:19] == bytes([_WAL_MODE]) and shared is None:
            self._stands = _stamp(self._path)
            return self._connected(self._path, "immutable=1", wait_s)
        file_ = self._connected(self._path, "mode=ro", wait_s)
        try:
            file_.execute(_LOOK).fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname.split("_")[1:2] in (["BUSY"], ["LOCKED"], ["CORRUPT"]):
                raise
            return self._copied(wait_s)  # a journal that a crash has left, or a folder that must not be written
        return file_

    def _connected(self, path: Path, way: str, wait_s: float) -> sqlite3.Connection:
        made = sqlite3.connect(f"{path.resolve().as_uri()}?{way}", uri=True, timeout=wait_s, check_same_thread=False)
        self._closing.callback(made.close)
        made.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, ROW_BYTES_MAX)
        made.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, SCHEMA_BYTES_MAX)
        made.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        for pragma in ("trusted_schema=OFF", "cell_size_check=ON", "mmap_size=0"):
            made.execute(f"PRAGMA {pragma}").fetchone()
        return made

    def _copied(self, wait_s: float) -> sqlite3.Connection:
        """A private copy, with its logs, that SQLite has put right. Its name is gone once it is open, so that a kill
        leaves nothing behind.
        """
        sizes = [_size(self._path, ending) or 0 for ending in ("", "-wal", "-journal")]
        if sum(sizes) > COPY_BYTES_MAX:
            raise LimitExceeded(
                "COPY_BYTES_MAX", got=sum(sizes), allowed=COPY_BYTES_MAX,
                what=f"{self._path} and the log beside it in bytes (let its program close it first)",
            )  # fmt: skip
        with tempfile.TemporaryDirectory(prefix="antiphon-") as name:  # only its owner may look into it
            folder = Path(name)
            for ending, size in zip(("", "-wal", "-journal"), sizes, strict=True):
                if size:
                    shutil.copyfile(_beside(self._path, ending), folder / f"copy{ending}")
            made = self._connected(folder / "copy", "mode=rw", wait_s)
            made.execute("PRAGMA journal_mode=DELETE").fetchone()  # takes in the log, or rolls the journal back
            made.execute(_LOOK).fetchone()
            return made

    # -- errors ------------------------------------------------------------------------------------------------------

    def _check_stands(self) -> None:
        """Raises Unavailable where a file that is read as it stands was written meanwhile."""
        if self._stands is not None and _stamp(self._path) != self._stands:
            raise Unavailable(f"{self._path} was written while it was read: try again")

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorname", "").startswith(tuple(_BUSY)):
                raise Unavailable(f"{self._path} is locked by whoever writes it: try again") from None
            self._check_stands()
            raise InvalidInput(f"a SQLite file that cannot be read: {error}", path=str(self._path)) from None
        except OSError as error:
            raise Unavailable(f"cannot read {self._path}: {error.strerror or error}") from None


def _authorized(action: int, first: str | None, *_: str | None) -> int:
    """Permits reading: no functions, no other files, nothing that writes."""
    permitted = action in _PERMITTED or (action == sqlite3.SQLITE_PRAGMA and first == "table_xinfo")
    return sqlite3.SQLITE_OK if permitted else sqlite3.SQLITE_DENY


def _page(cursor: sqlite3.Cursor) -> list[tuple[Any, ...]]:
    """The next rows: PAGE_ROWS of them, or fewer long ones."""
    found: list[tuple[Any, ...]] = []
    length = 0
    for row in cursor:
        found.append(row)
        length += sum(len(value) for value in row if isinstance(value, str | bytes))
        if len(found) == PAGE_ROWS or length >= PAGE_BYTES_MAX:
            break
    return found


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def is_beside(path: Path) -> bool:
    """Whether a file is part of the SQLite file that it lies beside."""
    return any(
        path.name.endswith(ending) and path.with_name(path.name.removesuffix(ending)).exists() for ending in BESIDE
    )


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _size(path: Path, ending: str) -> int | None:
    """How long what lies beside the file is, None where nothing does."""
    try:
        return _beside(path, ending).stat().st_size
    except FileNotFoundError:
        return None


def _stamp(path: Path) -> tuple[int, ...]:
    known = path.stat()
    return known.st_ino, known.st_size, known.st_mtime_ns, _size(path, "-wal") or 0
