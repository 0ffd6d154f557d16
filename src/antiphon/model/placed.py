"""Room `model` (pure; imports `model` alone): what is wrong with a table's places, before an engine rests on them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from antiphon.model.errors import InvalidInput
from antiphon.model.places import (
    CACHED_MS_MAX,
    CACHES_MAX,
    FILTERS,
    FOREVER,
    TOKENIZERS,
    Analyzer,
    Cache,
    Edge,
    Named,
    Node,
    Search,
    Stream,
    Vectors,
    braced,
)

if TYPE_CHECKING:
    from antiphon.model.table import Table

_GIVEN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")
_FIELDS: Final = frozenset({"text", "integer", "real", "boolean", "timestamp", "date", "geo_point"})
"""What a nested field can be."""
_MANY: Final = frozenset({"list", "set", "map", "json", "vector", "geo_point", "geo_shape"})
OWN_KEYS: Final = ("row:", "rows:", "gone:", "held:", "until:", "events:", "antiphon:", "agents:active")
"""What the keys of rows, tombstones, streams and presence begin with in a cache."""
_WHOLE_ROWS: Final = frozenset({"relational", "series", "wide", "search", "stream", "archive"})


def place_faults(table: Table) -> Iterator[str]:
    """The contradictions in a table's places."""
    places = table.places
    names = table.by_name
    missing = [(place, name) for place, name in places.columns() if name not in names]
    for place, name in missing:
        yield f"its place {place} names {name!r}, which is not a column"
    if missing:
        return
    yield from _ordered_faults(table)
    if places.relational is not None:
        for name in (*places.relational.hash, *filter(None, (places.relational.by_time,))):
            if name not in table.key:
                yield f"its place relational has partitions by {name!r}, which is outside the key"
        if bool(places.relational.hash) != bool(places.relational.partitions):
            yield "its place relational: partitions by hash need columns and a number"
    for vectors in places.vectors:
        if table.column(vectors.column).type != "vector":
            yield f"its place vectors is over {vectors.column!r}, which is no vector"
        if vectors.metric not in ("cosine", "l2", "ip"):
            yield f"its place vectors measures by {vectors.metric!r}: there are cosine, l2, ip"
    for edge in places.edges:
        yield from _edge_faults(table, edge)
    if places.search is not None:
        yield from _search_faults(table, places.search)
    for stream in places.streams:
        yield from _stream_faults(table, stream)
    yield from _caches_faults(table, places.caches)
    for what, place in places.named():
        yield from _name_faults(table, what, place)


def condition_faults(table: Table, said: str, where: tuple[str, Any] | None) -> Iterator[str]:
    """What is wrong with a condition (column, value or values), which `said` has."""
    from antiphon.model import values
    from antiphon.model.places import accepted_by

    if where is None or where[0] not in table.by_name:
        return
    column = table.column(where[0])
    if column.pii:
        yield f"{said} goes by {column.name!r}, which is personal data"
    if not accepted_by(where):
        yield f"{said} goes by {column.name!r} and lets no value pass"
    for value in accepted_by(where):
        try:
            if value is not None:  # that nothing is null is no contradiction
                values.canonical(column, value)
        except InvalidInput as error:
            yield f"{said} is for a value that never is there: {error}"


def _ordered_faults(table: Table) -> Iterator[str]:
    wide, series = table.places.wide, table.places.series
    if wide is not None:
        for name in (*wide.partition, *(name.removeprefix("-") for name in wide.clustering)):
            if name not in table.key and (name in wide.partition or not table.minted):
                yield f"its place wide has {name!r} in the primary key, and the table's key has not"
        if wide.bucket_of is not None and table.column(wide.bucket_of).type != "timestamp":
            yield f"its place wide makes buckets of {wide.bucket_of!r}, which is no timestamp"
    if series is not None and table.column(series.time).type != "timestamp":
        yield f"its place series goes by {series.time!r}, which is no timestamp"
    elif series is not None and series.time not in table.key:
        yield f"its place series has chunks by {series.time!r}, which is outside the key"


def _edge_faults(table: Table, edge: Edge) -> Iterator[str]:
    said = f"its edge {edge.type!r}"
    if not set(table.key) <= {edge.source, edge.target}:
        apart = ", ".join(name for name in table.key if name not in (edge.source, edge.target))
        yield f"{said} is the same for rows that differ in {apart}: one's delete would take the other's"
    same = [one for one in table.places.edges if edge_name(one) == edge_name(edge)]
    if len(same) > 1:
        yield f"{said} between {edge.source_label} and {edge.target_label} is declared twice"
    yield from condition_faults(table, said, edge.where)


def edge_name(edge: Edge) -> tuple[str, str, str]:
    """What an edge is told from others by: its type, and the labels of its ends."""
    return edge.type, edge.source_label, edge.target_label


def _search_faults(table: Table, search: Search) -> Iterator[str]:
    for name, analyzer in search.analyzers:
        column = table.column(name)
        if "text" not in (column.type, column.of):
            yield f"its place search analyzes {name!r}, which is no text"
        if column.pii:
            yield f"its place search analyzes {name!r}, which is personal data and comes as ciphertext"
        yield from _analyzer_faults(analyzer)
    for nested in search.nested:
        said = f"its place search has {nested.column!r} nested"
        if table.column(nested.column).type != "json":
            yield f"{said}, which is no JSON"
        if not nested.fields or len({name for name, _ in nested.fields}) < len(nested.fields):
            yield f"{said}: name each of its fields, once"
        for name, kind in nested.fields:
            if kind not in _FIELDS:
                yield f"{said}: its field {name!r} is a {kind!r}; there are {', '.join(sorted(_FIELDS))}"


def _analyzer_faults(analyzer: Analyzer) -> Iterator[str]:
    said = f"its analyzer {analyzer.name!r}"
    if not _GIVEN.fullmatch(analyzer.name):
        yield f"{said} has a name that engines refuse"
    if analyzer.tokenizer not in TOKENIZERS:
        yield f"{said} cuts words by {analyzer.tokenizer!r}: there are {', '.join(sorted(TOKENIZERS))}"
    if len({step.name for step in analyzer.filters}) < len(analyzer.filters):
        yield f"{said} has two filters of one name"
    for step in analyzer.filters:
        of = f"{said}: its filter {step.name!r}"
        if step.does not in FILTERS:
            yield f"{of} does {step.does!r}: there are {', '.join(sorted(FILTERS))}"
        if (step.does == "synonyms") != bool(step.synonyms) or any(len(group) < 2 for group in step.synonyms):
            yield f"{of}: synonyms are groups of two words or more, and nothing else has them"
        if (step.does == "parts") != bool(step.patterns):
            yield f"{of}: parts go by patterns, and nothing else does"
        if (step.does in ("stop", "stem")) != bool(step.language):
            yield f"{of}: stop words and stems are of a language, and nothing else is"
        for pattern in step.patterns:
            try:
                if not re.compile(pattern).groups:
                    yield f"{of}: its pattern {pattern!r} has no group, so it finds no part"
            except re.error as error:
                yield f"{of}: its pattern {pattern!r} is none: {error}"


def _stream_faults(table: Table, stream: Stream) -> Iterator[str]:
    said = f"its stream {stream.topic!r}"
    if stream.partitions < 1:
        yield f"{said} has no partitions"
    if stream.compaction and stream.kinds:
        yield f"{said} of events cannot be compacted: each event is news"
    if stream.retention_ms == FOREVER and not stream.compaction and not stream.sealed:
        yield f"{said} is kept for ever and never compacted, so what is forgotten stays in it: declare it `sealed`"
    for name in stream.by:
        if table.column(name).pii:
            yield f"{said} goes by {name!r}, which is personal data"


def _caches_faults(table: Table, caches: tuple[Cache, ...]) -> Iterator[str]:
    if len(caches) > CACHES_MAX:
        yield f"it has {len(caches)} caches: {CACHES_MAX} at most (CACHES_MAX)"
    for cache in caches:
        yield from _cache_faults(table, cache)


def _cache_faults(table: Table, cache: Cache) -> Iterator[str]:
    said = f"its cache {cache.pattern!r}"
    if cache.shape not in ("json", "hash", "set", "flag", "list"):
        yield f"{said} has the shape {cache.shape!r}: there are json, hash, set, flag, list"
    if not 0 < cache.ttl_ms <= CACHED_MS_MAX:
        yield f"{said} is kept for {cache.ttl_ms} ms: more than 0 and at most {CACHED_MS_MAX} (CACHED_MS_MAX)"
    if sum(one.pattern == cache.pattern for one in table.places.caches) > 1:
        yield f"{said} is declared twice"
    if cache.pattern.startswith(OWN_KEYS) or not cache.pattern:
        yield f"{said} is for the engine itself: it begins with none of {', '.join(OWN_KEYS)}"
    if cache.columns and not is_parted(cache.pattern):
        yield f"{said} begins with a word, and has each column alone between colons, as in loop:{{loop_id}}:state"
    for name in cache.columns:
        if table.column(name).pii:
            yield f"{said} has {name!r} in its key, which is personal data"
    if cache.shape == "set":
        yield from _set_faults(table, cache, said)
    yield from condition_faults(table, said, cache.where)
    yield from _order_faults(table, cache, said)


def is_parted(pattern: str) -> bool:
    """Whether each name of a column is a whole part of a cache's pattern, between colons, and the first part is none.

    Values have no colon there, so no two rows' keys are told by one, and no value names a key of another kind.
    """
    first, *rest = pattern.split(":")
    alone = (re.fullmatch(r"[^{}]*|\{[^{}]*\}", part) for part in rest)
    return bool(first) and not braced(first) and all(alone)


def _set_faults(table: Table, cache: Cache, said: str) -> Iterator[str]:
    if len(cache.of) != 1:
        yield f"{said} is a set of what? `of` names the one column whose values are its members"
    elif table.column(cache.of[0]).pii:
        yield f"{said} has members of {cache.of[0]!r}, which is personal data"
    elif table.column(cache.of[0]).type in _MANY:
        yield f"{said} has members of {cache.of[0]!r}, which is not one value"


def _order_faults(table: Table, cache: Cache, said: str) -> Iterator[str]:
    """What is wrong with how long a key lasts, and with which of the rows that share it is told."""
    if cache.since is not None and table.column(cache.since).type != "timestamp":
        yield f"{said} lasts from {cache.since!r}, which is no timestamp"
    if cache.latest is not None:
        if not cache.is_single:
            yield f"{said} is a {cache.shape}, which has all rows: leave out `latest`"
        if table.column(cache.latest).type not in ("timestamp", "integer"):
            yield f"{said} tells the latest by {cache.latest!r}, which is no timestamp and no integer"
    apart = [name for name in table.key if name not in cache.fixed]
    timed = any(table.column(name).type == "timestamp" for name in table.key if name in table.by_name)
    if cache.is_single and apart and cache.latest is None and not timed:
        yield f"{said} is shared by rows that differ in {', '.join(apart)}: `latest` says which of them is told"


def _name_faults(table: Table, what: str, place: Named) -> Iterator[str]:
    """What is wrong with the names that a place gives columns."""
    if not place.names:
        return
    held = _columns_of(table, what, place)
    renamed = [column for column, _ in place.names]
    for column, name in place.names:
        said = f"its place {what} calls {column!r} {name!r}"
        if column not in table.by_name:
            yield f"{said}, and there is no such column"
        elif column not in held:
            yield f"{said}, and has no such column"
        if not _GIVEN.fullmatch(name):
            yield f"{said}, a name that engines refuse"
        if renamed.count(column) > 1:
            yield f"{said}, and something else too"
    given = [place.name_of(column) for column in held]
    for name in sorted({name for name in given if given.count(name) > 1}):
        yield f"its place {what} calls two columns {name!r}"


def _columns_of(table: Table, what: str, place: Named) -> tuple[str, ...]:
    """The columns that a place has, each once."""
    if what in _WHOLE_ROWS:
        return table.names
    if isinstance(place, Node):
        return tuple(dict.fromkeys((*table.key, *place.properties)))
    if isinstance(place, Edge):
        return place.properties
    if isinstance(place, Cache):
        return tuple(dict.fromkeys((*place.columns, *(place.of or table.names))))
    return (place.column,) if isinstance(place, Vectors) else ()
