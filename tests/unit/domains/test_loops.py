"""Loops: who may do what in which state, what is refused and with which words, and what strangers' events come to."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from antiphon import Conflict, Fleet, InvalidInput, LimitExceeded, NotFound
from antiphon.domains.loops import LOOPS, Loops, decide, names
from antiphon.domains.loops.hiding import tokenized
from antiphon.home import default_folder
from antiphon.model import limits
from antiphon.model.event import Scope
from antiphon.model.text import id_text, parse_entity, parse_id
from antiphon.world.clock import ManualClock
from tests.unit.domains.one_file import OneFile, refuses

DAY = 86_400_000
NOWHERE = "01890000-0000-7000-8000-000000000000"


class Circle(OneFile[Loops]):
    """What they do with loops."""

    def __init__(self, fleet: Fleet, clock: ManualClock) -> None:
        super().__init__(fleet, clock, Loops)

    def loop(self, who: Loops | None = None) -> str:
        """A loop that has begun, Ada's when nobody is named."""
        maker = who or self.ada
        made = maker.whisper("map the harbour", tone="calm").entity
        assert made is not None
        maker.begin(made)
        return made

    def id_of(self, name: str) -> bytes:
        return parse_id(self.agents[name].id)

    def passed(self, loop: str, *, vote: int = 1) -> str:
        """A question about a loop that Ada's guild of two has decided."""
        guild = self.ada.found("elders", quorum=2, members=[self.agents["bob"].id]).entity or ""
        asked = self.ada.ask(guild, "is it blessed?", loop=loop).entity or ""
        for member in (self.ada, self.bob):
            member.vote(asked, vote)
        self.ada.close(asked)
        return asked


@pytest.fixture
def circle() -> Iterator[Circle]:
    clock = ManualClock()
    with Fleet.create(default_folder(), clock=clock, domains=[LOOPS]) as fleet:
        yield Circle(fleet, clock)


# -- users -----------------------------------------------------------------------------------------------------------


def test_a_user_has_credits_that_are_never_below_none(circle: Circle, monkeypatch: pytest.MonkeyPatch) -> None:
    bob = circle.agents["bob"]
    user = circle.ada.register_user("grace", "grace@example.org", emotional_credits=10, agents=[bob.id]).entity or ""
    row = circle.row("users", user)
    assert (row["username"], row["email"], row["subscription_tier"], row["emotional_credits"]) == (
        "grace", "grace@example.org", "free", 10,
    )  # fmt: skip
    circle.ada.credit(user, 5, reason="a good year")
    circle.bob.spend(user, 12, home=id_text(circle.agents["ada"].log_id))
    assert circle.row("users", user)["emotional_credits"] == 3
    refuses(circle, Conflict, "4 are asked for, and the user has 3", lambda: circle.ada.spend(user, 4))
    home = id_text(circle.agents["ada"].log_id)
    refuses(circle, Conflict, "the user's own agents", lambda: circle.cyd.spend(user, 1, home=home))
    refuses(circle, InvalidInput, "whole number from 1", lambda: circle.ada.credit(user, 0))
    monkeypatch.setattr(decide, "CREDITS_MAX", 3)
    refuses(circle, Conflict, "CREDITS_MAX", lambda: circle.ada.credit(user, 1))


def test_names_and_addresses_are_given_once_by_a_home(circle: Circle) -> None:
    first = circle.ada.register_user("grace", "grace@example.org").entity or ""
    refuses(circle, Conflict, "username", lambda: circle.ada.register_user("grace", "other@example.org"))
    refuses(circle, Conflict, "email", lambda: circle.ada.register_user("zoe", "grace@example.org"))
    second = circle.ada.register_user("zoe", "zoe@example.org").entity or ""
    refuses(circle, Conflict, "username", lambda: circle.ada.change_user(second, username="grace"))
    circle.ada.change_user(first, subscription_tier="pro")
    assert circle.row("users", first)["subscription_tier"] == "pro"
    circle.bob.register_user("grace", "grace@example.org")  # another home: both stand, and are listed
    circle.ada.retire_user(second)
    assert circle.ada.register_user("zoe", "zoe@example.org").entity


@pytest.mark.parametrize(
    ("words", "how"),
    [
        ("users.username needs words", {"username": " ", "email": "a@b"}),
        ("users.email is an address", {"username": "x", "email": "nobody"}),
        ("emotional_credits is a whole number", {"username": "x", "email": "a@b", "emotional_credits": -1}),
        ("emotional_credits is a whole number", {"username": "x", "email": "a@b", "emotional_credits": True}),
        ("does not fit its kind", {"username": "x" * 256, "email": "a@b"}),
    ],
)
def test_what_is_no_user_is_refused(circle: Circle, words: str, how: dict[str, Any]) -> None:
    refuses(circle, InvalidInput, words, lambda: circle.ada.register_user(**how))


def test_a_user_is_for_the_agent_that_keeps_it_to_see_and_change(circle: Circle) -> None:
    user = circle.ada.register_user("grace", "grace@example.org").entity or ""
    assert circle.agents["bob"].table("users").get(parse_entity(user)) is None
    refuses(circle, NotFound, "not for this agent to see", lambda: circle.bob.change_user(user, username="x"))
    refuses(circle, InvalidInput, "nothing to change", lambda: circle.ada.change_user(user))


def test_forgetting_a_person_takes_the_user(circle: Circle) -> None:
    user = circle.ada.register_user("Grace", "grace@example.org").entity or ""
    circle.ada.change_user(user, email="g@example.org")
    circle.agents["ada"].forget(person="grace")
    assert circle.fleet.replica.tables.row(circle.fleet.replica.registry.table("users"), parse_entity(user)) is None


# -- loops -----------------------------------------------------------------------------------------------------------


def test_a_whisper_becomes_a_loop_and_then_history(circle: Circle) -> None:
    loop = circle.ada.whisper("map the harbour", tone="calm", consciousness={"level": 0.5}).entity or ""
    row = circle.row("loops", loop)
    assert (row["state"], row["fork_depth"], row["blessed"], row["emotional_tone"]) == ("whisper", 0, False, "calm")
    circle.clock.pass_ms(5)
    circle.ada.begin(loop)
    assert circle.row("loops", loop)["began_at"] == circle.clock.now_ms()
    circle.ada.feel(loop, emotional_tone="awake", consciousness_state={"level": 1})
    assert [row["emotional_tone"] for row in circle.bob.newest()] == ["awake"]
    circle.ada.archive(loop)
    row = circle.row("loops", loop)
    assert (row["state"], row["archived_at"]) == ("archive", circle.clock.now_ms())
    refuses(circle, Conflict, "only a whisper begins", lambda: circle.ada.begin(loop))
    refuses(circle, Conflict, "in the archive already", lambda: circle.ada.archive(loop))
    assert circle.ada.newest("whisper") == []
    refuses(circle, InvalidInput, "loops.state is one of", lambda: circle.ada.newest("dream"))


def test_a_loop_is_its_makers(circle: Circle) -> None:
    loop = circle.loop()
    for act in (lambda: circle.bob.archive(loop), lambda: circle.bob.begin(loop)):
        refuses(circle, Conflict, "the agent that whispered it", act)
    refuses(circle, InvalidInput, "is another agent's", lambda: circle.bob.feel(loop, emotional_tone="sad"))
    refuses(circle, InvalidInput, "nothing to change", lambda: circle.ada.feel(loop))
    refuses(circle, NotFound, f"there is no {NOWHERE} in loops", lambda: circle.ada.begin(NOWHERE))


def test_forks_know_where_their_line_began(circle: Circle) -> None:
    first = circle.loop()
    second = circle.bob.whisper("deeper", fork_of=first).entity or ""
    circle.bob.begin(second)
    third = circle.cyd.whisper("and deeper", fork_of=second).entity or ""
    assert [row["fork_depth"] for row in circle.cyd.lineage(third)] == [2, 1, 0]
    assert [row["loop_id"] for row in circle.ada.forks(first)] == [parse_entity(second)]
    refuses(circle, Conflict, "a whisper still", lambda: circle.ada.whisper("x", fork_of=third))
    refuses(circle, NotFound, "loops.fork_parent", lambda: circle.ada.whisper("x", fork_of=NOWHERE))
    agent = circle.agents["cyd"]
    again = {"parent": parse_entity(first)}
    refuses(circle, Conflict, "is a fork already", lambda: agent.request(names.FORK, again, home=agent.log_id,
                                                                         entity=third))  # fmt: skip


def test_a_line_of_forks_has_an_end(circle: Circle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide, "FORK_DEPTH_MAX", 1)
    first = circle.loop()
    second = circle.ada.whisper("deeper", fork_of=first).entity or ""
    circle.ada.begin(second)
    refuses(circle, Conflict, "FORK_DEPTH_MAX", lambda: circle.ada.whisper("deepest", fork_of=second))


def test_a_loop_may_be_decided_elsewhere(circle: Circle) -> None:
    loop = circle.bob.whisper("on Ada's", home=id_text(circle.agents["ada"].log_id)).entity or ""
    circle.bob.begin(loop)
    (decided,) = [event for event in circle.agents["ada"].log() if event.kind == names.CREATED]
    assert decided.author == circle.id_of("ada")
    assert circle.row("loops", loop)["state"] == "loop"


def test_names_of_people_stand_as_numbers(circle: Circle) -> None:
    assert (
        tokenized("Grace met GRACE; Graceful Zoë", ["grace", "zoë"]) == "[person 1] met [person 1]; Graceful [person 2]"
    )
    loop = circle.ada.whisper("Ask Grace", hide=["Grace"]).entity or ""
    assert circle.row("loops", loop)["whisper_origin"] == "Ask [person 1]"
    refuses(circle, InvalidInput, "hide: 'Zoë' is not in the text", lambda: circle.ada.whisper("Zoe?", hide=["Zoë"]))
    refuses(circle, InvalidInput, "has no text", lambda: circle.ada.whisper(None, hide=["Zoë"]))
    refuses(circle, InvalidInput, "is not an entity id", lambda: circle.ada.begin(None))  # type: ignore[arg-type]
    assert circle.row("loops", circle.ada.whisper(None).entity or "")["whisper_origin"] is None
    circle.agents["ada"].forget(person="Grace")
    assert circle.ada.get(loop) is None
    refuses(circle, InvalidInput, "hide is a list", lambda: circle.ada.whisper("x", hide="Grace"))
    refuses(circle, InvalidInput, "whisper_origin needs words", lambda: circle.ada.whisper("  "))


def test_what_happens_in_a_loop_makes_its_drift(circle: Circle) -> None:
    loop, other = circle.loop(), circle.loop()
    now = circle.clock.now_ms()
    for day in range(10, 0, -1):
        circle.ada.note(loop, "said", tone="calm", occurred=now - day * DAY)
    assert circle.ada.drift(loop, as_of=now) == 0, "nothing today"
    circle.bob.note(loop, "said", tone="calm")
    assert circle.ada.drift(loop, as_of=now) == 0
    for _ in range(30):
        circle.ada.note(loop, "shouted", tone="wild")
    assert 0.2 < circle.ada.drift(loop, as_of=now) < 1
    assert circle.ada.drift(loop, as_of=now) == circle.cyd.drift(loop, as_of=now)
    assert circle.ada.drift(loop, as_of=now + DAY) == 0
    circle.ada.rate(loop)
    circle.ada.rate(other)
    (rating,) = circle.agents["bob"].table("drift_ratings").select(entity_id=loop)
    assert (rating["entity_type"], rating["as_of"], float(rating["rating"])) == (
        "loop", now, circle.ada.drift(loop, as_of=now),
    )  # fmt: skip
    circle.ada.measure()
    (index,) = circle.agents["bob"].table("drift_index").select()
    assert (index["scope"], index["entities"], index["volatility"]) == ("global", 2, rating["rating"] / 2)
    refuses(circle, NotFound, "drift_ratings.entity_id", lambda: circle.ada.rate(NOWHERE))
    refuses(circle, InvalidInput, "loop_events.tone", lambda: circle.ada.note(loop, "said", tone=""))


def test_ratings_have_a_level(circle: Circle) -> None:
    loop = circle.loop()
    assert circle.ada.drifting() == []
    circle.agents["ada"].record(
        names.RATED, {"entity_id": loop, "rating": "0.7", "as_of": 1, "level": "critical"}, scope=Scope.PUBLIC
    )
    assert circle.ada.drifting() == [loop]
    with pytest.raises(InvalidInput, match="more than 1"):
        circle.agents["ada"].record(names.RATED, {"entity_id": loop, "rating": "1.1", "as_of": 1}, scope=Scope.PUBLIC)


def test_forecasts_are_the_last_word_of_each(circle: Circle) -> None:
    loop = circle.loop()
    circle.ada.forecast(loop, {"tone": "calm"}, confidence=0.5, horizon=DAY)
    circle.ada.forecast(loop, {"tone": "wild"})
    circle.bob.forecast(loop, {"tone": "calm"})
    rows = circle.agents["cyd"].table("loop_forecasts").select(loop_id=parse_entity(loop))
    assert sorted(row["forecast"]["tone"] for row in rows) == ["calm", "wild"]
    refuses(circle, InvalidInput, "confidence is a number", lambda: circle.ada.forecast(loop, {}, confidence=2))
    refuses(circle, NotFound, "loop_forecasts.loop_id", lambda: circle.ada.forecast(NOWHERE, {}))


# -- blessings and prophecies ----------------------------------------------------------------------------------------


def test_blessings_are_a_ledger_and_who_blesses_a_set(circle: Circle) -> None:
    loop = circle.loop()
    circle.ada.bless(loop, "light", consensus_score="0.91", metadata={"moon": "full"})
    circle.ada.bless(loop, "dark")
    circle.bob.bless(loop)
    assert circle.row("loops", loop)["blessed_by"] == sorted([circle.id_of("ada"), circle.id_of("bob")])
    assert len(circle.agents["cyd"].table("blessings").select(loop_id=parse_entity(loop))) == 3
    assert not circle.row("loops", loop)["blessed"], "that takes a guild"
    assert len(circle.ada.unbless(loop)) == 2
    assert circle.row("loops", loop)["blessed_by"] == [circle.id_of("bob")]
    refuses(circle, NotFound, "has not blessed", lambda: circle.ada.unbless(loop))
    refuses(circle, NotFound, "blessings.loop_id", lambda: circle.ada.bless(NOWHERE))
    for score in ("ten", 10, -1, True):
        refuses(
            circle, InvalidInput, "from 0 to 9.99", lambda score=score: circle.ada.bless(loop, consensus_score=score)
        )
    refuses(circle, InvalidInput, "digits after the point", lambda: circle.ada.bless(loop, consensus_score="0.915"))


def test_a_prophecy_is_judged_once_by_those_it_is_for(circle: Circle) -> None:
    loop = circle.loop(circle.bob)
    told = circle.ada.prophesy("It will flood", loops=[loop]).entity or ""
    refuses(circle, Conflict, "for its author, or", lambda: circle.cyd.judge(told, fulfilled=True))
    other = circle.loop()
    refuses(circle, Conflict, "none of the loops", lambda: circle.bob.judge(told, fulfilled=True, evidence=other))
    circle.bob.judge(told, fulfilled=True, evidence=loop)
    row = circle.row("prophecies", told)
    assert (row["fulfillment_status"], row["fulfilled_at"], row["fulfilled_by"]) == (
        "fulfilled", circle.clock.now_ms(), parse_entity(loop),
    )  # fmt: skip
    refuses(circle, Conflict, "judged fulfilled already", lambda: circle.ada.judge(told, fulfilled=False))
    second = circle.ada.prophesy("Grace will return", hide=["Grace"]).entity or ""
    assert circle.row("prophecies", second)["prophecy_text"] == "[person 1] will return"
    circle.ada.judge(second, fulfilled=False)
    assert circle.row("prophecies", second)["fulfilled_at"] is None
    refuses(circle, NotFound, "prophecies.related_loops", lambda: circle.ada.prophesy("x", loops=[NOWHERE]))
    refuses(circle, InvalidInput, "is a list of ids", lambda: circle.ada.prophesy("x", loops=loop))
    refuses(circle, InvalidInput, "prophecy_text needs words", lambda: circle.ada.prophesy(""))


# -- guilds ----------------------------------------------------------------------------------------------------------


def test_a_guild_decides_by_the_votes_of_its_members(circle: Circle) -> None:
    loop = circle.loop()
    guild = circle.ada.found("elders", quorum=2, threshold="0.67").entity or ""
    refuses(circle, Conflict, "for the guild's founder", lambda: circle.bob.join(guild))
    circle.ada.admit(guild, circle.agents["bob"].id)
    asked = circle.bob.ask(guild, "is it blessed?", loop=loop).entity or ""
    circle.ada.vote(asked)
    circle.cyd.vote(asked)  # no member: counted by nobody
    refuses(circle, Conflict, "1 of its members have voted, and it takes 2", lambda: circle.ada.close(asked))
    refuses(circle, Conflict, "for the guild's members", lambda: circle.cyd.close(asked))
    circle.bob.vote(asked, -1)
    circle.bob.vote(asked, 1, reason="on second thought")
    circle.bob.close(asked)
    row = circle.row("guild_consensus", asked)
    assert (row["status"], row["consensus_score"], row["votes_for"]) == ("passed", Decimal(1), 3)
    assert row["voters"] == sorted([circle.id_of("ada"), circle.id_of("bob")])
    circle.cyd.sanctify(loop, asked)
    assert (circle.row("loops", loop)["blessed"], circle.row("loops", loop)["blessed_in"]) == (True, row["id"])
    refuses(circle, Conflict, "blessed already", lambda: circle.ada.sanctify(loop, asked))
    refuses(circle, Conflict, "is passed already", lambda: circle.ada.close(asked))
    refuses(circle, InvalidInput, "is passed already", lambda: circle.ada.vote(asked))
    refuses(circle, InvalidInput, "guild_votes.vote is 1", lambda: circle.ada.vote(asked, 2))


def test_what_a_guild_refuses_blesses_nothing(circle: Circle) -> None:
    loop, other = circle.loop(), circle.loop()
    asked = circle.passed(loop, vote=-1)
    assert circle.row("guild_consensus", asked)["status"] == "failed"
    refuses(circle, Conflict, "is failed, not passed", lambda: circle.ada.sanctify(loop, asked))
    refuses(circle, Conflict, "was asked about this loop", lambda: circle.ada.sanctify(other, asked))


@pytest.mark.parametrize(("threshold", "status"), [("0.5", "passed"), ("0.500001", "failed"), ("1", "failed")])
def test_the_share_that_is_for_it_must_reach_the_threshold(circle: Circle, threshold: str, status: str) -> None:
    members = [agent.id for agent in circle.agents.values()]
    guild = circle.ada.found("elders", quorum=3, threshold=threshold, members=members).entity or ""
    asked = circle.ada.ask(guild, "open?").entity or ""
    for member, vote in ((circle.ada, 1), (circle.bob, -1), (circle.cyd, 0)):
        member.vote(asked, vote)
    circle.ada.close(asked)
    row = circle.row("guild_consensus", asked)
    assert (row["status"], row["consensus_score"], len(row["voters"])) == (status, Decimal("0.5"), 3)


def test_too_few_votes_by_the_end_are_a_no(circle: Circle) -> None:
    guild = circle.ada.found("elders").entity or ""
    asked = circle.ada.ask(guild, "open?", closes=circle.clock.now_ms() + DAY).entity or ""
    circle.ada.vote(asked)
    refuses(circle, Conflict, "it takes 3", lambda: circle.ada.close(asked))
    circle.clock.pass_ms(DAY)
    circle.ada.close(asked)
    assert circle.row("guild_consensus", asked)["status"] == "failed"


def test_members_come_and_go(circle: Circle) -> None:
    guild = circle.ada.found("open", is_open=True).entity or ""
    circle.bob.join(guild)
    refuses(circle, Conflict, "guild's founder", lambda: circle.bob.admit(guild, circle.agents["cyd"].id))
    circle.cyd.join(guild)
    refuses(circle, Conflict, "or for the agent itself", lambda: circle.bob.dismiss(guild, circle.agents["cyd"].id))
    circle.bob.dismiss(guild)
    refuses(circle, Conflict, "not in the guild", lambda: circle.bob.dismiss(guild))
    assert circle.row("guilds", guild)["members"] == sorted([circle.id_of("ada"), circle.id_of("cyd")])
    asked = circle.ada.ask(guild, "open?").entity or ""
    circle.ada.vote(asked)
    circle.ada.unvote(asked)
    refuses(circle, NotFound, "has no vote", lambda: circle.ada.unvote(asked))
    refuses(circle, InvalidInput, "above 0", lambda: circle.ada.found("none", threshold=0))
    refuses(circle, InvalidInput, "guilds.name", lambda: circle.ada.found(""))
    refuses(circle, NotFound, "guild_consensus.guild_id", lambda: circle.ada.ask(NOWHERE, "x"))


# -- clusters, runs, the ledger of changes ---------------------------------------------------------------------------


def test_clusters_form_and_dissolve(circle: Circle) -> None:
    loop = circle.loop()
    cluster = circle.ada.form("harbour", [loop], metrics={"size": 1}).entity or ""
    circle.ada.change_cluster(cluster, name="the harbour", agents=[circle.agents["bob"].id])
    story = circle.bob.tell("The tide", "Once the sea came in.", cluster=cluster).entity or ""
    circle.bob.retell(story, content="Once it came.")
    assert circle.row("mythologies", story)["content"] == "Once it came."
    circle.ada.dissolve(cluster)
    row = circle.row("clusters", cluster)
    assert (row["name"], row["status"], row["dissolved_at"]) == ("the harbour", "dissolved", circle.clock.now_ms())
    refuses(circle, InvalidInput, "dissolved already", lambda: circle.ada.dissolve(cluster))
    refuses(circle, InvalidInput, "is another agent's", lambda: circle.bob.dissolve(cluster))
    refuses(circle, InvalidInput, "nothing to change", lambda: circle.ada.change_cluster(cluster))
    refuses(circle, NotFound, "clusters.loops", lambda: circle.ada.form("x", [NOWHERE]))
    refuses(circle, InvalidInput, "is another agent's", lambda: circle.ada.retell(story, content="x"))


def test_a_long_list_is_refused_by_its_limit(circle: Circle, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = circle.loop()
    monkeypatch.setattr(limits, "ITEMS_MAX", 1)
    refuses(circle, LimitExceeded, "ITEMS_MAX", lambda: circle.ada.form("x", [loop, loop]))


def test_a_run_is_one_agents_at_a_time(circle: Circle) -> None:
    run = circle.ada.queue(circle.loop(), operation="reflect", priority=9, payload={"deep": True}).entity or ""
    assert [row["id"] for row in circle.cyd.waiting()] == [parse_entity(run)]
    circle.bob.take(run)
    refuses(circle, Conflict, "is running, not queued", lambda: circle.cyd.take(run))
    refuses(circle, Conflict, "the agent that runs it", lambda: circle.cyd.finish(run))
    refuses(circle, Conflict, "that queued it", lambda: circle.cyd.release(run))
    circle.ada.release(run)
    circle.cyd.take(run)
    circle.cyd.finish(run, result={"ok": True})
    row = circle.row("execution_queue", run)
    assert (row["status"], row["attempts"], row["worker"], row["result"]) == (
        "done",
        2,
        circle.id_of("cyd"),
        {"ok": True},
    )
    second = circle.ada.queue().entity or ""
    refuses(circle, Conflict, "agent that queued it", lambda: circle.bob.cancel(second))
    circle.ada.cancel(second)
    later = circle.ada.queue(not_before=circle.clock.now_ms() + DAY).entity or ""
    refuses(circle, Conflict, "is for later", lambda: circle.bob.take(later))
    circle.clock.pass_ms(DAY)
    circle.bob.take(later)
    circle.bob.fail(later, error="no map")
    assert circle.row("execution_queue", later)["error"] == "no map"
    refuses(circle, InvalidInput, "execution.queued", lambda: circle.ada.queue(priority=11))
    refuses(circle, NotFound, "execution_queue.loop_id", lambda: circle.ada.queue(NOWHERE))


def test_changes_are_written_down(circle: Circle) -> None:
    loop = circle.loop()
    circle.ada.transform(loop, "tone", before="wild", after="calm", reason="rest")
    circle.ada.transform(circle.agents["bob"].id, "archetype", entity_type="agent", after="guide")
    rows = circle.agents["cyd"].table("transformations").select(order="timestamp")
    assert {(row["entity_type"], row["before"], row["after"]) for row in rows} == {
        ("loop", "wild", "calm"), ("agent", None, "guide"),
    }  # fmt: skip
    refuses(circle, InvalidInput, "entity_type is one of", lambda: circle.ada.transform(loop, "x", entity_type="god"))
    refuses(circle, NotFound, "transformations.entity_id", lambda: circle.ada.transform(NOWHERE, "x"))


# -- hostile writers -------------------------------------------------------------------------------------------------


def brought(circle: Circle, who: str, kind: str, columns: dict[str, Any], entity: str | None = None) -> Any:
    return circle.agents[who].record(kind, {"columns": columns}, entity=entity, scope=Scope.PUBLIC)


def test_what_is_brought_is_its_bringers(circle: Circle) -> None:
    made = brought(circle, "bob", names.LOOP_BROUGHT, {"whisper_origin": "old", "state": "archive", "blessed": True})
    row = circle.row("loops", made.entity)
    assert (row["state"], row["blessed"], row["home"]) == ("archive", True, circle.agents["bob"].log_id)
    brought(circle, "bob", names.LOOP_FOLLOWED, {"emotional_tone": "late"}, made.entity)
    assert circle.row("loops", made.entity)["emotional_tone"] == "late"
    for columns in ({"home": bytes(32)}, {"created_by": bytes(32)}, {"blessed_by": []}, {"loop_id": bytes(16)}):
        with pytest.raises(InvalidInput, match="follows from the event"):
            brought(circle, "bob", names.LOOP_BROUGHT, columns)
    with pytest.raises(InvalidInput, match="no column"):
        brought(circle, "bob", names.LOOP_BROUGHT, {"owner": "me"})


STRANGE: list[tuple[str, dict[str, Any]]] = [
    (names.BLESSED, {"consensus": bytes(16)}), (names.FORKED, {"parent": bytes(16), "depth": 3}), (names.ARCHIVED, {}),
    (names.CREATED, {}), (names.FELT, {"emotional_tone": "mine"}),
    (names.LOOP_FOLLOWED, {"columns": {"blessed": True}}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "body"), STRANGE)
def test_a_stranger_cannot_decide_about_a_loop(circle: Circle, kind: str, body: dict[str, Any]) -> None:
    loop = circle.loop()
    before = circle.row("loops", loop)
    refuses(circle, InvalidInput, "another agent's",
            lambda: circle.agents["bob"].record(kind, body, entity=loop, scope=Scope.PUBLIC))  # fmt: skip
    assert circle.row("loops", loop) == before


def test_a_guild_of_ones_own_says_nothing_about_anothers(circle: Circle) -> None:
    """Who names itself the home of a question to another's guild can decide the row, and blesses nothing by it."""
    loop = circle.loop()
    guild = circle.ada.found("elders").entity or ""
    bob = circle.agents["bob"]
    said = {"guild": parse_entity(guild), "home": bob.log_id, "question": "mine?", "loop": parse_entity(loop)}
    asked = bob.record(names.ASKED, said, scope=Scope.PUBLIC).entity or ""
    refuses(circle, Conflict, "its guild is not decided by this home", lambda: circle.bob.close(asked))
    decided = {"status": "passed", "consensus_score": "1", "voters": []}
    bob.record(names.DECIDED, decided, entity=asked, scope=Scope.PUBLIC)
    assert circle.row("guild_consensus", asked)["status"] == "passed"
    refuses(circle, Conflict, "not decided by its guild's home", lambda: circle.ada.sanctify(loop, asked))


def test_nobody_votes_or_blesses_for_another(circle: Circle) -> None:
    loop = circle.loop()
    circle.bob.bless(loop)
    (row,) = circle.agents["ada"].table("blessings").select(loop_id=parse_entity(loop))
    gone = {"loop": parse_entity(loop), "id": row["id"]}
    circle.agents["ada"].record(names.WITHDRAWN, gone, scope=Scope.PUBLIC)  # a row of her own, that is not there
    assert circle.row("loops", loop)["blessed_by"] == [circle.id_of("bob")]
