"""Room `engines` (imports all below it): migrations, derived from a table's former declaration and today's.

| step | what it does | locks |
|---|---|---|
| add | columns, tables, indexes, partitions; nothing is rewritten | for an instant |
| refill | the fence is raised, so that the feeder reads the tables again and fills what is new, batch by batch | none |
| constrain | NOT NULL and checks: added unvalidated, then validated while others read and write | for an instant |
| drop | what a former declaration had: a release later, by `--drop` | for an instant |

Until the drop everything can go back: what is no longer declared keeps its data under another name or unconstrained.
Every lock is waited for LOCK_MS_MAX at most; a step that does not get it is tried again and says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from antiphon.engines.postgres import access, ddl
from antiphon.engines.postgres.binary import sql_type
from antiphon.engines.postgres.ddl import Dialect, literal, named, quoted
from antiphon.model.table import Column, Table

FORMER: Final = "_former_"
"""What begins the names of columns and tables that are no longer declared, until they are dropped."""


class Step(msgspec.Struct, frozen=True):
    """One statement, in a transaction of its own; `alone` statements run outside of any."""

    kind: str
    table: str
    sql: str
    alone: bool = False


def changed(kept: Table, wanted: Table, dialect: Dialect) -> list[Step]:
    """What makes a table of one declaration into that of another, in order; nothing where they are kept alike."""
    if _rebuilt(kept, wanted, dialect):
        return list(anew(kept, wanted, dialect))
    return list(_altered(kept, wanted, dialect))


def _rebuilt(kept: Table, wanted: Table, dialect: Dialect) -> bool:
    """Whether key or partitions differ, which no ALTER can change."""

    def bones(table: Table) -> object:
        place = table.places.relational
        return (
            table.key,
            [sql_type(table.column(name)) for name in table.key],
            (place.hash, place.partitions, place.by_time, place.every_ms) if place is not None else None,
            dialect.series and table.places.series is not None,
        )

    return bones(kept) != bones(wanted)


def anew(kept: Table, wanted: Table, dialect: Dialect) -> Iterator[Step]:
    """The table is put aside with its partitions, and made and filled again."""
    schema, name = quoted(dialect.schema), wanted.name
    aside = named(f"{FORMER}{name}", kept.fingerprint[:8])
    yield Step("add", name, f"ALTER TABLE {schema}.{quoted(name)} RENAME TO {quoted(aside)}")
    yield Step(
        "add",
        name,
        f"DO $$ DECLARE one record; BEGIN FOR one IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = "
        f"i.inhrelid WHERE i.inhparent = {literal(f'{schema}.{quoted(aside)}')}::regclass LOOP EXECUTE format('ALTER "
        f"TABLE {schema}.%I RENAME TO %I', one.relname, left('{FORMER}' || one.relname, 54) || "
        f"'_{kept.fingerprint[:8]}'); END LOOP; END $$",
    )
    yield Step(
        "add",
        name,
        "DO $$ DECLARE one record; BEGIN FOR one IN SELECT indexrelid::regclass::text AS spelled, c.relname FROM "
        "pg_index x JOIN pg_class c ON c.oid = x.indexrelid WHERE x.indrelid = "
        f"{literal(f'{schema}.{quoted(aside)}')}::regclass LOOP "
        f"EXECUTE format('ALTER INDEX %s RENAME TO %I', one.spelled, left('{FORMER}' || one.relname, 54) || "
        f"'_{kept.fingerprint[:8]}'); END LOOP; END $$",
    )
    for sql in (
        *ddl.table_sql(wanted, dialect),
        *ddl.hypertable_sql(wanted, dialect),
        *ddl.indexes_sql(wanted, dialect),
    ):
        yield Step("add", name, sql)
    yield Step("refill", name, refill_sql(dialect))


def _altered(kept: Table, wanted: Table, dialect: Dialect) -> Iterator[Step]:
    schema, name = quoted(dialect.schema), wanted.name
    on = f"{schema}.{quoted(name)}"
    had = {column.name: column for column in kept.columns}
    want = {column.name: column for column in wanted.columns}
    refill = False
    for column in kept.columns:
        aside = column.name in want and sql_type(want[column.name]) != sql_type(column)
        if column.name not in want or aside:
            yield from unbound(on, name, column)
        if aside:
            former = named(f"{FORMER}{column.name}", kept.fingerprint[:8])
            yield Step("add", name, f"ALTER TABLE {on} RENAME COLUMN {quoted(column.name)} TO {quoted(former)}")
    for column in wanted.columns:
        if column.name not in had or sql_type(had[column.name]) != sql_type(column):
            free = msgspec.structs.replace(column, nullable=True) if column.name not in wanted.key else column
            line = ddl.column_sql(free, dialect)
            yield Step("add", name, f"ALTER TABLE {on} ADD COLUMN IF NOT EXISTS {line}")
            refill = True
    if refill:
        yield Step("refill", name, refill_sql(dialect))
    for column in wanted.columns:
        before = had.get(column.name)
        same = before is not None and sql_type(before) == sql_type(column)
        yield from bound(on, name, column, before if same else None)
    yield from _indexes(kept, wanted, dialect)


def unbound(on: str, table: str, column: Column) -> Iterator[Step]:
    """Rows may come without a column that is no longer declared."""
    if not column.nullable:
        yield Step("add", table, f"ALTER TABLE {on} ALTER COLUMN {quoted(column.name)} DROP NOT NULL")
    if ddl.check_of(column):
        yield Step("add", table, f"ALTER TABLE {on} DROP CONSTRAINT IF EXISTS {quoted(ddl.check_name(table, column))}")


def bound(on: str, table: str, column: Column, before: Column | None) -> Iterator[Step]:
    name, check = quoted(column.name), ddl.check_of(column)
    constraint = quoted(ddl.check_name(table, column))
    if before is not None and ddl.check_of(before) != check and ddl.check_of(before):
        yield Step("constrain", table, f"ALTER TABLE {on} DROP CONSTRAINT IF EXISTS {constraint}")
    if check and (before is None or ddl.check_of(before) != check):
        yield Step("constrain", table, f"ALTER TABLE {on} ADD CONSTRAINT {constraint} CHECK ({check}) NOT VALID")
        yield Step("constrain", table, f"ALTER TABLE {on} VALIDATE CONSTRAINT {constraint}")
    if before is not None and before.nullable == column.nullable:
        return
    if column.nullable:
        if before is not None:
            yield Step("constrain", table, f"ALTER TABLE {on} ALTER COLUMN {name} DROP NOT NULL")
        return
    filled = quoted(named(table, column.name, "filled"))
    yield Step("constrain", table, f"ALTER TABLE {on} ADD CONSTRAINT {filled} CHECK ({name} IS NOT NULL) NOT VALID")
    yield Step("constrain", table, f"ALTER TABLE {on} VALIDATE CONSTRAINT {filled}")
    yield Step("constrain", table, f"ALTER TABLE {on} ALTER COLUMN {name} SET NOT NULL")
    yield Step("constrain", table, f"ALTER TABLE {on} DROP CONSTRAINT {filled}")


def _indexes(kept: Table, wanted: Table, dialect: Dialect) -> Iterator[Step]:
    """New indexes are made while others write, where the table has no partitions; old ones go at the drop."""
    had, want = ddl.indexes_sql(kept, dialect), ddl.indexes_sql(wanted, dialect)
    plain = not ddl.is_partitioned(wanted, dialect)
    for sql in want:
        if sql in had:
            continue
        if plain and not ddl.hypertable_sql(wanted, dialect):
            unhurried = sql.replace("CREATE INDEX IF NOT EXISTS", "CREATE INDEX CONCURRENTLY IF NOT EXISTS", 1)
            yield Step("add", wanted.name, unhurried, alone=True)
        else:
            yield Step("add", wanted.name, sql)


def dropped(kept: Table, wanted: Table, dialect: Dialect) -> list[Step]:
    """What a former declaration had and today's has not: after this there is no way back but to fill again."""
    schema, name = quoted(dialect.schema), wanted.name
    on = f"{schema}.{quoted(name)}"
    if _rebuilt(kept, wanted, dialect):
        aside = quoted(named(f"{FORMER}{name}", kept.fingerprint[:8]))
        return [Step("drop", name, f"DROP TABLE IF EXISTS {schema}.{aside}")]
    want = {column.name: column for column in wanted.columns}
    found = []
    for column in kept.columns:
        if column.name not in want:
            found.append(Step("drop", name, f"ALTER TABLE {on} DROP COLUMN IF EXISTS {quoted(column.name)}"))
        elif sql_type(want[column.name]) != sql_type(column):
            former = quoted(named(f"{FORMER}{column.name}", kept.fingerprint[:8]))
            found.append(Step("drop", name, f"ALTER TABLE {on} DROP COLUMN IF EXISTS {former}"))
    gone = set(ddl.indexes_sql(kept, dialect)) - set(ddl.indexes_sql(wanted, dialect))
    for sql in sorted(gone):
        index = sql.split('"')[1]
        found.append(Step("drop", name, f"DROP INDEX IF EXISTS {schema}.{quoted(index)}"))
    return found


def refill_sql(dialect: Dialect) -> str:
    """Makes whoever feeds begin again: it finds an epoch that it did not raise, and reads the tables anew."""
    return f"UPDATE {quoted(dialect.schema)}._fence SET epoch = epoch + 1"


def policies(tables: Sequence[Table], known: Mapping[str, Table], dialect: Dialect) -> list[Step]:
    """Row access as it is declared now."""
    return [
        Step("constrain", table.name, sql)
        for table in tables
        for sql in access.policies_sql(table, known, dialect.schema)
    ]
