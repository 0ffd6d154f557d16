"""Room `engines` (imports all below it): dashboards in a server: their views made, and refreshed each minute.

Where pg_cron runs it refreshes them, also while nobody feeds. The feeder looks each minute too, and refreshes what is
late: without pg_cron, or where that fails, everything. Nothing here ever stops a feeder: it is said in `lacks`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import psycopg

from antiphon.engines.postgres import cron, dashboards
from antiphon.engines.postgres.connection import LOCK_MS_MAX, Server, Session, bounds
from antiphon.engines.postgres.dashboards import MARK, mark_of, view_name
from antiphon.engines.postgres.ddl import quoted
from antiphon.engines.postgres.founding import noted_sql
from antiphon.model.dashboard import AS_OF, Dashboard
from antiphon.model.errors import AntiphonError
from antiphon.model.table import Table
from antiphon.world.clock import Clock, SystemClock

REFRESH_MS: Final = 60_000
"""How old figures may be before the feeder refreshes them."""
LATE_MS: Final = 150_000
"""How old where pg_cron refreshes them: then its job fails, and the feeder does it."""
REFRESH_MS_MAX: Final = 30_000
"""What one refresh may take."""
SHARE: Final = 20
"""A feeder spends one part in so many of its time on refreshing."""


def views_there(session: Session, schema: str) -> dict[str, str]:
    """By name, what each view that was made from a declaration was made of."""
    rows = session.execute(
        "SELECT c.relname, obj_description(c.oid, 'pg_class') FROM pg_class c JOIN pg_namespace n ON n.oid = "
        "c.relnamespace WHERE n.nspname = %s AND c.relkind = 'm' AND "
        "starts_with(obj_description(c.oid, 'pg_class'), %s)",
        (schema, MARK),
    ).fetchall()
    return {str(name): str(mark) for name, mark in rows}


class Dashboards:
    """The dashboards of one schema, as one feeder keeps them."""

    def __init__(self, server: Server, schema: str, *, clock: Clock | None = None) -> None:
        self._server, self._schema = server, schema
        self._clock = clock or SystemClock()
        self._wanted: dict[str, tuple[Dashboard, str]] = {}
        self._with_roles = False
        self._without_cron: str | None = None
        self._faults: dict[str, str] = {}
        self._look_ms = 0.0

    @property
    def lacks(self) -> Iterator[str]:
        """What is not as it was meant to be, in a person's words."""
        yield from self._faults.values()
        names = ", ".join(self._wanted)
        if names and self._without_cron is not None:
            yield f"no pg_cron ({self._without_cron}): {names} is refreshed by the feeder, while it runs"

    def show(self, declared: Sequence[Dashboard], tables: Mapping[str, Table], *, with_roles: bool) -> None:
        """Makes the views of those that have a table here, and takes away those that are declared no more."""
        queries = {one.name: (one, dashboards.shown(one, tables, self._schema)) for one in declared}
        self._wanted = {name: (one, query) for name, (one, query) in queries.items() if query is not None}
        self._with_roles = with_roles
        had = self._make()
        if self._wanted or had:
            commands = {name: dashboards.refresh_sql(name, self._schema) for name in self._wanted}
            self._without_cron = cron.schedule(self._server, self._schema, commands)
        self._look_ms = 0.0

    def _make(self) -> bool:
        """Makes what is not there as it is declared; whether there was a view before."""
        self._faults = {}
        with self._server.transaction() as session:
            there = views_there(session, self._schema)
        for name in (*self._wanted, *(there.keys() - self._wanted.keys())):
            with self._tried(name) as session:
                self._made(session, name, there.get(name))
        return bool(there)

    def _made(self, session: Session, name: str, mark: str | None) -> None:
        declared, query = self._wanted.get(name, (None, ""))
        if mark is not None and (declared is None or mark != mark_of(query)):
            session.execute(dashboards.dropped_sql(name, self._schema))
            session.execute(noted_sql(self._schema, name, None, "the dashboard's view is dropped"))
            mark = None
        if declared is None:
            return
        if mark is None:
            there = session.execute("SELECT to_regclass(%s)", (view_name(name, self._schema),)).fetchone()
            if there != (None,):
                self._faults[name] = f"{name}: something else has this name there: rename it, and feed again"
                return
            for statement in dashboards.made_sql(declared, query, self._schema):
                session.execute(statement)
            session.execute(noted_sql(self._schema, name, declared.fingerprint, "the dashboard's view is made"))
        for statement in dashboards.grants_sql(declared, self._schema) if self._with_roles else ():
            session.execute(statement)

    @contextlib.contextmanager
    def _tried(self, name: str) -> Iterator[Session]:
        """A transaction whose refusal by the server is noted alone. Raises Unavailable where the connection is lost."""
        try:
            with self._server.transaction() as session:
                bounds(session)
                yield session
        except AntiphonError as error:
            said = error.__cause__
            if not isinstance(said, psycopg.Error) or not said.sqlstate:
                raise
            self._faults[name] = f"{name} is not as fresh as it should be: {error}"

    def refresh(self) -> None:
        """Refreshes what is late; looks no more often than it has to. *Cost*: the rows of the tables are read."""
        began = self._clock.monotonic_ms()
        if not self._wanted or began < self._look_ms:
            return
        if self._faults:
            self._make()
        late = REFRESH_MS if self._without_cron is not None else LATE_MS
        wait = min((self._refreshed(name, late) for name in self._wanted if name not in self._faults), default=late)
        took = self._clock.monotonic_ms() - began
        self._look_ms = began + took + max(wait, SHARE * took)

    def _refreshed(self, name: str, late: float) -> float:
        """Refreshes one view where it is late; how long the next look may wait, in ms."""
        view = view_name(name, self._schema)
        with self._tried(name) as session:
            session.execute(f"SET LOCAL lock_timeout = {LOCK_MS_MAX}; SET LOCAL statement_timeout = {REFRESH_MS_MAX}")
            filled = session.execute(
                "SELECT relispopulated FROM pg_class WHERE oid = to_regclass(%s)", (view,)
            ).fetchone()
            if filled == (True,):
                asked = f"SELECT extract(epoch FROM clock_timestamp() - max({quoted(AS_OF)})) * 1000 FROM {view}"
                row = session.execute(asked).fetchone()
                age = float(row[0]) if row is not None and row[0] is not None else late
                if age < late:
                    return late - age
            if filled is None:
                self._faults[name] = f"{name}: somebody dropped its view; it is made again"
            session.execute(dashboards.refresh_sql(name, self._schema))
        return late
