"""The LangGraph store against `InMemoryStore`: the same operations in any order, the same answers.

What `docs/langgraph.md` says is different is evened out here, and nothing else: `InMemoryStore` lists namespaces that
are empty, orders hits by namespace first, renews `created_at` at each put, and raises where a field that is compared
is no number.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from langgraph.store.base import (
    GetOp,
    InvalidNamespaceError,
    Item,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    SearchItem,
    SearchOp,
)
from langgraph.store.memory import InMemoryStore

from antiphon import Agent, Fleet
from antiphon.domains.items import ITEMS
from antiphon.model.errors import InvalidInput, LimitExceeded
from antiphon.model.text import entity_text
from antiphon.serve.langgraph import AntiphonStore


@pytest.fixture
def ada() -> Iterator[Agent]:
    with Agent.create("ada") as agent:
        yield agent


@pytest.fixture
def store(ada: Agent) -> AntiphonStore:
    return AntiphonStore(ada)


# -- the reference -----------------------------------------------------------------------------------------------


class Reference:
    """`InMemoryStore`, asked so that the documented differences do not show."""

    def __init__(self) -> None:
        self._store = InMemoryStore()
        self._born: dict[tuple[tuple[str, ...], str], int] = {}
        self._count = 0

    def batch(self, ops: list[Op]) -> list[Any]:
        """The answers; puts are applied last, as the store itself does."""
        answers = [None if isinstance(op, PutOp) else self._answer(op) for op in ops]
        puts = {(op.namespace, op.key): op for op in ops if isinstance(op, PutOp)}
        self._store.batch(list(puts.values()))
        for place, op in puts.items():
            if op.value is None:
                self._born.pop(place, None)
            elif place not in self._born:
                self._count += 1
                self._born[place] = self._count
        return answers

    def _answer(self, op: Op) -> Any:
        for namespace in [namespace for namespace, items in self._store._data.items() if not items]:
            del self._store._data[namespace]
        if not isinstance(op, SearchOp):
            return self._store.batch([op])[0]
        every = self._store.batch([op._replace(filter=None, offset=0, limit=1 << 30)])[0]
        kept = [hit for hit in every if self._fits(hit, op)]
        kept.sort(key=lambda hit: self._born[hit.namespace, hit.key])
        return kept[op.offset : op.offset + op.limit]

    @staticmethod
    def _fits(hit: Item, op: SearchOp) -> bool:
        """Whether the reference's own filter takes the item, asked about it alone."""
        alone = InMemoryStore()
        alone.put(hit.namespace, hit.key, hit.value)
        try:
            return bool(alone.batch([op._replace(offset=0, limit=1)])[0])
        except (TypeError, ValueError):
            return False


def shown(answer: Any) -> Any:
    """What must be equal: everything but the times."""
    match answer:
        case SearchItem():
            return (answer.namespace, answer.key, answer.value, answer.score)
        case Item():
            return (answer.namespace, answer.key, answer.value)
        case list():
            return [shown(one) for one in answer]
        case _:
            return answer


# -- operations --------------------------------------------------------------------------------------------------

LABELS = st.sampled_from(["a", "b", "a-b", "a/b", "ä", "A", " "])
NAMESPACES = st.sampled_from([("a",), ("a", "b"), ("a-b",), ("a/b", "ä"), ("A", "b", "a"), (" ",)])
PLACES: list[tuple[str, ...]] = [(), ("a",), ("a", "b"), ("a-b",), ("A", "b"), ("none",)]
PREFIXES = st.sampled_from(PLACES)
KEYS = st.sampled_from(["k", "K", "", "x\0y", "🦉.1"])
NUMBERS = st.sampled_from([0, 1, -1, 2, 1.0, 1.5, 2**63, True, False])
LEAVES = st.one_of(st.none(), NUMBERS, st.sampled_from(["", "1", "red", "x\0"]))
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["p", "q"]), inner, max_size=2),
    max_leaves=4,
)
VALUES = st.dictionaries(st.sampled_from(["p", "q", "r"]), JSON, max_size=3)
OPERATORS = st.one_of(
    st.dictionaries(st.sampled_from(["$eq", "$ne"]), JSON, min_size=1, max_size=2),
    st.dictionaries(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), NUMBERS, min_size=1, max_size=2),
)
FILTERS = st.none() | st.dictionaries(st.sampled_from(["p", "q", "r"]), JSON | OPERATORS, max_size=2)
LIMITS = st.integers(0, 5)
CONDITIONS = st.builds(
    MatchCondition,
    match_type=st.sampled_from(["prefix", "suffix"]),
    path=st.lists(LABELS | st.just("*"), max_size=2).map(tuple),
)
PUTS = st.builds(PutOp, namespace=NAMESPACES, key=KEYS, value=VALUES, index=st.none())
OPS = st.one_of(
    PUTS,
    PUTS,
    st.builds(PutOp, namespace=NAMESPACES, key=KEYS, value=st.none(), index=st.none()),
    st.builds(GetOp, namespace=NAMESPACES, key=KEYS),
    st.builds(SearchOp, namespace_prefix=PREFIXES, filter=FILTERS, limit=LIMITS, offset=LIMITS, query=st.none()),
    st.builds(
        ListNamespacesOp,
        match_conditions=st.none() | st.lists(CONDITIONS, max_size=2).map(tuple),
        max_depth=st.none() | st.integers(1, 3),
        limit=LIMITS,
        offset=LIMITS,
    ),
)
BATCHES = st.lists(st.lists(OPS, min_size=1, max_size=4), min_size=1, max_size=12)


def compare(store: AntiphonStore, batches: list[list[Op]]) -> None:
    """Does the same to both and asserts the same answers, then that both hold the same."""
    reference = Reference()
    every: list[Op] = [ListNamespacesOp(limit=1_000), *(SearchOp(prefix, limit=1_000) for prefix in PLACES)]
    for ops in [*batches, every]:
        assert shown(store.batch(ops)) == shown(reference.batch(ops))


@pytest.fixture
def fresh(own_home: Path) -> Iterator[Callable[[], Agent]]:
    """A maker of agents that have no items yet; all of them in one file, where none may see another's."""
    with Fleet.create(own_home / "fleet") as fleet:
        number = count()
        yield lambda: fleet.add(f"agent{next(number)}")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=BATCHES)
def test_the_same_answers_as_in_memory(fresh: Callable[[], Agent], batches: list[list[Op]]) -> None:
    compare(AntiphonStore(fresh()), batches)


class _LosesDeletes(AntiphonStore):
    """Does not delete an item that a put of the same batch came before."""

    def _write(self, writes: Any) -> None:
        super()._write({place: body for place, body in writes.items() if body is not None or len(writes) == 1})


class _MatchesHalfLabels(AntiphonStore):
    """Takes `a` for a prefix of the label `a-b`."""

    def _search(self, op: SearchOp) -> list[SearchItem]:
        found = super()._search(op._replace(namespace_prefix=(), offset=0, limit=1_000))
        start = ".".join(op.namespace_prefix)
        return [hit for hit in found if ".".join(hit.namespace).startswith(start)][op.offset : op.offset + op.limit]


class _ReadsItsWrites(AntiphonStore):
    """Applies the puts of a batch before its reads."""

    def batch(self, ops: Any) -> Any:
        ops = list(ops)
        super().batch([op for op in ops if isinstance(op, PutOp)])
        return [None if isinstance(op, PutOp) else super(_ReadsItsWrites, self).batch([op])[0] for op in ops]


class _Overlays(AntiphonStore):
    """Lays a new value over the old one instead of putting it in its place."""

    def batch(self, ops: Any) -> Any:
        laid = []
        for op in ops:
            old = self.get(op.namespace, op.key) if isinstance(op, PutOp) and op.value is not None else None
            laid.append(op if old is None else op._replace(value={**old.value, **op.value}))
        return super().batch(laid)


@pytest.mark.parametrize("broken", [_LosesDeletes, _MatchesHalfLabels, _ReadsItsWrites, _Overlays])
def test_the_comparison_catches_a_broken_adapter(
    fresh: Callable[[], Agent], broken: Callable[[Agent], AntiphonStore]
) -> None:
    @settings(max_examples=300, database=None, derandomize=True, phases=[Phase.generate])
    @given(batches=BATCHES)
    def check(batches: list[list[Op]]) -> None:
        compare(broken(fresh()), batches)

    with pytest.raises(AssertionError):
        check()


# -- what the reference cannot tell ------------------------------------------------------------------------------


def test_times(store: AntiphonStore) -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    store.put(("a",), "k", {"n": 1})
    first = store.get(("a",), "k")
    store.put(("a",), "k", {"n": 2})
    second = store.get(("a",), "k")
    assert first is not None
    assert second is not None
    assert before <= first.created_at == first.updated_at <= datetime.now(UTC)
    assert second.created_at == first.created_at, "an update is no creation"
    assert second.updated_at >= first.updated_at
    assert store.search(("a",))[0].updated_at == second.updated_at
    store.delete(("a",), "k")
    store.put(("a",), "k", {"n": 3})
    third = store.get(("a",), "k")
    assert third is not None
    assert third.created_at == third.updated_at >= second.updated_at


def test_items_outlive_the_process(ada: Agent) -> None:
    AntiphonStore(ada).put(("a", "b"), "k", {"n": 1})
    ada.close()
    with Agent.open("ada", domains=[ITEMS]) as again:
        item = AntiphonStore(again).get(("a", "b"), "k")
        assert item is not None
        assert item.value == {"n": 1}
        assert again.verify().ok


def test_rows_are_the_same_when_folded_again(ada: Agent, store: AntiphonStore) -> None:
    for n in range(3):
        store.put(("a",), "k", {"n": n})
        store.put(("a",), f"k{n}", {"n": n})
    store.delete(("a",), "k1")
    store.delete(("a",), "k")
    store.put(("a",), "k", {"n": 9})
    rows = ada.table("items").select(order="created_at")
    ada.replica.refold("items")
    assert ada.table("items").select(order="created_at") == rows
    assert [(item.key, item.value["n"]) for item in store.search(("a",))] == [("k0", 0), ("k2", 2), ("k", 9)]


def test_search_by_words(store: AntiphonStore) -> None:
    store.put(("docs", "one"), "tea", {"body": {"text": "Grace prefers tea"}, "n": 1})
    store.put(("docs", "two"), "coffee", {"text": "Ada prefers coffee, black coffee", "n": 2})
    store.put(("doc",), "near", {"text": "coffee under another label"})
    found = store.search(("docs",), query="who likes COFFEE?")
    assert [item.key for item in found] == ["coffee"]
    assert found[0].score is not None
    assert found[0].score > 0
    assert {item.key for item in store.search((), query="preferring")} == {"tea", "coffee"}, "words are stemmed"
    assert [item.key for item in store.search((), query="prefers", filter={"n": {"$lt": 2}})] == ["tea"]
    assert len(store.search((), query="coffee", limit=1)) == 1
    assert len(store.search((), query="coffee", limit=1, offset=1)) == 1
    assert store.search((), query="coffee", offset=2) == []
    assert store.search((), query="??") == []
    assert store.search((), query="coffee " * 2_000)
    store.put(("docs", "two"), "coffee", {"text": "Ada prefers water now"})
    assert store.search(("docs",), query="coffee") == []
    store.delete(("docs", "two"), "coffee")
    assert store.search((), query="water") == []


def test_put_chooses_what_is_indexed(store: AntiphonStore) -> None:
    store.put(("a",), "some", {"title": "owl", "note": {"text": "badger"}}, index=["title"])
    store.put(("a",), "none", {"title": "owl"}, index=False)
    assert [item.key for item in store.search((), query="owl")] == ["some"]
    assert store.search((), query="badger") == []


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": b"bytes"}, "value.a is a bytes"),
        ({"a": [1, {"b": {1, 2}}]}, "value.a[1].b is a set"),
        ({"a": datetime(2026, 1, 1)}, "value.a is a datetime"),
        ({"a": float("nan")}, "value.a: JSON has no nan"),
        ({"a": float("inf")}, "value.a: JSON has no inf"),
        ({"a": {1: 2}}, "value.a: the name 1 is not text"),
        ({"a": 2**64}, "value.a: a whole number beyond 64 bits"),
        ({"a": "\ud800"}, "lone surrogate"),
        ({"\udfff": 1}, "lone surrogate"),
        ([1], "a map with text keys"),
    ],
)
def test_what_json_cannot_hold_is_refused(store: AntiphonStore, value: Any, place: str) -> None:
    store.put(("a",), "k", {"n": 1})
    with pytest.raises(InvalidInput) as refused:
        store.batch([PutOp(("a",), "fine", {"n": 2}), PutOp(("a",), "k", value)])
    assert place in str(refused.value)
    assert [item.value for item in store.search(("a",))] == [{"n": 1}], "nothing of the batch was written"


def test_limits_are_named(store: AntiphonStore) -> None:
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    with pytest.raises(InvalidInput, match="DEPTH_MAX"):
        store.put(("a",), "k", {"a": deep})
    with pytest.raises(LimitExceeded, match="BODY_BYTES_MAX"):
        store.put(("a",), "k", {"a": "x" * 300_000})


def test_wrong_questions_are_refused(store: AntiphonStore) -> None:
    store.put(("a",), "k", {"n": 1})
    with pytest.raises(InvalidInput, match=r"\$like.*known: \$eq"):
        store.search((), filter={"n": {"$like": "x"}})
    with pytest.raises(InvalidInput, match=r"\$gt compares numbers"):
        store.search((), filter={"n": {"$gt": "many"}})
    for ops in ([PutOp(("a.b",), "k", {})], [GetOp(("",), "k")], [SearchOp(("a\0",))]):
        with pytest.raises(InvalidNamespaceError):
            store.batch(ops)
    with pytest.raises(InvalidNamespaceError):
        store.put((), "k", {})
    with pytest.raises(NotImplementedError, match="TTL"):
        store.put(("a",), "k", {}, ttl=1)


def test_forgotten_items_are_gone(ada: Agent, store: AntiphonStore) -> None:
    store.put(("people", "grace"), "phone", {"number": "555 0199"})
    store.put(("people", "grace"), "phone", {"number": "555 0123"})
    entity = store.entity(("people", "grace"), "phone")
    assert [event.kind for event in ada.history(entity)] == ["item.put", "item.put"]
    store.delete(("people", "grace"), "phone")
    assert store.entity(("people", "grace"), "phone") == entity, "deleted is not forgotten"
    assert ada.forget(entity=entity).complete
    assert ada.history(entity) == []
    assert ada.verify().ok
    store.put(("people", "grace"), "phone", {"number": "555 0000"})
    assert [item.value for item in store.search(("people",))] == [{"number": "555 0000"}]


def test_a_secret_that_was_forgotten_is_made_again(ada: Agent, store: AntiphonStore) -> None:
    store.put(("a",), "old", {"n": 1})
    secret = next(event for event in ada.log() if event.kind == "item.secret_made")
    ada.forget(str(secret.seq))
    store.put(("a",), "old", {"n": 2})
    store.put(("a",), "new", {"n": 3})
    assert [(item.key, item.value["n"]) for item in store.search(("a",))] == [("old", 2), ("new", 3)]


def test_of_two_secrets_the_first_counts(ada: Agent, store: AntiphonStore) -> None:
    """As when two processes make one at once: what was drawn with the first stays what it is."""
    store.put(("a",), "k", {"n": 1})
    store.delete(("a",), "k")
    before = store.entity(("a",), "k"), store.entity(("a",), "never put")
    [first] = [event for event in ada.log() if event.kind == "item.secret_made"]
    assert first.entity is not None
    ada.record("item.secret_made", {"secret": b"another" * 4}, entity=entity_text(first.entity))
    assert (store.entity(("a",), "k"), store.entity(("a",), "never put")) == before


def test_a_reader_sees_no_table_that_is_still_being_made(ada: Agent, store: AntiphonStore) -> None:
    seen: list[Any] = []
    with ada.replica.transaction():
        store.put(("a",), "k", {"n": 1})
        reader = threading.Thread(target=lambda: seen.append(store.search(("a",))))
        reader.start()
        reader.join()
    assert seen == [[]]
    assert len(store.search(("a",))) == 1


def test_ids_do_not_show_keys(ada: Agent, store: AntiphonStore) -> None:
    """Two agents with the same keys have different entities: an id cannot be computed from a guessed key."""
    store.put(("people",), "grace@example.org", {"n": 1})
    with Agent.create("bob") as bob:
        others = AntiphonStore(bob)
        others.put(("people",), "grace@example.org", {"n": 1})
        assert others.entity(("people",), "grace@example.org") != store.entity(("people",), "grace@example.org")


def test_clones_that_made_the_same_item_show_it_once(ada: Agent, store: AntiphonStore) -> None:
    """As after a sync of two clones that never met: two entities say the same key, the later one counts."""
    with ada.batch() as batch:
        for n in (1, 2):
            entity = f"00000000-0000-8000-8000-00000000000{n}"
            batch.record("item.put", {"namespace": ["a"], "key": "k", "value": {"n": n}}, entity=entity)
    assert [item.value for item in store.search(("a",), limit=1)] == [{"n": 2}]
    assert [item.value for item in store.search(("a",), filter={"n": {"$gt": 0}})] == [{"n": 2}]
    item = store.get(("a",), "k")
    assert item is not None
    assert item.value == {"n": 2}
    store.put(("a",), "k", {"n": 3})
    assert [item.value for item in store.search(("a",))] == [{"n": 3}]
    store.delete(("a",), "k")
    assert store.search(("a",)) == []


def test_async_calls_answer_the_same(store: AntiphonStore) -> None:
    async def talk() -> None:
        await asyncio.gather(*(store.aput(("a",), f"k{n}", {"n": n}) for n in range(8)))
        assert {item.key for item in await store.asearch(("a",))} == {f"k{n}" for n in range(8)}
        await store.adelete(("a",), "k0")
        assert await store.aget(("a",), "k0") is None
        assert await store.alist_namespaces() == [("a",)]

    asyncio.run(talk())


def test_threads_share_a_store(ada: Agent, store: AntiphonStore) -> None:
    """All write new keys, and all the same new keys: every key is there once."""

    def work(name: int) -> None:
        for n in range(10):
            store.put(("own", str(name)), str(n), {"by": name})
            store.put(("shared",), str(n), {"by": name})

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.search(("own",), limit=100)) == 40
    shared = store.search(("shared",), limit=100)
    assert sorted(int(item.key) for item in shared) == list(range(10))
    rows = ada.table("items").select(namespace="shared")
    assert len(rows) == 10, "no key has two entities"
    assert ada.verify().ok
