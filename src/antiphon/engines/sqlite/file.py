"""Room `engines` (imports all below it): one encrypted SQLite file: connections, transactions, errors, settings.

One writing connection, guarded by a lock within the process and by BEGIN IMMEDIATE between processes; one
reading connection a thread. Write-ahead log, `synchronous=FULL`, secure delete, temporary data in memory.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import apsw

from antiphon.model import errors, limits
from antiphon.world.clock import sleep_ms

BUSY_PAUSE_MS: Final = 1.0
"""How long a writer waits before it asks for its turn again. *Cost*: 20 µs each time."""
CIPHERS: Final = ("aegis", "sqlcipher")
PAGE_BYTES: Final = 4_096
_NETWORK_FILE_SYSTEMS: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "afpfs", "webdav"}
)
_SCHEMA: Final = """
CREATE TABLE meta(k TEXT PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE logs(no INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, owner BLOB NOT NULL, key BLOB NOT NULL,
  role INTEGER NOT NULL, size INTEGER NOT NULL, hlc INTEGER NOT NULL, frontier BLOB NOT NULL, note BLOB NOT NULL,
  resets BLOB);
CREATE TABLE blocks(place INTEGER PRIMARY KEY, packed INTEGER NOT NULL, seeds BLOB NOT NULL, root BLOB, columns BLOB);
CREATE TABLE runs(place INTEGER PRIMARY KEY, count INTEGER NOT NULL, data BLOB NOT NULL);
CREATE TABLE outbox(version INTEGER PRIMARY KEY, entry BLOB NOT NULL);
"""


def translate(error: apsw.Error, path: Path) -> errors.AntiphonError:
    """Our error for the driver's: whose fault, and what to do."""
    where = {"path": str(path), "sqlite": str(error)}
    match error:
        case apsw.BusyError() | apsw.LockedError():
            return errors.Busy(
                f"{path} is being written by another process for longer than BUSY_TIMEOUT_MS "
                f"({limits.BUSY_TIMEOUT_MS} ms): try again, or find the process that holds it",
                **where,
            )
        case apsw.FullError():
            return errors.DiskFull(f"no room left on the device of {path}: free some space; nothing was lost", **where)
        case apsw.ReadOnlyError() | apsw.PermissionsError():
            return errors.ReadOnly(f"{path} cannot be written: check the permissions of file and folder", **where)
        case apsw.CantOpenError():
            return errors.Unavailable(f"{path} cannot be opened: check that its folder exists and is yours", **where)
        case apsw.NotADBError():
            return errors.WrongKey(
                f"{path} does not open with this key: it is damaged, not an Antiphon file, or the key is another one's",
                **where,
            )
        case apsw.CorruptError():
            return errors.Corrupt(
                f"{path} is damaged: `antiphon doctor` says where; `antiphon export --good` saves what still verifies",
                **where,
            )
        case apsw.IOError():
            return errors.Unavailable(f"the device of {path} failed: {error}", **where)
        case apsw.TooBigError():
            return errors.InvalidInput(f"a value is too large for {path}", **where)
        case _:
            return errors.Unavailable(f"{path}: {type(error).__name__}: {error}", **where)


class translated:  # used like a function
    """Turns the driver's exceptions into ours, in a `with` block."""

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if isinstance(error, apsw.Error):
            raise translate(error, self._path) from error


_OUTSIDE: Final = (
    apsw.BusyError, apsw.LockedError, apsw.FullError, apsw.ReadOnlyError, apsw.PermissionsError, apsw.CantOpenError,
    apsw.NotADBError, apsw.CorruptError, apsw.IOError, apsw.TooBigError, apsw.AuthError, apsw.ProtocolError,
)  # fmt: skip
"""What the world does to us; anything else that the driver raises is a fault of the statement."""


class _Cursor(apsw.Cursor):
    """A reader's cursor: raises our errors for what the disk, other processes and damage do.

    What writes is within a transaction, which translates at its end.
    """

    def execute(self, *given: Any, **options: Any) -> Any:
        try:
            return super().execute(*given, **options)
        except _OUTSIDE as error:
            raise self._translated(error) from error

    def executemany(self, *given: Any, **options: Any) -> Any:
        try:
            return super().executemany(*given, **options)
        except _OUTSIDE as error:
            raise self._translated(error) from error

    def __next__(self) -> Any:
        try:
            return super().__next__()
        except _OUTSIDE as error:
            raise self._translated(error) from error

    def fetchall(self) -> Any:
        try:
            return super().fetchall()
        except _OUTSIDE as error:
            raise self._translated(error) from error

    def fetchone(self) -> Any:
        try:
            return super().fetchone()
        except _OUTSIDE as error:
            raise self._translated(error) from error

    @property
    def get(self) -> Any:
        try:
            return super().get
        except _OUTSIDE as error:
            raise self._translated(error) from error

    def _translated(self, error: apsw.Error) -> errors.AntiphonError:
        return translate(error, Path(self.connection.filename))


def network_file_system(folder: Path) -> str | None:
    """The kind of network file system that a folder is on, None when it is local or unknown."""
    with contextlib.suppress(OSError):
        best = ("", "")
        real = str(folder.resolve())
        for line in Path("/proc/self/mounts").read_text().splitlines():
            _, mount, kind, *_ = line.split(" ")
            mount = mount.replace("\\040", " ")
            if real == mount or real.startswith(mount.rstrip("/") + "/"):
                best = max(best, (mount, kind), key=lambda item: len(item[0]))
        if best[1] in _NETWORK_FILE_SYSTEMS:
            return best[1]
    return None


def _wait_turn(asked: int) -> bool:
    """Waits a moment for whoever writes; False once that took BUSY_TIMEOUT_MS.

    SQLite's own way waits longer each time, so that one who commits without a pause keeps others out for a second.
    """
    if asked * BUSY_PAUSE_MS >= limits.BUSY_TIMEOUT_MS:
        return False
    sleep_ms(BUSY_PAUSE_MS)
    return True


class SqliteFile:
    """An open file. Close it; a closed one raises Unavailable."""

    def __init__(
        self,
        path: Path,
        key: bytes,
        *,
        cipher: str = "aegis",
        create: bool = False,
        read_only: bool = False,
        vfs: str | None = None,
    ) -> None:
        if cipher not in CIPHERS:
            raise errors.InvalidInput(f"unknown cipher {cipher!r}: choose one of {', '.join(CIPHERS)}")
        if len(key) != 32:
            raise errors.InvalidInput("a file key is 32 random bytes")
        self.path = path
        self.read_only = read_only
        self._key_hex = key.hex()
        self._cipher = cipher
        self._vfs = vfs
        self._lock = threading.RLock()
        self._local = threading.local()
        self._readers: weakref.WeakSet[apsw.Connection] = weakref.WeakSet()  # a thread's goes when the thread does
        self._functions: dict[str, tuple[int, Callable[..., Any]]] = {}
        self._closed = False
        self._process = os.getpid()
        self._depth = 0
        if create:
            self._make_empty()
        elif not path.exists():
            raise errors.NotFound(f"there is no file {path}", path=str(path))
        with translated(path):
            self.writer = self._connect(read_only=read_only)
            if create:
                with self.transaction():
                    self.writer.execute(_SCHEMA)
            elif self.writer.execute("SELECT 1 FROM sqlite_schema WHERE name='meta'").get is None:
                self.writer.close()
                raise errors.Corrupt(
                    f"{path} holds nothing of Antiphon's: it is empty or was not finished being made; restore it from "
                    "a snapshot, or move it away and make it again"
                )

    def __repr__(self) -> str:
        return f"SqliteFile({str(self.path)!r})"

    def _make_empty(self) -> None:
        try:
            handle = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        except FileExistsError:
            raise errors.Conflict(f"{self.path} exists already: open it, or choose another name") from None
        except PermissionError:
            raise errors.ReadOnly(f"cannot create {self.path}: the folder does not let us write") from None
        except OSError as error:
            raise errors.Unavailable(f"cannot create {self.path}: {error.strerror}") from None
        os.close(handle)

    def _connect(self, *, read_only: bool) -> apsw.Connection:
        flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE
        name = str(self.path)
        if read_only and self._lies_still():
            name, flags = f"{self.path.resolve().as_uri()}?immutable=1", flags | apsw.SQLITE_OPEN_URI
        connection = apsw.Connection(name, flags=flags, vfs=self._vfs)
        try:
            connection.set_busy_handler(_wait_turn)
            connection.execute(f"PRAGMA cipher='{self._cipher}'")
            if self._cipher == "aegis":
                connection.execute("PRAGMA aegis_algorithm='aegis-256'")
            connection.execute(f"PRAGMA key='raw:{self._key_hex}'")
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
            if not read_only:
                connection.execute("PRAGMA synchronous=EXTRA")  # a rollback journal that comes back would undo the next
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=FULL")
                connection.execute(f"PRAGMA wal_autocheckpoint={limits.WAL_PAGES_MAX}")
            connection.execute("PRAGMA secure_delete=ON; PRAGMA temp_store=MEMORY; PRAGMA foreign_keys=OFF")
            connection.execute("PRAGMA cache_size=-16000")
            connection.config(apsw.SQLITE_DBCONFIG_DQS_DML, 0)  # else a column that is not there reads as its own name
            for name, (arguments, function) in self._functions.items():
                connection.create_scalar_function(name, function, arguments)
        except BaseException:
            connection.close()
            raise
        return connection

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def _lies_still(self) -> bool:
        """Whether the file is on something that we cannot write, with no write-ahead log: then no lock is needed."""
        log = self.path.with_name(self.path.name + "-wal")
        return not os.access(self.path.parent, os.W_OK) and not (log.exists() and log.stat().st_size)

    @property
    def reader(self) -> apsw.Connection:
        """This thread's reading connection; within a transaction of this thread, the writing one."""
        self.check_process()
        if self._depth and self._lock_is_mine():
            return self.writer
        connection: apsw.Connection | None = getattr(self._local, "connection", None)
        if self._closed:
            raise errors.Unavailable(f"{self.path} is closed: open it again")
        if connection is None:
            with translated(self.path):
                connection = self._connect(read_only=self.read_only)
            connection.cursor_factory = _Cursor
            self._local.connection = connection
            self._readers.add(connection)
        return connection

    def add_function(self, name: str, arguments: int, function: Callable[..., Any]) -> None:
        """Makes a function known to SQL, on this file's connections of now and later."""
        self._functions[name] = (arguments, function)
        for connection in (self.writer, *self._readers):
            connection.create_scalar_function(name, function, arguments)

    def check_process(self) -> None:
        """Raises Unavailable in a forked child: SQLite's connections, and our locks, do not survive a fork."""
        if os.getpid() != self._process:
            raise errors.Unavailable(f"{self.path} was opened before this process was forked: open it again here")

    @property
    def is_writing(self) -> bool:
        """Whether this thread is in a write transaction."""
        return self._depth > 0 and self._lock_is_mine()

    def _lock_is_mine(self) -> bool:
        return getattr(self._local, "writing", False)

    def key_for(self, use: bytes) -> bytes:
        """A key for one use (of at most 16 bytes), that whoever has the file's key can derive, and nobody else."""
        return blake2b(key=bytes.fromhex(self._key_hex), person=use, digest_size=32).digest()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """A write transaction: all of it or nothing, on disk when the block ends. Nests into the outer one."""
        self.check_process()
        with self._lock:
            if self._closed:
                raise errors.Unavailable(f"{self.path} is closed")
            if self.read_only:
                raise errors.ReadOnly(f"{self.path} was opened read only")
            if self._depth:
                yield
                return
            self._local.writing = True
            try:
                with translated(self.path):
                    self.writer.execute("BEGIN IMMEDIATE")
                    self._depth = 1
                    try:
                        yield
                        self.writer.execute("COMMIT")
                    except BaseException:
                        if self.writer.in_transaction:
                            with contextlib.suppress(apsw.Error, errors.AntiphonError):
                                self.writer.execute("ROLLBACK")
                        raise
            finally:
                self._depth = 0
                self._local.writing = False

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """Inside a transaction: what fails in the block leaves no trace in the file, and the transaction can go on.

        Raises Rejected where a statement was at fault; what the disk or damage do ends the transaction all the same.
        """
        self.writer.execute("SAVEPOINT attempt")
        try:
            yield
        except BaseException as error:
            with contextlib.suppress(apsw.Error):
                self.writer.execute("ROLLBACK TO attempt")
                self.writer.execute("RELEASE attempt")
            if isinstance(error, _OUTSIDE):
                raise translate(error, self.path) from error
            if isinstance(error, apsw.Error):
                raise errors.Rejected(f"a row does not fit its table: {error}") from error
            raise
        self.writer.execute("RELEASE attempt")

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """A read transaction: everything this thread reads inside is of one moment."""
        connection = self.reader
        if connection.in_transaction:
            yield
            return
        with translated(self.path):
            connection.execute("BEGIN")
            try:
                yield
            finally:
                _end(connection, keep=self.read_only)

    def version(self) -> int:
        """A number that changes when another connection or process has committed."""
        found: int = self.reader.execute("PRAGMA data_version").get
        return found

    def writer_version(self) -> int:
        """The same for the writing connection: it changes when somebody else has committed."""
        found: int = self.writer.execute("PRAGMA data_version").get
        return found

    def get(self, key: str) -> bytes | None:
        """A setting."""
        found: bytes | None = self.reader.execute("SELECT v FROM meta WHERE k=?", (key,)).get
        return found

    def put(self, key: str, value: bytes) -> None:
        """Keeps a setting."""
        self.writer.execute("INSERT INTO meta VALUES(?,?) ON CONFLICT(k) DO UPDATE SET v=excluded.v", (key, value))

    def drop(self, key: str) -> None:
        """Forgets a setting."""
        self.writer.execute("DELETE FROM meta WHERE k=?", (key,))

    def settings(self, prefix: str) -> list[tuple[str, bytes]]:
        """All settings whose key starts so, in order."""
        return list(
            self.reader.execute("SELECT k, v FROM meta WHERE k>=? AND k<? ORDER BY k", (prefix, prefix + "\U0010ffff"))
        )

    def count(self, prefix: str) -> int:
        """How many settings' keys start so."""
        found: int = self.reader.execute(
            "SELECT count(*) FROM meta WHERE k>=? AND k<?", (prefix, prefix + "\U0010ffff")
        ).get
        return found

    def settle(self) -> bool:
        """Moves the write-ahead log into the file and truncates it; False when a reader holds it back."""
        with self._lock, translated(self.path):
            self.writer.set_busy_timeout(0)
            try:
                busy, _, _ = self.writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0]
            except (apsw.BusyError, apsw.LockedError, errors.Busy):
                return False
            finally:
                self.writer.set_busy_handler(_wait_turn)
            return not busy

    def rewrite(self) -> None:
        """Writes the whole file again, compactly, in one transaction; readers stay. Raises Busy, DiskFull."""
        with self._lock, translated(self.path):
            self.writer.execute("VACUUM")

    def check_pages(self) -> list[str]:
        """What SQLite's own check finds wrong with the pages; empty when nothing is."""
        with translated(self.path):
            found: list[Any] = self.reader.execute("PRAGMA integrity_check(20)").fetchall()
        return [row[0] for row in found if row[0] != "ok"]

    def copy_to(self, path: Path) -> None:
        """Writes a consistent, compact, equally encrypted copy while the file is in use."""
        if path.exists():
            raise errors.Conflict(f"{path} exists already: choose another name")
        with translated(self.path):
            uri = path.resolve().as_posix()
            self.reader.execute("VACUUM INTO ?", (uri,))
        path.chmod(0o600)

    def close(self) -> None:
        """Closes all connections; the last process to close folds the write-ahead log in."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for connection in (*self._readers, self.writer):
                with contextlib.suppress(apsw.Error):
                    connection.close()


def _end(connection: apsw.Connection, *, keep: bool) -> None:
    """Ends a transaction that only read the file; with `keep`, what it indexed in memory stays."""
    if keep:
        with contextlib.suppress(apsw.Error, errors.AntiphonError):  # a damaged file may refuse even that
            connection.execute("COMMIT")
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def rows(connection: apsw.Connection, sql: str, values: tuple[Any, ...] = ()) -> list[Any]:
    """All rows of a query. *Cost*: a third of going through a reader's cursor row by row."""
    try:
        return apsw.Cursor(connection).execute(sql, values).fetchall()
    except _OUTSIDE as error:
        if connection.cursor_factory is not _Cursor:
            raise
        raise translate(error, Path(connection.filename)) from error
