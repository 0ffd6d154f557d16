"""`antiphon tables`: every declaration, whole; `views`, `rejections` and `replay`: how the tables stand, and stood."""

import json
import sqlite3
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from antiphon import Agent
from antiphon.cli import main
from antiphon.domains import BUILT_IN
from antiphon.engines.sqlite.tables import ddl
from antiphon.model import limits
from antiphon.model.limits import REFOLD_BATCH_EVENTS
from antiphon.model.printed import duration, facts_of, notes_of, type_text
from antiphon.model.times import iso
from antiphon.views.domain import Registry

REGISTRY = Registry(BUILT_IN)


def call(*args: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, args)
    assert result.exit_code == code, result.output
    return result


def answer(*args: str, code: int = 0) -> Any:
    return json.loads(call(*args, "--json", code=code).stdout)


# -- declarations ----------------------------------------------------------------------------------------------------


def test_every_table_is_listed_without_a_home() -> None:
    lines = [line.split("\t") for line in call("tables").stdout.splitlines()]
    assert [line[0] for line in lines] == list(REGISTRY.tables)
    assert {line[1] for line in lines} == set(REGISTRY.domains)
    assert all(line[6] == REGISTRY.tables[line[0]].fingerprint for line in lines)


@pytest.mark.parametrize("name", REGISTRY.tables)
def test_all_of_a_declaration_is_shown(name: str) -> None:
    table = REGISTRY.tables[name]
    shown = call("tables", name).stdout
    for column in table.columns:
        (line,) = [line for line in shown.splitlines() if line.startswith(f"column\t{column.name}\t")]
        assert type_text(column) in line
        assert all(note in line for note in notes_of(table, column))
    for index in table.indexes:
        assert any(line.startswith("index\t" + ", ".join(index.columns)) for line in shown.splitlines())
    for rollup in table.rollups:
        assert f"rollup\t{rollup.name}: " in shown
    places = [what for what, _ in table.places.named()]
    assert [line.split("\t")[0] for line in shown.splitlines() if line.split("\t")[0] in places] == places


def test_json_is_the_declaration_itself() -> None:
    for told in answer("tables"):
        table = REGISTRY.tables[told["name"]]
        assert told.pop("domain") == REGISTRY.domain_of_table[table.name]
        assert told.pop("fingerprint") == table.fingerprint
        assert told == json.loads(msgspec.json.encode(table))
    assert answer("tables", "memories")["name"] == "memories"


def test_the_statements_are_those_that_make_it() -> None:
    made = sqlite3.connect(":memory:")
    printed = call("tables", "--ddl", "sqlite").stdout.split(";\n")
    assert len(printed) == len(set(printed)), "what tables share is printed once"
    for statement in printed:
        if "antiphon_held" not in statement and "_fts" not in statement:
            made.execute(statement)
    names = {name for (name,) in made.execute("SELECT name FROM sqlite_schema WHERE type='table'")}
    assert names >= set(REGISTRY.tables)
    assert answer("tables", "people", "--ddl", "sqlite") == {"people": ddl(REGISTRY.tables["people"])}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["nothing"], "no domain declares the table 'nothing'; `antiphon tables` lists all "),
        (["memorys"], "no domain declares the table 'memorys'; did you mean memories?"),
        (["memories", "--ddl", "cassandra"], "no engine here speaks cassandra yet; there are sqlite"),
    ],
)
def test_what_there_is_not_is_said(args: list[str], said: str) -> None:
    assert said in call("tables", *args, code=2).stderr


def test_lengths_of_time_are_in_their_largest_unit() -> None:
    assert [duration(ms) for ms in (1, 1_000, 60_000, 5_400_000, 3_600_000, 604_800_000)] == [
        "1 ms", "1 s", "1 min", "90 min", "1 h", "7 d",
    ]  # fmt: skip


def test_words_for_every_built_in_column_are_there() -> None:
    for table in REGISTRY.tables.values():
        assert all(text for _, text in facts_of(table))
        assert all(notes_of(table, column) for column in table.columns), table.name


# -- how they stand --------------------------------------------------------------------------------------------------


def test_views_say_version_rows_and_bytes() -> None:
    with Agent.create("ada") as ada:
        ada.remember("tea")
    memory = next(one for one in answer("views") if one["domain"] == "memory")
    assert (memory["state"], memory["behind"], memory["events"]) == ("current", 0, 1)
    (memories,) = [table for table in memory["tables"] if table["table"] == "memories"]
    assert memories["rows"] == 1
    assert memories["bytes"] >= 4_096
    assert memories["fingerprint"] == REGISTRY.tables["memories"].fingerprint
    lines = [line.split("\t") for line in call("views").stdout.splitlines()]
    assert ["memory", "", "2", "", "", "current"] in lines


def test_views_show_how_far_a_generation_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with Agent.create("ada") as ada, ada.batch() as batch:
        for at in range(3 * REFOLD_BATCH_EVENTS):
            batch.remember(f"tea {at}")
    with Agent.open("ada") as ada, ada.replica.transaction():
        ada.replica.state.folded["memory"] = ada.replica.state.folded["memory"].replace("2/", "1/", 1)
        ada.replica._save_state()
    monkeypatch.setattr(limits, "REFOLD_AT_ONCE_EVENTS_MAX", 0)
    monkeypatch.setattr(limits, "REFOLD_SLICE_MS_MAX", 0)
    monkeypatch.setattr("antiphon.replica.keep.Keeper.wake", lambda self: None)
    with Agent.open("ada") as ada:
        ada.replica.generations.step()
    memory = next(one for one in answer("views", code=1) if one["domain"] == "memory")
    assert (memory["state"], memory["behind"]) == ("building 33 %", 2 * REFOLD_BATCH_EVENTS)
    (memories,) = [table for table in memory["tables"] if table["table"] == "memories"]
    assert memories["rows"] == 3 * REFOLD_BATCH_EVENTS
    assert memories["building_bytes"] > 4_096
    assert "building 33 %" in call("views", code=1).stdout
    assert all(one["state"] == "current" for one in answer("views", "--finish"))
    assert "tea 1500" in call("recall", "1500").stdout


def test_tables_of_newer_code_are_left_to_it() -> None:
    with Agent.create("ada") as ada:
        ada.remember("tea")
        with ada.replica.transaction():
            ada.replica.state.folded["memory"] = ada.replica.state.folded["memory"].replace("2/", "9/", 1)
            ada.replica.state.folded["other"] = "1/x=1"
            ada.replica._save_state()
    states = {one["domain"]: one["state"] for one in answer("views")}
    assert states["memory"] == "left to newer code"
    assert states["other"] == "not known here"


def test_rejections_say_whose_event_and_which_rule() -> None:
    assert call("init", "ada").exit_code == 0
    assert call("rejections").stdout == "nothing was refused\n"
    with Agent.open("ada") as ada:
        note = ada.remember("tea")
        head = ada.replica.heads()[-1]
        key = ada.replica.tables.page(REGISTRY.tables["memories"], 0, 1)[0].values["id"]
        with ada.replica.transaction():
            ada.replica.rejections.put("memories", key, [(head.no, 0, "author", "only its author writes it")])
            ada.replica.rejections.put("", b"x" * 16, [(head.no, 0, "body", "line 1\nline 2")])
    found = answer("rejections")
    assert {one["rule"] for one in found} == {"author", "body"}
    (one,) = answer("rejections", "--table", "memories")
    assert (one["event"], one["row"], one["detail"]) == (note.event, note.entity, "only its author writes it")
    assert len(one["author"]) > 40
    assert len(call("rejections").stdout.splitlines()) == 2
    assert "no domain declares" in call("rejections", "--table", "nothing", code=2).stderr


# -- how they stood --------------------------------------------------------------------------------------------------


def rows_in(path: Path, sql: str) -> list[Any]:
    found = sqlite3.connect(path)
    try:
        return found.execute(sql).fetchall()
    finally:
        found.close()


def test_a_replay_has_the_rows_of_then(tmp_path: Path) -> None:
    with Agent.create("ada") as ada:
        first = ada.remember("tea", tags=["a", "b"])
        ada.remember("coffee")
        ada.remember("milk")
    path = tmp_path / "then.db"
    told = answer("replay", "--until", "1", "-o", str(path))
    assert (told["events"], told["rows"]["memories"], told["noted"]) == (2, 2, True)
    assert rows_in(path, "SELECT content, tags FROM memories ORDER BY timestamp") == [
        ("tea", '["a","b"]'),
        ("coffee", None),
    ]
    assert rows_in(path, "SELECT event FROM memories LIMIT 1") == [(first.event,)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["then.db"], "nothing else is left"
    with Agent.open("ada") as ada:
        places = ada.forget(first.event).places
    assert any(place.name == "replay" and str(path) in place.detail for place in places)
    assert "exists already" in call("replay", "--until", "1", "-o", str(path), code=3).stderr
    later = tmp_path / "later.db"
    assert answer("replay", "--until", "2", "-o", str(later))["rows"]["memories"] < 3, "forgotten since"


def test_a_replay_until_a_time_goes_by_when_events_were_recorded(tmp_path: Path) -> None:
    with Agent.create("ada") as ada:
        ada.remember("old", occurred=0)
        at = ada.replica.clock.now_ms()
        ada.replica.clock = Ahead(at + 60_000)  # type: ignore[assignment]
        ada.remember("new", occurred=0)
    for moment, count in ((at - 60_000, 0), (at + 30_000, 1), (at + 90_000, 2)):
        path = tmp_path / f"{moment}.db"
        told = answer("replay", "--until", iso(moment), "--domain", "memory", "-o", str(path))
        assert told["events"] == count
    names = {name for (name,) in rows_in(path, "SELECT name FROM sqlite_schema")}
    assert names == {"memories", "antiphon_rejections", "antiphon_replay"}


class Ahead:
    def __init__(self, now: int) -> None:
        self._now = now

    def now_ms(self) -> int:
        return self._now

    def monotonic_ms(self) -> float:
        return float(self._now)


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["--until", "77"], 1, "there is no event 77"),
        (["--until", "yesterday"], 2, "is not a time"),
        (["--until", "0", "--domain", "nothing"], 2, "there is no domain 'nothing'"),
    ],
)
def test_a_replay_of_nothing_leaves_no_file(tmp_path: Path, args: list[str], code: int, said: str) -> None:
    with Agent.create("ada") as ada:
        ada.remember("tea")
    assert said in call("replay", *args, "-o", str(tmp_path / "x.db"), code=code).stderr
    assert not list(tmp_path.iterdir())
