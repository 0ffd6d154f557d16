"""Forgotten text: in no page, frame, index, free page, gap, slack or write-ahead log, decrypted and inflated.

Expected: found before, not found after, and all free space zero; without secure delete, and without the rewriting of
what SQLite leaves behind moved cells, these very checks fail. A reader that holds the write-ahead log back makes it
*scrub pending*, and once it has left the next write, open or doctor settles that.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from antiphon import Agent
from antiphon.engines.sqlite import pages
from antiphon.engines.sqlite.file import SqliteFile
from antiphon.model import limits
from antiphon.model.text import entity_text
from antiphon.replica.forget import Done, Forgotten

NEEDLE, WORD, PERSON, TAG = "Quetzalcoatlus over Xochimilco", "xochimilco", "Zsuzsanna Vörösmarty", "zygote"


class Scan:
    """What a thief with the file and its key would find."""

    def __init__(self, agent: Agent) -> None:
        self.path = agent.replica.file.path
        self.key = agent.replica.keys.get(f"file:{self.path.stem}")
        self.cipher = agent.replica.file._cipher

    def find(self, text: str) -> list[str]:
        return pages.find_text(self.path, self.key, text.encode(), self.cipher)

    def free(self) -> pages.FreeSpace:
        return pages.free_space(self.path, self.key, self.cipher)

    def assert_gone(self) -> None:
        for text in (NEEDLE, WORD, WORD.capitalize(), "quetzalcoatlu", PERSON, TAG, "Vörösmarty"):
            assert self.find(text) == [], text
        free = self.free()
        assert free.leftovers == []
        assert free.bytes_checked > 1_000


def _fill(agent: Agent, count: int = 700, *, batch: int = 20) -> None:
    """Many memories, every tenth with what will be forgotten: in text, tags, a person's name, updates, a summary."""
    rng = random.Random(7)
    words = ["".join(rng.choices("abcdefghijklmnop", k=rng.randrange(3, 9))) for _ in range(600)]
    for start in range(0, count, batch):
        with agent.batch() as writing:
            for at in range(start, start + batch):
                marked = at % 10 == 3
                text = " ".join(rng.choices(words, k=rng.randrange(2, 60)))
                writing.remember(
                    f"{text} {NEEDLE} {text[:40]}" if marked else text,
                    user=PERSON if marked else rng.choice((None, f"{rng.choice(words)} {rng.choice(words)}")),
                    tags=[TAG, "common"] if marked else ["common"],
                    metadata={"said": NEEDLE} if at % 50 == 3 else None,
                    significance=rng.random(),
                )
        if start % 100 == 0:
            rows = [agent.get(made.entity or "") or {} for made in writing.recorded]
            marked_row = next(row for row in rows if NEEDLE in (row.get("content") or ""))
            longer = " ".join(rng.choices(words, k=80))
            agent.update(entity_text(marked_row["id"]), text=f"{longer} {NEEDLE}")


def _states(done: Forgotten) -> set[Done]:
    return {place.state for place in done.places}


@pytest.mark.parametrize("packed", [False, True], ids=["runs", "packed"])
@pytest.mark.parametrize("cipher", ["aegis", "sqlcipher"])
def test_found_before_and_not_after(own_home: Path, packed: bool, cipher: str) -> None:
    with Agent.create("ada", home=own_home / "home", cipher=cipher) as agent:
        _fill(agent, 400 if cipher == "aegis" else 120)
        if packed:
            agent.replica.tidy()
        scan = Scan(agent)
        for text in (NEEDLE, PERSON, TAG):
            assert scan.find(text), text
        assert any("full-text" in place for place in scan.find(WORD))
        assert any("inflated" in place for place in scan.find(NEEDLE))
        assert any("write-ahead log" in place for place in scan.find(NEEDLE))
        done = agent.forget(person=PERSON)
        assert _states(done) == {Done.DONE, Done.HELD}, done.places
        scan.assert_gone()
        assert agent.verify().ok
        assert agent.replica.file.check_pages() == []
        agent.remember("life goes on")
    scan.assert_gone()


@pytest.mark.parametrize("how", ["event", "entity", "age"])
def test_every_way_to_forget(own_home: Path, how: str) -> None:
    with Agent.create("ada", home=own_home / "home") as agent:
        old = agent.remember(f"{NEEDLE} once", occurred=1_000_000_000_000)
        for number in range(120):
            agent.remember(f"note {number} " + "filler " * (number % 30))
        agent.reflect(f"what of {NEEDLE}?", "nothing", occurred=1_000_000_000_000, sources=[old.event])
        agent.update(old.entity or "", text=f"{NEEDLE} twice and longer " * 20)
        scan = Scan(agent)
        assert scan.find(NEEDLE)
        if how == "event":
            agent.forget([old.event])
            agent.forget([event.event for event in _mentioning(agent)] or old.event)
        elif how == "entity":
            agent.forget(entity=old.entity)
        else:
            agent.forget(older_than="1d")
            agent.forget([event.event for event in _mentioning(agent)] or old.event)
        scan.assert_gone()
        assert agent.recall(WORD) == []
        assert agent.verify().ok


class _Event:
    def __init__(self, event: str) -> None:
        self.event = event


def _mentioning(agent: Agent) -> list[_Event]:
    return [_Event(str(event.seq)) for event in agent.log() if NEEDLE.encode() in (event.body or b"")]


def test_moved_cells_leave_nothing(own_home: Path) -> None:
    """Rows that SQLite moved between pages, one forgotten after another: the gaps are zero after each."""
    rng = random.Random(3)
    with Agent.create("ada", home=own_home / "home") as agent:
        people = [f"{''.join(rng.choices('abcdefghijklmnopqrstuvwxyz', k=28))} {number}" for number in range(300)]
        for start in range(0, len(people), 3):
            with agent.batch() as batch:
                for person in people[start : start + 3]:
                    batch.remember(f"about {person} " + "word " * rng.randrange(60), user=person)
        scan = Scan(agent)
        for person in rng.sample(people, 6):
            assert scan.find(person)
            agent.forget(person=person)
            assert scan.find(person) == []
            assert scan.free().leftovers == []


def test_without_secure_delete_the_check_fails(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "wipe", lambda file, **_: True)
    with Agent.create("ada", home=own_home / "home") as agent:
        _fill(agent, 200)
        agent.replica.file.writer.execute("PRAGMA secure_delete=OFF")
        agent.forget(person=PERSON)
        scan = Scan(agent)
        assert any("free space" in place for place in scan.find(NEEDLE))
        assert scan.free().leftovers
        with pytest.raises(AssertionError):
            scan.assert_gone()


def test_without_rewriting_the_check_fails(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Secure delete alone is not enough: SQLite leaves copies of cells that it moved to another page."""
    monkeypatch.setattr(pages, "wipe", lambda file, **_: True)
    with Agent.create("ada", home=own_home / "home") as agent:
        _fill(agent, 400)
        agent.forget(person=PERSON)
        assert Scan(agent).free().leftovers


def test_the_index_is_as_if_it_had_never_been(own_home: Path) -> None:
    """After forgetting, the full-text index knows exactly the words that are left."""
    with Agent.create("ada", home=own_home / "home") as agent:
        _fill(agent, 200)
        agent.forget(person=PERSON)
        writer = agent.replica.file.writer
        writer.execute("CREATE VIRTUAL TABLE temp.words USING fts5vocab('main', 'memories_fts', 'row')")
        before = writer.execute("SELECT term, doc, cnt FROM temp.words ORDER BY term").fetchall()
        agent.replica.refold("memory")
        agent.replica.tidy()
        assert writer.execute("SELECT term, doc, cnt FROM temp.words ORDER BY term").fetchall() == before
        assert not [term for term, *_ in before if term.startswith(("quetz", "xochi", "zygot", "zsuzs"))]


# -- a reader in the way ---------------------------------------------------------------------------------------------


def test_a_reader_holds_the_write_ahead_log(own_home: Path) -> None:
    with Agent.create("ada", home=own_home / "home") as agent:
        _fill(agent, 100)
        scan = Scan(agent)
        with Agent.open("ada", home=own_home / "home") as reader:
            with reader.replica.file.snapshot():
                assert len(list(reader.log())) > 90
                done = agent.forget(person=PERSON)
                pending = [place for place in done.places if place.state is Done.PENDING]
                assert [place.name for place in pending] == ["write-ahead log and free pages"]
                assert "pending" in pending[0].detail
                assert not done.complete
                assert agent.stats()["scrub_pending"] is True
                assert scan.find(NEEDLE), "the reader still reads it, so it must still be there"
                agent.remember("written while it reads")
                assert agent.stats()["scrub_pending"] is True
            agent.remember("written after it has left")
            assert agent.stats()["scrub_pending"] is False, "a plain write settles it"
            scan.assert_gone()


@pytest.mark.parametrize("by", ["open", "scrub"])
def test_what_is_pending_is_settled_later(own_home: Path, by: str) -> None:
    home = own_home / "home"
    agent = Agent.create("ada", home=home)
    _fill(agent, 100)
    scan = Scan(agent)
    with SqliteFile(scan.path, scan.key).snapshot():
        reader = SqliteFile(scan.path, scan.key)
        with reader.snapshot():
            reader.get("format")
            agent.forget(person=PERSON)
            assert agent.stats()["scrub_pending"] is True
        reader.close()
    if by == "scrub":
        assert agent.replica.scrub_if_pending()
        agent.close()
    else:
        agent.replica.file.close()
        with Agent.open("ada", home=home) as again:
            assert again.stats()["scrub_pending"] is False
    scan.assert_gone()


def test_killed_between_forgetting_and_scrubbing(own_home: Path) -> None:
    home = own_home / "home"
    with Agent.create("ada", home=home) as agent:
        _fill(agent, 100)
        scan = Scan(agent)
    script = (
        "import os, sys; from antiphon import Agent; from antiphon.replica.core import Replica\n"
        "Replica.settle_after_erasure = lambda *_, **__: os._exit(9)\n"
        f"agent = Agent.open('ada', home={str(home)!r})\n"
        f"agent.remember('in the write-ahead log: {NEEDLE}', user={PERSON!r})\n"
        f"agent.forget(person={PERSON!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 9, done.stderr
    assert scan.find(NEEDLE), "the crash came before the scrub"
    with Agent.open("ada", home=home) as agent:
        assert agent.stats()["scrub_pending"] is False
        scan.assert_gone()


def test_a_file_too_large_to_rewrite_at_once(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Agent.create("ada", home=own_home / "home") as agent:
        _fill(agent, 400)
        monkeypatch.setattr(limits, "SCRUB_FILE_BYTES_MAX", 1 << 16)
        done = agent.forget(person=PERSON)
        assert not done.complete
        assert agent.stats()["scrub_pending"] is True
        agent.remember("a write does not rewrite a large file")
        assert agent.stats()["scrub_pending"] is True
        assert agent.replica.scrub_if_pending(file_bytes_max=1 << 40), "but doctor does"
        assert agent.stats()["scrub_pending"] is False
        Scan(agent).assert_gone()


# -- the scanner itself ----------------------------------------------------------------------------------------------


def test_the_scanner_sees_every_kind_of_place(tmp_path: Path) -> None:
    """Text planted in a live cell, an overflow chain, a free page, a free block, a stale frame: each is found."""
    key = bytes(32)
    path = tmp_path / "planted"
    file = SqliteFile(path, key, create=True)
    writer = file.writer
    writer.execute("PRAGMA secure_delete=OFF; PRAGMA wal_autocheckpoint=0")
    writer.execute("CREATE TABLE t(n INTEGER PRIMARY KEY, v)")
    for number in range(60):
        writer.execute("INSERT INTO t VALUES(?, ?)", (number, f"row {number} plant{number:02d} " + "x" * 200))
    writer.execute("INSERT INTO t VALUES(100, ?)", ("y" * 9_000 + "plant-overflow" + "y" * 9_000,))
    writer.execute("CREATE TABLE gone(v)")
    writer.execute("INSERT INTO gone VALUES(?)", ("plant-in-free-page " + "z" * 3_000,))
    file.settle()

    def found(text: str) -> str:
        return " ".join(pages.find_text(path, key, text.encode()))

    assert "table t" in found("plant07")
    assert "overflow" in found("plant-overflow")
    writer.execute("DELETE FROM t WHERE n=7")
    assert "write-ahead log" in found("plant07") or "free space" in found("plant07")
    writer.execute("DROP TABLE gone")
    file.settle()
    assert "free space" in found("plant07")
    assert "free" in found("plant-in-free-page")
    writer.execute("UPDATE t SET v='plant-stale-frame' WHERE n=8")
    writer.execute("UPDATE t SET v='another' WHERE n=8")
    assert "write-ahead log" in found("plant-stale-frame")
    file.settle()
    assert "write-ahead log" not in found("plant-stale-frame")
    writer.execute("PRAGMA secure_delete=ON")
    file.rewrite()
    assert file.settle()
    for text in ("plant07", "plant-in-free-page", "plant-stale-frame"):
        assert found(text) == ""
    assert pages.free_space(path, key).leftovers == []
    assert found("plant09")
    file.close()


def test_the_scanner_changes_nothing(own_home: Path) -> None:
    with Agent.create("ada", home=own_home / "home") as agent:
        _fill(agent, 60)
        scan = Scan(agent)
        agent.replica.file.close()
        wal = scan.path.with_name(scan.path.name + "-wal")
        before = [place.read_bytes() if place.exists() else b"" for place in (scan.path, wal)]
        scan.find(NEEDLE)
        scan.free()
        assert [place.read_bytes() if place.exists() else b"" for place in (scan.path, wal)] == before
