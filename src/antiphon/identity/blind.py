"""Room `identity` (imports `world`, `model`): blind indexes: how a column that goes as ciphertext is looked up.

    first 16 bytes of HMAC-SHA256(key, "antiphon/blind/v1\\0" ‖ table ‖ column ‖ normalised value)

each field behind its u32be length. Whoever has the engine and not the key can neither read a value nor try one; he sees
which rows of one column have the same. *Source*: RFC 2104, truncated as in its section 5.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import Final

from antiphon.model.errors import InvalidInput
from antiphon.model.table import Table
from antiphon.model.text import name_key

BLIND_KEY: Final = "blind"
"""The name of the key in the key store: 32 random bytes, one for all engines, so that they agree."""
KEY_BYTES: Final = 32
BLIND_BYTES: Final = 16
_TAG: Final = b"antiphon/blind/v1\0"


def blind_index(key: bytes, table: Table, column: str, value: str | None) -> bytes | None:
    """What stands beside the ciphertext of a value, None beside null; the same however the value is spelled.

    Equal hashes say *perhaps the same*: compare what is decrypted. Raises InvalidInput for a column without one.
    """
    declared = table.column(column)
    if not declared.blind:
        raise InvalidInput(f"table {table.name!r}: {column!r} declares no blind index", table=table.name, column=column)
    if len(key) != KEY_BYTES:
        raise InvalidInput(
            f"the key of blind indexes has {KEY_BYTES} bytes, not {len(key)}: take {BLIND_KEY!r} of the key store"
        )
    if value is None:
        return None
    fields = (table.name.encode(), column.encode(), name_key(value).encode())
    return keyed_hash(key, _TAG + b"".join(len(field).to_bytes(4, "big") + field for field in fields), BLIND_BYTES)


def keyed_hash(key: bytes, data: bytes, size: int) -> bytes:
    """The first bytes of HMAC-SHA256."""
    return hmac.digest(key, data, sha256)[:size]
