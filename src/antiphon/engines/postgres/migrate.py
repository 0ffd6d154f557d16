"""Room `engines` (imports all below it): migrations, derived from a table's former declaration and today's.

| step | what it does | locks |
|---|---|---|
| add | columns, tables, partitions; nothing is rewritten. In one transaction with the note of it | for an instant |
| refill | the fence is raised, so that the feeder reads the tables again and fills what is new, batch by batch | none |
| index | made while others write, where the table has no partitions | for an instant |
| constrain | NOT NULL and checks: added unvalidated, then validated while others read and write | for an instant |
| drop | what a former declaration had: a release later, by `--drop` | for an instant |

Until the drop everything can go back: what is no longer declared keeps its data under another name or unconstrained.
A migration may be killed anywhere: every step that is not noted yet can be taken twice.
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
    """Statements in a transaction of their own. One that runs `alone` is in none, and may leave half of what it makes:
    `before` takes that away, each time it is tried.
    """

    kind: str
    table: str
    sql: str
    alone: bool = False
    before: str = ""


def changed(kept: Table, wanted: Table, dialect: Dialect, mark: str) -> list[Step]:
    """What makes a table of one declaration into that of another, in order; nothing where they are kept alike. What is
    put aside has the mark in its name.
    """
    if _rebuilt(kept, wanted, dialect):
        return list(anew(wanted, dialect, mark))
    return list(_altered(kept, wanted, dialect, mark))


def _rebuilt(kept: Table, wanted: Table, dialect: Dialect) -> bool:
    """Whether key or partitions differ, which no ALTER can change."""

    def bones(table: Table) -> object:
        place = table.places.relational
        return (
            table.key,
            [sql_type(table.column(name)) for name in table.key],
            (place.hash, place.partitions) if place is not None else None,
            ddl.ranged(table, dialect),
            ddl.series_of(table, dialect) is not None,
        )

    return bones(kept) != bones(wanted)


def anew(wanted: Table, dialect: Dialect, mark: str) -> Iterator[Step]:
    """The table is put aside with its partitions, under names with the mark, and made and filled again."""
    schema, name = quoted(dialect.schema), wanted.name
    aside = named(f"{FORMER}{name}", mark)
    yield Step("add", name, f"ALTER TABLE {schema}.{quoted(name)} RENAME TO {quoted(aside)}")
    yield Step("add", name, _hidden(f"{schema}.{quoted(aside)}"))
    yield Step(
        "add",
        name,
        f"DO $$ DECLARE one record; BEGIN FOR one IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = "
        f"i.inhrelid WHERE i.inhparent = {literal(f'{schema}.{quoted(aside)}')}::regclass AND c.relnamespace = "
        f"{literal(schema)}::regnamespace LOOP EXECUTE format('ALTER "
        f"TABLE {schema}.%I RENAME TO %I', one.relname, {_ASIDE} || '_{mark}'); END LOOP; END $$",
    )
    yield Step(
        "add",
        name,
        "DO $$ DECLARE one record; BEGIN FOR one IN SELECT indexrelid::regclass::text AS spelled, c.relname FROM "
        "pg_index x JOIN pg_class c ON c.oid = x.indexrelid WHERE x.indrelid = "
        f"{literal(f'{schema}.{quoted(aside)}')}::regclass LOOP "
        f"EXECUTE format('ALTER INDEX %s RENAME TO %I', one.spelled, {_ASIDE} || '_{mark}'); END LOOP; END $$",
    )
    for sql in (
        *ddl.table_sql(wanted, dialect),
        *ddl.hypertable_sql(wanted, dialect),
        *ddl.indexes_sql(wanted, dialect),
    ):
        yield Step("add", name, sql)
    yield Step("refill", name, refill_sql(dialect))


_ASIDE: Final = f"left('{FORMER}' || one.relname, 44) || '_' || left(md5(one.relname), 8)"
"""What a partition or an index is called that is put aside: a long name too stays its own."""


def _hidden(aside: str) -> str:
    """What takes a table from whoever was let in: it is kept, not shown."""
    return (
        "DO $$ DECLARE one record; BEGIN FOR one IN SELECT DISTINCT grantee::regrole::text AS name FROM pg_class c, "
        f"aclexplode(c.relacl) WHERE c.oid = {literal(aside)}::regclass AND grantee NOT IN (0, c.relowner) LOOP "
        f"EXECUTE {literal(f'REVOKE ALL ON {aside} FROM ')} || one.name; END LOOP; END $$"
    )


def _altered(kept: Table, wanted: Table, dialect: Dialect, mark: str) -> Iterator[Step]:
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
            former = named(f"{FORMER}{column.name}", mark)
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
    if before is not None and ddl.check_of(before) and not check:
        yield Step("constrain", table, f"ALTER TABLE {on} DROP CONSTRAINT IF EXISTS {constraint}")
    if check and (before is None or ddl.check_of(before) != check):
        anew = f"DROP CONSTRAINT IF EXISTS {constraint}, ADD CONSTRAINT {constraint}"
        yield Step("constrain", table, f"ALTER TABLE {on} {anew} CHECK ({check}) NOT VALID")
        yield Step("constrain", table, f"ALTER TABLE {on} VALIDATE CONSTRAINT {constraint}")
    if before is not None and before.nullable == column.nullable:
        return
    if column.nullable:
        if before is not None:
            yield Step("constrain", table, f"ALTER TABLE {on} ALTER COLUMN {name} DROP NOT NULL")
        return
    filled = quoted(named(table, column.name, "filled"))
    anew = f"DROP CONSTRAINT IF EXISTS {filled}, ADD CONSTRAINT {filled}"
    yield Step("constrain", table, f"ALTER TABLE {on} {anew} CHECK ({name} IS NOT NULL) NOT VALID")
    yield Step("constrain", table, f"ALTER TABLE {on} VALIDATE CONSTRAINT {filled}")
    yield Step("constrain", table, f"ALTER TABLE {on} ALTER COLUMN {name} SET NOT NULL")
    yield Step("constrain", table, f"ALTER TABLE {on} DROP CONSTRAINT IF EXISTS {filled}")


def _indexes(kept: Table, wanted: Table, dialect: Dialect) -> Iterator[Step]:
    """New indexes are made while others write, where the table has no partitions; old ones go at the drop."""
    had, want = ddl.indexes_sql(kept, dialect), ddl.indexes_sql(wanted, dialect)
    plain = not ddl.is_partitioned(wanted, dialect)
    for sql in want:
        if sql in had:
            continue
        if plain and not ddl.hypertable_sql(wanted, dialect):
            index = f"{quoted(dialect.schema)}.{quoted(sql.split(chr(34))[1])}"
            broken = f"SELECT FROM pg_index WHERE indexrelid = to_regclass({literal(index)}) AND NOT indisvalid"
            cleared = (
                f"DO $$ BEGIN IF EXISTS ({broken}) THEN DROP INDEX {index}; END IF; END $$"  # of one that was killed
            )
            unhurried = sql.replace("CREATE INDEX IF NOT EXISTS", "CREATE INDEX CONCURRENTLY IF NOT EXISTS", 1)
            yield Step("index", wanted.name, unhurried, alone=True, before=cleared)
        else:
            yield Step("index", wanted.name, sql)


def dropped(kept: Table, wanted: Table, dialect: Dialect) -> list[Step]:
    """What a former declaration had and today's has not, besides what was put aside (`shape.put_aside`): after this
    there is no way back but to fill again.
    """
    schema, name = quoted(dialect.schema), wanted.name
    on = f"{schema}.{quoted(name)}"
    if _rebuilt(kept, wanted, dialect):
        return []
    found = [
        Step("drop", name, f"ALTER TABLE {on} DROP COLUMN IF EXISTS {quoted(column.name)}")
        for column in kept.columns
        if column.name not in wanted.by_name
    ]
    gone = set(ddl.indexes_sql(kept, dialect)) - set(ddl.indexes_sql(wanted, dialect))
    for sql in sorted(gone):
        index = sql.split('"')[1]
        found.append(Step("drop", name, f"DROP INDEX IF EXISTS {schema}.{quoted(index)}"))
    return found


def difference(kept: Table, wanted: Table) -> str:
    """What is between two declarations of a table, in a person's words."""
    had, want = kept.by_name, wanted.by_name
    said = [f"column {name} is added" for name in want if name not in had]
    said += [f"column {name} is declared no more" for name in had if name not in want]
    said_of = msgspec.json.encode  # what comes out of the catalogue has tuples where a declaration may have lists
    both = [name for name in want if name in had and said_of(want[name]) != said_of(had[name])]
    said += [f"column {name} is declared otherwise" for name in both]
    fields = [name for name in Table.__struct_fields__ if name != "columns"]
    rest = [name for name in fields if said_of(getattr(kept, name)) != said_of(getattr(wanted, name))]
    return "; ".join([*said, *([f"{', '.join(rest)} declared otherwise"] if rest else [])])


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
