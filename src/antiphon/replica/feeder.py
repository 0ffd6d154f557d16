"""Room `replica` (imports all below it): what followers of rows and of events share: fence, record, errors, running."""

from __future__ import annotations

import contextlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from antiphon.engines.sqlite.followers import FollowerRecord, SqliteFollowers
from antiphon.model import limits
from antiphon.model.errors import AntiphonError, Conflict, InvalidInput, LimitExceeded, Rejected, Unavailable
from antiphon.replica.feed import Feed, Lag, Watch
from antiphon.replica.stored import Stored
from antiphon.views.batch import RowKey
from antiphon.views.feed import (
    EngineEmptied,
    Fence,
    Fenced,
    Marks,
    check_fence,
    first_mark,
    holds,
    version_of,
)  # fmt: skip
from antiphon.world.clock import sleep_ms

T = TypeVar("T")
SAVE_EVERY_MS: Final = 1_000.0
"""How often a follower writes its cursor to the file: what was delivered since is delivered again after a crash."""
RETRY_MS: Final = 50.0
RETRY_MS_MAX: Final = 30_000.0
PATIENCE_MS: Final = 60_000.0
REASON_CHARS_MAX: Final = 200
_TAKEOVERS: Final = 8


def state_of(record: FollowerRecord) -> str:
    """What a follower is doing, as its record says."""
    running = record.state not in ("fenced", "stopped")
    return "retrying" if running and record.failures else record.state


class Feeder(ABC):
    """Feeds one engine from one file. Threads may share it; they take turns."""

    def __init__(
        self,
        replica: Stored,
        sink: Fenced,
        record: FollowerRecord,
        feed: Feed,
        *,
        save_ms: float,
        take_over: bool = False,
    ) -> None:
        self._replica, self._fenced, self._feed = replica, sink, feed
        self._followers = SqliteFollowers(replica.file)
        self._record = record
        self._takes_over = take_over
        self._sent = 0
        self._save_every_ms = save_ms
        self._saved_ms = replica.clock.monotonic_ms()
        self._dirty = False
        self._has_begun = False
        self._ended: AntiphonError | None = None
        self._retry_ms = 0.0
        self._refused: dict[RowKey, str] = {}
        self._settled: set[RowKey] = set()
        self._letters: set[RowKey] = set()
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._is_left = False
        """Whether its thread was left waiting for an engine that hangs: it holds the lock."""
        self._thread: threading.Thread | None = None
        self.idle = False
        """Whether the last step found nothing more to deliver."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.state})"

    @property
    def name(self) -> str:
        """What it is called in the file."""
        return self._record.name

    @property
    def state(self) -> str:
        """new, bootstrapping, following, retrying (its engine is away), fenced (another feeds it) or stopped."""
        return state_of(self._record)

    @property
    def error(self) -> str:
        """What went wrong last; empty where nothing did."""
        return self._record.error

    @property
    def has_ended(self) -> bool:
        """Whether it is fenced or stopped: nothing goes on until somebody begins again."""
        return self._ended is not None

    @property
    def delivered(self) -> int:
        """How many rows or events it has delivered."""
        return self._record.delivered

    @abstractmethod
    def lag(self) -> Lag:
        """How far the engine is behind."""

    def letters(self) -> list[tuple[str, bytes, str]]:
        """(table, key, reason) of what its engine refuses, up to LETTERS_MAX."""
        return self._followers.letters(self.name, limit=limits.LETTERS_MAX)

    # -- running -------------------------------------------------------------------------------------------------

    def step(self) -> int:
        """Delivers one batch; how many rows or events it was. Nothing while it waits for an engine that is away.

        Raises Conflict once another feeder has taken over, and whatever else ends it for good, every time.
        """
        with self._lock:
            if self._ended is not None:
                raise self._ended
            if self._replica.clock.monotonic_ms() < self._retry_ms:
                return 0
            try:
                if not self._has_begun:
                    self._begin()
                count = self._deliver()
            except Unavailable as error:
                if self._replica.file.closed:
                    raise
                if isinstance(error, EngineEmptied):
                    self._has_begun = False
                self._back_off(error)
                return 0
            except Conflict as error:
                self._end("fenced", error)
                raise
            except Exception as error:
                known = error if isinstance(error, AntiphonError) else Rejected(f"{type(error).__name__}: {error}")
                self._end("stopped", known)
                raise
            self._record.delivered += count
            recovered, self._record.failures = self._record.failures > 0, 0
            self._save_if_due(force=recovered)
            return count

    def run(self, *, patience_ms: float = PATIENCE_MS, progress: Callable[[int], None] = lambda count: None) -> int:
        """Delivers all there is; how many rows or events. Raises Unavailable when the engine stays away for so long."""
        clock = self._replica.clock
        count, heard_ms = 0, clock.monotonic_ms()
        while True:
            delivered = self.step()
            count += delivered
            progress(delivered)
            if not self._record.failures:
                heard_ms = clock.monotonic_ms()
                if self.idle:
                    self.save()
                    return count
            elif clock.monotonic_ms() - heard_ms >= patience_ms:
                raise Unavailable(f"{self.name}: the engine did not answer for {patience_ms:,.0f} ms: {self.error}")
            else:
                sleep_ms(max(0.0, min(self._retry_ms - clock.monotonic_ms(), patience_ms)))

    def start(self) -> None:
        """Follows in a thread of its own until `close`."""
        if self._thread is None:
            self._stopping.clear()
            self._thread = threading.Thread(target=self._follow, name=f"antiphon-{self.name}", daemon=True)
            self._thread.start()

    def close(self, *, wait_ms: float | None = None) -> None:
        """Ends the thread and keeps the cursor; the engine stays as it is.

        With `wait_ms`, a thread whose engine has not answered by then is left to itself: what it was sending comes
        again, as after a kill.
        """
        self._stopping.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(None if wait_ms is None else wait_ms / 1000)
            self._is_left = thread.is_alive()
        if self._is_left:
            return
        with contextlib.suppress(AntiphonError):
            self.save()

    def _follow(self) -> None:
        watch = Watch(self._replica.file, self._replica.clock)
        while not self._stopping.is_set():
            try:
                if watch.changed() or not self.idle or self._record.failures or self._dirty or self._is_due():
                    self.step()
            except Exception:  # noqa: BLE001  # it is kept in the record, and met again by the next step
                return
            if self.idle or self._record.failures:
                self._stopping.wait(watch.pause_ms / 1000)

    def _begin(self) -> None:
        """Raises the fence, then goes on where this follower stopped, if the engine has all that it delivered by then
        and nobody else has fed it since.
        """
        kept, asked = self._followers.load(self.name), self._record
        same = kept is not None and (kept.tables, kept.topics) == (asked.tables, asked.topics)
        if kept is not None:
            self._record = msgspec.structs.replace(
                kept,
                engine=asked.engine,
                tables=asked.tables,
                topics=asked.topics,
                failures=0,
                left=sorted({*kept.left, *kept.tables}.difference(asked.tables)),
            )
        incarnation = self._replica.file.get("incarnation") or b""
        self._check_owner(self._fenced.kept())
        self._prepare()
        found, raised = self._take()
        record = self._record
        goes_on = same and found.epoch != 0 and incarnation == record.incarnation and found.owner == raised.owner
        goes_on = goes_on and holds(found, record.epoch, record.mark)
        self._hold(raised)
        self._record.incarnation = incarnation
        self._letters = {(table, key) for table, key, _ in self.letters()}
        self._resume(goes_on=goes_on, is_new=kept is None)
        self._has_begun, self._takes_over = True, False
        self.save(force=True)

    # -- the fence -----------------------------------------------------------------------------------------------

    def _check_owner(self, kept: Fence) -> None:
        """Raises InvalidInput where the engine is fed from another file, whose rows a first reading would sweep."""
        if kept.owner in (b"", self._replica.file_id) or self._takes_over:
            return
        raise InvalidInput(
            f"{self.name}: the engine is fed from another file ({kept.owner.hex()[:8]}…), whose rows would be taken "
            "out: give this file a database of its own there (Redis: or a prefix, ?prefix=…), or take the engine over "
            "for good (`antiphon engines feed NAME --take-over`, in Python take_over=True)",
            owner=kept.owner.hex(),
        )

    def _take(self) -> tuple[Fence, Fence]:
        """Raises the engine's epoch above all that were: the fence that it had, and the one it has."""
        for _ in range(_TAKEOVERS):
            known = self._fenced.kept()
            self._check_owner(known)
            raised = self._next(max(known.epoch, self._record.epoch))
            if found := self._raise(known.epoch, raised):
                return found, raised
        raise Unavailable(f"{self.name}: others are taking the engine over at the same time")

    def _next(self, epoch: int) -> Fence:
        """The fence above an epoch."""
        version_of(epoch + 1, 0)
        return Fence(epoch + 1, first_mark(self._replica.entropy), self._replica.file_id)

    def _raise(self, known: int, raised: Fence) -> Fence | None:
        return self._fenced.fence(known, raised.epoch, mark=raised.mark, owner=raised.owner)

    def _raise_again(self) -> bool:
        """Goes on under a new epoch, as what was sent under this one is not to be told from what comes; whether the
        engine had everything. Raises Conflict where another feeds it.
        """
        record = self._record
        raised = self._next(record.epoch)
        found = self._raise(record.epoch, raised)
        if found is None:
            check_fence(self._fenced.kept(), record.epoch, self._marks())
            raise Conflict(f"{self.name}: another feeder has taken the engine over")
        had_all = holds(found, record.epoch, record.mark)
        self._hold(raised)
        return had_all

    def _hold(self, raised: Fence) -> None:
        self._record.epoch, self._record.mark, self._sent = raised.epoch, raised.mark, raised.mark
        self._dirty = True

    def _marks(self) -> Marks:
        """What the engine's mark may be now: what was sent last may have arrived, though nobody said so."""
        return Marks(self._record.mark, self._sent)

    def _moving(self, call: Callable[..., object], *args: object) -> None:
        """Makes a call that moves the engine's mark."""
        self._sent += 1
        call(*args, marks=self._marks())
        self._record.mark = self._sent

    def _prepare(self) -> None:  # noqa: B027  # most have nothing to prepare
        """What the engine needs before it is fed."""

    @abstractmethod
    def _resume(self, *, goes_on: bool, is_new: bool) -> None:
        """Takes up where it was, or from the beginning."""

    def _is_due(self) -> bool:
        """Whether something is to be said although nothing has changed."""
        return False

    @abstractmethod
    def _deliver(self) -> int:
        """Delivers one batch; how many rows or events it had."""

    # -- what went wrong -----------------------------------------------------------------------------------------

    def _back_off(self, error: AntiphonError) -> None:
        chance = int.from_bytes(self._replica.entropy.bytes(2), "big") / 0x10000
        pause = min(RETRY_MS * 2 ** min(self._record.failures, 16), RETRY_MS_MAX) * (0.5 + chance / 2)
        self._record.failures += 1
        self._retry_ms = self._replica.clock.monotonic_ms() + pause
        self._note(error)
        if self._record.failures == 1:
            with contextlib.suppress(AntiphonError):
                self.save(force=True)
                self._keep_failure()

    def _keep_failure(self) -> None:
        """Before it has begun: what is known of this follower stays, but for what went wrong."""
        if self._has_begun or self._replica.file.read_only:
            return
        with self._replica.file.transaction():
            kept = self._followers.load(self.name) or self._record
            if self._ended is not None:
                kept.state = self._record.state
            kept.error, kept.error_ms, kept.failures = self._record.error, self._record.error_ms, self._record.failures
            self._followers.save(kept)

    def _end(self, state: str, error: AntiphonError) -> None:
        self._ended = error
        self._note(error)
        self._record.state = state
        with contextlib.suppress(AntiphonError):
            self.save(force=True)
            self._keep_failure()

    def _note(self, error: AntiphonError) -> None:
        self._record.error = " ".join(str(error).split())[:REASON_CHARS_MAX]
        self._record.error_ms = self._replica.clock.now_ms()

    def _deliver_or_refuse(
        self,
        batch: list[T],
        send: Callable[[list[T]], None],
        key: Callable[[T], RowKey],
        instead: Callable[[T], T | None] = lambda one: None,
    ) -> None:
        """Sends a batch; where something in it is refused for good, finds out what by halves, and keeps its key.

        What there is to send `instead` is sent before: an older image must not stay where a newer one is refused.
        """
        try:
            send(batch)
        except Rejected as error:
            if len(batch) > 1:
                half = len(batch) // 2
                self._deliver_or_refuse(batch[:half], send, key, instead)
                self._deliver_or_refuse(batch[half:], send, key, instead)
                return
            other = instead(batch[0])
            if other is not None:
                with contextlib.suppress(Rejected):  # of a key that it cannot hold it has no older image
                    send([other])
            self._refuse(key(batch[0]), error)
            return
        for one in batch if self._letters else ():
            self._drop_letter(key(one))

    def _drop_letter(self, key: RowKey) -> None:
        if key in self._letters:
            self._letters.discard(key)
            self._settled.add(key)
            self._refused.pop(key, None)

    def _refuse(self, key: RowKey, error: AntiphonError) -> None:
        self._note(error)
        self._settled.discard(key)
        self._refused[key] = self._record.error
        self._letters.add(key)
        self._dirty = True
        if len(self._letters) > limits.LETTERS_MAX:
            raise LimitExceeded(
                "LETTERS_MAX", got=len(self._letters), allowed=limits.LETTERS_MAX, what="the number of refused rows"
            )

    # -- what is kept --------------------------------------------------------------------------------------------

    def _save_if_due(self, *, force: bool) -> None:
        due = self._replica.clock.monotonic_ms() - self._saved_ms >= self._save_every_ms
        if force or self._refused or self._settled or (self._dirty and due):
            self.save(force=force)

    def save(self, *, force: bool = False) -> None:
        """Writes to the file how far it has come. Raises Conflict when another feeder of this name has begun since."""
        with self._lock:
            if not self._has_begun or not (self._dirty or force) or self._replica.file.read_only:
                return
            with self._replica.file.transaction():
                kept = self._followers.load(self.name)
                if kept is not None and kept.epoch > self._record.epoch:
                    raise Conflict(f"{self.name} is followed elsewhere by now: stop following here")
                self._record.saved_ms = self._replica.clock.now_ms()
                self._followers.save(self._record)
                self._followers.settle(self._settled, name=self.name)
                self._followers.refuse(self.name, self._refused)
                self._keep()
                self._followers.trim_outbox(keep=limits.OUTBOX_COMMITS_MIN)
            self._refused, self._settled, self._dirty = {}, set(), False
            self._saved_ms = self._replica.clock.monotonic_ms()

    def _keep(self) -> None:  # noqa: B027  # most keep nothing else
        """What else is to be kept, in the same transaction."""
