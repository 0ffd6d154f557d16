"""Each thing that can be wrong is found, with advice; a healthy file has nothing wrong."""

from pathlib import Path

import pytest

from antiphon import Agent
from antiphon.engines.sqlite import file as sqlite_file
from antiphon.ops import doctor
from antiphon.ops.doctor import Finding, State


def rows_of(agent: Agent) -> list[Finding]:
    replica = agent.replica
    return list(doctor.check_rows(replica.registry, replica.tables, replica.reader, replica.heads()))


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
    assert "100 memories" in rows_of(agent)[0].detail
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
    assert "people has 0 rows where its events make 1" in finding.detail
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
