"""Tables that are made when first written: whether one is there, also after a rollback, and for another reader."""

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from antiphon.engines.sqlite.figures import SqliteRejections
from antiphon.engines.sqlite.file import SqliteFile
from antiphon.engines.sqlite.made import MadeWhenWritten, is_made
from antiphon.engines.sqlite.mentions import SqliteMentions

PERSON = b"p" + bytes(16)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[SqliteFile]:
    made = SqliteFile(tmp_path / "x", bytes(32), create=True)
    yield made
    made.close()


def test_a_table_is_there_once_it_was_written_and_committed(file: SqliteFile) -> None:
    mine = MadeWhenWritten(file, "later")
    seen: list[bool] = []
    assert not mine.is_there
    with file.transaction():
        file.writer.execute("CREATE TABLE later(x)")
        assert mine.is_there
        other = Thread(target=lambda: seen.append(is_made(file.reader, "later")))
        other.start()
        other.join()
    assert seen == [False], "what is not committed is there for nobody else"
    assert mine.is_there


def stores() -> list[Any]:
    mentions = (SqliteMentions, lambda one: one.add([(PERSON, 1, 2)]), lambda one: one.find(PERSON))
    refused = (1, 2, "writer", "why")
    rejections = (SqliteRejections, lambda one: one.add("t", b"k", [refused]), lambda one: one.list())
    return [pytest.param(*mentions, id="mentions"), pytest.param(*rejections, id="rejections")]


@pytest.mark.parametrize(("kind", "write", "read"), stores())
def test_what_a_rollback_took_away_is_looked_for_again(
    file: SqliteFile, kind: Any, write: Callable[[Any], None], read: Callable[[Any], list[Any]]
) -> None:
    store = kind(file)
    assert read(store) == []
    with pytest.raises(ZeroDivisionError), file.transaction():  # noqa: PT012  # what is undone was there before
        write(store)
        assert len(read(store)) == 1
        raise ZeroDivisionError
    store.forget_caches()
    assert read(store) == []
    with file.transaction():
        write(store)
    assert len(read(store)) == 1
