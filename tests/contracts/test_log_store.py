"""What every `LogStore` promises. An engine joins by one factory: a context that gives a store and its transaction."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import pytest

from antiphon.engines.sqlite.file import SqliteFile
from antiphon.engines.sqlite.logs import SqliteLogs
from antiphon.log.store import BlockRow, LogHead, LogRole, LogStore, RunRow

BLOCK = 1_024


class Engine(NamedTuple):
    store: LogStore
    transaction: Callable[[], AbstractContextManager[None]]
    reopened: Callable[[], LogStore]


@pytest.fixture(params=["sqlite/aegis", "sqlite/sqlcipher"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    cipher = request.param.partition("/")[2]
    path, key = tmp_path / "x.antiphon", bytes(range(32))
    files = [SqliteFile(path, key, cipher=cipher, create=True)]

    def reopened() -> LogStore:
        files.append(SqliteFile(path, key, cipher=cipher))
        return SqliteLogs(files[-1])

    yield Engine(SqliteLogs(files[0]), files[0].transaction, reopened)
    for file in files:
        file.close()


def head(at: int = 1) -> LogHead:
    return LogHead(0, bytes([at]) * 32, b"o" * 32, b"k" * 32)


def added(engine: Engine, at: int = 1) -> LogHead:
    made = head(at)
    with engine.transaction():
        engine.store.save_head(made)
    return made


def test_what_is_absent_is_none(engine: Engine) -> None:
    assert list(engine.store.heads()) == []
    assert engine.store.head(b"x" * 32) is None
    assert engine.store.block(1, 0) is None
    assert list(engine.store.blocks(1)) == []
    assert engine.store.frame(1, 0) is None
    assert engine.store.runs(1, 0, BLOCK) == []


def test_a_new_head_gets_a_number_and_comes_back_whole(engine: Engine) -> None:
    made = [added(engine, at) for at in (1, 2, 3)]
    assert len({one.no for one in made} - {0}) == 3
    changed = made[1]
    changed.size, changed.hlc, changed.frontier, changed.note = 7, 1 << 62, b"f", b"n"
    changed.role, changed.resets = LogRole.PAST, [(3, 9), (5, 11)]
    with engine.transaction():
        engine.store.save_head(changed)
        engine.store.save_head(changed)
    assert engine.store.head(changed.id) == changed
    assert list(engine.store.heads()) == sorted(made, key=lambda one: one.no)
    assert list(engine.reopened().heads()) == sorted(made, key=lambda one: one.no)


def test_a_run_comes_back_in_order_and_replaces_its_own_start(engine: Engine) -> None:
    no = added(engine).no
    with engine.transaction():
        for first in (5, 0, 2, BLOCK):
            engine.store.save_run(no, RunRow(first, 2, b"%d" % first))
        engine.store.save_run(no, RunRow(2, 3, b"again"))
    assert engine.store.runs(no, 0, BLOCK) == [RunRow(0, 2, b"0"), RunRow(2, 3, b"again"), RunRow(5, 2, b"5")]
    assert engine.store.runs(no, 1, 5) == [RunRow(2, 3, b"again")]
    assert engine.store.runs(no + 1, 0, 2 * BLOCK) == []


def test_a_packed_block_replaces_its_frames_and_the_runs_it_covers(engine: Engine) -> None:
    no, other = added(engine, 1).no, added(engine, 2).no
    with engine.transaction():
        for log in (no, other):
            for first in (0, 10, 20, BLOCK):
                engine.store.save_run(log, RunRow(first, 10, b"r"))
        block = BlockRow(0, 20, b"s" * 32, b"", b"c")
        engine.store.save_block(no, block, [(0, b"f0"), (15, b"f1")])
    assert engine.store.block(no, 0) == block
    assert [run.first for run in engine.store.runs(no, 0, 2 * BLOCK)] == [20, BLOCK]
    assert [run.first for run in engine.store.runs(other, 0, 2 * BLOCK)] == [0, 10, 20, BLOCK]
    assert (engine.store.frame(no, 0), engine.store.frame(no, 15), engine.store.frame(other, 0)) == (b"f0", b"f1", None)
    with engine.transaction():
        engine.store.save_block(no, BlockRow(0, 30, b"t" * 32, b"r" * 32, b"d"), [(0, b"g0")])
    assert (engine.store.frame(no, 0), engine.store.frame(no, 15)) == (b"g0", None)
    assert list(engine.store.blocks(no)) == [(0, 30, b"r" * 32)]


def test_a_block_saved_without_frames_keeps_frames_and_runs(engine: Engine) -> None:
    no = added(engine).no
    with engine.transaction():
        engine.store.save_block(no, BlockRow(0, 10, b"s" * 32, b"", b"c"), [(0, b"f")])
        engine.store.save_run(no, RunRow(10, 5, b"r"))
        engine.store.save_block(no, BlockRow(0, 10, b"s" * 32, b"r" * 32, b"c"), None)
        engine.store.save_block(no, BlockRow(0, 10, b"s" * 32, b"r" * 32, b"c"), None)
    assert engine.store.frame(no, 0) == b"f"
    assert engine.store.runs(no, 0, BLOCK) == [RunRow(10, 5, b"r")]
    assert list(engine.store.blocks(no)) == [(0, 10, b"r" * 32)]


def test_blocks_come_in_order_of_their_log_alone(engine: Engine) -> None:
    no, other = added(engine, 1).no, added(engine, 2).no
    with engine.transaction():
        for first in (2 * BLOCK, 0, BLOCK):
            engine.store.save_block(no, BlockRow(first, 0, b"s" * 32), None)
        engine.store.save_block(other, BlockRow(0, 0, b"s" * 32), None)
    assert [first for first, _, _ in engine.store.blocks(no)] == [0, BLOCK, 2 * BLOCK]


def test_a_transaction_that_fails_leaves_nothing(engine: Engine) -> None:
    no = added(engine).no
    with pytest.raises(RuntimeError), engine.transaction():  # noqa: PT012  # each of them must be undone
        engine.store.save_head(head(9))
        engine.store.save_block(no, BlockRow(0, 1, b"s" * 32, b"", b"c"), [(0, b"f")])
        engine.store.save_run(no, RunRow(1, 1, b"r"))
        raise RuntimeError
    assert [one.no for one in engine.store.heads()] == [no]
    assert engine.store.block(no, 0) is None
    assert engine.store.frame(no, 0) is None
    assert engine.store.runs(no, 0, BLOCK) == []
