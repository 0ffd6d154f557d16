"""Places for tests on a server, whoever runs it: databases, roles and keys with names of their own, gone in the end.

A PostgreSQL or Redis that somebody named may hold what is theirs; nothing whose name does not begin with WORD is
touched, but for the roles of the schema `antiphon`, which tests make where they were not there.
"""

from __future__ import annotations

import contextlib
import secrets
from itertools import count
from typing import Any, Final
from urllib.parse import quote, urlsplit

import psycopg
import redis
from psycopg import sql

ALL: Final = "antiphon_test_"
"""What the names of every run begin with."""
WORD: Final = f"{ALL}{secrets.token_hex(4)}"
"""What the names of this process begin with."""
SHARED_ROLES: Final = tuple(f"antiphon_{role}" for role in ("architect", "agent", "monitor", "public"))
MADE: Final = "made by tests of Antiphon"
_LOCK: Final = 0x616E7469
_DELETED_AT_ONCE: Final = 1_000
_numbers = count()


def own_name(what: str) -> str:
    """A name for a database, schema, role or prefix that nobody else has."""
    return f"{WORD}_{what}{next(_numbers)}"


def aimed(
    url: str, *, path: str | None = None, user: str | None = None, password: str | None = None,
    port: int | None = None, query: str = "",
) -> str:  # fmt: skip
    """A URL with some of its parts replaced, and something added to its query."""
    parts = urlsplit(url)
    known, _, host = parts.netloc.rpartition("@")
    name, _, secret = known.partition(":")
    name = name if user is None else quote(user, safe="")
    secret = secret if password is None else quote(password, safe="")
    if port is not None:
        host = f"{host.rpartition(':')[0] if parts.port else host}:{port}"
    netloc = f"{name}:{secret}@{host}" if secret else f"{name}@{host}" if name else host
    asked = "&".join(part for part in (parts.query, query) if part)
    return parts._replace(netloc=netloc, path=parts.path if path is None else f"/{path}", query=asked).geturl()


class PostgresPlace:
    """Databases of these tests on one server. `lent`: it is somebody's, so all that was made is dropped by `close`."""

    def __init__(self, url: str, *, lent: bool) -> None:
        self._url, self._lent = url, lent
        self.user = urlsplit(url).username or ""
        self.port = urlsplit(url).port or 5432
        self._session = psycopg.connect(url, autocommit=True)
        self._made: list[str] = []
        if lent:
            self._share_roles()
        self.database = self.make_database("main") if lent else urlsplit(url).path[1:]

    def url(
        self, database: str | None = None, *, user: str | None = None, password: str | None = None,
        port: int | None = None,
    ) -> str:  # fmt: skip
        """What a client connects by: to the main database, where no other is named."""
        return aimed(self._url, path=database or self.database, user=user, password=password, port=port)

    def make_database(self, what: str = "rows") -> str:
        """The name of a new, empty database."""
        name = own_name(what)
        self._do("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'", name)
        self._made.append(name)
        return name

    def _do(self, statement: str, *names: str) -> None:
        self._session.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def _share_roles(self) -> None:
        """Makes the roles of the schema `antiphon` where they are not there, and says that they are of tests.

        Several processes feed databases of one server at once and roles are the server's, so the last one that holds
        the lock drops them, if tests have made them.
        """
        if self._asked("SELECT pg_try_advisory_lock(%s)", _LOCK):
            for role in SHARED_ROLES:
                if not self._asked("SELECT true FROM pg_roles WHERE rolname = %s", role):
                    self._do("CREATE ROLE {} NOLOGIN", role)
                    self._do(f"COMMENT ON ROLE {{}} IS '{MADE}'", role)
            self._session.execute("SELECT pg_advisory_lock_shared(%s), pg_advisory_unlock(%s)", (_LOCK, _LOCK))
        else:
            self._session.execute("SELECT pg_advisory_lock_shared(%s)", (_LOCK,))

    def _asked(self, question: str, value: Any) -> Any:
        row = self._session.execute(question.encode(), (value,)).fetchone()
        return row[0] if row else None

    def close(self) -> None:
        """Drops what was made, where the server is lent."""
        if self._lent:
            self._end_jobs()
            for name in self._made:
                self._do("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)
            for (name,) in self._session.execute(
                "SELECT rolname FROM pg_roles WHERE starts_with(rolname, %s)", (WORD,)
            ).fetchall():
                with contextlib.suppress(psycopg.errors.DependentObjectsStillExist):  # another place here still uses it
                    self._do("DROP ROLE {}", name)
            self._session.execute("SELECT pg_advisory_unlock_shared(%s)", (_LOCK,))
            if self._asked("SELECT pg_try_advisory_lock(%s)", _LOCK):
                self._drop_shared_roles()
        self._session.close()

    def _end_jobs(self) -> None:
        """Ends what engines have scheduled in these databases, where the server has a pg_cron: it lives in another."""
        there = "postgres"
        with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
            there = self._asked("SELECT current_setting(%s, true)", "cron.database_name") or there
        with contextlib.suppress(psycopg.Error), psycopg.connect(aimed(self._url, path=there)) as session:
            session.execute("SELECT cron.unschedule(jobid) FROM cron.job WHERE starts_with(database, %s)", (WORD,))
            session.execute("SELECT cron.unschedule(jobid) FROM cron.job WHERE starts_with(jobname, %s)",
                            (f'antiphon "{WORD}',))  # fmt: skip

    def _drop_shared_roles(self) -> None:
        found = self._session.execute(
            "SELECT rolname FROM pg_roles WHERE rolname = ANY(%s) AND shobj_description(oid, 'pg_authid') = %s",
            (list(SHARED_ROLES), MADE),
        ).fetchall()
        for (name,) in found:
            with contextlib.suppress(psycopg.errors.DependentObjectsStillExist):  # somebody has begun to use it
                self._do("DROP ROLE {}", name)


class RedisPlace:
    """Keys of these tests in one numbered database. `lent`: they are deleted by `close`, and where it is not `shared`
    with others, no key is there that is not of tests.
    """

    def __init__(self, url: str, *, lent: bool, shared: bool = False) -> None:
        self._url, self._lent, self._shared = url, lent, shared

    def url(self, number: int | None = None, *, password: str | None = None, prefix: str = "") -> str:
        """What a client connects by; `prefix` is for engines, which keep to keys that begin so."""
        path, query = None if number is None else str(number), f"prefix={prefix}" if prefix else ""
        return aimed(self._url, path=path, password=password, query=query)

    def prefix(self, what: str = "rows") -> str:
        """What the keys of one follower begin with: a hash tag, for a cluster."""
        return f"{{{own_name(what)}}}:"

    def close(self) -> None:
        """Deletes the keys of this process, where the server is lent."""
        if self._lent:
            with contextlib.closing(redis.Redis.from_url(self._url)) as client:
                names = list(client.scan_iter(match=f"{{{WORD}_*", count=1_000))
                for at in range(0, len(names), _DELETED_AT_ONCE):
                    client.delete(*names[at : at + _DELETED_AT_ONCE])
                strange = (
                    []
                    if self._shared
                    else [name for name in client.scan_iter(count=1_000) if not name.startswith(f"{{{ALL}".encode())]
                )
                assert not strange, f"tests left keys without a prefix of their own ({len(strange)}): {strange[:3]}"
