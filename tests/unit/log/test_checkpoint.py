"""Checkpoint notes: one spelling, signed by the log's own key; everything else is refused."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.identity.signing import SigningKey
from antiphon.log import checkpoint
from antiphon.model import note
from antiphon.model.errors import ProtocolViolation
from antiphon.model.note import Checkpoint
from tests.second import reader

KEY, OTHER, LOG = SigningKey(b"k" * 32), SigningKey(b"o" * 32), bytes(range(32))
GOOD = checkpoint.sign(Checkpoint(LOG, 42, b"r" * 32), KEY)
TEXT, LINE = GOOD.split(b"\n\n")


def refused(raw: bytes) -> bool:
    try:
        checkpoint.verify(raw, KEY.public, log_id=LOG)
    except ProtocolViolation:
        with pytest.raises((reader.Refused, ValueError)):
            reader.checkpoint(raw, KEY.public, LOG)
        return True
    assert reader.checkpoint(raw, KEY.public, LOG)
    return False


@given(st.binary(min_size=32, max_size=32), st.integers(0, 1 << 40), st.binary(min_size=32, max_size=32))
def test_what_is_signed_verifies(log: bytes, size: int, root: bytes) -> None:
    said = Checkpoint(log, size, root)
    raw = checkpoint.sign(said, KEY)
    assert checkpoint.verify(raw, KEY.public, log_id=log) == said
    assert note.peek_log(raw) == log
    assert raw.decode().count("\n") == 5


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_any_flipped_byte_is_refused(at: int, mask: int) -> None:
    assert refused(GOOD[:at] + bytes([GOOD[at] ^ mask]) + GOOD[at + 1 :])


@pytest.mark.parametrize("at", range(len(GOOD)))
def test_cut_short_is_refused(at: int) -> None:
    with pytest.raises(ProtocolViolation):
        checkpoint.verify(GOOD[:at], KEY.public, log_id=LOG)


def signed(text: bytes) -> bytes:
    """A note over any text, honestly signed: what is refused then is the text."""
    name = note.origin(LOG)
    blob = base64.b64encode(note.key_id(name, KEY.public) + KEY.sign(text)).decode()
    return text + f"\n— {name} {blob}\n".encode()


ROOT = base64.b64encode(b"r" * 32)
ORIGIN = note.origin(LOG).encode()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\n",
        ORIGIN + b"\n42\n",
        ORIGIN + b"\n42\n" + ROOT + b"\nextension\n",
        ORIGIN + b"\n042\n" + ROOT + b"\n",
        ORIGIN + b"\n-1\n" + ROOT + b"\n",
        ORIGIN + b"\n+42\n" + ROOT + b"\n",
        ORIGIN + b"\n4_2\n" + ROOT + b"\n",
        ORIGIN + b"\n 42\n" + ROOT + b"\n",
        ORIGIN + "\n４２\n".encode() + ROOT + b"\n",
        ORIGIN + b"\n\n" + ROOT + b"\n",
        ORIGIN + b"\n42\n" + base64.b64encode(b"r" * 31) + b"\n",
        ORIGIN + b"\n42\n" + ROOT[:-1] + b"\n",
        ORIGIN + b"\n42\n" + ROOT[:-2] + b"J=\n",
        ORIGIN + b"\r\n42\r\n" + ROOT + b"\r\n",
        ORIGIN.upper() + b"\n42\n" + ROOT + b"\n",
        ORIGIN[:-2] + b"\n42\n" + ROOT + b"\n",
        b"x" + ORIGIN + b"\n42\n" + ROOT + b"\n",
        ORIGIN + b"\n42\n" + ROOT + b"\n\xff\n",
        ORIGIN + b"\n" + b"9" * 5_000 + b"\n" + ROOT + b"\n",
    ],
)
def test_texts_that_are_no_checkpoints(text: bytes) -> None:
    assert refused(signed(text))


def test_signed_helper_makes_good_notes() -> None:
    assert not refused(signed(ORIGIN + b"\n42\n" + ROOT + b"\n"))


def line(key: SigningKey, name: str = note.origin(LOG), signature: bytes | None = None) -> bytes:
    text = TEXT + b"\n"
    blob = base64.b64encode(note.key_id(name, key.public) + (signature or key.sign(text)))
    return f"— {name} ".encode() + blob + b"\n"


def test_witnesses_are_passed_over() -> None:
    own = line(KEY)
    for others in ([line(OTHER, "witness.example"), own], [own, line(OTHER, "witness.example")], [line(OTHER), own]):
        assert not refused(TEXT + b"\n\n" + b"".join(others))


def test_of_two_lines_by_the_key_the_first_counts() -> None:
    good, bad = line(KEY), line(KEY, signature=bytes(64))
    assert not refused(TEXT + b"\n\n" + good + bad)
    assert refused(TEXT + b"\n\n" + bad + good)
    assert not refused(TEXT + b"\n\n" + good + good)


@pytest.mark.parametrize(
    "lines",
    [
        b"",
        b"\n",
        line(OTHER),
        line(KEY, "antiphon/log/" + "0" * 64),
        line(KEY)[:-1],
        line(KEY).replace("—".encode(), b"-"),
        line(KEY).replace(b"= ", b" ").replace(b"=\n", b"\n"),
        line(KEY) + b"\n",
        line(KEY).replace(b" ", b"  ", 1),
        line(KEY, signature=KEY.sign(TEXT + b"\n")[:63]),
        line(KEY, signature=KEY.sign(TEXT + b"\n") + b"\0"),
        line(KEY, signature=KEY.sign(TEXT)),
    ],
)
def test_signature_lines_that_are_none(lines: bytes) -> None:
    assert refused(TEXT + b"\n\n" + lines)


def test_a_signature_has_one_spelling() -> None:
    """68 bytes leave four unused bits in base64: set, they must not make another valid note."""
    at = GOOD.rindex(b"=") - 1
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = alphabet[alphabet.index(GOOD[at]) ^ 1]
    again = GOOD[:at] + bytes([other]) + GOOD[at + 1 :]
    assert base64.b64decode(again.split()[-1]) == base64.b64decode(GOOD.split()[-1])
    assert refused(again)


def test_another_logs_note_is_refused() -> None:
    with pytest.raises(ProtocolViolation, match="another log"):
        checkpoint.verify(GOOD, KEY.public, log_id=bytes(32))
    with pytest.raises(ProtocolViolation):
        checkpoint.verify(GOOD, OTHER.public, log_id=LOG)


def test_a_long_note_is_refused() -> None:
    with pytest.raises(ProtocolViolation, match="over"):
        checkpoint.verify(GOOD + b"x" * 5_000, KEY.public, log_id=LOG)


@pytest.mark.parametrize("raw", [b"", b"\xff\n", b"antiphon/log/xyz\n"])
def test_nothing_to_peek_at(raw: bytes) -> None:
    if raw == b"":
        assert note.peek_log(raw) == b""
        return
    with pytest.raises(ProtocolViolation):
        note.peek_log(raw)
