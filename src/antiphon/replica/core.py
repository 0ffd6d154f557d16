"""Room `replica` (imports all below it): one open file: its logs, views and feed, joined; commits and reads.

A commit appends to one log or several, folds, writes the feed and is on disk when it returns. Threads that commit at
once share a transaction; processes take turns.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from antiphon.engines.sqlite import fulltext
from antiphon.engines.sqlite.file import SqliteFile, translated
from antiphon.identity.keystore import KeyStore
from antiphon.log.rewrite import pack, save_packed
from antiphon.log.store import LogRole
from antiphon.model import limits
from antiphon.model.errors import Conflict
from antiphon.replica.commit import Writer
from antiphon.replica.keep import Keeper
from antiphon.replica.stored import FORMAT
from antiphon.views.domain import Registry
from antiphon.world.entropy import SystemEntropy
from antiphon.world.host import Mark, has_other_names, still_ours


class Replica(Writer):
    """One open file. Use `create` or `open`; close it, or use it as a context manager."""

    def __init__(self, *args: Any, background: bool = True, **world: Any) -> None:
        super().__init__(*args, **world)
        self.endings: list[Callable[[], None]] = []
        """What must end before the file is closed: whatever reads it in a thread of its own."""
        self._marking = threading.Lock()
        self._marked: tuple[bytes, Mark] | None = None
        self._keeper = Keeper(self._keep) if background and not self.file.read_only else None

    @classmethod
    def create(cls, path: Path, key: bytes, registry: Registry, keys: KeyStore, **world: Any) -> Replica:
        """A new, empty file."""
        cipher = world.pop("cipher", "aegis")
        vfs = world.pop("vfs", None)
        file = SqliteFile(path, key, cipher=cipher, create=True, vfs=vfs)
        entropy = world.get("entropy") or SystemEntropy()
        with file.transaction():
            file.put("format", FORMAT.to_bytes(4, "big"))
            file.put("id", entropy.bytes(16))
            file.put("incarnation", entropy.bytes(16))
        replica = cls(file, registry, keys, **world)
        replica.keep_mark()
        return replica

    @classmethod
    def open(
        cls,
        path: Path,
        key: bytes,
        registry: Registry,
        keys: KeyStore,
        *,
        read_only: bool = False,
        **world: Any,
    ) -> Replica:
        """An existing file. A copy or an older state of one is noticed here: its logs become past ones."""
        cipher = world.pop("cipher", "aegis")
        vfs = world.pop("vfs", None)
        if has_other_names(path) and not read_only:
            raise Conflict(
                f"{path} has hard links: two names of one file would each lose what the other wrote. "
                "Copy it (cp without -l) and remove the extra name"
            )
        file = SqliteFile(path, key, cipher=cipher, read_only=read_only, vfs=vfs)
        try:
            replica = cls(file, registry, keys, **world)
            if not read_only:
                replica._notice_copies()
                replica._catch_up_views()
                replica._hear_on()
                replica.scrub_if_pending()
        except BaseException:
            file.close()
            raise
        return replica

    def __enter__(self) -> Replica:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stops the background step and followers, keeps the mark and closes the file."""
        while self.endings:
            self.endings.pop()()
        if self._keeper is not None:
            self._keeper.stop()
        if not self.file.read_only:
            with contextlib.suppress(Exception):
                self.keep_mark()
        self.file.close()

    def keep_mark(self) -> None:
        """Notes outside the file how far it has come. Must happen before a checkpoint leaves the process."""
        if self.file.read_only:  # it may be a copy: the mark is the original's
            return
        with self._marking:  # threads in turn, or an older mark could take the place of a newer one
            # as stored, whoever wrote: what is in memory may have failed, or not be over
            events = self.fed_events() if self._feed_lost else self.stored_state().events
            self._keep_mark_as(self.file.get("incarnation") or b"", events)

    def _keep_mark_as(self, incarnation: bytes, events: int) -> None:
        """Copies on one machine share the file's id, never an incarnation: each has a mark of its own."""
        mark = self.host.observe(self.file.path, incarnation=incarnation.hex(), events=events)
        self.host.keep(self.file_id + incarnation, mark)
        self._marked = self.file_id + incarnation, mark

    def _notice_copies(self) -> None:
        incarnation = self.file.get("incarnation") or b""
        seen = self.host.recall(self.file_id + incarnation)  # before the events: others may be committing
        events = max(self.stored_state().events, self.state.events)
        now = self.host.observe(self.file.path, incarnation=incarnation.hex(), events=events)
        if still_ours(seen, now):
            self._marked = self.file_id + incarnation, now
            return
        fresh = self.entropy.bytes(16)
        self._keep_mark_as(fresh, self.state.events)  # first: where no mark can be kept, the file stays as it is
        with self.file.transaction():
            if self.file.get("incarnation") != incarnation:  # another process has noticed it meanwhile
                return
            for head in self.logs.heads():
                if head.role == LogRole.OWN:
                    head.role = LogRole.PAST
                    self.logs.save_head(head)
            self.file.put("incarnation", fresh)
        self.forget_caches()

    def _catch_up_views(self) -> None:
        """Folds again what another version, or a process without some domain, has left behind: see `rebuild.py`."""
        self.views.live = frozenset(name for name in self.registry.domains if self.generations.make_current(name))
        if self.generations.is_busy():
            if self._keeper is not None:
                self._keeper.wake()
            else:
                # a file of rows alone is a region's, which has no background step either: it finishes
                self.generations.run(ms_max=limits.REFOLD_SLICE_MS_MAX if self.holds_logs else None)

    def _hear_on(self) -> None:
        """Folds what of others' logs was not due when it came, and destroys what was held for long enough."""
        from antiphon.replica.hear import hear

        others = any(head.role == LogRole.FOLLOWED for head in self.logs.heads())
        if self.holds_rows and self.holds_logs and (others or self.holds.all()):
            hear(self)

    def destroy_due(self) -> bool:
        """Destroys what others have erased and was held here for long enough; whether there was any."""
        from antiphon.replica.hear import hear

        if not self.holds_rows or not self.holds.has_older(self.clock.now_ms() - limits.ERASURE_HOLD_MS):
            return False
        before = self.holds.all().keys()
        hear(self)
        return before != self.holds.all().keys()

    def mark(self) -> Mark | None:
        """The mark kept for this file as it is now, None when there is none that can be read."""
        return self.host.recall(self.file_id + (self.file.get("incarnation") or b""))

    def _ended(self, events: int) -> None:
        if self._marked is not None and not self.file.is_writing:  # within another transaction nothing is stored yet
            file_id, mark = self._marked
            self.host.note(file_id, msgspec.structs.replace(mark, events=events))
        if self._loose and self._keeper is not None:
            self._loose = False
            self._keeper.wake()

    def _keep(self) -> bool:
        """One background step; whether there may be more to do."""
        with translated(self.file.path):
            return bool(
                self.pack_some(blocks_max=1, runs_min=limits.RUNS_PER_BLOCK_MAX)
                or self.index_backlog(rows_max=512)
                or self.generations.step()
                or self.destroy_due()
            )

    def tidy(self, *, runs_min: int = 2, shrink: bool = False) -> None:
        """Indexes and packs everything that is loose; with `shrink`, gives free pages back to the file system.

        *Cost*: about 20 µs an event not packed yet; shrinking writes the whole file again, 10 ms a MiB.
        """
        if self.file.read_only or self.file.closed:
            return
        while self.index_backlog():
            pass
        while self.pack_some(runs_min=runs_min):
            pass
        if shrink:
            self.file.rewrite()
            self.file.settle()

    def pack_some(self, *, blocks_max: int = 16, runs_min: int = 2) -> int:
        """Packs some blocks of loose runs into columns and frames; how many.

        A block is worth packing when it is complete, or has `runs_min` runs or more. Nobody waits while it is packed:
        it is read before, and stored in a transaction if it is what it was.
        """
        found = self.logs.loose_blocks(limit=blocks_max, runs_min=runs_min)
        heads = ((self.logs.head_no(no), first) for no, first in found)
        packed = [(head, pack(self.logs, head, first, self.file.snapshot)) for head, first in heads if head is not None]
        done = 0
        with self.transaction() if packed else contextlib.nullcontext():
            for head, block in packed:
                done += block is not None and save_packed(self.logs, head, block)
            if done:
                self.dirty()
        return done

    def backlog(self) -> int:
        """How many rows wait to be indexed for full text."""
        tables = self.registry.tables.values()
        return sum(fulltext.backlog(self.file, table) for table in tables if table.fulltext is not None)

    def index_backlog(self, *, rows_max: int = 4_096) -> int:
        """Indexes one batch of rows that wait for full text; how many it did."""
        done = 0
        for table in self.registry.tables.values():
            if table.fulltext is not None and fulltext.backlog(self.file, table):
                with self.transaction():
                    done += fulltext.catch_up(self.file, table, rows_max=rows_max)
        return done
