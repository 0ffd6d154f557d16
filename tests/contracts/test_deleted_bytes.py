"""What a deleted row leaves in a server's own files: the feeder has it taken out where that is cheap."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from antiphon.engines.postgres.scrubbing import SCRUB_EVERY_MS
from antiphon.engines.postgres.tables import PostgresTables
from antiphon.engines.redis.rewriting import REWRITE_EVERY_MS, Rewriting
from antiphon.engines.redis.tables import RedisTables
from antiphon.model.places import Places, Relational
from antiphon.model.table import ANYONE, READ_ALL, Column, Table, Type
from antiphon.views.feed import Change, version_of
from antiphon.world.clock import ManualClock
from servers import Postgres, Valkey

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("own_home")]
WORD = "xylophonic"
WORDS = Table(
    "words",
    key="id",
    columns=(Column("id", Type.ID, nullable=False), Column("word", Type.TEXT)),
    shared=True,
    writers=ANYONE,
    access=READ_ALL,
    places=Places(relational=Relational()),
)


def change(n: int, word: str | None, offset: int) -> Change:
    key = bytes([n]) * 16
    return Change("words", key, version_of(1, offset), None if word is None else {"id": key, "word": word})


def filled(sink: Any) -> None:
    sink.prepare([WORDS])
    sink.fence(0, 1)
    sink.apply(1, [change(1, "before", 1), change(2, f"so {WORD}", 2), *(change(n, "after", n) for n in range(3, 60))])


def holding(folder: Path) -> list[str]:
    found = []
    for path in folder.rglob("*"):
        try:
            if path.is_file() and WORD.encode() in path.read_bytes():
                found.append(str(path.relative_to(folder)))
        except FileNotFoundError:  # a server drops files of its own while we look
            continue
    return found


def heap(postgres: Postgres, sink: Any) -> list[str]:
    with sink._server.transaction() as session:
        session.execute("CHECKPOINT")
    return [name for name in holding(postgres.folder) if "pg_wal" not in name and "/base/" in f"/{name}"]


@pytest.mark.needs("own postgres")
def test_a_page_is_vacuumed_when_its_row_was_deleted_and_not_at_each_pulse() -> None:
    clock = ManualClock(1)
    with Postgres() as postgres:
        sink = PostgresTables(postgres.url())
        sink._scrubbing._clock = clock
        filled(sink)
        sink.pulse(1)
        assert heap(postgres, sink)
        sink.apply(1, [change(2, None, 100)])
        assert heap(postgres, sink), "deleted, and there still"
        sink.pulse(1)
        assert heap(postgres, sink) == []
        sink.apply(1, [change(3, None, 101)])
        assert sink._scrubbing.run() == []
        clock.pass_ms(SCRUB_EVERY_MS)
        assert sink._scrubbing.run() == ["words"]
        clock.pass_ms(SCRUB_EVERY_MS)
        assert sink._scrubbing.run() == [], "nothing was deleted since"
        sink.apply(1, [change(4, None, 102)])
        with sink._server.transaction() as session:
            session.execute("ALTER TABLE antiphon.words RENAME TO elsewhere")
        sink.pulse(1)
        sink.close()


@pytest.mark.needs("own valkey")
def test_the_append_only_file_is_written_anew_when_a_row_was_deleted() -> None:
    with Valkey(append_only=True) as valkey:
        sink = RedisTables(valkey.url())
        filled(sink)
        sink.pulse(1)
        assert holding(valkey.folder)
        sink.apply(1, [change(2, None, 100)])
        sink.pulse(1)
        end = time.monotonic() + 20
        while holding(valkey.folder) and time.monotonic() < end:
            time.sleep(0.1)
        assert holding(valkey.folder) == []
        sink.close()


@pytest.mark.needs("own valkey")
def test_it_is_asked_for_now_and_then_and_only_where_there_is_one() -> None:
    clock = ManualClock(1)
    with Valkey(append_only=True) as valkey, Valkey(append_only=False) as without:
        sink = RedisTables(valkey.url())
        asked = Rewriting(sink._client, clock=clock)
        assert not asked.run()
        asked.deleted()
        assert asked.run()
        asked.deleted()
        assert not asked.run()
        clock.pass_ms(REWRITE_EVERY_MS)
        while sink._client.info("persistence")["aof_rewrite_in_progress"]:
            time.sleep(0.01)
        assert asked.run()
        plain = RedisTables(without.url())
        alone = Rewriting(plain._client, clock=clock)
        alone.deleted()
        assert not alone.run()
        without.kill()
        clock.pass_ms(REWRITE_EVERY_MS)
        alone.deleted()
        assert not alone.run(), "and a server that is away stops nobody"
        sink.close()
        plain.close()
