"""Room `knowledge` (imports `domains` and below): recall: which memories answer a question, best first.

score = 0.75 · relevance + 0.15 · recency + 0.10 · significance, each in [0, 1]: relevance is bm25 over the best
candidate's, recency 30 / (30 + age in days), significance what the author gave. What was corrected ranks below its
correction, what was folded into a summary counts 0.8.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

import msgspec

from antiphon.model import limits
from antiphon.model.errors import InvalidInput, LimitExceeded
from antiphon.model.table import Table, below_sql, below_values
from antiphon.model.text import check_text
from antiphon.views.store import StoredRow

RELEVANCE, RECENCY, SIGNIFICANCE = 0.75, 0.15, 0.10
HALF_AGE_MS: Final = 30 * 86_400_000
CANDIDATES_PER_HIT: Final = 8
CANDIDATES_MIN: Final = 64
_MARKS: Final = "\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0903\u093a-\u094f\u0e31-\u0e4e"
_WORD: Final = rf"\w[\w{_MARKS}]*(?:[-.@][\w{_MARKS}]+)*"
_PHRASE: Final = re.compile(rf'"([^"]+)"|({_WORD})([\'\u2019]\w{{1,2}}\b)?')
"""A phrase; or a word (a date, an address, a name with dashes is one) and what an apostrophe adds to it."""
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

    `logs` are log numbers in the file; None is all. `kinds` match table names or values of a `type` column; `users`
    are all pseudonyms of one person.
    """

    text: str
    limit: int = 10
    logs: tuple[int, ...] | None = None
    since: int | None = None
    until: int | None = None
    kinds: tuple[str, ...] = ()
    namespace: str | None = None
    users: tuple[bytes, ...] = ()
    entity: bytes | None = None
    below: str | None = None
    """A dotted namespace: that one and those that go on from it."""


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
        """(row number, relevance), best first: at most `limit` of what is indexed, and as many of what still waits."""
        ...

    def rows(self, table: Table, numbers: Sequence[int]) -> dict[int, StoredRow]:
        """Rows by number."""
        ...

    def row(self, table: Table, key: bytes) -> StoredRow | None:
        """One row by key."""
        ...


def fts_query(text: str) -> str:
    """The words of a question as an FTS5 query: any of them, phrases in double quotes kept together.

    Nothing in the text acts as an operator. Empty when there is no word in it. Raises LimitExceeded.
    """
    if len(text) > limits.QUERY_CHARS_MAX:
        raise LimitExceeded("QUERY_CHARS_MAX", got=len(text), allowed=limits.QUERY_CHARS_MAX, what="a question")
    text = text.encode(errors="replace").decode()
    found = [phrase or _without_not(word, suffix) for phrase, word, suffix in _PHRASE.findall(text)]
    found = [word for word in found if any(map(str.isalnum, word))]
    words = [word for word in found if word.lower() not in _STOP_WORDS] or found
    unique = list(dict.fromkeys(word.lower() for word in words))
    return " OR ".join('"' + word.replace("\0", " ") + '"' for word in unique)


def _without_not(word: str, suffix: str) -> str:
    """`don't` is `do`, as `Ada's` is `Ada`: the index has no apostrophes."""
    return word[:-1] if suffix[1:].lower() == "t" and word[-1:].lower() == "n" else word


def _check(question: Question) -> None:
    """Raises InvalidInput for filters that no row can stand within because nothing like them can be stored."""
    for text in (question.namespace or "", question.below or "", *question.kinds):
        check_text(text, what="a filter")
    for time in (question.since, question.until):
        if time is not None and not -(1 << 53) <= time <= 1 << 53:
            raise InvalidInput(f"{time} is no time in milliseconds: it needs more than 53 bits")


def recall(index: TextIndex, tables: Iterable[Table], question: Question, *, now_ms: int) -> list[Hit]:
    """The best rows of all tables with full text, best first. *Cost*: one index query a table, then ranking."""
    if not 0 < question.limit <= limits.RECALL_HITS_MAX:
        raise InvalidInput(f"the number of hits must be between 1 and RECALL_HITS_MAX ({limits.RECALL_HITS_MAX})")
    _check(question)
    query = fts_query(question.text)
    if not query:
        raise InvalidInput("the question has no words: ask with at least one letter or digit")
    hits: list[Hit] = []
    for table in tables:
        if table.fulltext is not None:
            hits += _in_table(index, table, question, query, now_ms)
    best = max((hit.relevance for hit in hits), default=1.0) or 1.0
    scored = [_scored(hit, best, now_ms) for hit in hits]
    scored.sort(key=lambda hit: (-hit.score, -hit.time_ms, hit.table, hit.row.n))
    return _correct_first(index, tables, scored, question, now_ms)[: question.limit]


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
    if question.below is not None:
        if "namespace" not in names:
            return []
        terms.append(below_sql("t.namespace"))
        values += below_values(question.below)
    if question.users:
        if "user" not in names:
            return []
        terms.append(f"t.user IN ({','.join('?' * len(question.users))})")
        values += question.users
    if question.entity is not None:
        need(table.key[0], f't."{table.key[0]}" = ?', question.entity)
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
        Hit(table.name, row, _text_of(table, row), row.values[spec.time] or 0, 0.0, found[n]) for n, row in rows.items()
    ]


def _text_of(table: Table, row: StoredRow) -> str:
    """What a hit shows: its text, or (where that is empty) the tags, if they are text."""
    spec = table.fulltext
    assert spec is not None
    tags = row.values[spec.tags] if spec.tags else None
    return row.values[spec.text] or (tags if isinstance(tags, str) else "")


def _fits(table: Table, row: StoredRow, question: Question, now_ms: int) -> bool:
    """Whether a row that was not found by its words stands within the question's filters; as in `_in_table`."""
    spec, values = table.fulltext, row.values
    assert spec is not None
    time, namespace = values[spec.time] or 0, values.get("namespace")
    expires = values.get("expires_at")
    below = question.below
    return (
        (question.since is None or time >= question.since)
        and (question.until is None or time < question.until)
        and (question.logs is None or row.log in question.logs)
        and (question.namespace is None or namespace == question.namespace)
        and (below is None or namespace == below or str(namespace).startswith(below + "."))
        and (not question.users or values.get("user") in question.users)
        and (question.entity is None or values[table.key[0]] == question.entity)
        and (not question.kinds or table.name in question.kinds or values.get("type") in question.kinds)
        and (not isinstance(expires, int) or expires > now_ms)
    )


def _scored(hit: Hit, best: float, now_ms: int) -> Hit:
    values = hit.row.values
    recency = HALF_AGE_MS / (HALF_AGE_MS + max(0, now_ms - hit.time_ms))  # still tells old from older
    significance = values.get("significance")
    weight = min(1.0, max(0.0, float(significance))) if isinstance(significance, int | float) else 0.5
    score = RELEVANCE * max(0.0, hit.relevance / best) + RECENCY * recency + SIGNIFICANCE * weight
    if values.get("compressed"):
        score *= 0.8
    return msgspec.structs.replace(hit, score=score)


def _correct_first(
    index: TextIndex, tables: Iterable[Table], hits: list[Hit], question: Question, now_ms: int
) -> list[Hit]:
    """Puts what corrects a hit right before it: the newest always, older corrections where they match themselves."""
    by_name = {table.name: table for table in tables}
    own = {(hit.table, hit.row.values[by_name[hit.table].key[0]]): hit for hit in hits}
    out: dict[tuple[str, bytes], Hit] = {}
    for hit in hits:
        table = by_name[hit.table]
        newer = _corrections(index, table, hit)
        fitting = [row for row in newer if (table.name, row.values[table.key[0]]) in own]
        if newer and newer[-1] not in fitting and _fits(table, newer[-1], question, now_ms):
            fitting.append(newer[-1])
        for row in (*reversed(fitting), hit.row):
            key = (table.name, row.values[table.key[0]])
            found = own.get(key) or _beside(table, row, hit)
            if key not in out:
                out[key] = msgspec.structs.replace(found, score=max(found.score, hit.score))
    return list(out.values())


def _corrections(index: TextIndex, table: Table, hit: Hit) -> list[StoredRow]:
    """The rows that correct this one, and one another, up to the newest. *Cost*: one look-up a correction."""
    found: dict[bytes, StoredRow] = {}
    newer = hit.row.values.get("superseded_by")
    while isinstance(newer, bytes) and newer not in found and newer != hit.row.values[table.key[0]]:
        row = index.row(table, newer)
        if row is None:
            break
        found[newer] = row
        newer = row.values.get("superseded_by")
    return list(found.values())


def _beside(table: Table, row: StoredRow, older: Hit) -> Hit:
    """The hit for a correction whose own words did not match."""
    spec = table.fulltext
    assert spec is not None
    return Hit(table.name, row, _text_of(table, row), row.values[spec.time] or 0, older.score, older.relevance)
