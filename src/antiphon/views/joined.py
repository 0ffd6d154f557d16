"""Room `views` (imports `log` and below): what tables say of each other, checked when their domains come together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from antiphon.model.errors import InvalidInput
from antiphon.model.placed import edge_name
from antiphon.model.places import Analyzer, Cache, Edge, braced
from antiphon.model.table import Column, Table, Type


def check_joined(tables: Mapping[str, Table]) -> None:
    """Raises InvalidInput, naming the table, the column and the reason, where tables contradict each other."""
    for table in tables.values():
        for named in (f"{table.name}_key", *(index.name_in(table.name) for index in table.indexes)):
            if named in tables:
                raise InvalidInput(f"table {named!r} has the name of an index of {table.name!r}: choose another")
        for column in table.columns:
            _check_reference(tables, table, column)
            if column.derived is not None and column.derived.table:
                _check_derived(tables, table, column)
    _check_places(tables)


def _check_reference(tables: Mapping[str, Table], table: Table, column: Column) -> None:
    if column.references is None:
        return
    name, _, field = column.references.partition(".")
    other = tables.get(name)
    if other is None or (field and field not in other.by_name):
        said = f"table {table.name!r}: column {column.name!r}"
        raise InvalidInput(f"{said} is a reference to {column.references!r}, which is nothing")


def _check_derived(tables: Mapping[str, Table], table: Table, column: Column) -> None:
    derived, said = column.derived, f"table {table.name!r}: column {column.name!r}"
    assert derived is not None
    source = tables.get(derived.table)
    if source is None:
        raise InvalidInput(f"{said} is derived from {derived.table!r}, which is no table")
    for name in (*derived.match, *(name for name, _ in derived.where), *filter(None, (derived.column,))):
        if name not in source.by_name:
            raise InvalidInput(f"{said} is derived from {derived.table}.{name}, which is no column")
    by = dict(zip(table.key, derived.match, strict=True))
    placed = tuple(by[name] for name in table.shard_columns)
    if source.shard_columns != placed:
        raise InvalidInput(
            f"{said} looks at rows of {source.name!r} by {', '.join(placed)}, but they are placed by "
            f"{', '.join(source.shard_columns)}: they could be in another file"
        )
    for mine, theirs in zip(table.key, derived.match, strict=True):
        if table.column(mine).type != source.column(theirs).type:
            raise InvalidInput(f"{said} compares {mine} with {source.name}.{theirs}, of another type")


def _check_places(tables: Mapping[str, Table]) -> None:
    """Two tables never fill one node, edge or cache (the one's delete would take what is the other's), and a name of an
    analyzer means one thing.
    """
    taken: dict[tuple[str, Any], str] = {}
    nodes = {node.label: table for table in tables.values() for node in table.places.nodes}
    analyzers: dict[str, Analyzer] = {}
    for table in tables.values():
        places = table.places
        filled: list[tuple[str, Any]] = [("node", node.label) for node in places.nodes]
        filled += [("edge", edge_name(edge)) for edge in places.edges]
        filled += [("cache", cache.pattern) for cache in places.caches]
        filled += [("changelog", stream.topic) for stream in places.streams if not stream.kinds]
        for what in filled:
            other = taken.setdefault(what, table.name)
            if other != table.name:
                shown = what[1] if isinstance(what[1], str) else " ".join(what[1])
                raise InvalidInput(
                    f"table {table.name!r}: its {what[0]} {shown!r} is made of {other!r} already: one source alone, or "
                    "the one's delete takes what is the other's",
                    table=table.name,
                )
        for cache in places.caches:
            _check_key(tables, table, cache)
        for edge in places.edges:
            _check_ends(nodes, table, edge)
        for _, analyzer in places.search.analyzers if places.search is not None else ():
            if analyzers.setdefault(analyzer.name, analyzer) != analyzer:
                raise InvalidInput(
                    f"table {table.name!r}: its analyzer {analyzer.name!r} is another one than elsewhere",
                    table=table.name,
                )


def _check_key(tables: Mapping[str, Table], table: Table, cache: Cache) -> None:
    """One key is filled by one pattern, whatever the values are."""
    for other in tables.values():
        for one in other.places.caches:
            if one is not cache and _is_one_key(one.pattern, cache.pattern):
                raise InvalidInput(
                    f"table {table.name!r}: its cache {cache.pattern!r} has keys that {other.name!r} fills by "
                    f"{one.pattern!r} too",
                    table=table.name,
                )


def _is_one_key(ours: str, theirs: str) -> bool:
    """Whether some key is of both patterns: part by part, they are equal or one is a column's value."""
    parts = ours.split(":"), theirs.split(":")
    same = (mine == other or braced(mine) or braced(other) for mine, other in zip(*parts, strict=False))
    return len(parts[0]) == len(parts[1]) and all(same)


def _check_ends(nodes: Mapping[str, Table], table: Table, edge: Edge) -> None:
    said = f"table {table.name!r}: its edge {edge.type!r}"
    for name, label in ((edge.source, edge.source_label), (edge.target, edge.target_label)):
        node, column = nodes.get(label), table.column(name)
        if node is None:
            raise InvalidInput(f"{said} ends at {label!r}, and no table's rows are such nodes", table=table.name)
        held = column.of if column.type in (Type.LIST, Type.SET) else column.type
        if len(node.key) != 1 or node.column(node.key[0]).type != held:
            raise InvalidInput(f"{said} finds {label!r} by {name}, which is no key of {node.name!r}", table=table.name)
