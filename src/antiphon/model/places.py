"""Room `model` (pure; imports `model` alone): the places of a table: how each sort of engine keeps it.

A place says only what an engine of that sort cannot know from the columns. Engines that a table has no place for
do not get it. *Units*: names that end in `_ms` are milliseconds.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
FOREVER: Final = 0
"""As a retention: for ever."""
CACHED_MS_MAX: Final = DAY_MS
"""How long a key of a cache may last after the row's last write: what is older is cold, and in the store alone."""

CACHES_MAX: Final = 32
"""Patterns of one table."""


class Named(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What all places have: `names` are (column, what this place calls it); the others keep their names."""

    names: tuple[tuple[str, str], ...] = ()

    def name_of(self, column: str) -> str:
        """What this place calls a column."""
        return next((name for renamed, name in self.names if renamed == column), column)

    def column_of(self, name: str) -> str:
        """The column that this place calls so."""
        return next((column for column, given in self.names if given == name), name)


class Relational(Named, frozen=True, omit_defaults=True):
    """PostgreSQL and its kin. Partitions by hash of columns, or by time (`by_time`, one partition each `every_ms`)."""

    hash: tuple[str, ...] = ()
    partitions: int = 0
    by_time: str | None = None
    every_ms: int = 0


class Series(Named, frozen=True, omit_defaults=True):
    """A time series: a hypertable on `time`, in chunks of `chunk_ms`."""

    time: str
    chunk_ms: int = 7 * DAY_MS


class Vectors(Named, frozen=True, omit_defaults=True):
    """A nearest-neighbour index (HNSW) over a vector column. `metric` is cosine, l2 or ip."""

    column: str
    metric: str = "cosine"
    m: int = 16
    ef_construction: int = 64


class Wide(Named, frozen=True, omit_defaults=True):
    """A wide-row store. The partition is `partition`, and the bucket of `bucket_of` of width `bucket_ms` where given;
    within it rows are ordered by `clustering` (a leading `-` is descending).
    """

    partition: tuple[str, ...]
    clustering: tuple[str, ...] = ()
    bucket_of: str | None = None
    bucket_ms: int = DAY_MS
    ttl_ms: int = FOREVER


class Node(Named, frozen=True, omit_defaults=True):
    """A node of a graph for each row; its properties are the key's columns and these."""

    label: str
    properties: tuple[str, ...] = ()


class Edge(Named, frozen=True, omit_defaults=True):
    """An edge of a graph for each row (or for each item of a list column): `source` and `target` name the columns,
    `source_label` and `target_label` the nodes. With `where`, only while a column has this value, or one of these.

    Edges of one type between nodes of two labels come from one table alone: else its deletes would take another's.
    """

    type: str
    source: str
    target: str
    source_label: str
    target_label: str
    properties: tuple[str, ...] = ()
    where: tuple[str, Any] | None = None

    @property
    def accepted(self) -> tuple[Any, ...]:
        """The values that `where` lets pass."""
        return accepted_by(self.where)


class Filter(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step that a word takes in an analyzer, `does` being one of FILTERS.

    *Shapes*: `synonyms` are groups of words that are found for each other; `patterns` are regular expressions whose
    groups are words too, beside the whole one.
    """

    name: str
    does: str
    synonyms: tuple[tuple[str, ...], ...] = ()
    patterns: tuple[str, ...] = ()
    language: str = ""


FILTERS: Final = frozenset({"lowercase", "synonyms", "parts", "stop", "stem"})
"""What a filter does: lower case, synonyms, parts of a word by patterns, dropping stop words, stems (of a language)."""
TOKENIZERS: Final = frozenset({"standard", "whitespace"})
LOWERCASE: Final = Filter("lowercase", "lowercase")


class Analyzer(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a text becomes the words by which it is found: as the tokenizer cuts them, then the filters in order."""

    name: str
    tokenizer: str = "standard"
    filters: tuple[Filter, ...] = (LOWERCASE,)


ENGLISH: Final = Analyzer(
    "english",
    filters=(LOWERCASE, Filter("english_stop", "stop", language="english"), Filter("english_stem", "stem",
                                                                                     language="english")),
)  # fmt: skip


class Nested(msgspec.Struct, frozen=True, omit_defaults=True):
    """A JSON column whose objects are searched one by one; `fields` are (name, the type of a column)."""

    column: str
    fields: tuple[tuple[str, str], ...]


class Search(Named, frozen=True, omit_defaults=True):
    """A search index. `analyzers` are (column, analyzer); other text, there and in `nested`, is found whole."""

    analyzers: tuple[tuple[str, Analyzer], ...] = ()
    nested: tuple[Nested, ...] = ()


class Cache(Named, frozen=True, omit_defaults=True):
    """A key of a key-value cache that rows fill. `pattern` has names of columns in braces, or none: then it is one key.

    `of` are the columns kept (all when empty); of a *set* it is the one whose values are its members, each there while
    a row has it. With `where`, only rows whose column has this value, or one of these. `ttl_ms` counts from the row's
    last write, or from the time in its column `since`. Of rows that share a key (json, hash, flag) the one with the
    highest `latest` is told, by default the time in the table's key.
    """

    pattern: str
    of: tuple[str, ...] = ()
    ttl_ms: int = HOUR_MS
    shape: str = "json"
    """json, hash, set, flag or list."""
    where: tuple[str, Any] | None = None
    latest: str | None = None
    since: str | None = None

    @property
    def columns(self) -> list[str]:
        """The columns in the pattern, in order."""
        return [self.column_of(name) for name in braced(self.pattern)]

    @property
    def accepted(self) -> tuple[Any, ...]:
        """The values that `where` lets pass."""
        return accepted_by(self.where)

    @property
    def fixed(self) -> frozenset[str]:
        """The columns that all rows of one key have alike."""
        alone = {self.where[0]} if self.where is not None and len(self.accepted) == 1 else set()
        return frozenset({*self.columns, *alone})

    @property
    def is_single(self) -> bool:
        """Whether one row at a time fills the key: a set and a list have many."""
        return self.shape not in ("set", "list")


class Stream(Named, frozen=True, omit_defaults=True):
    """A topic: of events of these `kinds`, or (with none) of the table's changes. `by` are the columns of the key
    that says which partition. `sealed`: under a key of those whom an event is about, since what is in it stays.
    """

    topic: str
    partitions: int
    retention_ms: int = 7 * DAY_MS
    kinds: tuple[str, ...] = ()
    compaction: bool = False
    replication: int = 3
    by: tuple[str, ...] = ()
    sealed: bool = False


class Archive(Named, frozen=True, omit_defaults=True):
    """Columnar files in object storage, one for each period of `every_ms` of the column `time`.

    `sealed`: under a key of those whom the rows are about, since copies and versions of such files are out of reach.
    """

    time: str
    every_ms: int = DAY_MS
    sealed: bool = True


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
            found += [(f"edge {edge.type}", name) for name in _of_edge(edge)]
        if self.search is not None:
            named = (*(c for c, _ in self.search.analyzers), *(nested.column for nested in self.search.nested))
            found += [("search", name) for name in named]
        for cache in self.caches:
            named = (*cache.columns, *cache.of, *(cache.where or ())[:1], *filter(None, (cache.latest, cache.since)))
            found += [(f"cache {cache.pattern}", name) for name in named]
        for stream in self.streams:
            found += [(f"stream {stream.topic}", name) for name in stream.by]
        if self.archive is not None:
            found.append(("archive", self.archive.time))
        return found

    def analyzers(self) -> list[Analyzer]:
        """The analyzers of its texts, each once."""
        return list({analyzer.name: analyzer for _, analyzer in (self.search or Search()).analyzers}.values())

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


def _of_edge(edge: Edge) -> tuple[str, ...]:
    return (edge.source, edge.target, *edge.properties, *(edge.where or ())[:1])


def accepted_by(where: tuple[str, Any] | None) -> tuple[Any, ...]:
    """The values that a condition (column, value or values) lets pass."""
    if where is None:
        return ()
    value = where[1]
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def braced(pattern: str) -> list[str]:
    """The names in braces, in order."""
    return [part.split("}", 1)[0] for part in pattern.split("{")[1:]]
