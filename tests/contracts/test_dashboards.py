"""Dashboards: one declaration, the same figures by typed reads from file and server, and in the server's own view."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.json import set_json_loads

from antiphon import Agent, Fleet
from antiphon.domains.dashboards import FEDERATION_DASHBOARD
from antiphon.domains.market import Market
from antiphon.domains.network.commands import Network
from antiphon.domains.tasks import Tasks
from antiphon.engines.postgres import cron, showing
from antiphon.engines.postgres.migrating import Migration
from antiphon.engines.postgres.source import PostgresSource
from antiphon.engines.postgres.tables import PostgresTables
from antiphon.engines.sealing import SealedSink
from antiphon.engines.urls import tables_for
from antiphon.model.errors import Unavailable
from antiphon.model.places import DAY_MS, HOUR_MS
from antiphon.model.text import parse_id
from antiphon.query.access import Reader
from antiphon.query.dashboard import federation_dashboard, figures_of
from antiphon.query.rows import Rows
from antiphon.replica.follow import Follower
from antiphon.world.clock import ManualClock
from servers import Postgres
from servers.places import PostgresPlace, own_name
from tests.contracts.engines import PATIENCE_MS, seals
from tests.contracts.gauges import EVERYTHING, GAUGING, gauged, plainly

pytestmark = [pytest.mark.server, pytest.mark.needs("own postgres")]  # jobs of pg_cron are of the whole server
TABLES = ("agents", "agent_interactions", "tasks", "opportunities", "consciousness_timeline")


def sql(url: str, *statements: str) -> list[Any]:
    """What the last of these gives."""
    with psycopg.connect(url, autocommit=True) as session:
        for statement in statements:
            done = session.execute(statement.encode())
        return done.fetchall() if done.description is not None else []


def made(postgres: PostgresPlace) -> str:
    """The URL of a database of its own."""
    return postgres.url(postgres.make_database())


class FromServer:
    """Typed reads of a server, as one agent."""

    def __init__(self, url: str, agent: Agent) -> None:
        self._tables = agent.replica.registry.tables
        self._source = PostgresSource(url, self._tables)
        self._reader = Reader(parse_id(agent.id), ())
        self.close = self._source.close

    def table(self, name: str) -> Rows:
        return Rows(self._source, self._tables[name], lambda: self._reader)


def in_view(url: str, name: str = "federation_dashboard", schema: str = "antiphon") -> dict[str, Any]:
    """The view's one row; `as_of` in ms, every number exact."""
    with psycopg.connect(url, row_factory=dict_row) as session:
        set_json_loads(lambda raw: json.loads(raw, parse_float=Decimal), session)
        (found,) = session.execute(f"SELECT * FROM {schema}.{name}".encode()).fetchall()
    at = found.pop("as_of")
    return {"as_of": round(at.timestamp() * 1_000), **found}


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def until(what: Any, within_s: float = 120.0) -> Any:
    """The first true value of it."""
    end = time.monotonic() + within_s
    while not (found := what()):
        assert time.monotonic() < end, "in vain"
        time.sleep(0.1)
    return found


def same(view: Mapping[str, Any], read: Any) -> None:
    """What a view says is what a typed read says: means as floats, everything else as it is."""
    for name, value in msgspec.structs.asdict(read).items() if isinstance(read, msgspec.Struct) else read.items():
        said = view[name]
        assert (float(said) if isinstance(value, float) else said) == value, name


# -- how the fleet fares ---------------------------------------------------------------------------------------------


class World:
    """A fleet of which something is known; all its tasks are of `ada`, who so sees every row of every table."""

    def __init__(self, fleet: Fleet, clock: ManualClock) -> None:
        self.clock = clock
        self.agents = [fleet.add(name) for name in ("ada", "bob", "cyd", "dan")]
        self.ada = self.agents[0]
        networks = [Network(agent) for agent in self.agents]
        for name, network in zip("ABCD", networks, strict=True):
            network.enlist(name)
        networks[3].decommission()
        for agent, success in ((1, True), (1, True), (2, False)):
            networks[0].interact(self.agents[agent].id, "sync", success=success)
        for n in range(4):
            self.done(f"task {n}")
            clock.pass_ms(DAY_MS // 3)
        market = Market(self.ada)
        deals = [market.opportunity(f"deal {n}", "10.50", probability=f"0.{n + 1}").entity or "" for n in range(4)]
        for deal, stage in zip(deals, ("negotiation", "closed_won", "closed_lost", "closed_lost"), strict=True):
            market.move(deal, stage)
        for network, level in zip(networks, ("90.1", "120.000001", "33.3"), strict=False):
            network.report(global_consciousness=level, global_trust="0.5", occurred=clock.now_ms() - HOUR_MS)
        networks[0].report(global_consciousness=1, global_trust="0.5", occurred=clock.now_ms() - 2 * HOUR_MS)

    def done(self, title: str) -> None:
        board, worker = Tasks(self.ada), Tasks(self.agents[1])
        task = board.create(title).entity or ""
        worker.claim(task)
        worker.start(task)
        worker.submit(task)
        board.complete(task)

    def changed(self) -> None:
        """Rows come, change and go."""
        self.done("one more")
        Network(self.agents[2]).decommission()
        Network(self.ada).interact(self.agents[1].id, "sync", success=False)
        Market(self.ada).opportunity("a last one", "1000", probability="0.123456")
        Network(self.ada).report(global_consciousness=199, global_trust="0.5", occurred=self.clock.now_ms())

    def follow(self, url: str, tables: tuple[str, ...] = TABLES) -> tuple[SealedSink, Any]:
        sink = SealedSink(PostgresTables(url), seals())
        return sink, self.ada.follow(sink, name="store", tables=tables)


@pytest.fixture
def world(own_home: Path) -> Iterator[World]:
    clock = ManualClock(now_ms() - 4 * DAY_MS // 3 - 60_000)
    with Fleet.create(own_home / "fleet", clock=clock) as fleet:
        yield World(fleet, clock)


def all_alike(world: World, url: str) -> dict[str, Any]:
    """The view's figures, which are those of the file and those that are read from the server, as of the same time."""
    view = in_view(url)
    same(view, federation_dashboard(world.ada, as_of=view["as_of"]))
    with closing(FromServer(url, world.ada)) as server:
        same(view, federation_dashboard(server, as_of=view["as_of"]))
    return view


@pytest.mark.needs("own postgres")
def test_the_figures_are_those_of_the_file_refreshed_by_pg_cron(
    world: World, postgres: PostgresPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cron, "SCHEDULE", "1 seconds")
    url = made(postgres)
    sink, follower = world.follow(url)
    follower.run(patience_ms=PATIENCE_MS)
    assert sink.lacks == []
    view = all_alike(world, url)
    assert (view["total_agents"], view["tasks_24h"], view["current_consciousness"]) == (3, 2, Decimal("81.133333"))
    assert (view["pipeline_value"], view["avg_trust"]) == (Decimal("3.15"), Decimal("0.527777"))
    assert {stage for stage, value in view["pipeline_by_stage"].items() if value} == {"negotiation", "closed_won"}
    world.changed()
    follower.run(patience_ms=PATIENCE_MS)
    sink.close()  # nobody feeds: the server itself refreshes
    fed = now_ms()
    until(lambda: in_view(url)["as_of"] > fed)
    view = all_alike(world, url)
    assert (view["total_agents"], view["tasks_24h"], view["current_consciousness"]) == (2, 3, 199)
    jobs = "SELECT jobname, schedule, database FROM cron.job ORDER BY jobname"
    name = url.rsplit("/", 1)[1]
    mark = f'antiphon "{name}"."antiphon".'
    assert [row for row in sql(postgres.url(), jobs) if name in row[0]] == [
        (f'{mark}"federation_dashboard"', "1 seconds", name), (f"{mark}trim", cron.TRIM_SCHEDULE, "postgres"),
    ]  # fmt: skip
    before = sql(postgres.url(), f"SELECT max(jobid) FROM cron.job WHERE database = '{name}'")
    again = PostgresTables(url)
    again.prepare([world.ada.replica.registry.tables["agents"]])
    again.show([FEDERATION_DASHBOARD])
    assert sql(postgres.url(), f"SELECT max(jobid) FROM cron.job WHERE database = '{name}'") == before, "twice is once"
    again.show([])
    assert [row for row in sql(postgres.url(), jobs) if name in row[0]] == [], "declared no more: no job is left"
    assert sql(url, "SELECT to_regclass('antiphon.federation_dashboard')") == [(None,)]
    again.close()


@pytest.mark.needs("own postgres")
def test_without_pg_cron_the_feeder_refreshes_them(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(showing, "REFRESH_MS", 0)
    monkeypatch.setattr(showing, "SHARE", 0)
    with Postgres(preload=()) as server:
        url = server.url()
        sink, follower = world.follow(url)
        follower.run(patience_ms=PATIENCE_MS)
        assert sink.lacks[-1] == (
            "no pg_cron (it is not loaded in that server): federation_dashboard is refreshed by the feeder, while it "
            "runs"
        )
        assert all_alike(world, url)["total_agents"] == 3
        world.changed()
        world.clock.pass_ms(2_000)  # a feeder's pulse is due
        follower.run(patience_ms=PATIENCE_MS)
        assert all_alike(world, url)["total_agents"] == 2
        first = in_view(url)["as_of"]
        monkeypatch.setattr(showing, "REFRESH_MS", 3_600_000)
        time.sleep(0.1)
        sink.pulse(follower._record.epoch)
        sink.pulse(follower._record.epoch)
        assert in_view(url)["as_of"] == first, "fresh enough"
        sink.close()


def pulsed(sink: SealedSink, follower: Follower) -> None:
    """A pulse that looks for late figures, as one a minute later would."""
    tables = sink.engine
    assert isinstance(tables, PostgresTables)
    tables._dashboards._look_ms = 0.0
    sink.pulse(follower._record.epoch)


@pytest.mark.needs("own postgres")
def test_a_job_that_fails_is_done_by_the_feeder(
    world: World, postgres: PostgresPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cron, "SCHEDULE", "0 0 1 1 *")
    url = made(postgres)
    sink, follower = world.follow(url)
    follower.run(patience_ms=PATIENCE_MS)
    assert sink.lacks == []
    first = in_view(url)["as_of"]
    monkeypatch.setattr(showing, "LATE_MS", 0)
    pulsed(sink, follower)
    assert in_view(url)["as_of"] > first
    sink.close()
    sql(postgres.url(), "SELECT cron.unschedule(jobid) FROM cron.job WHERE schedule = '0 0 1 1 *'")


def test_a_user_who_may_not_use_pg_cron_is_told_and_may_be_let_in(
    world: World, postgres: PostgresPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cron, "SCHEDULE", "1 seconds")
    database, user = postgres.make_database(), own_name("feeder")
    sql(postgres.url(), f"CREATE ROLE {user} LOGIN PASSWORD 'x'", "CREATE EXTENSION IF NOT EXISTS pg_cron")
    sql(postgres.url(database), f"CREATE SCHEMA antiphon AUTHORIZATION {user}")
    url = postgres.url(database, user=user, password="x")
    with closing(PostgresTables(url)) as sink:

        def told() -> list[str]:
            sink.prepare([world.ada.replica.registry.tables["agents"]])
            sink.show([FEDERATION_DASHBOARD])
            return [line for line in sink.lacks if "pg_cron" in line]

        (said,) = told()
        assert "permission denied for schema cron" in said
        sql(postgres.url(), f"GRANT USAGE ON SCHEMA cron TO {user}")
        (said,) = told()
        assert "permission denied for function schedule_in_database" in said
        sql(postgres.url(), f"GRANT EXECUTE ON FUNCTION cron.schedule_in_database TO {user}")
        assert told() == []
    sql(postgres.url(), f"ALTER ROLE {user} SUPERUSER")  # to look, past the roles that this user could not make
    until(lambda: sql(url, "SELECT relispopulated FROM pg_class WHERE relname = 'federation_dashboard'") == [(True,)])
    assert in_view(url)["total_agents"] == 0
    sql(postgres.url(), f"SELECT cron.unschedule(jobid) FROM cron.job WHERE database = '{database}'")


def test_only_roles_that_may_see_every_row_read_it(world: World, postgres: PostgresPlace) -> None:
    url = made(postgres)
    sink, follower = world.follow(url)
    follower.run(patience_ms=PATIENCE_MS)
    for role, reads in (("architect", True), ("monitor", True), ("agent", False), ("public", False)):
        with psycopg.connect(url) as session:
            session.execute(f"SET ROLE antiphon_{role}".encode())
            if reads:
                assert session.execute("SELECT count(*) FROM antiphon.federation_dashboard").fetchone() == (1,)
                continue
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute("SELECT * FROM antiphon.federation_dashboard")
    sink.close()


def test_a_table_that_is_not_here_leaves_its_figures_out(world: World, postgres: PostgresPlace) -> None:
    url = made(postgres)
    sink, follower = world.follow(url, ("agents", "consciousness_timeline"))
    follower.run(patience_ms=PATIENCE_MS)
    view = in_view(url)
    assert (view["total_agents"], view["current_consciousness"]) == (3, Decimal("81.133333"))
    assert [view[name] for name in ("tasks_24h", "pipeline_value", "pipeline_by_stage")] == [None] * 3
    with closing(FromServer(url, world.ada)) as server, pytest.raises(Unavailable, match="'tasks' is not kept in this"):
        federation_dashboard(server, as_of=view["as_of"])
    sink.close()


def test_nothing_of_ours_is_put_over_something_else_of_that_name(world: World, postgres: PostgresPlace) -> None:
    url = made(postgres)
    sql(url, "CREATE SCHEMA antiphon", "CREATE VIEW antiphon.federation_dashboard AS SELECT 1 AS mine")
    sink, follower = world.follow(url)
    follower.run(patience_ms=PATIENCE_MS)
    assert "federation_dashboard: something else has this name there: rename it, and feed again" in sink.lacks
    assert sql(url, "SELECT mine FROM antiphon.federation_dashboard") == [(1,)]
    sql(url, "DROP VIEW antiphon.federation_dashboard")
    pulsed(sink, follower)
    assert in_view(url)["total_agents"] == 3
    assert sink.lacks == []
    sink.close()


def test_a_view_that_cannot_be_refreshed_stops_no_feeder(
    world: World, postgres: PostgresPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(showing, "LOCK_MS_MAX", 100)
    monkeypatch.setattr(showing, "REFRESH_MS", 0)
    monkeypatch.setattr(showing, "LATE_MS", 0)
    url = made(postgres)
    sink, follower = world.follow(url)
    follower.run(patience_ms=PATIENCE_MS)
    with psycopg.connect(url) as session:  # as another feeder would: readers hold nobody up
        session.execute("REFRESH MATERIALIZED VIEW CONCURRENTLY antiphon.federation_dashboard")
        pulsed(sink, follower)
        assert any("federation_dashboard is not as fresh as it should be" in line for line in sink.lacks)
    pulsed(sink, follower)
    assert sink.lacks == []
    sink.close()


# -- migrations ------------------------------------------------------------------------------------------------------


def test_a_view_is_made_anew_when_its_declaration_or_its_tables_change(world: World, postgres: PostgresPlace) -> None:
    url = made(postgres)
    sink, follower = world.follow(url)
    follower.run(patience_ms=PATIENCE_MS)
    tables = {table.name: table for table in tables_for(url, world.ada.replica.registry.tables) if table.name in TABLES}
    named = FEDERATION_DASHBOARD.name
    with closing(Migration(url, tables, dashboards={named: FEDERATION_DASHBOARD})) as migration:
        assert migration.due().steps == []
    deals = tables["opportunities"]
    narrow = [
        msgspec.structs.replace(column, precision=12) if column.name == "weighted_value" else column
        for column in deals.columns
    ]
    tables["opportunities"] = msgspec.structs.replace(deals, columns=tuple(narrow))
    with closing(Migration(url, tables, dashboards={named: FEDERATION_DASHBOARD})) as migration:
        migration.run(migration.due().steps)
    rows = sql(url, "SELECT name, description FROM antiphon.schema_version ORDER BY version DESC LIMIT 2")
    assert rows == [
        (named, "the dashboard's view is made anew"),
        ("opportunities", "column weighted_value is declared otherwise"),
    ]
    ((query,),) = sql(url, "SELECT pg_get_viewdef('antiphon.federation_dashboard'::regclass)")
    assert "_former_" not in query, "it would go on with what was put aside"
    other = msgspec.structs.replace(FEDERATION_DASHBOARD, figures=FEDERATION_DASHBOARD.figures[:1])
    with closing(Migration(url, tables, dashboards={named: other})) as migration:
        steps = [step for step in migration.due().steps if step.kind == "view"]
        assert [step.sql.split(" AS")[0] for step in steps[:2]] == [
            'DROP MATERIALIZED VIEW IF EXISTS "antiphon"."federation_dashboard"',
            'CREATE MATERIALIZED VIEW "antiphon"."federation_dashboard"',
        ]
        migration.run(steps)
        assert [step for step in migration.due().steps if step.kind == "view"] == []
    view = "'antiphon.federation_dashboard'::regclass"
    assert sql(url, f"SELECT attname FROM pg_attribute WHERE attrelid = {view} AND attnum > 0") == [
        ("as_of",), ("total_agents",),
    ]  # fmt: skip
    sink.close()


# -- any dashboard ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2])
def test_any_figure_is_what_it_says_in_the_file_in_the_server_and_in_its_view(
    own_home: Path, postgres: PostgresPlace, seed: int
) -> None:
    chance, url, now = Random(seed), made(postgres), now_ms()
    with Agent.create("ada", home=own_home / "home", domains=[GAUGING]) as ada:
        gauged(ada, chance, now)
        sink = PostgresTables(url)
        follower = ada.follow(sink, name="store", tables=["gauges"])
        follower.run(patience_ms=PATIENCE_MS)
        sink.show(EVERYTHING)
        sink.pulse(follower._record.epoch)
        rows = list(ada.table("gauges").every(order="n"))
        server = FromServer(url, ada)
        for dashboard in EVERYTHING:
            view = in_view(url, dashboard.name)
            wanted = {figure.name: plainly(figure, rows, view["as_of"]) for figure in dashboard.figures}
            for reads in (ada, server):
                assert figures_of(dashboard, reads, as_of=view["as_of"]) == wanted
            for name, value in wanted.items():
                assert _alike(view[name], value), (dashboard.name, name)
        server.close()
        sink.close()


def _alike(said: Any, value: Any) -> bool:
    """Whether the view says the same; a float is the nearest to what it says."""
    if isinstance(value, Mapping):
        return said.keys() == value.keys() and all(_alike(said[name], one) for name, one in value.items())
    return bool((float(said) if isinstance(value, float) and said is not None else said) == value)
