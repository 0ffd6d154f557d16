"""Room `engines` (imports all below it): declared tables as PostgreSQL's own: tables, partitions, indexes, checks.

Text alone: nothing here talks to a server. `Dialect` says what the server has; what it lacks is left out and named.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from antiphon.engines.postgres.binary import sql_type
from antiphon.model.places import Series, Vectors
from antiphon.model.table import Check, Column, Index, Table, Type

VERSION: Final = "_version"
"""The column with the version under which a row was delivered."""
AUTHOR: Final = "_author"
"""The column with the agent that the row speaks for."""
NUMBER: Final = "_n"
"""The column that numbers rows as they came to this server."""
NAME_BYTES_MAX: Final = 63
_OPERATORS: Final = {"cosine": "vector_cosine_ops", "l2": "vector_l2_ops", "ip": "vector_ip_ops"}
_INVERTED: Final = (Type.LIST, Type.SET, Type.MAP, Type.JSON)
HNSW_DIMENSIONS_MAX: Final = 2_000


class Dialect(msgspec.Struct, frozen=True):
    """What a server can do."""

    vectors: bool = True
    series: bool = True
    ranges: bool = True
    """Whether what is to be partitioned by time is: not so a table that was made otherwise."""
    schema: str = "antiphon"


class Span(NamedTuple):
    """By which time a table is partitioned, and how long each partition is."""

    column: str
    every_ms: int


def quoted(name: str) -> str:
    """A name as SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: Any) -> str:
    """A value of a declaration as SQL."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, bytes):
        return f"'\\x{value.hex()}'::bytea"
    return "'" + str(value).replace("'", "''") + "'"


def named(*parts: str) -> str:
    """A name of an index or a constraint, shortened to what PostgreSQL keeps, and still its own."""
    name = "_".join(parts)
    if len(name.encode()) <= NAME_BYTES_MAX:
        return name
    from hashlib import sha256

    return f"{name[: NAME_BYTES_MAX - 9]}_{sha256(name.encode()).hexdigest()[:8]}"


def key_columns(table: Table) -> tuple[str, ...]:
    """The primary key: the table's, which a partitioned table's must contain its partition's columns."""
    return tuple(table.key)


def check_name(table: str, column: Column) -> str:
    """What the constraint of a column is called."""
    return named(table, column.name, "check")


def check_of(column: Column) -> str | None:
    """The condition that a column's values meet, None where any do."""
    name, found = quoted(column.name), []
    if column.type == Type.ENUM:
        found.append(f"{name} IN ({', '.join(map(literal, column.values))})")
    if column.type in (Type.AGENT, Type.LOG):
        found.append(f"octet_length({name}) = 32")
    if column.check is not None:
        found += _checked(column, column.check)
    return " AND ".join(found) or None


def _checked(column: Column, check: Check) -> Iterator[str]:
    name = quoted(column.name)
    bounds = ((">=", check.least), ("<=", check.most), (">", check.above))
    if column.type in (Type.INTEGER, Type.REAL, Type.DECIMAL):
        yield from (f"{name} {sign} {literal(bound)}" for sign, bound in bounds if bound is not None)
    if check.length_max is not None:
        if column.type == Type.TEXT:
            yield f"char_length({name}) <= {check.length_max}"
        elif column.type == Type.BYTES:
            yield f"octet_length({name}) <= {check.length_max}"
    if check.among and column.type in (Type.TEXT, Type.INTEGER):
        yield f"{name} IN ({', '.join(map(literal, check.among))})"


def column_sql(column: Column, dialect: Dialect) -> str:
    """A column's line."""
    words = [quoted(column.name), sql_type(column, vectors=dialect.vectors)]
    if column.type in (Type.TEXT, Type.ENUM):
        words.append('COLLATE "C"')
    if not column.nullable:
        words.append("NOT NULL")
    return " ".join(words)


def table_sql(table: Table, dialect: Dialect) -> list[str]:
    """The statements that make a table and its partitions, in order; each does nothing where it is there."""
    name = f"{quoted(dialect.schema)}.{quoted(table.name)}"
    lines = [column_sql(column, dialect) for column in table.columns]
    numbers = f"{quoted(dialect.schema)}.{quoted(named(table.name, 'numbers'))}"
    lines += [
        f"{VERSION} bigint NOT NULL",
        f"{AUTHOR} bytea",
        f"{NUMBER} bigint NOT NULL DEFAULT nextval({literal(numbers)})",
    ]
    lines.append(f"PRIMARY KEY ({', '.join(map(quoted, key_columns(table)))})")
    checks = [(check_name(table.name, column), check_of(column)) for column in table.columns]
    lines += [f"CONSTRAINT {quoted(name)} CHECK ({check})" for name, check in checks if check]
    body = ",\n  ".join(lines)
    made = f"CREATE TABLE IF NOT EXISTS {name} (\n  {body}\n)"
    place, span = table.places.relational, ranged(table, dialect)
    before = f"CREATE SEQUENCE IF NOT EXISTS {numbers}"
    if span is not None:
        default = f"{quoted(dialect.schema)}.{quoted(named(table.name, 'default'))}"
        return [
            before,
            f"{made} PARTITION BY RANGE ({quoted(span.column)})",
            f"CREATE TABLE IF NOT EXISTS {default} PARTITION OF {name} DEFAULT",
        ]
    if place is None or not (place.hash and place.partitions and set(place.hash) <= set(table.key)):
        return [before, made]
    by = ", ".join(map(quoted, place.hash))
    return [
        before,
        f"{made} PARTITION BY HASH ({by})",
        *(
            f"CREATE TABLE IF NOT EXISTS {quoted(dialect.schema)}.{quoted(named(table.name, str(n)))} "
            f"PARTITION OF {name} FOR VALUES WITH (MODULUS {place.partitions}, REMAINDER {n})"
            for n in range(place.partitions)
        ),
    ]


def is_partitioned(table: Table, dialect: Dialect) -> bool:
    """Whether a table has partitions, by hash or by time."""
    place = table.places.relational
    hashed = place is not None and bool(place.hash and place.partitions) and set(place.hash) <= set(table.key)
    return hashed or ranged(table, dialect) is not None


def series_of(table: Table, dialect: Dialect) -> Series | None:
    """The place by which a table is a hypertable; None where it is none, and where not everybody may read every row.

    Chunks lie in a schema of TimescaleDB's that everybody may enter, with the grants of their table and without its
    policies: a policy would be no more than a request.
    """
    place = table.places.series
    is_open = table.rollup_of is None and table.shared and table.access.rule == "all"
    return place if place is not None and dialect.series and is_open and place.time in table.key else None


def ranged(table: Table, dialect: Dialect) -> Span | None:
    """How a table is partitioned by time; None where it is not, or where it is a hypertable instead."""
    if not dialect.ranges or series_of(table, dialect) is not None:
        return None
    relational, series = table.places.relational, table.places.series
    if relational is not None and relational.by_time in table.key and relational.every_ms:
        return Span(str(relational.by_time), relational.every_ms)
    return Span(series.time, series.chunk_ms) if series is not None and series.time in table.key else None


def retained(table: Table, dialect: Dialect) -> Span | None:
    """By which time whole partitions or chunks are dropped when they are past, and how long each is."""
    span, series = ranged(table, dialect), series_of(table, dialect)
    if series is not None:
        span = Span(series.time, series.chunk_ms)
    return span if span is not None and table.retention is not None and table.retention.column == span.column else None


def period_name(table: Table, period: int) -> str:
    """What a period's partition is called."""
    return named(table.name, f"p{period}" if period >= 0 else f"m{-period}")


def period_sql(table: Table, period: int, dialect: Dialect) -> str:
    """What makes the partition of one period, counted from 1970."""
    span = ranged(table, dialect)
    assert span is not None
    schema = quoted(dialect.schema)
    first, end = (f"timestamptz 'epoch' + INTERVAL '{n * span.every_ms} ms'" for n in (period, period + 1))
    return (
        f"CREATE TABLE IF NOT EXISTS {schema}.{quoted(period_name(table, period))} PARTITION OF {schema}."
        f"{quoted(table.name)} FOR VALUES FROM ({first}) TO ({end})"
    )


def hypertable_sql(table: Table, dialect: Dialect) -> list[str]:
    """What makes a table of the series place a hypertable; nothing without TimescaleDB."""
    place = series_of(table, dialect)
    if place is None:
        return []
    name = f"{quoted(dialect.schema)}.{quoted(table.name)}"
    return [
        f"SELECT create_hypertable({literal(name)}, by_range({literal(place.time)}, INTERVAL '{place.chunk_ms} ms'), "
        "if_not_exists => TRUE, create_default_indexes => FALSE)"
    ]


def indexes_sql(table: Table, dialect: Dialect) -> list[str]:
    """The statements that make a table's indexes."""
    found = [_index(table, index, dialect) for index in table.indexes]
    if table.fulltext is not None:
        found.append(f"{_on(table, 'words', (table.fulltext.text,), dialect)} USING gin ({words_of(table)})")
    for columns in table.unique:
        index = Index(tuple(columns))
        found.append(_index(table, index, dialect))
    found.append(f"{_on(table, 'idx', (NUMBER,), dialect)} ({NUMBER})")
    if dialect.vectors:
        found += [_hnsw(table, vectors, dialect) for vectors in table.places.vectors]
    return list(dict.fromkeys(found))


def words_of(table: Table) -> str:
    """The words of a table's full text, as they are indexed and asked for."""
    assert table.fulltext is not None
    return f"to_tsvector('simple', coalesce({quoted(table.fulltext.text)}, ''))"


def where_of(index: Index) -> str:
    """The condition of a partial index."""
    assert index.where is not None
    return _among(quoted(index.where[0]), index.accepted)


def _on(table: Table, kind: str, columns: tuple[str, ...], dialect: Dialect) -> str:
    made = quoted(named(table.name, *columns, kind))
    return f"CREATE INDEX IF NOT EXISTS {made} ON {quoted(dialect.schema)}.{quoted(table.name)}"


def _index(table: Table, index: Index, dialect: Dialect) -> str:
    where = ""
    if index.where is not None:
        where = f" WHERE {where_of(index)}"
    if len(index.columns) == 1 and table.column(index.columns[0]).type in _INVERTED:
        return f"{_on(table, 'gin', index.columns, dialect)} USING gin ({quoted(index.columns[0])}){where}"
    if index.time_block:
        columns = ", ".join(map(quoted, index.columns))
        return f"{_on(table, 'brin', index.columns, dialect)} USING brin ({columns}){where}"
    order = " DESC NULLS LAST" if index.descending else " NULLS FIRST"
    columns = ", ".join(quoted(name) + order for name in index.columns)
    include = f" INCLUDE ({', '.join(map(quoted, index.include))})" if index.include else ""
    kind = "idx" if index.where is None else f"where_{index.where[0]}_idx"
    return f"{_on(table, kind, index.columns, dialect)} USING btree ({columns}){include}{where}"


def _among(name: str, values: tuple[Any, ...]) -> str:
    some = ", ".join(literal(value) for value in values if value is not None)
    found = [f"{name} IN ({some})"] if some else []
    return " OR ".join([*found, f"{name} IS NULL"] if None in values else found)


def _hnsw(table: Table, place: Vectors, dialect: Dialect) -> str:
    column = table.column(place.column)
    operators = _OPERATORS[place.metric]
    expression = quoted(place.column)
    if column.size > HNSW_DIMENSIONS_MAX:
        expression, operators = f"({expression}::halfvec({column.size}))", operators.replace("vector", "halfvec")
    settings = f"m = {place.m}, ef_construction = {place.ef_construction}"
    return f"{_on(table, 'hnsw', (place.column,), dialect)} USING hnsw ({expression} {operators}) WITH ({settings})"


def lacking(table: Table, dialect: Dialect, could: Dialect) -> list[str]:
    """What this table asks for and has not, in a person's words; `could` is what the server has by now."""
    mends = "the extension came after it: `antiphon migrate`"
    found = []
    if table.places.vectors and not dialect.vectors:
        why = mends if could.vectors else "no pgvector"
        found.append(f"{table.name}: its vectors are arrays without an index: {why}")
    if not dialect.series and series_of(table, msgspec.structs.replace(dialect, series=True)) is not None:
        why = mends if could.series else "no TimescaleDB"
        found.append(f"{table.name}: it is no hypertable: {why}")
    if not dialect.ranges:
        found.append(
            f"{table.name}: it was made without partitions by time: `antiphon migrate`; a hypertable whose rows not "
            "everybody may see is readable to its owner alone until then"
        )
    return found
