"""Room `engines` (imports all below it): row access in PostgreSQL: the four roles, and a policy a table.

| role | may read |
|---|---|
| architect | every row |
| agent | what `query/access.py` lets the agent see whose id stands in the setting `antiphon.agent` (hexadecimal) |
| monitor | rollups, whoever's rows they sum, and the tables that everybody may read |
| public | the tables that everybody may read, and rows that are open to everybody |

Nobody but the owner of the tables, who feeds them, may write.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Final

from antiphon.engines.postgres.ddl import AUTHOR, literal, named, quoted, words_of
from antiphon.model.errors import InvalidInput
from antiphon.model.table import Table
from antiphon.query.access import Reader, Seen, seen_by

ROLES: Final = ("architect", "agent", "monitor", "public")
SETTING: Final = "antiphon.agent"
_ME: Final = f"decode(nullif(current_setting('{SETTING}', true), ''), 'hex')"
_NOBODY: Final = Reader(agent=bytes(32), logs=(), alone=False)


def role_name(schema: str, role: str) -> str:
    """The role of a schema: roles belong to the whole server, so the schema is in the name."""
    return named(schema, role)


def roles_sql(schema: str) -> list[str]:
    """What makes the roles, where they are missing, and lets them into the schema."""
    found = []
    for role in ROLES:
        name = role_name(schema, role)
        found.append(
            f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {literal(name)}) THEN "
            f"CREATE ROLE {quoted(name)} NOLOGIN; END IF; END $$"
        )
        found.append(f"GRANT USAGE ON SCHEMA {quoted(schema)} TO {quoted(name)}")
        found.append(f"GRANT SELECT (pulse) ON {quoted(schema)}._fence TO {quoted(name)}")
    return found


def joined_sql(schema: str) -> list[str]:
    """What lets whoever feeds read in these roles too, where it may not yet."""
    names = [role_name(schema, role) for role in ROLES]
    return [
        f"DO $$ BEGIN IF NOT pg_has_role(CURRENT_USER, {literal(name)}, 'SET') THEN GRANT {quoted(name)} TO "
        "CURRENT_USER; END IF; END $$"
        for name in names
    ]


def policies_sql(table: Table, tables: Mapping[str, Table], schema: str) -> list[str]:
    """A table's grants and policies. Run again, they replace those that were there."""
    on = f"{quoted(schema)}.{quoted(table.name)}"
    found = [f"ALTER TABLE {on} ENABLE ROW LEVEL SECURITY"]
    for role, condition in conditions(table, tables).items():
        policy, name = quoted(named(table.name, role)), quoted(role_name(schema, role))
        found.append(f"DROP POLICY IF EXISTS {policy} ON {on}")
        if condition is None:
            found.append(f"REVOKE ALL ON {on} FROM {name}")
            continue
        found.append(f"GRANT SELECT ON {on} TO {name}")
        found.append(f"CREATE POLICY {policy} ON {on} FOR SELECT TO {name} USING ({condition})")
    return [*found, *_matching_sql(table, conditions(table, tables)["agent"], schema)]


def hidden_sql(table: Table, schema: str) -> list[str]:
    """What takes a table from all of the roles."""
    on = f"{quoted(schema)}.{quoted(table.name)}"
    return [f"REVOKE ALL ON {on} FROM {quoted(role_name(schema, role))}" for role in ROLES]


def match_name(table: Table) -> str:
    """What the function is called that finds words for an agent."""
    return named("_match", table.name)


def _matching_sql(table: Table, condition: str | None, schema: str) -> list[str]:
    """The function by which agents find words in rows of which they see some: its own statement alone, with the
    policy's condition in it, under its owner's rights. Under a policy no index of words is used: `@@` is not known to
    keep what it is given to itself, so that PostgreSQL asks the policy about every row of the table first.
    """
    on, name = f"{quoted(schema)}.{quoted(table.name)}", f"{quoted(schema)}.{quoted(match_name(table))}(text)"
    found = [f"DROP FUNCTION IF EXISTS {name}"]
    if table.fulltext is None or condition is None or condition == "TRUE":
        return found
    body = f"SELECT t.* FROM {on} t WHERE {words_of(table)} @@ plainto_tsquery('simple', $1) AND ({condition})"
    return [
        *found,
        f"CREATE FUNCTION {name} RETURNS SETOF {on} LANGUAGE sql STABLE SECURITY DEFINER ROWS 100 "
        f"SET search_path = pg_catalog, pg_temp AS {literal(body)}",
        f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC",
        f"GRANT EXECUTE ON FUNCTION {name} TO {quoted(role_name(schema, 'agent'))}",
    ]


def conditions(table: Table, tables: Mapping[str, Table]) -> dict[str, str | None]:
    """By role, which rows it reads, as SQL; None where none."""
    seen = None  # of a rollup over several agents' rows: for architects and monitors
    if table.rollup_of is None or table.rollup_of in tables:
        with contextlib.suppress(InvalidInput):
            seen = seen_by(_NOBODY, table, tables)
    everybody = seen is not None and seen.all
    open_to_all = None if seen is None else _besides(seen)
    return {
        "architect": "TRUE",
        "agent": None if seen is None else _own(seen, rollup=table.rollup_of is not None),
        "monitor": "TRUE" if everybody or table.rollup_of is not None else None,
        "public": "TRUE" if everybody else open_to_all,
    }


def _own(seen: Seen, *, rollup: bool) -> str:
    if seen.all:
        return "TRUE"
    found = [] if rollup else [f"{AUTHOR} = {_ME}"]
    found += [f"{quoted(name)} = {_ME}" for name in seen.columns]
    besides = _besides(seen)
    return " OR ".join([*found, besides] if besides else found)


def _besides(seen: Seen) -> str | None:
    if seen.besides is None:
        return None
    column, values = seen.besides
    return f"{quoted(column)} IN ({', '.join(map(literal, values))})"
