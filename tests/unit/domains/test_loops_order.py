"""The rows of loops are functions of the set of events: in any order of logs, after deletes and forgetting."""

from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from antiphon.domains.loops import LOOPS, Loops, names
from antiphon.model.event import Scope
from antiphon.model.text import entity_text, parse_id
from tests.unit.domains.any_order import Act, Do, Played, Story, acts_of, check_any_order, played

DAY = 86_400_000


def sanctify(world: Played, me: Loops, which: int) -> Any:
    """A loop about which a guild has decided, if there is one."""
    passed = [row for row in world.of("guild_consensus") if row["status"] == "passed"]
    chosen = passed[which % len(passed)] if passed else {"loop_id": bytes(16), "id": bytes(16)}
    return me.sanctify(entity_text(chosen["loop_id"]), entity_text(chosen["id"]))


def told(world: Played, who: int, kind: str, body: dict[str, Any], entity: str | None = None) -> Any:
    return world.agents[who].record(kind, body, entity=entity, scope=Scope.PUBLIC)


ACTS: dict[str, Act] = {
    "register": lambda w, me, n, who: me.register_user(f"u{n}", f"u{n}@x", agents=[w.agents[n % 3].id]),
    "change": lambda w, me, n, who: me.change_user(w.one("register", n), subscription_tier=f"t{n}"),
    "credit": lambda w, me, n, who: me.credit(w.one("register", n), n + 1),
    "spend": lambda w, me, n, who: me.spend(w.one("register", n), 10 * n + 1),
    "whisper": lambda w, me, n, who: me.whisper(f"words {n}", tone="calm"),
    "fork": lambda w, me, n, who: me.whisper(f"fork {n}", fork_of=w.one("whisper" if n % 2 else "fork", n)),
    "begin": lambda w, me, n, who: me.begin(w.one("whisper", n)),
    "begin fork": lambda w, me, n, who: me.begin(w.one("fork", n)),
    "feel": lambda w, me, n, who: me.feel(w.one("whisper", n), emotional_tone=f"tone {n}"),
    "archive": lambda w, me, n, who: me.archive(w.one("whisper", n)),
    "note": lambda w, me, n, who: me.note(w.one("whisper", n), "said", tone="wild" if n % 2 else "calm"),
    "forecast": lambda w, me, n, who: me.forecast(w.one("whisper", n), {"n": n}),
    "bless": lambda w, me, n, who: me.bless(w.one("whisper", n), "light"),
    "unbless": lambda w, me, n, who: me.unbless(w.one("whisper", n)),
    "prophesy": lambda w, me, n, who: me.prophesy(f"p {n}", loops=[w.one("whisper", n)]),
    "judge": lambda w, me, n, who: me.judge(w.one("prophesy", n), fulfilled=n % 2 == 0),
    "found": lambda w, me, n, who: me.found(f"g{n}", quorum=1 + n % 2, is_open=True),
    "join": lambda w, me, n, who: me.join(w.one("found", n)),
    "leave": lambda w, me, n, who: me.dismiss(w.one("found", n)),
    "ask": lambda w, me, n, who: me.ask(w.one("found", n), f"q {n}", loop=w.one("whisper", n)),
    "vote": lambda w, me, n, who: me.vote(w.one("ask", n), n % 3 - 1),
    "unvote": lambda w, me, n, who: me.unvote(w.one("ask", n)),
    "close": lambda w, me, n, who: me.close(w.one("ask", n)),
    "sanctify": lambda w, me, n, who: sanctify(w, me, n),
    "form": lambda w, me, n, who: me.form(f"c{n}", [w.one("whisper", n)]),
    "rename": lambda w, me, n, who: me.change_cluster(w.one("form", n), name=f"r{n}"),
    "dissolve": lambda w, me, n, who: me.dissolve(w.one("form", n)),
    "tell": lambda w, me, n, who: me.tell(f"t{n}", f"once {n}", loop=w.one("whisper", n)),
    "retell": lambda w, me, n, who: me.retell(w.one("tell", n), content=f"again {n}"),
    "rate": lambda w, me, n, who: me.rate(w.one("whisper", n)),
    "measure": lambda w, me, n, who: me.measure(),
    "queue": lambda w, me, n, who: me.queue(w.one("whisper", n), priority=n + 1),
    "take": lambda w, me, n, who: me.take(w.one("queue", n)),
    "release": lambda w, me, n, who: me.release(w.one("queue", n)),
    "finish": lambda w, me, n, who: me.finish(w.one("queue", n), result={"n": n}),
    "transform": lambda w, me, n, who: me.transform(w.one("whisper", n), "tone", before=n, after=n + 1),
    "bring": lambda w, me, n, who: told(w, who, names.LOOP_BROUGHT, {"columns": {"whisper_origin": f"old {n}",
                                                                                   "state": "archive"}}),
    "follow": lambda w, me, n, who: told(w, who, names.LOOP_FOLLOWED, {"columns": {"emotional_tone": f"n{n}"}},
                                         w.one("bring", n)),
    "strange": lambda w, me, n, who: told(w, who, names.JUDGED, {"status": "failed"}, None),
}  # fmt: skip
VERBS = [*ACTS, "whisper", "begin", "begin", "found", "join", "ask", "vote", "vote", "close", "queue", "take", "forget"]
acts = acts_of(VERBS, who=2, which=5, pauses_ms=(0, 1, 40_000, DAY), least=3, most=50)
STORY = Story(LOOPS, Loops, ACTS)


def test_every_act_does_something() -> None:
    chance = Random(3)
    todo = [(chance.choice(VERBS), chance.randrange(3), chance.randrange(6), 1) for _ in range(1_500)]
    with played(STORY, todo) as made:
        assert {verb for verb in ACTS if verb not in made.made} == set()
        assert [name for name, rows in made.rows().items() if not rows] == ["installation_records"]


@given(acts, st.integers(0, 99))
def test_rows_are_the_same_in_any_order_of_logs(todo: list[Do], chance: int) -> None:
    with played(STORY, todo) as made:
        check_any_order(made.replica, LOOPS, chance)


@given(acts)
def test_what_decisions_keep_true(todo: list[Do]) -> None:
    """Where no decision was forgotten: depths follow parents, credits are never below none, votes are sets."""
    with played(STORY, [act for act in todo if act[0] not in ("forget", "strange")]) as made:
        depths = {row["loop_id"]: row["fork_depth"] for row in made.of("loops")}
        for row in made.of("loops"):
            assert row["fork_depth"] == (0 if row["fork_parent"] is None else depths[row["fork_parent"]] + 1)
            blessings = {one["blessed_by"] for one in made.of("blessings") if one["loop_id"] == row["loop_id"]}
            assert (row["blessed_by"] or []) == sorted(blessings)
        assert all(row["emotional_credits"] >= 0 for row in made.of("users"))
        agents = {parse_id(agent.id) for agent in made.agents}
        for row in made.of("guild_consensus"):
            votes = [one for one in made.of("guild_votes") if one["consensus_id"] == row["id"]]
            assert len({one["agent_id"] for one in votes}) == len(votes)
            assert row["votes_for"] == sum(one["vote"] == 1 for one in votes)
            assert set(row["voters"] or []) <= agents
        for row in made.of("loop_tones_daily"):
            same = [
                one for one in made.of("loop_events") if (one["loop_id"], one["tone"]) == (row["loop_id"], row["tone"])
            ]
            assert row["times"] == sum(one["time"] // DAY * DAY == row["day"] for one in same)
