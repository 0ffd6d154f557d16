"""Room `engines` (imports all below it): rows of declared tables in PostgreSQL: the `Sink`.

A batch is one transaction: the fence is held, rows go by binary COPY into a temporary table, and one merge a table
takes what is newer. Rows that are gone leave their key and version in `_gone`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final

import msgspec
import psycopg

from antiphon.engines.postgres import access, ddl
from antiphon.engines.postgres.binary import Encoder, copied, encoder, selected, sql_type, value_of
from antiphon.engines.postgres.connection import Server, Session, address_of, bounds
from antiphon.engines.postgres.partitions import Partitions
from antiphon.engines.postgres.shape import Held, altered, held
from antiphon.engines.postgres.values import asked, parameter
from antiphon.model.errors import Conflict, Corrupt, InvalidInput, Rejected
from antiphon.model.table import Column, Table, Type
from antiphon.model.values import key_of, key_values
from antiphon.views.feed import Change, version_of

COPY_BYTES: Final = 1 << 20


class _Plan(msgspec.Struct, frozen=True):
    """The statements of one table, made once."""

    table: Table
    names: tuple[str, ...]
    encoders: tuple[Encoder, ...]
    stage: str
    copy: str
    delete: str
    bury: str
    merge: str
    unbury: str
    read: str
    page: str


class PostgresTables:
    """Rows of declared tables in one schema of a PostgreSQL database; see `Sink` for the promises.

    *Cost*: about 15 µs a row in batches of 1,000. One feeder at a time: the fence row is locked while a batch is
    written.
    """

    def __init__(self, url: str, *, schema: str = "antiphon", **limits: Any) -> None:
        self._server = Server(url, schema=schema, **limits)
        self._schema = schema
        self._plans: dict[str, _Plan] = {}
        self._partitions = Partitions()
        self._has_roles = True
        self._horizons: dict[str, int] = {}

    @property
    def lacks(self) -> list[str]:
        """What the server has not, in a person's words: tables work without it."""
        found = [line for plan in self._plans.values() for line in ddl.lacking(plan.table, self._server.dialect)]
        names = ", ".join(access.role_name(self._schema, role) for role in access.ROLES)
        said = f"this user may make no roles, and not all of {names} are there: only the tables' owner may read them"
        roles = [] if self._has_roles else [said]
        return [*(f"the extension {name} is not to be had" for name in self._server.lacks), *roles, *found]

    def close(self) -> None:
        """Ends the connection."""
        self._server.close()

    # -- the fence -----------------------------------------------------------------------------------------------

    def epoch(self) -> int:
        with self._server.transaction() as session:
            bounds(session)
            self._found(session)
            row = session.execute(f"SELECT epoch FROM {self._q('_fence')}").fetchone()
            return 0 if row is None else int(row[0])

    def fence(self, known: int, epoch: int) -> bool:
        if epoch <= known:
            return False
        with self._server.transaction() as session:
            bounds(session)
            self._found(session)
            if known == 0:
                made = session.execute(
                    f"INSERT INTO {self._q('_fence')} (one, epoch) VALUES (TRUE, %s) ON CONFLICT (one) DO UPDATE SET "
                    "epoch = EXCLUDED.epoch WHERE _fence.epoch = 0",
                    (epoch,),
                )
            else:
                made = session.execute(f"UPDATE {self._q('_fence')} SET epoch = %s WHERE epoch = %s", (epoch, known))
            return made.rowcount == 1

    def _q(self, name: str) -> str:
        return f"{ddl.quoted(self._schema)}.{ddl.quoted(name)}"

    def _is_founded(self, session: Session) -> bool:
        return session.execute("SELECT to_regclass(%s)", (self._q("_gone"),)).fetchone() != (None,)

    def _found(self, session: Session) -> None:
        """Makes the schema and what every engine keeps beside its rows."""
        if self._is_founded(session):
            return
        session.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (self._schema,))
        if session.execute("SELECT to_regnamespace(%s)", (ddl.quoted(self._schema),)).fetchone() == (None,):
            session.execute(f"CREATE SCHEMA IF NOT EXISTS {ddl.quoted(self._schema)}")  # asks for a right to it first
        session.execute(
            f"CREATE TABLE IF NOT EXISTS {self._q('_fence')} (one boolean PRIMARY KEY CHECK (one), "
            "epoch bigint NOT NULL, pulse timestamptz)"
        )
        session.execute(
            f'CREATE TABLE IF NOT EXISTS {self._q("_tables")} (name text COLLATE "C" PRIMARY KEY, '
            "fingerprint text NOT NULL, declaration json NOT NULL, pending json NOT NULL DEFAULT '[]', "
            "former json NOT NULL DEFAULT '[]', filled_from bigint NOT NULL DEFAULT 0, "
            "since timestamptz NOT NULL DEFAULT now())"
        )
        session.execute(
            f'CREATE TABLE IF NOT EXISTS {self._q("_gone")} (name text COLLATE "C", key bytea, '
            "version bigint NOT NULL, PRIMARY KEY (name, key))"
        )

    def _hold(self, session: Session, epoch: int) -> None:
        """Holds the fence for this transaction. Raises Conflict under another epoch."""
        bounds(session)
        row = session.execute(f"SELECT epoch FROM {self._q('_fence')} FOR UPDATE").fetchone()
        kept = 0 if row is None else int(row[0])
        if kept != epoch:
            raise Conflict(
                f"this engine is fed under epoch {kept} by now, no longer under {epoch}: stop feeding it here, or "
                "start again to take it over",
                epoch=kept,
            )

    # -- tables --------------------------------------------------------------------------------------------------

    def prepare(self, tables: Sequence[Table]) -> None:
        self._server.extend()
        dialect = self._server.dialect
        known = {plan.table.name: plan.table for plan in self._plans.values()} | {table.name: table for table in tables}
        with self._server.transaction() as session:
            bounds(session)
            self._found(session)
            session.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (self._schema,))
            with_roles = self._roles(session)
            new = [table for table in tables if self._is_new(session, table)]
            there = self._as_declared(session, [table for table in tables if table not in new])
            for table in tables:
                if table not in new:
                    policed = there[table.name].policed or not with_roles
                    for statement in () if policed else access.policies_sql(table, known, self._schema):
                        session.execute(statement)
                    continue
                for statement in (
                    *ddl.table_sql(table, dialect),
                    *ddl.hypertable_sql(table, dialect),
                    *ddl.indexes_sql(table, dialect),
                ):
                    session.execute(statement)
                for statement in access.policies_sql(table, known, self._schema) if with_roles else ():
                    session.execute(statement)
                session.execute(
                    f"INSERT INTO {self._q('_tables')} (name, fingerprint, declaration) VALUES (%s, %s, %s)",
                    (table.name, table.fingerprint, msgspec.json.encode(table).decode()),
                )
        self._plans |= {table.name: _planned(table, dialect) for table in tables}

    def _roles(self, session: Session) -> bool:
        """Makes the roles where they are missing; whether they are there."""
        self._has_roles = True
        try:
            with session.transaction():
                for statement in access.roles_sql(self._schema):
                    session.execute(statement)
        except psycopg.errors.InsufficientPrivilege:
            self._has_roles = False
            return False
        with contextlib.suppress(psycopg.errors.InsufficientPrivilege), session.transaction():
            for statement in access.joined_sql(self._schema):  # to feed one need not be in them
                session.execute(statement)
        return True

    def _as_declared(self, session: Session, tables: Sequence[Table]) -> dict[str, Held]:
        """The tables as they are there. Raises Corrupt where somebody altered one."""
        there = held(session, tables, self._schema)
        for table in tables:
            wrong = altered(table, there.get(table.name))
            if wrong:
                raise Corrupt(
                    f"PostgreSQL at {address_of(self._server.url)}: somebody altered the table {table.name!r}: "
                    f"{'; '.join(wrong)}. `antiphon migrate` mends it, and then feeding fills it",
                    table=table.name,
                )
        return there

    def _is_new(self, session: Session, table: Table) -> bool:
        """Whether the table is still to be made. Raises InvalidInput where it was made from another declaration."""
        row = session.execute(f"SELECT fingerprint FROM {self._q('_tables')} WHERE name = %s", (table.name,)).fetchone()
        if row is None:
            return True
        if row[0] != table.fingerprint:
            raise InvalidInput(
                f"the table {table.name!r} in PostgreSQL was made from another declaration of it: `antiphon migrate "
                "--dry-run` shows what has to change",
                table=table.name,
            )
        return False

    def _plan(self, name: str) -> _Plan:
        found = self._plans.get(name)
        if found is None:
            raise InvalidInput(f"the table {name!r} was not prepared here", table=name)
        return found

    # -- rows ----------------------------------------------------------------------------------------------------

    def apply(self, epoch: int, changes: Sequence[Change]) -> None:
        newest: dict[str, dict[bytes, Change]] = {}
        for change in changes:
            if self._is_past(change):
                continue
            kept = newest.setdefault(change.table, {})
            had = kept.get(change.key)
            if had is None or had.version < change.version:
                kept[change.key] = change
        plans = {name: self._plan(name) for name in newest}
        payloads = {name: _payload(plans[name], list(kept.values())) for name, kept in newest.items()}
        dialect = self._server.dialect
        needed = {
            name: self._partitions.needed(plans[name].table, dialect, kept.values()) for name, kept in newest.items()
        }
        try:
            with self._server.transaction() as session:
                self._hold(session, epoch)
                for name, kept in newest.items():
                    if needed[name]:
                        self._partitions.make(session, plans[name].table, dialect, needed[name])
                    gone = any(change.row is None for change in kept.values())
                    _merge(session, plans[name], payloads[name], gone=gone)
        except (Rejected, Corrupt):  # is it the row, or the table?
            with self._server.transaction() as session:
                if self._is_founded(session):
                    self._as_declared(session, [plan.table for plan in plans.values()])
            raise
        for name, periods in needed.items():
            self._partitions.keep(plans[name].table, periods)

    def rows(self, table: Table, *, after: bytes | None, limit: int) -> list[Change]:
        plan = self._plans.get(table.name) or _planned(table, self._server.dialect)
        with self._server.transaction() as session:
            bounds(session)
            if after is None:
                found = session.execute(plan.read + " LIMIT %s", (limit,), binary=True)
            else:
                parts = zip(table.key, key_values(table, after), strict=True)
                values = [parameter(table.column(name), value) for name, value in parts]
                found = session.execute(plan.page + " LIMIT %s", (*values, limit), binary=True)
            return [_change(plan, row) for row in found]

    def sweep(self, epoch: int, table: Table, below: int) -> int:
        with self._server.transaction() as session:
            self._hold(session, epoch)
            horizon = version_of(below, 0)
            swept = session.execute(f"DELETE FROM {self._q(table.name)} WHERE {ddl.VERSION} < %s", (horizon,))
            session.execute(f"DELETE FROM {self._q('_gone')} WHERE name = %s AND version < %s", (table.name, horizon))
            return swept.rowcount

    def trim(self, epoch: int, table: Table, version: int) -> int:
        with self._server.transaction() as session:
            self._hold(session, epoch)
            return session.execute(
                f"DELETE FROM {self._q('_gone')} WHERE name = %s AND version < %s", (table.name, version)
            ).rowcount

    def retire(self, epoch: int, tables: Sequence[Table]) -> int:
        """Drops partitions and chunks that are wholly past, makes the next ones, and looks whether somebody altered
        a table; how many it dropped.
        """
        with self._server.transaction() as session:
            self._hold(session, epoch)
            self._as_declared(session, tables)
            horizons, dropped = self._partitions.retire(session, tables, self._server.dialect)
        self._horizons |= horizons
        return dropped

    def horizon(self, table: Table) -> int | None:
        """Before which time its rows are dropped, by the server's clock; None where all are kept."""
        dialect = self._server.dialect
        if ddl.retained(table, dialect) is None:
            return None
        with self._server.transaction() as session:
            return self._partitions.horizon(session, table, dialect)

    def _is_past(self, change: Change) -> bool:
        """Whether a row is of a time whose partitions are dropped: it would only make them again."""
        horizon = self._horizons.get(change.table)
        if horizon is None or change.row is None:
            return False
        retention = self._plan(change.table).table.retention
        return retention is not None and int(change.row[retention.column]) < horizon

    def pulse(self, epoch: int) -> None:
        with self._server.transaction() as session:
            self._hold(session, epoch)
            session.execute(f"UPDATE {self._q('_fence')} SET pulse = clock_timestamp()")


def _planned(table: Table, dialect: ddl.Dialect) -> _Plan:
    q = ddl.quoted
    columns = [(q(column.name), sql_type(column, vectors=dialect.vectors)) for column in table.columns]
    own = [*columns, (ddl.VERSION, "bigint"), (ddl.AUTHOR, "bytea")]
    staged = [*own, ("_key", "bytea"), ("_is_gone", "boolean")]
    name = f"{q(dialect.schema)}.{q(table.name)}"
    stage = f"_stage_{sha256(f'{dialect}{table.fingerprint}'.encode()).hexdigest()[:16]}"
    same = " AND ".join(f"t.{q(part)} = s.{q(part)}" for part in table.key)
    listed = ", ".join(column for column, _ in own)
    keys = ", ".join(map(q, table.key))
    assigned = ", ".join(f"{column} = EXCLUDED.{column}" for column, _ in own if column.strip('"') not in table.key)
    version, gone = ddl.VERSION, f"{q(dialect.schema)}._gone"
    this = ddl.literal(table.name)
    shown = [selected(column, q(column.name), vectors=dialect.vectors) for column in table.columns]
    read = f"SELECT {', '.join(shown)}, {version}, {ddl.AUTHOR} FROM {name}"
    return _Plan(
        table=table,
        names=tuple(column.name for column in table.columns),
        encoders=(
            *(encoder(column, vectors=dialect.vectors) for column in table.columns),
            encoder(Column("v", Type.INTEGER)), encoder(Column("a", Type.BYTES)), encoder(Column("k", Type.BYTES)),
            encoder(Column("g", Type.BOOLEAN)),
        ),
        stage=f"CREATE TEMPORARY TABLE IF NOT EXISTS {stage} ({', '.join(f'{n} {t}' for n, t in staged)}) "
        "ON COMMIT DELETE ROWS",
        copy=f"COPY {stage} FROM STDIN (FORMAT binary)",
        delete=f"DELETE FROM {name} t USING {stage} s WHERE s._is_gone AND {same} AND t.{version} < s.{version}",
        bury=f"INSERT INTO {gone} (name, key, version) SELECT {this}, s._key, s.{version} FROM {stage} s WHERE "
        f"s._is_gone AND NOT EXISTS (SELECT FROM {name} t WHERE {same}) ON CONFLICT (name, key) DO UPDATE SET version "
        "= EXCLUDED.version WHERE _gone.version < EXCLUDED.version",
        merge=f"INSERT INTO {name} AS t ({listed}) SELECT {listed} FROM {stage} s WHERE NOT s._is_gone AND NOT EXISTS "
        f"(SELECT FROM {gone} g WHERE g.name = {this} AND g.key = s._key AND g.version >= s.{version}) ORDER BY {keys} "
        f"ON CONFLICT ({keys}) DO UPDATE SET {assigned} WHERE t.{version} < EXCLUDED.{version}",
        unbury=f"DELETE FROM {gone} g USING {stage} s WHERE NOT s._is_gone AND g.name = {this} AND g.key = s._key "
        f"AND g.version < s.{version}",
        read=f"{read} ORDER BY {keys}",
        page=f"{read} WHERE ({keys}) > ({', '.join(asked(table.column(part)) for part in table.key)}) ORDER BY {keys}",
    )  # fmt: skip


def _payload(plan: _Plan, changes: list[Change]) -> bytes:
    """The batch as it is copied. Raises Rejected, naming the column, where a value cannot be held."""
    rows = []
    for change in changes:
        if change.row is None:
            key = dict(zip(plan.table.key, key_values(plan.table, change.key), strict=True))
            values = [key.get(name) for name in plan.names]
        else:
            values = [change.row.get(name) for name in plan.names]
        row = (*values, change.version, change.author, change.key, change.row is None)
        if change.row is None and _culprit(plan, [row]) is not None:
            continue  # no row of such a key was ever held here
        rows.append(row)
    try:
        return copied(rows, plan.encoders)
    except Rejected as error:
        raise Rejected(f"{_culprit(plan, rows)}: {error}") from None


def _culprit(plan: _Plan, rows: Sequence[Sequence[Any]]) -> str | None:
    """The column whose value cannot be held."""
    for row in rows:
        for name, value, encode in zip(plan.names, row, plan.encoders, strict=False):
            try:
                _ = b"" if value is None else encode(value)
            except Rejected:
                return f"column {name}"
    return None


def _merge(session: Session, plan: _Plan, payload: bytes, *, gone: bool) -> None:
    session.execute(plan.stage)
    with session.cursor().copy(plan.copy) as copy:
        for at in range(0, len(payload), COPY_BYTES):
            copy.write(payload[at : at + COPY_BYTES])
    if gone:
        session.execute(plan.delete)
        session.execute(plan.bury)
    session.execute(plan.merge)
    session.execute(plan.unbury)
    session.execute(f"DELETE FROM {plan.copy.split()[1]}")


def _change(plan: _Plan, row: Sequence[Any]) -> Change:
    table = plan.table
    values = {column.name: value_of(column, raw) for column, raw in zip(table.columns, row, strict=False)}
    author = row[-1]
    return Change(table.name, key_of(table, values), int(row[-2]), values, None if author is None else bytes(author))
