"""Room `ops` (imports `engines` and below): people's files as records to remember: JSON lines, transcripts, chats.

Pure reading, of a file or of a stream: nothing is stored here. What cannot be read comes out as a `Bad` with its line
and the reason, in its place among the records; no line ends the reading.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from hashlib import sha256
from itertools import chain
from pathlib import Path, PurePath
from typing import Any, BinaryIO, Final

import msgspec

from antiphon.model import times
from antiphon.model.errors import InvalidInput, NotFound, Unavailable

FORMATS: Final = ("auto", "jsonl", "transcript", "chat")
BOM: Final = b"\xef\xbb\xbf"
ARCHIVE: Final = b"\x28\xb5\x2f\xfd"
"""What an archive begins with."""
LINE_BYTES_MAX: Final = 4 << 20
"""A line longer than this is refused unread: one event holds 256 KB, and escapes make JSON at most six times that."""
_NUMBER: Final = re.compile(r"-?\d+(\.\d+)?")
_TIME_MAX: Final = 1 << 53
_SECONDS_BELOW: Final = 1e11  # as seconds the year 5138, as milliseconds 1973
_TIMES: Final = ("occurred", "time", "timestamp", "created_at", "create_time", "date", "ts")
_KNOWN: Final = frozenset(
    {*_TIMES, "id", "text", "content", "tags", "type", "user", "namespace", "significance", "metadata", "expires"}
)


Span = tuple[int, int] | None
"""(offset, length) in a file; None in what can be read only once."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """One thing to remember. *Units*: ms since 1970 for times; `end` is how many bytes of the file are read by then.

    `id` is what the source calls it, None where it calls it nothing; `digest` is of its content, wherever it stands.
    *Shapes*: `span` is its (offset, length) where it is a line of its own.
    """

    line: int
    end: int
    id: str | None
    digest: bytes
    text: str
    occurred: int | None = None
    expires: int | None = None
    type: str = "memory"
    user: str | None = None
    namespace: str | None = None
    significance: float | None = None
    tags: tuple[str, ...] | None = None
    metadata: dict[str, Any] | None = None
    span: tuple[int, int] | None = None


class Bad(msgspec.Struct, frozen=True):
    """What could not be taken, and why. *Shapes*: `span` is its (offset, length) in the file; else `raw` holds it
    (of a line over LINE_BYTES_MAX its beginning).
    """

    line: int
    end: int
    reason: str
    span: tuple[int, int] | None = None
    raw: bytes = b""


class _Refused(Exception):
    """Why one record is not taken."""


def format_of(path: Path) -> str:
    """`archive`, `jsonl`, `transcript` or `chat`, by a look inside. Raises NotFound, Unavailable."""
    try:
        with path.open("rb") as file:
            first = file.readline(LINE_BYTES_MAX).removeprefix(BOM).strip()
            while not first and file.tell() < min(LINE_BYTES_MAX, path.stat().st_size):
                first = file.readline(LINE_BYTES_MAX).strip()
            more = bool(file.read(LINE_BYTES_MAX).strip())
    except OSError as error:
        raise _unreadable(path, error) from None
    return _form_of_first(first, more=more) or _form_of_whole(_bytes_of(path))


def _form_of_first(first: bytes, *, more: bool) -> str | None:
    """The format that a first line tells, None where only the whole does."""
    if first.startswith(ARCHIVE):
        return "archive"
    if first[:1] not in (b"{", b"[") or (more and first[:1] == b"{" and _decoded(first) is not None):
        return "jsonl"
    return None


def _form_of_whole(raw: bytes) -> str:
    whole = _decoded(raw)
    if isinstance(whole, list) or (isinstance(whole, dict) and "messages" in whole):
        return "transcript"
    if isinstance(whole, dict) and any(isinstance(value, dict) and "messages" in value for value in whole.values()):
        return "chat"
    return "jsonl"


def read(path: Path, form: str = "auto") -> Iterator[Record | Bad]:
    """Everything in a file, in order. Raises NotFound and Unavailable when it cannot be read at all.

    *Cost*: JSON lines are read one by one; a transcript or chat is read into memory whole.
    """
    chosen = format_of(path) if form == "auto" else form
    if chosen == "jsonl":
        return _json_lines(path)
    if chosen in ("transcript", "chat"):
        raw = _bytes_of(path)
        return _READERS[chosen](raw, path.name, (0, path.stat().st_size))
    raise InvalidInput(f"{chosen!r} is no format of records: choose one of {', '.join(FORMATS)}")


def read_stream(stream: BinaryIO, name: str, form: str = "auto") -> Iterator[Record | Bad]:
    """Everything in a stream that can be read once, as `read` has it; no record has a span. Raises InvalidInput.

    *Cost*: as `read`; of a stream that begins with a line that is no JSON object of its own, all is read first.
    """
    lines: Iterator[bytes] = iter(lambda: stream.readline(LINE_BYTES_MAX + 1), b"")
    head: list[bytes] = []
    chosen: str | None = form
    if form == "auto":
        said: list[bytes] = []
        while len(said) < 2 and (line := next(lines, b"")):
            head.append(line)
            said += filter(None, [line.removeprefix(BOM).strip()])
        chosen = _form_of_first(said[0] if said else b"", more=len(said) > 1)
        if chosen is None:
            head += lines
            chosen = _form_of_whole(b"".join(head).removeprefix(BOM))
    if chosen == "jsonl":
        return _records_of(_whole_lines(chain(head, lines)), name, in_file=False)
    if chosen in ("transcript", "chat"):
        return _READERS[chosen](b"".join(chain(head, lines)).removeprefix(BOM), name, None)
    if chosen == "archive":
        raise InvalidInput("an archive cannot come from a pipe: name its file, `antiphon import FILE.archive`")
    raise InvalidInput(f"{chosen!r} is no format of records: choose one of {', '.join(FORMATS)}")


def _unreadable(path: Path, error: OSError) -> NotFound | Unavailable:
    if isinstance(error, FileNotFoundError):
        return NotFound(f"there is no file {path}")
    return Unavailable(f"cannot read {path}: {error.strerror}")


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes().removeprefix(BOM)
    except OSError as error:
        raise _unreadable(path, error) from None


def _decoded(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


# -- JSON lines ------------------------------------------------------------------------------------------------------


def _json_lines(path: Path) -> Iterator[Record | Bad]:
    try:
        with path.open("rb") as file:
            parts = iter(lambda: file.readline(LINE_BYTES_MAX + 1), b"")
            yield from _records_of(_whole_lines(parts), path.name, in_file=True)
    except OSError as error:
        raise _unreadable(path, error) from None


def _records_of(lines: Iterable[tuple[int, int, bytes, int]], source: str, *, in_file: bool) -> Iterator[Record | Bad]:
    for number, at, raw, length in lines:
        span = (at, length) if in_file else None
        if length > len(raw):
            reason = f"the line has {length:,} bytes, more than LINE_BYTES_MAX ({LINE_BYTES_MAX:,})"
            yield Bad(number, at + length, reason, span, b"" if in_file else raw)
        elif raw.strip():
            yield from _line(raw, number, at + length, span, source)


def _whole_lines(parts: Iterable[bytes]) -> Iterator[tuple[int, int, bytes, int]]:
    """(number, offset, bytes, length) of each line, from lines in parts; of one too long the first part alone."""
    number = at = length = 0
    first = b""
    for part in parts:
        first, length = first or part, length + len(part)
        if part.endswith(b"\n"):
            number += 1
            yield number, at, first, length
            at, length, first = at + length, 0, b""
    if length:
        yield number + 1, at, first, length


def _line(raw: bytes, number: int, end: int, span: Span, source: str) -> Iterator[Record | Bad]:
    if number == 1:
        raw = raw.removeprefix(BOM)
    try:
        value = _json(raw)
        if isinstance(value, dict) and isinstance(value.get("messages"), list):
            yield from _session(value, f"{_stem(source)}:{number}", source, at=(number, end), fixed=True)
            return
        yield _record(value, source, line=number, end=end, span=span)
    except _Refused as refused:
        yield Bad(number, end, str(refused), span, b"" if span else raw.rstrip(b"\r\n"))


def _json(raw: bytes) -> Any:
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise _Refused(f"not valid UTF-8 at byte {error.start}") from None
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise _Refused(f"not JSON: {error}") from None
    except RecursionError:
        raise _Refused("not JSON: nested too deeply") from None


# -- transcripts and chats -------------------------------------------------------------------------------------------


def _whole(raw: bytes, span: Span, reason: str) -> Bad:
    return Bad(1, len(raw), reason, span, b"" if span else raw)


def _transcript(raw: bytes, source: str, span: Span) -> Iterator[Record | Bad]:
    """The messages of one session, or of several in a list; numbered from 1."""
    try:
        value, size = _json(raw), len(raw)
    except _Refused as refused:
        yield _whole(raw, span, str(refused))
        return
    if isinstance(value, dict):
        yield from _session(value, _stem(source), source, at=(0, size))
    elif isinstance(value, list):
        if not any(isinstance(item, dict) and isinstance(item.get("messages"), list) for item in value):
            yield from _session({"messages": value}, _stem(source), source, at=(0, size))
            return
        number = 0
        for session in value:
            if not isinstance(session, dict):
                number += 1
                yield Bad(number, size, "not a session: an object with messages", raw=msgspec.json.encode(session))
                continue
            for item in _session(session, f"{_stem(source)}:{number}", source, at=(number, size)):
                yield item
                number = item.line
    else:
        yield _whole(raw, span, "not a transcript: a list of messages, or an object with messages")


def _session(
    session: dict[str, Any], name: str, source: str, *, at: tuple[int, int], fixed: bool = False
) -> Iterator[Record | Bad]:
    """One session's messages. With `fixed`, all are said to stand on the line `at[0]`; else they count on from it."""
    number, end = at
    named = next((session[key] for key in ("id", "session_id", "conversation_id") if session.get(key)), None)
    known = name if named is None else str(named)
    messages = session.get("messages")
    if not isinstance(messages, list):
        yield Bad(number or 1, end, "a session without a list of messages", raw=msgspec.json.encode(session))
        return
    fallback = next((session[key] for key in _TIMES if session.get(key) is not None), None)
    for message in messages:
        number += not fixed
        try:
            if isinstance(message, dict) and fallback is not None and not any(key in message for key in _TIMES):
                message = {**message, "time": fallback}  # noqa: PLW2901  # the same message, with its session's time
            yield _record(message, source, line=number, end=end, session=known)
        except _Refused as refused:
            yield Bad(number, end, str(refused), raw=msgspec.json.encode(message))


def _chat(raw: bytes, source: str, span: Span) -> Iterator[Record | Bad]:
    """The messages of conversations keyed by id, each a list of messages or of runs of them; numbered from 1."""
    try:
        value, size = _json(raw), len(raw)
    except _Refused as refused:
        yield _whole(raw, span, str(refused))
        return
    if not isinstance(value, dict):
        yield _whole(raw, span, "not a chat: an object of conversations by id")
        return
    number = 0
    for name, conversation in value.items():
        messages = conversation.get("messages") if isinstance(conversation, dict) else None
        if not isinstance(messages, list):
            number += 1
            yield Bad(number, size, "a conversation without messages", raw=msgspec.json.encode({name: conversation}))
            continue
        for run in messages:
            for message in run if isinstance(run, list) else [run]:
                number += 1
                try:
                    plain = {**message, "type": "message"} if isinstance(message, dict) else message
                    if isinstance(plain, dict) and "sender" in plain:
                        plain.setdefault("user", plain.pop("sender"))
                    yield _record(plain, source, line=number, end=size, session=name)
                except _Refused as refused:
                    yield Bad(number, size, str(refused), raw=msgspec.json.encode(message))


def _stem(source: str) -> str:
    return PurePath(source).stem


_READERS: Final = {"transcript": _transcript, "chat": _chat}


# -- one record ------------------------------------------------------------------------------------------------------


def _record(
    value: Any, source: str, *, line: int, end: int, session: str | None = None, span: tuple[int, int] | None = None
) -> Record:
    if not isinstance(value, dict):
        raise _Refused("not an object with a text")
    value = _exported(value)
    text = _text(value)
    given = value.get("id")
    natural = str(given) if isinstance(given, str | int) and not isinstance(given, bool) and given != "" else None
    if natural is not None and session is not None:
        natural = f"{session}\0{natural}"
    when = next((value[key] for key in _TIMES if value.get(key) is not None), None)
    occurred = None if when is None else _time(when)
    digest = sha256(repr((session, text, occurred, value.get("role"), value.get("user"))).encode("utf-8", "replace"))
    role = value.get("role")
    return Record(
        line,
        end,
        natural,
        digest.digest()[:16],
        text,
        occurred,
        None if value.get("expires") is None else _time(value["expires"]),
        _word(value, "type") or (role if isinstance(role, str) and role else "memory"),
        _word(value, "user"),
        _word(value, "namespace"),
        _significance(value.get("significance")),
        _tags(value.get("tags")),
        _metadata(value, source, session),
        span,
    )


def _exported(value: dict[str, Any]) -> dict[str, Any]:
    """A line of our own export as a record; other lines as they are. Only memories come back this way."""
    body = value.get("body")
    if not isinstance(body, dict) or not isinstance(value.get("event"), str) or "kind" not in value:
        return value
    if value["kind"] != "memory.remembered":
        raise _Refused(f"an exported {value['kind']}: JSON lines bring back memories alone, an .archive everything")
    plain = {key: body.get(key) for key in ("text", "type", "significance", "namespace", "tags", "metadata", "expires")}
    known = {key: item for key, item in plain.items() if item is not None}
    return {**known, "id": value["event"], "occurred": value.get("occurred") or value.get("recorded")}


def _text(value: dict[str, Any]) -> str:
    found = value.get("text", value.get("content"))
    if found is None and isinstance(value.get("tool_calls"), list):
        found = ""
    if isinstance(found, list):
        found = "\n".join(part for part in map(_part, found) if part)
    if found is None:
        raise _Refused("no text: expected `text` or `content`")
    if not isinstance(found, str):
        raise _Refused(f"its text is {_named(found)}, not text")
    calls = value.get("tool_calls")
    if isinstance(calls, list):
        found = "\n".join(part for part in (found, *map(_call, calls)) if part)
    if not found.strip():
        raise _Refused("its text is empty")
    return found


def _part(part: Any) -> str:
    """One part of a message as text; what is not text leaves a note of what it was."""
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        return f"[{_named(part)}]"
    kind = part.get("type")
    for key in ("text", "thinking"):
        if isinstance(part.get(key), str):
            return str(part[key])
    if kind == "tool_use":
        return f"[tool {part.get('name')}: {msgspec.json.encode(part.get('input')).decode()}]"
    if kind == "tool_result":
        inner = part.get("content")
        text = "\n".join(map(_part, inner)) if isinstance(inner, list) else "" if inner is None else str(inner)
        return f"[tool result: {text}]"
    return f"[{kind}]"


def _call(call: Any) -> str:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return "[tool]"
    return f"[tool {function.get('name')}: {function.get('arguments')}]"


def _named(value: Any) -> str:
    names = {dict: "an object", list: "a list", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else "something else")


def _time(value: Any) -> int:
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise _Refused(f"its time is {_named(value)}: write it as ISO 8601 text or as seconds since 1970")
        if isinstance(value, str):
            ms = times.to_ms(value)
        elif not math.isfinite(value):
            raise _Refused("its time is not a finite number")
        else:
            ms = round(value * 1000) if abs(value) < _SECONDS_BELOW else round(value)
    except (InvalidInput, OverflowError) as error:
        raise _Refused(f"its time: {error}") from None
    if abs(ms) > _TIME_MAX:
        raise _Refused(f"its time is out of range: {value}")
    return ms


def _word(value: dict[str, Any], key: str) -> str | None:
    found = value.get(key)
    if found is None or found == "":
        return None
    if isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    if not isinstance(found, str):
        raise _Refused(f"its {key} is {_named(found)}, not text")
    return found


def _significance(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise _Refused(f"its significance is {value!r}: expected a number from 0 to 1"[:120])
    return float(value)


def _tags(value: Any) -> tuple[str, ...] | None:
    if isinstance(value, str):
        value = [tag.strip() for tag in value.split(",") if tag.strip()]
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
        raise _Refused("its tags are not a list of words")
    return tuple(value) or None


def _metadata(value: dict[str, Any], source: str, session: str | None) -> dict[str, Any]:
    """Where it came from, and every field that has no place of its own: nothing is dropped."""
    given = value.get("metadata")
    found: dict[str, Any] = {"source": source}
    if session is not None:
        found["session"] = session
    if value.get("id") is not None:
        found["id"] = value["id"]
    found |= {key: item for key, item in value.items() if key not in _KNOWN and item is not None}
    if isinstance(given, dict):
        found |= given
    elif given is not None:
        found["metadata"] = given
    return found
