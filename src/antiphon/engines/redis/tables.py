"""Room `engines` (imports all below it): rows of declared tables in Redis or Valkey: the `Sink`.

Each row is a string `row:TABLE:KEY`, kept for a day after it was last written; beside it stand the keys of the table's
declared patterns. A script compares versions under the fence, so an older image never wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from redis.commands.core import Script

from antiphon.engines.redis import scripts
from antiphon.engines.redis.connection import ANSWER_S_MAX, asking, connected, look, taken
from antiphon.engines.redis.entries import DIGITS, LIST_ITEMS_MAX, WARM_MS, Entries, joined, packed, unpacked
from antiphon.model.errors import InvalidInput
from antiphon.model.table import Table
from antiphon.views.feed import Change, version_of

CHUNK_ROWS: Final = 256


class RedisTables:
    """Rows of declared tables in one Redis; see `Sink` for the promises. It may evict: `partial`.

    `prefix` keeps several fleets apart in one server; in a cluster it is a hash tag, `"{fleet}:"`, so that all keys of
    one follower lie on one node. *Cost*: about 15 µs a row in batches of 256.
    """

    partial: Final = True
    """A row that is missing here was evicted or is cold; only what is there can be wrong."""

    def __init__(
        self, url: str, *, prefix: str = "", warm_ms: int = WARM_MS, answer_s_max: float = ANSWER_S_MAX
    ) -> None:
        self._url, self._prefix, self._warm_ms = url, prefix, warm_ms
        self._client = connected(url, answer_s_max=answer_s_max)
        self._tables: dict[str, Entries] = {}
        self._apply: Script = self._client.register_script(scripts.APPLY)
        self._drop: Script = self._client.register_script(scripts.DROP)
        self._raise: Script = self._client.register_script(scripts.FENCE)
        self._pulse: Script = self._client.register_script(scripts.PULSE)
        self._fence = f"{prefix}antiphon:fence"

    def close(self) -> None:
        """Ends the connections."""
        self._client.close()

    def prepare(self, tables: Sequence[Table]) -> None:
        look(self._client, self._url)
        self._tables |= {table.name: Entries(table, self._prefix) for table in tables}

    # -- the fence -----------------------------------------------------------------------------------------------

    def epoch(self) -> int:
        with asking(self._url):
            kept: Any = self._client.get(self._fence)
        return 0 if kept is None else int(kept)

    def fence(self, known: int, epoch: int) -> bool:
        if epoch <= known:
            return False
        with asking(self._url):
            return bool(self._raise(keys=[self._fence], args=[str(known), str(epoch)]))

    # -- rows ----------------------------------------------------------------------------------------------------

    def apply(self, epoch: int, changes: Sequence[Change]) -> None:
        for at in range(0, len(changes), CHUNK_ROWS):
            chunk = [self._entry(change) for change in changes[at : at + CHUNK_ROWS]]
            with asking(self._url):
                said = self._apply(keys=[self._fence], args=[str(epoch), joined(chunk), str(LIST_ITEMS_MAX)])
            taken(said, self._url)

    def _entry(self, change: Change) -> bytes:
        entries = self._of(change.table)
        table = entries.table
        effects = image = b""
        if change.row is not None:
            effects = entries.effects_of(change.row, change.key)
            image = packed(table, change.row, effects, change.author)
        version = f"{change.version:0{DIGITS}x}".encode()
        return joined([*self._names(table, change.key), version, image, str(self._warm_ms).encode(), effects])

    def _names(self, table: Table, key: bytes) -> list[bytes]:
        of = f"{self._prefix}%s:{table.name}"
        return [(of % "row").encode() + b":" + key, (of % "rows").encode(), (of % "gone").encode(), key]

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
            with asking(self._url):
                members: Any = self._client.zrangebylex(index, least, b"+", start=0, num=limit - len(found))
                if not members:
                    break
                kept: Any = self._client.mget([name + member for member in members])
            after = members[-1]
            found += [
                _change(table, member, raw)
                for member, raw in zip(members, kept, strict=True)
                if raw is not None and len(raw) > DIGITS
            ]
        return found

    def pulse(self, epoch: int) -> None:
        with asking(self._url):
            said = self._pulse(keys=[self._fence, f"{self._prefix}antiphon:pulse"], args=[str(epoch)])
        taken(said, self._url)

    # -- what goes -----------------------------------------------------------------------------------------------

    def sweep(self, epoch: int, table: Table, below: int) -> int:
        horizon = version_of(below, 0)
        swept = self._dropped(epoch, table, self._members(table), horizon)
        self._dropped(epoch, table, self._tombs(table, horizon), horizon)
        return swept

    def trim(self, epoch: int, table: Table, version: int) -> int:
        return self._dropped(epoch, table, self._tombs(table, version), version)

    def _members(self, table: Table) -> Iterable[bytes]:
        with asking(self._url):
            for member, _ in self._client.zscan_iter(f"{self._prefix}rows:{table.name}", count=CHUNK_ROWS):
                yield member

    def _tombs(self, table: Table, version: int) -> list[bytes]:
        least = f"{version:0{DIGITS}x}".encode()
        with asking(self._url):
            found = self._client.hscan_iter(f"{self._prefix}gone:{table.name}", count=CHUNK_ROWS)
            return [member for member, kept in found if kept < least]

    def _dropped(self, epoch: int, table: Table, keys: Iterable[bytes], below: int) -> int:
        dropped = 0
        chunk: list[bytes] = []
        for key in [*keys, None]:
            if key is not None:
                chunk.append(joined(self._names(table, key)))
            if len(chunk) == CHUNK_ROWS or key is None:
                with asking(self._url):
                    said = self._drop(
                        keys=[self._fence],
                        args=[str(epoch), joined(chunk), f"{below:0{DIGITS}x}"],
                    )
                dropped += taken(said, self._url)
                chunk = []
        return dropped


def _change(table: Table, key: bytes, raw: bytes) -> Change:
    row, author = unpacked(table, raw[DIGITS:])
    return Change(table.name, key, int(raw[:DIGITS], 16), row, author)
