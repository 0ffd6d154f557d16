"""Room `ops` (imports `engines` and below): which people a file has taken, so that nobody forgotten here comes again.

Kept under keyed hashes, with a random key of this file: the set holds no content that would have to be forgotten, and
whoever gets hold of it alone cannot test a guess with it. Who was forgotten is known to have been here.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

from antiphon.domains.market import keys
from antiphon.domains.market.commands import Market
from antiphon.engines.sqlite.file import SqliteFile
from antiphon.model.text import entity_text, parse_entity
from antiphon.world.entropy import Entropy, SystemEntropy

_KEY: Final = "market/people"
_TABLE: Final = "CREATE TABLE IF NOT EXISTS market_people(what BLOB PRIMARY KEY, entity BLOB) WITHOUT ROWID"


class People:
    """The set. Everything but making it is called in the transaction that records a person.

    With `again`, those who were forgotten are taken again.
    """

    def __init__(self, file: SqliteFile, *, again: bool = False, entropy: Entropy | None = None) -> None:
        self._file, self.again = file, again
        self._entropy: Entropy = entropy or SystemEntropy()
        self._key = b""

    def is_forgotten(self, market: Market, said: Mapping[str, Any]) -> bool:
        """Whether somebody of this address, or of this name and company, was taken and is in the book no more."""
        for mark in self._marks(said):
            found = self._file.writer.execute("SELECT entity FROM market_people WHERE what=?", (mark,)).fetchone()
            if found is not None:
                return market.get(entity_text(found[0])) is None and market.find_person(said) is None
        return False

    def keep(self, said: Mapping[str, Any], entity: str) -> None:
        """Remembers that a person was taken, and as whom."""
        marks = [(mark, parse_entity(entity)) for mark in self._marks(said)]
        self._file.writer.executemany("INSERT OR REPLACE INTO market_people VALUES(?,?)", marks)

    def _marks(self, said: Mapping[str, Any]) -> list[bytes]:
        self._open()
        known = []
        if said.get("email"):
            known.append("email\0" + keys.email_key(said["email"]))
        if said.get("name"):
            known.append("name\0" + keys.fingerprint(said["name"], said.get("company")))
        return [blake2b(one.encode(), digest_size=16, key=self._key).digest() for one in known]

    def _open(self) -> None:
        """Makes the set in this file where it is not there yet."""
        found = self._file.get(_KEY)
        if found is None:
            found = self._entropy.bytes(32)
            self._file.put(_KEY, found)
        if found != self._key:
            self._file.writer.execute(_TABLE)
            self._key = found
