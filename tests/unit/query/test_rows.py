"""Reading the rows of a declared table: by key, by index, by time, by nearness, by words; and what is refused."""

import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from antiphon import Agent, Fleet, InvalidInput, LimitExceeded
from antiphon.model import limits
from antiphon.model.table import Column, Index, Table, Type
from antiphon.model.text import parse_entity
from antiphon.query import near
from antiphon.query.cache import RowCache
from antiphon.query.plan import Ask, Range, plan
from tests.unit.query.pool import HOUR, POOL, POSTS, say


@pytest.fixture
def ada() -> Iterator[Agent]:
    with Agent.create("ada", domains=(POOL,)) as agent:
        yield agent


def test_rows_by_value_and_order(ada: Agent) -> None:
    made = [ada.remember(f"text {n}", type="even" if n % 2 == 0 else "odd", significance=n / 10) for n in range(5)]
    rows = ada.table("memories")
    assert [row["content"] for row in rows.select(type="even")] == ["text 0", "text 2", "text 4"]
    found = rows.select(compressed=False, order="significance", descending=True, limit=2)
    assert [row["content"] for row in found] == ["text 4", "text 3"]
    assert [row["content"] for row in rows.select(order="n", descending=True, limit=1)] == ["text 4"]
    assert rows.distinct("type") == ["even", "odd"]
    assert made[1].entity is not None
    row = rows.get(parse_entity(made[1].entity))
    assert row is not None
    assert row["content"] == "text 1"
    assert rows.get(id=bytes(16)) is None
    assert ada.table("reflections").select() == []
    assert ada.table("reflections").distinct("timestamp") == []


def test_below_takes_whole_labels(ada: Agent) -> None:
    for at, board in enumerate(("", "a", "a.b", "a.b.c", "a-b", "ab", "a/b", "b.a", "A")):
        say(ada, "post.said", board, board=board, at=at)
        ada.remember(f"owl in {board}", namespace=board)
    rows = ada.table("posts")
    assert [row["board"] for row in rows.select(below=("board", "a"), order=("board", "no"))] == ["a", "a.b", "a.b.c"]
    assert [row["board"] for row in rows.select(below=("board", "a.b"), order=("board", "no"))] == ["a.b", "a.b.c"]
    assert {hit.namespace for hit in ada.recall("owl", below="a")} == {"a", "a.b", "a.b.c"}
    assert ada.recall("owl", below="none") == []


def test_what_is_not_declared_is_refused(ada: Agent) -> None:
    with pytest.raises(InvalidInput, match="`antiphon tables` lists all"):
        ada.table("nothing")
    posts = ada.table("posts")
    for call in (
        lambda: posts.select(nothing=1),
        lambda: posts.select(order="nothing"),
        lambda: posts.distinct("nothing"),
        lambda: posts.select(within=Range("nothing", least=1)),
        lambda: posts.neighbours("nothing", [1, 2, 3]),
        lambda: posts.search("owl", nothing=1),
    ):
        with pytest.raises(InvalidInput, match="no column 'nothing'"):
            call()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"weight": 1.0}, r"'posts': no index serves weight = …\. There are the key \(id\); \(board, at\) descending"),
        ({"order": "weight"}, "in the order of weight"),
        ({"order": "n", "board": "news"}, "in the order of n"),
        ({"order": ("at", "board"), "board": "old", "no": 1}, None),
        ({"order": ("no", "at"), "board": "news"}, "in the order of no, at"),
        ({"order": "at"}, "where board is 'news' or 'old'"),
        ({"within": Range("at", least=0)}, "a range of at"),
        ({"within": Range("weight", least=0), "weight": 1.0}, "a range of weight"),
        ({"board": "other", "order": "at"}, None),
        ({"order": "at", "descending": True}, "at descending"),
        ({"below": ("text", "a")}, "names below one in text"),
        ({"below": ("at", "a")}, "no dotted names"),
        ({"board": 7}, "'posts': column 'board' is a text, and 7 is none"),
        ({"no": None, "board": "news"}, "'no' is never null"),
        ({"id": None}, "'id' is never null"),
        ({"id": b"short"}, "not 16"),
        ({"vec": [1.0, 2.0, 3.0]}, "cannot be found by it"),
        ({"order": "vec"}, "no order by 'vec'"),
        ({"board": "news", "within": Range("at", least=1, above=2)}, "one beginning"),
        ({"board": "news", "within": Range("at")}, "one beginning"),
        ({"board": "news", "within": Range("at", least="soon")}, "'at' is a timestamp"),
        ({"limit": 0}, "PAGE_ROWS_MAX"),
        ({"limit": limits.PAGE_ROWS_MAX + 1}, "PAGE_ROWS_MAX"),
    ],
)
def test_what_no_index_serves_is_refused(ada: Agent, given: dict[str, Any], said: str | None) -> None:
    if said is None:
        assert ada.table("posts").select(**given) == []
        return
    with pytest.raises(InvalidInput, match=said):
        ada.table("posts").select(**given)


def test_the_index_that_serves_most_is_taken() -> None:
    def by(**ask: Any) -> str:
        return str(plan(POSTS, Ask(**ask)).path)

    assert by(equal={"board": "news", "no": 1}) == "(board, no)"
    assert by(equal={"board": "news"}, within=Range("at", least=1)) == "(board, at) descending"
    assert by(equal={"id": bytes(16), "board": "news"}) == "the key (id)"
    assert by() == "the order of making (n)"
    assert by(equal={"board": "news"}, order=("no",)) == "(board, no)"


def test_a_page_scans_no_more_than_its_limit(ada: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    with ada.batch() as batch:
        from antiphon.model.event import Scope
        from tests.unit.query.pool import Said

        for no in range(30):
            batch.record("post.said", Said("x", no=no, weight=1.0 if no == 29 else 2.0), scope=Scope.PUBLIC)
    monkeypatch.setattr(limits, "ROWS_SCANNED_MAX", 8)
    posts = ada.table("posts")
    page = posts.page({"board": "news", "weight": 1.0}, order="no", limit=5)
    assert (page.rows, page.scanned, page.cursor is None) == ([], 8, False)
    with pytest.raises(LimitExceeded, match="ROWS_SCANNED_MAX"):
        posts.select(board="news", weight=1.0, order="no")
    assert [row["no"] for row in posts.every({"board": "news", "weight": 1.0}, order="no")] == [29]
    assert len(posts.select(board="news", order="no")) <= 30, "what the index serves alone is not scanned for"


# -- keys and cache --------------------------------------------------------------------------------------------------


def test_a_composite_key_is_given_whole(ada: Agent) -> None:
    say(ada, "diary.said", "one", no=1)
    diaries, me = ada.table("diaries"), ada.record_of_agent.agent
    found = diaries.get(me, 1)
    assert found is not None
    assert (found["text"], found.seq >= 0, found.stale_ms_max) == ("one", True, 0)
    again = diaries.get(no=1, writer=me)
    assert again == found
    assert again is not None
    assert again.stale_ms_max == 50, "a row that was kept says how old it can be"
    again["text"] = "changed by a caller"
    vector = again["vec"]
    assert vector is None
    assert diaries.get(me, 1) == found
    for wrong in ((me,), (me, 1, 2), (1, me), (me, None), (me, "1")):
        with pytest.raises(InvalidInput, match="diaries"):
            diaries.get(*wrong)
    with pytest.raises(InvalidInput, match="whole key, writer, no"):
        diaries.get(writer=me)


def test_the_cache_says_how_it_does_and_forgets_at_a_commit(ada: Agent) -> None:
    say(ada, "diary.said", "one", no=1, vec=[1.0, 2.0, 3.0])
    diaries, me = ada.table("diaries"), ada.record_of_agent.agent
    for _ in range(4):
        row = diaries.get(me, 1)
        assert row is not None
        row["vec"].clear()
    stats = diaries.stats()
    assert (stats.hits, stats.misses, stats.hit_rate, stats.rows, stats.stale_ms_max) == (3, 1, 0.75, 1, 50)
    row = diaries.get(me, 1)
    assert row is not None
    assert row["vec"] == [1.0, 2.0, 3.0], "a caller cannot change what is kept"
    say(ada, "diary.said", "two", no=1)
    row = diaries.get(me, 1)
    assert row is not None
    assert row["text"] == "two"
    assert row.stale_ms_max == 0


def test_an_empty_cache_has_a_rate_and_a_full_one_keeps_no_more() -> None:
    cache = RowCache(lambda: 1, rows_max=1)
    assert cache.stats().hit_rate == 0.0
    for key in (("t", b"a"), ("t", b"b"), ("t", b"b"), ("t", b"a")):
        cache.get(key, lambda: {"x": 1})
    assert (cache.hits, cache.misses, cache.stats().rows) == (1, 3, 1)


# -- rollups ---------------------------------------------------------------------------------------------------------


def test_buckets_of_a_rollup_left_out_or_filled_in(ada: Agent) -> None:
    for at, weight in ((5, 1.0), (HOUR - 1, 2.0), (3 * HOUR, 4.0)):
        say(ada, "post.said", "x", at=at, weight=weight)
    say(ada, "post.said", "x", board="other", at=HOUR)
    posts = ada.table("posts")
    found = posts.rollup("post_hours", board="news")
    assert [(row["hour"], row["said"], row["mean"], row["most"]) for row in found] == [
        (0, 2, 1.5, 2.0),
        (3 * HOUR, 1, 4.0, 4.0),
    ]
    assert [row["hour"] for row in posts.rollup("post_hours", since=1, until=3 * HOUR)] == [0, HOUR]
    assert [row["hour"] for row in posts.rollup("post_hours", board="news", since=HOUR)] == [3 * HOUR]
    whole = posts.rollup("post_hours", board="news", since=7, until=3 * HOUR + 1, fill=True)
    assert [row["hour"] for row in whole] == [0, HOUR, 2 * HOUR, 3 * HOUR]
    assert (whole[1]["rows"], whole[1]["said"], whole[1]["mean"], whole[1]["most"]) == (0, 0, None, None)
    assert {tuple(row) for row in whole} == {tuple(found[0])}, "an empty bucket has the same columns"
    for wrong in ({"fill": True}, {"fill": True, "since": 0, "until": 9}, {"text": "x"}, {"board": 1}):
        with pytest.raises(InvalidInput):
            posts.rollup("post_hours", **wrong)
    with pytest.raises(InvalidInput, match="it has post_hours"):
        posts.rollup("nothing")
    with pytest.raises(LimitExceeded, match="BUCKETS_MAX"):
        posts.rollup("post_hours", board="news", since=0, until=(limits.BUCKETS_MAX + 1) * HOUR, fill=True)
    with pytest.raises(LimitExceeded, match="limit"):
        posts.rollup("post_hours", limit=1)


# -- neighbours ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", near.METRICS)
@pytest.mark.parametrize("vectorized", [True, False])
def test_neighbours_are_those_of_a_sorted_list(metric: str, vectorized: bool) -> None:
    chance = random.Random(metric)
    import struct

    points = [[chance.choice([-2.0, -1.0, 0.0, 0.5, 1e-3, 1e3]) for _ in range(5)] for _ in range(3_000)]
    raws = [(n, struct.pack("<5f", *point)) for n, point in enumerate(points)]
    wanted = [0.5, -1.0, 0.0, 2.0, 1.0]
    exact = sorted((near.distance(metric, wanted, struct.unpack("<5f", raw)), n) for n, raw in raws)
    for k in (1, 7, 1_000):
        assert near.nearest(raws, wanted, metric=metric, k=k, vectorized=vectorized) == exact[:k]


def test_distances_are_those_of_the_book() -> None:
    assert near.distance("l2", [0, 3], [4, 0]) == 5.0
    assert near.distance("ip", [1, 2], [3, 4]) == -11.0
    assert math.isclose(near.distance("cosine", [1, 0], [1, 1]), 1 - math.sqrt(0.5))
    assert near.distance("cosine", [0, 0], [1, 1]) == 1.0


def test_neighbours_by_the_declared_metric(ada: Agent) -> None:
    for no, vec in enumerate(([1.0, 0, 0], [9.0, 0, 0], [0, 1.0, 0], None)):
        say(ada, "post.said", str(no), vec=vec, board="odd" if no % 2 else "even")
    posts = ada.table("posts")
    found = posts.neighbours("vec", [8.0, 0.0, 0.0], k=2)
    assert [(one.row["text"], one.distance) for one in found] == [("1", 1.0), ("0", 7.0)], "declared: l2"
    assert [one.row["text"] for one in posts.neighbours("vec", (8, 0, 0), metric="cosine")] == ["0", "1", "2"]
    assert [one.row["text"] for one in posts.neighbours("vec", [8, 0, 0], board="even")] == ["0", "2"]
    for wrong in ([1.0, 2.0], [math.nan] * 3, [math.inf] * 3, ["a", 1, 2], b"short"):
        with pytest.raises(InvalidInput, match="vec"):
            posts.neighbours("vec", wrong)
    for how in ({"metric": "hamming"}, {"k": 0}, {"k": limits.NEIGHBOURS_MAX + 1}, {"weight": 1.0}):
        with pytest.raises(InvalidInput):
            posts.neighbours("vec", [1, 2, 3], **how)
    with pytest.raises(InvalidInput, match="no vector"):
        posts.neighbours("text", [1, 2, 3])


def test_too_many_vectors_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "VECTORS_SCANNED_MAX", 2)
    with pytest.raises(LimitExceeded, match="VECTORS_SCANNED_MAX"):
        near.nearest([(n, bytes(4)) for n in range(3)], [1.0], metric="l2", k=1)


# -- full text -------------------------------------------------------------------------------------------------------


def test_search_finds_words_with_conditions(ada: Agent) -> None:
    say(ada, "post.said", "an owl at night")
    say(ada, "post.said", "two owls", board="old")
    say(ada, "post.said", "a boat", board="old")
    posts = ada.table("posts")
    assert {one.row["text"] for one in posts.search("owl")} == {"an owl at night", "two owls"}
    assert [one.row["text"] for one in posts.search("owls boats", board="old", limit=1)] != []
    assert [one.row["text"] for one in posts.search("owl", board="old")] == ["two owls"]
    with pytest.raises(InvalidInput, match="no words"):
        posts.search("?!")
    with pytest.raises(InvalidInput, match="RECALL_HITS_MAX"):
        posts.search("owl", limit=0)
    with pytest.raises(InvalidInput, match="declares no full text"):
        ada.table("people").search("owl")


# -- other versions --------------------------------------------------------------------------------------------------


def test_an_index_that_the_file_does_not_have_is_named(tmp_path: Path) -> None:
    from antiphon.engines.sqlite.file import SqliteFile
    from antiphon.model.errors import Unavailable
    from tests.unit.query.made import ME, Store

    plain = Table("made", "id", (Column("id", Type.INTEGER, nullable=False), Column("x", Type.INTEGER)), minted=False)
    newer = Table("made", "id", plain.columns, indexes=(Index(("x",)),), minted=False)
    file = SqliteFile(tmp_path / "x", bytes(32), create=True)
    with file.transaction():
        Store(file, plain).tables.insert(plain, [(1, 1, 0, 5, 6)])
    assert Store(file, plain).rows(ME).get(5) == {"id": 5, "x": 6}
    with pytest.raises(Unavailable, match=r"without \(x\)"):
        Store(file, newer).rows(ME).select(x=6)
    with file.transaction():
        file.writer.execute("DROP INDEX made_key")
        file.writer.execute('CREATE UNIQUE INDEX "made__g3_key" ON made(id)')
    assert Store(file, newer).rows(ME).select(id=5) == [{"id": 5, "x": 6}], "a swapped table keeps its index's name"
    file.close()


def test_agents_of_one_file_see_their_own_rows(tmp_path: Path) -> None:
    with Fleet.create(tmp_path / "fleet") as fleet:
        red, blue = fleet.add("red"), fleet.add("blue")
        made = red.remember("an owl", type="sighting")
        assert made.entity is not None
        assert [row["content"] for row in red.table("memories").select()] == ["an owl"]
        assert blue.table("memories").select() == []
        assert blue.table("memories").distinct("type") == []
        assert blue.table("memories").get(parse_entity(made.entity)) is None
