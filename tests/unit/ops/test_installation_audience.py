"""What comes from elsewhere is for the agent that takes it alone, until it says otherwise."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from antiphon import Agent, Conflict, Fleet, InvalidInput
from antiphon.cli.market import market
from antiphon.cli.migrate_from import migrate_from
from antiphon.cli.session import Session
from antiphon.domains.audience import EVERYBODY, Audience, of_circle, own_circle
from antiphon.domains.loops import LOOPS
from antiphon.domains.market import MARKET, Market
from antiphon.model.event import Event, Scope
from antiphon.model.text import entity_text, parse_id
from antiphon.ops.installation import Migration
from antiphon.ops.market_hook import Inbound
from antiphon.ops.market_signed import signed_headers
from antiphon.replica.homes import take_in_all
from tests.unit.ops.old_installation import make, put

CROWD = bytes(range(16))


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with Fleet.create(tmp_path / "fleet", domains=[LOOPS, MARKET]) as made:
        made.add("ada")
        made.add("bob")
        yield made


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return make(tmp_path / "old")


def moving(agent: Agent, root: Path, **how: Any) -> Migration:
    return Migration(agent, agent.replica.file, root, entropy=agent.replica.entropy, **how)


def circles(agent: Agent, *, users: bool) -> set[tuple[int, bytes | None]]:
    """For whom events are that are not private: those of users, or the rest."""
    return {
        (event.header.scope, event.header.circle)
        for event in told(agent)
        if event.header.scope != Scope.PRIVATE and event.kind.startswith("user.") == users
    }


def told(agent: Agent) -> list[Event]:
    return [event for event in agent.log() if event.kind.split(".")[0] not in ("antiphon", "instance", "agent")]


def mine(agent: Agent) -> tuple[int, bytes | None]:
    return Scope.CIRCLE, own_circle(parse_id(agent.id))


PUBLIC = (Scope.PUBLIC, None)


@pytest.mark.parametrize(
    ("loops_for", "users_for", "loops", "users"),
    [
        (None, None, mine, mine),
        (of_circle(CROWD), of_circle(CROWD), (Scope.CIRCLE, CROWD), (Scope.CIRCLE, CROWD)),
        (EVERYBODY, None, PUBLIC, mine),
        (EVERYBODY, EVERYBODY, PUBLIC, PUBLIC),
    ],
)
def test_an_installation_is_for_whom_it_is_said(
    fleet: Fleet, old: Path, loops_for: Audience | None, users_for: Audience | None, loops: Any, users: Any
) -> None:
    ada = fleet.agent("ada")
    moving(ada, old, loops_for=loops_for, users_for=users_for).run()
    old_users = json.loads((old / "users.json").read_text())
    old_users["users"][0]["email"] = "new@harbour.example"
    put(old / "users.json", old_users)
    state = json.loads((old / "runtime/loop_state.json").read_text())
    state["loops"]["loop_001"]["emotional_tone"] = "wild"
    put(old / "runtime/loop_state.json", state)
    assert moving(ada, old, loops_for=loops_for, users_for=users_for).run().total("changed") == 2
    assert circles(ada, users=False) == {loops(ada) if callable(loops) else loops}
    assert circles(ada, users=True) == {users(ada) if callable(users) else users}


def test_nobody_else_reads_the_users_and_forgetting_one_reaches_all_of_it(
    fleet: Fleet, old: Path, tmp_path: Path
) -> None:
    ada, bob = fleet.agent("ada"), fleet.agent("bob")
    moving(ada, old).run()
    assert len([*ada.table("users").every({})]) == 2
    assert [*bob.table("users").every({})] == []
    assert bob.table("users").select(username="grace") == []
    assert [*bob.table("installation_records").every({})] == []
    with Fleet.create(tmp_path / "second", domains=[LOOPS, MARKET]) as second:
        cyd = second.add("cyd")
        take_in_all(fleet.replica, second.replica)
        assert [*cyd.table("users").every({})] == []
    ada.forget(person="grace")
    said = b"".join(event.body or b"" for event in ada.log())
    assert b"grace@harbour.example" not in said
    assert b"7946 0018" not in said, "what was kept beside the row"


@pytest.mark.parametrize("dry_run", [False, True])
def test_it_is_not_taken_for_others_the_second_time(fleet: Fleet, old: Path, dry_run: bool) -> None:
    ada = fleet.agent("ada")
    moving(ada, old).run()
    before = len(told(ada))
    with pytest.raises(Conflict, match="was taken for others before"):
        moving(ada, old, loops_for=EVERYBODY, dry_run=dry_run).run()
    assert len(told(ada)) == before
    moving(ada, old).run()
    assert moving(ada, old, loops_for=EVERYBODY, name="again").run().total("added") > 30


def test_a_crms_contacts_are_for_the_agent_alone(fleet: Fleet) -> None:
    ada, bob = fleet.agent("ada"), fleet.agent("bob")
    secret = b"0123456789abcdef"
    change = {"type": "contact", "id": "1", "fields": {"name": "Grace", "email": "g@navy.example"}}
    body = json.dumps({"changes": [change, {"type": "company", "fields": {"name": "Navy"}}]}).encode()
    headers = signed_headers(secret, "crm", "k", ada.clock.now_ms(), body)
    assert Inbound(Market(ada), "crm", secret).receive(headers, body).status == 200
    assert len([*ada.table("personas").every({})]) == 1
    assert [*bob.table("personas").every({})] == []
    assert [row["name"] for row in bob.table("food_companies").every({})] == ["Navy"], "a company is no person"


# -- on the command line -----------------------------------------------------------------------------------------------


def run(verb: Any, *words: str) -> Any:
    done = CliRunner().invoke(verb, [*words], obj=Session("ada", None, True), standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        ((), ("own", "own")), (("--publish", "loops"), ("public", "own")), (("--publish", "all"), ("public", "public")),
        (("--circle", entity_text(CROWD)), ("circle", "circle")),
    ],
)  # fmt: skip
def test_the_verb_says_for_whom(old: Path, words: tuple[str, ...], seen: tuple[str, str]) -> None:
    Agent.create("ada").close()
    run(migrate_from, str(old), *words)
    with Agent.open("ada") as ada:
        names = {mine(ada): "own", PUBLIC: "public", (Scope.CIRCLE, CROWD): "circle"}
        found = [{names[one] for one in circles(ada, users=users)} for users in (False, True)]
    assert found == [{seen[0]}, {seen[1]}]


def test_the_verb_takes_one_of_both(old: Path) -> None:
    Agent.create("ada").close()
    with pytest.raises(InvalidInput, match="choose one"):
        run(migrate_from, str(old), "--publish", "all", "--circle", entity_text(CROWD))
    with pytest.raises(InvalidInput, match="not an entity id"):
        run(migrate_from, str(old), "--circle", "us")


@pytest.mark.parametrize(
    ("words", "audience"),
    [((), "own"), (("--publish-people",), "all"), (("--circle", entity_text(CROWD)), "circle")],
)
def test_people_of_a_file_are_for_whom_it_is_said(tmp_path: Path, words: tuple[str, ...], audience: str) -> None:
    Agent.create("ada").close()
    (tmp_path / "people.csv").write_text("name,email\nGrace,g@navy.example\n")
    assert run(market, "import", str(tmp_path / "people.csv"), "--as", "personas", *words)["added"] == 1
    with Agent.open("ada") as ada:
        assert [row["audience"] for row in ada.table("personas").every({})] == [audience]
