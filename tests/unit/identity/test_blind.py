"""Blind indexes: the published vectors of the hash, our own framing, and what may be told from them."""

import hmac
from hashlib import sha256

import pytest

from antiphon import Column, InvalidInput, Table, Type
from antiphon.identity.blind import KEY_BYTES, blind_index, keyed_hash

KEY = bytes(range(KEY_BYTES))
USERS = Table(
    "users",
    "id",
    (
        Column("id", Type.ID, nullable=False),
        Column("email", Type.TEXT, pii=True, blind=True),
        Column("phone", Type.TEXT, pii=True, blind=True),
        Column("notes", Type.TEXT, pii=True),
    ),
)
OTHERS = Table("others", "id", USERS.columns)


@pytest.mark.parametrize(
    ("key", "data", "expected"),
    [
        (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (b"Jefe", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        (b"\xaa" * 20, b"\xdd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
        (b"\x0c" * 20, b"Test With Truncation", "a3b6167473100ee06e0c796c2955552b"),
        (
            b"\xaa" * 131,
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
    ],
)
def test_the_hash_is_that_of_rfc_4231(key: bytes, data: bytes, expected: str) -> None:
    assert keyed_hash(key, data, len(expected) // 2).hex() == expected


def test_what_is_hashed_is_framed_and_says_of_which_column() -> None:
    framed = b"antiphon/blind/v1\0\0\0\0\x05users\0\0\0\x05email\0\0\0\x0eada@example.io"
    assert blind_index(KEY, USERS, "email", "ada@example.io") == hmac.new(KEY, framed, sha256).digest()[:16]
    of = [(USERS, "email", KEY), (USERS, "phone", KEY), (OTHERS, "email", KEY), (USERS, "email", KEY[::-1])]
    assert len({blind_index(key, table, column, "ada@example.io") for table, column, key in of}) == 4


def test_a_value_is_found_however_it_is_spelled() -> None:
    one = blind_index(KEY, USERS, "email", "ada@example.io")
    assert blind_index(KEY, USERS, "email", "  Ada@EXAMPLE.io ") == one
    assert blind_index(KEY, USERS, "email", "ada@example.org") != one
    assert blind_index(KEY, USERS, "email", None) is None
    assert blind_index(KEY, USERS, "email", "") != one


def test_only_a_blind_column_has_one_and_only_by_a_whole_key() -> None:
    with pytest.raises(InvalidInput, match="'notes' declares no blind index"):
        blind_index(KEY, USERS, "notes", "x")
    with pytest.raises(InvalidInput, match="has 32 bytes, not 31"):
        blind_index(KEY[1:], USERS, "email", "x")
