"""Clocks, chance and the marks that tell a copied file from the one that was written here."""

import json
from pathlib import Path

import pytest

from antiphon.world.clock import ManualClock, SystemClock
from antiphon.world.entropy import SeededEntropy, SystemEntropy
from antiphon.world.host import Host, Mark, still_ours


def test_a_clock_moved_by_hand() -> None:
    clock = ManualClock(1_000)
    clock.pass_ms(5)
    assert (clock.now_ms(), clock.monotonic_ms()) == (1_005, 5.0)
    clock.set_wall(10)
    assert (clock.now_ms(), clock.monotonic_ms()) == (10, 5.0)


def test_the_machines_clock_goes_on() -> None:
    clock = SystemClock()
    before = clock.monotonic_ms()
    assert clock.monotonic_ms() >= before
    assert clock.now_ms() > 1_700_000_000_000


def test_seeded_chance_repeats_and_draws_do_not() -> None:
    one, two = SeededEntropy(7), SeededEntropy(7)
    drawn = [one.bytes(32) for _ in range(50)]
    assert drawn == [two.bytes(32) for _ in range(50)]
    assert len(set(drawn)) == 50
    assert SeededEntropy(8).bytes(32) != drawn[0]


def test_the_systems_chance_has_the_length_asked_for() -> None:
    assert [len(SystemEntropy().bytes(count)) for count in (0, 1, 32)] == [0, 1, 32]
    assert SystemEntropy().bytes(32) != SystemEntropy().bytes(32)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    place = tmp_path / "a.antiphon"
    place.write_bytes(b"x")
    return place


def test_a_mark_is_kept_outside_and_comes_back(file: Path, tmp_path: Path) -> None:
    host = Host(tmp_path / "state", "machine")
    mark = host.observe(file, incarnation="one", events=3)
    assert host.recall(b"id") is None
    host.keep(b"id", mark)
    assert host.recall(b"id") == mark
    assert Host(tmp_path / "state", "machine").recall(b"id") == mark
    assert host.recall(b"other") is None
    assert [path.suffix for path in (tmp_path / "state" / "marks").iterdir()] == [".json"]


@pytest.mark.parametrize("damage", [b"", b"{", b"null", json.dumps({"machine": 1}).encode()])
def test_a_damaged_mark_is_no_mark(file: Path, tmp_path: Path, damage: bytes) -> None:
    host = Host(tmp_path / "state", "machine")
    host.keep(b"id", host.observe(file, incarnation="one", events=3))
    next((tmp_path / "state" / "marks").iterdir()).write_bytes(damage)
    assert host.recall(b"id") is None


MARK = Mark("machine", "/a", 1, 2, "one", 10)


@pytest.mark.parametrize(
    ("changes", "ours"),
    [
        ({}, True),
        ({"events": 11}, True),
        ({"path": "/b"}, True),
        ({"device": 9}, True),
        ({"machine": "another"}, False),
        ({"incarnation": "two"}, False),
        ({"inode": 3}, False),
        ({"events": 9}, False),
        ({"path": "/b", "device": 9}, False),
    ],
)
def test_which_files_are_still_ours(changes: dict[str, object], ours: bool) -> None:
    now = Mark(**{name: changes.get(name, getattr(MARK, name)) for name in MARK.__struct_fields__})
    assert still_ours(MARK, now) is ours


def test_without_a_mark_a_file_is_a_copy() -> None:
    assert not still_ours(None, MARK)
