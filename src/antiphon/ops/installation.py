"""Room `ops` (imports `engines` and below): an old installation's folder into an agent's log: once, again, following.

Each record becomes the event that makes its row; what has none is kept whole in an event, and listed. A chunk is one
transaction, with what is known to be taken: a crash leaves all of it or nothing. Running it again takes what is new.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from antiphon.domains.audience import Audience, of_agent
from antiphon.domains.loops import names
from antiphon.engines.sqlite.file import SqliteFile
from antiphon.model import errors, limits
from antiphon.model.errors import Conflict
from antiphon.model.event import Scope
from antiphon.model.text import entity_text, parse_entity, parse_id
from antiphon.ops.installation_bytes import content_of
from antiphon.ops.installation_map import LINKS, SAME, Mapped, Unmapped, mapped, people_in, spec_of, why_left
from antiphon.ops.installation_read import (
    NUL,
    PART_BYTES,
    Found,
    Note,
    Thing,
    Whole,
    files_of,
    found_in,
    is_installation,
    mark_of,
    pieces,
    readable,
    relative,
)
from antiphon.ops.installation_taken import Taken
from antiphon.ops.installation_trial import Keeper
from antiphon.world.entropy import Entropy

CHUNK: Final = 200
"""Things in one transaction."""
NOTES_MAX: Final = 20
"""Reasons shown for one file; all are counted, and what is kept is in `installation_records`."""
LEFT: Final = "fields without a column, or that do not fit theirs"
"""Why a record's rest is kept beside its row."""
_PRIVATE: Final = Audience(Scope.PRIVATE)
_REFUSALS: Final = (
    errors.InvalidInput, errors.Rejected, errors.Conflict, OverflowError, ValueError, TypeError,
    RecursionError,
)  # fmt: skip
"""What one record may be at fault for: it ends no run."""
NOTE_CHARS_MAX: Final = 500
PLACE_CHARS_MAX: Final = 200
"""So much is kept of where something stood, and of what it was called; a longer name stands with its value."""


class FileReport(msgspec.Struct):
    """What became of one file. `kept` counts what has no table and is kept whole; `left` what is not taken again;
    `held` what will be kept later, while an installation is followed; `broken` what could not be read, and is kept as
    it is; `refused` what could not even be kept.
    """

    path: str
    read: int = 0
    added: int = 0
    changed: int = 0
    known: int = 0
    kept: int = 0
    left: int = 0
    held: int = 0
    broken: int = 0
    refused: int = 0
    skipped: str = ""
    sorts: dict[str, int] = {}
    notes: list[str] = []
    notes_more: int = 0

    def note(self, place: str, words: str) -> None:
        """Says something about a place in the file."""
        if len(self.notes) < NOTES_MAX:
            self.notes.append(readable(f"{place[:PLACE_CHARS_MAX] or 'file'}: {words}"[:NOTE_CHARS_MAX]))
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

    `name` is what the installation is called here, its path when not given: whoever moves the folder names it. What
    comes is for this agent alone; `loops_for` says for whom loops and what is said of them are, `users_for` for whom
    their users are. `tidy` is called after each chunk, to pack what lies loose. `anyway` takes a folder that has
    nothing of an installation, too: all of it is kept whole. `begin` is called before the first file is taken, and not
    for a dry run: what was taken stays readable in the folder, whatever is forgotten here.
    """

    def __init__(
        self, keeper: Keeper, file: SqliteFile, root: Path, *, name: str | None = None, dry_run: bool = False,
        loops_for: Audience | None = None, users_for: Audience | None = None, entropy: Entropy | None = None,
        tidy: Callable[[], object] = lambda: None, begin: Callable[[], object] = lambda: None, anyway: bool = False,
    ) -> None:  # fmt: skip
        alone = of_agent(parse_id(keeper.id))
        self._loops_for, self._users_for = loops_for or alone, users_for or alone
        self._keeper, self.root, self._dry, self._tidy, self._anyway = keeper, root, dry_run, tidy, anyway
        self._begin = begin
        self.name = name or str(root.resolve())
        self._taken = Taken(file, self.name, dry=dry_run, entropy=entropy)
        self._depths: dict[bytes, int] = {}
        self.marks: dict[str, tuple[int, ...]] = {}
        """By file, what it was when it was taken."""
        self._holds = False
        self._seen: dict[bytes, bytes] = {}
        self._ordinals: dict[bytes, int] = {}
        self._later: list[tuple[Thing, bytes]] = []
        self._fresh: set[bytes] = set()
        """What the transaction at hand has made (a dry run: the whole run), before it can be read."""

    # -- once, and following -------------------------------------------------------------------------------------

    def run(self, *, progress: Callable[[int], None] = lambda count: None) -> Report:
        """Takes everything in the folder that is new. Raises NotFound where there is no such folder; Conflict where it
        was taken for others before: rows that are there would not be where those are for whom it is now; InvalidInput
        where nothing in it is of an installation.
        """
        report, unread = Report(self.name, self._dry), list[tuple[str, str]]()
        paths = files_of(self.root, unread)
        if paths and not self._anyway and not is_installation(self.root, paths):
            raise errors.InvalidInput(
                f"nothing in {self.root} is of an installation ({len(paths):,} other files): name its own folder, with "
                "runtime, agents, ledger and so on in it, or say --anyway (anyway=True) to keep all of this"
            )
        self._check_audience()
        if not self._dry:
            self._begin()
        for path in paths:
            name, mark = relative(self.root, path), mark_of(path)
            report.files.append(self._file(path, progress))
            if not report.files[-1].skipped:
                self.marks[name] = mark
        self._link()
        report.files += [FileReport(folder, skipped=f"the folder cannot be read: {why}") for folder, why in unread]
        return report

    def _check_audience(self) -> None:
        try:
            with self._keeper.together():
                self._taken.open()
                name = self._taken.name("audience")
                said = [(one.scope, one.circle or b"") for one in (self._loops_for, self._users_for)]
                digest = self._taken.digest(repr(said).encode())
                known = self._taken.get(name)
                if known is not None and known[0] != digest:
                    raise Conflict(
                        f"{self.name} was taken for others before (--circle, --publish): name the same as then, or "
                        "take it under another --name, or into another agent"
                    )
                self._taken.put(name, digest, None)
                if self._dry:
                    raise _Undone
        except _Undone:
            pass

    def take(self, path: Path, *, hold: bool = False) -> FileReport:
        """Takes what is new in one file; with `hold`, but for what has no table."""
        self._holds = hold
        try:
            done = self._file(path, lambda count: None)
            self._link()
        finally:
            self._holds = False
        return done

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
                        self._keeper.record(names.RETOLD, links, entity=entity_text(entity), **self._loops_for.how)
                if self._dry:
                    raise _Undone
        except _Undone:
            pass

    def _file(self, path: Path, progress: Callable[[int], None]) -> FileReport:
        done = FileReport(relative(self.root, path))
        self._seen, self._ordinals = {}, {}
        try:
            for chunk in _chunks(self._ordered(self._found(path))):
                self._chunk(chunk, done)
                self._tidy()
                progress(len(chunk))
        except errors.Unavailable as error:
            done.skipped = str(error)
        return done

    def _found(self, path: Path) -> Iterator[Found]:
        for item in found_in(self.root, path):
            yield from pieces(item)

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
                self._take_alone(item, done)

    def _take_alone(self, item: Found, done: FileReport) -> None:
        try:
            self._commit([item], done)
            return
        except _REFUSALS as error:
            reason = f"it was refused: {error}"
        try:
            self._commit([_kept_of(item, reason)], done)
        except _REFUSALS as error:
            done.read += 1
            done.refused += 1
            done.note(item.place, f"it could not even be kept: {error}")

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
            done.broken += item.broken
            if self._holds:
                done.held += 1
            else:
                self._keep(item, done)
            return
        sort, content = SAME.get(item.sort, item.sort), content_of(item.fields)
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
        self._made(item, made, event, entity, done)
        if again is None or made.entity is None:
            done.added += 1
        else:
            done.changed += 1
        done.sorts[item.sort] = done.sorts.get(item.sort, 0) + 1

    def _made(self, item: Thing, made: Mapped, event: str, entity: bytes, done: FileReport) -> None:
        """Remembers what a record has become, and keeps what is left of it beside."""
        self._fresh.add(entity)
        links = [key for link in LINKS for key in spec_of("mythology").columns[link][1]]
        waits = item.sort == "mythology" and any(key in made.left for key in links)
        if waits:
            self._later.append((item, entity))
        if "fork_depth" in made.body.get("columns", {}):
            self._depths[entity] = made.body["columns"]["fork_depth"]
        if made.undated:
            done.note(item.place, made.undated)
        if made.left:
            done.note(item.place, why_left(made) + ("; linked when it comes" if waits else ""))
            left = Whole(item.path, item.place, LEFT, item.sort, made.left, None, item.former_id)
            self._keep(left, done, of=entity, about=made.about, source=event)

    def _record(self, made: Mapped) -> tuple[str, bytes]:
        people = made.kind in (names.USER_BROUGHT, names.USER_FOLLOWED)
        whose = _PRIVATE if made.private else self._users_for if people else self._loops_for
        entity = None if made.entity is None else entity_text(made.entity)
        done = self._keeper.record(
            made.kind, made.body, entity=entity, occurred=made.occurred, about=made.about, **whose.how
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
        former = item.former_id
        if former is not None and len(former) > PLACE_CHARS_MAX and item.raw is None:
            item = msgspec.structs.replace(item, value={"former_id": former, "value": item.value})
        raw, value = item.raw, item.value
        if raw is None:
            raw = content_of(value)
            if len(raw) <= PART_BYTES and _is_plain(value):
                raw = None
        digest = self._taken.digest(content_of(value) if item.raw is None else item.raw)
        name = self._taken.name("kept", item.path, item.place, item.sort, digest.hex())
        if self._taken.get(name) is not None:
            done.known += of is None
            return
        parts = [None] if raw is None else [raw[at : at + PART_BYTES] for at in range(0, len(raw), PART_BYTES)] or [b""]
        sources = () if source is None else (source,)
        for number, part in enumerate(parts, 1):
            body = {
                "installation": self.name, "path": item.path, "place": item.place[:PLACE_CHARS_MAX], "sort": item.sort,
                "reason": item.reason[: limits.REASON_CHARS_MAX], "value": value if part is None else None,
                "raw": part, "part": number, "parts": len(parts), "of": of,
                "former_id": None if former is None else former[:PLACE_CHARS_MAX],
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
        raw = content_of(item.value) if item.raw is None else item.raw
        return Whole(
            item.path, item.place, f"{item.reason}; {reason}", item.sort, None, raw, item.former_id, item.about
        )
    return Whole("", item.place, reason, value=item.words)


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
