"""Room `engines` (imports all below it): migrations run against a server: what is due, and what it is waiting for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from hashlib import sha256
from typing import Any, Final

import msgspec
import psycopg

from antiphon.engines.postgres import dashboards, ddl
from antiphon.engines.postgres.access import ROLES, role_name
from antiphon.engines.postgres.connection import LOCK_MS_MAX, Server, Session, translated
from antiphon.engines.postgres.ddl import literal, quoted
from antiphon.engines.postgres.founding import HISTORY, history_sql, is_founded, noted_sql
from antiphon.engines.postgres.migrate import Step, changed, difference, dropped, policies, refill_sql
from antiphon.engines.postgres.shape import held, mended, put_aside
from antiphon.engines.postgres.showing import views_there
from antiphon.model.dashboard import Dashboard
from antiphon.model.errors import Conflict, Unavailable
from antiphon.model.table import Table
from antiphon.world.clock import sleep_ms

TRIES_MAX: Final = 10
PAUSE_MS: Final = 500.0


class Due(msgspec.Struct, frozen=True):
    """What a migration would do now: the steps in order, and why some have to wait."""

    steps: list[Step]
    waiting: list[str]
    leftover: list[Step]
    """What `--drop` would remove: what former declarations had, and what was put aside."""


class _Kept(msgspec.Struct):
    """A table as the server's catalogue has it."""

    name: str
    fingerprint: str
    declaration: Table
    pending: list[Step]
    former: list[Table]
    since: str
    """When the catalogue's line was written, as the server counts."""


class Migration:
    """Brings the tables of one schema, and the views of its dashboards, to what is declared now."""

    def __init__(
        self,
        url: str,
        tables: Mapping[str, Table],
        *,
        dashboards: Mapping[str, Dashboard] | None = None,
        schema: str = "antiphon",
    ) -> None:
        self._server = Server(url, schema=schema)
        self._tables, self._dashboards, self._schema = tables, dashboards or {}, schema

    def close(self) -> None:
        """Ends the connection."""
        self._server.close()

    def due(self) -> Due:
        """What is to be done. Tables that were never made here are no migration: feeding makes them."""
        steps: list[Step] = []
        waiting: list[str] = []
        leftover: list[Step] = []
        catalogue = self._kept()
        dialect = self._server.dialect
        with self._server.transaction() as session:
            there = held(session, self._tables.values(), self._schema)
            leftover += put_aside(session, self._schema)
        mark = sha256("".join(step.sql for step in leftover).encode()).hexdigest()[:8]  # no two are put aside under one
        for kept in catalogue:
            wanted = self._tables.get(kept.name)
            if wanted is None:
                continue
            by_hand = mended(kept.declaration, there.get(kept.name), dialect, mark)
            if by_hand and kept.fingerprint != wanted.fingerprint:
                waiting.append(f"{kept.name}: it is not as it was declared, which is mended first: then run this again")
                wanted = kept.declaration
            if by_hand:
                said = "mended: what was altered, or made without an extension that is there now, is put aside"
                steps += self._begun(kept, wanted, by_hand, said)
            elif kept.fingerprint != wanted.fingerprint:
                every = changed(kept.declaration, wanted, dialect, mark)
                steps += self._begun(kept, wanted, every, difference(kept.declaration, wanted))
            elif kept.pending and not self._is_filled(kept):
                waiting.append(f"{kept.name}: its rows are being filled: run `antiphon engines feed`, then this again")
            else:
                steps += [*kept.pending, *([_settled(kept.name, wanted, self._schema)] if kept.pending else [])]
            for former in kept.former:
                leftover += dropped(former, wanted, dialect)
        with self._server.transaction() as session:
            steps = self._with_views(session, steps, {kept.name for kept in catalogue})
            if (steps or leftover) and not is_founded(session, self._schema):
                steps = [*(Step("add", HISTORY, sql) for sql in history_sql(self._schema)), *steps]
        return Due(steps, waiting, leftover)

    def _with_views(self, session: Session, steps: list[Step], names: Collection[str]) -> list[Step]:
        """The steps, between those that drop views of tables that they alter, or that are declared otherwise now, and
        those that make them again. Views that were never made here are made by feeding.
        """
        there = views_there(session, self._schema)
        altered = {step.table for step in steps if step.kind == "add"}
        here = {name: table for name, table in self._tables.items() if name in names}
        before: list[Step] = []
        after: list[Step] = []
        for name, mark in there.items():
            declared = self._dashboards.get(name)
            query = None if declared is None else dashboards.shown(declared, here, self._schema)
            if declared is not None and query is not None:
                if mark == dashboards.mark_of(query) and not altered & set(declared.tables):
                    continue
                made = dashboards.made_sql(declared, query, self._schema)
                made += dashboards.grants_sql(declared, self._schema) if self._has_roles(session) else []
                made.append(noted_sql(self._schema, name, declared.fingerprint, "the dashboard's view is made anew"))
                after += [Step("view", name, sql) for sql in made]
            before.append(Step("view", name, dashboards.dropped_sql(name, self._schema)))
        return [*before, *steps, *after]

    def _has_roles(self, session: Session) -> bool:
        names = [role_name(self._schema, role) for role in ROLES]
        row = session.execute("SELECT count(*) FROM pg_roles WHERE rolname = ANY(%s)", (names,)).fetchone()
        return row == (len(names),)

    def _begun(self, kept: _Kept, wanted: Table, every: list[Step], said: str) -> list[Step]:
        """The steps up to filling. What changes the table's columns and the catalogue's word about them, with what is
        still to be done, is one transaction: whoever is killed is before it or behind it.
        """
        dialect, formers = self._server.dialect, list(kept.former)
        formers += [kept.declaration] if kept.fingerprint != wanted.fingerprint else []
        refill = any(step.kind == "refill" for step in every)
        adds = [step.sql for step in every if step.kind == "add"]
        indexes = [step for step in every if step.kind == "index"]
        later = [*indexes, *(step for step in every if step.kind == "constrain")]
        pending = [*kept.pending, *later] if kept.fingerprint == wanted.fingerprint else later
        filled_from = f"coalesce((SELECT epoch + 1 FROM {quoted(self._schema)}._fence), 0)"
        noted = (
            f"UPDATE {quoted(self._schema)}._tables SET fingerprint = {literal(wanted.fingerprint)}, declaration = "
            f"{literal(msgspec.json.encode(wanted).decode())}::json, pending = "
            f"{literal(msgspec.json.encode(pending).decode())}::json, filled_from = "
            f"{filled_from if refill else 'filled_from'}, former = "
            f"{literal(msgspec.json.encode(formers).decode())}::json, since = clock_timestamp() "
            f"WHERE name = {literal(kept.name)}"
        )
        whole = [
            _unchanged(kept, self._schema),
            *adds,
            *(step.sql for step in policies([wanted], self._tables, dialect)),
            noted,
            noted_sql(self._schema, kept.name, wanted.fingerprint, said),
            *([refill_sql(dialect)] if refill else []),
        ]
        now = Step("add" if adds else "note", kept.name, ";\n".join(whole))
        if refill:
            return [now, *indexes]
        return [now, *later, *([_settled(kept.name, wanted, self._schema)] if pending else [])]

    def _kept(self) -> list[_Kept]:
        with self._server.transaction() as session:
            there = session.execute("SELECT to_regclass(%s)", (f"{quoted(self._schema)}._tables",)).fetchone()
            if there is None or there[0] is None:
                return []
            rows: list[Any] = session.execute(
                "SELECT name, fingerprint, declaration::text, pending::text, former::text, "
                "extract(epoch FROM since)::text FROM "
                f"{quoted(self._schema)}._tables ORDER BY name"
            ).fetchall()
        return [
            _Kept(
                name,
                fingerprint,
                declaration_of(msgspec.json.decode(declaration)),
                msgspec.json.decode(pending, type=list[Step]),
                [declaration_of(one) for one in msgspec.json.decode(former)],
                since,
            )
            for name, fingerprint, declaration, pending, former, since in rows
        ]

    def _is_filled(self, kept: _Kept) -> bool:
        """Whether every row was written again since the table changed."""
        with self._server.transaction() as session:
            row = session.execute(
                f"SELECT NOT EXISTS (SELECT FROM {quoted(self._schema)}.{quoted(kept.name)} WHERE {ddl.VERSION} < "
                f"(SELECT (filled_from + 1) << 40 FROM {quoted(self._schema)}._tables WHERE name = %s))",
                (kept.name,),
            ).fetchone()
        return row is not None and bool(row[0])

    def run(self, steps: list[Step], *, progress: Callable[[Step], None] = lambda step: None) -> None:
        """Runs steps, each by itself. What was done stays when one fails, and the next run goes on behind it.

        Raises Unavailable when a lock is not to be had in TRIES_MAX tries, Conflict while another migration of this
        schema is at work, or where one was since the steps were found.
        """
        with self._alone():
            for step in steps:
                progress(step)
                self._tried(step)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keeps other migrations of this schema out. The lock lies in a transaction that stays open, on a connection
        of its own: behind a pooler a session may go to others.
        """
        with closing(Server(self._server.url, schema=self._schema)) as door:
            session = door.session()
            try:
                session.execute("BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0")
                name = literal(self._schema)  # with parameters its snapshot would stay, and new indexes wait for it
                asked = f"SELECT pg_try_advisory_xact_lock(hashtext({name}), hashtext('migrate'))"
                is_ours = session.execute(asked.encode()).fetchone() == (True,)
            except psycopg.Error as error:
                raise translated(error, door) from error
            if not is_ours:
                raise Conflict(
                    f"another migration of the schema {self._schema} is at work: wait for it, then run this again"
                )
            yield

    def _tried(self, step: Step) -> None:
        for left in range(TRIES_MAX, 0, -1):
            try:
                self._step(step)
                return
            except psycopg.errors.LockNotAvailable as error:
                if left == 1:
                    raise Unavailable(
                        f"{step.table}: somebody holds a lock on it for longer than {LOCK_MS_MAX:,} ms at a time; "
                        "nothing was lost: run this again when it is quieter"
                    ) from error
                sleep_ms(PAUSE_MS)
            except psycopg.errors.SerializationFailure as error:
                raise Conflict(
                    f"{step.table}: another migration has changed it meanwhile; nothing was lost: run this again"
                ) from error
            except psycopg.Error as error:
                raise translated(error, self._server) from error

    def _step(self, step: Step) -> None:
        session = self._server.session()
        if step.before:
            self._step(Step(step.kind, step.table, step.before))
        if not step.alone:  # what is set outlives no transaction: a pooler may hand the session to others then
            with session.transaction():
                session.execute(f"SET LOCAL lock_timeout = {LOCK_MS_MAX}")
                session.execute("SET LOCAL statement_timeout = 0")
                session.execute(step.sql)
            return
        session.execute(f"SET lock_timeout = {LOCK_MS_MAX}")
        session.execute("SET statement_timeout = 0")
        try:
            session.execute(step.sql)
        finally:
            if not session.closed:
                session.execute("RESET lock_timeout")
                session.execute("RESET statement_timeout")


def declaration_of(said: Any) -> Table:
    """A declaration out of the catalogue's JSON, where tuples have become lists."""
    return msgspec.convert(_tuples(said), Table)


def _tuples(said: Any) -> Any:
    if isinstance(said, list):
        return tuple(_tuples(one) for one in said)
    return {name: _tuples(value) for name, value in said.items()} if isinstance(said, dict) else said


def _settled(name: str, table: Table, schema: str) -> Step:
    done = f"UPDATE {quoted(schema)}._tables SET pending = '[]', since = clock_timestamp() WHERE name = {literal(name)}"
    noted = noted_sql(schema, name, table.fingerprint, "filled, and its constraints hold")
    return Step("note", name, f"{done}; {noted}")


def _unchanged(kept: _Kept, schema: str) -> str:
    """What refuses to go on where another migration was here since. The fence is held first, as by a feeder's batch."""
    q = quoted(schema)
    same = f"SELECT FROM {q}._tables WHERE name = {literal(kept.name)} AND extract(epoch FROM since)::text = "
    return (
        f"DO $$ BEGIN PERFORM FROM {q}._fence FOR UPDATE; IF NOT EXISTS ({same}{literal(kept.since)}) THEN RAISE "
        "EXCEPTION 'another migration was here' USING ERRCODE = 'serialization_failure'; END IF; END $$"
    )


def forgotten(schema: str) -> Step:
    """Notes that what former declarations had is dropped."""
    noted = noted_sql(schema, "all tables", None, "what former declarations had, and what was put aside, is dropped")
    return Step("note", "", f"UPDATE {quoted(schema)}._tables SET former = '[]'; {noted}")
