"""What the region demo does, step by step: two engines follow, one is killed, somebody is forgotten, all are equal."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import msgspec
import psycopg
import redis
from rich.console import Console

from antiphon import Fleet
from antiphon.demo import corpus
from antiphon.engines.urls import sealed_engine_at, tables_for
from antiphon.replica.follow import Difference, Follower
from servers import NotReady, Postgres, Valkey
from servers.process import hand_over
from servers.region import asking, searching
from servers.region.interrupts import Interrupts
from servers.region.searching import Place
from servers.region.talks import read_talks
from servers.region.watching import Sample, Watch, waiting
from servers.region.writing import Chatting, Wrote

KILLED_AT: Final = 0.35
STARTED_AT: Final = 0.6
"""Shares of the conversations after which PostgreSQL dies, and is started again."""
SETTLED_S_MAX: Final = 180.0
"""Of a machine that others keep busy."""
STORE: Final = "PostgreSQL"
CACHE: Final = "Valkey"


class Rows(msgspec.Struct, frozen=True):
    """How many rows of a table each has; None where its declaration does not send it there."""

    table: str
    file: int
    store: int | None
    cache: int | None


class Figures(msgspec.Struct):
    """What the region demo measured. *Units*: seconds, ms where named so."""

    agents: int = 0
    versions: dict[str, str] = {}
    lacks: list[str] = []
    tables: dict[str, int] = {}
    prepared_s: float = 0.0
    wrote: Wrote = msgspec.field(default_factory=Wrote)
    samples: dict[str, list[Sample]] = {}
    marks: list[tuple[float, str]] = []
    whole_s: float = 0.0
    message_us: tuple[float, float] = (0.0, 0.0)
    """What a message cost the fleet beside both engines, and without PostgreSQL."""
    writing: tuple[float, float] = (0.0, 0.0)
    """From when to when the fleet wrote."""
    behind_max: int = 0
    down_s: float = 0.0
    caught_up_s: float = 0.0
    rows: list[Rows] = []
    checked: dict[str, list[Difference]] = {}
    letters: int = 0
    check_s: float = 0.0
    person: str = ""
    words: tuple[str, ...] = ()
    forgotten: int = 0
    remembered_by: int = 0
    forget_s: float = 0.0
    gone_s: float = 0.0
    before: list[Place] = []
    after: list[Place] = []
    verified: tuple[int, int] = (0, 0)
    asked: list[asking.Asked] = []

    @property
    def right(self) -> bool:
        """Whether everything came out as it should."""
        equal = bool(self.checked) and not any(self.checked.values()) and not self.letters
        counted = all(count in (None, one.file) for one in self.rows for count in (one.store, one.cache))
        were = all(place.words == place.of > 0 and place.named for place in self.before)
        gone = were and not any(place.words or place.named for place in self.after)
        return equal and counted and gone and self.verified[0] == self.verified[1] > 0


class Story:
    """One run of the demo in a folder of its own; `ending` undoes whatever has begun."""

    def __init__(
        self, folder: Path, console: Console, interrupts: Interrupts, ending: ExitStack, *, messages_max: int
    ) -> None:
        self._folder, self._console, self._interrupts, self._ending = folder, console, interrupts, ending
        self._messages_max = messages_max
        self.figures = Figures()

    def tell(self) -> Figures:
        """Everything, in order. Raises NotReady where a server does not do what it should."""
        self._servers()
        talks = read_talks(corpus.corpus_path(), messages_max=self._messages_max)
        with waiting(self._console, "making the agents of the fleet"):
            with self._interrupts.shield():
                self._fleet = Fleet.create(self._folder / "fleet")
                self._ending.callback(self._fleet.close)
            self._chatting = Chatting(self._fleet, talks)
        self.figures.agents = len(self._chatting.agents)
        self._attach()
        self._write_and_kill()
        self._forget()
        self._compare()
        self._watch.doing("asking in SQL")
        self.figures.asked = asking.ask(self._store.url())
        self.figures.whole_s = self._watch.now_s
        self._watch.close()
        return self.figures

    def _servers(self) -> None:
        with waiting(self._console, "starting postgres"), self._interrupts.shield():
            self._store = Postgres(self._folder_of("postgres"))
            self._ending.callback(self._store.remove)
            self._store.start()
        with waiting(self._console, "starting valkey"), self._interrupts.shield():
            self._cache = Valkey(self._folder_of("valkey"), append_only=False)
            self._ending.callback(self._cache.remove)
            self._cache.start()
        with psycopg.connect(self._store.url()) as session:
            said = session.execute("SHOW server_version").fetchone()
        self.figures.versions[STORE] = str(said[0]).split(" ", 1)[0] if said else ""
        self._client = redis.Redis.from_url(self._cache.url())
        self._ending.callback(self._client.close)
        info: Any = self._client.info("server")
        self.figures.versions[CACHE] = str(info.get("valkey_version") or info.get("redis_version"))

    def _folder_of(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir()
        hand_over(folder)
        return folder

    def _attach(self) -> None:
        """Two followers of the fleet's one file, each in a thread of its own."""
        replica = self._fleet.replica
        first = self._fleet.agent(next(iter(self._chatting.agents.values())))
        self._followers: dict[str, Follower] = {}
        self._sinks: dict[str, Any] = {}
        for name, server in ((STORE, self._store), (CACHE, self._cache)):
            url = server.url()
            tables = [table.name for table in tables_for(url, replica.registry.tables)]
            self.figures.tables[name] = len(tables)
            sink = sealed_engine_at(url, replica.keys, replica.entropy)
            self._ending.callback(sink.close)
            self._sinks[name] = sink
            self._followers[name] = first.follow(sink, name=name, tables=tables)
        with self._interrupts.shield():
            self._watch = Watch(self._console, self._chatting, list(self._followers.values()))
            self._ending.callback(self._watch.close)
            for follower in self._followers.values():
                self._ending.callback(follower.close)
                follower.start()
            self._watch.doing("their tables are being made")
            self._watch.start()
        self._settle()
        self.figures.prepared_s = self._watch.say(
            f"both follow the file of {self.figures.agents} agents: their tables are made"
        )
        self.figures.lacks = list(self._sinks[STORE].lacks)
        self._harden()

    def _harden(self) -> None:
        """Has the store's new files written out by now, all at once, and not one by one while it starts again."""
        self._watch.say(f"{STORE} writes its new files out (CHECKPOINT)")
        self._watch.doing("CHECKPOINT")
        with psycopg.connect(self._store.url(), autocommit=True) as session:
            session.execute("CHECKPOINT")
            session.execute("ALTER SYSTEM SET recovery_init_sync_method = 'syncfs'")

    def _settle(self, *names: str) -> None:
        """Until these engines, or all, have everything there is. Raises NotReady where one never gets it."""
        end = time.monotonic() + SETTLED_S_MAX
        for follower in [self._followers[name] for name in names or self._followers]:
            while follower.state != "following" or follower.lag().events:
                if follower.state in ("stopped", "fenced") or time.monotonic() > end:
                    raise NotReady(f"{follower.name} does not catch up: {follower.state}: {follower.error}")
                time.sleep(0.005)

    def _write_and_kill(self) -> None:
        figures, watch, chatting = self.figures, self._watch, self._chatting
        count = len(chatting.talks)
        began = watch.say("the fleet writes")
        with self._interrupts.shield():
            self._ending.callback(chatting.stop)
            chatting.start()
        chatting.wait(round(count * KILLED_AT))
        with self._interrupts.shield():
            self._store.kill()
        killed = watch.say(f"[bold red]kill -9[/bold red] to {STORE} and all its workers", mark="kill -9")
        chatting.wait(round(count * STARTED_AT))
        watch.doing(f"{STORE} starts again, and reads its log")
        with self._interrupts.shield():
            self._store.start()
        back = watch.say(f"{STORE} started again; {chatting.wrote.messages:,} messages are written", mark="start")
        self._settle(STORE)
        caught = watch.say(f"[green]✓[/green] {STORE} has caught up", mark="caught up")
        chatting.wait_to_the_end()
        figures.writing = (began, watch.now_s)
        self._settle()
        watch.say("[green]✓[/green] everything is written, and both have it", mark="written")
        figures.wrote, figures.samples, figures.marks = chatting.wrote, watch.samples, watch.marks
        figures.down_s, figures.caught_up_s = back - killed, caught - back
        figures.behind_max = max(one.events for one in watch.samples[STORE] if one.at_s > killed)
        commits = [(at - watch.began, took, count) for at, took, count in chatting.wrote.commits]
        figures.message_us = (
            _per_message([one for one in commits if one[0] < killed]),
            _per_message([one for one in commits if killed <= one[0] < back]),
        )

    def _search(self) -> list[Place]:
        """What is where, while nobody writes: the file is read by its bytes, not through the store."""
        self._watch.doing("searching the file, a dump of all rows, every key")
        self._settle()
        for follower in self._followers.values():
            follower.save()
        replica, person = self._fleet.replica, self._person
        end = time.monotonic() + SETTLED_S_MAX
        while not (replica.scrub_if_pending() and replica.file.settle()):  # whoever reads holds it back
            if time.monotonic() > end:
                raise NotReady("what was forgotten cannot be cleared from the file: somebody reads it all the time")
            time.sleep(0.02)
        return [
            searching.in_file(replica.file.path, person),
            searching.in_postgres(self._store, person),
            searching.in_cache(self._client, person),
        ]

    def _forget(self) -> None:
        figures, watch = self.figures, self._watch
        self._person = person = searching.choose(self._chatting.talks)
        figures.person, figures.words = person.name, person.words
        watch.say(f"looking for {person.name}, who said {len(person.words)} things that nobody else said")
        figures.before = self._search()
        watch.doing("forgetting")
        began = time.monotonic()
        own = self._fleet.forget_agent(self._chatting.agents[person.name])
        others = self._fleet.forget_person(person.name)
        figures.forget_s = time.monotonic() - began
        figures.forgotten = len(own.events) + sum(len(one.events) for one in others)
        figures.remembered_by = len(others)
        watch.say(f"{person.name} is forgotten: {figures.forgotten:,} events", mark="forget")
        self._settle()
        figures.gone_s = time.monotonic() - began - figures.forget_s
        figures.after = self._search()
        watch.say("looked for again")

    def _compare(self) -> None:
        figures, replica = self.figures, self._fleet.replica
        self._watch.doing("comparing every row, verifying every log")
        began = time.monotonic()
        figures.checked = {name: follower.check() for name, follower in self._followers.items()}
        figures.check_s = time.monotonic() - began
        figures.letters = sum(len(follower.letters()) for follower in self._followers.values())
        stored = {table.name for table in tables_for(self._store.url(), replica.registry.tables)}
        cached = {table.name for table in tables_for(self._cache.url(), replica.registry.tables)}
        in_store = asking.count_rows(self._store.url(), sorted(stored))
        for name, table in replica.registry.tables.items():
            count = replica.tables.count(table)
            if count:
                figures.rows.append(
                    Rows(
                        name,
                        count,
                        in_store[name] if name in stored else None,
                        _count(self._sinks[CACHE], table) if name in cached else None,
                    )
                )
        verdicts = list(self._fleet.verify())
        figures.verified = (sum(verdict.ok for verdict in verdicts), len(verdicts))
        self._watch.say("compared row by row, every log verified")


def _per_message(commits: list[tuple[float, float, int]]) -> float:
    messages = sum(count for _, _, count in commits)
    return 1000 * sum(took for _, took, _ in commits) / max(1, messages)


def _count(sink: Any, table: Any) -> int:
    count, after = 0, None
    while page := sink.rows(table, after=after, limit=1_024):
        count, after = count + len(page), page[-1].key
    return count
