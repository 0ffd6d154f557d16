"""Room `engines` (imports all below it): a connection to Redis or Valkey, and its errors told apart in one place."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from antiphon.engines.variables import check_url
from antiphon.model.errors import AntiphonError, Corrupt, InvalidInput, Rejected, Unavailable

ANSWER_S_MAX: Final = 5.0
VERSION_MIN: Final = (6, 2)
NEEDED: Final = ".".join(map(str, VERSION_MIN))


def address_of(url: str) -> str:
    """Where a URL leads, without its password: what may be printed."""
    parts = urlsplit(url)
    return f"{parts.hostname or 'localhost'}:{parts.port or 6379}{parts.path}"


def connected(url: str, *, answer_s_max: float = ANSWER_S_MAX) -> redis.Redis:
    """A client; it connects when it is first asked something. Raises InvalidInput for what is no such URL."""
    try:
        if urlsplit(url).scheme not in ("redis", "rediss", "unix"):
            raise InvalidInput("a Redis server's URL begins with redis:// or rediss://")
        check_url(url)
        address_of(url)
        client = redis.Redis.from_url(
            url,
            socket_timeout=answer_s_max,
            socket_connect_timeout=answer_s_max,
            health_check_interval=0,
            retry=Retry(NoBackoff(), 0),  # whoever feeds it backs off, and says so
        )
        client.connection_pool.make_connection()  # it connects nowhere yet, but refuses words that it does not know
    except (ValueError, TypeError):
        raise InvalidInput("this is no Redis URL: it reads redis://USER:PASSWORD@HOST:PORT/NUMBER") from None
    return client


@contextlib.contextmanager
def asking(url: str) -> Iterator[None]:
    """Makes the driver's errors inside ours."""
    try:
        yield
    except redis.RedisError as error:
        raise translated(error, url) from error


_REFUSED_LOGINS: Final = ("WRONGPASS", "NOAUTH", "NOPERM", "AUTH ", "ERR AUTH")
_ELSEWHERE: Final = (redis.exceptions.AskError, redis.exceptions.ClusterCrossSlotError)
"""MovedError is an AskError; the driver keeps of what the server says only what follows the error's name."""
_PASSING: Final = (
    redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError, redis.ReadOnlyError,
    redis.exceptions.ClusterDownError, redis.exceptions.MasterDownError, redis.exceptions.TryAgainError,
)  # fmt: skip


def translated(error: redis.RedisError, url: str) -> AntiphonError:
    """Unavailable passes, Rejected is this row's fault, InvalidInput a person's, Corrupt stops."""
    where, said = address_of(url), " ".join(str(error).split())[:200]
    refused = redis.AuthenticationError | redis.exceptions.AuthorizationError | redis.exceptions.NoPermissionError
    if isinstance(error, refused) or said.startswith(_REFUSED_LOGINS):
        return InvalidInput(f"Redis at {where} refuses this user or password: {said}")
    if isinstance(error, _ELSEWHERE) or "do not hash to the same slot" in said:
        return InvalidInput(
            f"Redis at {where} is a cluster: a prefix with a hash tag keeps a follower's keys on one node, "
            f"?prefix={{fleet}}: in the URL, which names that node ({said})"
        )
    if said.lower().startswith("unknown command"):
        return InvalidInput(f"Redis {NEEDED} or newer is needed; the one at {where} does not know a command: {said}")
    if said.startswith("DB index") or isinstance(error, redis.InvalidResponse):
        return InvalidInput(f"what answers at {where} is no Redis with such a database: {said}")
    if isinstance(error, _PASSING):
        return Unavailable(f"Redis at {where}: {said}")
    if isinstance(error, redis.OutOfMemoryError) or "OOM" in said:
        return Unavailable(f"Redis at {where} is full and evicts nothing: {said}")
    if said.startswith(("MISCONF", "NOREPLICAS")):
        return Unavailable(f"Redis at {where}: {said}")
    if "WRONGTYPE" in said:
        return Corrupt(f"Redis at {where}: a key there holds something else; is it another's? {said}")
    if isinstance(error, redis.DataError):
        return Rejected(f"Redis refuses it: {said}")
    return Corrupt(f"Redis at {where}: {said}")


def look(client: redis.Redis, url: str) -> dict[str, Any]:
    """What the server says of itself. Raises InvalidInput where it is too old."""
    with asking(url):
        info: dict[str, Any] = client.info("server")
    version = tuple(int(part) for part in str(info.get("redis_version", "0")).split(".")[:2])
    if version < VERSION_MIN:
        raise InvalidInput(f"Redis {NEEDED} or newer is needed; {address_of(url)} is {info.get('redis_version')}")
    return info
