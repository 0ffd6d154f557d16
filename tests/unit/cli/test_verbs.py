"""Every verb in process: exit codes, shapes of JSON, one line for every error, nothing dangerous on a screen."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from antiphon import Agent, verify_proof
from antiphon.cli import main
from antiphon.cli.root import code_of
from antiphon.home import Home
from antiphon.model import errors
from antiphon.model.event import Draft
from antiphon.replica.commit import Batch

Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    """Calls the command line; checks that nothing but an exit ended it and that errors are one line each."""

    def call(*args: str, code: int = 0, stdin: str | bytes | None = None, env: dict[str, str] | None = None) -> Result:
        result = CliRunner().invoke(main, args, input=stdin, env=env)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert result.exit_code == code, result.output
        if code > 1:
            assert result.stderr.startswith('{"error":' if "--json" in args else "antiphon: ")
            assert "Traceback" not in result.output
        return result

    return call


@pytest.fixture
def ada(run: Run) -> str:
    run("init", "ada")
    return run("remember", "Grace prefers tea over coffee", "--user", "Grace", "--tag", "drinks").stdout.strip()


def said(result: Result) -> Any:
    return json.loads(result.stdout)


def home() -> Path:
    return Path(os.environ["ANTIPHON_HOME"])


def test_init_says_who_where_and_what_to_keep(run: Run) -> None:
    made = said(run("init", "ada", "--json"))
    assert Path(made["file"]) == home() / "agents" / "ada.antiphon"
    assert Path(made["recovery_key"]).exists()
    assert made["id"] != made["principal"]
    assert made["warning"] is None
    assert "recovery-key.txt" in run("init", "bob").stderr
    assert said(run("init", "carl", "--json"))["principal"] == made["principal"], "one home, one principal"


@pytest.mark.parametrize(
    ("args", "code", "error"),
    [
        (["init", "ada"], 2, "Conflict"),
        (["init", "../ada"], 2, "InvalidInput"),
        (["-a", "nobody", "recall", "x"], 2, "NotFound"),
        (["recall"], 2, "Usage"),
        (["recall", "?!"], 2, "InvalidInput"),
        (["recall", "tea", "--limit", "0"], 2, "Usage"),
        (["recall", "tea", "--since", "soon"], 2, "InvalidInput"),
        (["frobnicate"], 2, "Usage"),
        (["show", "zzz"], 2, "InvalidInput"),
        (["show", "999"], 1, "NotFound"),
        (["history", "999"], 1, "NotFound"),
        *(([verb, "9" * 5_000], 2, "InvalidInput") for verb in ("show", "history", "prove")),
        (["forget", "9" * 5_000, "--yes"], 2, "InvalidInput"),
        (["forget", "--older-than", "9" * 400 + "y", "--yes"], 2, "InvalidInput"),
        (["recall", "tea", "--since", "9" * 400 + "y"], 2, "InvalidInput"),
        (["compress", "--older-than", "9" * 400 + "y"], 2, "InvalidInput"),
        (["log", "--limit", "9" * 30], 2, "Usage"),
        (["log", "--after", "9" * 30], 2, "Usage"),
        (["remember", ""], 2, "InvalidInput"),
        (["remember", " \n\t\u3000"], 2, "InvalidInput"),
        (["remember", "x" * 300_000], 2, "LimitExceeded"),
        (["remember", "bad \ud800"], 2, "InvalidInput"),
        (["remember", "x", "--significance", "2"], 2, "Usage"),
        (["prove", "999"], 1, "NotFound"),
        (["verify", "/nowhere"], 2, "Usage"),
        (["verify", "--principal", "zzz"], 2, "InvalidInput"),
        (["forget"], 2, "Usage"),
        (["forget", "1", "--person", "Grace"], 2, "Usage"),
        (["forget", "1"], 2, "InvalidInput"),
        (["forget", "999", "--yes"], 1, "NotFound"),
        (["forget", "--older-than", "soon", "--yes"], 2, "InvalidInput"),
        (["forget", "--person", "Nobody", "--yes"], 1, "NotFound"),
        (["import", "/nowhere"], 2, "Usage"),
        (["export", "/nowhere/x"], 3, "Unavailable"),
        (["export", "x.archive", "--good"], 2, "InvalidInput"),
    ],
)
def test_errors_have_a_code_a_line_and_json(run: Run, ada: str, args: list[str], code: int, error: str) -> None:
    result = run(*args, code=code)
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1
    plain = run(*args, "--json", code=code)
    assert plain.stdout == ""
    (line,) = plain.stderr.splitlines()
    told = json.loads(line)
    assert (told["error"], told["exit"]) == (error, code)
    assert f"antiphon: {told['message']}" == result.stderr.strip()


def test_without_home_or_choice_it_says_what_to_do(run: Run) -> None:
    assert "antiphon init NAME" in run("recall", "x", code=2).stderr
    run("init", "ada")
    run("init", "bob")
    assert "ada, bob" in run("stats", code=2).stderr
    run("stats", env={"ANTIPHON_AGENT": "bob"})
    assert said(run("-a", "ada", "stats", "--json"))["agent"] == "ada"
    run("--home", str(home() / "none"), "-a", "ada", "stats", code=2)


def test_recall_says_what_scripts_need(run: Run, ada: str) -> None:
    (hit,) = said(run("recall", "what does", "Grace drink?", "--json"))
    assert hit["event"] == ada
    assert {"event", "author", "time", "text", "score", "entity"} <= hit.keys()
    assert (hit["author"], hit["text"]) == ("ada", "Grace prefers tea over coffee")
    assert run("--json", "recall", "tea").stdout == run("recall", "tea", "--json").stdout
    score, _, author, event, text = run("recall", "tea").stdout.rstrip("\n").split("\t")
    assert (author, event, text) == ("ada", ada, hit["text"])
    assert 0 < float(score) <= 1
    assert run("recall", "zebra", code=1).stdout == ""
    assert said(run("recall", "zebra", "--json", code=1)) == []
    for one in (["--user", "Grace"], ["--since", "1d"], ["--kind", "memories"], ["--until", "2999-01-01"]):
        assert len(said(run("recall", "tea", *one, "--json"))) == 1
    for one in (["--user", "Bob"], ["--until", "1d"], ["--namespace", "work"], ["--kind", "reflections"]):
        assert said(run("recall", "tea", *one, "--json", code=1)) == []


def test_remember_takes_its_options_and_standard_input(run: Run, ada: str) -> None:
    old = said(run("recall", "tea", "--json"))[0]["entity"]
    done = said(
        run(
            "remember", "-", "--supersedes", old, "--significance", "0.9", "--namespace", "home", "--type", "fact",
            "--occurred", "2025-03-01", "--expires", "30d", "--json", stdin="Grace prefers coffee now\n",
        )
    )  # fmt: skip
    shown = said(run("show", done["event"], "--json"))
    assert shown["body"]["text"] == "Grace prefers coffee now"
    assert shown["occurred"] == "2025-03-01T00:00:00Z"
    assert shown["body"]["type"] == "fact"
    assert shown["entity"] == done["entity"]
    best = said(run("recall", "what does Grace prefer", "--json"))
    assert [hit["text"] for hit in said(run("recall", "coffee", "--below", "home", "--json"))] == [best[0]["text"]]
    assert [hit["event"] for hit in best] == [done["event"], ada], "a correction ranks above what it corrects"
    run("remember", stdin=b"\xff", code=2)
    run("remember", "words", "without", "quotes")
    assert said(run("recall", "quotes", "--json"))[0]["text"] == "words without quotes"


def test_show_history_and_log(run: Run, ada: str) -> None:
    shown = said(run("show", "1", "--json"))
    assert shown["event"] == ada
    assert (shown["seq"], shown["size"], shown["about_names"]) == (1, 2, ["Grace"])
    assert "about\tGrace" in run("show", ada).stdout
    assert [event["event"] for event in said(run("history", shown["entity"], "--json"))] == [ada]
    assert run("history", "1").stdout.startswith(ada)
    assert said(run("history", "00000000-0000-7000-8000-000000000000", "--json", code=1)) == []
    for number in range(5):
        run("remember", f"number {number}")
    everything = said(run("log", "--json"))
    assert [event["event"].rpartition("/")[2] for event in everything] == [str(seq) for seq in range(7)]
    assert len(run("log").stdout.splitlines()) == 7
    assert [e["event"].rpartition("/")[2] for e in said(run("log", "--limit", "2", "--json"))] == ["5", "6"]
    assert [e["event"].rpartition("/")[2] for e in said(run("log", "--after", "1", "-n", "2", "--json"))] == ["2", "3"]
    assert [e["kind"] for e in said(run("log", "--kind", "person", "--json"))] == ["person.named"]
    assert said(run("log", "--kind", "nothing", "--json")) == []


def test_a_proof_is_written_and_verified_from_the_file_alone(run: Run, ada: str, tmp_path: Path) -> None:
    file = tmp_path / "tea.proof"
    principal = said(run("prove", ada, "-o", str(file), "--json"))["principal"]
    assert verify_proof(file.read_bytes()).seq == 1
    assert run("prove", "1").stdout.encode() == file.read_bytes()
    nowhere = {"ANTIPHON_HOME": str(tmp_path / "none")}
    checked = said(run("verify", str(file), "--principal", principal, "--json", env=nowhere))
    assert checked["ok"] is True
    assert (checked["event"], checked["size"], checked["first_bad"]) == (ada, 2, None)
    assert checked["body"]["text"] == "Grace prefers tea over coffee"
    other = principal[:-1] + ("a" if principal[-1] != "a" else "q")
    run("verify", str(file), "--principal", other, code=1)
    changed = json.loads(file.read_bytes())
    changed["seq"] = 0
    file.write_text(json.dumps(changed))
    refused = said(run("verify", str(file), "--json", code=1))
    assert (refused["ok"], refused["size"], refused["root"], refused["first_bad"]) == (False, None, None, None)
    file.write_text("no proof at all")
    run("verify", str(file), code=1)


def test_the_whole_log_verifies_and_a_checkpoint_finds_a_rollback(run: Run, ada: str, tmp_path: Path) -> None:
    checked = said(run("verify", "--json"))
    assert (checked["ok"], checked["size"], checked["first_bad"]) == (True, 2, None)
    assert len(checked["root"]) == 64
    note = tmp_path / "c.note"
    before = tmp_path / "before"
    shutil.copytree(home(), before)
    run("remember", "something later")
    run("checkpoint", "-o", str(note))
    assert run("checkpoint").stdout == note.read_text()
    assert said(run("verify", "--since", str(note), "--json"))["size"] == 3
    shutil.rmtree(home())
    before.rename(home())
    rolled = said(run("verify", "--since", str(note), "--json", code=1))
    assert (rolled["ok"], rolled["size"]) == (False, 2)
    assert "shorter" in rolled["reason"]
    note.write_text("no note")
    run("verify", "--since", str(note), code=3)


def test_damage_is_located_and_what_is_good_is_saved(run: Run, tmp_path: Path) -> None:
    run("init", "ada")
    many = tmp_path / "many.jsonl"
    many.write_text("".join(json.dumps({"text": f"memory {number}"}) + "\n" for number in range(3_000)))
    run("import", str(many))
    place = Home.open()
    replica, _ = place.open_agent("ada")
    with replica.transaction():
        (no,) = {head.no for head in replica.heads() if head.size == 3_000}
        where = (no << 40) | 1_024
        raw = bytearray(replica.file.writer.execute("SELECT columns FROM blocks WHERE place=?", (where,)).get)
        raw[len(raw) // 2] ^= 1
        replica.file.writer.execute("UPDATE blocks SET columns=? WHERE place=?", (bytes(raw), where))
    replica.close()
    checked = said(run("verify", "--json", code=1))
    assert checked["first_bad"] == {"block": 1, "first": 1_024, "last": 2_047}
    assert "events 1,024 to 2,047" in run("verify", code=1).stdout
    assert any(f["state"] == "wrong" and f["what"] == "log" for f in said(run("doctor", "--json", code=1))["findings"])
    saved = said(run("export", str(tmp_path / "good.jsonl"), "--good", "--json"))
    assert saved["events"] == 3_000 - 1_024, "what comes behind the damage is saved too"
    assert [(item["first"], item["last"]) for item in saved["damage"]] == [(1_024, 2_047)]
    kept = [json.loads(line)["event"].rpartition("/")[2] for line in (tmp_path / "good.jsonl").read_text().splitlines()]
    assert kept == [str(seq) for seq in range(3_000) if not 1_024 <= seq < 2_048]


def test_half_an_export_is_none(run: Run, ada: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Agent, path: Path, **_: object) -> int:
        path.write_text("half")
        raise errors.DiskFull("no room left")

    monkeypatch.setattr(Agent, "export", full)
    run("export", str(tmp_path / "all.jsonl"), code=3)
    assert not (tmp_path / "all.jsonl").exists()


def test_a_file_of_garbage_does_not_verify(run: Run, ada: str) -> None:
    (home() / "agents" / "ada.antiphon").write_bytes(b"x" * 8_192)
    checked = said(run("verify", "--json", code=1))
    assert (checked["ok"], checked["size"], checked["root"], checked["first_bad"]) == (False, None, None, None)
    run("doctor", code=1)


def test_the_wrong_key_is_wrong_use(run: Run, ada: str) -> None:
    (home() / "key").write_text("00" * 32)
    for verb in (["recall", "tea"], ["verify"], ["doctor"]):
        run(*verb, code=2)


def test_forget_says_place_by_place(run: Run, ada: str) -> None:
    run("remember", "Grace has a cat", "--user", "Grace")
    done = said(run("forget", ada, "--yes", "--json"))
    assert done["events"] == [ada]
    assert done["complete"] is True
    assert {place["state"] for place in done["places"]} == {"done", "held"}
    run("show", ada, code=1)
    run("recall", "coffee", code=1)
    assert run("forget", "--person", "Grace", "--yes").stdout.splitlines()[:3] == [
        "forgotten\t2", "derived\t0", "done\tlog\t2 events in 1 log: bodies, headers, blinds and salts destroyed",
    ]  # fmt: skip
    assert said(run("verify", "--json"))["gone"] == 3
    run("remember", "old", "--occurred", "2001-01-01")
    assert len(said(run("forget", "--older-than", "10y", "--yes", "--json"))["events"]) == 1
    entity = said(run("remember", "a thing", "--json"))["entity"]
    assert len(said(run("forget", "--entity", entity, "--yes", "--json"))["events"]) == 1


def test_requests_are_listed_and_answered(run: Run, ada: str) -> None:
    assert said(run("forget", "--requests", "--json")) == []
    with Agent.open("ada") as agent:
        agent.request_forget(ada)
    (asked,) = said(run("forget", "--requests", "--json"))
    assert asked["event"] == ada
    assert "Grace prefers tea" in run("forget", "--requests").stdout
    run("show", ada)
    assert said(run("forget", "--requests", "--yes", "--json"))["events"] == [ada]
    assert said(run("forget", "--requests", "--json")) == []


def test_exports_are_whole_and_archives_verify_and_open_elsewhere(run: Run, ada: str, tmp_path: Path) -> None:
    lines, archive = tmp_path / "a.jsonl", tmp_path / "a.archive"
    assert said(run("export", str(lines), "--json"))["events"] == 2
    assert [json.loads(line)["event"] for line in lines.read_text().splitlines()][1] == ada
    assert run("export", "-").stdout == lines.read_text()
    assert lines.stat().st_mode & 0o077 == 0
    run("export", str(lines), code=2)
    run("export", str(archive))
    root, principal = said(run("verify", "--json"))["root"], said(run("stats", "--json"))["principal"]
    checked = said(run("verify", str(archive), "--principal", principal, "--json"))
    assert (checked["ok"], checked["root"], len(checked["logs"])) == (True, root, 2)
    run("--home", str(tmp_path / "h2"), "init", "bob")
    taken = said(run("--home", str(tmp_path / "h2"), "import", str(archive), "--json"))
    assert len(taken["files"][0]["logs"]) == 2
    assert said(run("--home", str(tmp_path / "h2"), "show", ada, "--json"))["body"]["text"].startswith("Grace")
    stranger = said(run("--home", str(tmp_path / "h2"), "stats", "--json"))["principal"]
    assert said(run("verify", str(archive), "--principal", stranger, "--json", code=1))["ok"] is False
    raw = bytearray(archive.read_bytes())
    raw[len(raw) // 2] ^= 1
    archive.write_bytes(raw)
    run("verify", str(archive), code=1)


def test_compress_stats_and_doctor(run: Run, ada: str) -> None:
    for number in range(3):
        run("remember", f"small talk {number}", "--significance", "0.1", "--occurred", "2020-01-01")
    assert len(said(run("compress", "--json"))) == 1
    assert said(run("compress", "--json")) == []
    found = said(run("stats", "--json"))
    assert found["events"] == 6
    assert found["tables"]["memories"] == 5
    healthy = said(run("doctor", "--json"))
    assert healthy["ok"] is True
    assert all(finding["state"] != "wrong" for finding in healthy["findings"])
    assert {f["what"] for f in healthy["findings"]} >= {"pages", "log", "rows", "mark", "instance"}
    (home() / "agents" / "ada.antiphon").chmod(0o644)
    assert "chmod 600" in run("doctor", code=1).stdout


@pytest.mark.parametrize(
    "body",
    [b"\x91" * 900 + b"\xc0", b"\x91" * 200_000 + b"\xc0", b"\xd4\x05\x01", b"\xa1\xff", b"\x81\x91\x91\x80\xc0"],
)
def test_a_body_made_to_trip_us_is_shown_proved_and_exported(run: Run, ada: str, body: bytes, tmp_path: Path) -> None:
    with Agent.open("ada") as agent:
        agent.replica.commit(Batch(agent.log_id, [Draft("x.y", body)], [None]))
    last = said(run("log", "--json"))[-1]
    shown = "01" if body[0] == 0xD4 else body.hex()
    assert (last["kind"], last["body"]) == ("x.y", shown)
    seq = last["event"].rpartition("/")[2]
    assert said(run("show", seq, "--json"))["body"] == shown
    assert shown in run("show", seq).stdout
    assert len(run("log").stdout.splitlines()) == int(seq) + 1
    assert json.loads(run("export", "-").stdout.splitlines()[-1])["body"] == shown
    proof = tmp_path / "x.proof"
    run("prove", seq, "-o", str(proof))
    assert said(run("verify", str(proof), "--json"))["body"] == shown
    run("verify", str(proof))


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_plain_files_are_for_their_owner_alone_from_the_start(
    run: Run, ada: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: dict[str, int] = {}
    opened = os.open

    def watched(path: Any, flags: int, mode: int = 0o777, **more: Any) -> int:
        handle = opened(path, flags, mode, **more)
        if flags & os.O_CREAT:
            made[Path(path).name] = os.fstat(handle).st_mode & 0o777
        return handle

    monkeypatch.setattr(os, "open", watched)
    before = os.umask(0)
    try:
        run("export", str(tmp_path / "a.jsonl"))
        run("export", str(tmp_path / "a.archive"))
        run("prove", "0", "-o", str(tmp_path / "a.proof"))
        run("checkpoint", "-o", str(tmp_path / "a.checkpoint"))
        with Agent.open("ada") as agent:
            agent.export(tmp_path / "b.jsonl")
            agent.export(tmp_path / "b.archive")
    finally:
        os.umask(before)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 6
    assert {path.name: path.stat().st_mode & 0o777 for path in files} == {path.name: 0o600 for path in files}
    assert len(made) >= 6
    assert set(made.values()) == {0o600}
    run("export", str(tmp_path / "a.jsonl"), code=2)
    (tmp_path / "a.proof").chmod(0o644)
    run("prove", "1", "-o", str(tmp_path / "a.proof"))
    assert (tmp_path / "a.proof").stat().st_mode & 0o777 == 0o600, "it takes the old one's place"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("UPDATE memories SET type='evil' WHERE n=2", "differs from what was recorded: type"),
        ("UPDATE memories SET significance=0 WHERE n=2", "differs from what was recorded: significance"),
        ("UPDATE memories SET superseded_by=NULL WHERE n=1", "differs from what was recorded: superseded_by"),
        ("UPDATE memories SET seq=0 WHERE n=2", "the event that it speaks by"),
        ("DELETE FROM mentions WHERE substr(what, 1, 1)=x'01'", "an entity is not noted"),
        ("DELETE FROM mentions WHERE substr(what, 1, 1)=x'02'", "a person is not noted"),
        ("DELETE FROM mentions WHERE substr(what, 1, 1)=x'03'", "a source is not noted"),
        ("DELETE FROM mentions WHERE substr(what, 1, 1)=x'04'", "asks for something to be forgotten"),
    ],
)
def test_doctor_notices_what_was_altered_beside_the_log(run: Run, ada: str, wrong: str, told: str) -> None:
    with Agent.open("ada") as agent:
        made = agent.recall("tea")[0]
        agent.remember("Grace prefers coffee", supersedes=made.entity, sources=[ada])
        agent.request_forget(ada)
        rows = said(run("doctor", "--json"))["findings"]
        assert next(row["detail"] for row in rows if row["what"] == "views").startswith("3 rows")
        with agent.replica.transaction():
            agent.replica.file.writer.execute(wrong)
    found = said(run("doctor", "--json", code=1))["findings"]
    assert ("views", "wrong", True) in [(row["what"], row["state"], told in row["detail"]) for row in found]


def test_doctor_leaves_out_the_folding_when_told_to_be_quick(run: Run, ada: str) -> None:
    assert "not folded again" not in run("doctor", "--json").stdout
    found = said(run("doctor", "--quick", "--json"))["findings"]
    assert ("note", True) in [(row["state"], "not folded again" in row["detail"]) for row in found]


def test_a_copied_home_reads_the_old_log_and_writes_its_own(run: Run, ada: str, tmp_path: Path) -> None:
    shutil.copytree(home(), tmp_path / "copy")
    copy = ["--home", str(tmp_path / "copy")]
    assert run(*copy, "log").stdout.splitlines()[1].startswith(ada), "reading begins no log"
    assert said(run(*copy, "show", "1", "--json"))["event"] == ada
    assert said(run(*copy, "verify", "--json"))["size"] == 2
    new = run(*copy, "remember", "written in the copy").stdout.strip()
    assert new.partition("/")[0] != ada.partition("/")[0]
    assert len(said(run(*copy, "verify", "--json"))["logs"]) == 2
    assert any(
        f["state"] == "note" and f["what"] == "instance" for f in said(run(*copy, "doctor", "--json"))["findings"]
    )
    run("recall", "copy", code=1)


def test_a_passphrase_opens_a_home(run: Run) -> None:
    known = {"ANTIPHON_PASSPHRASE": "open sesame"}
    run("init", "ada", env=known)
    assert not (home() / "key").exists()
    run("remember", "x", env=known)
    run("recall", "x", code=2)
    run("recall", "x", code=2, env={"ANTIPHON_PASSPHRASE": "open barley"})
    run("recall", "x", env=known)
    run("init", "--passphrase", "bob", "--home", "elsewhere", code=2)


def test_what_was_remembered_cannot_move_the_cursor(run: Run) -> None:
    run("init", "ada")
    run("remember", "red \x1b[31m and \x9b and \u202e back\x07", "--user", "G\x1b[2J")
    for verb in (["recall", "red"], ["log"], ["show", "1"], ["history", "1"]):
        shown = run(*verb).stdout
        assert "red \\x1b[31m" in shown
        assert not set("\x1b\x9b\u202e\x07") & set(shown)
    assert said(run("recall", "red", "--json"))[0]["text"] == "red \x1b[31m and \x9b and \u202e back\x07"


def test_extras_that_are_missing_are_named(run: Run, ada: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.cli.upkeep.importlib.util.find_spec", lambda name: None)
    assert "pip install 'antiphon[mcp]'" in run("mcp", code=3).stderr
    assert "pip install 'antiphon[demo]'" in run("demo", code=3).stderr


def test_a_fleet_file_is_opened_by_the_name_of_an_agent(run: Run) -> None:
    from antiphon import Fleet

    with Fleet.create(home()) as fleet:
        fleet.add_all(["ada", "bob"])
        fleet.agent("bob").remember("bob knows about llamas")
    assert said(run("-a", "bob", "recall", "llamas", "--json"))[0]["author"] == "bob"
    run("-a", "ada", "recall", "llamas", code=1)
    run("-a", "carl", "recall", "llamas", code=2)


def leaves(verbs: Mapping[str, click.Command], *before: str) -> Iterator[str]:
    """Every verb, those of groups with the group before it."""
    for name, verb in verbs.items():
        if isinstance(verb, click.Group):
            yield from leaves(verb.commands, *before, name)
        else:
            yield " ".join((*before, name))


@pytest.mark.parametrize("name", sorted(leaves(main.commands)))
def test_every_verb_has_help_with_an_example_and_takes_json(run: Run, name: str) -> None:
    shown = run(*name.split(), "--help").stdout
    assert f"antiphon {name}" in shown.replace("antiphon -a ada mcp", "antiphon mcp").split("Options:")[0]
    assert "--json" in shown
    assert f"\n  {name.split(maxsplit=1)[0]} " in run("--help").stdout


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.Busy(""), 3), (errors.DiskFull(""), 3), (errors.ReadOnly(""), 3), (errors.Corrupt(""), 3),
        (errors.UnsupportedFormat(""), 3), (errors.Rejected(""), 3), (errors.Conflict(""), 3),
        (errors.WrongKey(""), 2), (errors.InvalidInput(""), 2),
        (errors.LimitExceeded("L", got=2, allowed=1, what="x"), 2),
        (errors.NotFound(""), 1), (PermissionError(13, "no"), 3), (KeyError("ours"), 3),
    ],
)  # fmt: skip
def test_each_kind_of_error_has_its_code(error: Exception, code: int) -> None:
    assert code_of(error) == code


def test_our_own_mistakes_are_one_line_too(run: Run, ada: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("oops")

    monkeypatch.setattr(Agent, "recall", broken)
    assert "ANTIPHON_DEBUG=1" in run("recall", "tea", code=3).stderr
    shown = CliRunner().invoke(main, ["recall", "tea"], env={"ANTIPHON_DEBUG": "1"})
    assert "Traceback" in shown.stderr


def test_a_proof_file_is_named_when_its_event_is_forgotten(run: Run, ada: str, tmp_path: Path) -> None:
    other = run("remember", "something else").stdout.strip()
    place = tmp_path / "tea.proof"
    assert said(run("prove", ada, "-o", str(place), "--json"))["noted"]
    run("prove", ada)
    places = said(run("forget", other, "--yes", "--json"))["places"]
    assert [item for item in places if item["state"] == "cannot"] == []
    done = said(run("forget", ada, "--yes", "--json"))
    assert not done["complete"]
    named = {(item["name"], item["detail"].partition(":")[0]) for item in done["places"] if item["state"] == "cannot"}
    assert named == {("proof", str(place)), ("proof", "standard output")}


def test_what_stays_of_a_memory_is_shown_with_what_to_do(run: Run, ada: str) -> None:
    entity = said(run("show", ada, "--json"))["entity"]
    with Agent.open("ada") as agent:
        update = agent.update(entity, text="Grace prefers coffee").event
    lines = run("forget", update, "--yes").stdout.splitlines()
    kept = next(line for line in lines if line.startswith("kept\t"))
    assert kept.split("\t")[1] == f"other events of {entity}"
    assert "--entity" in kept
    assert "over coffee" in run("recall", "tea").stdout


def test_copies_of_a_file_that_can_only_be_read_are_not_noted_and_it_is_said(
    run: Run, ada: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Home.open_agent

    def only_read(self: Home, name: str, *, read_only: bool = False) -> Any:
        if not read_only:
            raise errors.ReadOnly("cannot be written")
        return opened(self, name, read_only=True)

    assert "will not name" not in run("export", str(tmp_path / "noted.jsonl")).stderr
    with monkeypatch.context() as patch:
        patch.setattr(Home, "open_agent", only_read)
        assert "will not name this copy" in run("export", str(tmp_path / "a.jsonl")).stderr
        assert not said(run("export", str(tmp_path / "b.jsonl"), "--json"))["noted"]
        assert "will not name this copy" in run("export", "-").stderr
        assert "will not name this copy" in run("prove", ada, "-o", str(tmp_path / "a.proof")).stderr
    places = said(run("forget", ada, "--yes", "--json"))["places"]
    named = [item["detail"].partition(":")[0] for item in places if item["state"] == "cannot"]
    assert named == [str(tmp_path / "noted.jsonl")]
