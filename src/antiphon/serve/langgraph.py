"""Room `serve` (imports `engines` and below): a LangGraph `BaseStore` over an agent: its items are signed events.

What `InMemoryStore` answers, this answers, but for what `docs/langgraph.md` lists. A put is an event about the item's
entity; two processes that put a new key at once mean the same entity, and the later one counts.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from antiphon.domains.items import ITEM_SECRETS, ITEMS_TABLE, bodies, declare
from antiphon.knowledge.recall import fts_query
from antiphon.model import limits
from antiphon.model.errors import InvalidInput, Unavailable
from antiphon.model.text import entity_text, natural_id, parse_entity
from antiphon.serve.ports import Keeper
from antiphon.world.entropy import Entropy, SystemEntropy

try:
    from langgraph.store.base import (
        BaseStore,
        GetOp,
        Item,
        ListNamespacesOp,
        MatchCondition,
        Op,
        PutOp,
        Result,
        SearchItem,
        SearchOp,
        get_text_at_path,
        validate_op_namespace,
    )
except ModuleNotFoundError as error:
    raise Unavailable("the LangGraph store needs another package: pip install 'antiphon[langgraph]'") from error

DEPTH_MAX: Final = 64
FEW: Final = 100
"""Up to so many items a search without conditions reads no more than it answers."""

_SECRET_BYTES: Final = 32
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Place = tuple[tuple[str, ...], str]
Row = dict[str, Any]


class AntiphonStore(BaseStore):
    """Items of one agent, which stays open as long as the store is used. Threads and processes may share it."""

    __slots__ = ("_agent", "_entropy")

    def __init__(self, agent: Keeper, *, entropy: Entropy | None = None) -> None:
        self._agent = agent
        self._entropy: Entropy = entropy or SystemEntropy()

    # -- the port ------------------------------------------------------------------------------------------------

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """An answer for each operation. Reads see what was there before; writes are one commit, the last one a key
        counts. Raises InvalidInput, before anything is written, for what JSON cannot hold.
        """
        asked = list(ops)
        writes: dict[Place, bodies.Put | None] = {}
        for op in asked:
            validate_op_namespace(op)
            if isinstance(op, PutOp):
                writes[_place(op)] = _body(op)
        answers = [self._answer(op) for op in asked]
        self._write(writes)
        return answers

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """As `batch`, in a thread."""
        return await asyncio.to_thread(self.batch, list(ops))

    def _answer(self, op: Op) -> Result:
        match op:
            case PutOp():
                return None
            case GetOp():
                row = _newest(self._rows_of((op.namespace, op.key)))
                return None if row is None else _item(row)
            case SearchOp():
                return self._search(op)
            case ListNamespacesOp():
                return self._namespaces(op)
            case _:
                raise InvalidInput(f"{type(op).__name__} is no operation of a store: get, put, search, list namespaces")

    # -- what stays behind an item ---------------------------------------------------------------------------------

    def entity(self, namespace: tuple[str, ...], key: str) -> str:
        """The entity behind an item, also when it was deleted: what `history` and `forget` are asked about."""
        row = _newest(self._rows_of((namespace, key)))
        return entity_text(self._derived((namespace, key), self._secret()) if row is None else row["id"])

    def _rows_of(self, place: Place) -> list[Row]:
        """The rows of one item: one, or more where clones made it apart."""
        namespace, key = place
        return [*self._agent.table(ITEMS_TABLE.name).select(namespace=".".join(namespace), key=key)]

    def _derived(self, place: Place, secret: bytes) -> bytes:
        """The entity of a new item: whoever puts it first, in whichever process, means the same one."""
        namespace, key = place
        return natural_id("antiphon/items", "\0".join([secret.hex(), *namespace, "", key]))

    def _secret(self) -> bytes:
        """What is mixed into the ids of items; made, once an agent, when first needed."""
        known = self._agent.table(ITEM_SECRETS.name)
        own = natural_id("antiphon/items/secret", self._agent.id)
        row = known.get(own)
        if row is None:
            with self._agent.batch() as batch:
                made = bodies.SecretMade(self._entropy.bytes(_SECRET_BYTES))
                batch.record(declare.SECRET_MADE, made, entity=entity_text(own))
            row = known.get(own)  # another process may have been first: then that one's counts
            assert row is not None
        secret: bytes = row["secret"]
        return secret

    # -- writing -------------------------------------------------------------------------------------------------

    def _write(self, writes: Mapping[Place, bodies.Put | None]) -> None:
        drafts: list[tuple[str, Any, bytes]] = []
        secret: bytes | None = None
        for place, body in writes.items():
            rows = self._rows_of(place)
            if body is None:
                drafts += [(declare.DELETED, bodies.Deleted(), row["id"]) for row in rows]
                continue
            row = _newest(rows)
            if row is None:
                secret = secret or self._secret()
            drafts.append((declare.PUT, body, self._derived(place, secret or b"") if row is None else row["id"]))
        if drafts:
            with self._agent.batch() as batch:
                for kind, said, entity in drafts:
                    batch.record(kind, said, entity=entity_text(entity))

    # -- reading -------------------------------------------------------------------------------------------------

    def _search(self, op: SearchOp) -> list[SearchItem]:
        below = ".".join(op.namespace_prefix) or None
        found = self._matches(op, below) if op.query else [(row, None) for row in self._scan(op, below)]
        wanted = op.filter or {}
        kept = [
            pair for pair in found if all(_fits(pair[0]["value"].get(name), asked) for name, asked in wanted.items())
        ]
        return [_hit(row, score) for row, score in kept[op.offset : op.offset + op.limit]]

    def _scan(self, op: SearchOp, below: str | None) -> list[Row]:
        """Items under a namespace, the oldest first."""
        table = self._agent.table(ITEMS_TABLE.name)
        under = None if below is None else ("namespace", below)
        enough = op.offset + op.limit
        if not op.filter and min(op.offset, op.limit) >= 0 and enough <= FEW:
            page = table.page(order="created_at", limit=enough or 1, below=under)
            rows: list[Row] = [*page.rows[:enough]]
            whole = page.cursor is None or len(page.rows) >= enough
            if whole and all(len(self._rows_of((_labels(row["namespace"]), row["key"]))) == 1 for row in rows):
                return rows
        return _unique([*table.every(order="created_at", below=under)])

    def _matches(self, op: SearchOp, below: str | None) -> list[tuple[Row, float | None]]:
        """Items under a namespace that share a word with the query, best first; at most RECALL_HITS_MAX."""
        query = (op.query or "")[: limits.QUERY_CHARS_MAX]
        if not fts_query(query):
            return []
        enough = op.offset + op.limit
        if op.filter or min(op.offset, op.limit) < 0 or not 0 < enough < limits.RECALL_HITS_MAX:
            enough = limits.RECALL_HITS_MAX
        table = self._agent.table(ITEMS_TABLE.name)
        found: list[tuple[Row, float | None]] = []
        for hit in self._agent.recall(query, limit=enough, kind=ITEMS_TABLE.name, below=below):
            row = table.get(parse_entity(hit.entity)) if hit.table == ITEMS_TABLE.name else None
            if row is not None:
                found.append((row, hit.score))
        return found

    def _namespaces(self, op: ListNamespacesOp) -> list[tuple[str, ...]]:
        names: list[str] = self._agent.table(ITEMS_TABLE.name).distinct("namespace")
        found = {_labels(name) for name in names}
        kept = {labels for labels in found if all(_under(one, labels) for one in op.match_conditions or ())}
        if op.max_depth is not None:
            kept = {labels[: op.max_depth] for labels in kept}
        return sorted(kept)[op.offset : op.offset + op.limit]


# -- values ------------------------------------------------------------------------------------------------------


def plain(value: Any, *, at: str = "value", depth: int = 0) -> Any:
    """The value as JSON will give it back; tuples become lists. Raises InvalidInput, naming the place."""
    if depth > DEPTH_MAX:
        raise InvalidInput(f"{at[:80]}…: nested deeper than DEPTH_MAX ({DEPTH_MAX}): flatten it, or store it as text")
    match value:
        case None | bool():
            return value
        case str():
            return str.__str__(value)
        case int():
            if not -(1 << 63) <= value < 1 << 64:
                raise InvalidInput(f"{at}: a whole number beyond 64 bits is not kept exactly: store it as text")
            return int(value)
        case float():
            if not math.isfinite(value):
                raise InvalidInput(f"{at}: JSON has no {value}: store None, or text")
            return float(value)
        case list() | tuple():
            return [plain(item, at=f"{at}[{n}]", depth=depth + 1) for n, item in enumerate(value)]
        case Mapping():
            for name in value:
                if not isinstance(name, str):
                    raise InvalidInput(f"{at}: the name {name!r:.40} is not text, as JSON needs: use str({name!r:.40})")
            return {str.__str__(name): plain(item, at=f"{at}.{name}", depth=depth + 1) for name, item in value.items()}
        case _:
            raise InvalidInput(
                f"{at} is a {type(value).__name__}, which JSON cannot hold: store text, numbers, booleans, None, lists "
                "and maps with text keys"
            )


def _texts(value: Any) -> list[str]:
    """Every text in a value, in order."""
    match value:
        case str():
            return [value]
        case list():
            return [text for item in value for text in _texts(item)]
        case dict():
            return [text for item in value.values() for text in _texts(item)]
        case _:
            return []


def _place(op: PutOp) -> Place:
    if not isinstance(op.key, str):
        raise InvalidInput(f"a key is text, not {type(op.key).__name__}")
    return tuple(op.namespace), op.key


def _body(op: PutOp) -> bodies.Put | None:
    if op.value is None:
        return None
    if not isinstance(op.value, Mapping):
        raise InvalidInput(f"an item's value is a map with text keys, not {type(op.value).__name__}")
    value = plain(op.value)
    match op.index:
        case None:
            texts = _texts(value)
        case False:
            texts = []
        case paths:
            texts = [text for path in paths for text in get_text_at_path(value, path)]
    return bodies.Put(list(op.namespace), op.key, value, "\n".join(texts))


# -- rows --------------------------------------------------------------------------------------------------------


def _newest(rows: Sequence[Row]) -> Row | None:
    """The one that counts where clones made the same item apart: the last written, then the greater id."""
    return max(rows, key=lambda row: (row["updated_at"], row["id"]), default=None)


def _unique(rows: Sequence[Row]) -> list[Row]:
    """One row an item, in the order in which they were."""
    best: dict[tuple[str, str], Row] = {}
    for row in rows:
        name = (row["namespace"], row["key"])
        best[name] = row if name not in best else _newest([best[name], row]) or row
    return list(best.values())


def _labels(namespace: str) -> tuple[str, ...]:
    return tuple(namespace.split(".")) if namespace else ()


def _moment(ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=ms)


def _item(row: Row) -> Item:
    return Item(
        value=row["value"], key=row["key"], namespace=_labels(row["namespace"]),
        created_at=_moment(row["created_at"]), updated_at=_moment(row["updated_at"]),
    )  # fmt: skip


def _hit(row: Row, score: float | None) -> SearchItem:
    return SearchItem(
        namespace=_labels(row["namespace"]), key=row["key"], value=row["value"],
        created_at=_moment(row["created_at"]), updated_at=_moment(row["updated_at"]), score=score,
    )  # fmt: skip


# -- conditions --------------------------------------------------------------------------------------------------


def _under(condition: MatchCondition, labels: tuple[str, ...]) -> bool:
    """Whether a namespace begins (or ends) with the condition's labels; `*` is any one label."""
    path = tuple(condition.path)
    if len(path) > len(labels):
        return False
    match condition.match_type:
        case "prefix":
            part = labels[: len(path)]
        case "suffix":
            part = labels[len(labels) - len(path) :]
        case other:
            raise InvalidInput(f"a namespace is matched by prefix or by suffix, not by {other!r}")
    return all(wanted in ("*", label) for wanted, label in zip(path, part, strict=True))


def _fits(value: Any, asked: Any) -> bool:
    """Whether a value meets a filter: equal, item by item in lists and maps, or by operators like `$gt`."""
    if isinstance(asked, dict):
        if any(name.startswith("$") for name in asked):
            return all(_holds(value, operator, operand) for operator, operand in asked.items())
        return isinstance(value, dict) and all(_fits(value.get(name), inner) for name, inner in asked.items())
    if isinstance(asked, list | tuple):
        return (
            isinstance(value, list)
            and len(value) == len(asked)
            and all(_fits(own, inner) for own, inner in zip(value, asked, strict=True))
        )
    return bool(value == asked)


def _holds(value: Any, operator: str, operand: Any) -> bool:
    """One operator. What is no number is neither more nor less than one."""
    match operator:
        case "$eq":
            return bool(value == operand)
        case "$ne":
            return bool(value != operand)
        case "$gt" | "$gte" | "$lt" | "$lte":
            bound = _number(operand)
            if bound is None:
                raise InvalidInput(f"{operator} compares numbers; {operand!r:.40} is none")
            own = _number(value)
            if own is None:
                return False
            return {"$gt": own > bound, "$gte": own >= bound, "$lt": own < bound, "$lte": own <= bound}[operator]
        case _:
            raise InvalidInput(f"unknown operator {operator!r:.40}; known: $eq, $ne, $gt, $gte, $lt, $lte")


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None
