"""Servers that somebody names by URL: looked at before they are used, and what tests cannot have of them."""

from __future__ import annotations

import contextlib
import os
from itertools import islice
from typing import Any, Final
from urllib.parse import urlsplit

import psycopg
import redis

from servers.cache import ServerMissing
from servers.places import ALL, aimed

POSTGRES: Final = "ANTIPHON_TEST_POSTGRES"
REDIS: Final = "ANTIPHON_TEST_REDIS"
SHARED: Final = "ANTIPHON_TEST_REDIS_SHARED"
"""Set to 1: a Redis database may hold keys of others, and they are left alone."""
POSTGRES_MIN: Final = 160_000
REDIS_MIN: Final = (6, 2)
ANSWER_S_MAX: Final = 10
KEYS_LOOKED_AT: Final = 10_000
WAY_OUT: Final = f"name servers of your own instead: {POSTGRES}=postgresql://… {REDIS}=redis://… make engines"
NEEDS: Final = {
    "own postgres": f"they start, stop, hurt or configure a PostgreSQL, and {POSTGRES} names one",
    "own valkey": f"they start, stop, hurt or configure a Valkey, and {REDIS} names one",
    "timescaledb": f"the server of {POSTGRES} has not loaded timescaledb",
    "vector": f"the server of {POSTGRES} has no pgvector",
    "postgres password": f"the server of {POSTGRES} asks for no password",
    "postgres without tls": f"the server of {POSTGRES} speaks TLS",
    "redis password": f"the server of {REDIS} asks for no password",
}
"""What a test may need of servers, as its mark `needs` says; and why it is left out where that is not to be had."""


def named(variable: str) -> str:
    """The URL that a variable holds; empty where it names none. Raises ServerMissing where it is of another kind."""
    url = os.environ.get(variable, "").strip()
    schemes = ("postgresql", "postgres") if variable == POSTGRES else ("redis", "rediss")
    try:
        parts = urlsplit(url)
        if url and (parts.scheme not in schemes or (parts.port or 1) < 1):
            raise ValueError
    except ValueError:
        raise ServerMissing(f"{variable} is no URL of this kind: {schemes[0]}://user:password@host:port/…") from None
    return url


def is_shared() -> bool:
    """Whether somebody said that tests may work beside keys of others."""
    return os.environ.get(SHARED) == "1"


def lacking() -> dict[str, str]:
    """The NEEDS that the named servers do not meet, with the reasons. Raises ServerMissing where one cannot be used."""
    found: list[str] = []
    if url := named(POSTGRES):
        found += ["own postgres", *_lacking_of_postgres(url)]
    if url := named(REDIS):
        found += ["own valkey", *_lacking_of_redis(url)]
    return {need: NEEDS[need] for need in found}


def look_at_postgres(url: str) -> str:
    """What it is, in a line. Raises ServerMissing where tests cannot use it."""
    with _postgres(url) as session:
        row: Any = session.execute(
            "SELECT current_setting('server_version_num')::int, current_setting('server_version'), current_user, "
            "rolsuper, pg_is_in_recovery() "
            "FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
    number, version, user, is_super, is_standby = row
    if number < POSTGRES_MIN:
        raise ServerMissing(f"{POSTGRES} is PostgreSQL {version}; {POSTGRES_MIN // 10_000} or newer is needed")
    if is_standby:
        raise ServerMissing(f"{POSTGRES} is a standby, which takes no writes")
    if not is_super:
        raise ServerMissing(
            f"{POSTGRES}: {user} is no superuser; tests make (and drop) databases, roles and extensions"
        )
    return f"{version.split(' ')[0]} at {_place(url)}, as {user}"


def look_at_redis(url: str) -> str:
    """What it is, in a line. Raises ServerMissing where tests cannot use it, or would be among keys of others."""
    with _redis(url) as client:
        info: Any = client.info("server")
        version = str(info.get("valkey_version") or info["redis_version"])
        if tuple(map(int, str(info["redis_version"]).split(".")[:2])) < REDIS_MIN:
            raise ServerMissing(f"{REDIS} is Redis {version}; {'.'.join(map(str, REDIS_MIN))} or newer is needed")
        ours = f"{{{ALL}".encode()
        looked: Any = islice(client.scan_iter(count=1_000), KEYS_LOOKED_AT)
        foreign = sum(not name.startswith(ours) for name in looked)
    if foreign and not is_shared():
        raise ServerMissing(
            f"{REDIS} names a database that holds keys of others ({foreign:,} seen): name an empty one, or say "
            f"{SHARED}=1, and tests keep to keys of their own"
        )
    return f"{version} at {_place(url)}{f', beside {foreign:,} keys of others' if foreign else ''}"


def _lacking_of_postgres(url: str) -> list[str]:
    look_at_postgres(url)
    with _postgres(url) as session:
        row: Any = session.execute(
            "SELECT current_setting('timescaledb.license', true) IS NOT NULL, "
            "EXISTS (SELECT FROM pg_available_extensions WHERE name = 'vector'), current_setting('ssl') = 'off'"
        ).fetchone()
    has = dict(zip(("timescaledb", "vector", "postgres without tls"), row, strict=True))
    try:
        psycopg.connect(aimed(url, password="wrong-word"), connect_timeout=ANSWER_S_MAX).close()
        has["postgres password"] = False
    except psycopg.OperationalError:
        has["postgres password"] = True
    return [need for need, there in has.items() if not there]


def _lacking_of_redis(url: str) -> list[str]:
    look_at_redis(url)
    with contextlib.closing(redis.Redis.from_url(aimed(url, password="wrong-word"))) as client:
        try:
            client.ping()
        except redis.AuthenticationError as error:
            return [] if "without any password" not in str(error) else ["redis password"]
        except redis.RedisError:
            return ["redis password"]
    return ["redis password"]


@contextlib.contextmanager
def _postgres(url: str) -> Any:
    try:
        try:
            session = psycopg.connect(url, autocommit=True, connect_timeout=ANSWER_S_MAX)
        except psycopg.ProgrammingError:
            raise ServerMissing(f"{POSTGRES} is no URL that PostgreSQL's own clients would take") from None
        with session:
            yield session
    except psycopg.Error as error:
        raise ServerMissing(f"{POSTGRES}, {_place(url)}, cannot be used: {_line(error)}") from None


@contextlib.contextmanager
def _redis(url: str) -> Any:
    try:
        with contextlib.closing(
            redis.Redis.from_url(url, socket_connect_timeout=ANSWER_S_MAX, socket_timeout=ANSWER_S_MAX)
        ) as client:
            yield client
    except (redis.RedisError, ValueError, OSError) as error:
        raise ServerMissing(f"{REDIS}, {_place(url)}, cannot be used: {_line(error)}") from None


def _line(error: Exception) -> str:
    """What an error says, on one line."""
    said = [line.strip() for line in str(error).splitlines() if line.strip()]
    return said[0] if said else type(error).__name__


def _place(url: str) -> str:
    """Where a URL points, without who asks."""
    parts = urlsplit(url)
    return f"{parts.hostname or 'this machine'}{f':{parts.port}' if parts.port else ''}{parts.path}"
