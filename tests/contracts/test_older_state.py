"""Engines that come back in an older state: a standby that lacked the last commits, a restored backup, an older file.

What was lost is delivered again, and what was forgotten meanwhile is gone again, whoever notices: the feeder that lives
on, or one that begins.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from antiphon import Agent
from antiphon.engines.postgres.connection import Exhausted
from antiphon.engines.postgres.tables import PostgresTables
from antiphon.engines.redis.tables import RedisTables
from antiphon.engines.sealing import SealedSink
from antiphon.model.errors import Unavailable
from antiphon.replica.follow import Follower
from antiphon.views.feed import Fence, Marks, Sink
from servers import Postgres, Proxy, Valkey
from servers.process import hand_over
from servers.proxy import WITHIN_S, until
from tests.contracts.engines import OWN_POSTGRES, OWN_VALKEY, PATIENCE_MS, engine, seals
from tests.contracts.test_faults import everything
from tests.contracts.test_sink import MARK, TABLE, row
from tests.faults.engine import FaultyTables
from tests.unit.views.notes import NOTES_DOMAIN, Changed, Written

SECRET = "xylophonic"
LATE = 20


class Memory:
    """An engine of this process, whose state is copied."""

    def __init__(self) -> None:
        self.tables = Calm()
        self._kept: Any = None

    def engine(self) -> Sink:
        return self.tables

    def keep(self) -> None:
        self._kept = self.tables.state()

    def put_back(self) -> None:
        self.tables.put_back(self._kept)

    def holds(self) -> str:
        return str(self.tables._tables)


class Calm(FaultyTables):
    """Nothing goes wrong on the way to it."""

    def __init__(self) -> None:
        super().__init__(None, None)  # type: ignore[arg-type]

    def _maybe(self, what: str) -> bool:
        return False


class Sealed(Memory):
    """The same, where personal data is sealed."""

    def engine(self) -> Sink:
        return SealedSink(self.tables, seals())


class Standby:
    """A PostgreSQL that fails over to a standby which heard nothing for a while."""

    def __init__(self, server: Postgres, proxy: Proxy) -> None:
        self._server, self._proxy, self._fed = server, proxy, server
        self._standby: Postgres | None = None

    def engine(self) -> Sink:
        return PostgresTables(self._server.url(port=self._proxy.port))

    def keep(self) -> None:
        self._standby = self._server.standby()
        self._standby.stop()

    def put_back(self) -> None:
        assert self._standby is not None
        self._server.kill()
        self._standby.start()
        self._standby.promote()
        self._proxy.retarget(self._standby.port)
        self._fed = self._standby

    def holds(self) -> str:
        return everything("postgres", self._fed)

    def close(self) -> None:
        if self._standby is not None:
            self._standby.remove()


class OlderFile:
    """A Valkey whose append-only file is put back."""

    def __init__(self, server: Valkey) -> None:
        self._server = server
        self._saved = server.folder / "saved"

    def engine(self) -> Sink:
        return RedisTables(self._server.url())

    def keep(self) -> None:
        self._server.stop()
        shutil.copytree(self._server.folder / "appendonlydir", self._saved)
        self._server.start()

    def put_back(self) -> None:
        self._server.kill()
        there = self._server.folder / "appendonlydir"
        shutil.rmtree(there)
        shutil.copytree(self._saved, there)
        for path in (there, *there.iterdir()):
            hand_over(path)
        self._server.start()

    def holds(self) -> str:
        return everything("valkey", self._server)


@contextmanager
def place(kind: str) -> Iterator[Any]:
    if kind == "memory":
        yield Memory()
    elif kind == "sealed":
        yield Sealed()
    elif kind == "postgres":
        with Postgres() as postgres, Proxy(postgres.port) as proxy:
            made = Standby(postgres, proxy)
            try:
                yield made
            finally:
                made.close()
    else:
        with Valkey() as valkey:
            yield OlderFile(valkey)


KINDS = (
    "memory",
    "sealed",
    pytest.param("postgres", marks=OWN_POSTGRES),
    pytest.param("valkey", marks=OWN_VALKEY),
)


@pytest.fixture
def ada(own_home: Path) -> Iterator[Agent]:
    with Agent.create("ada", home=own_home, domains=[NOTES_DOMAIN]) as made:
        yield made


def settle(follower: Follower) -> None:
    def is_settled() -> bool:
        return follower.state == "following" and follower.idle and follower.lag().events == 0

    until(is_settled, within_s=2 * WITHIN_S, what=f"delivery ({follower.state}: {follower.error})")
    assert follower.letters() == []


def is_whole(follower: Follower, holds: Callable[[], str]) -> bool:
    """Whether engine and file agree, and what was forgotten is not there."""
    settle(follower)
    try:
        return not follower.check() and SECRET not in holds()
    except Unavailable:  # the connection is that to the server which is gone
        return False


@pytest.mark.parametrize("who", ["a feeder that lives on", "one that begins", "the epoch is older too"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_engine_in_an_older_state_gets_what_it_lost(kind: str, who: str, ada: Agent) -> None:
    with place(kind) as there, ExitStack() as sinks:

        def follow() -> Follower:
            sink = there.engine()
            sinks.callback(getattr(sink, "close", lambda: None))
            return ada.follow(sink, name="rows", tables=["notes", "board"], background=True)

        secret = ada.record("note.written", Written(f"the word {SECRET}")).entity
        old = ada.record("note.written", Written("first words")).entity
        follower = follow()
        settle(follower)
        assert SECRET in there.holds()
        there.keep()
        if who == "the epoch is older too":
            follower.close()
            follower = follow()
            settle(follower)
        ada.forget(entity=secret)
        ada.record("note.changed", Changed(text="second words"), entity=old)
        for n in range(LATE):
            ada.record("note.written", Written(f"late {n}"))
        settle(follower)
        assert is_whole(follower, there.holds)
        if who == "one that begins":
            follower.close()
        there.put_back()
        if who == "one that begins":
            follower = follow()
        until(lambda: is_whole(follower, there.holds), within_s=2 * WITHIN_S, what="delivering what was lost")
        ada.record("note.written", Written("after"))
        assert is_whole(follower, there.holds)
        assert not follower.has_ended
        follower.close()


@pytest.mark.server
@pytest.mark.parametrize("kind", ["postgres", "valkey"])
def test_an_engine_that_was_fed_before_there_were_marks_is_read_once_more(
    kind: str, ada: Agent, request: pytest.FixtureRequest
) -> None:
    with engine(kind, request) as sink:
        ada.record("note.written", Written("first words"))
        ada.follow(sink, name="rows", tables=["notes"]).run(patience_ms=PATIENCE_MS)
        epoch = sink.kept().epoch
        if kind == "postgres":
            with sink._server.transaction() as session:
                added = ", ".join(f"DROP COLUMN {name}" for name in ("mark", "owner", "forgets"))
                session.execute(f"ALTER TABLE {sink._q('_fence')} {added}")
        else:
            sink._client.set(sink._fence.name, str(epoch))
        assert sink.kept() == Fence(epoch)
        assert ada.follow(sink, name="rows", tables=["notes"]).run(patience_ms=PATIENCE_MS) == 1
        assert sink.kept().owner == ada.replica.file_id
        follower = ada.follow(sink, name="rows", tables=["notes"])
        assert follower.run(patience_ms=PATIENCE_MS) == 0
        assert follower.check() == []


@pytest.mark.server
def test_of_a_batch_that_is_divided_the_last_part_alone_moves_the_mark(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine("postgres", request) as sink:
        sink.prepare([TABLE])
        assert sink.fence(0, 1, mark=MARK)
        write, found = sink._write, []

        def narrow(turn: Any, by_table: Any, *, moves: bool) -> None:
            if sum(map(len, by_table.values())) > 1:
                raise Exhausted("that many at once are too many")
            found.append(sink.kept().mark)
            write(turn, by_table, moves=moves)

        monkeypatch.setattr(sink, "_write", narrow)
        sink.apply(1, [row(n, 5) for n in range(5)], marks=Marks(MARK, MARK + 1))
        assert found == [MARK] * 5
        assert sink.kept().mark == MARK + 1
