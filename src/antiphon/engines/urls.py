"""Room `engines` (imports all below it): which engine a URL means, and which of the declared tables it keeps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from antiphon.engines.sealing import SealedSink, Seals
from antiphon.identity.keystore import KeyStore
from antiphon.model.errors import InvalidInput, Unavailable
from antiphon.model.table import Table
from antiphon.world.entropy import Entropy

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
    host = parts.hostname or ""
    user = f"{parts.username}@" if parts.username else ""
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{user}{host}{port}{parts.path}"
