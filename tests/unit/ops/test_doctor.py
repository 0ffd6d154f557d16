"""Each thing that can be wrong is found, with advice; a healthy file has nothing wrong."""

from pathlib import Path

import pytest

from antiphon import Agent
from antiphon.engines.sqlite import file as sqlite_file
from antiphon.log.store import LogRole
from antiphon.ops import doctor, refold
from antiphon.ops.doctor import Finding, State
from antiphon.ops.refold import check_views


def rows_of(agent: Agent) -> list[Finding]:
    replica = agent.replica
    return list(
        check_views(replica.registry, replica.tables, replica.mentions, replica.reader, replica.heads(), replica.views)
    )


def text_of(agent: Agent) -> list[Finding]:
    replica = agent.replica
    return list(doctor.check_fulltext(replica.file, replica.registry.tables.values(), replica.transaction))


@pytest.fixture
def agent() -> Agent:
    made = Agent.create("ada")
    with made.batch() as batch:
        for number in range(100):
            batch.remember(f"memory {number}", user="Grace")
    made.reflect("why?", "because")
    return made


def test_a_healthy_file_has_nothing_wrong(agent: Agent) -> None:
    findings = [doctor.check_pages(agent.replica.file), *rows_of(agent), *text_of(agent)]
    assert {finding.state for finding in findings} == {State.OK}
    assert "memories 100" in rows_of(agent)[1].detail
    agent.forget(person="Grace")
    assert {finding.state for finding in [*rows_of(agent), *text_of(agent)]} == {State.OK}
    agent.close()


def test_looking_at_the_index_changes_nothing(agent: Agent) -> None:
    with agent.batch() as batch:
        for number in range(100):
            batch.remember(f"more {number}")
    before = agent.replica.backlog()
    assert before > 0
    assert all(finding.state == State.OK for finding in text_of(agent))
    assert agent.replica.backlog() == before
    assert agent.recall("more", limit=100)
    agent.close()


def test_a_lost_row_is_noticed(agent: Agent) -> None:
    with agent.replica.transaction():
        agent.replica.file.writer.execute("DELETE FROM people")
    (finding,) = rows_of(agent)
    assert finding.state == State.WRONG
    assert "people lacks the row" in finding.detail
    agent.close()


def test_an_index_that_does_not_fit_is_noticed(agent: Agent) -> None:
    agent.recall("memory")
    with agent.replica.transaction():
        agent.replica.file.writer.execute("INSERT INTO memories_fts(memories_fts) VALUES('delete-all')")
    assert [finding.state for finding in text_of(agent) if "memories" in finding.what] == [State.WRONG]
    agent.close()


def test_damaged_pages_are_noticed(agent: Agent) -> None:
    agent.replica.tidy()
    agent.close()
    path = Path(agent.replica.file.path)
    raw = bytearray(path.read_bytes())
    raw[-2_000] ^= 1
    path.write_bytes(raw)
    with Agent.open("ada") as again:
        finding = doctor.check_pages(again.replica.file)
    assert finding.state == State.WRONG
    assert "--good" in finding.advice


def test_secrets_that_others_can_read_are_noticed(agent: Agent) -> None:
    agent.close()
    home = agent.replica.file.path.parent.parent
    assert [f.state for f in doctor.check_folder(home)] == [State.OK, State.OK, State.NOTE]
    (home / "key").chmod(0o640)
    wrong = next(finding for finding in doctor.check_folder(home) if finding.state == State.WRONG)
    assert wrong.what == "permissions"
    assert wrong.advice == f"chmod 600 {home / 'key'}"


def test_a_network_folder_is_noticed(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    agent.close()
    monkeypatch.setattr(doctor, "network_file_system", lambda folder: "nfs4")
    assert sqlite_file.network_file_system(Path("/")) is None
    first = next(doctor.check_folder(agent.replica.file.path.parent.parent))
    assert (first.state, "nfs4" in first.detail) == (State.WRONG, True)


def test_clock_and_scrub() -> None:
    assert doctor.check_clock(0, 300_000).state == State.OK
    assert "2.0 hours" in doctor.check_clock(7_200_000, 300_000).detail
    assert doctor.check_scrub(lambda: True).state == State.OK
    assert doctor.check_scrub(lambda: False).state == State.WRONG


# -- what the tables say -----------------------------------------------------------------------------------------------


def test_a_row_too_many_is_noticed(agent: Agent) -> None:
    with agent.replica.transaction():
        writer = agent.replica.file.writer
        writer.execute("CREATE TEMP TABLE other AS SELECT * FROM people")
        writer.execute("UPDATE other SET n = 99, id = randomblob(16)")
        writer.execute("INSERT INTO people SELECT * FROM other")
    assert [finding.state for finding in rows_of(agent)] == [State.OK, State.WRONG]
    assert "people has 2 rows where its events make 1" in rows_of(agent)[1].detail
    agent.close()


@pytest.fixture
def changed(agent: Agent) -> Agent:
    """Rows that several events wrote, and some that are gone."""
    made = agent.recall("memory", limit=100)
    for hit in made[:20]:
        agent.update(hit.entity, text=f"{hit.text} again")
        agent.update(hit.entity, significance=0.9)
    for hit in made[20:30]:
        agent.supersede(hit.entity, f"{hit.text} was wrong")
    agent.forget([hit.event for hit in made[30:35]])
    return agent


def test_what_is_remembered_is_bounded(changed: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """However little may be kept at a time, all is compared, in more parts."""
    whole = rows_of(changed)
    assert [finding.state for finding in whole] == [State.OK, State.OK]
    parts: list[int] = []
    fault_in = refold._Again._fault_in

    def noted(self: refold._Again, part: int, of: int) -> str | None:
        parts.append(of)
        return fault_in(self, part, of)

    monkeypatch.setattr(refold._Again, "_fault_in", noted)
    monkeypatch.setattr(refold, "CHANGED_WRITES_MAX", 20)
    assert rows_of(changed) == whole
    assert max(parts) >= 4
    with changed.replica.transaction():
        changed.replica.file.writer.execute("UPDATE memories SET significance = 0.1 WHERE significance = 0.9 AND n = 7")
        assert changed.replica.file.writer.changes() == 1
    assert "significance" in rows_of(changed)[0].detail
    changed.close()


def test_any_size_is_folded_and_progress_told(changed: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refold, "_STEP", 10)
    told: list[int] = []
    replica = changed.replica
    found = check_views(
        replica.registry,
        replica.tables,
        replica.mentions,
        replica.reader,
        replica.heads(),
        replica.views,
        progress=told.append,
    )
    assert [finding.state for finding in found] == [State.OK, State.OK]
    held = sum(1 for _ in changed.log())
    assert sum(told) == 2 * held
    assert max(told) == 10
    changed.close()


# -- the feed ----------------------------------------------------------------------------------------------------------


def feed_of(agent: Agent) -> Finding:
    replica, again = agent.replica, []
    events = sum(head.size for head in replica.heads() if head.role != LogRole.FOREIGN)
    found = doctor.check_feed(replica.file, events, lambda: again.append(1))
    if again:
        with replica.transaction():
            replica.begin_feed()
    assert bool(again) == (found.state == State.WRONG)
    return found


DAMAGE = {
    "all": "DELETE FROM outbox",
    "the newest": "DELETE FROM outbox WHERE version > (SELECT max(version) - 3 FROM outbox)",
    "some between": "DELETE FROM outbox WHERE version % 3 = 0 AND version < (SELECT max(version) FROM outbox)",
    "the newest altered": "UPDATE outbox SET entry = x'c1' WHERE version = (SELECT max(version) FROM outbox)",
    "an older one altered": "UPDATE outbox SET entry = x'93' WHERE version = (SELECT max(version) - 3 FROM outbox)",
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("again", [True, False])
def test_a_damaged_feed_is_noticed_and_begun_anew(agent: Agent, damage: str, again: bool) -> None:
    """By `doctor`; and, where the newest entry is gone, by the next write."""
    for number in range(10):
        agent.remember(f"later {number}")
    assert feed_of(agent).state == State.OK
    log, version = agent.log_id, agent.replica.state.version
    agent.close()
    with Agent.open("ada") as broken, broken.replica.transaction():
        broken.replica.file.writer.execute(DAMAGE[damage])
    with Agent.open("ada", read_only=True) as reader:
        assert len(reader.recall("later", limit=20)) == 10
    with Agent.open("ada") as broken:
        assert broken.log_id == log, "no copy"
        if again:
            found = feed_of(broken)
            assert (found.state, found.advice.startswith("nothing is lost")) == (State.WRONG, True)
        for number in range(10):
            broken.remember(f"after {number}", user="Grace")
        broken.update(broken.remember("to change").entity or "", text="was changed")
        if not again and damage in ("some between", "an older one altered"):
            assert feed_of(broken).state == State.WRONG
        assert feed_of(broken).state == State.OK
        assert broken.replica.state.version > version
        assert len(broken.recall("after", limit=20)) == 10
        assert [hit.text for hit in broken.recall("changed")] == ["was changed"]
        assert [finding.state for finding in [*rows_of(broken), *text_of(broken)]] == [State.OK] * 4
    with Agent.open("ada") as healed:
        healed.remember("once more")
        assert healed.log_id == log
        assert feed_of(healed).state == State.OK


def test_a_feed_lost_twice_goes_on_in_a_later_epoch(agent: Agent) -> None:
    epochs = []
    agent.close()
    for _ in range(3):
        with Agent.open("ada") as broken, broken.replica.transaction():
            broken.replica.file.writer.execute("DELETE FROM outbox")
        with Agent.open("ada") as healed:
            healed.remember("x")
            epochs.append(healed.replica.state.epoch)
    assert epochs == sorted(set(epochs))


def test_row_numbers_that_were_indexed_are_not_given_again(agent: Agent) -> None:
    last = agent.remember("the newest, to be forgotten")
    agent.recall("newest")
    agent.forget(last.event)
    agent.reflect("why?", "because")  # what is kept beside the feed is older than this
    agent.close()
    with Agent.open("ada") as broken, broken.replica.transaction():
        broken.replica.file.writer.execute("DELETE FROM outbox")
    with Agent.open("ada") as healed:
        healed.remember("a yawl")
        assert [hit.text for hit in healed.recall("yawl")] == ["a yawl"]
