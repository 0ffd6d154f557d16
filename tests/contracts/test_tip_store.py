"""What every `TipStore` promises. One factory an engine."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from antiphon.engines.sqlite.file import SqliteFile
from antiphon.engines.sqlite.tips import SqliteTips
from antiphon.model.table import Column, Table, Type
from antiphon.views.tips import TipStore

ONE, OTHER = (Table(name, key="id", columns=(Column("id", Type.ID, nullable=False),)) for name in ("one", "other"))
KEY, NEXT = b"k" * 16, b"n" * 16


@contextmanager
def sqlite(path: Path) -> Iterator[TipStore]:
    file = SqliteFile(path / "f.antiphon", bytes(32), create=True)
    with file.transaction():
        yield SqliteTips(file)
    file.close()


@contextmanager
def sqlite_generation(path: Path) -> Iterator[TipStore]:
    file = SqliteFile(path / "f.antiphon", bytes(32), create=True)
    with file.transaction():
        SqliteTips(file).keep(ONE, KEY, b"of those in use")
        SqliteTips(file).expect(ONE, KEY)
        yield SqliteTips(file, 1)
        assert SqliteTips(file).find(ONE, KEY) == b"of those in use"
        assert SqliteTips(file).is_expected(ONE, KEY)
    file.close()


@pytest.fixture(params=[sqlite, sqlite_generation])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TipStore]:
    factory: Callable[[Path], AbstractContextManager[TipStore]] = request.param
    with factory(tmp_path) as made:
        yield made


def test_a_tip_is_kept_by_table_and_key_until_another_takes_its_place(store: TipStore) -> None:
    assert store.find(ONE, KEY) is None
    store.keep(ONE, KEY, None)
    store.keep(ONE, KEY, b"1")
    store.keep(ONE, NEXT, b"2")
    store.keep(OTHER, KEY, b"3")
    store.keep(ONE, KEY, b"4")
    assert [store.find(ONE, KEY), store.find(ONE, NEXT), store.find(OTHER, KEY)] == [b"4", b"2", b"3"]
    store.keep(ONE, KEY, None)
    assert [store.find(ONE, KEY), store.find(ONE, NEXT), store.find(OTHER, KEY)] == [None, b"2", b"3"]


def test_what_is_expected_is_until_it_is_met(store: TipStore) -> None:
    assert not store.expects(ONE)
    store.met(ONE, KEY)
    store.expect(ONE, KEY)
    store.expect(ONE, KEY)
    store.expect(ONE, NEXT)
    assert store.expects(ONE)
    assert not store.expects(OTHER)
    assert [store.is_expected(ONE, KEY), store.is_expected(OTHER, KEY)] == [True, False]
    store.met(ONE, KEY)
    assert [store.is_expected(ONE, KEY), store.is_expected(ONE, NEXT)] == [False, True]
    assert store.expects(ONE)
    store.met(ONE, NEXT)
    assert not store.expects(ONE)


def test_a_table_is_dropped_with_both(store: TipStore) -> None:
    for table in (ONE, OTHER):
        store.keep(table, KEY, b"1")
        store.expect(table, KEY)
    store.drop(ONE)
    assert [store.find(ONE, KEY), store.find(OTHER, KEY)] == [None, b"1"]
    assert [store.expects(ONE), store.expects(OTHER)] == [False, True]
