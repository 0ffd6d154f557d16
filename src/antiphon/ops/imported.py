"""Room `ops` (imports `engines` and below): which records of which source a file has taken in already.

Kept as keyed hashes under a random key of this file: nobody who gets hold of the set alone can test a guess
with it, and it holds no content that would have to be forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Final

from antiphon.engines.sqlite.file import SqliteFile, rows
from antiphon.ops.importing import Record
from antiphon.world.entropy import Entropy, SystemEntropy

_KEY: Final = "import/key"
_CHUNK: Final = 1_000


class Imported:
    """The set. Call `new` and `add` in the transaction that records what they are about."""

    def __init__(self, file: SqliteFile, entropy: Entropy | None = None) -> None:
        self._file = file
        self._entropy: Entropy = entropy or SystemEntropy()
        self._key = b""

    def open(self) -> None:
        """Makes the set in this file where it is not there yet. In a transaction."""
        self._file.writer.execute("CREATE TABLE IF NOT EXISTS imported(what BLOB PRIMARY KEY) WITHOUT ROWID")
        found = self._file.get(_KEY)
        if found is None:
            found = self._entropy.bytes(32)
            self._file.put(_KEY, found)
        self._key = found

    def name_of(self, source: str, record: Record, ordinal: int) -> bytes:
        """What a record is known by: its source and id; without an id its content, and the how-manieth it is."""
        hasher = blake2b(source.encode("utf-8", "surrogateescape") + b"\0", digest_size=16, key=self._key)
        if record.id is not None:
            hasher.update(b"id\0" + record.id.encode("utf-8", "surrogatepass"))
        else:
            hasher.update(b"content\0" + record.digest + ordinal.to_bytes(8, "big"))
        return hasher.digest()

    def new(self, names: Sequence[bytes]) -> set[bytes]:
        """Those of these names that are not in the set."""
        known: set[bytes] = set()
        for at in range(0, len(names), _CHUNK):
            part = tuple(names[at : at + _CHUNK])
            marks = ",".join("?" * len(part))
            found = rows(self._file.writer, f"SELECT what FROM imported WHERE what IN ({marks})", part)
            known |= {row[0] for row in found}
        return set(names) - known

    def add(self, names: Iterable[bytes]) -> None:
        """Puts these names into the set."""
        self._file.writer.executemany("INSERT OR IGNORE INTO imported VALUES(?)", [(name,) for name in names])
