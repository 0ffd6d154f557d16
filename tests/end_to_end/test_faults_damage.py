"""What is opened is not what it should be: another key, another file, cut, flipped, empty, newer, not writable.

Expected: one of our errors, with advice and never the driver's own, from every public method; damage is located; what
is not damaged can be exported.
"""

# ruff: noqa: PT012, PT017  # the same call may work, or fail in one of several right ways

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from antiphon import Agent
from antiphon.engines.sqlite.logs import SEQ_BITS
from antiphon.engines.sqlite.rawpages import decrypted_pages, images_of
from antiphon.engines.sqlite.trees import view_of
from antiphon.home import Home
from antiphon.model.errors import (
    AntiphonError,
    Corrupt,
    NotFound,
    ReadOnly,
    Unavailable,
    UnsupportedFormat,
    WrongKey,
)

PAGE = 4_096


def _file(folder: Path, name: str = "ada") -> Path:
    return folder / "home" / "agents" / f"{name}.antiphon"


def _make(folder: Path, count: int = 40, name: str = "ada") -> Path:
    """An agent with some memories, closed and settled."""
    with Agent.create(name, home=folder / "home") as agent:
        for start in range(0, count, 100):
            with agent.batch() as batch:
                for number in range(start, min(start + 100, count)):
                    batch.remember(f"the {number}th of many notes " + "word " * (number % 50), user="Grace")
        agent.replica.tidy()
        agent.replica.file.settle()
    return _file(folder, name)


def _refused(call: Callable[[], Any], kinds: type[AntiphonError] | tuple[type[AntiphonError], ...]) -> AntiphonError:
    with pytest.raises(kinds) as caught:
        call()
    assert len(str(caught.value)) > 20
    return caught.value


def _everything(agent: Agent, folder: Path) -> dict[str, Callable[[], Any]]:
    """Every public method that reads or writes, as calls."""
    event = "5"
    entity = "0198c2f0-0000-7000-8000-000000000000"
    return {
        "remember": lambda: agent.remember("more"),
        "reflect": lambda: agent.reflect("why?", "because"),
        "shift_tone": lambda: agent.shift_tone("calm"),
        "record": lambda: agent.record("memory.remembered", {"text": "recorded"}),
        "update": lambda: agent.update(entity, text="changed"),
        "supersede": lambda: agent.supersede(entity, "better"),
        "compress": lambda: agent.compress(older_than="1h"),
        "recall": lambda: agent.recall("notes"),
        "get": lambda: agent.get(entity),
        "event": lambda: agent.event(event),
        "history": lambda: agent.history(entity),
        "log": lambda: list(agent.log()),
        "checkpoint": agent.checkpoint,
        "prove": lambda: agent.prove(event),
        "verify": agent.verify,
        "forget": lambda: agent.forget(event),
        "forget person": lambda: agent.forget(person="Grace"),
        "request_forget": lambda: agent.request_forget("6"),
        "forget_requests": agent.forget_requests,
        "pseudonym": lambda: agent.pseudonym("Grace"),
        "stats": agent.stats,
        "snapshot": lambda: agent.snapshot(folder / "snapshot"),
        "export": lambda: agent.export(folder / "all.jsonl"),
        "export good": lambda: agent.export(folder / "good.jsonl", good_only=True),
        "export archive": lambda: agent.export(folder / "all.archive"),
    }


def _clean(folder: Path) -> None:
    for name in ("snapshot", "all.jsonl", "good.jsonl", "all.archive"):
        (folder / name).unlink(missing_ok=True)


def test_another_homes_file_and_key(own_home: Path) -> None:
    path = _make(own_home)
    other = own_home / "other"
    with Agent.create("ada", home=other / "home"):
        pass
    shutil.copy(path, _file(other))
    assert "key" in str(_refused(lambda: Agent.open("ada", home=other / "home"), WrongKey))
    (own_home / "home" / "key").write_text("00" * 32 + "\n")
    assert "key" in str(_refused(lambda: Agent.open("ada", home=own_home / "home"), WrongKey))


def test_wrong_passphrase(own_home: Path) -> None:
    with Agent.create("ada", home=own_home / "home", passphrase="right"):
        pass
    _refused(lambda: Agent.open("ada", home=own_home / "home", passphrase="wrong"), WrongKey)
    _refused(lambda: Agent.open("ada", home=own_home / "home"), WrongKey)


@pytest.mark.parametrize(
    "content",
    [b"not a database at all\n" * 40, b"SQLite format 3\0" + bytes(4_080), bytes(8_192), b"", b"x"],
    ids=["text", "plain", "zeros", "empty", "byte"],
)
def test_not_a_database(own_home: Path, content: bytes) -> None:
    path = _make(own_home)
    path.write_bytes(content)
    error = _refused(lambda: Agent.open("ada", home=own_home / "home"), (WrongKey, Corrupt))
    assert str(path) in str(error)


def test_a_directory_in_its_place(own_home: Path) -> None:
    path = _make(own_home)
    path.unlink()
    path.mkdir()
    assert str(path) in str(_refused(lambda: Agent.open("ada", home=own_home / "home"), Unavailable))


def test_absent(own_home: Path) -> None:
    _make(own_home)
    assert "antiphon init" in str(_refused(lambda: Agent.open("bob", home=own_home / "home"), NotFound))
    assert "antiphon init" in str(_refused(lambda: Agent.open("bob", home=own_home / "nowhere"), NotFound))


@pytest.mark.parametrize("keep", [0.03, 0.2, 0.5, 0.9, 0.999])
def test_cut_short(own_home: Path, keep: float) -> None:
    path = _make(own_home, 300)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(int(size * keep))
    try:
        agent = Agent.open("ada", home=own_home / "home", read_only=True)
    except (Corrupt, WrongKey) as error:
        assert str(path) in str(error)
        return
    verdict = agent.verify()
    try:
        assert not verdict.ok or agent.replica.file.check_pages()
    except Corrupt as error:
        assert "doctor" in str(error)
    agent.replica.close()


def _bytes_of_the_log(path: Path, folder: Path, rng: random.Random) -> list[int]:
    """A byte in every third page that holds bodies or headers."""
    key = Home.open(folder / "home").ring.get("file:ada")
    view = view_of(path, images_of(path, key, "aegis"))
    held = [number for number, owner in view.owner.items() if owner.startswith(("table frames", "table blocks"))]
    return [(number - 1) * PAGE + rng.randrange(PAGE) for number in held[::3]]


def test_flipped_bits_are_located_and_the_rest_is_exported(own_home: Path) -> None:
    path = _make(own_home, 1_100)
    good = path.read_bytes()
    rng = random.Random(4)
    outcomes: dict[str, int] = {"refused": 0, "located": 0, "elsewhere": 0}
    exported = []
    for at in [*(rng.randrange(len(good)) for _ in range(8)), *_bytes_of_the_log(path, own_home, rng)]:
        raw = bytearray(good)
        raw[at] ^= 1 << rng.randrange(8)
        path.write_bytes(raw)
        try:
            agent = Agent.open("ada", home=own_home / "home", read_only=True)
        except (Corrupt, WrongKey, Unavailable) as error:
            assert str(path) in str(error)
            outcomes["refused"] += 1
            continue
        try:
            verdict = agent.verify()
            if verdict.ok:
                outcomes["elsewhere"] += 1
                with pytest.raises(Corrupt, match=f"page {at // PAGE + 1} "):
                    list(decrypted_pages(path, agent.replica.keys.get("file:ada")))
            else:
                assert verdict.first_bad is not None
                assert verdict.reason
                assert 0 <= verdict.first_bad[0] < verdict.first_bad[1] <= 1_200
                outcomes["located"] += 1
            out = own_home / "good.jsonl"
            exported.append(agent.export(out, good_only=True))
            out.unlink()
        except (Corrupt, WrongKey, Unavailable) as error:
            assert str(path) in str(error)
            outcomes["refused"] += 1
        agent.replica.close()
    path.write_bytes(good)
    assert outcomes["located"]
    assert outcomes["elsewhere"] + outcomes["refused"]
    assert exported
    assert max(exported) >= 1_100


def test_the_good_part_lies_on_both_sides_of_the_damage(own_home: Path) -> None:
    """Five blocks, the second one damaged: the export has what lies before and behind."""
    path = _make(own_home, 5_000)
    key = Home.open(own_home / "home").ring.get("file:ada")
    with Agent.open("ada", home=own_home / "home", read_only=True) as agent:
        everything = agent.export(own_home / "all.jsonl")
        place = agent.replica.head(agent.log_id).no << SEQ_BITS | 1_024
    view = view_of(path, images_of(path, key, "aegis"))
    raw = bytearray(path.read_bytes())
    for number, owner in view.owner.items():
        if owner == "table frames" and view.pages[number][0] == 0x0D:
            rowids = [cell.rowid for cell in view.layout.cells(number, view.pages[number])]
            if any(place <= rowid < place + 1_024 for rowid in rowids):
                raw[(number - 1) * PAGE + 50] ^= 1
                break
    path.write_bytes(raw)
    with Agent.open("ada", home=own_home / "home", read_only=True) as agent:
        verdict = agent.verify()
        assert not verdict.ok
        with pytest.raises(AntiphonError):
            agent.export(own_home / "refused.jsonl")
        saved = agent.export(own_home / "good.jsonl", good_only=True)
        assert everything - 3_072 <= saved < everything
        lines = (own_home / "good.jsonl").read_text().splitlines()
        seqs = {int(json.loads(line)["event"].rpartition("/")[2]) for line in lines}
        assert verdict.first_bad is not None
        assert seqs.isdisjoint(range(*verdict.first_bad))
        assert max(seqs) > 4_096


def test_every_method_on_a_damaged_file_raises_ours(own_home: Path) -> None:
    path = _make(own_home, 400)
    good = path.read_bytes()
    pages = len(good) // PAGE
    rng = random.Random(5)
    for page in rng.sample(range(1, pages), min(6, pages - 1)):
        raw = bytearray(good)
        raw[page * PAGE + 100] ^= 1
        path.write_bytes(raw)
        for left in (path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
            left.unlink(missing_ok=True)
        try:
            agent = Agent.open("ada", home=own_home / "home")
        except AntiphonError:
            continue
        for name, call in _everything(agent, own_home).items():
            try:
                call()
            except AntiphonError as error:
                assert str(error), name
        _clean(own_home)
        agent.replica.file.close()


def test_every_method_on_a_closed_agent_raises_ours(own_home: Path) -> None:
    _make(own_home)
    agent = Agent.open("ada", home=own_home / "home")
    calls = _everything(agent, own_home)
    agent.close()
    for name, call in calls.items():
        with pytest.raises(AntiphonError):
            call()
            pytest.fail(f"{name} worked on a closed agent")
        _clean(own_home)


def test_newer_format(own_home: Path) -> None:
    _make(own_home)
    with Agent.open("ada", home=own_home / "home") as agent, agent.replica.file.transaction():
        agent.replica.file.put("format", (99).to_bytes(4, "big"))
    error = _refused(lambda: Agent.open("ada", home=own_home / "home"), UnsupportedFormat)
    assert "99" in str(error)
    assert "upgrade" in str(error)


def test_lost_write_ahead_log(own_home: Path) -> None:
    """Someone deletes the -wal of a crashed agent: what is left opens, and is seen to be behind a checkpoint."""
    _make(own_home)
    script = (
        "import os; from antiphon import Agent; agent = Agent.open('ada'); agent.remember('in the log alone');"
        "print(agent.checkpoint().decode(), end='', flush=True); os._exit(9)"
    )
    environment = {**os.environ, "ANTIPHON_HOME": str(own_home / "home")}
    killed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False
    )
    assert killed.returncode == 9, killed.stderr
    path = _file(own_home)
    assert path.with_name(path.name + "-wal").stat().st_size
    path.with_name(path.name + "-wal").unlink()
    path.with_name(path.name + "-shm").unlink(missing_ok=True)
    with Agent.open("ada", home=own_home / "home") as agent:
        assert agent.verify().ok
        assert not agent.verify(since=killed.stdout.encode()).ok, "a rollback must be found by the checkpoint"
        agent.remember("goes on")
        assert len(agent._heads()) == 2, "an older state must not go on with the same log"
        assert agent.verify().ok


def test_read_only_folder(own_home: Path) -> None:
    """As another user who may read but not write (root is bound by no permission): reading works, writing says why."""
    _make(own_home)
    home = own_home / "home"
    script = f"""
import os
import antiphon.fleet, antiphon.replica.keep
from antiphon import Agent
from antiphon.model.errors import ReadOnly, Unavailable
if os.getuid() == 0:
    os.setgid(65534), os.setuid(65534)
try:
    Agent.open("ada", home={str(home)!r})
except Unavailable as error:
    print("refused", type(error).__name__, str(error))
agent = Agent.open("ada", home={str(home)!r}, read_only=True)
print("recalled", len(agent.recall("notes")), agent.verify().ok, sum(1 for _ in agent.log()))
try:
    agent.remember("no")
except ReadOnly as error:
    print("refused", type(error).__name__, str(error))
"""
    if os.getuid() == 0:
        for place in own_home.parents:
            if place.stat().st_mode & 0o005 != 0o005:
                place.chmod(place.stat().st_mode | 0o055)
    for place in (own_home, *own_home.rglob("*")):
        place.chmod(0o555 if place.is_dir() else 0o444)
    try:
        environment = {**os.environ, "ANTIPHON_STATE": str(own_home / "nobody")}
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False
        )
    finally:
        for place in (own_home, *own_home.rglob("*")):
            place.chmod(0o700 if place.is_dir() else 0o600)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert lines[0].startswith("refused ReadOnly"), lines
    assert lines[1].startswith("recalled 10 True"), lines
    assert lines[2].startswith("refused ReadOnly"), lines


def test_marks_cannot_be_kept(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _make(own_home)
    blocked = own_home / "blocked"
    blocked.write_text("a file where a folder should be")
    with monkeypatch.context() as patch:
        patch.setenv("ANTIPHON_STATE", str(blocked))
        for attempt in (
            lambda: Agent.open("ada", home=own_home / "home"),
            lambda: Agent.create("bob", home=own_home / "elsewhere"),
        ):
            assert "ANTIPHON_STATE" in str(_refused(attempt, Unavailable))
    with Agent.open("ada", home=own_home / "home") as agent:
        assert len(agent._heads()) == 1, "a state folder that is away for a while must cost no log"
    assert issubclass(ReadOnly, Unavailable)
