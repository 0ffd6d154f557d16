"""Room `engines` (imports all below it): tables as they stand in the server: what was altered, how to mend it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from antiphon.engines.postgres import ddl
from antiphon.engines.postgres.binary import sql_type
from antiphon.engines.postgres.connection import Session
from antiphon.engines.postgres.ddl import Dialect, named, quoted
from antiphon.engines.postgres.migrate import FORMER, Step, anew, bound, refill_sql, unbound
from antiphon.model.table import Column, Table, Type

_OWN: Final = ((ddl.VERSION, "bigint"), (ddl.AUTHOR, "bytea"), (ddl.NUMBER, "bigint"))
_ARRAY: Final = "real[]"
"""What a vector is where there is no pgvector."""
_SCHEMA: Final = re.compile(r"^(\w+|\"[^\"]+\")\.")


class Held(msgspec.Struct):
    """A table as the server has it: by column its type, those that must be given, whether policies hold, and whether
    it is partitioned by time, or a hypertable.
    """

    types: dict[str, str]
    given: set[str]
    policed: bool
    ranged: bool
    series: bool = False


def held(session: Session, tables: Iterable[Table], schema: str) -> dict[str, Held]:
    """By name, those of these tables that are there."""
    found: dict[str, Held] = {}
    rows = session.execute(
        "SELECT c.relname, c.relrowsecurity, a.attname, format_type(a.atttypid, a.atttypmod), "
        "a.attnotnull AND NOT a.atthasdef AND a.attidentity = '', EXISTS (SELECT FROM pg_partitioned_table p WHERE "
        "p.partrelid = c.oid AND p.partstrat = 'r') FROM pg_class c JOIN pg_namespace n ON n.oid = "
        "c.relnamespace LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
        "WHERE n.nspname = %s AND c.relkind IN ('r', 'p') AND c.relname = ANY(%s)",
        (schema, [table.name for table in tables]),
    )
    for name, policed, column, kind, must, ranged in rows:
        one = found.setdefault(name, Held({}, set(), policed, ranged))
        if column is not None:
            one.types[column] = _SCHEMA.sub("", kind)
            if must:
                one.given.add(column)
    if session.execute("SELECT to_regclass('timescaledb_information.hypertables')").fetchone() != (None,):
        asked = "SELECT hypertable_name FROM timescaledb_information.hypertables WHERE hypertable_schema = %s"
        for (name,) in session.execute(asked, (schema,)):
            if name in found:
                found[name].series = True
    return found


def standing(table: Table, there: Held | None, dialect: Dialect) -> Dialect:
    """What the server can do with a table as it stands: less than it could where an extension came after the table."""
    if there is None:
        return dialect
    arrays = any(there.types.get(column.name) == _ARRAY for column in table.columns if column.type == Type.VECTOR)
    plain = ddl.series_of(table, dialect) is not None and not there.series
    has = msgspec.structs.replace(dialect, vectors=dialect.vectors and not arrays, series=dialect.series and not plain)
    return msgspec.structs.replace(has, ranges=ddl.ranged(table, has) is None or there.ranged)


def is_exposed(table: Table, there: Held, dialect: Dialect) -> bool:
    """Whether it is a hypertable although not everybody may read it: its chunks are a way around its policies."""
    return there.series and ddl.series_of(table, dialect) is None


def _wanted(column: Column) -> tuple[str, ...]:
    """What a column may be there; a vector is an array where pgvector came after the table."""
    kinds = [sql_type(column), *([sql_type(column, vectors=False)] if column.type == Type.VECTOR else [])]
    return tuple(kind.replace("timestamptz", "timestamp with time zone") for kind in kinds)


def altered(table: Table, there: Held | None) -> list[str]:
    """What is not as it was declared, in a person's words."""
    if there is None:
        return ["the table is not there"]
    found = []
    for name, kinds in _columns(table):
        if name not in there.types:
            found.append(f"column {name} is not there")
        elif there.types[name] not in kinds:
            found.append(f"column {name} is {there.types[name]}, not {kinds[0]}")
    declared = {name for name, _ in _columns(table)}
    found += [f"column {name} is not declared, and must be given" for name in sorted(there.given - declared)]
    return found


def _columns(table: Table) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield from ((column.name, _wanted(column)) for column in table.columns)
    yield from ((name, (kind,)) for name, kind in _OWN)


def mended(table: Table, there: Held | None, dialect: Dialect, mark: str) -> list[Step]:
    """What makes the table as it was declared, and makes use of an extension that came after it; nothing where it is
    so. What was there is put aside under a name with the mark, not dropped.
    """
    if not altered(table, there):
        return _extended(table, there, dialect, mark) if there is not None else []
    made = [*ddl.table_sql(table, dialect), *ddl.hypertable_sql(table, dialect), *ddl.indexes_sql(table, dialect)]
    if there is None:
        return [*(Step("add", table.name, sql) for sql in made), Step("refill", table.name, refill_sql(dialect))]
    bones = {*table.key, *(name for name, _ in _OWN)}
    if any(there.types.get(name) not in kinds for name, kinds in _columns(table) if name in bones):
        return list(anew(table, dialect, mark))
    wrong = [column for column in table.columns if there.types.get(column.name) not in _wanted(column)]
    return list(_columns_mended(table, there, dialect, wrong, mark))


def _extended(table: Table, there: Held, dialect: Dialect, mark: str) -> list[Step]:
    """A hypertable in place of a plain or partitioned table, or partitions in place of one that should be none; vectors
    with their index in place of arrays.
    """
    has = standing(table, there, dialect)
    if has.series != dialect.series or has.ranges != dialect.ranges or is_exposed(table, there, dialect):
        return list(anew(table, dialect, mark))
    if has.vectors == dialect.vectors:
        return []
    arrays = [column for column in table.columns if column.type == Type.VECTOR and there.types[column.name] == _ARRAY]
    return list(_columns_mended(table, there, dialect, arrays, mark))


def _columns_mended(table: Table, there: Held, dialect: Dialect, wrong: Sequence[Column], mark: str) -> Iterator[Step]:
    on = f"{quoted(dialect.schema)}.{quoted(table.name)}"
    for name in sorted(there.given - set(table.names) - {name for name, _ in _OWN}):
        yield Step("add", table.name, f"ALTER TABLE {on} ALTER COLUMN {quoted(name)} DROP NOT NULL")
    for column in wrong:
        if column.name in there.types:
            yield from unbound(on, table.name, column)
            former = quoted(named(f"{FORMER}{column.name}", mark))
            yield Step("add", table.name, f"ALTER TABLE {on} RENAME COLUMN {quoted(column.name)} TO {former}")
        else:  # renamed, perhaps: its check went with it
            check = quoted(ddl.check_name(table.name, column))
            yield Step("add", table.name, f"ALTER TABLE {on} DROP CONSTRAINT IF EXISTS {check}")
        free = msgspec.structs.replace(column, nullable=True)
        yield Step("add", table.name, f"ALTER TABLE {on} ADD COLUMN IF NOT EXISTS {ddl.column_sql(free, dialect)}")
    for sql in ddl.indexes_sql(table, dialect) if wrong else ():
        index = sql.split('"')[1]
        if any(quoted(column.name) in sql for column in wrong):
            yield Step("add", table.name, f"DROP INDEX IF EXISTS {quoted(dialect.schema)}.{quoted(index)}")
        yield Step("index", table.name, sql)
    if wrong:
        yield Step("refill", table.name, refill_sql(dialect))
    for column in wrong:
        yield from bound(on, table.name, column, None)


def put_aside(session: Session, schema: str) -> list[Step]:
    """What drops all that migrations have put aside, whatever for: tables, and columns of those that are there."""
    q = quoted(schema)
    tables = session.execute(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND "
        "c.relkind IN ('r', 'p') AND NOT c.relispartition AND starts_with(c.relname, %s) ORDER BY 1",
        (schema, FORMER),
    ).fetchall()
    columns = session.execute(
        "SELECT c.relname, a.attname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a "
        "ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped WHERE n.nspname = %s AND c.relkind IN ('r', "
        "'p') AND NOT c.relispartition AND NOT starts_with(c.relname, %s) AND starts_with(a.attname, %s) ORDER BY 1, 2",
        (schema, FORMER, FORMER),
    ).fetchall()
    found = [Step("drop", str(name), f"DROP TABLE IF EXISTS {q}.{quoted(name)}") for (name,) in tables]
    return found + [
        Step("drop", str(name), f"ALTER TABLE {q}.{quoted(name)} DROP COLUMN IF EXISTS {quoted(column)}")
        for name, column in columns
    ]
