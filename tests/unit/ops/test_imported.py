"""The set of what was imported: exact within a file, useless to whoever holds it without its key, empty of content."""

from pathlib import Path

from antiphon import Agent
from antiphon.ops.imported import Imported
from antiphon.ops.importing import Record


def record(line: int, *, name: str | None = None, digest: bytes = b"d") -> Record:
    return Record(line, 0, name, digest, "text")


def test_a_record_is_known_by_source_and_id_else_by_content_and_ordinal() -> None:
    with Agent.create("ada") as agent, agent.replica.transaction():
        known = Imported(agent.replica.file)
        known.open()
        by_id = known.name_of("s", record(1, name="a"), 0)
        assert by_id == known.name_of("s", record(9, name="a", digest=b"other"), 0), "an id alone names it"
        assert by_id != known.name_of("t", record(1, name="a"), 0), "another source is another record"
        assert by_id != known.name_of("s", record(1), 0)
        first, second = (known.name_of("s", record(1), ordinal) for ordinal in (0, 1))
        assert first != second, "the same line twice is two records"
        assert first == known.name_of("s", record(5), 0), "wherever it stands"
        assert known.new([by_id, first]) == {by_id, first}
        known.add([by_id, by_id])
        assert known.new([by_id, first]) == {first}


def test_names_differ_from_file_to_file_so_a_guess_cannot_be_tested(tmp_path: Path) -> None:
    names = []
    for home in ("one", "two"):
        with Agent.create("ada", home=tmp_path / home) as agent, agent.replica.transaction():
            known = Imported(agent.replica.file)
            known.open()
            names.append(known.name_of("s", record(1, name="a"), 0))
    assert names[0] != names[1]


def test_more_names_than_one_question_holds() -> None:
    with Agent.create("ada") as agent, agent.replica.transaction():
        known = Imported(agent.replica.file)
        known.open()
        names = [known.name_of("s", record(1), ordinal) for ordinal in range(2_500)]
        known.add(names[:2_000])
        assert known.new(names) == set(names[2_000:])
