"""Room `ops` (imports `engines` and below): an old installation's files as things: records of a sort, or bytes to keep.

Pure reading: nothing in the folder is written, SQLite files are opened for reading alone. What cannot be read comes out
as a `Whole`, with the reason; no file ends the reading.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any, Final

import msgspec

from antiphon.engines.sqlite.foreign import LOCKED_WAIT_S, MAGIC, ForeignFile, is_beside
from antiphon.model.errors import AntiphonError, InvalidInput, LimitExceeded, NotFound, Unavailable
from antiphon.ops.importing import Bad, Record, read
from antiphon.ops.installation_bytes import content_of

FILE_BYTES_MAX: Final = 64 << 20
"""A JSON or text file larger than this is kept as it is, in parts, and not looked into."""
PART_BYTES: Final = 64 << 10
"""So much of what is kept goes into one event: of a file that grows, what is before is not kept again."""
VALUE_BYTES_MAX: Final = 8 << 10
"""A larger value without a table is kept part by part, so that only parts that change are kept again."""
VALUE_DEPTH_MAX: Final = 8
"""So deep it is taken apart."""
KEPT_FILE_BYTES_MAX: Final = 1 << 30
"""A file larger than this, of which no record can be read, is left where it is, and said."""
FILES_MAX: Final = 100_000
ALSO_IN: Final = "also_in"
"""What a snapshot says that `migrate-to` wrote beside the file that has all of them."""
NUL: Final = "\0"
_LISTS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "runtime/loop_state.json": ("loop", ("loops", "active_loops")),
    "runtime/execution_queue.json": ("run", ("queue", "executions", "pending")),
    "consensus/blessed_loops.json": ("blessed_loop", ("blessed_loops", "loops", "blessed")),
    "consensus/voting_active.json": ("voting", ("votings", "sessions", "active")),
    "consensus/guild_consensus.json": ("guild_decision", ("guilds", "decisions", "consensus")),
    "ledger/prophecies.json": ("prophecy", ("prophecies",)),
    "ledger/blessings.json": ("blessing", ("blessings", "transactions")),
    "ledger/transformations.json": ("transformation", ("transformations", "mutations")),
}  # fmt: skip
"""By file: the sort of its records, and the names under which they may stand."""
_USERS: Final = ("user", ("users",))
_TABLES: Final = {
    "users": "user", "loops": "loop", "blessings": "blessing", "prophecies": "prophecy", "memories": "memory",
    "reflections": "reflection", "tone_shifts": "tone_shift", "transformations": "transformation",
    "execution_queue": "run",
}  # fmt: skip
_STATES: Final = {
    "state.json": ("agent_state", "agent_state has what an agent here says of itself, and this is another's"),
    "metrics.json": ("cluster_metrics", "it has no table"),
}
"""By name: the sort of a file that is kept whole, and why it is."""
_LAYOUT: Final = (
    *_LISTS, "users.json", "runtime/drift_metrics.json", "clusters/active/*", "clusters/mythology/*",
    "archive/mythology/*", "archive/dissolved_clusters/*", "archive/chatlogs/*", "agents/*/state.json",
    "agents/*/*.sqlite", "agents/*/reflections/*",
)  # fmt: skip
"""Files by which an installation is known for one, from its folder on."""
_FIRST: Final = (
    "*users.json", "users.*", "clusters/mythology/*", "archive/mythology/*", "runtime/loop_state.json",
    "consensus/blessed_loops.json", "clusters/active/*", "archive/dissolved_clusters/*",
    "ledger/*", "consensus/*", "runtime/*", "agents/*",
)  # fmt: skip
"""Files in the order in which the one names what the other has."""


class Thing(msgspec.Struct, frozen=True):
    """One record. `place` says where in the file it stands; `fields` are as they were read."""

    sort: str
    path: str
    place: str
    fields: dict[str, Any]
    former_id: str | None = None
    sqlite: bool = False


class Whole(msgspec.Struct, frozen=True):
    """What is kept as it is, and why: a value, or bytes. `sort` says what it is, as far as that is known."""

    path: str
    place: str
    reason: str
    sort: str = "file"
    value: Any = None
    raw: bytes | None = None
    former_id: str | None = None
    about: tuple[str, ...] = ()
    """The people whom it names."""
    broken: bool = False
    """Whether it was to be read, and could not be."""


class Note(msgspec.Struct, frozen=True):
    """What is said of a file in the report, without anything being kept."""

    place: str
    words: str


Found = Thing | Whole | Note


def files_of(root: Path, unread: list[tuple[str, str]] | None = None) -> list[Path]:
    """The files below a folder, those that others refer to first; (folder, reason) of what cannot be looked into.

    Raises NotFound where there is no such folder.
    """
    if not root.is_dir():
        raise NotFound(f"there is no folder {root}: name the folder of the old installation")
    faults: list[OSError] = []
    found: list[Path] = []
    for folder, folders, files in os.walk(root, onerror=faults.append):
        linked = [name for name in folders if (Path(folder) / name).is_symlink()]
        found += [Path(folder) / name for name in (*files, *linked)]
        if len(found) > FILES_MAX:
            raise LimitExceeded("FILES_MAX", got=len(found), allowed=FILES_MAX, what=f"the number of files in {root}")
    if unread is not None:
        unread += [(relative(root, Path(fault.filename)), fault.strerror or str(fault)) for fault in faults]
    found = [path for path in found if not is_beside(path)]
    return sorted(found, key=lambda path: (_rank(relative(root, path)), relative(root, path)))


def is_installation(root: Path, paths: list[Path]) -> bool:
    """Whether one of the files is one of an installation, by its place, or for a SQLite file there by its tables."""
    named = [relative(root, path) for path in paths]
    if any(fnmatchcase(name, pattern) for name in named for pattern in _LAYOUT):
        return True
    return any(path.parent == root and _has_tables(path) for path in paths)


def _has_tables(path: Path) -> bool:
    try:
        if not path.is_file() or path.is_symlink():
            return False
        with ForeignFile(path, _cell, wait_s=LOCKED_WAIT_S) as file:
            return not _TABLES.keys().isdisjoint(file.tables())
    except (AntiphonError, OSError):
        return False


def relative(root: Path, path: Path) -> str:
    """A file's path below the folder, as text that can be stored: names of files may be no Unicode."""
    return readable(os.fsencode(path.relative_to(root).as_posix()).decode("utf-8", "backslashreplace"))


def readable(text: str) -> str:
    """The text, with lone surrogates spelled out."""
    return text.encode("utf-8", "backslashreplace").decode()


def _rank(path: str) -> int:
    return next((at for at, pattern in enumerate(_FIRST) if PurePosixPath(path).match(pattern)), len(_FIRST))


def mark_of(path: Path) -> tuple[int, ...]:
    """What changes when the file is written: size and time, and those of what SQLite has beside it."""
    found: list[int] = []
    for one in (path, path.with_name(path.name + "-wal")):
        with contextlib.suppress(OSError):
            known = one.stat()
            found += [known.st_size, known.st_mtime_ns]
    return tuple(found)


def found_in(root: Path, path: Path) -> Iterator[Found]:
    """Everything in a file, in order. Raises Unavailable where it cannot be read at all."""
    name = relative(root, path)
    try:
        if path.is_symlink():
            yield Note("", f"a link to {path.readlink()}: not followed")
            return
        if not path.is_file():
            yield Note("", "no plain file: not read")
            return
        with path.open("rb") as file:
            head = file.read(16)
        if head == MAGIC:
            yield from _sqlite(path, name)
        elif path.stat().st_size > FILE_BYTES_MAX:
            size = path.stat().st_size
            reason = f"{size:,} bytes, more than FILE_BYTES_MAX ({FILE_BYTES_MAX:,}): kept, not looked into"
            yield from _in_parts(path, name, reason)
        elif PurePosixPath(name).match("archive/chatlogs/*"):
            yield from _chatlog(path, name)
        else:
            yield from _plain(path.read_bytes(), name)
    except OSError as error:
        raise Unavailable(f"cannot read {path}: {error.strerror or error}") from None


def _in_parts(path: Path, name: str, reason: str) -> Iterator[Found]:
    """A file that is not looked into, as the parts it is kept in: each is a `Whole` of its own."""
    size = path.stat().st_size
    if size > KEPT_FILE_BYTES_MAX:
        raise Unavailable(f"{path} has {size:,} bytes, more than KEPT_FILE_BYTES_MAX ({KEPT_FILE_BYTES_MAX:,}): move "
                          f"it to where it is to stay; {reason}")  # fmt: skip
    with path.open("rb") as file:
        yield from _parts_of(lambda: file.read(PART_BYTES), size, Whole(name, "", reason, broken=True))


def _kept(raw: bytes, kept: Whole) -> Iterator[Found]:
    """Bytes to keep, in parts where they are many."""
    if len(raw) <= PART_BYTES:
        yield msgspec.structs.replace(kept, raw=raw)
        return
    parts = (raw[at : at + PART_BYTES] for at in range(0, len(raw), PART_BYTES))
    yield from _parts_of(lambda: next(parts, b""), len(raw), kept)


def _parts_of(read_on: Callable[[], bytes], size: int, kept: Whole) -> Iterator[Found]:
    at = 0
    while part := read_on():
        end = at + len(part)
        place = f"bytes {at}-{end}" + (", the end" if end >= size else "")  # one that has become shorter has another
        yield msgspec.structs.replace(kept, place=place, raw=part, broken=kept.broken and not at)
        at = end


def pieces(item: Found, depth: int = 0) -> Iterator[Found]:
    """What is found; a large value that is kept whole as its parts, with the names of these."""
    value = item.value if isinstance(item, Whole) else None
    if not isinstance(value, dict | list) or depth == VALUE_DEPTH_MAX or len(content_of(value)) <= VALUE_BYTES_MAX:
        yield item
        return
    assert isinstance(item, Whole)
    named = isinstance(value, dict)
    said: dict[str, Any] = {"keys": [*map(str, value)]} if named else {"items": len(value)}
    yield msgspec.structs.replace(item, value=said, reason=f"{item.reason}; kept part by part")
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        place = f"{item.place}.{key}" if named else f"{item.place}[{key}]"
        yield from pieces(msgspec.structs.replace(item, place=place, value=part), depth + 1)


# -- JSON and text -------------------------------------------------------------------------------------------------


def _plain(raw: bytes, name: str) -> Iterator[Found]:
    text, read_as = decoded(raw)
    if text is None or not name.lower().endswith((".json", ".md", ".txt")):
        yield from _kept(raw, Whole(name, "", "a file of a form that has no table"))
        return
    if read_as:
        yield Note("", f"not UTF-8: read as {read_as}")
    if not name.lower().endswith(".json"):
        yield from _text(text, name, raw)
        return
    twice: list[str] = []
    try:
        value = json.loads(text, object_pairs_hook=lambda pairs: _object(pairs, twice))
    except (ValueError, RecursionError) as error:
        yield from _kept(raw, Whole(name, "", f"not JSON: {error}", broken=True))
        return
    if twice:
        reason = f"{twice[0]!r:.80} stands twice in one object; the last is taken, and the file is kept as it is"
        yield from _kept(raw, Whole(name, "", reason))
    yield from _records(value, name)


def decoded(raw: bytes) -> tuple[str | None, str]:
    """(text, as what it was read where that is not UTF-8); None where it is no text."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        with contextlib.suppress(UnicodeDecodeError):
            return raw.decode("utf-16"), "UTF-16"
    try:
        return raw.decode("utf-8-sig"), ""
    except UnicodeDecodeError:
        pass
    if NUL.encode() in raw:
        return None, ""
    for encoding, called in (("cp1252", "Windows-1252"), ("latin-1", "Latin-1")):
        with contextlib.suppress(UnicodeDecodeError):
            return raw.decode(encoding), called
    return None, ""


def _object(pairs: list[tuple[str, Any]], twice: list[str]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in pairs:
        if name in made:
            twice.append(name)
        made[name] = value
    return made


def _text(text: str, name: str, raw: bytes) -> Iterator[Found]:
    place = PurePosixPath(name)
    if "mythology" in place.parts[:-1]:
        yield Thing("mythology", name, "", {"title": place.stem, "content": text}, place.stem)
    elif place.match("agents/*/reflections/*"):
        yield Thing("reflection", name, "", {"prompt": place.stem, "response": text}, f"{name}{NUL}file")
    else:
        yield from _kept(raw, Whole(name, "", "a text that has no table"))


def _records(value: Any, name: str) -> Iterator[Found]:
    """The records of a JSON file, by what the designs say is in it; what else there is, is kept."""
    place = PurePosixPath(name)
    if place.name == "users.json":
        yield from _listed(value, name, *_USERS)
    elif name in _LISTS:
        yield from _listed(value, name, *_LISTS[name])
    elif name == "runtime/drift_metrics.json":
        yield from _drift(value, name)
    elif "mythology" in place.parts[:-1]:
        yield from _listed(value, name, "mythology", ("mythologies", "stories"), single=True)
    elif place.match("clusters/active/*"):
        yield from _listed(value, name, "cluster", ("clusters",), single=True)
    elif place.match("archive/dissolved_clusters/*"):
        yield from _listed(value, name, "dissolved_cluster", ("clusters",), single=True)
    elif place.match("agents/*/reflections/*") and isinstance(value, dict) and ALSO_IN in value:
        yield Note("$", f"it is in {value[ALSO_IN]!r:.60} too: read there")
    elif place.match("agents/*/reflections/*"):
        yield from _listed(value, name, "reflection", ("reflections",), single=True)
    else:
        sort, reason = _STATES.get(place.name, ("file", "it has no table"))
        yield Whole(name, "$", reason, sort, value=value)


def _listed(value: Any, name: str, sort: str, under: tuple[str, ...], *, single: bool = False) -> Iterator[Found]:
    """Records in a list, by their ids in an object, or under one of these names; of `single` the file is one."""
    if isinstance(value, dict):
        inner = next((key for key in under if isinstance(value.get(key), list | dict)), None)
        rest = {key: item for key, item in value.items() if key != inner}
        if inner is not None and not (single and "content" in rest):
            yield from _each(value[inner], name, sort, f"$.{inner}")
            if rest:
                yield Whole(name, "$", "it stands beside the records", sort, value=rest)
            return
        if single and not (value and all(isinstance(item, dict) for item in value.values())):
            yield Thing(sort, name, "$", value, id_of(sort, value) or PurePosixPath(name).stem)
            return
    yield from _each(value, name, sort, "$")


def _each(value: Any, name: str, sort: str, at: str) -> Iterator[Found]:
    if (
        isinstance(value, dict)
        and id_of(sort, value) is not None
        and not all(isinstance(item, dict) for item in value.values())
    ):
        yield Thing(sort, name, at, value, id_of(sort, value))
    elif isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, dict):
                yield Thing(sort, name, f"{at}.{key}", item, id_of(sort, item) or key)
            else:
                yield Whole(name, f"{at}.{key}", f"no record of a {sort}", sort, value=item, former_id=key)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            if isinstance(item, dict):
                yield Thing(sort, name, f"{at}[{number}]", item, id_of(sort, item))
            elif isinstance(item, str) and sort == "blessed_loop":
                yield Thing(sort, name, f"{at}[{number}]", {"loop_id": item}, item)
            else:
                yield Whole(name, f"{at}[{number}]", f"no record of a {sort}", sort, value=item)
    else:
        yield Whole(name, at, f"no records of a {sort}", sort, value=value)


_IDS: Final = {
    "user": ("id", "user_id"), "loop": ("loop_id", "id"), "blessed_loop": ("loop_id", "id"),
    "blessing": ("id", "blessing_id"), "prophecy": ("id", "prophecy_id"), "run": ("id", "execution_id", "task_id"),
    "voting": ("id", "voting_id", "session_id"), "guild_decision": ("id", "decision_id", "guild_id"),
    "transformation": ("id", "transformation_id"), "cluster": ("cluster_id", "id"), "mythology": ("mythology_id", "id"),
    "dissolved_cluster": ("cluster_id", "id"), "reflection": ("id",), "memory": ("id",), "tone_shift": ("id",),
}  # fmt: skip


def id_of(sort: str, fields: dict[str, Any]) -> str | None:
    """What the old installation calls the record, None where it has no name."""
    for key in _IDS.get(sort, ("id",)):
        found = fields.get(key)
        if isinstance(found, str | int) and not isinstance(found, bool) and found != "":
            return str(found)
    return None


def _drift(value: Any, name: str) -> Iterator[Found]:
    """`global` or `global_index`, `entities` by id and the list `critical`; ratings may be plain numbers."""
    if not isinstance(value, dict):
        yield Whole(name, "$", "no metrics of drift", "drift", value=value)
        return
    rest = dict(value)
    said = rest.get("critical")
    critical: list[Any] = said if isinstance(said, list) else []
    under = next((key for key in ("entities", "ratings") if isinstance(rest.get(key), dict)), None)
    for key, item in (rest.pop(under) if under else {}).items():
        fields = item if isinstance(item, dict) else {"rating": item}
        if key in critical:
            fields = {"level": "critical", **fields}
        yield Thing("drift", name, f"$.{under}.{key}", {"entity_id": key, **fields}, key)
    index = next((key for key in ("global", "global_index", "index") if key in rest), None)
    if index is not None:
        whole = rest.pop(index)
        fields = whole if isinstance(whole, dict) else {"index": whole}
        yield Thing("drift_index", name, f"$.{index}", fields, "global")
    if rest:
        yield Whole(name, "$", "it stands beside the ratings", "drift", value=rest)


def _chatlog(path: Path, name: str) -> Iterator[Found]:
    """A conversation's messages, as `antiphon import` reads them; what is none of these is kept."""
    raw = path.read_bytes()
    text, _ = decoded(raw)
    if not name.endswith((".json", ".jsonl")) or text is None:
        yield from _kept(raw, Whole(name, "", "a conversation in a form that is not read", "chatlog"))
        return
    messages = 0
    for item in read(path):
        if isinstance(item, Bad):
            part = raw[item.span[0] : sum(item.span)] if item.span else item.raw
            yield from _kept(part, Whole(name, f"line {item.line}", item.reason, "chatlog", broken=True))
            continue
        messages += 1
        yield Thing("message", name, f"message {messages}", _message(item))


def _message(record: Record) -> dict[str, Any]:
    plain = {name: getattr(record, name) for name in ("text", "type", "significance", "occurred", "metadata", "user")}
    return {**plain, "tags": None if record.tags is None else list(record.tags), "id": record.id}


# -- SQLite --------------------------------------------------------------------------------------------------------


def _sqlite(path: Path, name: str) -> Iterator[Found]:
    try:
        with ForeignFile(path, _cell, wait_s=LOCKED_WAIT_S) as file:
            for table in sorted(file.tables(), key=_table_rank):
                yield from _rows(file, table, name)
            for view in file.views():
                yield Note(view, "a view or trigger: it holds nothing of its own")
    except LimitExceeded as error:
        raise Unavailable(str(error)) from None
    except InvalidInput as error:
        yield from _in_parts(path, name, str(error))


def _table_rank(table: str) -> tuple[int, str]:
    known = [*_TABLES]
    return known.index(table) if table in _TABLES else len(known), table


def _cell(raw: bytes) -> str:
    """Text of any encoding; what is no UTF-8 is read byte by byte."""
    text, _ = decoded(raw)
    return raw.decode("latin-1") if text is None else text


def _rows(file: ForeignFile, table: str, name: str) -> Iterator[Found]:
    sort = _TABLES.get(table)
    for number, fields in enumerate(file.rows(table), 1):
        place = f"{table} row {number}" if fields.get("id") is None else f"{table} id {fields['id']}"
        if sort is None:
            yield Whole(name, place, f"the table {table!r} is none of the designs'", table, value=fields)
        else:
            yield Thing(sort, name, place, fields, id_of(sort, fields), sqlite=True)
