"""The passphrase of a home on the command line: set, changed, removed, and nothing else changes with it."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from antiphon import Agent, verify_proof
from antiphon.home import Home
from antiphon.model.errors import WrongKey
from tests.end_to_end.test_cli import COMMAND, Terminal, run


def ask(*args: str, code: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    return run(*args, code=code, env={**os.environ, **variables})


def identity(**variables: str) -> dict[str, Any]:
    said = json.loads(ask("stats", "--json", **variables).stdout)
    return {name: said[name] for name in ("agent", "principal", "logs")}


def test_set_changed_and_removed(own_home: Path) -> None:
    run("init", "ada")
    run("remember", "Grace prefers tea")
    before, key = identity(), (own_home / "home" / "key").read_text()
    assert "set" in ask("passphrase", ANTIPHON_NEW_PASSPHRASE="first").stdout
    assert not (own_home / "home" / "key").exists()
    run("recall", "tea", code=2)
    ask("recall", "tea", code=2, ANTIPHON_KEY=key.strip())
    assert identity(ANTIPHON_PASSPHRASE="first") == before

    ask("passphrase", code=2, ANTIPHON_NEW_PASSPHRASE="second")
    ask("passphrase", code=2, ANTIPHON_PASSPHRASE="wrong", ANTIPHON_NEW_PASSPHRASE="second")
    said = ask("passphrase", "--json", ANTIPHON_PASSPHRASE="first", ANTIPHON_NEW_PASSPHRASE="second")
    assert json.loads(said.stdout)["passphrase"] == "changed"
    ask("recall", "tea", code=2, ANTIPHON_PASSPHRASE="first")
    assert identity(ANTIPHON_PASSPHRASE="second") == before

    ask("passphrase", "--remove", ANTIPHON_PASSPHRASE="second")
    assert identity() == before
    assert (own_home / "home" / "key").stat().st_mode & 0o777 == 0o600
    assert (own_home / "home" / "key").read_text() != key
    assert "no passphrase to remove" in run("passphrase", "--remove", code=2).stderr


def test_what_is_refused_changes_nothing(own_home: Path) -> None:
    run("init", "ada")
    ring = (own_home / "home" / "keys").read_bytes()
    for empty in ("", "  "):
        assert "empty" in ask("passphrase", code=2, ANTIPHON_NEW_PASSPHRASE=empty).stderr
    assert "ANTIPHON_NEW_PASSPHRASE" in run("passphrase", code=2).stderr
    assert "unset it" in ask("passphrase", "--remove", code=2, ANTIPHON_NEW_PASSPHRASE="x").stderr
    assert (own_home / "home" / "keys").read_bytes() == ring


def test_it_is_removed_to_the_key_of_the_environment(own_home: Path) -> None:
    ask("init", "ada", ANTIPHON_PASSPHRASE="first")
    ask("passphrase", "--remove", ANTIPHON_PASSPHRASE="first", ANTIPHON_KEY="ab" * 32)
    assert not (own_home / "home" / "key").exists()
    ask("remember", "x", ANTIPHON_KEY="ab" * 32)


def test_who_has_the_home_open_goes_on(own_home: Path) -> None:
    with Agent.open("ada", create=True) as ada:
        ada.remember("before")
        ask("passphrase", ANTIPHON_NEW_PASSPHRASE="first")
        kept = ada.remember("after")
        assert verify_proof(ada.prove(kept.event)).certified
        assert len(ada.recall("after")) == 1
        assert ada.verify().ok
    with pytest.raises(WrongKey):
        Home.open()
    with Agent.open("ada", passphrase="first") as ada:
        assert {hit.text for hit in ada.recall("before after")} == {"before", "after"}


@pytest.mark.parametrize(("had", "step"), [(None, "wipe"), ("old", "rewrap"), ("old", "wipe"), (None, "rewrap")])
def test_interrupted_between_ring_and_key_file_it_still_opens(own_home: Path, had: str | None, step: str) -> None:
    """Whichever way it goes, and whether the ring or the key file comes next."""
    given = {} if had is None else {"ANTIPHON_PASSPHRASE": had}
    ask("init", "ada", **given)
    code = (
        "import os, signal\nfrom antiphon.engines.keyfiles import KeyRing\nfrom antiphon.home import Home, folder\n"
        "def die(*given): os.kill(os.getpid(), signal.SIGKILL)\n"
        f"setattr({'KeyRing' if step == 'rewrap' else 'folder'}, {step!r}, die)\n"
        f"Home.open().change_passphrase({'None' if had else repr('new')})\n"
    )
    killed = subprocess.run([COMMAND[0], "-c", code], env={**os.environ, **given}, check=False, timeout=60)
    assert killed.returncode == -9
    opens = {**given} if had or step == "rewrap" else {"ANTIPHON_PASSPHRASE": "new"}
    ask("remember", "x", **opens)
    if had:
        ask("passphrase", "--remove", **opens)
        run("recall", "x")
    else:
        ask("passphrase", ANTIPHON_NEW_PASSPHRASE="newer", **opens)
        ask("recall", "x", ANTIPHON_PASSPHRASE="newer")


def test_typed_on_a_terminal_the_old_once_and_the_new_twice(own_home: Path) -> None:
    ask("init", "ada", ANTIPHON_PASSPHRASE="first")
    terminal = Terminal("passphrase")
    for prompt, typed in (("Passphrase", "first"), ("New passphrase", "second"), ("Repeat", "second")):
        terminal.read(prompt)
        terminal.type(f"{typed}\n")
    assert terminal.close() == 0, terminal.screen
    assert "is changed" in terminal.screen
    assert not {"first", "second"} & set(terminal.screen.split())
    ask("remember", "x", ANTIPHON_PASSPHRASE="second")
