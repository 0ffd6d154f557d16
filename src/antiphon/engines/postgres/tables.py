"""Room `engines` (imports all below it): rows of declared tables in PostgreSQL: the `Sink`.

A batch is one transaction: the fence is held, rows go by binary COPY into a temporary table, and one merge a table
takes what is newer. Rows that are gone leave their key and version in `_gone`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

import msgspec
import psycopg

from antiphon.engines.postgres import access, aside, ddl, founding
from antiphon.engines.postgres.binary import Encoder, copied, encoder, selected, sql_type, value_of
from antiphon.engines.postgres.connection import Exhausted, Server, Session, address_of, bounds
from antiphon.engines.postgres.deleting import Deleting
from antiphon.engines.postgres.migrate import refill_sql
from antiphon.engines.postgres.partitions import NEW_PERIODS_MAX, Partitions, portions
from antiphon.engines.postgres.scrubbing import Scrubbing
from antiphon.engines.postgres.shape import Held, altered, held, is_exposed, standing
from antiphon.engines.postgres.showing import Dashboards
from antiphon.engines.postgres.values import asked, parameter
from antiphon.model.dashboard import Dashboard
from antiphon.model.errors import Corrupt, InvalidInput, Rejected
from antiphon.model.table import Column, Table, Type
from antiphon.model.values import key_of, key_values
from antiphon.views.feed import Change, EngineEmptied, Fence, Marks, check_fence, version_of
from antiphon.world.clock import Clock, SystemClock

COPY_BYTES: Final = 1 << 20


class _Plan(msgspec.Struct, frozen=True):
    """The statements of one table, made once."""

    table: Table
    dialect: ddl.Dialect
    """What the server can do with this table: less than it could where an extension came after it."""
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


class _Turn(msgspec.Struct, frozen=True):
    """Under which epoch a feeder calls, and which marks it may find."""

    epoch: int
    marks: Marks | None


class PostgresTables:
    """Rows of declared tables in one schema of a PostgreSQL database; see `Sink` for the promises.

    *Cost*: about 15 µs a row in batches of 1,000. One feeder at a time: the fence row is locked while a batch is
    written.
    """

    elsewhere: Final = True
    """Personal data leaves the machine: `Agent.follow` seals it."""

    def __init__(self, url: str, *, schema: str = "antiphon", clock: Clock | None = None, **limits: Any) -> None:
        self._server = Server(url, schema=schema, **limits)
        self._schema = schema
        self._plans: dict[str, _Plan] = {}
        self._clock = clock or SystemClock()
        self._partitions = Partitions(self._clock)
        self._deleting = Deleting(schema)
        self._has_roles = True
        self._horizons: dict[str, int] = {}
        self._kept_back: list[str] = []
        self._forgets = 0
        self._dashboards = Dashboards(self._server, schema)
        self._scrubbing = Scrubbing(self._server, schema)

    @property
    def lacks(self) -> list[str]:
        """What the server has not, in a person's words: tables work without it."""
        found = [
            line
            for plan in self._plans.values()
            for line in ddl.lacking(plan.table, plan.dialect, self._server.dialect)
        ]
        names = ", ".join(access.role_name(self._schema, role) for role in access.ROLES)
        said = f"this user may make no roles, and not all of {names} are there: only the tables' owner may read them"
        roles = [] if self._has_roles else [said]
        lost = (f"the extension {name} is not to be had" for name in self._server.lacks)
        names = ", ".join(self._kept_back)
        said = f"{names}: what migrations kept of before could not be dropped, though something was forgotten since: "
        kept = [said + "somebody uses it; `antiphon migrate --drop`"] if names else []
        return [*lost, *roles, *found, *kept, *self._dashboards.lacks]

    def close(self) -> None:
        """Ends the connection."""
        self._server.close()

    # -- the fence -----------------------------------------------------------------------------------------------

    def kept(self) -> Fence:
        with self._server.transaction() as session:
            bounds(session)
            founding.found(session, self._schema)
            return self._kept(session)

    def _kept(self, session: Session, *, lock: bool = False) -> Fence:
        asked = f"SELECT epoch, mark, owner FROM {self._q('_fence')}{' FOR UPDATE' if lock else ''}"
        row = session.execute(asked).fetchone()
        return Fence() if row is None else Fence(int(row[0]), int(row[1]), bytes(row[2]))

    def fence(self, known: int, epoch: int, *, mark: int = 0, owner: bytes = b"") -> Fence | None:
        if epoch <= known:
            return None
        with self._server.transaction() as session:
            bounds(session)
            founding.found(session, self._schema)
            before = self._kept(session, lock=True)
            raised = session.execute(
                f"INSERT INTO {self._q('_fence')} (one, epoch, mark, owner) VALUES (TRUE, %s, %s, %s) ON CONFLICT "
                "(one) DO UPDATE SET (epoch, mark, owner) = (EXCLUDED.epoch, EXCLUDED.mark, EXCLUDED.owner) "
                "WHERE _fence.epoch = %s",
                (epoch, mark, owner, known),
            )
            return before if raised.rowcount == 1 and before.epoch == known else None

    def _q(self, name: str) -> str:
        return f"{ddl.quoted(self._schema)}.{ddl.quoted(name)}"

    def _hold(self, session: Session, turn: _Turn, *, moves: bool = False) -> None:
        """Holds the fence for this transaction, and moves its mark; raises what `check_fence` says."""
        bounds(session)
        epoch, marks = turn.epoch, turn.marks
        if moves and marks is not None:
            moved = session.execute(
                f"UPDATE {self._q('_fence')} SET mark = %s WHERE epoch = %s AND mark BETWEEN %s AND %s",
                (marks.most, epoch, marks.least, marks.most),
            )
            if moved.rowcount == 1:
                return
        check_fence(self._kept(session, lock=True), epoch, marks)

    # -- tables --------------------------------------------------------------------------------------------------

    def prepare(self, tables: Sequence[Table]) -> None:
        # The server may be in an older state than when these were filled.
        self._partitions, self._deleting = Partitions(self._clock), Deleting(self._schema)
        self._server.extend()
        dialect = self._server.dialect
        known = {plan.table.name: plan.table for plan in self._plans.values()} | {table.name: table for table in tables}
        with self._server.transaction() as session:
            bounds(session)
            founding.found(session, self._schema)
            session.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (self._schema,))
            with_roles = self._roles(session)
            new = [table for table in tables if self._is_new(session, table)]
            there = self._as_declared(session, [table for table in tables if table not in new])
            for table in tables:
                if table not in new:
                    for statement in self._access_sql(table, known, there[table.name]) if with_roles else ():
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
                session.execute(founding.noted_sql(self._schema, table.name, table.fingerprint, "the table is made"))
        self._plans |= {
            table.name: _planned(table, standing(table, there.get(table.name), dialect)) for table in tables
        }

    def _access_sql(self, table: Table, known: Mapping[str, Table], there: Held) -> list[str]:
        """What row access lacks of a table that is there."""
        if is_exposed(table, there, self._server.dialect):
            return access.hidden_sql(table, self._schema)
        return [] if there.policed else access.policies_sql(table, known, self._schema)

    def show(self, dashboards: Sequence[Dashboard]) -> None:
        """Keeps these dashboards as views over the tables that are prepared here; see `Showing`."""
        tables = {plan.table.name: plan.table for plan in self._plans.values()}
        self._dashboards.show(dashboards, tables, with_roles=self._has_roles)

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

    def apply(self, epoch: int, changes: Sequence[Change], *, marks: Marks | None = None) -> None:
        newest: dict[tuple[str, bytes], Change] = {}
        for change in changes:
            if self._is_past(change):
                continue
            had = newest.get((change.table, change.key))
            if had is None or had.version < change.version:
                newest[change.table, change.key] = change
        try:
            self._take(_Turn(epoch, marks), list(newest.values()))
        except (Rejected, Corrupt):  # is it the row, or the table?
            with self._server.transaction() as session:
                if founding.is_founded(session, self._schema):
                    self._as_declared(session, [self._plan(name).table for name in {name for name, _ in newest}])
            raise

    def _take(self, turn: _Turn, changes: list[Change], *, is_last: bool = True) -> None:
        """Writes rows of different keys in one transaction; in halves, where the server has no room for all of them.
        The last of these moves the mark.
        """
        by_table: dict[str, list[Change]] = {}
        for change in changes:
            by_table.setdefault(change.table, []).append(change)
        try:
            self._write(turn, by_table, moves=is_last)
        except Exhausted:
            if len(changes) < 2:
                raise
            half = len(changes) // 2
            self._take(turn, changes[:half], is_last=False)
            self._take(turn, changes[half:], is_last=is_last)

    def _write(self, turn: _Turn, by_table: Mapping[str, list[Change]], *, moves: bool) -> None:
        plans = {name: self._plan(name) for name in by_table}
        payloads = {name: _payload(plans[name], kept) for name, kept in by_table.items()}
        needed = {
            name: self._partitions.needed(plans[name].table, plans[name].dialect, kept)
            for name, kept in by_table.items()
        }
        for name, periods in needed.items():
            self._make_room(turn, plans[name], periods)
        with self._holding(turn, moves=moves) as session:
            shrunk = [name for name, kept in by_table.items() if any(change.row is None for change in kept)]
            for name in by_table:
                _merge(session, plans[name], payloads[name], gone=name in shrunk)
        self._scrubbing.deleted(shrunk)
        for name, periods in needed.items():
            self._partitions.keep(plans[name].table, periods)

    def _make_room(self, turn: _Turn, plan: _Plan, periods: list[int]) -> None:
        """Makes partitions before their rows come, a few in a transaction. Chunks come with their rows: raises
        Exhausted where these would be too many.
        """
        if len(periods) > NEW_PERIODS_MAX and ddl.series_of(plan.table, plan.dialect) is not None:
            raise Exhausted(f"{plan.table.name}: rows of {len(periods):,} chunks are too many for one transaction")
        for some in portions(periods):
            with self._holding(turn) as session:
                self._partitions.make(session, plan.table, plan.dialect, some)

    @contextlib.contextmanager
    def _holding(self, turn: _Turn, *, moves: bool = False) -> Iterator[Session]:
        """A transaction that holds the fence; see `_hold`."""
        with self._server.transaction() as session:
            self._hold(session, turn, moves=moves)
            yield session

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

    def sweep(self, epoch: int, table: Table, below: int, *, marks: Marks | None = None) -> int:
        horizon, turn, swept = version_of(below, 0), _Turn(epoch, marks), 0
        with self._holding(turn) as session:
            is_there = session.execute("SELECT to_regclass(%s) IS NOT NULL", (self._q(table.name),)).fetchone()
        if is_there == (True,):
            swept = self._deleting.rows(lambda: self._holding(turn), table, horizon)
        self._deleting.tombstones(lambda: self._holding(turn), table, horizon)
        with self._holding(turn, moves=True):
            return swept

    def trim(self, epoch: int, table: Table, version: int, *, marks: Marks | None = None) -> int:
        turn = _Turn(epoch, marks)
        return self._deleting.tombstones(lambda: self._holding(turn), table, version)

    def retire(self, epoch: int, tables: Sequence[Table], *, marks: Marks | None = None) -> int:
        """Drops partitions and chunks that are wholly past, makes the next ones, and looks whether somebody altered
        a table; how many it dropped.
        """
        with self._holding(_Turn(epoch, marks)) as session:
            there = self._as_declared(session, tables)
            standings = [(table, standing(table, there[table.name], self._server.dialect)) for table in tables]
            past = self._partitions.retire(session, standings)
            if past.early:
                session.execute(refill_sql(self._server.dialect))
        self._horizons = past.horizons
        if self._kept_back:
            self.forgotten(epoch, self._forgets, marks=marks)
        if past.early:
            raise EngineEmptied(
                f"rows of {', '.join(past.early)} were dropped too early, by clocks that were ahead or for a shorter "
                "retention: everything is delivered again"
            )
        return past.dropped

    def horizon(self, table: Table) -> int | None:
        """Before which time its rows are dropped, by the server's clock and this machine's; None where all are kept."""
        could = self._server.dialect
        if ddl.retained(table, could) is None:
            return None
        with self._server.transaction() as session:
            there = held(session, [table], self._schema)
            return self._partitions.horizon(session, table, standing(table, there.get(table.name), could))

    def _is_past(self, change: Change) -> bool:
        """Whether a row is of a time whose partitions are dropped: it would only make them again."""
        horizon = self._horizons.get(change.table)
        if horizon is None or change.row is None:
            return False
        retention = self._plan(change.table).table.retention
        return retention is not None and int(change.row[retention.column]) < horizon

    def forgotten(self, epoch: int, count: int, *, marks: Marks | None = None) -> None:
        """See `Retaining`."""
        tables = {plan.table.name: plan.table for plan in self._plans.values()}
        with self._holding(_Turn(epoch, marks)) as session:
            self._kept_back = aside.forget(session, self._schema, count, tables, self._server.dialect)
        self._forgets = count

    def pulse(self, epoch: int, *, marks: Marks | None = None) -> None:
        with self._server.transaction() as session:
            self._hold(session, _Turn(epoch, marks))
            session.execute(f"UPDATE {self._q('_fence')} SET pulse = clock_timestamp()")
        self._dashboards.refresh()
        self._scrubbing.run()


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
    shown = [selected(column, q(column.name)) for column in table.columns]
    read = f"SELECT {', '.join(shown)}, {version}, {ddl.AUTHOR} FROM {name}"
    return _Plan(
        table=table,
        dialect=dialect,
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
