"""Room `region` (imports `replica` and below): what is erased in a region: from every file of rows first, then in logs.

Holds lie beside the logs. A file of rows takes out what they name while that can still be read, and notes it in the
transaction that does; only what all of them have noted is destroyed. What is killed in between is gone on with by
whoever reads next.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence

from antiphon.log.ingest import Said
from antiphon.log.kinds import ranges_of
from antiphon.log.store import LogHead, LogRole
from antiphon.model.errors import NotFound
from antiphon.model.text import event_text
from antiphon.region.files import RegionLogs, RowFile
from antiphon.replica import erasure, forget
from antiphon.replica.core import Replica
from antiphon.replica.hear import Standings
from antiphon.replica.holds import INTENT, Hold, Place, is_intent
from antiphon.views.store import of_source


class _Judge:
    """Who may erase, asked about heads as one file of logs numbers them."""

    def __init__(self, known: Standings, logs: RegionLogs) -> None:
        self._known, self._logs = known, logs
        self.voids, self.vouches, self.erasing = known.voids, known.vouches, known.erasing

    def is_home(self, head: LogHead) -> bool:
        across = self._logs.head(head.id)
        return across is not None and self._known.is_home(across)


class Erasures:
    """What is held in the files of logs of a region, and what becomes of it."""

    def __init__(
        self, log_files: Sequence[Replica], row_files: Sequence[RowFile], logs: RegionLogs, known: Standings
    ) -> None:
        self._log_files, self._row_files, self._logs, self._known = log_files, row_files, logs, known
        self._judge = _Judge(known, logs)
        self._learned = 0
        self._grown: set[bytes] = set()
        self._seen: tuple[int, ...] = ()

    def take_note(self, file: Replica, head: LogHead, said: Said) -> None:
        """Inside the transaction that takes leaves of a log in: hides what the log erases."""
        erasure.note_said(file, head, said)
        self._grown.add(head.id)

    def judge(self) -> None:
        """Before rows are folded: learns what principals erase, and which holds are void by now."""
        seen = self._logs.changed()
        if seen == self._seen:
            return
        self._known.read_on(self._logs.heads())
        news = self._known.news[self._learned :]
        for log in sorted({log for _, log in news if log is not None} | self._grown):
            for at, file in enumerate(self._log_files):
                head = file.logs.head(log) if at == self._file_of(log) else None
                if head is not None and self._known.erasing(head):
                    with file.transaction():
                        erasure.note_principal(file, head, self._judge)
        self._learned += len(news)
        self._grown.clear()
        for file in self._log_files:
            if erasure.verdicts(file, self._judge):
                with file.transaction():
                    erasure.judge_holds(file, self._judge)
        self._seen = self._logs.changed()

    def _file_of(self, log: bytes) -> int:
        across = self._logs.head(log)
        return -1 if across is None else across.no % len(self._log_files)

    def finish(self) -> list[forget.Forgotten]:
        """After rows were folded: destroys what is due and out of all rows; what was forgotten by intents."""
        done: list[forget.Forgotten] = []
        for at, file in enumerate(self._log_files):
            if not file.holds.all():
                continue
            ready = self._out_of_rows(at)
            done += [self._forget(file, place) for place in file.holds.all() if is_intent(place) and ready(place)]
            if erasure.due(file, self._judge, ready=ready):
                with file.transaction():
                    erasure.destroy_due(file, self._judge, ready=ready)
                file.scrub_if_pending()
        for rows in self._row_files:
            if rows.state.scrub_pending:
                rows.scrub_if_pending()
        return done

    def _out_of_rows(self, at: int) -> Callable[[Place], bool]:
        out: list[set[Place]] = []

        def ready(place: Place) -> bool:
            if not out:
                out.extend(set(rows.holds.taken_out()) for rows in self._row_files)
            across = (place[0] * len(self._log_files) + at, *place[1:])
            return all(across in taken for taken in out)

        return ready

    # -- forgetting ----------------------------------------------------------------------------------------------

    def intend(self, head: LogHead, seqs: Iterable[int], *, reason: str) -> list[str]:
        """Notes that events of a log written here are to be forgotten, and what was derived from them in its
        principal's logs here; what others derived. Raises NotFound, InvalidInput.
        """
        wanted: dict[bytes, set[int]] = {head.id: set(seqs)}
        waiting = [(head.id, seq) for seq in wanted[head.id]]
        others: list[str] = []
        while waiting:
            log, seq = waiting.pop()
            for no, at in self._row_files[0].mentions.find(of_source(log, seq)):
                one = self._logs.head_no(no)
                if one is None or at in wanted.get(one.id, ()):
                    continue
                if not self._is_written(one) or self._known.of(one.owner) is not self._known.of(head.owner):
                    others.append(event_text(one.id, at))
                    continue
                wanted.setdefault(one.id, set()).add(at)
                waiting.append((one.id, at))
        for log, found in wanted.items():
            file = self._log_files[self._file_of(log)]
            own = file.head(log)
            with file.transaction():
                forget.check(file, [(own.no, seq) for seq in sorted(found)], reason=reason)
                number = 1 + max((seq for _, by, seq in file.holds.all() if by.startswith(INTENT)), default=0)
                place = (own.no, INTENT + reason, number)
                file.holds.put(place, Hold(file.clock.now_ms(), ranges_of(sorted(found))))
                file.dirty()
        return sorted(others)

    def _is_written(self, across: LogHead) -> bool:
        file = self._log_files[across.no % len(self._log_files)]
        head = file.logs.head(across.id)
        return head is not None and head.role in (LogRole.OWN, LogRole.PAST)

    def _forget(self, file: Replica, place: Place) -> forget.Forgotten:
        """Does what was intended, or what is left of it."""
        hold, head = file.holds.all()[place], file.logs.head_no(place[0])
        assert head is not None
        done = forget.Forgotten([], [], [])
        left = [(head.no, seq) for seq in erasure.stored_of(file.writing_reader, head, hold.ranges)]
        with contextlib.suppress(NotFound):  # another process has just done it
            done = forget.forget(file, left, reason=place[1].removeprefix(INTENT)) if left else done
        with file.transaction():
            file.holds.drop(place)
            file.dirty()
        return done
