"""The command line as scripts and people meet it: real processes, pipes, a terminal, interruptions and kill -9."""

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pytest

COMMAND = [sys.executable, "-m", "antiphon"]
RECORDS = 12_000


def run(*args: str, code: int = 0, stdin: str = "", **settings: Any) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*COMMAND, *args], input=stdin, capture_output=True, text=True, timeout=60, check=False, **settings
    )
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr
    return done


def start(*args: str, **settings: Any) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **settings}
    return subprocess.Popen([*COMMAND, *args], text=True, **pipes)


def count() -> int:
    found: int = json.loads(run("stats", "--json").stdout)["events"]
    return found


@pytest.fixture
def records(tmp_path: Path) -> Path:
    path = tmp_path / "records.jsonl"
    with path.open("w") as file:
        for number in range(RECORDS):
            named = {"id": number} if number % 2 else {}
            file.write(json.dumps({"text": f"record {number % 7_000} of the lighthouse", **named}) + "\n")
    return path


def test_what_scripts_rely_on(tmp_path: Path) -> None:
    proof = str(tmp_path / "tea.proof")
    run("init", "ada")
    run("init", "bob")
    event = run("-a", "ada", "remember", "Grace prefers tea").stdout.strip()
    (hit,) = json.loads(run("-a", "ada", "recall", "tea", "--json").stdout)
    assert (hit["event"], hit["author"], hit["text"]) == (event, "ada", "Grace prefers tea")
    assert {"time", "score"} <= hit.keys()
    run("-a", "bob", "recall", "tea", code=1)
    run("-a", "ada", "prove", event, "-o", proof)
    assert json.loads(run("verify", proof, "--json").stdout)["ok"] is True
    whole = json.loads(run("-a", "ada", "verify", "--json").stdout)
    assert {"ok", "size", "root", "first_bad"} <= whole.keys()
    run("-a", "ada", "forget", event, code=2)
    run("-a", "ada", "forget", event, "--yes")
    run("-a", "ada", "recall", "tea", code=1)
    run("-a", "ada", "show", event, code=1)
    run("recall", "tea", code=2)
    assert json.loads(run("verify", proof, "--json").stdout)["ok"] is True, "an old proof still verifies"


def test_a_proof_can_be_piped_through_a_file_with_no_home(tmp_path: Path) -> None:
    run("init", "ada")
    run("remember", "x")
    (tmp_path / "p").write_text(run("prove", "0").stdout)
    bare = {name: value for name, value in os.environ.items() if not name.startswith("ANTIPHON")}
    done = json.loads(run("verify", str(tmp_path / "p"), "--json", env={**bare, "HOME": str(tmp_path / "none")}).stdout)
    assert done["ok"] is True
    assert not (tmp_path / "none").exists()


def test_help_answers_at_once_and_imports_no_engine() -> None:
    code = (
        "import sys; from antiphon.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('apsw', 'nacl', 'rich', 'msgspec', 'zstandard', 'antiphon.agent') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_reader_that_leaves_is_no_error() -> None:
    run("init", "ada")
    run("import", "--format", "jsonl", _lines(3_000))
    for verb in (["log"], ["log", "--json"], ["export", "-"]):
        process = start(*verb)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        process.stderr.close()
        assert process.wait(30) == 0


def _lines(many: int) -> str:
    path = Path(os.environ["ANTIPHON_HOME"]).parent / "lines.jsonl"
    path.write_text("".join(json.dumps({"text": f"line {number}"}) + "\n" for number in range(many)))
    return str(path)


def _at_work(process: subprocess.Popen[str], *, past: int) -> None:
    """Waits until an import has written so many bytes to the write-ahead log, or has ended."""
    log = Path(os.environ["ANTIPHON_HOME"]) / "agents" / "ada.antiphon-wal"
    ends = time.monotonic() + 30
    while process.poll() is None:
        with contextlib.suppress(FileNotFoundError):
            if log.stat().st_size > past:
                return
        assert time.monotonic() < ends
        time.sleep(0.005)


def test_an_import_killed_at_any_moment_is_finished_by_the_next(records: Path) -> None:
    run("init", "ada")
    partly = 0
    for past in (0, 200_000, 1_500_000):
        process = start("import", str(records))
        _at_work(process, past=past)
        process.kill()
        process.communicate()
        partly += 0 < count() < RECORDS
    assert partly, "no run was cut in the middle: this test saw nothing"
    added = json.loads(run("import", str(records), "--json").stdout)
    assert added["added"] + added["known"] == RECORDS
    assert count() == RECORDS
    events = [json.loads(line) for line in run("export", "-").stdout.splitlines()]
    expected = sorted(json.loads(line)["text"] for line in records.read_text().splitlines())
    assert sorted(event["body"]["text"] for event in events) == expected, "neither lost nor doubled"
    assert json.loads(run("verify", "--json").stdout)["ok"] is True


def test_ctrl_c_stops_cleanly_and_loses_nothing(records: Path) -> None:
    run("init", "ada")
    for attempt in range(1, 6):  # on a busy machine an import may end before the interruption comes
        process = start("import", str(records), "--source", str(attempt))
        _at_work(process, past=200_000)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        if process.returncode != 0:
            break
    assert process.returncode == 130
    assert said.strip().splitlines() == ["antiphon: stopped; everything acknowledged is on disk"]
    assert count() % 1_000 == 0
    run("import", str(records), "--source", str(attempt))
    assert count() == attempt * RECORDS


def test_processes_that_write_at_once_lose_nothing() -> None:
    run("init", "ada")
    processes = [start("remember", f"from process {number}") for number in range(6)]
    said = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0] * 6
    assert sorted(int(event.rpartition("/")[2]) for event in said) == list(range(6))
    assert json.loads(run("verify", "--json").stdout)["size"] == 6


def test_two_imports_of_one_file_at_once_add_it_once(records: Path) -> None:
    run("init", "ada")
    processes = [start("import", str(records), "--json") for _ in range(2)]
    done = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
    assert sum(item["added"] for item in done) == count() == RECORDS


class Terminal:
    """A process on a terminal of 100 columns; `screen` is what it has written."""

    def __init__(self, *args: str, **env: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color", **env}
        environment.pop("NO_COLOR", None) if "NO_COLOR" not in env else None
        self._process = subprocess.Popen([*COMMAND, *args], stdin=slave, stdout=slave, stderr=slave, env=environment)
        os.close(slave)
        self.screen = ""

    def read(self, until: str | None = None) -> str:
        """Reads until the text appears, or to the end."""
        ends = time.monotonic() + 60
        while until is None or until not in self.screen:
            if time.monotonic() > ends:
                self._process.kill()  # left running, it would be the failure of some later test as well
                self._process.wait(60)
                pytest.fail(f"waited 60 s for {until or 'the end'} after: {self.screen!r}")
            if not select.select([self._master], [], [], 0.2)[0]:
                continue
            try:
                more = os.read(self._master, 65_536)
            except OSError:  # the terminal closes with its last process
                break
            if not more:
                break
            self.screen += more.decode(errors="replace")
        return self.screen

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def close(self) -> int:
        self.read()
        os.close(self._master)
        return self._process.wait(120)


def on_terminal(*args: str, code: int = 0, **env: str) -> str:
    terminal = Terminal(*args, **env)
    assert terminal.close() == code, terminal.screen
    return terminal.screen


def test_colours_on_a_terminal_plain_text_in_a_pipe() -> None:
    run("init", "ada")
    run("remember", "Grace prefers tea over coffee")
    shown = on_terminal("recall", "tea")
    assert "\x1b[" in shown
    assert "event 0" in re.sub(r"\x1b\[[0-9;]*m", "", shown)
    plain = on_terminal("recall", "tea", NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", plain), "NO_COLOR is respected"
    assert "\x1b" not in run("recall", "tea").stdout
    assert run("recall", "tea").stdout.count("\t") == 4
    run("remember", "word " * 100)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", on_terminal("log")).splitlines()
    assert all(len(line.rstrip()) <= 100 for line in lines)
    assert re.match(r"1  20\d\d-\d\d-\d\d \d\d:\d\d  memory.remembered  word word .*…$", lines[2].rstrip()), lines


def test_a_table_that_does_not_fit_is_shown_row_by_row() -> None:
    run("init", "ada")
    for text in ("tea " * 9, "rain " * 40):
        run("remember", text)
    lines = [line.rstrip() for line in on_terminal("rows", "memories", NO_COLOR="1").splitlines()]
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]
    assert all(len(line) <= 100 for line in plain), plain
    named = [re.split(r"  +", line) for line in plain]
    assert [line[0] for line in named] == [*(first := [line[0] for line in named[: named.index([""])]]), "", *first]
    told = dict(line for line in named if line != [""])
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT[\d:.]+Z", told["timestamp"]), "times are written for people"
    assert told["content"].endswith("…")
    assert "\t" in run("rows", "memories").stdout


def test_a_terminal_says_what_log_left_out() -> None:
    from antiphon import Agent
    from antiphon.serve.langgraph import AntiphonStore

    run("init", "ada")
    with Agent.open("ada") as agent:
        AntiphonStore(agent).put(("users",), "grace", {"likes": "tea"})
    shown = on_terminal("log", NO_COLOR="1")
    assert "item.secret_made" not in shown
    assert "1 housekeeping event not shown: antiphon log --all" in shown
    assert "earlier" not in shown
    shown = on_terminal("log", "--all", NO_COLOR="1")
    assert "item.secret_made" in shown
    assert "housekeeping" not in shown
    run("import", _lines(60))
    shown = on_terminal("log", NO_COLOR="1")
    assert "There are earlier ones: antiphon log --after -1" in shown
    assert "housekeeping" not in shown, "none stands among these"


def test_an_endless_pipe_is_imported_as_it_comes() -> None:
    run("init", "ada")
    process = start("import", "-", stdin=subprocess.PIPE)
    assert process.stdin is not None
    for number in range(1_500):
        process.stdin.write(json.dumps({"text": f"tick {number}"}) + "\n")
    process.stdin.flush()
    ends = time.monotonic() + 30
    while count() < 1_000:
        assert time.monotonic() < ends, "the first thousand wait for the end of the pipe"
        time.sleep(0.05)
    said, _ = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, "stdin: 1,500 added\n")
    assert count() == 1_500


def test_forget_asks_on_a_terminal() -> None:
    run("init", "ada")
    run("remember", "a secret")
    terminal = Terminal("forget", "0")
    assert "a secret" in terminal.read("[y/N]")
    terminal.type("n\n")
    assert terminal.close() == 1
    assert "Nothing was forgotten" in terminal.screen
    assert run("recall", "secret").stdout
    for _ in range(4):  # a Ctrl-C that comes just before the read is not lost
        terminal = Terminal("forget", "0")
        terminal.read("[y/N]")
        terminal.interrupt()
        assert terminal.close() == 130
    terminal = Terminal("forget", "0")
    terminal.type("perhaps\n")
    assert "answer y or n" in terminal.read("y or n.")
    terminal.type("\n")
    assert terminal.close() == 1
    terminal = Terminal("forget", "0")
    terminal.read("[y/N]")
    terminal.type("y\n")
    assert terminal.close() == 0
    assert "write-ahead log" in terminal.screen
    run("recall", "secret", code=1)


def test_a_passphrase_is_asked_for_hidden() -> None:
    terminal = Terminal("init", "ada", "--passphrase")
    terminal.read("home")
    terminal.type("open sesame\n")
    terminal.read("onfirm")
    terminal.type("open sesame\n")
    assert terminal.close() == 0
    assert "sesame" not in terminal.screen
    terminal = Terminal("remember", "hello")
    terminal.read("Passphrase")
    terminal.type("open sesame\n")
    assert terminal.close() == 0
    run("recall", "hello", code=2)
    run("recall", "hello", env={**os.environ, "ANTIPHON_PASSPHRASE": "open sesame"})
