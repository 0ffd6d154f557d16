"""Room `cli` (imports everything): `tables`: the declarations, as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from antiphon.cli import show as out
from antiphon.cli.plugged import own_domains
from antiphon.cli.session import Session, verb
from antiphon.model import errors

if TYPE_CHECKING:
    from antiphon.model.dashboard import Dashboard
    from antiphon.model.table import Table
    from antiphon.views.domain import Registry

ENGINES: Final = ("sqlite", "postgres")


@verb("tables", short_help="Show what tables there are, and how they are declared.")
@click.argument("name", required=False)
@click.option("--ddl", metavar="ENGINE", help="Print the statements that make it in an engine (sqlite, postgres).")
def tables(session: Session, *, name: str | None, ddl: str | None) -> int:
    """Lists every declared table, or shows all that is declared of one: columns, merge rules, writers, readers,
    indexes, rollups, and where else it is kept; or of a dashboard: its figures. Needs no agent.

    \b
      antiphon tables
      antiphon tables memories
      antiphon tables federation_dashboard
      antiphon tables memories --ddl postgres
      antiphon tables --json | jq '.[].name'
    """
    from antiphon.domains import BUILT_IN
    from antiphon.domains.dashboards import DASHBOARDS
    from antiphon.views.domain import Registry

    own = own_domains()
    known = [*(one for one in BUILT_IN if one.name not in {each.name for each in own}), *own]
    registry = Registry(known, dashboards=DASHBOARDS)
    if ddl is not None and ddl not in ENGINES:
        raise errors.InvalidInput(f"no engine here speaks {out.one_line(ddl)} yet; there are {', '.join(ENGINES)}")
    if name in registry.dashboards:
        _show_dashboard(registry, registry.dashboards[name], ddl, as_json=session.as_json)
        return 0
    chosen = list(registry.tables.values()) if name is None else [registry.table(name)]
    if ddl is not None:
        _print_ddl({table.name: _ddl(registry, table, ddl) for table in chosen}, as_json=session.as_json)
    elif session.as_json:
        found = [_as_json(registry, table) for table in chosen]
        out.emit(found if name is None else found[0])
    elif name is None:
        _list(registry)
    else:
        _show(registry, chosen[0])
    return 0


def _ddl(registry: Registry, table: Table, engine: str) -> list[str]:
    """The statements that make a table, with everything that belongs to it; a full server's, where servers differ."""
    if engine == "sqlite":
        from antiphon.engines.sqlite.tables import ddl

        return list(ddl(table))
    from antiphon.engines.postgres import access
    from antiphon.engines.postgres import ddl as postgres
    from antiphon.engines.sealing import sealed_table

    sealed, dialect = sealed_table(table), postgres.Dialect()
    made = [*postgres.table_sql(sealed, dialect), *postgres.hypertable_sql(sealed, dialect)]
    return [
        *made,
        *postgres.indexes_sql(sealed, dialect),
        *access.policies_sql(sealed, registry.tables, dialect.schema),
    ]


def _show_dashboard(registry: Registry, dashboard: Dashboard, ddl: str | None, *, as_json: bool) -> None:
    """A dashboard's figures, or the statements of its view: the file itself has none."""
    import msgspec

    from antiphon.model.printed import facts_of_dashboard

    if ddl is not None:
        _print_ddl({dashboard.name: _view_ddl(registry, dashboard) if ddl == "postgres" else []}, as_json=as_json)
    elif as_json:
        out.emit({"fingerprint": dashboard.fingerprint, **msgspec.to_builtins(dashboard)})
    else:
        out.fields([("dashboard", dashboard.name), *facts_of_dashboard(dashboard), ("doc", dashboard.doc)])


def _view_ddl(registry: Registry, dashboard: Dashboard) -> list[str]:
    from antiphon.engines.postgres import dashboards as views
    from antiphon.engines.postgres.ddl import Dialect

    schema = Dialect().schema
    query = views.shown(dashboard, registry.tables, schema)
    assert query is not None, "all its tables are declared"
    return [*views.made_sql(dashboard, query, schema), *views.grants_sql(dashboard, schema)]


def _print_ddl(found: dict[str, list[str]], *, as_json: bool) -> None:
    if as_json:
        out.emit(found)
        return
    for statement in dict.fromkeys(one for statements in found.values() for one in statements):
        print(f"{statement};")  # what several tables share, as the names of authors, once


def _as_json(registry: Registry, table: Table) -> dict[str, Any]:
    import msgspec

    declared = msgspec.to_builtins(table)
    domain = registry.domain_of_table[table.name]
    return {"domain": domain, "fingerprint": table.fingerprint, **declared}


def _list(registry: Registry) -> None:
    from antiphon.model.printed import access_text, places_short, writers_text

    rows = [
        (
            table.name,
            registry.domain_of_table[table.name],
            ", ".join(table.key),
            str(len(table.columns)),
            "rollup" if table.rollup_of else writers_text(table.writers),
            access_text(table.access),
            table.fingerprint,
            places_short(table),
        )
        for table in registry.tables.values()
    ]
    if not out.is_terminal():
        for row in rows:
            print("\t".join(row))
        return
    shown = [(name, domain, count, writers, also) for name, domain, _, count, writers, _, _, also in rows]
    out.table(("table", "domain", "columns", "written by", "also in"), shown, right=(2,), wrap=True)
    out.aside(f"all of one: antiphon tables NAME; dashboards over them: {', '.join(registry.dashboards)}")


def _show(registry: Registry, table: Table) -> None:
    from antiphon.model.printed import facts_of, notes_of, type_text
    from antiphon.model.table import Type

    facts = [("table", table.name), ("domain", registry.domain_of_table[table.name]), *facts_of(table)]
    columns = [
        (column.name, type_text(column), ", ".join([*notes_of(table, column), *([column.doc] if column.doc else [])]))
        for column in table.columns
    ]
    if not out.is_terminal():
        out.fields([*facts, ("doc", table.doc)])
        for column in columns:
            print("\t".join(("column", *column)).replace("\n", " "))
        return
    if table.doc:
        out.say(table.doc)
        print()
    out.fields(facts)
    print()
    short = [
        (column.name, "enum", f"one of {', '.join(column.values)}; {said}") if column.type == Type.ENUM else row
        for column, row in zip(table.columns, columns, strict=True)
        for said in row[-1:]
    ]
    out.table(("column", "type", "declared"), short, wrap=True)
