"""`antiphon engines` and the file that names engines: what stands there, what is asked of it, and what it says."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from antiphon import Agent, Rejected
from antiphon.cli import feeding, main
from antiphon.cli import show as out
from antiphon.cli.attached import attach
from antiphon.engines.memory import MemoryTables
from antiphon.model.errors import ReadOnly


def run(*args: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, args)
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def ada() -> Iterator[Agent]:
    with Agent.create("ada") as agent:
        agent.remember("one")
        yield agent


@pytest.fixture
def toml(own_home: Path) -> Path:
    return own_home / "home" / "antiphon.toml"


# -- variables and the file ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("ada")
def test_a_secret_with_signs_reaches_the_server_it_was_meant_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "p@ss/w0rd#1")
    monkeypatch.setattr(feeding, "PATIENCE_MS", 0)
    run("engines", "add", "store", "postgresql://fleet:${SECRET}@127.0.0.1:1/fleet")
    failed = run("--json", "engines", "feed", "store", "--once", code=1)
    assert "127.0.0.1:1" in json.loads(failed.stdout)["error"]
    assert "w0rd" not in failed.output + run("engines", "--json").output
    run("engines", "add", "spaced", "postgresql://fleet:${SPACED}@127.0.0.1:1/fleet")
    monkeypatch.setenv("SPACED", "correct horse")
    run("engines", "add", "again", "postgresql://fleet:${SPACED}@127.0.0.1:1/fleet")
    assert "127.0.0.1:1" in json.loads(run("--json", "engines", "feed", "again", "--once", code=1).stdout)["error"]


@pytest.mark.usefixtures("ada")
def test_only_the_engine_that_is_asked_for_needs_its_variable(monkeypatch: pytest.MonkeyPatch, toml: Path) -> None:
    monkeypatch.delenv("NOPE", raising=False)
    monkeypatch.setattr(feeding, "PATIENCE_MS", 0)
    toml.write_text('[engines]\nstore = "postgresql://u:${NOPE}@127.0.0.1:1/x"\ncache = "redis://127.0.0.1:1/0"\n')
    assert "127.0.0.1:1" in run("engines", "feed", "cache", "--once", code=1).stdout
    assert "--take-over takes one engine" in run("engines", "feed", "--take-over", code=2).stderr
    assert "names no engine 'nosuch'; known: store, cache" in run("engines", "feed", "nosuch", code=2).stderr
    assert "antiphon.toml, store: it asks for ${NOPE}" in run("engines", "feed", "store", code=2).stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[engine]\nstore = 'redis://h'", "nothing reads 'engine': did you mean engines?"),
        ("colour = 'red'", "nothing reads 'colour': there are cipher, trust, engines"),
        ("[engines]\nstore = 5", "[engines] holds lines of the form"),
        ("engines = [", "cannot be read"),
    ],
)
@pytest.mark.usefixtures("ada")
def test_what_nobody_reads_in_the_file_is_refused_by_name(toml: Path, text: str, said: str) -> None:
    toml.write_text(text)
    for verb in (("engines",), ("engines", "feed"), ("recall", "one")):
        assert said in run(*verb, code=2).stderr


@pytest.mark.usefixtures("ada")
def test_a_password_that_others_may_read_is_said(toml: Path) -> None:
    for text, mode, warns in (
        ("redis://:secret@h/0", 0o644, True), ("redis://:secret@h/0", 0o600, False),
        ("redis://h/0?password=secret", 0o640, True), ("redis://:${SECRET}@h/0", 0o644, False),
    ):  # fmt: skip
        toml.write_text(f'[engines]\ncache = "{text}"\n')
        toml.chmod(mode)
        assert ("others may read" in run("engines").stderr) is warns, (text, mode)


def test_a_file_that_cannot_be_written_is_named_itself(toml: Path) -> None:
    toml.parent.mkdir(parents=True)
    toml.with_suffix(".new").mkdir()
    with pytest.raises(ReadOnly, match=r"cannot write .*antiphon\.toml"):
        attach(toml.parent, "cache", "redis://h/0")


# -- named, not fed --------------------------------------------------------------------------------------------------


def test_an_engine_that_was_not_fed_yet_is_said_to_be_so_and_can_be_removed(ada: Agent, toml: Path) -> None:
    toml.write_text('# ours\ntrust = []\n[engines]\n"store" = "redis://h/0"  # mine\ncache = "redis://h/1"\n')
    for verb in ("check", "letters", "retry"):
        assert (
            "store is named and not fed yet: `antiphon engines feed store`"
            in run("engines", verb, "store", code=2).stderr
        )
    assert "known: store (not fed yet), cache (not fed yet)" in run("engines", "check", "nosuch", code=2).stderr
    told = json.loads(run("engines", "remove", "store", "--json").stdout)
    assert told == {"name": "store", "forgotten": False, "file": str(toml)}
    assert toml.read_text() == '# ours\ntrust = []\n[engines]\ncache = "redis://h/1"\n'
    ada.follow(MemoryTables(), name="cache", tables=["memories"]).run()
    assert json.loads(run("engines", "remove", "cache", "--json").stdout)["forgotten"]
    assert toml.read_text() == "# ours\ntrust = []\n[engines]\n"
    toml.write_text('trust = []\nengines = {store = "redis://h/0"}\n')
    assert "change its [engines] by hand" in run("engines", "remove", "store", code=2).stderr
    assert "store" in toml.read_text()


@pytest.mark.usefixtures("ada")
@pytest.mark.parametrize("verb", ["check", "letters", "retry", "remove", "feed", "reads", "presence"])
def test_an_unknown_name_is_wrong_use_everywhere(verb: str) -> None:
    assert "nosuch" in run("engines", verb, "nosuch", code=2).stderr


# -- what went wrong last ----------------------------------------------------------------------------------------------


def test_an_error_is_shown_with_its_age_until_all_is_well(ada: Agent) -> None:
    class Picky(MemoryTables):
        refuses = False

        def apply(self, *args: object, **named: object) -> None:
            if self.refuses:
                raise Rejected("not here")
            super().apply(*args, **named)  # type: ignore[arg-type]

    sink = Picky()
    follower = ada.follow(sink, name="rows", tables=["memories"])
    follower.run()
    Picky.refuses = True
    ada.remember("two")
    follower.run()
    assert run("engines").stdout.rstrip().endswith("not here (0 s ago)")
    (one,) = json.loads(run("engines", "--json").stdout)
    assert (one["well"], one["error"]) == (False, "not here")
    assert one["error_ms"] > 0
    Picky.refuses = False
    follower.drive_again()
    assert run("engines").stdout.rstrip("\n").split("\t")[-1] == ""
    (one,) = json.loads(run("engines", "--json").stdout)
    assert one["well"]
    assert [out.ago(ms) for ms in (900, 61_000, 7_200_000, 90_000_000)] == [
        "0 s ago",
        "1 min ago",
        "2 h ago",
        "1 d ago",
    ]


# -- feeding ---------------------------------------------------------------------------------------------------------


def test_lines_are_printed_only_where_something_has_changed(capsys: pytest.CaptureFixture[str]) -> None:
    line = {"name": "store", "state": "following", "behind": 0, "behind_seconds": 0.0, "error": ""}
    lines = feeding._Lines(as_json=True)
    for seconds in (0.0, 1.0, 2.0):
        lines.tell([{**line, "behind_seconds": seconds}])
    lines.tell([{**line, "behind": 1}])
    assert [json.loads(one)["behind"] for one in capsys.readouterr().out.splitlines()] == [0, 1]


def test_a_file_that_can_only_be_read_feeds_nobody(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Agent.create("ada") as ada:
        ada.remember("one")
    copy = own_home / "copy"
    shutil.copytree(own_home / "home", copy)
    monkeypatch.setenv("ANTIPHON_HOME", str(copy))
    run("engines", "add", "cache", "redis://127.0.0.1:1/0")
    from antiphon.home import Home

    opened = Home.open_agent
    monkeypatch.setattr(Home, "open_agent", lambda self, name, **how: opened(self, name, read_only=True))
    assert (
        "can only be read, and how far an engine is fed is kept in it"
        in run("engines", "feed", "--once", code=3).stderr
    )


@pytest.fixture
def mute() -> Iterator[int]:
    """The port of a server that takes connections and never says a word."""
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take() -> None:
            while True:
                try:
                    taken.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=take, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    for one in taken:
        one.close()


@pytest.mark.usefixtures("ada")
@pytest.mark.parametrize("scheme", ["redis", "postgresql"])
def test_an_engine_that_hangs_does_not_hold_up_the_end(mute: int, scheme: str) -> None:
    run("engines", "add", "hung", f"{scheme}://127.0.0.1:{mute}/0")
    antiphon = Path(sys.executable).with_name("antiphon")
    with subprocess.Popen(
        [antiphon, "engines", "feed", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        assert process.stdout is not None
        assert json.loads(process.stderr.readline())["note"].startswith("feeding hung")
        process.stdout.readline()
        time.sleep(1)  # by now it waits for the server
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert time.monotonic() - began < 3, "about a second, and what a busy machine adds"
