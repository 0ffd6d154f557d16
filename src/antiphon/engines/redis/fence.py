"""Room `engines` (imports all below it): the fence in Redis: one string, `EPOCH MARK OWNER`, compared in every script.

What a script is given is a *ticket*: `EPOCH`, or `EPOCH LEAST MOST` with the marks that it may find, and `moves` behind
them where it is to leave the last. Marks have DIGITS hexadecimal digits, so that Lua can compare and overwrite them.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import redis

from antiphon.engines.redis import scripts
from antiphon.engines.redis.connection import address_of, asking
from antiphon.model.errors import Corrupt
from antiphon.views.feed import EngineEmptied, Fence, Marks, check_fence

DIGITS: Final = 16


class Ticket(msgspec.Struct, frozen=True):
    """Under which epoch a feeder calls, and which marks it may find."""

    epoch: int
    marks: Marks | None = None

    def text(self, *, moves: bool = False) -> str:
        """As scripts read it."""
        if self.marks is None:
            return str(self.epoch)
        return f"{self.epoch} {self.marks.least:0{DIGITS}x} {self.marks.most:0{DIGITS}x}{' moves' if moves else ''}"


class RedisFence:
    """The fence of the keys that begin with one prefix; see `Fenced` for the promises."""

    def __init__(self, client: redis.Redis, url: str, name: str) -> None:
        self._client, self._url, self.name = client, url, name
        self._raise = client.register_script(scripts.FENCE)

    def kept(self) -> Fence:
        with asking(self._url):
            raw: Any = self._client.get(self.name)
        return Fence() if raw is None else self._read(raw)

    def fence(self, known: int, epoch: int, *, mark: int = 0, owner: bytes = b"") -> Fence | None:
        if epoch <= known:
            return None
        with asking(self._url):
            raw = self._raise(keys=[self.name], args=[str(known), f"{epoch} {mark:0{DIGITS}x} {owner.hex()}"])
        return None if raw is None else self._read(raw)

    def taken(self, said: Any, ticket: Ticket) -> int:
        """What a script has done; it says first whether the fence let it. Raises Conflict, EngineEmptied."""
        kind, answer = said[0], said[1]
        if kind == b"EMPTY":
            raise EngineEmptied(f"Redis at {address_of(self._url)} was emptied: it is filled again from the beginning")
        if kind == b"FENCED":
            check_fence(self._read(answer), ticket.epoch, ticket.marks)
        return int(answer)

    def _read(self, raw: bytes) -> Fence:
        try:
            epoch, *more = raw.decode().split()
            mark, owner = [*more, "", ""][:2]  # engines that were fed before there were marks hold the epoch alone
            return Fence(int(epoch), int(mark or "0", 16), bytes.fromhex(owner))
        except ValueError:
            raise Corrupt(
                f"Redis at {address_of(self._url)}: the key {self.name!r} is no fence of a feeder; is it another's?"
            ) from None
