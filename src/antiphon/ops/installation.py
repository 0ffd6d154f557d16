"""Room `ops` (imports `engines` and below): an old installation's folder into an agent's log: once, again, following.

Each record becomes the event that makes its row; what has none is kept whole in an event, and listed. A chunk is one
transaction, with what is known to be taken: a crash leaves all of it or nothing. Running it again takes what is new.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from antiphon.domains.loops import names
from antiphon.engines.sqlite.file import SqliteFile
from antiphon.model import errors, limits
from antiphon.model.event import Scope
from antiphon.model.text import entity_text, parse_entity
from antiphon.ops.installation_map import LINKS, SAME, Mapped, Unmapped, mapped, people_in, spec_of
from antiphon.ops.installation_read import (
    NUL,
    PART_BYTES,
    Found,
    Note,
    Thing,
    Whole,
    files_of,
    found_in,
    mark_of,
    readable,
    relative,
)
from antiphon.ops.installation_taken import Taken
from antiphon.views.commands import Recorder
from antiphon.world.entropy import Entropy

CHUNK: Final = 200
"""Things in one transaction."""
NOTES_MAX: Final = 20
"""Reasons shown for one file; all are counted, and what is kept is in `installation_records`."""
_REFUSALS: Final = (errors.InvalidInput, errors.Rejected, errors.Conflict, OverflowError, ValueError, TypeError)


class FileReport(msgspec.Struct):
    """What became of one file. `kept` counts what has no table and is kept whole; `left` what is not taken again."""

    path: str
    read: int = 0
    added: int = 0
    changed: int = 0
    known: int = 0
    kept: int = 0
    left: int = 0
    skipped: str = ""
    sorts: dict[str, int] = {}
    notes: list[str] = []
    notes_more: int = 0

    def note(self, place: str, words: str) -> None:
        """Says something about a place in the file."""
        if len(self.notes) < NOTES_MAX:
            self.notes.append(readable(f"{place or 'file'}: {words}"))
        else:
            self.notes_more += 1


class Report(msgspec.Struct):
    """What became of an installation."""

    installation: str
    dry_run: bool
    files: list[FileReport] = []

    def total(self, what: str) -> int:
        """A figure over all files."""
        return sum(getattr(one, what) for one in self.files)


class _Undone(Exception):
    """That a dry run takes a chunk back."""


class Migration:
    """One installation on its way into one agent. Not for several threads.

    `name` is what the installation is called here, its path when not given: whoever moves the folder names it. `tidy`
    is called after each chunk, to pack what lies loose.
    """

    def __init__(
        self, keeper: Recorder, file: SqliteFile, root: Path, *, name: str | None = None, dry_run: bool = False,
        entropy: Entropy | None = None, tidy: Callable[[], object] = lambda: None,
    ) -> None:  # fmt: skip
        self._keeper, self._root, self._dry, self._tidy = keeper, root, dry_run, tidy
        self.name = name or str(root.resolve())
        self._taken = Taken(file, self.name, dry=dry_run, entropy=entropy)
        self._depths: dict[bytes, int] = {}
        self._marks: dict[str, tuple[int, ...]] = {}
        self._seen: dict[bytes, bytes] = {}
        self._ordinals: dict[bytes, int] = {}
        self._later: list[tuple[Thing, bytes]] = []
        self._fresh: set[bytes] = set()
        """What the transaction at hand has made (a dry run: the whole run), before it can be read."""

    # -- once, and following -------------------------------------------------------------------------------------

    def run(self, *, progress: Callable[[int], None] = lambda count: None) -> Report:
        """Takes everything in the folder that is new. Raises NotFound where there is no such folder."""
        report, unread = Report(self.name, self._dry), list[tuple[str, str]]()
        for path in files_of(self._root, unread):
            self._marks[relative(self._root, path)] = mark_of(path)
            report.files.append(self._file(path, progress))
        self._link()
        report.files += [FileReport(folder, skipped=f"the folder cannot be read: {why}") for folder, why in unread]
        return report

    def changed(self, *, settled: dict[str, tuple[int, ...]]) -> Report:
        """Takes what has changed since it was last looked at, file by file, once a file has stayed as it is from one
        look to the next: `settled` keeps the looks between calls.
        """
        report = Report(self.name, self._dry)
        for path in files_of(self._root):
            name, mark = relative(self._root, path), mark_of(path)
            if mark == self._marks.get(name):
                settled.pop(name, None)
            elif settled.get(name) == mark:
                self._marks[name] = mark
                del settled[name]
                report.files.append(self._file(path, lambda count: None))
            else:
                settled[name] = mark
        self._link()
        return report

    def _link(self) -> None:
        """Says of stories what they are about, where that came after them."""
        later, self._later = self._later, []
        if not later:
            return
        try:
            with self._keeper.together():
                self._taken.open()
                for item, entity in later:
                    found = mapped(item, self, again=entity).body
                    links = {name: found[name] for name in LINKS if name in found}
                    if links:
                        self._keeper.record(names.RETOLD, links, entity=entity_text(entity), scope=Scope.PUBLIC)
                if self._dry:
                    raise _Undone
        except _Undone:
            pass

    def _file(self, path: Path, progress: Callable[[int], None]) -> FileReport:
        done = FileReport(relative(self._root, path))
        self._seen, self._ordinals = {}, {}
        try:
            for chunk in _chunks(self._ordered(self._found(path))):
                self._chunk(chunk, done)
                self._tidy()
                progress(len(chunk))
        except errors.Unavailable as error:
            done.skipped = str(error)
            self._marks.pop(done.path, None)
        return done

    def _found(self, path: Path) -> Iterator[Found]:
        return found_in(self._root, path)

    def _ordered(self, found: Iterable[Found]) -> Iterator[Found]:
        """Loops behind those that they are forks of, as far as the same file has both; the rest as it comes."""
        waiting: dict[str, list[Thing]] = {}
        coming: list[Found] = []
        for item in found:
            if isinstance(item, Thing) and item.sort == "loop":
                coming.append(item)
            else:
                yield item
        here = {item.former_id for item in coming if isinstance(item, Thing)}
        done: set[str | None] = set()
        ready: list[Found] = []
        for item in coming:
            assert isinstance(item, Thing)
            parent = _parent_of(item)
            if parent in here and parent != item.former_id:
                waiting.setdefault(parent or "", []).append(item)
            else:
                ready.append(item)
        while ready:
            item = ready.pop(0)
            yield item
            assert isinstance(item, Thing)
            if item.former_id not in done:
                done.add(item.former_id)
                ready += waiting.pop(item.former_id or "", [])
        for items in waiting.values():  # a circle: the parents are left over
            yield from items

    # -- one transaction -----------------------------------------------------------------------------------------

    def _chunk(self, chunk: list[Found], done: FileReport) -> None:
        """Takes a chunk; when something in it is refused, one by one, and what is refused is kept whole."""
        try:
            self._commit(chunk, done)
        except _REFUSALS:
            for item in chunk:
                try:
                    self._commit([item], done)
                except _REFUSALS as error:
                    reason = f"it was refused: {error}"
                    self._commit([_kept_of(item, reason)], done)

    def _commit(self, chunk: list[Found], done: FileReport) -> None:
        trial = msgspec.convert(msgspec.to_builtins(done), FileReport)
        seen, ordinals, later = dict(self._seen), dict(self._ordinals), len(self._later)
        if not self._dry:
            self._fresh.clear()
        try:
            with self._keeper.together():
                self._taken.open()
                for item in chunk:
                    self._take(item, trial)
                if self._dry:
                    raise _Undone
        except _Undone:
            pass
        except BaseException:
            self._seen, self._ordinals = seen, ordinals
            del self._later[later:]
            raise
        for name in FileReport.__struct_fields__:
            setattr(done, name, getattr(trial, name))

    def _take(self, item: Found, done: FileReport) -> None:
        if isinstance(item, Note):
            done.note(item.place, item.words)
            return
        done.read += 1
        if isinstance(item, Whole):
            self._keep(item, done)
            return
        sort, content = SAME.get(item.sort, item.sort), _content(item.fields)
        digest = self._taken.digest(content)
        source = self._source(item, digest)
        known = self._taken.get(source)
        if known is not None and known[0] == digest and self._seen.setdefault(source, digest) == digest:
            done.known += 1
            return
        if self._seen.setdefault(source, digest) != digest:
            self._keep(_kept_of(item, f"its id {item.former_id!r:.60} stands above with other content"), done)
            return
        local = spec_of(item.sort).local
        named = None if item.former_id is None else self._named(sort, item.former_id, item.path if local else "")
        before = None if named is None else self._taken.get(named)
        again = None if before is None else before[1]
        if again is not None and not self._is_there(item.sort, again):
            done.left += 1
            done.note(item.place, "it was forgotten here, or is no longer there: it is not taken again")
            self._taken.put(source, digest, again)
            return
        try:
            made = mapped(item, self, again=again)
        except Unmapped as why:
            self._keep(_kept_of(item, str(why)), done)
            self._taken.put(source, digest, None)
            return
        event, entity = self._record(made)
        if named is not None and not spec_of(item.sort).always:
            self._taken.put(named, None, entity)
        self._taken.put(source, digest, entity)
        self._fresh.add(entity)
        if item.sort == "mythology" and made.left:
            self._later.append((item, entity))
        if "fork_depth" in made.body.get("columns", {}):
            self._depths[entity] = made.body["columns"]["fork_depth"]
        if made.left:
            done.note(item.place, f"no column for {', '.join(sorted(made.left))[:200]}: kept beside it")
            left = Whole(item.path, item.place, "fields without a column", item.sort, made.left, None, item.former_id)
            self._keep(left, done, of=entity, about=made.about, source=event)
        if again is None or made.entity is None:
            done.added += 1
        else:
            done.changed += 1
        done.sorts[item.sort] = done.sorts.get(item.sort, 0) + 1

    def _record(self, made: Mapped) -> tuple[str, bytes]:
        scope = Scope.PRIVATE if made.private else Scope.PUBLIC
        entity = None if made.entity is None else entity_text(made.entity)
        done = self._keeper.record(
            made.kind, made.body, entity=entity, occurred=made.occurred, about=made.about, scope=scope
        )
        return done.event, parse_entity(done.entity or "")

    def _source(self, item: Thing, digest: bytes) -> bytes:
        """What a record is known by where it stands: its file, sort and id; without an id its content, counted."""
        if item.former_id is not None:
            return self._taken.name("source", item.path, item.sort, item.former_id)
        ordinal = self._ordinals.get(digest, 0)
        self._ordinals[digest] = ordinal + 1
        return self._taken.name("content", item.path, item.sort, digest.hex(), str(ordinal))

    def _named(self, sort: str, former_id: str, path: str) -> bytes:
        return self._taken.name("thing", sort, path + NUL + former_id)

    def _is_there(self, sort: str, entity: bytes) -> bool:
        table = spec_of(sort).table
        return not table or entity in self._fresh or self._keeper.table(table).get(entity) is not None

    # -- what has no table -----------------------------------------------------------------------------------------

    def _keep(
        self, item: Whole, done: FileReport, *, of: bytes | None = None, about: list[str] | None = None,
        source: str | None = None,
    ) -> None:  # fmt: skip
        """Keeps something whole, in as many events as it takes; not twice. It is forgotten with the event `source`."""
        raw, value = item.raw, item.value
        if raw is None:
            raw = _content(value)
            if len(raw) <= PART_BYTES and _is_plain(value):
                raw = None
        digest = self._taken.digest(_content(value) if item.raw is None else item.raw)
        name = self._taken.name("kept", item.path, item.place, item.sort, digest.hex())
        if self._taken.get(name) is not None:
            done.known += of is None
            return
        parts = [None] if raw is None else [raw[at : at + PART_BYTES] for at in range(0, len(raw), PART_BYTES)] or [b""]
        sources = () if source is None else (source,)
        for number, part in enumerate(parts, 1):
            body = {
                "installation": self.name, "path": item.path, "place": item.place, "sort": item.sort,
                "reason": item.reason[: limits.REASON_CHARS_MAX], "value": value if part is None else None,
                "raw": part, "part": number, "parts": len(parts), "former_id": item.former_id, "of": of,
            }  # fmt: skip
            self._keeper.record(names.KEPT, _safe(body), about=about or item.about, sources=sources)
        self._taken.put(name, digest, None)
        if of is None:
            done.kept += 1
            done.note(item.place, f"kept whole: {item.reason}")

    # -- who is who --------------------------------------------------------------------------------------------------

    def entity(self, sort: str, former_id: str) -> bytes | None:
        """The entity that a record has become, None where it has not (yet)."""
        found = self._taken.get(self._named(sort, former_id, ""))
        return None if found is None else found[1]

    def depth(self, loop: bytes) -> int:
        """How many forks a loop is away from where its line began."""
        if loop in self._depths:
            return self._depths[loop]
        row = self._keeper.table(names.LOOPS).get(loop)
        return 0 if row is None else int(row["fork_depth"])

    def now_ms(self) -> int:
        """What the time is."""
        return self._keeper.clock.now_ms()


def _chunks(found: Iterable[Found]) -> Iterator[list[Found]]:
    chunk: list[Found] = []
    for item in found:
        chunk.append(item)
        if len(chunk) == CHUNK or (isinstance(item, Whole) and item.raw is not None):
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _parent_of(thing: Thing) -> str | None:
    names_of = spec_of("loop").columns["fork_parent"][1]
    found = next((thing.fields[name] for name in names_of if thing.fields.get(name) is not None), None)
    return None if found is None else str(found)


def _kept_of(item: Found, reason: str) -> Whole:
    """A thing (or what could not be kept as it was) as bytes to keep."""
    if isinstance(item, Thing):
        return Whole(item.path, item.place, reason, item.sort, item.fields, None, item.former_id, people_in(item))
    if isinstance(item, Whole):
        raw = _content(item.value) if item.raw is None else item.raw
        return Whole(
            item.path, item.place, f"{item.reason}; {reason}", item.sort, None, raw, item.former_id, item.about
        )
    return Whole("", item.place, reason, value=item.words)


def _content(value: Any) -> bytes:
    """A value as bytes that say all of it: JSON in ASCII, bytes as base64."""
    return json.dumps(value, sort_keys=True, default=_as_json).encode("ascii")


def _as_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    return str(value)


def _is_plain(value: Any) -> bool:
    """Whether a body can hold the value as it is: text that is Unicode, integers of 64 bits."""
    try:
        msgspec.msgpack.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return False
    return True


def _safe(body: dict[str, Any]) -> dict[str, Any]:
    """The body with text that can be stored: places and ids may be no Unicode."""
    return {name: readable(value) if isinstance(value, str) else value for name, value in body.items()}
