"""Signatures by one strict rule; statements in one encoding; keys that show nothing of themselves."""

from hashlib import sha512

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.identity import signing
from antiphon.identity.signing import SigningKey, Statement, decode_statement, is_signed
from antiphon.model.errors import ProtocolViolation
from tests.second import ed25519, reader
from tests.second.ed25519 import BASE, IDENTITY, L, P, add, encode, times

KEY, OTHER = SigningKey(b"k" * 32), SigningKey(b"o" * 32)


@given(st.binary(max_size=200))
def test_what_a_key_signs_is_signed(message: bytes) -> None:
    mark = KEY.sign(message)
    assert is_signed(message, mark, KEY.public)
    assert not is_signed(message + b"x", mark, KEY.public)
    assert not is_signed(message, mark, OTHER.public)


@given(st.integers(0, 63), st.integers(1, 255))
def test_a_flipped_byte_is_not(at: int, mask: int) -> None:
    mark = bytearray(KEY.sign(b"m"))
    mark[at] ^= mask
    assert not is_signed(b"m", bytes(mark), KEY.public)


@pytest.mark.parametrize("length", [0, 32, 63, 65, 128])
def test_other_lengths_are_not(length: int) -> None:
    assert not is_signed(b"m", bytes(length), KEY.public)
    assert not is_signed(b"m", KEY.sign(b"m"), bytes(length) if length != 32 else bytes(31))


def small_points() -> list[bytes]:
    """All eight points of small order, found by multiplying points by the group's order."""
    found: set[bytes] = set()
    y = 2
    while len(found) < 8:
        point = ed25519.decode(y.to_bytes(32, "little"))
        if point is not None:
            torsion = times(L, point)
            total = (0, 1, 1, 0)
            for _ in range(8):
                total = add(total, torsion)
                found.add(encode(total))
        y += 1
    return sorted(found)


SMALL = small_points()
OTHER_SPELLINGS = [
    encoded
    for y in (P, P + 1, 0, 1, P - 1)
    for sign in (0, 1)
    if (encoded := (y | sign << 255).to_bytes(32, "little")) not in SMALL
]


def test_there_are_eight() -> None:
    assert len(SMALL) == 8
    assert IDENTITY in SMALL


@pytest.mark.parametrize("point", SMALL + OTHER_SPELLINGS, ids=bytes.hex)
def test_points_of_small_order_sign_nothing(point: bytes) -> None:
    """With such a key, S = 0 and R = the identity is a signature of one message in eight, or of all, elsewhere."""
    for n in range(16):
        for commitment in (point, IDENTITY):
            assert not is_signed(b"%d" % n, commitment + bytes(32), point)
    mark = KEY.sign(b"m")
    assert not is_signed(b"m", point + mark[32:], KEY.public)


def test_the_rule_is_our_own_and_not_that_of_one_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should the library ever take what it refuses today, we still do not."""
    monkeypatch.setattr(signing, "crypto_sign_open", lambda signed, key: b"")
    mark = KEY.sign(b"m")
    assert is_signed(b"m", mark, KEY.public)
    for point in SMALL + OTHER_SPELLINGS:
        assert not is_signed(b"m", mark, point)
        assert not is_signed(b"m", point + mark[32:], KEY.public)
    for s in (L, L + 1, (1 << 256) - 1):
        assert not is_signed(b"m", mark[:32] + s.to_bytes(32, "little"), KEY.public)
    assert is_signed(b"m", mark[:32] + (L - 1).to_bytes(32, "little"), KEY.public)


def test_s_has_one_spelling() -> None:
    mark = KEY.sign(b"m")
    s = int.from_bytes(mark[32:], "little")
    again = mark[:32] + (s + L).to_bytes(32, "little")
    assert not is_signed(b"m", again, KEY.public)
    assert not ed25519.is_signed(b"m", again, KEY.public)


def test_a_key_with_a_part_of_small_order_is_not_multiplied_away() -> None:
    """R moved by a point of small order passes where both sides are multiplied by eight: not here."""
    scalar, prefix = ed25519._scalar(KEY.seed)
    torsion = ed25519.decode(next(point for point in SMALL if encode(times(4, ed25519.decode(point))) != IDENTITY))
    r = 12_345
    commitment = encode(add(times(r, BASE), torsion))
    k = int.from_bytes(sha512(commitment + KEY.public + b"m").digest(), "little") % L
    mark = commitment + ((r + k * scalar) % L).to_bytes(32, "little")
    assert prefix
    assert not is_signed(b"m", mark, KEY.public)
    assert not ed25519.is_signed(b"m", mark, KEY.public)


def test_a_key_shows_nothing_of_itself() -> None:
    for text in (repr(KEY), str(KEY), f"{KEY}", repr([KEY]), repr({"key": KEY})):
        assert KEY.seed.hex() not in text
        assert repr(KEY.seed) not in text
    assert KEY.public.hex()[:16] in repr(KEY)


# -- statements ------------------------------------------------------------------------------------------------------

fields = st.lists(st.binary(max_size=40), max_size=6).map(tuple)
uses = st.text(st.characters(codec="ascii", categories=["L"]), min_size=1, max_size=10)


@given(uses, fields)
def test_a_statement_comes_back(use: str, parts: tuple[bytes, ...]) -> None:
    said = Statement(use, parts).signed_by(KEY, OTHER)
    again = decode_statement(said.encode())
    assert again == said
    assert again.id == Statement(use, parts).id == reader.Statement(said.encode()).id
    assert again.is_signed_by(KEY.public)
    assert again.is_signed_by(OTHER.public)
    assert not again.is_signed_by(SigningKey(b"x" * 32).public)


@given(fields, fields)
def test_framing_keeps_fields_apart(one: tuple[bytes, ...], two: tuple[bytes, ...]) -> None:
    assert (Statement("use", one).signed_bytes() == Statement("use", two).signed_bytes()) is (one == two)


def test_a_good_signature_beside_bad_ones_is_enough() -> None:
    said = Statement("use", (b"f",))
    mark = KEY.sign(said.signed_bytes())
    for marks in (((KEY.public, bytes(64)), (KEY.public, mark)), ((KEY.public, mark), (KEY.public, bytes(64)))):
        assert Statement("use", (b"f",), marks).is_signed_by(KEY.public)
    assert not Statement("use", (b"f",), ((OTHER.public, mark),)).is_signed_by(KEY.public)


GOOD = Statement("use", (b"f",)).signed_by(KEY).encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xc0",
        GOOD[:-1],
        GOOD + b"\0",
        b"\xdc\x00\x03" + GOOD[1:],
        GOOD.replace(b"\xa3use", b"\xd9\x03use"),
        GOOD.replace(b"\xa3use", b"\xa3\xed\xa0\x80"),
        b"\x94" + GOOD[1:] + b"\xc0",
        b"\x94" + GOOD[1:] + b"\x91" * 7_000,
        b"\x92" + GOOD[1:],
        b"\xdd\xff\xff\xff\xff",
        b"\x93\xa3use\xdd\xff\xff\xff\xff",
        msgspec.msgpack.encode(["use", ["text"], []]),
        msgspec.msgpack.encode(["use", [b"x" * 9_000], []]),
        bytes(8_193),
    ],
)
def test_bytes_that_are_no_statement(raw: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        decode_statement(raw)
    with pytest.raises((reader.Refused, AttributeError, TypeError)):
        reader.Statement(raw)


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_mutation_is_refused_or_means_itself(at: int, mask: int) -> None:
    raw = GOOD[:at] + bytes([GOOD[at] ^ mask]) + GOOD[at + 1 :]
    try:
        found = decode_statement(raw)
    except ProtocolViolation:
        return
    assert found.encode() == raw
    assert not found.is_signed_by(KEY.public)
