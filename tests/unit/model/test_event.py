"""The one encoding of a header: what is accepted comes out the same; everything else is refused, never a crash."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from antiphon.model import limits
from antiphon.model.errors import AntiphonError, LimitExceeded, ProtocolViolation
from antiphon.model.event import (
    PLAIN_DEPTH_MAX,
    Event,
    Header,
    Ref,
    decode_header,
    encode_body,
    encode_header,
    header_fault,
    plain_body,
)
from tests.second import msgpack, reader

ids16 = st.binary(min_size=16, max_size=16)
ids32 = st.binary(min_size=32, max_size=32)
seqs = st.integers(0, limits.LOG_EVENTS_MAX - 1)
kinds = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
refs = st.builds(Ref, st.integers(0, 3), ids32, seqs, ids32)


@st.composite
def headers(draw: st.DrawFn) -> Header:
    scope = draw(st.integers(0, 2))
    people = draw(st.none() | st.sets(ids16, min_size=1, max_size=5))
    return Header(
        1,
        draw(st.integers(0, (1 << 63) - 1)),
        draw(st.none() | st.integers(-(1 << 53), 1 << 53)),
        draw(kinds),
        draw(st.integers(1, 65_535)),
        draw(st.none() | ids16),
        None if people is None else tuple(sorted(people)),
        scope,
        draw(ids16) if scope == 1 else None,
        draw(st.none() | st.lists(refs, min_size=1, max_size=4).map(tuple)),
    )


@given(headers())
def test_what_is_written_is_read_back(header: Header) -> None:
    raw = encode_header(header)
    assert decode_header(raw) == header
    assert header_fault(header) is None


@given(headers())
def test_both_implementations_read_the_same(header: Header) -> None:
    fields = reader.header_of(encode_header(header))
    theirs = [*fields[:6], None if fields[6] is None else tuple(fields[6]), fields[7], fields[8]]
    ours = [getattr(header, name) for name in header.__struct_fields__[:9]]
    assert theirs == ours
    assert [tuple(ref) for ref in fields[9] or ()] == [(r.role, r.log, r.seq, r.leaf) for r in header.refs or ()]
    assert msgpack.write(fields) == encode_header(header)


@given(headers(), st.data())
def test_a_mutation_is_refused_or_means_itself(header: Header, data: st.DataObject) -> None:
    raw = bytearray(encode_header(header))
    at = data.draw(st.integers(0, len(raw) - 1))
    match data.draw(st.sampled_from(["flip", "insert", "delete", "cut"])):
        case "flip":
            raw[at] ^= data.draw(st.integers(1, 255))
        case "insert":
            raw.insert(at, data.draw(st.integers(0, 255)))
        case "delete":
            del raw[at]
        case "cut":
            del raw[at:]
    _means_itself(bytes(raw))


@given(st.binary(max_size=200))
@example(b"\x91" * 4_000)
@example(b"\x9a" * 1_000)
@example(b"\xdd\xff\xff\xff\xff")
@example(b"\xdf\xff\xff\xff\xff")
@example(b"\xc6\xff\xff\xff\xff")
@example(b"\x9a\x01\x00\xc0\xa1a\x01\xc0\xc0\x00\xc0" + b"\x91" * 4_000)
@example(b"\x9b\x01\x00\xc0\xa1a\x01\xc0\xc0\x00\xc0\xc0" + b"\x91" * 4_000)
@example(b"\x9a\x01\x00\xc0\xa1a\x01\xc0\xc0\x00\xc0\xc7\x01\x05x")
def test_any_bytes_are_refused_or_mean_themselves(raw: bytes) -> None:
    _means_itself(raw)


def _means_itself(raw: bytes) -> None:
    try:
        header = decode_header(raw)
    except AntiphonError:
        with pytest.raises(reader.Refused):
            reader.header_of(raw)
        return
    assert encode_header(header) == raw
    assert header_fault(header) is None
    reader.header_of(raw)


def test_too_many_bytes_are_named() -> None:
    with pytest.raises(LimitExceeded) as raised:
        decode_header(bytes(4_097))
    assert raised.value.context["limit"] == "HEADER_BYTES_MAX"


BASE: dict[str, Any] = {
    "version": 1, "hlc": 5, "occurred": None, "kind": "a", "kind_version": 1, "entity": None, "about": None,
    "scope": 0, "circle": None, "refs": None,
}  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        {"version": 0},
        {"hlc": -1},
        {"hlc": 1 << 63},
        {"occurred": (1 << 53) + 1},
        {"occurred": -(1 << 53) - 1},
        {"kind": ""},
        {"kind": "ä" * 65},
        {"kind_version": 0},
        {"kind_version": 65_536},
        {"entity": bytes(17)},
        {"entity": b""},
        {"about": ()},
        {"about": (bytes(15),)},
        {"about": (b"b" * 16, b"a" * 16)},
        {"about": (b"a" * 16, b"a" * 16)},
        {"about": tuple(n.to_bytes(16, "big") for n in range(65))},
        {"scope": 3},
        {"scope": 1},
        {"circle": bytes(16)},
        {"scope": 1, "circle": bytes(15)},
        {"refs": ()},
        {"refs": (Ref(4, bytes(32), 0, bytes(32)),)},
        {"refs": (Ref(0, bytes(31), 0, bytes(32)),)},
        {"refs": (Ref(0, bytes(32), 1 << 40, bytes(32)),)},
        {"refs": (Ref(0, bytes(32), -1, bytes(32)),)},
        {"refs": (Ref(0, bytes(32), 0, bytes(33)),)},
        {"refs": (Ref(0, bytes(32), 0, bytes(32)),) * 65},
    ],
    ids=str,
)
def test_values_outside_the_rules_are_refused(wrong: dict[str, Any]) -> None:
    header = Header(**{**BASE, **wrong})
    assert header_fault(header)
    with pytest.raises((ProtocolViolation, LimitExceeded)):
        decode_header(encode_header(header))


HOSTILE = {
    "nests a long way": b"\x91" * 200_000 + b"\xc0",
    "nests 900 deep": b"\x91" * 900 + b"\xc0",
    "nests in a map": b"\x81\xa1k" * 900 + b"\xc0",
    "a list as key": b"\x81\x91\x91\x80\xc0",
    "a deep list as key": b"\x81" + b"\x91" * 500 + b"\xc0\xc0",
    "a map as key": b"\x81\x80\xc0",
    "keys that read the same": b"\x82\x01\x01\xa11\x02",
    "not UTF-8": b"\xa1\xff",
    "a timestamp out of range": b"\xd7\xff" + b"\xff" * 8,
    "a later timestamp out of range": b"\xc7\x0c\xff\0\0\0\0\x7f" + b"\xff" * 7,
    "cut short": b"\xdd\xff\xff\xff\xff",
    "two values": b"\xc0\xc0",
}


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_body_that_json_cannot_say_is_its_bytes(raw: bytes) -> None:
    assert plain_body(raw) == raw.hex()


@pytest.mark.parametrize(
    ("raw", "plain"),
    [
        (None, None), (b"", None), (b"\xd4\x05\x01", "01"), (b"\xcb\x7f\xf8" + b"\0" * 6, None),
        (b"\xcf" + b"\xff" * 8, (1 << 64) - 1), (b"\xd6\xff\0\0\0\1", "1970-01-01T00:00:01+00:00"),
        (encode_body({"a": [b"\x0f", None, True, 2.5], 7: "x", b"\xff": {}}),
         {"a": ["0f", None, True, 2.5], "7": "x", "ff": {}}),
        (b"\x91" * PLAIN_DEPTH_MAX + b"\x07", json.loads("[" * PLAIN_DEPTH_MAX + "7" + "]" * PLAIN_DEPTH_MAX)),
    ],
)  # fmt: skip
def test_a_body_as_values_that_json_knows(raw: bytes | None, plain: Any) -> None:
    assert plain_body(raw) == plain


@given(st.binary(max_size=60))
@example(b"\x81\xd6\xff\0\0\0\1\xca\x7f\x80\0\0")
def test_any_bytes_can_be_shown_as_json(raw: bytes) -> None:
    json.loads(msgspec.json.encode(plain_body(raw)))
    json.dumps(plain_body(raw), allow_nan=False)


def test_bytes_can_be_written_in_another_way() -> None:
    assert plain_body(encode_body([b"ab", {b"k": 1}]), bytes_as=bytes.decode) == ["ab", {"k": 1}]


@pytest.mark.parametrize("raw", [b"\xa1\xff", b"\x91" * 200_000 + b"\xc0", b"\xd7\xff" + b"\xff" * 8, b"\xc0\xc0"])
def test_a_body_that_cannot_be_read_is_refused_in_our_words(raw: bytes) -> None:
    event = Event(bytes(32), 0, Header(1, 0, None, "x.y", 1, None, None, 0, None, None), raw, 0)
    assert event.plain() == raw.hex()
    with pytest.raises(ProtocolViolation, match=r"the body of this x\.y cannot be read"):
        event.decoded()
