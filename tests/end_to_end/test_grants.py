"""A watch over other agents: who may raise an alarm, and by whose word; in a fleet, between homes, at a terminal."""

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from antiphon import (
    Agent,
    AssertRow,
    Column,
    Conflict,
    Domain,
    Fleet,
    InvalidInput,
    Kind,
    LimitExceeded,
    NotFound,
    Table,
    Type,
    UpdateRow,
)
from antiphon.cli import main
from antiphon.home import Home
from antiphon.log import kinds
from antiphon.model import limits
from antiphon.model.event import Draft, Role, Scope, encode_body
from antiphon.model.table import ANYONE, READ_ALL, Merge, role
from antiphon.model.text import event_text, id_text, parse_entity, parse_id
from antiphon.replica.commit import Batch
from antiphon.replica.grants import CEILINGS_CITED_MAX
from antiphon.replica.homes import hear_homes, take_in, take_in_all
from antiphon.replica.recovery import read_recovery_key
from antiphon.views.domain import DeleteRow


class Raised(msgspec.Struct):
    agent: bytes
    name: str
    level: int


class Calmed(msgspec.Struct):
    agent: bytes
    name: str


class Posted(msgspec.Struct):
    text: str


class Edited(msgspec.Struct):
    text: str


class Starred(msgspec.Struct):
    star: str
    love: int


class Praised(msgspec.Struct):
    song: bytes
    star: str
    love: int


ALARMS = Table(
    "alarms",
    key=("agent", "name"),
    columns=(
        Column("agent", Type.AGENT, nullable=False),
        Column("name", Type.TEXT, nullable=False),
        Column("level", Type.INTEGER),
    ),
    writers=role("monitor", "agent"),
    shared=True,
    access=READ_ALL,
)
NOTICES = Table(
    "notices",
    key="id",
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("text", Type.TEXT),
        Column("love", Type.INTEGER, default=0),
        Column("star", Type.TEXT, merge=Merge.HIGHEST, by="love"),
    ),
    writers=role("editor"),
    shared=True,
    access=READ_ALL,
)
WATCH = Domain(
    "watch",
    (
        Kind("alarm.raised", Raised), Kind("alarm.calmed", Calmed), Kind("notice.posted", Posted),
        Kind("notice.edited", Edited), Kind("notice.starred", Starred),
    ),
    (ALARMS, NOTICES),
    {
        "alarm.raised": (AssertRow(ALARMS, agent="agent", name="name", level="level"),),
        "alarm.calmed": (DeleteRow(ALARMS, {"agent": "agent", "name": "name"}),),
        "notice.posted": (AssertRow(NOTICES, text="text"),),
        "notice.edited": (UpdateRow(NOTICES, text="text"),),
        "notice.starred": (UpdateRow(NOTICES, star="star", love="love"),),
    },
)  # fmt: skip


def say(agent: Agent, kind: str, body: Any, **how: Any) -> Any:
    return agent.record(kind, body, scope=Scope.PUBLIC, **how)


def alarm(agent: Agent, about: Agent, level: int = 3) -> Any:
    return say(agent, "alarm.raised", {"agent": parse_id(about.id), "name": "fire", "level": level})


def levels(agent: Agent) -> list[int]:
    return [row["level"] for row in agent.table("alarms").every()]


def test_a_fleet_lets_one_agent_watch_over_another(tmp_path: Path) -> None:
    with Fleet.create(tmp_path / "fleet", domains=[WATCH]) as fleet:
        ada, bob = fleet.add("ada"), fleet.add("bob")
        with pytest.raises(InvalidInput, match=r"role monitor.*nothing was recorded"):
            alarm(bob, ada)
        with pytest.raises(InvalidInput, match="role monitor"):
            alarm(ada, ada)
        grant = fleet.grant("bob", "monitor", tables="alarms")
        (ref,) = bob.event(alarm(bob, ada).event).header.refs or ()
        assert (ref.role, event_text(ref.log, ref.seq)) == (Role.CAUSE, grant.id)
        with fleet.batch() as batch:
            batch.record("bob", "alarm.raised", Raised(parse_id(bob.id), "smoke", 1), scope=Scope.PUBLIC)
        assert sorted(levels(ada)) == [1, 3]
        say(bob, "alarm.calmed", {"agent": parse_id(bob.id), "name": "smoke"})
        assert levels(ada) == [3]
        assert fleet.grants() == [grant]
        ended = fleet.withdraw(grant.id)
        assert (ended.ended, fleet.grants()) == ({id_text(bob.log_id): bob.replica.head(bob.log_id).size}, [ended])
        with pytest.raises(InvalidInput, match="role monitor"):
            alarm(bob, ada, 4)
        assert levels(ada) == [3]
        with pytest.raises(Conflict, match="withdrawn already"):
            fleet.withdraw(grant.id)
        fleet.withdraw(grant.id, sizes={})
        assert levels(ada) == []
        assert [one[4] for one in ada.replica.rejections.list(table="alarms")] == ["role", "role", "role"]
    with Fleet.open(tmp_path / "fleet", domains=[WATCH]) as fleet:
        assert [one.ended for one in fleet.grants()] == [{}]
        assert all(verdict.ok for verdict in fleet.verify())


def test_the_highest_counts_up_to_the_ceiling_that_was_granted(tmp_path: Path) -> None:
    with Fleet.create(tmp_path / "fleet", domains=[WATCH]) as fleet:
        ada, bob = fleet.add("ada"), fleet.add("bob")
        fleet.grant("ada", "editor")
        high = fleet.grant("bob", "editor", ceiling=90)
        notice = say(ada, "notice.posted", {"text": "water at noon"}).entity
        for agent, love in ((ada, 80), (bob, 80), (ada, 10**9)):
            say(agent, "notice.starred", {"star": agent.name, "love": love}, entity=notice)
        assert [row["star"] for row in ada.table("notices").every()] == ["bob"]
        fleet.withdraw(high.id, sizes={})
        assert [row["star"] for row in ada.table("notices").every()] == ["ada"]


def test_whoever_wrote_a_row_alone_needs_the_role_for_each_change(tmp_path: Path) -> None:
    with Fleet.create(tmp_path / "fleet", domains=[WATCH]) as fleet:
        ada = fleet.add("ada")
        grant = fleet.grant("ada", "editor")
        notice = say(ada, "notice.posted", {"text": "one"}).entity
        say(ada, "notice.edited", {"text": "two"}, entity=notice)
        fleet.withdraw(grant.id)
        with pytest.raises(InvalidInput, match="role editor"):
            say(ada, "notice.edited", {"text": "three"}, entity=notice)
        assert [row["text"] for row in ada.table("notices").every()] == ["two"]


def test_what_a_thief_of_the_principal_s_keys_grants_is_void_once_it_was_recovered(own_home: Path) -> None:
    ada = Agent.create("ada", domains=[WATCH])
    bob = Agent.create("bob", domains=[WATCH])
    shutil.copytree(own_home / "home", own_home / "stolen")
    home, stolen = Home.open(domains=[WATCH]), Home.open(own_home / "stolen", domains=[WATCH])
    stolen.adopt()
    home.recover(read_recovery_key((own_home / "home" / "recovery-key.txt").read_text()))
    log = bob.record_of_agent.principal_log
    stolen.grant("bob", "monitor")
    take_in(stolen.principal(), log, bob.replica)
    hear_homes(bob.replica, log, bob.replica)
    assert any(event.kind == kinds.GRANT_GIVEN for event in bob.replica.reader.events(bob.replica.head(log)))
    with pytest.raises(InvalidInput, match="role monitor"):
        alarm(bob, ada)
    for one in (ada, bob, home, stolen):
        one.close()


def test_agents_with_principals_of_their_own_are_told_apart(tmp_path: Path) -> None:
    with Fleet.create(tmp_path / "fleet", domains=[WATCH]) as fleet:
        fleet.add_all(["ada", "bob", "cyd"], own_principals=True)
        ada, bob, cyd = (fleet.agent(name) for name in ("ada", "bob", "cyd"))
        with pytest.raises(InvalidInput, match="principals of their own"):
            fleet.grant("bob", "monitor")
        fleet.grant("bob", "monitor", by="ada")
        fleet.grant(cyd.id, "monitor", by="cyd")
        alarm(bob, ada)
        for who, about in ((bob, cyd), (cyd, ada)):
            with pytest.raises(InvalidInput, match="cites no grant of it by the principal of agent"):
                alarm(who, about)
        alarm(cyd, cyd, 1)
        assert sorted(levels(ada)) == [1, 3]


def test_ceilings_that_others_grant_do_not_crowd_out_the_one_that_counts(tmp_path: Path) -> None:
    """Whoever likes may grant Bob a ceiling; for Ada's song that of her principal counts, and it is what he cites."""
    songs = Table(
        "songs", "id",
        (Column("id", Type.ID, nullable=False), Column("love", Type.INTEGER, default=0),
         Column("star", Type.TEXT, merge=Merge.HIGHEST, by="love")),
        writers=ANYONE, shared=True, access=READ_ALL,
    )  # fmt: skip
    praised = UpdateRow(songs, {"id": "song"}, star="star", love="love")
    said = {"song.sung": (AssertRow(songs),), "song.praised": (praised,)}
    domain = Domain("songs", (Kind("song.sung", Posted), Kind("song.praised", Praised)), (songs,), said)
    strangers = [f"stranger_{at}" for at in range(CEILINGS_CITED_MAX + 1)]
    with Fleet.create(tmp_path / "fleet", domains=[domain]) as fleet:
        fleet.add_all(["ada", "bob", *strangers], own_principals=True)
        ada, bob = fleet.agent("ada"), fleet.agent("bob")
        mine = fleet.grant("bob", "critic", ceiling=90, by="ada")
        for name in strangers:
            fleet.grant("bob", "critic", ceiling=10**9, by=name)
        song = parse_entity(say(ada, "song.sung", {"text": "x"}).entity)
        for many in (1, 9):  # with a tip beside the row, too
            for at in range(many):
                say(ada, "song.praised", {"song": song, "star": f"ada {at}", "love": 50})
            made = say(bob, "song.praised", {"song": song, "star": "bob", "love": 80})
            (ref,) = bob.event(made.event).header.refs or ()
            assert event_text(ref.log, ref.seq) == mine.id
        assert [row["star"] for row in ada.table("songs").every()] == ["bob"]


def test_a_grant_is_withdrawn_from_logs_of_its_agent_alone(own_home: Path) -> None:
    with Agent.create("ada", domains=[WATCH]) as ada, Agent.create("bob", domains=[WATCH]) as bob:
        home = Home.open(domains=[WATCH])
        grant = home.grant("bob", "monitor")
        alarm(bob, ada)
        for log in (ada.log_id, bob.record_of_agent.principal_log):
            with pytest.raises(InvalidInput, match="is no log of"):
                home.withdraw(grant.id, sizes={log: 1})
        assert (levels(bob), home.grants()) == ([3], [grant])
        assert home.withdraw(grant.id, sizes={bytes(32): 1, bob.log_id: 9}).ended is not None
        home.close()


def test_between_homes_whoever_hears_late_comes_to_the_same_rows(tmp_path: Path) -> None:
    """Ada's principal lets Cyd, of another home, watch over Ada; Bob hears of Cyd's alarm before he hears of that."""
    one, two = tmp_path / "one", tmp_path / "two"
    ada, bob = (Agent.create(name, home=one, domains=[WATCH]) for name in ("ada", "bob"))
    cyd = Agent.create("cyd", home=two, domains=[WATCH])
    home = Home.open(one, domains=[WATCH])
    take_in_all(ada.replica, bob.replica)
    take_in_all(bob.replica, ada.replica)
    (one / "agents" / "bob.antiphon").rename(one / "bob, away")  # while the grant is given
    grant = home.grant(cyd.id, "monitor")
    assert (one / "granting").exists() is False, "bob is not of this home as long as his file is away"
    (one / "bob, away").rename(one / "agents" / "bob.antiphon")
    take_in_all(ada.replica, cyd.replica)
    alarm(cyd, ada)
    head = cyd.replica.head(cyd.log_id)
    for target in (ada, bob):
        for log in (cyd.record_of_agent.principal_log, head.id):
            take_in(cyd.replica, log, target.replica)
    assert (levels(ada), levels(bob)) == ([3], [])
    assert [one[4] for one in bob.replica.rejections.list()] == ["role"]
    take_in_all(ada.replica, bob.replica)
    assert (levels(bob), bob.replica.rejections.list()) == ([3], [])
    home.withdraw(grant.id)
    assert home.grants()[0].ended == {id_text(cyd.log_id): head.size}, "what was known here of Cyd's log stands"
    take_in_all(ada.replica, cyd.replica)
    with pytest.raises(InvalidInput, match="role monitor"):
        alarm(cyd, ada, 4)
    for agent in (ada, bob, cyd):
        agent.close()
    home.close()


def run(*args: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, args)
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_DOMAINS", f"{__name__}:WATCH")


@pytest.mark.usefixtures("watch")
def test_from_the_command_line(own_home: Path) -> None:
    run("grants", code=2)
    for name in ("ada", "bob"):
        run("init", name)
    assert run("grants").stdout == ""
    assert json.loads(run("grants", "--json").stdout) == []
    made = json.loads(run("grants", "give", "bob", "monitor", "--table", "alarms", "--json").stdout)
    assert (made["role"], made["tables"], made["ceiling"], made["ended"]) == ("monitor", ["alarms"], None, None)
    with Agent.open("ada", domains=[WATCH]) as ada, Agent.open("bob", domains=[WATCH]) as bob:
        alarm(bob, ada)
        assert levels(bob) == [3]
    assert "bob has the role editor" in run("grants", "give", "bob", "editor", "--ceiling", "80").stdout
    lines = [line.split("\t") for line in run("grants").stdout.splitlines()]
    assert [line[1] for line in lines] == ["bob", "bob"]
    assert [(line[0] == made["id"], *line[2:5], line[6]) for line in lines] == [
        (True, "monitor", "alarms", "", "stands"), (False, "editor", "all", "80", "stands"),
    ]  # fmt: skip
    assert "1 event" in run("grants", "withdraw", made["id"]).stdout
    with Agent.open("bob", domains=[WATCH]) as bob, pytest.raises(InvalidInput, match="role monitor"):
        alarm(bob, bob)
    log = made_log(made["id"], "bob")
    assert f"0 events of {log} stand" in run("grants", "withdraw", made["id"], "--accept", f"{log}=0").stdout
    with Agent.open("bob", domains=[WATCH]) as bob:
        assert levels(bob) == []
    assert [line.split("\t")[6] for line in run("grants").stdout.splitlines()] == ["withdrawn", "stands"]


def made_log(grant: str, name: str) -> str:
    with Agent.open(name, domains=[WATCH]) as agent:
        return id_text(agent.log_id)


@pytest.mark.usefixtures("watch")
@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("give", "bob"), 2, "give AGENT ROLE"),
        (("give", "zed", "monitor"), 2, "no agent 'zed'"),
        (("give", "ada", "monitr"), 2, "asks for the role 'monitr'"),
        (("give", "ada", "Monitor"), 2, "no name for a role"),
        (("give", "ada", "monitor", "--table", "notices"), 2, "asks nobody for the role 'monitor'"),
        (("give", "ada", "monitor", "--table", "nothing"), 2, "no domain declares the table 'nothing'"),
        (("give", "ada", "monitor", "--ceiling", "-1"), 2, "its ceiling is -1"),
        (("give", "ada", "monitor", "--by", "ada"), 2, "this home has one"),
        (("give", "ada", "monitor", "--accept", "x=1"), 2, "goes with withdraw"),
        (("withdraw", "x"), 2, "not an event id"),
        (("withdraw", "x", "monitor"), 2, "withdraw GRANT"),
        (("withdraw", f"{id_text(bytes(32))}/5"), 1, "has given no grant"),
        (("withdraw", f"{id_text(bytes(32))}/5", "--accept", "x"), 2, "LOG=SIZE"),
        (("withdraw", f"{id_text(bytes(32))}/5", "--table", "alarms"), 2, "go with give"),
        (("list", "ada"), 2, "takes nothing more"),
    ],
)
def test_what_it_refuses(args: tuple[str, ...], code: int, said: str) -> None:
    run("init", "ada")
    assert said in run("grants", *args, code=code).stderr
    assert run("grants").stdout == ""


@pytest.mark.usefixtures("watch")
def test_whom_a_home_trusts_is_configured(own_home: Path) -> None:
    """Its own principal, or those that antiphon.toml names; rows follow when that changes."""
    home = own_home / "home"
    run("init", "ada")
    run("grants", "give", "ada", "editor")
    with Agent.open("ada", domains=[WATCH]) as ada:
        say(ada, "notice.posted", {"text": "x"})
        principal = ada.principal

    def texts() -> list[str]:
        with Agent.open("ada", domains=[WATCH]) as ada:
            return [row["text"] for row in ada.table("notices").every()]

    for said, wanted in (("", ["x"]), ("trust = []", []), (f'trust = ["{principal}"]', ["x"]), ("", ["x"])):
        (home / "antiphon.toml").write_text(said)
        assert texts() == wanted, said
    for wrong in ('trust = "all"', 'trust = ["ada"]', "trust = [1]"):
        (home / "antiphon.toml").write_text(wrong)
        with pytest.raises(InvalidInput, match=r"antiphon\.toml: trust lists the ids of principals"):
            texts()


def test_grants_outlive_the_recovery_of_their_principal(own_home: Path) -> None:
    ada = Agent.create("ada", domains=[WATCH])
    bob = Agent.create("bob", domains=[WATCH])
    home = Home.open(domains=[WATCH])
    first = home.grant("bob", "monitor")
    key = read_recovery_key((own_home / "home" / "recovery-key.txt").read_text())
    home.recover(key)
    assert [one.id for one in home.grants()] == [first.id]
    alarm(bob, ada)
    second = home.grant("bob", "editor")
    assert [one.id for one in home.grants()] == [first.id, second.id]
    assert second.id.split("/")[0] != first.id.split("/")[0], "the principal writes another log now"
    home.withdraw(first.id)
    with pytest.raises(InvalidInput, match="role monitor"):
        alarm(bob, ada)
    say(bob, "notice.posted", {"text": "x"})
    ada.close()
    bob.close()
    home.close()


def test_a_grant_that_one_agent_did_not_hear_of_is_told_when_it_is_opened(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ada", "bob"):
        Agent.create(name, domains=[WATCH]).close()
    home = Home.open(domains=[WATCH])
    real = Home.open_agent

    def fails(self: Home, name: str, *, read_only: bool = False) -> Any:
        if name == "bob" and not read_only:
            raise Conflict("busy with other things")
        return real(self, name, read_only=read_only)

    monkeypatch.setattr(Home, "open_agent", fails)
    home.grant("bob", "monitor")
    assert (own_home / "home" / "granting").exists()
    monkeypatch.undo()
    monkeypatch.setenv("ANTIPHON_HOME", str(own_home / "home"))
    monkeypatch.setenv("ANTIPHON_STATE", str(own_home / "state"))
    with Agent.open("bob", domains=[WATCH]) as bob:
        alarm(bob, bob)
    with pytest.raises(NotFound):
        home.withdraw(f"{id_text(bytes(32))}/1")
    assert (own_home / "home" / "granting").exists(), "nobody has been told since"
    home.grant("ada", "monitor")
    assert not (own_home / "home" / "granting").exists()
    home.close()


def test_a_process_that_does_not_know_the_tables_leaves_them_to_one_that_does(own_home: Path) -> None:
    with Agent.create("ada", domains=[WATCH]) as ada:
        with_tables = Home.open(domains=[WATCH])
        grant = with_tables.grant("ada", "monitor")
        with_tables.close()
        alarm(ada, ada)
    without = Home.open()
    without.withdraw(grant.id, sizes={})
    without.close()
    with Agent.open("ada") as ada:
        assert ada.replica.state.behind.keys() == {"watch"}
    with Agent.open("ada", domains=[WATCH]) as ada:
        assert (levels(ada), ada.replica.state.behind) == ([], {})


def test_a_fleet_that_does_not_know_the_tables_too(tmp_path: Path) -> None:
    with Fleet.create(tmp_path / "fleet", domains=[WATCH]) as fleet:
        ada = fleet.add("ada")
        grant = fleet.grant("ada", "monitor")
        alarm(ada, ada)
    with Fleet.open(tmp_path / "fleet") as fleet:
        fleet.withdraw(grant.id, sizes={})
    with Fleet.open(tmp_path / "fleet", domains=[WATCH]) as fleet:
        assert levels(fleet.agent("ada")) == []


def test_a_principal_grants_so_many_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "GRANTS_MAX", 2)
    with Fleet.create(tmp_path / "fleet", domains=[WATCH]) as fleet:
        ada = fleet.add("ada")
        fleet.grant("ada", "editor")
        fleet.grant("ada", "editor", ceiling=60)
        with pytest.raises(LimitExceeded, match="GRANTS_MAX"):
            fleet.grant("ada", "monitor")
        log = ada.record_of_agent.principal_log
        body = kinds.GrantGiven("monitor", parse_id(ada.id))
        fleet.replica.commit(Batch(log, [Draft(kinds.GRANT_GIVEN, encode_body(body))], [body]))
        hear_homes(fleet.replica, log, fleet.replica)
        assert len(fleet.grants()) == 2
        with pytest.raises(InvalidInput, match="role monitor"):
            alarm(ada, ada)


def test_a_new_version_of_the_tables_is_made_by_what_is_granted_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A grant ends while another generation of the tables is being made, whose rows are of before."""
    monkeypatch.setattr(limits, "REFOLD_AT_ONCE_EVENTS_MAX", 0)
    monkeypatch.setattr(limits, "REFOLD_SLICE_MS_MAX", -1)
    with Fleet.create(tmp_path / "fleet", domains=[WATCH]) as fleet:
        ada = fleet.add("ada")
        grant = fleet.grant("ada", "monitor")
        for level in range(6):
            say(ada, "alarm.raised", {"agent": parse_id(ada.id), "name": f"{level}", "level": level})
    newer = msgspec.structs.replace(WATCH, version=2)
    with Fleet.open(tmp_path / "fleet", domains=[newer], background=False) as fleet:
        generations = fleet.replica.generations
        while generations.is_busy() and not any(building.next_row for building in generations.all().values()):
            generations.step(events_max=2)
        busy = generations.is_busy()
        fleet.withdraw(grant.id, sizes={})
        generations.run()
        assert (busy, levels(fleet.agent("ada"))) == (True, [])
        assert {one[4] for one in fleet.replica.rejections.list(table="alarms")} == {"role"}
