"""Room `engines` (imports all below it): rows of declared tables in Redis or Valkey: the `Sink`.

Each row is a string `row:TABLE:KEY`, kept for a day after it was last written; beside it stand the keys of the table's
declared patterns. A script compares versions under the fence, so an older image never wins.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, Final

import redis
from redis.commands.core import Script

from antiphon.engines.redis import scripts
from antiphon.engines.redis.connection import ANSWER_S_MAX, address_of, asking, connected, look
from antiphon.engines.redis.entries import (
    DIGITS,
    LIST_ITEMS_MAX,
    SET_ITEMS_MAX,
    WARM_MS,
    Entries,
    joined,
    owner_of,
    packed,
    unpacked,
)
from antiphon.engines.redis.fence import RedisFence, Ticket
from antiphon.engines.redis.rewriting import Rewriting
from antiphon.model.errors import InvalidInput, Unavailable
from antiphon.model.table import Table
from antiphon.views.feed import Change, Fence, Marks, version_of

CHUNK_ROWS: Final = 256
_SCANNED: Final = 1_000
_LOSSES_MAX: Final = 3
TIDIED_ROWS: Final = 50 * 1_024
"""Of each table's list of rows so many are looked at by one `trim`, whether they are there still."""
_TIDIED: Final = 1_024
_MOST: Final = (str(LIST_ITEMS_MAX), str(SET_ITEMS_MAX))


class RedisTables:
    """Rows of declared tables in one Redis; see `Sink` for the promises. It may evict: `partial`.

    `prefix` keeps several fleets apart in one server; in a cluster it is a hash tag, `"{fleet}:"`, so that all keys of
    one follower lie on one node. *Cost*: about 15 µs a row in batches of 256.
    """

    partial: Final = True
    """A row that is missing here was evicted or is cold; only what is there can be wrong."""
    elsewhere: Final = True
    """Personal data leaves the machine: `Agent.follow` seals it."""

    def __init__(
        self, url: str, *, prefix: str = "", warm_ms: int = WARM_MS, answer_s_max: float = ANSWER_S_MAX
    ) -> None:
        self._url, self._prefix, self._warm_ms = url, prefix, warm_ms
        self._client = connected(url, answer_s_max=answer_s_max)
        self._tables: dict[str, Entries] = {}
        self._apply: Script = self._client.register_script(scripts.APPLY)
        self._drop: Script = self._client.register_script(scripts.DROP)
        self._again: Script = self._client.register_script(scripts.RENEW)
        self._mark: Script = self._client.register_script(scripts.MARK)
        self._mended: Script = self._client.register_script(scripts.MENDED)
        self._cold: Script = self._client.register_script(scripts.COLD)
        self._unlist: Script = self._client.register_script(scripts.UNLIST)
        self._tidied: dict[str, bytes] = {}
        self._pulse: Script = self._client.register_script(scripts.PULSE)
        self._fence = RedisFence(self._client, url, f"{prefix}antiphon:fence")
        self._rewriting = Rewriting(self._client)

    def close(self) -> None:
        """Ends the connections."""
        self._client.close()

    def prepare(self, tables: Sequence[Table]) -> None:
        look(self._client, self._url)
        self._tables |= {table.name: Entries(table, self._prefix) for table in tables}

    # -- the fence -----------------------------------------------------------------------------------------------

    def kept(self) -> Fence:
        return self._fence.kept()

    def fence(self, known: int, epoch: int, *, mark: int = 0, owner: bytes = b"") -> Fence | None:
        before = self._fence.fence(known, epoch, mark=mark, owner=owner)
        if before is not None:
            self._begin(epoch)
        return before

    def _begin(self, epoch: int) -> None:
        """Begins to note which keys rows are in, where that was never done or is lost, before the first is written."""
        loose = [entries for entries in self._tables.values() if entries.loose]
        with asking(self._url), self._client.pipeline(transaction=False) as asked:
            for entries in loose:
                asked.hexists(entries.held, "")
                asked.zscore(entries.until, "")
            said: Any = asked.execute(raise_on_error=False)  # what is of another type is as good as lost
        noted = zip(loose, said[::2], said[1::2], strict=True)
        lost = [entries for entries, held, until in noted if held != 1 or not isinstance(until, float)]
        if lost:
            self._renew(Ticket(epoch), lost, lost_under=epoch - 1)

    # -- rows ----------------------------------------------------------------------------------------------------

    def apply(self, epoch: int, changes: Sequence[Change], *, marks: Marks | None = None) -> None:
        by_table: dict[str, list[Change]] = {}
        for change in changes:
            by_table.setdefault(change.table, []).append(change)
        chunks = [
            (self._of(name), some[at : at + CHUNK_ROWS])
            for name, some in by_table.items()
            for at in range(0, len(some), CHUNK_ROWS)
        ]
        ticket = Ticket(epoch, marks)
        for at, (entries, some) in enumerate(chunks, 1):
            chunk = joined([_packed(entries, change) for change in some])
            self._ask(self._apply, ticket, entries, [str(self._warm_ms), *_MOST, chunk], moves=at == len(chunks))
        if any(change.row is None for change in changes):
            self._rewriting.deleted()

    def _ask(
        self, script: Script, ticket: Ticket, entries: Entries, args: list[str | bytes], *, moves: bool = False
    ) -> int:
        """What a script has done about rows of a table; where the server evicted what says which keys they are in, all
        those are taken out first. Raises Conflict, EngineEmptied, Unavailable.
        """
        keys: list[str | bytes] = [self._fence.name, entries.index, entries.gone, entries.held, entries.until]
        said_first = [ticket.text(moves=moves), "1" if entries.loose else "0", entries.lead]
        for _ in range(_LOSSES_MAX):
            with asking(self._url):
                said = script(keys=keys, args=[*said_first, *args])
            if said[0] != b"LOST":
                return self._fence.taken(said, ticket)
            self._renew(ticket, [entries], lost_under=ticket.epoch)
        raise Unavailable(f"Redis at {address_of(self._url)} evicts faster than {entries.table.name!r} can be written")

    def _renew(self, ticket: Ticket, tables: Sequence[Entries], *, lost_under: int) -> None:
        """Takes out the keys that rows of these tables may leave, and notes under which epoch they were lost last.

        *Cost*: a look at every key of the server, about 2 µs.
        """
        for some in batched(self._named([name for entries in tables for name in entries.loose]), CHUNK_ROWS):
            with asking(self._url):
                said = self._again(keys=[self._fence.name], args=[ticket.text(), *some])
            self._fence.taken(said, ticket)
        for entries in tables:
            keys: list[str | bytes] = [self._fence.name, entries.held, entries.until]
            with asking(self._url):
                said = self._mark(keys=keys, args=[ticket.text(), str(lost_under)])
            self._fence.taken(said, ticket)

    def _named(self, names: Sequence[bytes]) -> Iterator[bytes]:
        """The keys of any of these names, in one look at all."""
        wanted = re.compile(b"|".join(names), re.DOTALL)
        glob = re.sub(rb"([*?\[\]\\^])", rb"\\\1", self._prefix.encode()) + b"*"
        with asking(self._url):
            for name in self._client.scan_iter(match=glob, count=_SCANNED):
                if wanted.fullmatch(name):
                    yield name

    def lost(self) -> bool:
        """See `Losing`: the server has evicted what said which keys rows are in, so some are missing in those."""
        with asking(self._url), self._client.pipeline(transaction=False) as asked:
            for entries in self._tables.values():
                asked.hget(entries.held, "")
            said: Any = asked.execute(raise_on_error=False)
        return any(one not in (None, b"0") for one in said)

    def _entries(self, table: Table) -> Entries:
        """Of a table that need not be prepared."""
        return self._tables.get(table.name) or Entries(table, self._prefix)

    def _of(self, name: str) -> Entries:
        found = self._tables.get(name)
        if found is None:
            raise InvalidInput(f"the table {name!r} was not prepared here", table=name)
        return found

    def rows(self, table: Table, *, after: bytes | None, limit: int) -> list[Change]:
        found: list[Change] = []
        index = f"{self._prefix}rows:{table.name}"
        name = f"{self._prefix}row:{table.name}:".encode()
        while len(found) < limit:
            least = b"-" if after is None else b"(" + after
            members: Any = []
            with asking(self._url), _of_ours():
                members = self._client.zrangebylex(index, least, b"+", start=0, num=limit - len(found))
            if not members:
                break
            with asking(self._url):
                kept: Any = self._client.mget([name + member for member in members])
            after = members[-1]
            found += [
                _change(table, member, raw)
                for member, raw in zip(members, kept, strict=True)
                if raw is not None and len(raw) > DIGITS
            ]
        return found

    def pulse(self, epoch: int, *, marks: Marks | None = None) -> None:
        held = [key for one in self._tables.values() if one.loose for key in (one.held, one.until)]
        with asking(self._url):
            keys: list[str | bytes] = [self._fence.name, f"{self._prefix}antiphon:pulse", *held]
            said = self._pulse(keys=keys, args=[Ticket(epoch, marks).text()])
        self._fence.taken(said, Ticket(epoch, marks))
        self._rewriting.run()

    # -- what goes -----------------------------------------------------------------------------------------------

    def sweep(self, epoch: int, table: Table, below: int, *, marks: Marks | None = None) -> int:
        horizon, ticket = version_of(below, 0), Ticket(epoch, marks)
        swept = self._dropped(ticket, table, self._members(table), horizon)
        self._dropped(ticket, table, self._tombs(table, horizon), horizon)
        self._dropped(ticket, table, self._holders(table), horizon)
        with asking(self._url):
            keys: list[str | bytes] = [self._fence.name, self._entries(table).held]
            said = self._mended(keys=keys, args=[ticket.text(moves=True), str(below)])
        self._fence.taken(said, ticket)
        return swept

    def trim(self, epoch: int, table: Table, version: int, *, marks: Marks | None = None) -> int:
        trimmed = self._dropped(Ticket(epoch, marks), table, self._tombs(table, version), version)
        self._tidy(Ticket(epoch, marks), self._entries(table))
        return trimmed

    def _tidy(self, ticket: Ticket, entries: Entries) -> None:
        """Takes out of the list of rows what is cold or was evicted, a part of it each time.

        *Cost*: about 0.5 µs a row that is there, 10 µs one that is not.
        """
        after = self._tidied.get(entries.table.name, b"")
        for _ in range(0, TIDIED_ROWS, _TIDIED):
            least = b"(" + after if after else b"-"
            with asking(self._url):
                count, last, cold = self._cold(keys=[entries.index], args=[least, entries.lead, str(_TIDIED)])
            if cold:
                chunk = joined([joined([key, entries.no_effects(key)]) for key in cold])
                with asking(self._url):
                    keys: list[str | bytes] = [self._fence.name, entries.index]
                    said = self._unlist(keys=keys, args=[ticket.text(), entries.lead, chunk])
                self._fence.taken(said, ticket)
            after = last if count == _TIDIED else b""
            if not after:
                break
        self._tidied[entries.table.name] = after

    def beside(self, table: Table) -> Iterator[set[bytes]]:
        """See `Spreading`: the owners of keys, and whatever row may leave one. *Cost*: a look at every key.

        Where the server has evicted what says whose a key is, nobody knows.
        """
        entries = self._entries(table)
        for some in batched(self._holders(table), CHUNK_ROWS):
            yield set(some)
        for some in batched(self._named(entries.tight), CHUNK_ROWS) if entries.tight else ():
            with asking(self._url), self._client.pipeline(transaction=False) as asked:
                for name in some:
                    asked.hget(owner_of(self._prefix, name), "row")
                owners: Any = asked.execute(raise_on_error=False)
            yield {owner for owner in owners if isinstance(owner, bytes) and owner}

    def _members(self, table: Table) -> Iterable[bytes]:
        with asking(self._url), _of_ours():
            for member, _ in self._client.zscan_iter(self._entries(table).index, count=CHUNK_ROWS):
                yield member

    def _tombs(self, table: Table, version: int) -> list[bytes]:
        least = f"{version:0{DIGITS}x}".encode()
        found: list[bytes] = []
        with asking(self._url), _of_ours():
            tombs = self._client.hscan_iter(self._entries(table).gone, count=CHUNK_ROWS)
            found += [member for member, kept in tombs if kept < least]
        return found

    def _holders(self, table: Table) -> Iterable[bytes]:
        """The rows that have something in keys which they may leave, evicted ones too."""
        with asking(self._url), _of_ours():
            for field, _ in self._client.hscan_iter(self._entries(table).held, count=CHUNK_ROWS):
                if field:
                    yield field[1:]

    def _dropped(self, ticket: Ticket, table: Table, keys: Iterable[bytes], below: int) -> int:
        entries, dropped = self._entries(table), 0
        for some in chain(batched(keys, CHUNK_ROWS), [[]]):  # with none, the fence is asked all the same
            chunk = joined([joined([key, entries.no_effects(key)]) for key in some])
            dropped += self._ask(self._drop, ticket, entries, [f"{below:0{DIGITS}x}", chunk])
        return dropped


@contextlib.contextmanager
def _of_ours() -> Iterator[None]:
    """What somebody put under a name of ours, of another type, is as good as nothing: who writes there takes it out."""
    try:
        yield
    except redis.ResponseError as error:
        if "WRONGTYPE" not in str(error):
            raise


def batched(items: Iterable[bytes], most: int) -> Iterator[list[bytes]]:
    """Items by so many."""
    left = iter(items)
    while some := list(islice(left, most)):
        yield some


def _packed(entries: Entries, change: Change) -> bytes:
    version = f"{change.version:0{DIGITS}x}".encode()
    if change.row is None:
        return joined([change.key, version, b"", entries.no_effects(change.key)])
    image = packed(entries.table, change.row, change.author)
    return joined([change.key, version, image, entries.effects_of(change.row, change.key)])


def _change(table: Table, key: bytes, raw: bytes) -> Change:
    row, author = unpacked(table, raw[DIGITS:])
    return Change(table.name, key, int(raw[:DIGITS], 16), row, author)
