"""Room `engines` (imports all below it): a connection to PostgreSQL: opened, bounded in time, its errors told apart.

The one place where the driver's exceptions become ours. A message names the rule that was broken, never a value.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import psycopg
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict

from antiphon.engines.postgres.ddl import Dialect
from antiphon.engines.postgres.values import adapt
from antiphon.engines.variables import check_url
from antiphon.model.errors import AntiphonError, Corrupt, InvalidInput, Rejected, Unavailable
from antiphon.world.clock import SystemClock

VERSION_MIN: Final = 160_000
CONNECT_S_MAX: Final = 10
LOCK_MS_MAX: Final = 5_000
STATEMENT_MS_MAX: Final = 60_000
IDLE_IN_TRANSACTION_MS_MAX: Final = 30_000
SILENCE_S_MAX: Final = 75.0
"""A server that does not answer for so long hangs: its connection is cut from this side. Longer than any statement."""

Session = psycopg.Connection[tuple[Any, ...]]
_CLOCK: Final = SystemClock()


class _Awaited(psycopg.Connection[tuple[Any, ...]]):
    """A connection that says since when its server is waited for."""

    since_ms: float | None = None

    def wait(self, *args: Any, **named: Any) -> Any:
        """See the driver: all that is asked of the server, each part of a COPY too, is waited for here."""
        self.since_ms = _CLOCK.monotonic_ms()
        try:
            return super().wait(*args, **named)
        finally:
            self.since_ms = None


class Exhausted(Unavailable):
    """The server has no room for so much in one transaction; half of it may fit."""


def address_of(url: str) -> str:
    """Where a URL leads, without user and password: what may be printed."""
    parts = urlsplit(url)
    return f"{parts.hostname or 'localhost'}:{parts.port or 5432}{parts.path}"


def checked(url: str) -> str:
    """The URL. Raises InvalidInput, telling nothing of it, where the driver cannot read it."""
    try:
        if urlsplit(url).scheme not in ("postgresql", "postgres"):
            raise InvalidInput("a PostgreSQL server's URL begins with postgresql://")
        check_url(url)
        address_of(url)
        conninfo_to_dict(url)
    except (ValueError, psycopg.ProgrammingError):
        raise InvalidInput(
            "this is no PostgreSQL URL: it reads postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with %XX for what is "
            "neither letter nor digit in USER and PASSWORD"
        ) from None
    return url


class Server:
    """A PostgreSQL server and what it can do. One connection, made when it is first needed and again when it was lost.

    Works behind a pooler that hands out a server per transaction: nothing is kept in a session over a transaction's
    end.
    """

    def __init__(
        self, url: str, *, schema: str = "antiphon", writes: bool = True, silence_s_max: float = SILENCE_S_MAX
    ) -> None:
        self.url, self.schema = checked(url), schema
        self._writes = writes
        self._silence_s = silence_s_max
        self._session: _Awaited | None = None
        self._turn = threading.RLock()
        self._dialect: Dialect | None = None
        self.version = 0
        self.lacks: list[str] = []

    def __repr__(self) -> str:
        return f"Server({address_of(self.url)})"

    @property
    def dialect(self) -> Dialect:
        """What the server can do. Raises Unavailable before it was reached."""
        if self._dialect is None:
            with self.transaction():
                pass
        assert self._dialect is not None
        return self._dialect

    def close(self) -> None:
        """Ends the connection."""
        session, self._session = self._session, None
        if session is not None:
            with contextlib.suppress(psycopg.Error):
                session.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Session]:
        """A transaction, undone when what is inside raises. Raises what `translated` makes of the driver's errors."""
        with self._turn:
            yield from self._transaction()

    def _transaction(self) -> Iterator[Session]:
        try:
            session = self._connected()
            with _watched(session, self._silence_s), session.transaction():
                yield session
        except psycopg.Error as error:
            lost = self._session is None or self._session.closed or self._session.broken
            if lost:
                self.close()
            raise translated(error, self) from error

    def session(self) -> Session:
        """The connection itself, in no transaction. Raises Unavailable, InvalidInput."""
        with self._turn:
            try:
                return self._connected()
            except psycopg.Error as error:
                raise translated(error, self) from error

    def _connected(self) -> _Awaited:
        if self._session is not None and not self._session.closed:
            return self._session
        session = _Awaited.connect(
            self.url,
            autocommit=True,
            prepare_threshold=None,
            connect_timeout=CONNECT_S_MAX,
            application_name="antiphon",
            keepalives_idle=10,
            tcp_user_timeout=int(self._silence_s * 1_000),
        )
        adapt(session)
        try:
            self._look(session)
        except BaseException:
            session.close()
            raise
        if not self._writes:
            session.isolation_level, session.read_only = psycopg.IsolationLevel.REPEATABLE_READ, True
        self._session = session
        return session

    def _look(self, session: _Awaited) -> None:
        self.version = session.info.server_version
        if self.version < VERSION_MIN:
            raise InvalidInput(
                f"PostgreSQL {VERSION_MIN // 10_000} or newer is needed; {address_of(self.url)} is "
                f"{self.version // 10_000}"
            )
        if session.info.parameter_status("server_encoding") != "UTF8":
            raise InvalidInput(f"the database at {address_of(self.url)} is not encoded in UTF8: make one that is")
        with _watched(session, self._silence_s):
            have = {str(row[0]) for row in session.execute("SELECT extname FROM pg_extension")}
            if self._writes and session.execute("SELECT pg_is_in_recovery()").fetchone() == (True,):
                raise Unavailable(f"{address_of(self.url)} is a standby, which takes no writes")
        self._dialect = Dialect(vectors="vector" in have, series="timescaledb" in have, schema=self.schema)

    def extend(self) -> None:
        """Turns on the extensions that the server holds and this database has not; names those it lacks."""
        with self.transaction() as session:
            there = dict(session.execute("SELECT name, installed_version FROM pg_available_extensions").fetchall())
            self.lacks = []
        for name in ("vector", "timescaledb"):
            if there.get(name) is not None:
                continue
            try:
                if name not in there:
                    raise Rejected("it is not installed on that machine")
                with self.transaction() as session:
                    session.execute(sql.SQL("CREATE EXTENSION IF NOT EXISTS {}").format(sql.Identifier(name)))
            except AntiphonError as error:
                said = error.__cause__
                if isinstance(error, Unavailable) and not (isinstance(said, psycopg.Error) and said.sqlstate):
                    raise  # the connection was lost; an extension that is not preloaded is refused, and cuts it too
                self.lacks.append(name)
        with self.transaction():
            self._look(self._connected())


class _watched:  # used like a function
    """Cuts the connection when its server does not answer for too long: one that hangs keeps no timeout of its own.

    However long all of it takes: only what is waited for counts.
    """

    def __init__(self, session: _Awaited, silence_s: float) -> None:
        self._session, self._descriptor, self._silence_s = session, session.fileno(), silence_s
        self._turn = threading.Lock()
        self._timer: threading.Timer | None = None

    def __enter__(self) -> None:
        self._wait(self._silence_s)

    def __exit__(self, *_: object) -> None:
        with self._turn:
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _wait(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._look)
        self._timer.daemon = True
        self._timer.start()

    def _look(self) -> None:
        with self._turn:
            if self._timer is None:
                return
            since_ms = self._session.since_ms
            waited_s = 0.0 if since_ms is None else (_CLOCK.monotonic_ms() - since_ms) / 1_000
            if waited_s < self._silence_s:
                self._wait(self._silence_s - waited_s)
            else:
                _cut(self._descriptor)


def _cut(descriptor: int) -> None:
    with contextlib.suppress(OSError), socket.socket(fileno=socket.dup(descriptor)) as one:
        one.shutdown(socket.SHUT_RDWR)


def bounds(session: Session) -> None:
    """Sets this transaction's limits: locks, statements, silence."""
    session.execute(_BOUNDS)


_BOUNDS: Final = (
    f"SET LOCAL lock_timeout = {LOCK_MS_MAX}; SET LOCAL statement_timeout = {STATEMENT_MS_MAX}; "
    f"SET LOCAL idle_in_transaction_session_timeout = {IDLE_IN_TRANSACTION_MS_MAX}"
)


def enter(session: Session, role: str, settings: Mapping[str, str]) -> None:
    """Goes on in a role, with settings and this module's limits, until the transaction ends: one round trip.

    Raises Unavailable where there is no such role yet.
    """
    said = [sql.SQL(_BOUNDS), sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role))]
    said += [sql.SQL("SET LOCAL {} = {}").format(sql.SQL(name), sql.Literal(value)) for name, value in settings.items()]
    try:
        session.execute(sql.SQL("; ").join(said))
    except errors.InvalidParameterValue as error:
        raise Unavailable(
            f"the role {role} is not there: nobody has fed this PostgreSQL yet, or only a user who may make no roles"
        ) from error


_WRONG_ADDRESS: Final = ("28", "3D")
"""Classes of errors that stay until a person mends the URL or the role."""
_REFUSED_LOGINS: Final = (
    "password authentication failed", "no pg_hba.conf entry", "no password supplied", "does not exist",
    "is not permitted to log in", "permission denied for database", "no such database", "no such user",
    "SASL authentication failed", "does not support SSL", "invalid response to SSL negotiation", "invalid sslmode",
    "certificate verify failed", "invalid port number",
)  # fmt: skip
"""What servers (and poolers) say in words alone, since libpq tells no code of a connection that was never made."""
_ALTERED: Final = (
    errors.UndefinedTable, errors.UndefinedColumn, errors.DatatypeMismatch, errors.UndefinedObject,
    errors.InvalidSchemaName, errors.InvalidColumnReference, errors.InvalidTableDefinition, errors.UndefinedFunction,
)  # fmt: skip


def translated(error: psycopg.Error, server: Server) -> AntiphonError:
    """Ours for a driver's: Unavailable passes, Rejected is the row's fault, InvalidInput a person's, Corrupt stops."""
    where, state = address_of(server.url), error.sqlstate or ""
    said = _rule(error)
    if state[:2] in _WRONG_ADDRESS or (not state and _is_refused_login(error)):
        return InvalidInput(f"PostgreSQL at {where} is not reached with this user, password or database: {said}")
    if isinstance(error, errors.InsufficientPrivilege):
        return InvalidInput(f"PostgreSQL at {where}: this user may not do that: {said}")
    if isinstance(error, errors.OutOfMemory):
        return Exhausted(
            f"PostgreSQL at {where} has no memory or no locks left for so much at once: {said}. If this stays, raise "
            "max_locks_per_transaction there"
        )
    if isinstance(error, errors.DiskFull):
        return Unavailable(f"PostgreSQL at {where}: the disk is full: {said}")
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return Unavailable(f"PostgreSQL at {where} takes no writes now (a standby?): {said}")
    if isinstance(error, _ALTERED):
        return Corrupt(
            f"PostgreSQL at {where}: a table there is not as it was declared ({said}); did someone alter it? "
            "`antiphon migrate --dry-run` shows the difference"
        )
    if state[:2] in ("22", "23", "54") or isinstance(error, psycopg.DataError | psycopg.IntegrityError):
        return Rejected(f"PostgreSQL refuses it: {said}")
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) or state[:2] in (
        "08", "40", "53", "55", "57", "58", "XX",
    ):  # fmt: skip
        return Unavailable(f"PostgreSQL at {where}: {said}")
    return Corrupt(f"PostgreSQL at {where}: {said}")


NOT_KEPT: Final = (errors.UndefinedTable, errors.UndefinedColumn, errors.InvalidSchemaName)
"""What a server says of a table or a column that is not there."""
NO_OPERATOR: Final = (errors.UndefinedFunction, errors.UndefinedObject)
"""What it says of values that it cannot compare so."""


@contextlib.contextmanager
def unavailable(said: str, refusals: tuple[type[psycopg.Error], ...]) -> Iterator[None]:
    """Raises Unavailable in these words where the server refuses what is inside in one of these ways: a read elsewhere
    may still answer. Every other error is let through, for `translated`.
    """
    try:
        yield
    except refusals as error:
        raise Unavailable(said) from error


def _is_refused_login(error: psycopg.Error) -> bool:
    text = str(error)
    return any(said in text for said in _REFUSED_LOGINS)


def _rule(error: psycopg.Error) -> str:
    """What was broken, in words that hold no value of a row."""
    diag = error.diag
    if diag.sqlstate is None:
        said = " ".join(str(error).split("\n", 1)[0].split())
        return said.rpartition(" failed: ")[2] or type(error).__name__
    kind = type(error).__name__
    parts = [f"{kind} ({diag.sqlstate})"]
    for label, value in (
        ("constraint", diag.constraint_name), ("table", diag.table_name), ("column", diag.column_name),
    ):  # fmt: skip
        if value:
            parts.append(f"{label} {value}")
    if diag.sqlstate[:2] not in ("22", "23") and diag.message_primary:
        parts.append(diag.message_primary)
    return ", ".join(parts)
