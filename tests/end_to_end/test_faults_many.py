"""Two thousand agents, in one file and in a file each.

Expected: all can be written, recalled across and verified; of many files only a bounded number is open at once, and the
process's own file handles stay bounded with it.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import pytest

from antiphon import Fleet
from antiphon.model.errors import NotFound

MANY = 2_000


def _handles() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir()) if sys.platform == "linux" else 0


def _fill(fleet: Fleet, names: list[str]) -> None:
    for number, name in enumerate(names):
        fleet.agent(name).remember(f"I am {name} and like {'tea' if number % 2 else 'coffee'}")


def test_many_agents_in_one_file(tmp_path: Path) -> None:
    names = [f"agent{number:04}" for number in range(MANY)]
    with Fleet.create(tmp_path / "fleet") as fleet:
        fleet.add_all(names)
        with fleet.batch() as batch:
            for name in names:
                batch.remember(name, f"I am {name} and like tea")
        assert len(batch.recorded) == MANY
        assert fleet.names() == names
        fleet.agent(names[7]).remember("a secret of seven")
        assert [hit.author for hit in fleet.recall("secret")] == [names[7]]
        assert len(fleet.recall("tea", limit=50)) == 50
        fleet.forget_agent(names[7])
        assert fleet.recall("secret") == []
    with Fleet.open(tmp_path / "fleet") as fleet:
        assert fleet.agent(names[-1]).recall("tea")
        sizes = [verdict.size for verdict in fleet.verify() if verdict.ok]
        assert len(sizes) == MANY + 1
        with pytest.raises(NotFound):
            fleet.agent("nobody")


def _many_files(folder: Path, count: int, open_files_max: int) -> None:
    names = [f"agent{number:04}" for number in range(count)]
    before = _handles()
    with Fleet.create(folder / "fleet", one_file=False, open_files_max=open_files_max) as fleet:
        fleet.add_all(names)
        _fill(fleet, names)
        assert len(fleet._open) <= open_files_max
        assert _handles() - before <= 8 * open_files_max + 16
        some = names[:: max(1, count // 100)]
        _fill(fleet, some)
        assert len(fleet.recall("like", limit=1_000, agents=some)) == 2 * len(some)
        assert all(fleet.agent(name).verify().ok for name in some)
        assert _handles() - before <= 8 * open_files_max + 16
    assert _handles() <= before + 4
    with Fleet.open(folder / "fleet", open_files_max=open_files_max) as fleet:
        assert fleet.names() == names
        assert fleet.agent(names[0]).recall("coffee")
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 0


def test_more_files_than_may_be_open(tmp_path: Path) -> None:
    _many_files(tmp_path, 24, 6)


@pytest.mark.slow
def test_two_thousand_files(tmp_path: Path) -> None:
    _many_files(tmp_path, MANY, 64)
