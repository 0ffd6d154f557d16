"""What every `KeyStore` promises. One factory an engine: something that opens the same store again."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE

import pytest

from antiphon.engines.keyfiles import KeyRing, Unlock
from antiphon.identity import keystore
from antiphon.identity.keystore import KeyStore
from antiphon.model.errors import Conflict, NotFound, WrongKey

Open = Callable[[], KeyStore]


@pytest.fixture(params=["keyring/key", "keyring/passphrase"])
def opened(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    monkeypatch.setattr(keystore, "ARGON2_OPS", 1)
    monkeypatch.setattr(keystore, "ARGON2_MEMORY_BYTES", 8_192)
    unlock = Unlock(key=bytes(range(32))) if request.param.endswith("/key") else Unlock(passphrase="correct horse")
    path = tmp_path / "keys"
    KeyRing(path, unlock, create=True)
    return lambda: KeyRing(path, unlock)


def test_absent_secrets(opened: Open) -> None:
    store = opened()
    assert list(store.names()) == []
    assert store.destroy("nothing") is False
    with pytest.raises(NotFound):
        store.get("nothing")


def test_secrets_stay(opened: Open) -> None:
    store = opened()
    store.put("log:b", b"two")
    store.put_all({"log:a": b"one", "empty": b""})
    store.put("log:b", b"two")
    for same in (store, opened()):
        assert [same.get(name) for name in ("log:a", "log:b", "empty")] == [b"one", b"two", b""]
        assert list(same.names()) == ["empty", "log:a", "log:b"]


def test_what_is_there_is_not_put_anew(opened: Open) -> None:
    ours, theirs = opened(), opened()
    assert ours.put_new({"a": b"ours"}) == {"a": b"ours"}
    assert theirs.put_new({"a": b"theirs", "b": b"theirs"}) == {"a": b"ours", "b": b"theirs"}
    assert {name: ours.get(name) for name in "ab"} == {"a": b"ours", "b": b"theirs"}
    with ours.together():
        ours.put("c", b"waits")
        assert ours.put_new({"c": b"later"}) == {"c": b"waits"}
    assert opened().get("c") == b"waits"


AT_ONCE = """
import sys, time
from pathlib import Path
from antiphon.engines.keyfiles import KeyRing, Unlock
from antiphon.engines.sealing import Seals
from antiphon.world.entropy import SystemEntropy
ring = KeyRing(Path(sys.argv[1]), Unlock(key=bytes(32)))
print("ready", flush=True)
sys.stdin.readline()
seals = Seals.of(ring, SystemEntropy())
print(seals._seal_key.hex(), seals._blind_key.hex())
"""


def test_processes_that_seal_for_the_first_time_at_once_have_one_key(tmp_path: Path) -> None:
    for attempt in range(3):
        path = tmp_path / f"keys{attempt}"
        KeyRing(path, Unlock(key=bytes(32)), create=True)
        many = [
            subprocess.Popen([sys.executable, "-c", AT_ONCE, str(path)], stdin=PIPE, stdout=PIPE, text=True)
            for _ in range(4)
        ]
        assert {one.stdout.readline() for one in many if one.stdout} == {"ready\n"}
        for one in many:
            assert one.stdin is not None
            one.stdin.write("now\n")
            one.stdin.flush()
        said = {one.communicate(timeout=60)[0] for one in many}
        assert len(said) == 1, "each would seal what the others cannot open"
        assert list(KeyRing(path, Unlock(key=bytes(32))).names()) == ["blind", "engines"]


def test_the_last_put_counts(opened: Open) -> None:
    store = opened()
    store.put("x", b"old")
    store.put("x", b"new")
    assert store.get("x") == opened().get("x") == b"new"


def test_what_is_destroyed_is_gone_everywhere(opened: Open) -> None:
    ours, theirs = opened(), opened()
    ours.put_all({f"k{at}": b"%d" % at for at in range(20)})
    assert theirs.get("k7") == b"7"
    assert ours.destroy("k7") is True
    assert ours.destroy("k7") is False
    ours.put_all({f"more{at}": b"%d" % at for at in range(20)})  # the file is longer again than what theirs has read
    for store in (ours, theirs, opened()):
        assert "k7" not in list(store.names())
        with pytest.raises(NotFound):
            store.get("k7")
        assert store.get("k8") == b"8"
        assert [store.get(f"more{at}") for at in range(20)] == [b"%d" % at for at in range(20)]


def test_several_openers_see_one_another(opened: Open) -> None:
    ours, theirs = opened(), opened()
    ours.put("a", b"1")
    theirs.put("b", b"2")
    assert ours.get("b") == b"2"
    assert theirs.get("a") == b"1"


# -- the ring itself -----------------------------------------------------------------------------------------------


def test_a_ring_needs_its_own_key(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    ring = KeyRing(path, Unlock(key=bytes(32)), create=True)
    ring.put("secret", b"s3cr3t-bytes")
    for wrong in (Unlock(key=b"x" * 32), Unlock(passphrase="x")):
        with pytest.raises(WrongKey):
            KeyRing(path, wrong)
    with pytest.raises(Conflict):
        KeyRing(path, Unlock(key=bytes(32)), create=True)
    assert b"s3cr3t" not in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    assert "s3cr3t" not in repr(ring) + repr(Unlock(passphrase="s3cr3t"))


def test_a_ring_can_change_its_lock(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    ring = KeyRing(path, Unlock(key=bytes(32)), create=True)
    ring.put("a", b"1")
    ring.rewrap(Unlock(key=b"n" * 32))
    assert ring.get("a") == b"1"
    assert KeyRing(path, Unlock(key=b"n" * 32)).get("a") == b"1"
    with pytest.raises(WrongKey):
        KeyRing(path, Unlock(key=bytes(32)))


def test_a_torn_last_line_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    KeyRing(path, Unlock(key=bytes(32)), create=True).put("a", b"1")
    whole = path.read_bytes()
    path.write_bytes(whole + b"b AAAA")
    ring = KeyRing(path, Unlock(key=bytes(32)))
    assert list(ring.names()) == ["a"]
    ring.put("c", b"3")
    assert KeyRing(path, Unlock(key=bytes(32))).get("a") == b"1"
    assert KeyRing(path, Unlock(key=bytes(32))).get("c") == b"3"
