"""Secrets: wrapped, bound to their names, kept by several processes at once, and gone when destroyed."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines import keyfiles
from antiphon.engines.keyfiles import KeyRing, Unlock
from antiphon.identity import keystore
from antiphon.model.errors import Conflict, Corrupt, InvalidInput, NotFound, WrongKey
from antiphon.world.entropy import SeededEntropy, SystemEntropy

KEY, OTHER = b"k" * 32, b"o" * 32
PHRASE = "correct horse"


@pytest.fixture(autouse=True)
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2id at its least: its cost is not what these tests are about."""
    monkeypatch.setattr(keystore, "ARGON2_OPS", 1)
    monkeypatch.setattr(keystore, "ARGON2_MEMORY_BYTES", 8_192)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "keys"


# -- wrapping --------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=100), st.text(max_size=20))
def test_what_is_wrapped_is_unwrapped_by_its_key_and_name_alone(secret: bytes, name: str) -> None:
    sealed = keystore.wrap(secret, name=name, kek=KEY, entropy=SystemEntropy())
    assert keystore.unwrap(sealed, name=name, kek=KEY) == secret
    for wrong in ({"name": name, "kek": OTHER}, {"name": name + "x", "kek": KEY}):
        with pytest.raises(WrongKey):
            keystore.unwrap(sealed, **wrong)
    assert len(sealed) == 24 + len(secret) + 16


def test_the_same_secret_is_never_sealed_the_same() -> None:
    assert len({keystore.wrap(b"s", name="n", kek=KEY, entropy=SystemEntropy()) for _ in range(20)}) == 20


@pytest.mark.parametrize("at", range(24 + 4 + 16))
def test_a_flipped_byte_does_not_open(at: int) -> None:
    sealed = bytearray(keystore.wrap(b"seed", name="n", kek=KEY, entropy=SeededEntropy(1)))
    sealed[at] ^= 1
    with pytest.raises(WrongKey):
        keystore.unwrap(bytes(sealed), name="n", kek=KEY)


@pytest.mark.parametrize("length", [0, 10, 24, 39])
def test_cut_short_does_not_open(length: int) -> None:
    sealed = keystore.wrap(b"", name="n", kek=KEY, entropy=SeededEntropy(1))
    with pytest.raises(WrongKey):
        keystore.unwrap(sealed[:length], name="n", kek=KEY)


def test_stretching_depends_on_everything() -> None:
    made = {
        keystore.stretch(phrase, salt, ops=ops, memory_bytes=memory)
        for phrase in ("a", "b")
        for salt in (bytes(16), b"x" * 16)
        for ops in (1, 2)
        for memory in (8_192, 16_384)
    }
    assert len(made) == 16
    assert {len(key) for key in made} == {32}


# -- the ring --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unlock", [Unlock(key=KEY), Unlock(passphrase=PHRASE), Unlock(passphrase="пароль 🔑")])
def test_secrets_come_back_after_opening_again(place: Path, unlock: Unlock) -> None:
    ring = KeyRing(place, unlock, create=True)
    ring.put("a", b"one")
    ring.put_all({"b": b"two", "c": b""})
    ring.put("a", b"three")
    again = KeyRing(place, unlock)
    assert {name: again.get(name) for name in again.names()} == {"a": b"three", "b": b"two", "c": b""}
    assert place.stat().st_mode & 0o077 == 0
    with pytest.raises(NotFound):
        again.get("d")


@pytest.mark.parametrize(
    ("made", "tried"),
    [
        (Unlock(key=KEY), Unlock(key=OTHER)),
        (Unlock(key=KEY), Unlock(passphrase=PHRASE)),
        (Unlock(key=KEY), Unlock()),
        (Unlock(passphrase=PHRASE), Unlock(passphrase="wrong")),
        (Unlock(passphrase=PHRASE), Unlock(key=KEY)),
        (Unlock(passphrase=PHRASE), Unlock()),
    ],
    ids=repr,
)
def test_the_wrong_key_opens_nothing(place: Path, made: Unlock, tried: Unlock) -> None:
    KeyRing(place, made, create=True).put("a", b"secret")
    with pytest.raises(WrongKey):
        KeyRing(place, tried)


def test_a_key_of_another_length_is_refused(place: Path) -> None:
    with pytest.raises(InvalidInput):
        KeyRing(place, Unlock(key=b"short"), create=True)


def test_a_ring_is_not_made_twice_nor_opened_where_there_is_none(place: Path) -> None:
    with pytest.raises(NotFound):
        KeyRing(place, Unlock(key=KEY))
    KeyRing(place, Unlock(key=KEY), create=True)
    with pytest.raises(Conflict):
        KeyRing(place, Unlock(key=KEY), create=True)


@pytest.mark.parametrize("name", ["", "a b", "a\nb", "a\tb"])
def test_names_that_would_break_lines_are_refused(place: Path, name: str) -> None:
    with pytest.raises(InvalidInput):
        KeyRing(place, Unlock(key=KEY), create=True).put(name, b"s")


def test_nothing_shows_a_secret(place: Path) -> None:
    ring = KeyRing(place, Unlock(passphrase=PHRASE), create=True)
    ring.put("a", b"very secret indeed")
    assert b"very secret" not in place.read_bytes()
    for text in (repr(ring), repr(Unlock(passphrase=PHRASE)), repr(Unlock(key=KEY)), str(Unlock(key=KEY))):
        assert PHRASE not in text
        assert "kkkk" not in text
        assert KEY.hex() not in text


def test_what_is_destroyed_is_gone_from_the_bytes(place: Path) -> None:
    ring = KeyRing(place, Unlock(key=KEY), create=True)
    ring.put_all({"keep": b"1", "gone": b"2"})
    line = next(line for line in place.read_bytes().split(b"\n") if line.startswith(b"gone "))
    old = place.open("rb")  # whoever still holds the old file sees that it was overwritten, too
    assert ring.destroy("gone")
    assert not ring.destroy("gone")
    assert line.split()[1] not in place.read_bytes()
    assert old.read().strip(b"\0") == b""
    old.close()
    with pytest.raises(NotFound):
        ring.get("gone")
    assert KeyRing(place, Unlock(key=KEY)).get("keep") == b"1"
    assert ring.get("keep") == b"1"
    assert not place.with_suffix(".new").exists()


def test_rewrapping_changes_the_lock_and_no_secret(place: Path) -> None:
    ring = KeyRing(place, Unlock(key=KEY), create=True)
    ring.put_all({"a": b"1", "b": b"2"})
    before = place.read_bytes()
    ring.rewrap(Unlock(passphrase=PHRASE))
    assert [ring.get(name) for name in ("a", "b")] == [b"1", b"2"]
    ring.put("c", b"3")
    with pytest.raises(WrongKey):
        KeyRing(place, Unlock(key=KEY))
    again = KeyRing(place, Unlock(passphrase=PHRASE))
    assert [again.get(name) for name in ("a", "b", "c")] == [b"1", b"2", b"3"]
    assert not set(before.split()) & (set(place.read_bytes().split()) - {b"a", b"b", b"check"})


def test_two_that_have_it_open_see_each_other(place: Path) -> None:
    one, two = KeyRing(place, Unlock(key=KEY), create=True), KeyRing(place, Unlock(key=KEY))
    one.put("a", b"1")
    assert two.get("a") == b"1"
    two.put("b", b"2")
    assert sorted(one.names()) == ["a", "b"]
    one.destroy("a")
    two.put("c", b"a secret that makes the file longer than it was before")
    assert one.get("c").startswith(b"a secret")
    assert list(two.names()) == ["b", "c"]
    with pytest.raises(NotFound):
        two.get("a")


def test_a_secret_is_not_lost_when_another_changes_the_passphrase(place: Path) -> None:
    one, two = KeyRing(place, Unlock(key=KEY), create=True), KeyRing(place, Unlock(key=KEY))
    one.put("a", b"1")
    one.rewrap(Unlock(key=OTHER))
    with pytest.raises(WrongKey, match="another process"):
        two.put("b", b"would be unreadable")
    assert list(KeyRing(place, Unlock(key=OTHER)).names()) == ["a"]


def test_who_has_it_open_goes_on_reading_when_another_changes_the_passphrase(place: Path) -> None:
    one, two = KeyRing(place, Unlock(key=KEY), create=True), KeyRing(place, Unlock(key=KEY))
    one.put_all({"a": b"1", "b": b"2"})
    assert two.get("a") == b"1"
    for passphrase in ("first", "second", "third"):
        one.rewrap(Unlock(passphrase=passphrase))
        one.put(passphrase, b"x")
        assert [two.get(name) for name in ("a", "b")] == [b"1", b"2"]
        assert list(two.names()) == ["a", "b"]
    with pytest.raises(NotFound):
        two.get("first")
    for change in (lambda: two.destroy("a"), lambda: two.rewrap(Unlock(key=KEY)), lambda: two.put("c", b"3")):
        with pytest.raises(WrongKey, match="another process"):
            change()
    again = KeyRing(place, Unlock(passphrase="third"))
    assert [again.get(name) for name in again.names()] == [b"1", b"2", *[b"x"] * 3]


CHANGE = """
import os, signal, sys
from pathlib import Path
from antiphon.engines.keyfiles import KeyRing, Unlock
from antiphon.identity import keystore
keystore.ARGON2_OPS, keystore.ARGON2_MEMORY_BYTES = 1, 8_192
ring, left = KeyRing(Path(sys.argv[1]), Unlock(key=b"k" * 32)), [int(sys.argv[2])]
def dies(real):
    def call(*args, **given):
        left[0] -= 1
        if left[0] == 0: os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **given)
    return call
os.open, os.fsync, Path.replace = dies(os.open), dies(os.fsync), dies(Path.replace)
ring.rewrap(Unlock(passphrase="new"))
"""


def test_killed_at_any_moment_it_opens_by_the_old_or_by_the_new(tmp_path: Path) -> None:
    source = Path(keyfiles.__file__).parents[2]
    opened = []
    for moment in range(1, 12):
        place = tmp_path / str(moment)
        KeyRing(place, Unlock(key=KEY), create=True).put("a", b"1")
        env = {**os.environ, "PYTHONPATH": str(source)}
        done = subprocess.run([sys.executable, "-c", CHANGE, str(place), str(moment)], env=env, check=False, timeout=60)
        for unlock in (Unlock(key=KEY), Unlock(passphrase="new")):
            with contextlib.suppress(WrongKey):
                ring = KeyRing(place, unlock)
                ring.put("b", b"2")
                assert [ring.get(name) for name in ring.names()] == [b"1", b"2"]
                opened.append(unlock.passphrase)
        assert len(opened) == moment, "by exactly one of them"
        if not done.returncode:
            break
    assert opened[0] is None
    assert opened[-2:] == ["new", "new"], "killed once it was changed, and not killed at all"
    assert not done.returncode


def test_two_processes_append_and_nothing_is_lost(place: Path) -> None:
    KeyRing(place, Unlock(key=KEY), create=True)
    code = (
        "import sys\nfrom pathlib import Path\nfrom antiphon.engines.keyfiles import KeyRing, Unlock\n"
        "ring = KeyRing(Path(sys.argv[1]), Unlock(key=b'k' * 32))\n"
        "for n in range(40): ring.put(f'{sys.argv[2]}{n}', f'{sys.argv[2]} {n}'.encode())\n"
    )
    source = Path(keyfiles.__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": str(source)}
    running = [subprocess.Popen([sys.executable, "-c", code, str(place), who], env=env) for who in ("x", "y")]
    assert [process.wait(60) for process in running] == [0, 0]
    ring = KeyRing(place, Unlock(key=KEY))
    assert {name: ring.get(name) for name in ring.names()} == {
        f"{who}{n}": f"{who} {n}".encode() for who in "xy" for n in range(40)
    }


@pytest.mark.parametrize("damage", [b"", b"{}\n", b"not json\n", b'{"antiphon":"keyring/v9"}\n', b'{"antiphon":1}\n'])
def test_a_damaged_ring_is_said_to_be_one(place: Path, damage: bytes) -> None:
    place.write_bytes(damage)
    with pytest.raises((Corrupt, WrongKey)):
        KeyRing(place, Unlock(key=KEY))


SETTINGS = ['"salt":"zz"', '"salt":""', '"ops":-1', '"ops":0', '"ops":1000000000', '"memory_bytes":1']
SETTINGS += ['"memory_bytes":1e300', '"memory_bytes":-5', '"memory_bytes":4611686018427387904', '"salt":5']


@pytest.mark.parametrize("head", SETTINGS)
def test_hostile_settings_open_nothing(place: Path, head: str) -> None:
    fields = {"salt": '"salt":"' + "00" * 16 + '"', "ops": '"ops":1', "memory_bytes": '"memory_bytes":8192'}
    fields[head.split('"')[1]] = head
    place.write_text('{"antiphon":"keyring/v1","kdf":"argon2id",' + ",".join(fields.values()) + "}\ncheck AAAA\n")
    with pytest.raises((Corrupt, WrongKey)):
        KeyRing(place, Unlock(passphrase=PHRASE))
