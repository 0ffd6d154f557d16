"""Room `engines` (imports all below it): migrations run against a server: what is due, and what it is waiting for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import psycopg

from antiphon.engines.postgres import ddl
from antiphon.engines.postgres.connection import LOCK_MS_MAX, Server, translated
from antiphon.engines.postgres.ddl import literal, quoted
from antiphon.engines.postgres.migrate import Step, changed, dropped, policies, refill_sql
from antiphon.engines.postgres.shape import held, mended
from antiphon.model.errors import Unavailable
from antiphon.model.table import Table
from antiphon.world.clock import sleep_ms

TRIES_MAX: Final = 10
PAUSE_MS: Final = 500.0


class Due(msgspec.Struct, frozen=True):
    """What a migration would do now: the steps in order, and why some have to wait."""

    steps: list[Step]
    waiting: list[str]
    leftover: list[Step]
    """What `--drop` would remove."""


class _Kept(msgspec.Struct):
    """A table as the server's catalogue has it."""

    name: str
    fingerprint: str
    declaration: Table
    pending: list[Step]
    former: list[Table]


class Migration:
    """Brings the tables of one schema to what is declared now."""

    def __init__(self, url: str, tables: Mapping[str, Table], *, schema: str = "antiphon") -> None:
        self._server = Server(url, schema=schema)
        self._tables, self._schema = tables, schema

    def close(self) -> None:
        """Ends the connection."""
        self._server.close()

    def due(self) -> Due:
        """What is to be done. Tables that were never made here are no migration: feeding makes them."""
        steps: list[Step] = []
        waiting: list[str] = []
        leftover: list[Step] = []
        dialect = self._server.dialect
        with self._server.transaction() as session:
            there = held(session, self._tables.values(), self._schema)
        for kept in self._kept():
            wanted = self._tables.get(kept.name)
            if wanted is None:
                continue
            by_hand = mended(kept.declaration, there.get(kept.name), dialect)
            if by_hand and kept.fingerprint != wanted.fingerprint:
                waiting.append(f"{kept.name}: it was altered by hand and is mended first: then run this again")
                wanted = kept.declaration
            if by_hand:
                steps += self._begun(kept, wanted, by_hand)
            elif kept.fingerprint != wanted.fingerprint:
                steps += self._begun(kept, wanted, changed(kept.declaration, wanted, dialect))
            elif kept.pending and not self._is_filled(kept):
                waiting.append(f"{kept.name}: its rows are being filled: run `antiphon engines feed`, then this again")
            else:
                steps += [*kept.pending, *([_settled(kept.name, self._schema)] if kept.pending else [])]
            for former in kept.former:
                leftover += dropped(former, wanted, dialect)
        return Due(steps, waiting, leftover)

    def _begun(self, kept: _Kept, wanted: Table, every: list[Step]) -> list[Step]:
        """The steps up to filling, and a note of those that follow it, in place of what the catalogue says."""
        dialect, formers = self._server.dialect, list(kept.former)
        formers += [kept.declaration] if kept.fingerprint != wanted.fingerprint else []
        refill = any(step.kind == "refill" for step in every)
        now = [step for step in every if step.kind == "add" or (step.kind == "constrain" and not refill)]
        later = [step for step in every if step.kind == "constrain"] if refill else []
        now += policies([wanted], self._tables, dialect)
        filled_from = f"coalesce((SELECT epoch + 1 FROM {quoted(self._schema)}._fence), 0)"
        noted = (
            f"UPDATE {quoted(self._schema)}._tables SET fingerprint = {literal(wanted.fingerprint)}, declaration = "
            f"{literal(msgspec.json.encode(wanted).decode())}::json, pending = "
            f"{literal(msgspec.json.encode(later).decode())}::json, filled_from = "
            f"{filled_from if refill else 'filled_from'}, former = "
            f"{literal(msgspec.json.encode(formers).decode())}::json, since = now() "
            f"WHERE name = {literal(kept.name)}"
        )
        now.append(Step("note", kept.name, noted))
        if refill:
            now.append(Step("refill", kept.name, refill_sql(dialect)))
        return now

    def _kept(self) -> list[_Kept]:
        with self._server.transaction() as session:
            there = session.execute("SELECT to_regclass(%s)", (f"{quoted(self._schema)}._tables",)).fetchone()
            if there is None or there[0] is None:
                return []
            rows: list[Any] = session.execute(
                f"SELECT name, fingerprint, declaration::text, pending::text, former::text FROM "
                f"{quoted(self._schema)}._tables ORDER BY name"
            ).fetchall()
        return [
            _Kept(
                name,
                fingerprint,
                _declared(msgspec.json.decode(declaration)),
                msgspec.json.decode(pending, type=list[Step]),
                [_declared(one) for one in msgspec.json.decode(former)],
            )
            for name, fingerprint, declaration, pending, former in rows
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

        Raises Unavailable when a lock is not to be had in TRIES_MAX tries.
        """
        for step in steps:
            progress(step)
            for left in range(TRIES_MAX, 0, -1):
                try:
                    self._step(step)
                    break
                except psycopg.errors.LockNotAvailable as error:
                    if left == 1:
                        raise Unavailable(
                            f"{step.table}: somebody holds a lock on it for longer than {LOCK_MS_MAX:,} ms at a time; "
                            "nothing was lost: run this again when it is quieter"
                        ) from error
                    sleep_ms(PAUSE_MS)
                except psycopg.Error as error:
                    raise translated(error, self._server) from error

    def _step(self, step: Step) -> None:
        session = self._server.session()
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


def _declared(said: Any) -> Table:
    """A declaration out of JSON, where tuples have become lists."""
    return msgspec.convert(_tuples(said), Table)


def _tuples(said: Any) -> Any:
    if isinstance(said, list):
        return tuple(_tuples(one) for one in said)
    return {name: _tuples(value) for name, value in said.items()} if isinstance(said, dict) else said


def _settled(table: str, schema: str) -> Step:
    return Step("note", table, f"UPDATE {quoted(schema)}._tables SET pending = '[]' WHERE name = {literal(table)}")


def forgotten(schema: str) -> Step:
    """Notes that what former declarations had is dropped."""
    return Step("note", "", f"UPDATE {quoted(schema)}._tables SET former = '[]'")
