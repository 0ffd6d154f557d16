"""Room `engines` (imports all below it): which engine a URL means, and which of the declared tables it keeps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from antiphon.engines.sealing import SealedSink, Seals
from antiphon.engines.variables import check_url
from antiphon.identity.keystore import KeyStore
from antiphon.model.errors import InvalidInput, Unavailable
from antiphon.model.table import Table
from antiphon.world.entropy import Entropy

if TYPE_CHECKING:
    from antiphon.engines.redis.beats import RedisBeats
    from antiphon.engines.redis.reads import RedisReads

SCHEMES: Final = ("postgresql", "postgres", "redis", "rediss")


def engine_at(url: str) -> Any:
    """The `Sink` of a URL; nothing is asked of the server yet. Raises InvalidInput; Unavailable without its driver."""
    kind = _kind(url)
    try:
        if kind == "postgres":
            from antiphon.engines.postgres.tables import PostgresTables

            return PostgresTables(url)
        from antiphon.engines.redis.tables import RedisTables

        bare, prefix = _prefixed(url)
        return RedisTables(bare, prefix=prefix)
    except ModuleNotFoundError as error:
        raise Unavailable(
            f"the driver {error.name!r} is not installed: pip install 'antiphon[{kind}]'", driver=error.name
        ) from None


def sealed_engine_at(url: str, keys: KeyStore, entropy: Entropy) -> SealedSink:
    """The same, given personal data under the home's keys alone."""
    return SealedSink(engine_at(url), Seals.of(keys, entropy))


def reads_at(url: str) -> RedisReads:
    """How reads through an engine went. Raises InvalidInput where it keeps no count; Unavailable without its driver."""
    _of_redis(url, "reads are counted")
    from antiphon.engines.redis.reads import RedisReads

    bare, prefix = _prefixed(url)
    return RedisReads.at(bare, prefix=prefix)


def hears(url: str) -> bool:
    """Whether an engine of this kind hears heartbeats."""
    return _kind(url) == "redis"


def beats_at(url: str) -> RedisBeats:
    """What heartbeats came to. Raises InvalidInput where an engine hears none; Unavailable without its driver."""
    _of_redis(url, "heartbeats are heard")
    from antiphon.engines.redis.beats import RedisBeats
    from antiphon.engines.redis.presence import ALIVE_MS

    bare, prefix = _prefixed(url)
    return RedisBeats(bare, prefix=prefix, alive_ms=ALIVE_MS)


def _of_redis(url: str, what: str) -> None:
    if _kind(url) != "redis":
        raise InvalidInput(f"{what} in Redis or Valkey: name an engine that is one of these")
    if find_spec("redis") is None:
        raise Unavailable("the driver 'redis' is not installed: pip install 'antiphon[redis]'", driver="redis")


def tables_for(url: str, tables: Mapping[str, Table]) -> list[Table]:
    """The tables that have a place in an engine of this kind; rollups go where their source goes."""
    kind = _kind(url)
    return [table for table in tables.values() if _has_place(kind, tables.get(table.rollup_of or table.name, table))]


def _has_place(kind: str, table: Table) -> bool:
    places = table.places
    if kind == "postgres":
        return places.relational is not None or places.series is not None or bool(places.vectors)
    return bool(places.caches)


def _prefixed(url: str) -> tuple[str, str]:
    """A Redis URL without `prefix=…`, and what that says: what all keys begin with, a hash tag in a cluster."""
    parts = urlsplit(url)
    said = parse_qsl(parts.query, keep_blank_values=True)
    rest = urlencode([(name, value) for name, value in said if name != "prefix"])
    return parts._replace(query=rest).geturl(), dict(said).get("prefix", "")


def _kind(url: str) -> str:
    check_url(url)
    try:
        scheme = urlsplit(url).scheme
    except ValueError:
        raise InvalidInput("this is no URL: its host is not one") from None
    if scheme not in SCHEMES:
        raise InvalidInput(f"{scheme or 'this'}:// is no engine that is here; there are {_listed(SCHEMES)}")
    return "redis" if scheme.startswith("redis") else "postgres"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"{name}://" for name in names)


def shown(url: str) -> str:
    """A URL without its password."""
    parts = urlsplit(url)
    said, _, host = parts.netloc.rpartition("@")
    user = said.partition(":")[0]
    return f"{parts.scheme}://{user}{'@' if user else ''}{host}{parts.path}"
