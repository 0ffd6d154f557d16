"""Room `cli` (imports everything): records from files and pipes into an agent, a thousand a commit, none twice or lost.

What is known of a source is written in the transaction that records it: a crash at any moment leaves both or neither.
"""

from __future__ import annotations

import os
import stat
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

import msgspec

from antiphon.agent import Agent, Writing
from antiphon.cli import show as out
from antiphon.model import errors
from antiphon.model.text import counted
from antiphon.ops.imported import Imported
from antiphon.ops.importing import Bad, Record, format_of, read, read_stream
from antiphon.replica.archive import adopt_archive
from antiphon.replica.commit import Batch

COMMIT_RECORDS: Final = 1_000
COMMIT_CHARS: Final = 16 << 20
SHOWN_MAX: Final = 20
STDIN: Final = "stdin"
_EXPIRES_MAX: Final = 1 << 53
_AGAIN: Final = ("id", "text", "occurred", "expires", "type", "user", "namespace", "significance", "tags", "metadata")
_REFUSALS: Final = (errors.InvalidInput, errors.Rejected, OverflowError, ValueError, TypeError)


class Defaults(msgspec.Struct, frozen=True):
    """What records get that do not say it themselves; `tags` are added to theirs."""

    namespace: str | None = None
    user: str | None = None
    tags: tuple[str, ...] = ()


class Intake(msgspec.Struct):
    """What became of one file or pipe. `bad` has the first lines that were refused; all of them are in `rejects`."""

    file: str
    added: int = 0
    known: int = 0
    rejected: int = 0
    rejects: str | None = None
    bad: list[dict[str, object]] = []
    logs: list[str] = []


def import_file(
    agent: Agent,
    path: Path,
    *,
    form: str,
    source: str | None,
    rejects: Path | None,
    defaults: Defaults,
    append: bool = False,
) -> Intake:
    """Takes one file, or standard input (`-`), into an agent; with `append`, behind what `rejects` holds.

    Raises NotFound, Unavailable, InvalidInput.
    """
    piped = str(path) == "-"
    chosen = format_of(path) if form == "auto" and not piped else form
    if chosen == "archive":
        return _adopt(agent, path)
    agent.log_id  # noqa: B018  # a copy starts its own log before, not within, the first transaction
    if piped:
        name = source if source is not None else STDIN
        items = read_stream(sys.stdin.buffer, name, chosen)
        done, size, aside = Intake(STDIN), None, Path.cwd() / f"{STDIN}.rejected"
    else:
        name = source if source is not None else str(path.resolve())
        items = read(path, chosen)
        done, size, aside = Intake(str(path)), path.stat().st_size, path.with_name(path.name + ".rejected")
    keep = Rejects(None if piped else path, rejects or aside, append=append and rejects is not None)
    try:
        with out.progress(f"importing {done.file if piped else path.name}", size) as advance:
            intake = _Taking(agent, name, done, keep, defaults)
            at = 0
            for chunk in _chunks(items):
                intake.take(chunk)
                advance(chunk[-1].end - at)
                at = chunk[-1].end
    finally:
        keep.close()
        done.rejects = keep.path
    if done.rejected > SHOWN_MAX:
        out.aside(f"{done.file}: and {counted(done.rejected - SHOWN_MAX, 'more bad line')}, all in {keep.path}")
    with out.progress("indexing", agent.replica.backlog()) as advance:
        while count := agent.replica.index_backlog():
            advance(count)
    with out.progress("packing"):
        while agent.replica.pack_some():
            pass
    return done


def _adopt(agent: Agent, path: Path) -> Intake:
    from antiphon.model.text import id_text

    with out.progress(f"verifying and taking {path.name}"):
        taken = adopt_archive(agent.replica, path)
    return Intake(str(path), logs=[id_text(head.id) for head in taken])


def _chunks(items: Iterator[Record | Bad]) -> Iterator[list[Record | Bad]]:
    chunk: list[Record | Bad] = []
    chars = 0
    for item in items:
        chunk.append(item)
        chars += len(item.text if isinstance(item, Record) else item.reason)
        if len(chunk) >= COMMIT_RECORDS or chars >= COMMIT_CHARS:
            yield chunk
            chunk, chars = [], 0
    if chunk:
        yield chunk


class _Taking:
    """The state of taking in one source."""

    def __init__(self, agent: Agent, source: str, done: Intake, rejects: Rejects, defaults: Defaults) -> None:
        self._agent = agent
        self._source = source
        self._done = done
        self._rejects = rejects
        self._defaults = defaults
        self._imported = Imported(agent.replica.file, agent.replica.entropy)
        self._seen: Counter[bytes] = Counter()
        self._by_id: dict[str, bytes] = {}

    def take(self, items: list[Record | Bad]) -> None:
        """One commit; when a record makes it fail, one commit a record."""
        numbered: list[tuple[Record, int]] = []
        for item in items:
            fault = self._number(item, numbered)
            if fault is not None:
                self._refuse(item, fault)
        try:
            self._commit(numbered)
        except _REFUSALS:
            for one in numbered:
                try:
                    self._commit([one])
                except _REFUSALS as error:
                    self._refuse(one[0], str(error))

    def _number(self, item: Record | Bad, numbered: list[tuple[Record, int]]) -> str | None:
        """Says the how-manieth of its content a record is; or why it cannot be taken."""
        if isinstance(item, Bad):
            return item.reason
        if item.id is not None:
            before = self._by_id.setdefault(item.id, item.digest)
            if before != item.digest:
                return f"its id {out.one_line(item.id, most=60)!r} stands above with other content"
            numbered.append((item, 0))
            return None
        ordinal = self._seen[item.digest]
        self._seen[item.digest] += 1
        numbered.append((item, ordinal))
        return None

    def _commit(self, numbered: list[tuple[Record, int]]) -> None:
        replica = self._agent.replica
        added = 0
        refused: list[tuple[Record, str]] = []
        with replica.transaction():
            self._imported.open()
            names = [self._imported.name_of(self._source, record, ordinal) for record, ordinal in numbered]
            new = self._imported.new(names)
            writing = Writing(self._agent)
            taken = []
            for (record, _), name in zip(numbered, names, strict=True):
                if name not in new:
                    continue
                new.discard(name)
                try:
                    self._draft(writing, record)
                except errors.InvalidInput as error:
                    refused.append((record, str(error)))
                    continue
                taken.append(name)
                added += 1
            self._imported.add(taken)
            if writing.drafted:
                drafts = [draft for draft, _ in writing.drafted]
                replica.append_in_transaction(Batch(self._agent.log_id, drafts, [body for _, body in writing.drafted]))
        self._done.added += added
        self._done.known += len(numbered) - added - len(refused)
        for record, reason in refused:
            self._refuse(record, reason)

    def _draft(self, writing: Writing, record: Record) -> None:
        tags = [*(record.tags or ()), *(tag for tag in self._defaults.tags if tag not in (record.tags or ()))]
        if record.expires is not None and abs(record.expires) > _EXPIRES_MAX:
            raise errors.InvalidInput("its expiry is out of range")
        writing.remember(
            record.text,
            type=record.type,
            significance=0.5 if record.significance is None else record.significance,
            namespace=record.namespace if record.namespace is not None else self._defaults.namespace or "",
            user=record.user if record.user is not None else self._defaults.user,
            tags=tags or None,
            metadata=record.metadata,
            occurred=record.occurred,
            expires=record.expires,
        )

    def _refuse(self, item: Record | Bad, reason: str) -> None:
        self._done.rejected += 1
        self._rejects.keep(item)
        if len(self._done.bad) < SHOWN_MAX:
            self._done.bad.append({"line": item.line, "reason": reason})
            out.aside(f"{self._done.file}:{item.line}: {reason}")


class Rejects:
    """The file beside the source (for a pipe, in the working folder) that keeps what was refused, as it stood there;
    made when the first one comes.
    """

    def __init__(self, source: Path | None, path: Path, *, append: bool) -> None:
        if source is not None and path.resolve() == source.resolve():
            raise errors.InvalidInput(f"{path} is what is imported: name another place with --rejects")
        self._source = source
        self._wanted = path
        self._append = append
        self._file: IO[bytes] | None = None
        self.path: str | None = None

    def keep(self, item: Record | Bad) -> None:
        """Keeps one aside."""
        if self._file is None:
            self._file = self._open()
        if item.span is None or self._source is None:
            self._file.write((item.raw if isinstance(item, Bad) else _again(item)) + b"\n")
            return
        with self._source.open("rb") as source:
            source.seek(item.span[0])
            left, last = item.span[1], b""
            while left and (part := source.read(min(left, 1 << 20))):
                self._file.write(part)
                left, last = left - len(part), part
            if not last.endswith(b"\n"):
                self._file.write(b"\n")

    def _open(self) -> IO[bytes]:
        for place in (self._wanted, Path.cwd() / self._wanted.name):
            try:
                handle = _private(place, append=self._append)
            except OSError:
                continue
            self.path = str(place)
            return os.fdopen(handle, "wb")
        raise errors.Unavailable(f"cannot write {self._wanted}, where bad lines are kept: name a place with --rejects")

    def close(self) -> None:
        """Ends the file."""
        if self._file is not None:
            self._file.close()


def _private(place: Path, *, append: bool) -> int:
    """A file to write, its owner's alone from the start; one that is there already becomes so before it is written."""
    try:
        return os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        handle = os.open(place, os.O_WRONLY | (os.O_APPEND if append else 0))
    try:
        if stat.S_ISREG(os.fstat(handle).st_mode):
            place.chmod(0o600)
            if not append:
                os.ftruncate(handle, 0)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _again(record: Record) -> bytes:
    """A record that was read but refused later, as a line that can be imported."""
    plain = msgspec.structs.asdict(record)
    return msgspec.json.encode({name: plain[name] for name in _AGAIN if plain[name] is not None})
