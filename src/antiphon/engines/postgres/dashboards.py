"""Room `engines` (imports all below it): declared dashboards as PostgreSQL's materialized views. Text alone.

Each figure is a query of its own over one table, so that none multiplies another. A view has one row, and the role
that refreshes it sees every row of its tables: so only roles that may see all are let in.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from antiphon.engines.postgres.access import role_name
from antiphon.engines.postgres.ddl import literal, named, quoted
from antiphon.model.dashboard import AS_OF, Condition, Dashboard, Figure
from antiphon.model.table import Column, Table, Type

READERS: Final = ("architect", "monitor")
"""The roles that may read a dashboard: the others see no more than some of the rows that it sums."""
MARK: Final = "antiphon dashboard "
"""What begins the comment of each view that was made from a declaration; then comes what it was made of."""


def view_name(dashboard: str, schema: str) -> str:
    """A dashboard's view, as SQL."""
    return f"{quoted(schema)}.{quoted(dashboard)}"


def shown(dashboard: Dashboard, tables: Mapping[str, Table], schema: str) -> str | None:
    """The query of a dashboard over those of its tables that are here; None where none is."""
    if not any(name in tables for name in dashboard.tables):
        return None
    lines = [f"m.moment AS {quoted(AS_OF)}"]
    for figure in dashboard.figures:
        table = tables.get(figure.table)
        said = f"NULL::{_empty_type(figure)}" if table is None else _figure(figure, table, schema)
        lines.append(f"{said} AS {quoted(figure.name)}")
    body = ",\n  ".join(lines)
    return f"SELECT {body}\nFROM (SELECT date_trunc('milliseconds', now()) AS moment) AS m"


def mark_of(query: str) -> str:
    """What a view's comment is: a view with another one was made of another declaration, or of other tables."""
    return f"{MARK}{sha256(query.encode()).hexdigest()[:16]}"


def made_sql(dashboard: Dashboard, query: str, schema: str) -> list[str]:
    """What makes the view, empty: whoever refreshes it first fills it."""
    name = view_name(dashboard.name, schema)
    return [
        f"CREATE MATERIALIZED VIEW {name} AS\n{query}\nWITH NO DATA",
        f"CREATE UNIQUE INDEX {quoted(named(dashboard.name, 'key'))} ON {name} ({quoted(AS_OF)})",
        f"COMMENT ON MATERIALIZED VIEW {name} IS {literal(mark_of(query))}",
    ]


def dropped_sql(name: str, schema: str) -> str:
    """What takes the view away."""
    return f"DROP MATERIALIZED VIEW IF EXISTS {view_name(name, schema)}"


def grants_sql(dashboard: Dashboard, schema: str) -> list[str]:
    """What lets in those who may see all."""
    return [
        f"GRANT SELECT ON {view_name(dashboard.name, schema)} TO {quoted(role_name(schema, role))}" for role in READERS
    ]


def refresh_sql(name: str, schema: str) -> str:
    """What refreshes a view, whoever runs it; nothing where it is not there. Whoever reads it meanwhile goes on, but
    for the first time: then there is nothing to read yet.
    """
    view = view_name(name, schema)
    return (
        "DO $$ DECLARE filled boolean; BEGIN SELECT relispopulated INTO filled FROM pg_class WHERE oid = "
        f"to_regclass({literal(view)}); IF filled THEN REFRESH MATERIALIZED VIEW CONCURRENTLY {view}; "
        f"ELSIF filled IS NOT NULL THEN REFRESH MATERIALIZED VIEW {view}; END IF; END $$"
    )


def _figure(figure: Figure, table: Table, schema: str) -> str:
    on = f"{quoted(schema)}.{quoted(table.name)}"
    column = table.column(figure.column) if figure.column else None
    tests = [_test(condition) for condition in figure.where]
    if figure.by:
        by = quoted(figure.by)
        tests.append(f"{by} <= m.moment")
        newest = f"(SELECT max({by}) FROM {on}{_where(tests)})"
        return f"(SELECT {_aggregate(figure, column)} FROM {on}{_where([*tests, f'{by} = {newest}'])})"
    if not figure.group:
        return f"(SELECT {_aggregate(figure, column)} FROM {on}{_where(tests)})"
    group = quoted(figure.group)
    values = ", ".join(f"({literal(value)})" for value in figure.values_of(table, figure.group))
    empty = "0" if figure.function in ("count", "sum") else "NULL"
    return (
        f"(SELECT coalesce(jsonb_object_agg(v.value, coalesce(to_jsonb(f.figure), '{empty.lower()}'::jsonb)), '{{}}') "
        f"FROM (VALUES {values or '(NULL)'}) AS v(value) LEFT JOIN (SELECT {group} AS value, "
        f"{_aggregate(figure, column)} AS figure FROM {on}{_where(tests)} GROUP BY {group}) AS f USING (value) "
        "WHERE v.value IS NOT NULL)"
    )


def _aggregate(figure: Figure, column: Column | None) -> str:
    """The aggregate, exact: what is divided is divided once, towards zero, into millionths."""
    if column is None:
        return "count(*)"
    value = _exact(column)
    match figure.function:
        case "sum":
            return f"coalesce(sum({value}), 0)"
        case "min" | "max":
            return f"{figure.function}({quoted(column.name)})"
    return f"div(sum({value}) * 1000000, nullif(count({quoted(column.name)}), 0)) * 0.000001"


def _exact(column: Column) -> str:
    """A value as an exact number: a real as it is printed, to millionths."""
    name = quoted(column.name)
    return f"round({name}::text::numeric, 6)" if column.type == Type.REAL else f"{name}::numeric"


def _test(condition: Condition) -> str:
    name = quoted(condition.column)
    match condition.test:
        case "equal":
            value = condition.values[0]
            return f"{name} IS NULL" if value is None else f"{name} = {literal(value)}"
        case "unlike":
            return f"{name} NOT IN ({', '.join(map(literal, condition.values))})"
    ago = f"INTERVAL '{condition.ms / 1000:.3f} s'"
    return f"{name} > m.moment - {ago} AND {name} <= m.moment"


def _where(tests: list[str]) -> str:
    return f" WHERE {' AND '.join(tests)}" if tests else ""


def _empty_type(figure: Figure) -> str:
    """What a figure of a table that is not here is of."""
    if figure.group:
        return "jsonb"
    return "bigint" if figure.function == "count" else "numeric"
