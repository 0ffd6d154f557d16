"""Whatever an agent has of the designs' folders goes out into them and comes back as the same rows, whatever it was."""

import contextlib
import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon import Agent, AntiphonError
from antiphon.domains.loops import LOOPS, Loops
from antiphon.model.text import entity_text
from antiphon.ops.installation import Migration
from antiphon.ops.installation_export import Export
from antiphon.world.clock import ManualClock
from tests.unit.domains.two_files import own_folder

COLUMNS = {
    "users": "username email subscription_tier emotional_credits agents created_at",
    "loops": "creator_id whisper_origin consciousness_state emotional_tone created_at blessed fork_parent fork_depth "
    "mythology_id state began_at archived_at",
    "blessings": "loop_id blessing_type consensus_score timestamp metadata",
    "prophecies": "prophecy_text fulfillment_status created_at fulfilled_at fulfilled_by related_loops",
    "guild_consensus": "loop_id question opened_at closes_at status consensus_score closed_at",
    "clusters": "name loops agents status metrics formed_at dissolved_at",
    "drift_ratings": "entity_id entity_type rating level as_of",
    "drift_index": "scope volatility entities critical metrics as_of",
    "execution_queue": "loop_id operation priority payload not_before status worker attempts queued_at started_at "
    "finished_at result error",
    "transformations": "entity_id entity_type transformation_type before after reason timestamp",
    "mythologies": "title content cluster_id loop_id created_at",
    "memories": "timestamp type content emotional_context loop_context significance metadata namespace tags expires_at",
    "reflections": "timestamp prompt response memory_context emotional_state insights",
    "tone_shifts": "timestamp from_tone to_tone trigger_type trigger_content magnitude",
}
"""All that the designs' folders have. What is ours alone (homes, who recorded it, in which vote) is not."""
PLAIN = ("metadata", "before", "after")
KEYS = {"loops": "loop_id", "clusters": "cluster_id", "mythologies": "mythology_id"}


class World:
    def __init__(self, agent: Agent, clock: ManualClock) -> None:
        self.agent, self.clock, self.mine = agent, clock, Loops(agent)
        self.things: dict[str, list[str]] = {}

    def thing(self, sort: str, n: int) -> str:
        listed = self.things.get(sort, [])
        return listed[n % len(listed)] if listed else "none"

    def some(self, sort: str, n: int) -> str | None:
        return self.thing(sort, n) if n % 3 and self.things.get(sort) else None

    def do(self, verb: str, n: int, text: str) -> None:
        self.clock.pass_ms(1 + 977 * n)
        sort = verb.partition(" ")[0]
        with contextlib.suppress(AntiphonError):
            made = ACTS[verb](self, n, text)
            entity = getattr(made, "entity", None)
            if " " not in verb and isinstance(entity, str):
                self.things.setdefault(sort, []).append(entity)


Act = Callable[[World, int, str], Any]
ACTS: dict[str, Act] = {
    "user": lambda w, n, t: w.mine.register_user(
        f"u{n}{t}", f"u{n}@x", agents=[w.agent.id] * (n % 2), tier=t[:9] or "x"
    ),
    "user credit": lambda w, n, t: w.mine.credit(w.thing("user", n), n + 1, reason=t),
    "loop": lambda w, n, t: w.mine.whisper(
        t or None, creator=w.some("user", n), tone=f"tone {n}", consciousness={"n": n, "t": [t, None, 0.1]},
        mythology=w.some("story", n), fork_of=w.some("loop", n),
    ),
    "loop begin": lambda w, n, t: w.mine.begin(w.thing("loop", n)),
    "loop archive": lambda w, n, t: w.mine.archive(w.thing("loop", n)),
    "loop feel": lambda w, n, t: w.mine.feel(w.thing("loop", n), emotional_tone=t or None),
    "blessing": lambda w, n, t: w.mine.bless(w.thing("loop", n), t[:40] or None, consensus_score=f"0.{n}"),
    "prophecy": lambda w, n, t: w.mine.prophesy(t, loops=[w.thing("loop", n)] * (n % 2)),
    "prophecy judge": lambda w, n, t: w.mine.judge(
        w.thing("prophecy", n), fulfilled=n % 2 == 0, evidence=w.some("loop", n)
    ),
    "guild": lambda w, n, t: w.mine.found(t[:90] or "g", quorum=1),
    "asked": lambda w, n, t: w.mine.ask(
        w.thing("guild", n), t, loop=w.some("loop", n), closes=w.clock.now_ms() + n * 1_000
    ),
    "asked vote": lambda w, n, t: w.mine.vote(w.thing("asked", n), 1 - 2 * (n % 2)),
    "asked close": lambda w, n, t: w.mine.close(w.thing("asked", n)),
    "loop sanctify": lambda w, n, t: w.mine.sanctify(w.thing("loop", n), w.thing("asked", n)),
    "cluster": lambda w, n, t: w.mine.form(
        t[:90] or "c", [w.thing("loop", n)] * (n % 2), agents=[w.agent.id] * (n % 3 == 0), metrics={"n": n, "t": t}
    ),
    "cluster dissolve": lambda w, n, t: w.mine.dissolve(w.thing("cluster", n)),
    "story": lambda w, n, t: w.mine.tell(
        t[:90], t, cluster=w.some("cluster", n), loop=w.some("loop", n)
    ),
    "drift rate": lambda w, n, t: w.mine.rate(w.thing("loop", n)),
    "drift measure": lambda w, n, t: w.mine.measure(),
    "loop note": lambda w, n, t: w.mine.note(w.thing("loop", n), "event", tone=f"t{n}"),
    "run": lambda w, n, t: w.mine.queue(w.some("loop", n), operation=t[:90] or "run", priority=1 + n, payload={"t": t}),
    "run take": lambda w, n, t: w.mine.take(w.thing("run", n)),
    "run finish": lambda w, n, t: w.mine.finish(w.thing("run", n), result={"n": n}),
    "run fail": lambda w, n, t: w.mine.fail(w.thing("run", n), error=t),
    "change": lambda w, n, t: w.mine.transform(
        w.thing("loop", n), t[:90], before={"n": n}, after=[t, n], reason=t or None,
        entity_type=("loop", "agent", "guild", "cluster")[n % 4],
    ),
    "memory": lambda w, n, t: w.agent.remember(
        t, type=f"type {n}", significance=n / 10, tags=[t, "x"] if n % 2 else None,
        metadata={"n": n} if n % 3 else None,
        namespace=("", "work.x", "agents.agent_001", "agents.../x", "archive.chatlogs")[n % 5],
    ),
    "reflection": lambda w, n, t: w.agent.reflect(t, t[::-1]),
    "shift": lambda w, n, t: w.agent.shift_tone(t, from_tone=f"a{n}"),
}  # fmt: skip
texts = st.text(max_size=60) | st.sampled_from(['"quoted"\n', "{}", "[]", "0.5", "true", "Ünï\u2028\x7f", "2024-01-01"])
acts = st.lists(st.tuples(st.sampled_from([*ACTS, "loop", "loop", "story"]), st.integers(0, 8), texts), max_size=25)


def rows_of(agent: Agent, former: bool) -> dict[str, list[str]]:
    """The rows in the folders' words: what is named by its id, by what it was called first."""
    called: dict[bytes, str] = {}
    for table in ("users", "loops", "clusters", "mythologies", "prophecies"):
        for row in agent.table(table).every({}):
            key = row[KEYS.get(table, "id")]
            called[key] = str(row["former_id"]) if former else entity_text(key)

    def said(value: Any) -> Any:
        if isinstance(value, bytes):
            return called.get(value, value.hex())
        if isinstance(value, list | set | tuple):
            return sorted((said(one) for one in value), key=repr)
        if isinstance(value, str) and former:
            return next((name for key, name in called.items() if entity_text(key) == value), value)
        return value

    found = {}
    for table, columns in COLUMNS.items():
        rows = [*agent.table(table).every({})]
        found[table] = sorted(
            repr([row[name] if name in PLAIN else said(row[name]) for name in columns.split()]) for row in rows
        )
    return found


_numbers = count()


def there_and_back(todo: list[tuple[str, int, str]]) -> tuple[dict[str, list[str]], dict[str, list[str]], Any]:
    folder = own_folder("round") / str(next(_numbers))
    with Agent.create("ada", home=folder / "one", domains=[LOOPS], clock=ManualClock(1_800_000_000_000)) as ada:
        clock = ada.clock
        assert isinstance(clock, ManualClock)
        world = World(ada, clock)
        for act in todo:
            world.do(*act)
        Export(ada, ada.replica.registry, ada.name, folder / "out").write()
        first = rows_of(ada, former=False)
    with Agent.create("bob", home=folder / "two", domains=[LOOPS], clock=ManualClock(1_900_000_000_000)) as bob:
        report = Migration(bob, bob.replica.file, folder / "out").run()
        second = rows_of(bob, former=True)
        again = Migration(bob, bob.replica.file, folder / "out").run()
        assert (again.total("added"), again.total("changed"), again.total("kept")) == (0, 0, 0)
    return first, second, report


@settings(max_examples=20, deadline=None)
@given(acts)
def test_what_goes_out_comes_back_the_same(todo: list[tuple[str, int, str]]) -> None:
    first, second, _ = there_and_back(todo)
    for table in COLUMNS:
        assert second[table] == first[table], table


def test_each_table_makes_the_round() -> None:
    """That the acts above make rows of every table, so that the property is about something."""
    todo = [
        (verb, n, f"text {n}") for verb in ("guild", "user", "loop", "story", "cluster", "prophecy") for n in (1, 2, 4)
    ]
    todo += [(verb, n, f"text {n} {verb}") for verb in ACTS for n in (1, 2, 3)]
    first, second, report = there_and_back(todo)
    assert [table for table, rows in first.items() if not rows] == []
    assert second == first
    skipped = [one.path for one in report.files if one.skipped]
    assert skipped == []


def test_every_folder_of_the_designs_is_written(tmp_path: Path) -> None:
    todo = [(verb, n, f"text {n} {verb}") for verb in ("guild", *ACTS) for n in (1, 2, 3, 4)]
    with Agent.create("ada", domains=[LOOPS], clock=ManualClock(1_800_000_000_000)) as ada:
        clock = ada.clock
        assert isinstance(clock, ManualClock)
        world = World(ada, clock)
        for act in todo:
            world.do(*act)
        world.mine.tell("of it", "it lives", cluster=world.mine.form("alive", []).entity)
        Export(ada, ada.replica.registry, ada.name, tmp_path / "out").write()
    names = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    for name in (
        "runtime/loop_state.json", "runtime/drift_metrics.json", "runtime/execution_queue.json",
        "agents/ada/memory.sqlite", "agents/agent_001/memory.sqlite", "agents/ada/state.json",
        "agents/ada/reflections/000001.json", "consensus/blessed_loops.json", "consensus/voting_active.json",
        "consensus/guild_consensus.json", "ledger/prophecies.json", "ledger/blessings.json",
        "ledger/transformations.json", "archive/chatlogs/antiphon.jsonl", "clusters/metrics.json",
    ):  # fmt: skip
        assert name in names
    for folder in ("archive/mythology/", "archive/dissolved_clusters/", "clusters/active/", "clusters/mythology/"):
        assert any(name.startswith(folder) for name in names), folder
    assert json.loads((tmp_path / "out/runtime/loop_state.json").read_text())["loops"]
