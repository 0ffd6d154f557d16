"""Room `engines` (imports all below it): tables as they stand in the server: what was altered, how to mend it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from antiphon.engines.postgres import ddl
from antiphon.engines.postgres.binary import sql_type
from antiphon.engines.postgres.connection import Session
from antiphon.engines.postgres.ddl import Dialect, named, quoted
from antiphon.engines.postgres.migrate import FORMER, Step, anew, bound, refill_sql, unbound
from antiphon.model.table import Column, Table, Type

_OWN: Final = ((ddl.VERSION, "bigint"), (ddl.AUTHOR, "bytea"), (ddl.NUMBER, "bigint"))
_SCHEMA: Final = re.compile(r"^(\w+|\"[^\"]+\")\.")


class Held(msgspec.Struct):
    """A table as the server has it: by column its type, those that must be given, and whether policies hold."""

    types: dict[str, str]
    given: set[str]
    policed: bool


def held(session: Session, tables: Iterable[Table], schema: str) -> dict[str, Held]:
    """By name, those of these tables that are there."""
    found: dict[str, Held] = {}
    rows = session.execute(
        "SELECT c.relname, c.relrowsecurity, a.attname, format_type(a.atttypid, a.atttypmod), "
        "a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' FROM pg_class c JOIN pg_namespace n ON n.oid = "
        "c.relnamespace LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
        "WHERE n.nspname = %s AND c.relkind IN ('r', 'p') AND c.relname = ANY(%s)",
        (schema, [table.name for table in tables]),
    )
    for name, policed, column, kind, must in rows:
        one = found.setdefault(name, Held({}, set(), policed))
        if column is not None:
            one.types[column] = _SCHEMA.sub("", kind)
            if must:
                one.given.add(column)
    return found


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


def mended(table: Table, there: Held | None, dialect: Dialect) -> list[Step]:
    """What makes the table as it was declared; nothing where it is. What was altered is put aside, not dropped."""
    if not altered(table, there):
        return []
    made = [*ddl.table_sql(table, dialect), *ddl.hypertable_sql(table, dialect), *ddl.indexes_sql(table, dialect)]
    if there is None:
        return [*(Step("add", table.name, sql) for sql in made), Step("refill", table.name, refill_sql(dialect))]
    bones = {*table.key, *(name for name, _ in _OWN)}
    if any(there.types.get(name) not in kinds for name, kinds in _columns(table) if name in bones):
        return list(anew(table, table, dialect))
    return list(_columns_mended(table, there, dialect))


def _columns_mended(table: Table, there: Held, dialect: Dialect) -> Iterator[Step]:
    on = f"{quoted(dialect.schema)}.{quoted(table.name)}"
    for name in sorted(there.given - set(table.names) - {name for name, _ in _OWN}):
        yield Step("add", table.name, f"ALTER TABLE {on} ALTER COLUMN {quoted(name)} DROP NOT NULL")
    wrong = [column for column in table.columns if there.types.get(column.name) not in _wanted(column)]
    for column in wrong:
        if column.name in there.types:
            yield from unbound(on, table.name, column)
            former = quoted(named(f"{FORMER}{column.name}", table.fingerprint[:8]))
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
        yield Step("add", table.name, sql)
    if wrong:
        yield Step("refill", table.name, refill_sql(dialect))
    for column in wrong:
        yield from bound(on, table.name, column, None)
