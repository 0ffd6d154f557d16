"""Room `model` (pure; imports `model` alone): the places of a table: how each sort of engine keeps it.

A place says only what an engine of that sort cannot know from the columns. Engines that a table has no place for
do not get it. *Units*: names that end in `_ms` are milliseconds.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
FOREVER: Final = 0
"""As a retention: for ever."""


class Relational(msgspec.Struct, frozen=True, omit_defaults=True):
    """PostgreSQL and its kin. Partitions by hash of columns, or by time (`by_time`, one partition each `every_ms`)."""

    hash: tuple[str, ...] = ()
    partitions: int = 0
    by_time: str | None = None
    every_ms: int = 0


class Series(msgspec.Struct, frozen=True, omit_defaults=True):
    """A time series: a hypertable on `time`, in chunks of `chunk_ms`."""

    time: str
    chunk_ms: int = 7 * DAY_MS


class Vectors(msgspec.Struct, frozen=True, omit_defaults=True):
    """A nearest-neighbour index (HNSW) over a vector column. `metric` is cosine, l2 or ip."""

    column: str
    metric: str = "cosine"
    m: int = 16
    ef_construction: int = 64


class Wide(msgspec.Struct, frozen=True, omit_defaults=True):
    """A wide-row store. The partition is `partition`, and the bucket of `bucket_of` of width `bucket_ms` where given;
    within it rows are ordered by `clustering` (a leading `-` is descending).
    """

    partition: tuple[str, ...]
    clustering: tuple[str, ...] = ()
    bucket_of: str | None = None
    bucket_ms: int = DAY_MS
    ttl_ms: int = FOREVER


class Node(msgspec.Struct, frozen=True, omit_defaults=True):
    """A node of a graph for each row, with these columns as properties."""

    label: str
    properties: tuple[str, ...] = ()


class Edge(msgspec.Struct, frozen=True, omit_defaults=True):
    """An edge of a graph for each row (or for each item of a list column): `source` and `target` name the columns,
    `source_label` and `target_label` the nodes.
    """

    type: str
    source: str
    target: str
    source_label: str
    target_label: str
    properties: tuple[str, ...] = ()


class Search(msgspec.Struct, frozen=True, omit_defaults=True):
    """A search index. `analyzers` are (column, analyzer); other text columns are keywords."""

    analyzers: tuple[tuple[str, str], ...] = ()
    nested: tuple[str, ...] = ()


class Cache(msgspec.Struct, frozen=True, omit_defaults=True):
    """A key-value cache. `pattern` has columns in braces; `of` are the columns kept (all when empty)."""

    pattern: str
    of: tuple[str, ...] = ()
    ttl_ms: int = HOUR_MS
    shape: str = "json"
    """json, hash, set, flag or list."""


class Stream(msgspec.Struct, frozen=True, omit_defaults=True):
    """A topic: of events of these `kinds`, or (with none) of the table's changes. `by` are the columns of the key
    that says which partition.
    """

    topic: str
    partitions: int
    retention_ms: int = 7 * DAY_MS
    kinds: tuple[str, ...] = ()
    compaction: bool = False
    replication: int = 3
    by: tuple[str, ...] = ()


class Archive(msgspec.Struct, frozen=True, omit_defaults=True):
    """Columnar files in object storage, one for each period of `every_ms` of the column `time`."""

    time: str
    every_ms: int = DAY_MS


class Places(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everywhere a table is kept besides the file."""

    relational: Relational | None = None
    series: Series | None = None
    vectors: tuple[Vectors, ...] = ()
    wide: Wide | None = None
    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()
    search: Search | None = None
    caches: tuple[Cache, ...] = ()
    streams: tuple[Stream, ...] = ()
    archive: Archive | None = None

    def columns(self) -> list[tuple[str, str]]:
        """(place, column) for every column that a place names."""
        found: list[tuple[str, str]] = []
        if self.relational is not None:
            named = (*self.relational.hash, *((self.relational.by_time,) if self.relational.by_time else ()))
            found += [("relational", name) for name in named]
        if self.series is not None:
            found.append(("series", self.series.time))
        found += [("vectors", vectors.column) for vectors in self.vectors]
        if self.wide is not None:
            named = (*self.wide.partition, *(name.removeprefix("-") for name in self.wide.clustering))
            found += [("wide", name) for name in (*named, *((self.wide.bucket_of,) if self.wide.bucket_of else ()))]
        for node in self.nodes:
            found += [(f"node {node.label}", name) for name in node.properties]
        for edge in self.edges:
            found += [(f"edge {edge.type}", name) for name in (edge.source, edge.target, *edge.properties)]
        if self.search is not None:
            found += [("search", name) for name in (*(c for c, _ in self.search.analyzers), *self.search.nested)]
        for cache in self.caches:
            found += [(f"cache {cache.pattern}", name) for name in (*braced(cache.pattern), *cache.of)]
        for stream in self.streams:
            found += [(f"stream {stream.topic}", name) for name in stream.by]
        if self.archive is not None:
            found.append(("archive", self.archive.time))
        return found

    def named(self) -> list[tuple[str, Any]]:
        """(what, place) for every place there is, one by one."""
        found: list[tuple[str, Any]] = []
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, tuple):
                found += [(name.removesuffix("s") if name != "vectors" else name, one) for one in value]
            elif value is not None:
                found.append((name, value))
        return found


def braced(pattern: str) -> list[str]:
    """The names in braces, in order."""
    return [part.split("}", 1)[0] for part in pattern.split("{")[1:]]
