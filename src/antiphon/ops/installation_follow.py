"""Room `ops` (imports `engines` and below): an old installation that is still in use, looked at again and again.

A file is taken once it stays as it is from one look to the next, and at the latest at every SETTLE_LOOKS_MAX-th look.
What has no table is kept again at most every KEPT_PAUSE_MS, file by file: what the old installation wrote and wrote
over in between is as gone here as it is there. Nothing of this is kept on disk: whoever is killed reads it all again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from antiphon.model.errors import NotFound
from antiphon.ops.installation import FileReport, Migration, Report
from antiphon.ops.installation_read import files_of, mark_of, relative
from antiphon.world.clock import Clock

SETTLE_LOOKS_MAX: Final = 5
KEPT_PAUSE_MS: Final = 600_000

Mark = tuple[int, ...]


class Following:
    """What is known of the files between looks. `migration` has run once."""

    def __init__(self, migration: Migration, clock: Clock) -> None:
        self._migration, self._clock = migration, clock
        self._marks: dict[str, Mark] = dict(migration.marks)
        self._looks: dict[str, tuple[Mark, int]] = {}
        """Files that change: what each was at the last look, and how many there were."""
        self._kept: dict[str, float] = {}
        """Files of which something without a table was kept, and when."""
        self._held: dict[str, Path] = {}
        self._said: dict[str, str] = {}
        """Files that cannot be read, and why: said once."""

    def look(self) -> Report:
        """Takes what has changed and settled, and what was held back long enough. *Shapes*: files with news alone."""
        report = self._report()
        try:
            unread: list[tuple[str, str]] = []
            found = {relative(self._migration.root, path): path for path in files_of(self._migration.root, unread)}
        except NotFound as error:
            self._say(report, FileReport(".", skipped=str(error)))
            return report
        self._said.pop(".", None)
        for name, path in found.items():
            mark = mark_of(path)
            if self._is_due(name, mark):
                self._take(name, path, mark, report)
        for folder, why in unread:
            self._say(report, FileReport(folder, skipped=f"the folder cannot be read: {why}"))
        self._drop(found.keys() | {folder for folder, _ in unread})
        return report

    def finish(self) -> Report:
        """Takes what is still held back."""
        report = self._report()
        for name, path in [*self._held.items()]:
            self._kept.pop(name, None)
            self._take(name, path, mark_of(path), report)
        return report

    def _report(self) -> Report:
        return Report(self._migration.name, dry_run=False)

    def _is_due(self, name: str, mark: Mark) -> bool:
        if mark == self._marks.get(name):
            self._looks.pop(name, None)
            return name in self._held and not self._is_kept(name)
        last, count = self._looks.get(name, ((), 0))
        if mark != last and count < SETTLE_LOOKS_MAX:
            self._looks[name] = mark, count + 1
            return False
        self._looks.pop(name, None)
        return True

    def _is_kept(self, name: str) -> bool:
        """Whether something of the file was kept a short while ago."""
        when = self._kept.get(name)
        return when is not None and self._clock.monotonic_ms() - when < KEPT_PAUSE_MS

    def _take(self, name: str, path: Path, mark: Mark, report: Report) -> None:
        done = self._migration.take(path, hold=self._is_kept(name))
        self._held.pop(name, None)
        if done.skipped:
            self._say(report, done)
            self._marks.pop(name, None)
            return
        self._said.pop(name, None)
        self._marks[name] = mark
        if done.kept:
            self._kept[name] = self._clock.monotonic_ms()
        if done.held:
            self._held[name] = path
        if done.added or done.changed or done.kept or done.left:
            report.files.append(done)

    def _say(self, report: Report, done: FileReport) -> None:
        """What cannot be read, when that is news."""
        if self._said.get(done.path) != done.skipped:
            self._said[done.path] = done.skipped
            report.files.append(done)

    def _drop(self, there: set[str]) -> None:
        """Forgets files that are gone."""
        for known in (self._marks, self._looks, self._kept, self._held, self._said):
            for name in known.keys() - there - {"."}:
                del known[name]
