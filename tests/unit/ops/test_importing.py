"""What files become: records in order, every bad line in its place with a reason, nothing dropped."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.model.errors import InvalidInput, NotFound
from antiphon.ops.importing import LINE_BYTES_MAX, Bad, Record, format_of, read, read_stream

Writer = Callable[[str, str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    def make(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


def lines(*values: object) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


def only(path: Path, form: str = "auto") -> Record:
    (found,) = read(path, form)
    assert isinstance(found, Record), found
    return found


def test_every_field_of_a_line_has_its_place(write: Writer) -> None:
    record = only(
        write(
            "a.jsonl",
            lines(
                {
                    "id": 7, "text": "tea", "time": "2025-03-01T12:00:00Z", "tags": "a, b", "type": "fact",
                    "user": "grace", "namespace": "home", "significance": 1, "metadata": {"k": 1}, "expires": 2e9,
                    "author": "bob",
                }
            ),
        )
    )  # fmt: skip
    assert (record.id, record.text, record.occurred, record.tags) == ("7", "tea", 1740830400000, ("a", "b"))
    assert (record.type, record.user, record.namespace, record.significance) == ("fact", "grace", "home", 1.0)
    assert record.expires == 2_000_000_000_000
    assert record.metadata == {"source": "a.jsonl", "id": 7, "author": "bob", "k": 1}, "nothing may be dropped"


@pytest.mark.parametrize(
    ("given", "ms"),
    [
        (1_740_000_000, 1_740_000_000_000),
        (1_740_000_000_123, 1_740_000_000_123),
        (1_740_000_000.5, 1_740_000_000_500),
        ("1740000000", 1_740_000_000_000),
        ("2025-02-19", 1_739_923_200_000),
        ("2025-02-19T21:20:00+01:00", 1_739_996_400_000),
        (-86_400, -86_400_000),
        (0, 0),
    ],
)
@pytest.mark.parametrize("name", ["occurred", "time", "timestamp", "created_at"])
def test_times_are_seconds_milliseconds_or_text(write: Writer, name: str, given: object, ms: int) -> None:
    assert only(write("a.jsonl", lines({"text": "x", name: given}))).occurred == ms


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"not json", "not JSON"),
        (b'{"text": "x"', "not JSON"),
        (b"[1, 2]", "not an object"),
        (b"12", "not an object"),
        (b'{"no": "text"}', "no text"),
        (b'{"text": 12}', "a number"),
        (b'{"text": "  "}', "empty"),
        (b'{"text": "x", "time": "soon"}', "its time"),
        (b'{"text": "x", "time": true}', "its time"),
        (b'{"text": "x", "time": 1e300}', "out of range"),
        (b'{"text": "x", "significance": 2}', "significance"),
        (b'{"text": "x", "tags": [1]}', "tags"),
        (b'{"text": "x", "user": ["a"]}', "user"),
        (b'{"text": "\xff"}', "not valid UTF-8 at byte 10"),
        (b'{"text": "\\ud800"}', "not JSON"),
        (b"[" * 5_000, "not JSON"),
        (b'{"text": "' + b"x" * LINE_BYTES_MAX + b'"}', "LINE_BYTES_MAX"),
    ],
)
def test_a_bad_line_is_named_and_the_rest_goes_on(write: Writer, line: bytes, reason: str) -> None:
    path = write("a.jsonl", b'{"text": "one"}\n' + line + b'\n\n{"text": "two"}')
    first, bad, last = read(path)
    assert isinstance(bad, Bad)
    assert bad.line == 2
    assert reason in bad.reason
    assert bad.span is not None
    start, length = bad.span
    assert path.read_bytes()[start : start + length] == line + b"\n", "what is kept aside is the line itself"
    assert isinstance(first, Record)
    assert isinstance(last, Record)
    assert (first.text, last.text, last.line) == ("one", "two", 4)
    assert last.end == path.stat().st_size


def test_a_mark_at_the_beginning_and_windows_line_ends_are_no_fault(write: Writer) -> None:
    found = list(read(write("a.jsonl", b'\xef\xbb\xbf{"text": "one"}\r\n{"text": "two"}\r\n')))
    assert [item.text for item in found if isinstance(item, Record)] == ["one", "two"]


def test_a_digest_is_of_what_was_said_not_of_where(write: Writer) -> None:
    one = only(write("a.jsonl", lines({"text": "tea", "time": 5})))
    _, same = read(write("b.jsonl", lines({"text": "x"}, {"time": 5, "text": "tea"})))
    later = only(write("c.jsonl", lines({"text": "tea", "time": 6})))
    assert isinstance(same, Record)
    assert one.digest == same.digest != later.digest


MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": [{"type": "text", "text": "Look:"}, {"type": "image", "source": {}}]},
    {
        "role": "assistant",
        "content": [{"type": "text", "text": "I look."}, {"type": "tool_use", "name": "see", "input": {"at": 1}}],
    },
    {"role": "user", "content": [{"type": "tool_result", "content": [{"type": "text", "text": "a cat"}]}]},
    {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "say", "arguments": "{}"}}]},
    {"role": "assistant", "content": ""},
]
SAID = ["Be kind.", "Look:\n[image]", 'I look.\n[tool see: {"at":1}]', "[tool result: a cat]", "[tool say: {}]"]


@pytest.mark.parametrize("shape", ["list", "object", "sessions", "line"])
def test_a_transcript_keeps_order_roles_and_what_was_no_text(write: Writer, shape: str) -> None:
    session = {"id": "s1", "created_at": "2025-01-01", "messages": MESSAGES}
    content = {
        "list": json.dumps(MESSAGES, indent=1), "object": json.dumps(session), "sessions": json.dumps([session]),
        "line": lines(session, session),
    }[shape]  # fmt: skip
    found = list(read(write("t.json", content)))
    records = [item for item in found if isinstance(item, Record)][:5]
    assert [record.text for record in records] == SAID
    assert [record.type for record in records] == ["system", "user", "assistant", "user", "assistant"]
    bad = next(item for item in found if isinstance(item, Bad))
    assert "empty" in bad.reason
    assert json.loads(bad.raw)["role"] == "assistant"
    if shape != "list":
        assert records[0].occurred == 1_735_689_600_000, "a message without a time has its session's"
        assert records[0].metadata == {"source": "t.json", "session": "s1", "role": "system"}


def test_a_chat_corpus_gives_every_message_its_sender_and_time(write: Writer) -> None:
    run = [{"text": "Hello", "timestamp": "2018-05-02T19:38:15Z", "sender": "p1"}]
    content = json.dumps({"c1": {"messages": [run, [{"text": "Hi", "sender": "p2"}]], "ratings": []}, "c2": {}})
    first, second, bad = read(write("chat.json", content))
    assert isinstance(first, Record)
    assert isinstance(second, Record)
    assert isinstance(bad, Bad)
    assert (first.text, first.user, first.occurred) == ("Hello", "p1", 1_525_289_895_000)
    assert (second.user, second.metadata) == ("p2", {"source": "chat.json", "session": "c1"})
    assert "without messages" in bad.reason


@pytest.mark.parametrize(
    ("content", "form"),
    [
        ('{"text": "a"}\n{"text": "b"}\n', "jsonl"),
        ('{"text": "a"}\n', "jsonl"),
        ('\n\n{"text": "a"}\n{"te', "jsonl"),
        ('{"broken\n{"text": "b"}\n', "jsonl"),
        ("plain words\n", "jsonl"),
        ("", "jsonl"),
        ('{"messages": []}', "transcript"),
        ('{\n "messages": []\n}', "transcript"),
        ('[{"role": "user", "content": "x"}]', "transcript"),
        ('{"c": {"messages": []}}', "chat"),
        (b"\x28\xb5\x2f\xfd....", "archive"),
    ],
)
def test_the_format_is_seen_from_inside(write: Writer, content: str | bytes, form: str) -> None:
    assert format_of(write("f", content)) == form


def test_what_is_not_there_or_unknown_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read(tmp_path / "none")
    with pytest.raises(InvalidInput):
        read(tmp_path / "none", "csv")


@pytest.mark.parametrize("form", ["transcript", "chat"])
def test_a_broken_file_is_one_bad_record(write: Writer, form: str) -> None:
    path = write("t.json", '{"messages": [')
    (bad,) = read(path, form)
    assert isinstance(bad, Bad)
    assert bad.span == (0, path.stat().st_size)


MARK = b"\xef\xbb\xbf"


@given(
    st.lists(
        st.binary(max_size=80).filter(lambda raw: b"\n" not in raw and raw.removeprefix(MARK).strip()), max_size=20
    )
)
def test_no_bytes_end_the_reading(raws: list[bytes]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "f.jsonl")
        path.write_bytes(b"\n".join([*raws, b'{"text": "last"}']))
        found = list(read(path, "jsonl"))
    assert len(found) == len(raws) + 1
    assert isinstance(found[-1], Record)


# -- streams ---------------------------------------------------------------------------------------------------------


class Pipe(io.RawIOBase):
    """Bytes that can be read once, in pieces of a size of their own."""

    def __init__(self, content: bytes, piece: int) -> None:
        self._left, self._piece = content, piece

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        part = self._left[: min(self._piece, len(into))]
        into[: len(part)], self._left = part, self._left[len(part) :]
        return len(part)


def piped(content: str | bytes, form: str = "auto", *, piece: int = 7) -> list[Record | Bad]:
    raw = content if isinstance(content, bytes) else content.encode()
    return list(read_stream(io.BufferedReader(Pipe(raw, piece)), "a.jsonl", form))


def told(item: Record | Bad) -> tuple[object, ...]:
    """All of an item but where it stands in a file."""
    return tuple(value for name, value in msgspec.structs.asdict(item).items() if name not in ("span", "raw"))


TALK = [{"role": "user", "content": "hello"}, {"role": "assistant"}, {"role": "assistant", "content": "good day"}]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "\n \n",
        lines({"text": "one"}, {"text": "two", "id": 4}),
        "\ufeff" + lines({"text": "one"}) + "\n\nnonsense\r\n" + '{"text": "no new line at the end"}',
        '{"text": "one"}',
        '{"broken\n' + lines({"text": "one"}),
        lines({"messages": TALK}, {"text": "a line among sessions"}),
        json.dumps(TALK),
        json.dumps({"id": "s", "messages": TALK}, indent=2),
        "\ufeff\n" + json.dumps([{"messages": TALK}, 5, {"messages": 5}], indent=2),
        json.dumps({"c": {"messages": [[{"text": "hi", "timestamp": 5, "sender": "bob"}]]}}, indent=2),
        json.dumps({"text": "x" * 5_000_000}) + "\n" + lines({"text": "after a line that is too long"}),
        lines({"text": "first"}) + json.dumps({"text": "x" * 5_000_000}) + "\n" + lines({"text": "last"}),
    ],
)
def test_a_stream_is_read_as_a_file_is(write: Writer, content: str) -> None:
    path, raw = write("a.jsonl", content), content.encode()
    from_file, from_pipe = list(read(path)), piped(content, piece=4_096 if len(raw) > 10_000 else 7)
    assert [told(item) for item in from_pipe] == [told(item) for item in from_file]
    for ours, theirs in zip(from_file, from_pipe, strict=True):
        assert theirs.span is None
        if isinstance(ours, Bad) and isinstance(theirs, Bad):
            kept = ours.raw if ours.span is None else raw[ours.span[0] : sum(ours.span)].rstrip(b"\r\n")
            assert theirs.raw == kept[: LINE_BYTES_MAX + 1], "what was refused is there to be kept aside"


def test_lines_of_a_stream_come_as_they_are_read() -> None:
    def forever() -> Any:
        while True:
            yield b'{"text": "again"}\n'

    class Endless(io.RawIOBase):
        def __init__(self) -> None:
            self._lines = forever()

        def readable(self) -> bool:
            return True

        def readline(self, size: int | None = -1, /) -> bytes:
            return next(self._lines)  # type: ignore[no-any-return]

    found = read_stream(Endless(), "endless")  # type: ignore[arg-type]
    assert [next(found).line for _ in range(3)] == [1, 2, 3]


def test_a_stream_of_a_named_form_is_not_looked_into() -> None:
    assert [item.text for item in piped(json.dumps({"messages": TALK[:1]}), "transcript") if isinstance(item, Record)]
    assert isinstance(piped("5", "chat")[0], Bad)
    assert isinstance(piped("5", "transcript")[0], Bad)
    with pytest.raises(InvalidInput, match=r"name its file"):
        piped(b"\x28\xb5\x2f\xfd rest")
    with pytest.raises(InvalidInput, match="no format"):
        piped("{}", "parquet")
