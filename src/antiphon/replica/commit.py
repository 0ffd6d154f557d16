"""Room `replica` (imports all below it): writing to one open file: append, fold and feed in one transaction."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from antiphon.engines.sqlite import fulltext, pages
from antiphon.engines.sqlite.file import rows
from antiphon.engines.sqlite.followers import SqliteFollowers
from antiphon.identity.signing import SigningKey
from antiphon.log.append import Appended
from antiphon.log.kinds import ERASURE_REQUESTED, SYSTEM_KINDS
from antiphon.log.store import LogHead, LogRole
from antiphon.model import limits
from antiphon.model.errors import Conflict, Unavailable
from antiphon.model.event import NEW, Draft, Event, Header, Role
from antiphon.model.limits import BLOCK_LEAVES
from antiphon.model.text import EntityIds, id_text
from antiphon.replica.grants import citing
from antiphon.replica.group import GroupCommit, Job
from antiphon.replica.rebuild import Generations
from antiphon.replica.stored import FORGETS, HEARD, Stored, forgets
from antiphon.views.batch import RowKey
from antiphon.views.feed import OutboxEntry
from antiphon.views.store import OF_ASKED, OF_REQUESTS, of_cause, of_person, of_source


class Batch(msgspec.Struct):
    """What one caller wants appended to one log. `values` are the decoded bodies, None to decode them."""

    log: bytes
    drafts: list[Draft]
    values: list[Any]


CommitJob = Job[Batch, Appended]


class Writer(Stored):
    """Commits to the logs of one open file, and what forgetting needs of the same transaction."""

    def __init__(self, *args: Any, **world: Any) -> None:
        super().__init__(*args, **world)
        self.generations = Generations(self)
        self._group: GroupCommit[Batch, Appended] = GroupCommit(self._run, lambda batch: len(batch.drafts))

    def signer(self, head: LogHead) -> SigningKey:
        """The key that signs a log's checkpoints."""
        found = self._signers.get(head.id)
        if found is None:
            found = SigningKey(self.keys.get(f"log:{head.id.hex()}"))
            if len(self._signers) > 4_096:
                self._signers.clear()
            self._signers[head.id] = found
        return found

    def add_log(self, owner: bytes, key: SigningKey, log_id: bytes, *, role: LogRole = LogRole.OWN) -> LogHead:
        """A new, empty log in this file. Call inside a transaction; its key must be in the key store already."""
        head = LogHead(0, log_id, owner, key.public, role)
        self.logs.save_head(head)
        self._heads[head.id] = self._heads_by_no[head.no] = head
        self._signers[log_id] = key
        return head

    def add_foreign(self, heads: Iterable[LogHead]) -> None:
        """Inside a transaction: enters logs that are written elsewhere, those that are not known yet."""
        for head in heads:
            if head.id not in self._heads:
                self.logs.save_head(head)
                self._heads[head.id] = self._heads_by_no[head.no] = head
                self._cut(head, 0)

    def commit(self, batch: Batch) -> Appended:
        """Appends, folds and feeds; on disk when it returns. Threads that call at once share a transaction.

        The result's `first` and `headers` are those of this batch alone. Inside a transaction, it joins that.
        """
        self.file.check_process()
        if self.file.is_writing:  # whoever leads a group waits for this transaction: nobody here may wait for them
            return self.append_in_transaction(batch)
        return self._group.submit(batch)

    def _run(self, jobs: list[CommitJob]) -> None:
        by_log: dict[bytes, list[CommitJob]] = {}
        for job in jobs:
            by_log.setdefault(job.work.log, []).append(job)
        batches = []
        for log, mine in by_log.items():
            if len(mine) == 1:
                batches.append(mine[0].work)
                continue
            drafts = [draft for job in mine for draft in job.work.drafts]
            values = [value for job in mine for value in job.work.values]
            batches.append(Batch(log, drafts, values))
        done: list[Appended] = []
        try:
            with self.transaction():
                done = [self.append_in_transaction(batch) for batch in batches]
        except BaseException as error:
            if isinstance(error, Exception) or not self._is_stored(done):
                raise
            self._hand_out(by_log, done)  # interrupted after the commit: nobody may commit these again
            raise
        self._hand_out(by_log, done)
        self.scrub_after_commit()

    def _is_stored(self, done: list[Appended]) -> bool:
        stored = self.logs.head(done[-1].head.id) if done else None
        return stored is not None and stored.note == done[-1].head.note

    @staticmethod
    def _hand_out(by_log: dict[bytes, list[CommitJob]], done: list[Appended]) -> None:
        for mine, appended in zip(by_log.values(), done, strict=True):
            at = 0
            for job in mine:
                end = at + len(job.work.drafts)
                job.result = Appended(
                    appended.head, appended.first + at, 0, appended.headers[at:end], appended.bodies[at:end]
                )
                job.done = True
                at = end

    def commit_all(self, batches: list[Batch]) -> list[Appended]:
        """Appends to several logs in one transaction; all or nothing. Results leave the log's own events out."""
        with self.transaction():
            done = [self.append_in_transaction(batch) for batch in batches]
        self.scrub_after_commit()
        return done

    def see_stamp(self, stamp: int) -> None:
        """Inside a transaction: what is recorded here comes after this stamp too, which was seen in another file."""
        self._stamps.newest(self.clock.now_ms())
        self._stamps.see(stamp)

    def append_in_transaction(self, batch: Batch, *, rows: Iterable[RowKey] = ()) -> Appended:
        """The body of a commit, for callers that hold the transaction. `rows` join the feed entry.

        Every event is stamped later than all that can be seen here: what one agent says of what another has just
        said comes after it, in the same millisecond too.
        """
        head = self._heads.get(batch.log)
        if head is None:
            head = self.head(batch.log)
        if head.role != LogRole.OWN:
            raise Conflict(
                f"the log {id_text(head.id)} is not written here any more: this file is a copy or a restored backup",
                log=id_text(head.id),
            )
        batch = citing(self, head, batch)
        if not self._settled:
            self._settle_views()
        before = self.state.events
        now_ms = self.clock.now_ms()
        after = self._stamps.newest(now_ms)
        if after > head.hlc:
            head = msgspec.structs.replace(head, hlc=after)
        appended = self._appender.append(head, batch.drafts, now_ms=now_ms, signer=self.signer(head))
        self._heads[head.id] = self._heads_by_no[head.no] = appended.head
        self._stamps.see(appended.head.hlc)
        self._moved()
        self.state.events += len(appended.headers)
        self.state.commits += 1
        skip = appended.system
        if skip:
            appended = Appended(
                appended.head, appended.first + skip, skip, appended.headers[skip:], appended.bodies[skip:]
            )
        self._index_mentions(appended.head.no, appended.first, appended.headers)
        touched = self.views.apply(
            self.state,
            appended.head,
            first=appended.first,
            headers=appended.headers,
            bodies=appended.bodies,
            values=batch.values,
            created=[draft.entity == NEW for draft in batch.drafts],
        )
        if skip:
            touched |= self.restamp(appended.head, appended.head.resets[-1][1])
        if self.views.unsaved:
            self._save_state()
        if self._others:
            self._leave_behind(before, appended)
        self._feed(
            OutboxEntry(
                [(appended.head.no, appended.first - skip, len(appended.headers) + skip)],
                sorted({*touched, *rows}),
                self.state.commits,
                self.state.next_row,
            )
        )
        if appended.first // BLOCK_LEAVES != appended.head.size // BLOCK_LEAVES:
            self._loose = True
        if len(appended.headers) > limits.FULLTEXT_INLINE_EVENTS_MAX:
            self._loose = True
        else:
            self._index_inline(2 * limits.FULLTEXT_INLINE_EVENTS_MAX)
        return appended

    def _settle_views(self) -> None:
        """Before an append, once what another process did was read: leaves alone what newer code folds by now, folds
        again what a process that does not know a domain has left behind, takes up what was swapped in, and notes which
        domains are not known here.
        """
        folded = dict(self.state.folded)
        for name in self.views.live:
            stored = folded.setdefault(name, self.registry.fingerprints[name])
            if stored != self.registry.fingerprints[name] or (
                name in self.state.behind and not self.generations.make_current(name)
            ):
                self.views.live -= {name}
        for name in self.registry.domains.keys() - self.views.live:
            if folded.get(name) == self.registry.fingerprints[name] and name not in self.state.behind:
                self.views.live |= {name}  # another process has swapped its tables in
        if folded.keys() != self.state.folded.keys():
            self.state.folded = {**folded, **self.state.folded}
            self._save_state()
        self._others = tuple(self.state.folded.keys() - self.views.live - self.state.behind.keys())
        self._settled = True

    def _leave_behind(self, before: int, appended: Appended) -> None:
        """Notes domains not known here as behind, unless the events cannot be theirs."""
        known = {kind.name for name in self.views.live for kind in self.registry.domains[name].kinds}
        reset = appended.system  # a clock reset may have changed the order of anyone's events
        if not reset and all(header.kind in known or header.kind in SYSTEM_KINDS for header in appended.headers):
            return
        for name in self._others:
            self.state.behind.setdefault(name, before)
        self._others = ()
        self._save_state()

    def _feed(self, entry: OutboxEntry) -> None:
        writer = self.file.writer
        writer.execute("INSERT INTO outbox VALUES(?,?)", (self.state.version, msgspec.msgpack.encode(entry)))
        if self.state.commits % 1_024 == 0:
            writer.execute(
                "DELETE FROM outbox WHERE version <= "
                "(SELECT version FROM outbox ORDER BY version DESC LIMIT 1 OFFSET ?)",
                (limits.OUTBOX_COMMITS_MAX,),
            )

    def _index_inline(self, rows_max: int) -> None:
        for table in self.registry.tables.values():
            if table.fulltext is not None and self.state.next_row.get(table.name, 1) - 1 > 0:
                behind = self.state.next_row[table.name] - 1 - fulltext.indexed(self.file, table.name)
                if 0 < behind <= rows_max:
                    fulltext.catch_up(self.file, table, rows_max=rows_max)

    def _index_mentions(self, no: int, first: int, headers: Iterable[Header]) -> None:
        mentions: list[tuple[bytes, int, int]] = []
        deciders = self.registry.deciders
        for seq, header in enumerate(headers, first):
            if header.about is not None:
                mentions += [(of_person(person), no, seq) for person in header.about]
            if header.refs is not None:
                mentions += [(of_source(ref.log, ref.seq), no, seq) for ref in header.refs if ref.role == Role.SOURCE]
                mentions += [(of_cause(ref.log, ref.seq), no, seq) for ref in header.refs if ref.role == Role.CAUSE]
            if header.kind == ERASURE_REQUESTED:
                mentions.append((OF_REQUESTS, no, seq))
            elif header.kind in deciders:
                mentions.append((OF_ASKED, no, seq))
        if mentions:
            self.mentions.add(mentions)

    def fold_followed(self, head: LogHead, first: int) -> None:
        """Inside a transaction: folds what counts of a log that is written elsewhere, which grew from `first` on."""
        from antiphon.replica.hear import fold_due

        head.role = LogRole.FOLLOWED
        self.logs.save_head(head)
        self._heads[head.id] = self._heads_by_no[head.no] = head
        self._stamps.see(head.hlc)
        self.hear_to(head, self.heard_to(head.no))
        self.dirty()
        self._save_state()
        fold_due(self, only={head.no})

    def fold_heard(
        self, head: LogHead, first: int, last: int, events: Sequence[Event], *, writes_max: int
    ) -> tuple[int, int]:
        """Inside a transaction: folds these events, all that is held of [first, last) of a followed log, until they
        have written so much; feeds it. Where it ended, and how many writes there were.
        """
        if not self._settled:
            self._settle_views()
        self.hear_to(head, last)
        cut, before = self.cut_head(head), self.state.events
        known = {kind.name for name in self.views.live for kind in self.registry.domains[name].kinds}
        due = [event for event in events if event.kind in known]
        folded = self.views.fold_events(self.state, cut, EntityIds(head.id), due, writes_max=writes_max)
        touched = folded.touched
        if folded.end is not None:
            last = folded.end
            events = [event for event in events if event.seq < last]
            self.hear_to(head, last)
            cut = self.cut_head(head)
        self.mention(head.no, events)
        resets = [stamp for seq, stamp in cut.resets if seq >= first]
        if resets:
            touched |= self.restamp(cut, min(resets))
        for name in self._others if resets or any(event.kind not in known for event in events) else ():
            self.state.behind.setdefault(name, before)
        self._others = tuple(name for name in self._others if name not in self.state.behind)
        self._feed_step(last - first, OutboxEntry([(head.no, first, last - first)], sorted(touched)))
        self._loose = True
        return last, folded.writes

    def feed_step(self, rows: Iterable[RowKey]) -> None:
        """Inside a transaction: feeds rows that changed though nothing was appended here."""
        self._feed_step(1, OutboxEntry([], sorted(rows)))

    def _feed_step(self, events: int, entry: OutboxEntry) -> None:
        self.file.put(HEARD, (self.heard_events() + events).to_bytes(8, "big"))
        self.state.events += events
        self.state.commits += 1
        entry.commits, entry.next_row = self.state.commits, self.state.next_row
        self._save_state()
        self._feed(entry)

    holds_logs = True
    """Whether the logs that are folded here are in this file; else others erase in them."""
    holds_rows = True
    """Whether the rows of the logs here are in this file; else they must let go of an event before it is destroyed."""

    def mention(self, no: int, events: Iterable[Event]) -> None:
        """Inside a transaction: keeps what the headers of these events mention."""
        for event in events:
            self._index_mentions(no, event.seq, [event.header])

    def unmention(self, no: int, events: Iterable[Event]) -> None:
        """Inside a transaction: drops what the headers of these events mention."""
        gone: list[tuple[bytes, int, int]] = []
        for event in events:
            header = event.header
            gone += [(of_person(person), no, event.seq) for person in header.about or ()]
            for ref in header.refs or ():
                gone += [(of(ref.log, ref.seq), no, event.seq) for of in (of_source, of_cause)]
            gone += [(OF_REQUESTS, no, event.seq), (OF_ASKED, no, event.seq)]
        self.mentions.remove(gone)

    def restamp(self, head: LogHead, cut: int) -> set[RowKey]:
        """After a clock reset: computes again the rows of several events whose order may have changed, those from the
        stamp `cut` on.
        """
        self.generations.restart()
        touched: set[RowKey] = set()
        sql = (
            "SELECT DISTINCT what FROM mentions WHERE log=? "
            "AND (what >= x'01' AND what < x'02' OR what >= x'05' AND what < x'06')"
        )
        found = rows(self.file.reader, sql, (head.no,)) if self._has("mentions") else []
        for (what,) in found:
            for no, seq in self.mentions.find(what):
                event = self._event_or_none(no, seq)
                if event is not None and event.header.hlc >= cut:
                    touched |= {key for key in self.views.keys_of(event) if self.views.what_of(key) == what}
        changed = {key for key in touched if self.views.recompute(self.state, key)}
        return changed | self.views.flush_figures(self.state)

    def refold(self, domain: str) -> int:
        """Drops a domain's tables and folds them again from the logs; how many events were read."""
        with self.transaction():
            heads = [self.cut_head(head) for head in self._heads_by_no.values()]
            count = self.views.refold(self.state, domain, heads)
            self.folded_as_now(domain)
        self._moved()
        return count

    def folded_as_now(self, domain: str) -> None:
        """Inside a transaction: notes that a domain's tables are of this code's version. Their rows may all differ, so
        the feed begins a new epoch.
        """
        self.state.behind.pop(domain, None)
        self.state.folded[domain] = self.registry.fingerprints[domain]
        self.begin_feed()

    def call_keeper(self) -> None:
        """Inside a transaction: says that there is something for the background step to do."""
        self._loose = True

    def drop_unknown_tables(self) -> None:
        """Inside a transaction that forgets: drops tables that this process cannot compute again. Those of a domain
        that is being folded again keep what `Generations.drop_old_rows` has left.

        Whoever knows their domain folds them again at the next write or open, without what was forgotten.
        """
        self.generations.discard_unknown()
        owner = self.registry.domain_of_table
        live = {name for name in self.registry.tables if owner[name] in self.views.live} | self.generations.names()
        live |= {table.name for table in self.generations.remade()}
        for name in self.tables.drop_all_but(live):
            self.state.next_row.pop(name, None)
            self.tips.drop_named(name)
        for name in self.state.folded.keys() - self.views.live:
            self.state.behind.setdefault(name, self.state.events)
        self._save_state()

    def feed_rows(self, rows: list[RowKey]) -> None:
        """Inside a transaction: adds rows to this commit's feed entry, and drops what followers kept of them.

        Where nothing was appended here, there is no entry that nobody has read yet: then the feed begins anew.
        """
        SqliteFollowers(self.file).settle(rows)
        version = self.state.version
        if version == self._version_before:
            self.begin_feed()
            return
        raw = self.file.writer.execute("SELECT entry FROM outbox WHERE version=?", (version,)).get
        entry = OutboxEntry([], []) if raw is None else msgspec.msgpack.decode(raw, type=OutboxEntry)
        entry.rows = sorted({*entry.rows, *rows})
        entry.commits, entry.next_row = self.state.commits, self.state.next_row
        self.file.writer.execute(
            "INSERT INTO outbox VALUES(?,?) ON CONFLICT(version) DO UPDATE SET entry=excluded.entry",
            (version, msgspec.msgpack.encode(entry)),
        )

    def scrub_later(self) -> None:
        """Inside a transaction that forgets: notes that traces may be left, until a scrub has succeeded, and counts it
        for engines that keep copies.
        """
        self.file.put(FORGETS, (forgets(self.file) + 1).to_bytes(8, "big"))
        self.state.scrub_pending = True
        self._save_state()

    def settle_after_erasure(self, *, file_bytes_max: int | None = None) -> bool:
        """Clears what is left of the forgotten in write-ahead log and free space; False when it stays pending: a
        reader holds it back, there is no room, or the file needs rewriting and is larger than `file_bytes_max`
        (SCRUB_FILE_BYTES_MAX when not given).
        """
        if file_bytes_max is None:
            file_bytes_max = limits.SCRUB_FILE_BYTES_MAX
        with contextlib.suppress(Unavailable):
            if self.file.settle() and pages.wipe(self.file, file_bytes_max=file_bytes_max):
                with self.transaction():
                    self.state.scrub_pending = False
                    self._save_state()
                return True
        return False

    def scrub_if_pending(self, *, file_bytes_max: int | None = None) -> bool:
        """Settles what an erasure has left pending, whatever the file's size when told so; whether nothing is left."""
        if not self.state.scrub_pending and not self.stored_state().scrub_pending:
            return True
        return self.settle_after_erasure(file_bytes_max=file_bytes_max)

    def scrub_after_commit(self) -> None:
        """The next write after an erasure, or after a reader has left that held it back, settles what is left of it;
        large files wait for a scrub by hand.
        """
        if self.state.scrub_pending and self.file.path.stat().st_size <= limits.SCRUB_FILE_BYTES_MAX:
            self.settle_after_erasure()
