"""A process that hears erasures is killed (kill -9) behind each of its transactions, one after the other.

Expected: rows and logs are in step at every moment, whoever opens the file next goes on where it was, and in the end
what was erased is in no byte of the file, or, where its key was revoked in between, in the rows as it was before.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from antiphon.engines.sqlite import pages
from antiphon.engines.sqlite.file import SqliteFile
from antiphon.log import kinds
from antiphon.log.ingest import Part, parts_of
from antiphon.log.store import LogHead
from antiphon.model import limits
from antiphon.model.event import NEW, Event, State
from antiphon.replica import enrol
from antiphon.replica.core import Replica
from antiphon.replica.hear import hear, receive
from antiphon.views.domain import Registry
from tests.simulation.views_world import Cast, World, held, sound
from tests.unit.views.every_rule import domain

NEEDLE = "Quetzalcoatlus over Xochimilco"
KEY = bytes(range(32))
Delivery = tuple[LogHead, list[Part]]


@pytest.fixture
def world(people: Cast) -> Iterator[World]:
    made = World(people, domain, replicas=1)
    yield made
    made.close()


def opened(world: World, path: Path) -> Replica:
    return Replica.open(path, KEY, Registry([domain()]), world.cast.ring, clock=world.here, background=False)


def delivery(world: World, log: bytes) -> Delivery:
    head = world.source.head(log)
    return head, list(parts_of(world.source.logs, world.source.reader, head, shared=True))


def take(replica: Replica, given: Delivery) -> None:
    head, parts = given
    receive(replica, LogHead(0, head.id, head.owner, head.key), parts, head.note)


def killed(path: Path, commits: int, world: World, work: Callable[[Replica], None]) -> bool:
    """Does this in a process of its own, which dies behind so many commits; whether it did before it was through."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            _count_down(commits)
            replica = opened(world, path)
            work(replica)
            replica.file.close()
            os._exit(0)
        os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def _count_down(left: int) -> None:
    whole: Any = SqliteFile.transaction

    @contextlib.contextmanager
    def counted(self: SqliteFile) -> Iterator[None]:
        nonlocal left
        outermost = not self.is_writing
        with whole(self):
            yield
        if outermost:
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    SqliteFile.transaction = counted  # type: ignore[method-assign]


def begin(world: World) -> tuple[Event, LogHead, Path, dict[str, Any]]:
    """A file that has heard of a secret, closed; the head of its log then, and the rows."""
    world.write(0, "thing.made", {"name": "kept"}, entity=NEW)
    secret = world.write(0, "thing.made", {"name": NEEDLE}, entity=NEW)
    world.write(1, "thing.changed", {"first": "seen"}, entity=secret.entity)
    before = world.source.head(secret.log)
    world.deliver_all(0)
    here = world.replicas[0]
    shown = held(here)
    here.close()
    world.write(0, kinds.ERASED, kinds.erased([secret.seq], "asked")[0].body, entity=None)
    return secret, before, here.file.path, shown


def each_kill(world: World, path: Path, work: Callable[[Replica], None]) -> Iterator[Replica]:
    """The file as each kill left it, open."""
    at, was_killed = 0, True
    start = world.here.now_ms()
    while was_killed:
        at += 1
        copy = path.with_name(f"{path.stem}-{at}.antiphon")
        shutil.copyfile(path, copy)
        world.here.set_wall(start)
        was_killed = killed(copy, at, world, work)
        with opened(world, copy) as replica:
            yield replica
        copy.unlink()
    assert at > 3


def names(replica: Replica) -> list[str]:
    return sorted(row["name"] for row, _ in held(replica)["things"].values())


def test_killed_while_it_is_hidden_and_destroyed(world: World) -> None:
    secret, _, path, _ = begin(world)
    given = delivery(world, secret.log)

    def work(replica: Replica) -> None:
        take(replica, given)
        world.here.pass_ms(limits.ERASURE_HOLD_MS)
        hear(replica)

    for replica in each_kill(world, path, work):
        head = replica.head(secret.log)
        assert names(replica) == (["kept"] if head.size == given[0].size else [NEEDLE, "kept"])
        sound(replica)
        take(replica, given)
        assert names(replica) == ["kept"]
        world.here.pass_ms(limits.ERASURE_HOLD_MS)
        hear(replica)
        assert replica.reader.loaded(replica.head(secret.log), secret.seq).state(secret.seq) == State.ERASED
        sound(replica)
        replica.scrub_if_pending()
        assert pages.find_text(replica.file.path, KEY, NEEDLE.encode(), "aegis") == []
    world.replicas[0] = opened(world, path)


def test_killed_while_it_comes_back(world: World) -> None:
    secret, before, path, shown = begin(world)
    erasure = delivery(world, secret.log)
    enrol.revoke(world.source, world.cast.homes[0], before)
    revocation = delivery(world, world.cast.homes[0])

    def work(replica: Replica) -> None:
        take(replica, erasure)
        world.here.pass_ms(limits.ERASURE_HOLD_MS - 1)
        take(replica, revocation)

    for replica in each_kill(world, path, work):
        sound(replica)
        assert names(replica) in ([NEEDLE, "kept"], ["kept"])
        take(replica, erasure)
        take(replica, revocation)
        assert held(replica) == shown
        world.here.pass_ms(2 * limits.ERASURE_HOLD_MS)
        hear(replica)
        assert held(replica) == shown
        sound(replica)
    world.replicas[0] = opened(world, path)
