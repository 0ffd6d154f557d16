"""Room `ops` (imports `engines` and below): what of an old installation a file has taken already, and as what.

Kept under keyed hashes, with a random key of this file: the set holds no content that would have to be forgotten, and
what was forgotten is known to have been here, so that it is not taken a second time.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from antiphon.engines.sqlite.file import SqliteFile
from antiphon.engines.sqlite.made import is_made
from antiphon.world.entropy import Entropy, SystemEntropy

_KEY: Final = "migrate/key"
_TABLE: Final = "CREATE TABLE IF NOT EXISTS migrated(what BLOB PRIMARY KEY, digest BLOB, entity BLOB) WITHOUT ROWID"


class Taken:
    """The set. Call `put` in the transaction that records what it is about.

    With `dry`, what is put is kept in memory alone: for a run that takes everything back.
    """

    def __init__(self, file: SqliteFile, installation: str, *, dry: bool, entropy: Entropy | None = None) -> None:
        self._file, self._installation = file, installation
        self._entropy: Entropy = entropy or SystemEntropy()
        self._key = b""
        self._dry: dict[bytes, tuple[bytes | None, bytes | None]] | None = {} if dry else None

    def open(self) -> None:
        """Makes the set in this file where it is not there yet. In a transaction; where the file can only be read, in
        memory.
        """
        if self._file.read_only:
            self._key = self._file.get(_KEY) or self._key or self._entropy.bytes(32)
            return
        self._file.writer.execute(_TABLE)
        found = self._file.get(_KEY) or self._key
        if not found:
            found = self._entropy.bytes(32)
        if not self._key or self._file.get(_KEY) is None:
            self._file.put(_KEY, found)
        self._key = found

    def name(self, *parts: str) -> bytes:
        """What something is known by."""
        hasher = blake2b(digest_size=16, key=self._key)
        for part in (self._installation, *parts):
            raw = part.encode("utf-8", "surrogatepass")
            hasher.update(len(raw).to_bytes(8, "big") + raw)
        return hasher.digest()

    def digest(self, content: bytes) -> bytes:
        """A content's keyed hash."""
        return blake2b(content, digest_size=16, key=self._key).digest()

    def get(self, name: bytes) -> tuple[bytes | None, bytes | None] | None:
        """(digest, entity) of what is known by this name, None where nothing is."""
        if self._dry is not None and name in self._dry:
            return self._dry[name]
        if self._file.read_only and not is_made(self._file.writer, "migrated"):
            return None
        found = self._file.writer.execute("SELECT digest, entity FROM migrated WHERE what=?", (name,)).fetchone()
        return None if found is None else (found[0], found[1])

    def put(self, name: bytes, digest: bytes | None, entity: bytes | None) -> None:
        """Keeps what is known by this name."""
        if self._dry is not None:
            self._dry[name] = digest, entity
        if self._file.read_only:
            return
        self._file.writer.execute("INSERT OR REPLACE INTO migrated VALUES(?,?,?)", (name, digest, entity))
