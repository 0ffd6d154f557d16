"""Room `engines` (imports all below it): what a schema holds beside rows: fence, catalogue, tombstones, its history.

`schema_version` is for people: what was made, changed and dropped here, and when. The rest is the engine's own.
"""

from __future__ import annotations

from typing import Final

from antiphon.engines.postgres.connection import Session
from antiphon.engines.postgres.ddl import literal, quoted

HISTORY: Final = "schema_version"
"""The table that says, a line each, what was made and changed in the schema; no declared table may have its name."""


def is_founded(session: Session, schema: str) -> bool:
    """Whether all that is kept beside rows is there."""
    names = tuple(f"{quoted(schema)}.{quoted(name)}" for name in ("_gone", "_past", HISTORY))
    asked = (
        "SELECT count(to_regclass(name)) = %s AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass(%s) "
        "AND attname = 'forgets') FROM unnest(%s::text[]) AS name"
    )
    return session.execute(asked, (len(names), f"{quoted(schema)}._fence", list(names))).fetchone() == (True,)


def found(session: Session, schema: str) -> None:
    """Makes the schema and what is kept beside rows."""
    if is_founded(session, schema):
        return
    q = quoted(schema)
    session.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (schema,))
    if session.execute("SELECT to_regnamespace(%s)", (q,)).fetchone() == (None,):
        session.execute(f"CREATE SCHEMA IF NOT EXISTS {q}")  # asks for a right to it first
    session.execute(
        f"CREATE TABLE IF NOT EXISTS {q}._fence (one boolean PRIMARY KEY CHECK (one), "
        "epoch bigint NOT NULL, pulse timestamptz)"
    )
    session.execute(
        f"ALTER TABLE {q}._fence ADD COLUMN IF NOT EXISTS mark bigint NOT NULL DEFAULT 0, "
        "ADD COLUMN IF NOT EXISTS owner bytea NOT NULL DEFAULT '', "
        "ADD COLUMN IF NOT EXISTS forgets bigint NOT NULL DEFAULT 0"
    )
    session.execute(
        f'CREATE TABLE IF NOT EXISTS {q}._tables (name text COLLATE "C" PRIMARY KEY, '
        "fingerprint text NOT NULL, declaration json NOT NULL, pending json NOT NULL DEFAULT '[]', "
        "former json NOT NULL DEFAULT '[]', filled_from bigint NOT NULL DEFAULT 0, "
        "since timestamptz NOT NULL DEFAULT now())"
    )
    session.execute(
        f'CREATE TABLE IF NOT EXISTS {q}._gone (name text COLLATE "C", key bytea, '
        "version bigint NOT NULL, PRIMARY KEY (name, key))"
    )
    session.execute(
        f'CREATE TABLE IF NOT EXISTS {q}._past (name text COLLATE "C" PRIMARY KEY, horizon bigint NOT NULL)'
    )
    for statement in history_sql(schema):
        session.execute(statement)


def history_sql(schema: str) -> list[str]:
    """What makes `schema_version` where it is not there; of a schema that is older it begins with what there is."""
    q = quoted(schema)
    made = (
        f"CREATE TABLE IF NOT EXISTS {q}.{HISTORY} (version bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
        "applied_at timestamptz NOT NULL DEFAULT now(), name text NOT NULL, fingerprint text, "
        "description text NOT NULL)"
    )
    before = (
        f"INSERT INTO {q}.{HISTORY} (applied_at, name, fingerprint, description) SELECT since, name, fingerprint, "
        f"'was there when this history began' FROM {q}._tables WHERE NOT EXISTS (SELECT FROM {q}.{HISTORY}) "
        "ORDER BY since, name"
    )
    return [made, before]


def noted_sql(schema: str, name: str, fingerprint: str | None, description: str) -> str:
    """What writes a line of the history."""
    return (
        f"INSERT INTO {quoted(schema)}.{HISTORY} (name, fingerprint, description) VALUES "
        f"({literal(name)}, {literal(fingerprint)}, {literal(description)})"
    )
