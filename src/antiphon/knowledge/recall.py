"""Room `knowledge` (imports `domains` and below): recall: which memories answer a question, best first.

score = 0.75 · relevance + 0.15 · recency + 0.10 · significance, each in [0, 1]: relevance is bm25 over the best
candidate's, recency 2^(-age / 30 days), significance what the author gave. What was corrected ranks below its
correction, what was folded into a summary counts 0.8.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

import msgspec

from antiphon.model import limits
from antiphon.model.errors import InvalidInput, LimitExceeded
from antiphon.model.table import Table
from antiphon.views.store import StoredRow

RELEVANCE, RECENCY, SIGNIFICANCE = 0.75, 0.15, 0.10
HALF_LIFE_MS: Final = 30 * 86_400_000
CANDIDATES_PER_HIT: Final = 8
CANDIDATES_MIN: Final = 64
_PHRASE: Final = re.compile(r'"([^"]+)"|(\w+)')
_STOP_WORDS: Final = frozenset(
    [
        "a",
        "about",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "but",
        "by",
        "can",
        "could",
        "did",
        "do",
        "does",
        "for",
        "from",
        "had",
        "has",
        "have",
        "he",
        "her",
        "him",
        "his",
        "how",
        "i",
        "if",
        "in",
        "is",
        "it",
        "its",
        "me",
        "my",
        "not",
        "of",
        "on",
        "or",
        "our",
        "she",
        "so",
        "that",
        "the",
        "their",
        "them",
        "they",
        "this",
        "to",
        "us",
        "was",
        "we",
        "were",
        "what",
        "when",
        "where",
        "which",
        "who",
        "whom",
        "why",
        "will",
        "with",
        "would",
        "you",
        "your",
    ]
)


class Question(msgspec.Struct, frozen=True):
    """What to look for. *Units*: ms since 1970 for `since` (inclusive) and `until` (exclusive).

    `logs` are log numbers in the file; None is all. `kinds` match table names or values of a `type` column.
    """

    text: str
    limit: int = 10
    logs: tuple[int, ...] | None = None
    since: int | None = None
    until: int | None = None
    kinds: tuple[str, ...] = ()
    namespace: str | None = None
    user: bytes | None = None
    entity: bytes | None = None


class Hit(msgspec.Struct, frozen=True):
    """One answer: the row, the table it stands in, and why it ranks where it does."""

    table: str
    row: StoredRow
    text: str
    time_ms: int
    score: float
    relevance: float


class TextIndex(Protocol):
    """Full text over declared tables."""

    def match(
        self, table: Table, query: str, *, terms: Sequence[str], values: Sequence[Any], limit: int
    ) -> list[tuple[int, float]]:
        """(row number, relevance), best first."""
        ...

    def rows(self, table: Table, numbers: Sequence[int]) -> dict[int, StoredRow]:
        """Rows by number."""
        ...

    def row(self, table: Table, key: bytes) -> StoredRow | None:
        """One row by key."""
        ...


def fts_query(text: str) -> str:
    """The words of a question as an FTS5 query: any of them, phrases in double quotes kept together."""
    if len(text) > limits.QUERY_CHARS_MAX:
        raise LimitExceeded("QUERY_CHARS_MAX", got=len(text), allowed=limits.QUERY_CHARS_MAX, what="a question")
    found = [phrase or word for phrase, word in _PHRASE.findall(text)]
    words = [word for word in found if word.lower() not in _STOP_WORDS] or found
    unique = list(dict.fromkeys(word.lower() for word in words))
    return " OR ".join('"' + word.replace("\0", " ") + '"' for word in unique)


def recall(index: TextIndex, tables: Iterable[Table], question: Question, *, now_ms: int) -> list[Hit]:
    """The best rows of all tables with full text, best first. *Cost*: one index query a table, then ranking."""
    if not 0 < question.limit <= limits.RECALL_HITS_MAX:
        raise InvalidInput(f"the number of hits must be between 1 and RECALL_HITS_MAX ({limits.RECALL_HITS_MAX})")
    query = fts_query(question.text)
    if not query:
        raise InvalidInput("the question has no words: ask with at least one letter or digit")
    hits: list[Hit] = []
    for table in tables:
        if table.fulltext is not None:
            hits += _in_table(index, table, question, query, now_ms)
    best = max((hit.relevance for hit in hits), default=1.0) or 1.0
    scored = [_scored(hit, best, now_ms) for hit in hits]
    scored.sort(key=lambda hit: (-hit.score, hit.table, hit.row.n))
    return _correct_first(index, tables, scored)[: question.limit]


def _in_table(index: TextIndex, table: Table, question: Question, query: str, now_ms: int) -> list[Hit]:
    terms: list[str] = []
    values: list[Any] = []
    names = set(table.names)

    def need(column: str, term: str, value: Any) -> bool:
        if column not in names:
            return False
        terms.append(term)
        values.append(value)
        return True

    spec = table.fulltext
    assert spec is not None
    if question.since is not None:
        need(spec.time, f't."{spec.time}" >= ?', question.since)
    if question.until is not None:
        need(spec.time, f't."{spec.time}" < ?', question.until)
    if question.namespace is not None and not need("namespace", "t.namespace = ?", question.namespace):
        return []
    if question.user is not None and not need("user", "t.user = ?", question.user):
        return []
    if question.entity is not None:
        need(table.key, f't."{table.key}" = ?', question.entity)
    if question.kinds and table.name not in question.kinds:
        if "type" not in names:
            return []
        terms.append(f"t.type IN ({','.join('?' * len(question.kinds))})")
        values += question.kinds
    if question.logs is not None:
        terms.append(f"t.log IN ({','.join(map(str, question.logs))})")
    if "expires_at" in names:
        need("expires_at", "(t.expires_at IS NULL OR t.expires_at > ?)", now_ms)
    limit = max(CANDIDATES_MIN, CANDIDATES_PER_HIT * question.limit)
    found = dict(index.match(table, query, terms=terms, values=values, limit=limit))
    rows = index.rows(table, list(found))
    return [
        Hit(table.name, row, row.values[spec.text] or "", row.values[spec.time] or 0, 0.0, found[n])
        for n, row in rows.items()
    ]


def _scored(hit: Hit, best: float, now_ms: int) -> Hit:
    values = hit.row.values
    recency = 2.0 ** (-max(0, now_ms - hit.time_ms) / HALF_LIFE_MS)
    significance = values.get("significance")
    weight = min(1.0, max(0.0, 0.5 if significance is None else float(significance)))
    score = RELEVANCE * max(0.0, hit.relevance / best) + RECENCY * recency + SIGNIFICANCE * weight
    if values.get("compressed"):
        score *= 0.8
    return msgspec.structs.replace(hit, score=score)


def _correct_first(index: TextIndex, tables: Iterable[Table], hits: list[Hit]) -> list[Hit]:
    """Puts every correction right before the first thing it corrects, also when its own words did not match."""
    by_name = {table.name: table for table in tables}
    out: list[Hit] = []
    placed: set[tuple[str, bytes]] = set()
    own = {(hit.table, hit.row.values[by_name[hit.table].key]): hit for hit in hits}

    def place(hit: Hit, floor: float) -> None:
        table = by_name[hit.table]
        key = (hit.table, hit.row.values[table.key])
        if key in placed:
            return
        placed.add(key)
        newer = hit.row.values.get("superseded_by")
        if newer is not None:
            correction = own.get((hit.table, newer)) or _fetched(index, table, newer, hit)
            if correction is not None:
                place(correction, max(floor, hit.score))
        out.append(hit if hit.score >= floor else msgspec.structs.replace(hit, score=floor))

    for hit in hits:
        place(hit, 0.0)
    return out


def _fetched(index: TextIndex, table: Table, key: bytes, older: Hit) -> Hit | None:
    row = index.row(table, key)
    spec = table.fulltext
    if row is None or spec is None:
        return None
    return Hit(table.name, row, row.values[spec.text] or "", row.values[spec.time] or 0, older.score, older.relevance)
