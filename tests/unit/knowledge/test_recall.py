"""Recall: what is found, in which order, within which filters, and what no question can break."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon import Agent, InvalidInput, LimitExceeded, verify_proof
from antiphon.domains.memory import MEMORIES
from antiphon.engines.sqlite import waiting
from antiphon.knowledge.recall import HALF_AGE_MS, Question, fts_query, recall
from antiphon.model.table import Table
from antiphon.views.store import StoredRow
from antiphon.world.clock import ManualClock
from tests.unit.views.notes import NOTES_DOMAIN

NOW = 1_700_000_000_000
DAY = 86_400_000


@pytest.fixture
def ada() -> Iterator[Agent]:
    with Agent.create("ada", domains=[NOTES_DOMAIN], clock=ManualClock(NOW)) as agent:
        yield agent


def texts(agent: Agent, query: str, **filters: Any) -> list[str]:
    return [hit.text for hit in agent.recall(query, **filters)]


# -- ranking ---------------------------------------------------------------------------------------------------------


def test_the_more_relevant_comes_first(ada: Agent) -> None:
    filler = "some words about other things entirely that make this text rather long"
    ada.remember(f"a boat is mentioned here once, with {filler} and {filler}")
    ada.remember("the boat sank")
    ada.remember(filler)
    for at in range(20):
        ada.remember(f"unrelated {at}")
    assert texts(ada, "boat")[0] == "the boat sank"
    assert len(texts(ada, "boat")) == 2


def test_rare_words_weigh_more_than_common_ones(ada: Agent) -> None:
    for at in range(30):
        ada.remember(f"meeting about the budget {at}")
    ada.remember("meeting with Marguerite")
    assert texts(ada, "the meeting with Marguerite about the budget")[0] == "meeting with Marguerite"


def test_among_equals_the_recent_comes_first(ada: Agent) -> None:
    for days in (400, 3, 90):
        ada.remember(f"boat {days}", occurred=NOW - days * DAY)
    assert texts(ada, "boat") == ["boat 3", "boat 90", "boat 400"]
    hits = ada.recall("boat")
    assert hits[0].score > hits[1].score > hits[2].score
    assert HALF_AGE_MS == 30 * DAY


def test_among_equals_the_significant_comes_first(ada: Agent) -> None:
    for weight in (0.1, 0.9, 0.5):
        ada.remember(f"boat {weight}", significance=weight, occurred=NOW)
    assert texts(ada, "boat") == ["boat 0.9", "boat 0.5", "boat 0.1"]
    assert [hit.significance for hit in ada.recall("boat")] == [0.9, 0.5, 0.1]


def test_relevance_outweighs_recency_and_significance_together(ada: Agent) -> None:
    ada.remember("amber birch cedar", significance=0, occurred=NOW - 1_000 * DAY)
    ada.remember("amber and nothing else of it", significance=1, occurred=NOW)
    for at in range(10):
        ada.remember(f"other {at}")
    assert texts(ada, "amber birch cedar")[0] == "amber birch cedar"


def test_what_was_folded_into_a_summary_ranks_lower(ada: Agent) -> None:
    for at in range(3):
        ada.remember(f"boat number {at}", significance=0.2, occurred=NOW - 90 * DAY)
    ada.compress()
    hits = ada.recall("boat number")
    assert [hit.type for hit in hits] == ["summary", "memory", "memory", "memory"]


def test_scores_fall_and_limits_hold(ada: Agent) -> None:
    for at in range(30):
        ada.remember(f"boat {at} " + "and so on " * at)
    hits = ada.recall("boat", limit=7)
    assert len(hits) == 7
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    for limit in (0, -1, 1_001):
        with pytest.raises(InvalidInput, match="RECALL_HITS_MAX"):
            ada.recall("boat", limit=limit)


# -- corrections -----------------------------------------------------------------------------------------------------


def test_a_correction_stands_above_what_it_corrects_also_when_only_that_matches(ada: Agent) -> None:
    old = ada.remember("Ada lives in Paris", namespace="people", user="Ada")
    new = ada.supersede(old.entity or "", "She moved to Rome")
    ada.remember("Paris is a town")
    hits = ada.recall("Paris")
    assert [hit.text for hit in hits].index("She moved to Rome") < [hit.text for hit in hits].index(
        "Ada lives in Paris"
    )
    by_text = {hit.text: hit for hit in hits}
    assert by_text["Ada lives in Paris"].superseded_by == new.entity
    assert by_text["She moved to Rome"].score >= by_text["Ada lives in Paris"].score
    assert texts(ada, "Rome") == ["She moved to Rome"]
    assert texts(ada, "Paris", namespace="people", user="Ada") == ["She moved to Rome", "Ada lives in Paris"]


class Chain:
    """A `TextIndex` of rows that correct one another, deeper than Python's stack; every thousandth one matches."""

    def __init__(self, size: int) -> None:
        self._rows = [self._made(at, size) for at in range(size)]

    @staticmethod
    def _made(at: int, size: int) -> StoredRow:
        newer = None if at == size - 1 else (at + 1).to_bytes(16, "big")
        values = {"id": at.to_bytes(16, "big"), "content": str(at), "timestamp": at, "superseded_by": newer}
        return StoredRow(at, 1, at, {**dict.fromkeys(MEMORIES.names), **values})

    def match(self, table: Table, query: str, **_: Any) -> list[tuple[int, float]]:
        return [(at, 1.0) for at in range(0, len(self._rows), 1_000)]

    def rows(self, table: Table, numbers: Any) -> dict[int, StoredRow]:
        return {n: self._rows[n] for n in numbers}

    def row(self, table: Table, key: bytes) -> StoredRow | None:
        return self._rows[int.from_bytes(key, "big")]


def test_of_many_corrections_the_newest_comes_first_and_of_the_rest_what_matches() -> None:
    hits = recall(Chain(3_500), [MEMORIES], Question("amber", 3), now_ms=NOW)
    assert [hit.text for hit in hits] == ["3499", "3000", "2000"]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_memories_that_correct_each_other_are_shown_once(ada: Agent) -> None:
    ours, theirs = ada.remember("amber"), ada.remember("birch amber")
    tables, table = ada.replica.tables, ada.replica.registry.tables["memories"]
    keys = [bytes.fromhex((one.entity or "").replace("-", "")) for one in (ours, theirs)]
    with ada.replica.transaction():
        for key, newer in zip(keys, reversed(keys), strict=True):
            row = tables.row(table, key)
            assert row is not None
            tables.replace(table, key, (row.n, row.log, row.seq, *{**row.values, "superseded_by": newer}.values()))
    assert sorted(texts(ada, "amber")) == ["amber", "birch amber"]


def test_a_correction_must_stand_within_the_filters(ada: Agent) -> None:
    old = ada.remember("amber", namespace="a", occurred=NOW - 10 * DAY)
    ada.supersede(old.entity or "", "birch", namespace="b", type="insight")
    assert texts(ada, "amber") == ["birch", "amber"]
    assert texts(ada, "amber", until=NOW - 5 * DAY) == ["amber"]
    assert texts(ada, "amber", namespace="a") == ["amber"]
    assert texts(ada, "amber", kind="memory") == ["amber"]
    assert texts(ada, "amber", entity=old.entity) == ["amber"]


# -- filters ---------------------------------------------------------------------------------------------------------


def test_by_time_of_occurrence(ada: Agent) -> None:
    for day in (1, 2, 3):
        ada.remember(f"boat {day}", occurred=f"2020-01-0{day}")
    assert texts(ada, "boat", since="2020-01-02") == ["boat 3", "boat 2"]
    assert texts(ada, "boat", until="2020-01-02") == ["boat 1"]
    assert texts(ada, "boat", since="2020-01-02", until="2020-01-03") == ["boat 2"]
    assert texts(ada, "January 2020") == ["boat 3", "boat 2", "boat 1"]
    assert texts(ada, "2020-01-02") == ["boat 2"]


def test_by_kind_namespace_user_and_entity(ada: Agent) -> None:
    one = ada.remember("boat one", type="insight", namespace="sea", user="Bob")
    ada.remember("boat two", namespace="lake", user="Eve")
    ada.reflect("why?", "boat three")
    ada.record("note.written", {"text": "boat four"})
    assert texts(ada, "boat", kind="insight") == ["boat one"]
    assert sorted(texts(ada, "boat", kind=["insight", "reflections"])) == ["boat one", "boat three"]
    assert texts(ada, "boat", kind="notes") == ["boat four"]
    assert texts(ada, "boat", kind="nothing") == []
    assert texts(ada, "boat", namespace="lake") == ["boat two"]
    assert texts(ada, "boat", user="Bob") == ["boat one"]
    assert texts(ada, "boat", user="Nobody") == []
    assert texts(ada, "boat", entity=one.entity) == ["boat one"]
    assert texts(ada, "boat", namespace="lake", user="Bob") == []


def test_by_author_name_and_tags(ada: Agent) -> None:
    ada.remember("boat", tags=["harbour", "storm warning"])
    ada.remember("train")
    assert texts(ada, "harbour") == ["boat"]
    assert texts(ada, '"storm warning"') == ["boat"]
    assert sorted(texts(ada, "what did ada say")) == ["boat", "train"]
    assert {hit.author for hit in ada.recall("boat train")} == {"ada"}


def test_what_has_expired_is_hidden_but_kept(ada: Agent) -> None:
    soon = ada.remember("boat", expires=NOW + DAY)
    old = ada.remember("train")
    ada.supersede(old.entity or "", "tram", expires=NOW + DAY)
    assert sorted(texts(ada, "boat train")) == ["boat", "train", "tram"]
    clock = ada.replica.clock
    assert isinstance(clock, ManualClock)
    clock.pass_ms(DAY)
    assert texts(ada, "boat train tram") == ["train"]
    assert ada.get(soon.entity or "") is not None
    ada.update(soon.entity or "", expires=None)
    assert sorted(texts(ada, "boat train")) == ["boat", "train"]


# -- everything acknowledged is found --------------------------------------------------------------------------------


def test_a_large_batch_is_found_at_once(ada: Agent) -> None:
    with ada.batch() as batch:
        for at in range(5_000):
            batch.remember(f"item n{at}")
    for at in (0, 63, 64, 4_095, 4_096, 4_999):
        assert texts(ada, f"n{at}") == [f"item n{at}"]
    assert ada.stats()["fulltext_backlog"] == 0


def test_what_was_changed_or_forgotten_while_it_waited_for_the_index(ada: Agent) -> None:
    with ada.batch() as batch:
        for at in range(200):
            batch.remember(f"item n{at}")
    ada.update(batch.recorded[150].entity or "", text="item changed")
    ada.forget(batch.recorded[151].event)
    assert texts(ada, "n150 n151 n152 changed") in (["item n152", "item changed"], ["item changed", "item n152"])


def test_each_hit_can_be_proved(ada: Agent) -> None:
    memory = ada.remember("boat")
    ada.update(memory.entity or "", text="ship", significance=1.0)
    ada.update(memory.entity or "", tags=["sea"])
    (hit,) = ada.recall("ship")
    assert verify_proof(ada.prove(hit.event)).describe()["body"] == {"text": "ship", "significance": 1.0}


# -- questions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "query"),
    [
        ("What did Bob say about the boat?", '"bob" OR "say" OR "boat"'),
        ('the "red boat" sank', '"red boat" OR "sank"'),
        ("Boat boat BOAT", '"boat"'),
        ("to be or not to be", '"to" OR "be" OR "or" OR "not"'),
        ("don't Ada's it’s", '"ada"'),
        ("on 2026-11-21 ada@example.org", '"2026-11-21" OR "ada@example.org"'),
        ("हिन्दी é", '"हिन्दी" OR "é"'),
        ("NEAR(a b) col:x* ^y -z AND", '"near" OR "b" OR "col" OR "x" OR "y" OR "z"'),
        ("", ""),
        ("🎻 … !", ""),
        ('""" " "" "?', ""),
    ],
)
def test_a_question_becomes_words_and_phrases(question: str, query: str) -> None:
    assert fts_query(question) == query


def test_texts_of_all_scripts_are_found(ada: Agent) -> None:
    for text in (
        "שלום עולם",
        "Привет, мир",
        "हिन्दी भाषा",
        "Ça coûte déjà",
        "東京 タワー",
        "emoji 🎻 violin",
        "nul\0byte",
    ):
        ada.remember(text)
    for query, text in [
        ("עולם", "שלום עולם"),
        ("привет", "Привет, мир"),
        ("हिन्दी", "हिन्दी भाषा"),
        ("deja", "Ça coûte déjà"),
        ("東京", "東京 タワー"),
        ("🎻 violin", "emoji 🎻 violin"),
    ]:
        assert texts(ada, query) == [text]


HOSTILE = [
    '"', "'", '""', "'; DROP TABLE memories; --", "a AND", "OR OR OR", "NOT boat", "NEAR(boat, 5)", "boat*", "^boat",
    "{text author}: boat", "text:boat", "-boat", "+boat", "(boat", "boat)", "boat\0", "\0", '"boat\0sank"',
    "\ud800 boat", '"\udfff"', "🎻", "\u200b", "\u202eboat", "%s %n", "\\", "a" * 4_096, "boat " * 800,
    " ".join(f"w{at}" for at in range(800)), '"' * 4_000, '"!!!" boat', '"..."', "_", "_ _ boat",
]  # fmt: skip


def test_no_question_breaks_anything(ada: Agent) -> None:
    ada.remember("the boat sank")
    for question in HOSTILE:
        try:
            found = texts(ada, question)
        except InvalidInput:
            found = []
        expected = ["the boat sank"] if "boat" in question and "boat\0sank" not in question else found
        assert found == expected, ascii(question)[:80]
    assert texts(ada, "boat") == ["the boat sank"]


@given(st.text(max_size=60))
def test_any_text_is_a_question(question: str) -> None:
    query = fts_query(question)
    assert query.count('"') % 2 == 0
    assert "\0" not in query


def test_a_question_that_is_too_long_names_the_limit(ada: Agent) -> None:
    with pytest.raises(LimitExceeded, match="QUERY_CHARS_MAX"):
        ada.recall("x" * 10_000)


def test_a_question_without_words_says_so(ada: Agent) -> None:
    for question in ("", "   ", "?!", "🎻"):
        with pytest.raises(InvalidInput, match="words"):
            ada.recall(question)


def test_filters_that_make_no_sense_are_the_callers_fault(ada: Agent) -> None:
    ada.remember("boat")
    wrongs: list[dict[str, Any]] = [
        {"user": "\ud800"}, {"user": ""}, {"namespace": "\ud800"}, {"entity": "x"}, {"since": "yesterday"},
        {"since": 1 << 70}, {"kind": "\ud800"}, {"below": "\ud800"},
    ]  # fmt: skip
    for filters in wrongs:
        with pytest.raises(InvalidInput):
            ada.recall("boat", **filters)


def test_a_column_of_another_domain_need_not_mean_what_ours_does(ada: Agent) -> None:
    from antiphon import AssertRow, Column, Domain, FullText, Kind, Table, Type
    from tests.unit.views.notes import Written

    names = ("superseded_by", "significance", "compressed", "expires_at", "namespace", "user", "type")
    odd = Table(
        "odd",
        key="id",
        columns=(
            Column("id", Type.ID),
            Column("at", Type.TIMESTAMP),
            Column("text", Type.TEXT),
            *(Column(name, Type.TEXT) for name in names),
        ),
        fulltext=FullText("text", time="at"),
    )
    fold = AssertRow(odd, at="@time", text="text", **dict.fromkeys(names, "colour"))
    domain = Domain("odd", kinds=(Kind("odd.made", Written),), tables=(odd,), folds={"odd.made": (fold,)})
    with Agent.create("odd", domains=[domain]) as agent:
        agent.record("odd.made", {"text": "boat"})
        assert texts(agent, "boat") == ["boat"]


# -- files that cannot be written --------------------------------------------------------------------------------------


@pytest.fixture
def writer() -> Iterator[Agent]:
    """40 memories that are indexed and 200 that wait, with nobody to index them in the background."""
    with Agent.create("ada", clock=ManualClock(NOW), background=False) as ada:
        for at in range(40):
            ada.remember(f"indexed boat n{at}", namespace="sea")
        with ada.batch() as batch:
            batch.remember("a yawl, and a boat", namespace="sea", significance=1.0)
            for at in range(199):
                batch.remember(f"waiting item n{at}", namespace="land", tags=["wagon"] if at == 7 else None)
        yield ada


@pytest.fixture
def shelf(writer: Agent) -> Iterator[Agent]:
    """The same, open read only."""
    with Agent.open("ada", read_only=True, clock=ManualClock(NOW)) as shelf:
        assert shelf.replica.backlog() == 200
        yield shelf


def test_what_waits_for_the_index_is_found_where_nothing_can_be_written(shelf: Agent) -> None:
    assert texts(shelf, "n150") == ["waiting item n150"]
    assert texts(shelf, "yawl")[0] == "a yawl, and a boat"
    assert texts(shelf, "wagon") == ["waiting item n7"]
    assert sorted(texts(shelf, "n7")) == ["indexed boat n7", "waiting item n7"]
    assert texts(shelf, '"a boat"') == ["a yawl, and a boat"]
    assert texts(shelf, "n7", namespace="land") == ["waiting item n7"]
    assert "a yawl, and a boat" in texts(shelf, "boat", limit=5), "ranked with those that are indexed"
    assert len(texts(shelf, "boat waiting", limit=1_000)) == 240
    assert shelf.replica.backlog() == 200, "nothing was written"


def test_what_waits_is_indexed_once_and_again_when_the_file_has_changed(shelf: Agent, writer: Agent) -> None:
    calls: list[str] = []
    connection = shelf.replica.file.reader
    connection.exec_trace = lambda cursor, sql, values: calls.append(sql) or True  # type: ignore[func-returns-value]
    for _ in range(3):
        assert texts(shelf, "n150") == ["waiting item n150"]
    connection.exec_trace = None
    assert sum("VIRTUAL TABLE" in sql for sql in calls) == 1
    writer.forget(shelf.recall("n150")[0].event)
    assert texts(shelf, "n150") == []
    with writer.batch() as batch:
        for at in range(100):
            batch.remember(f"newer n{at}")
    assert texts(shelf, "newer n99")[0] == "newer n99"


def test_a_long_backlog_is_gone_through_in_batches(shelf: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [texts(shelf, query, limit=1_000) for query in ("n150", "waiting item", "n7 n8 n9 boat")]
    monkeypatch.setattr(waiting, "ROWS_AT_ONCE_MAX", 7)
    again = [texts(shelf, query, limit=1_000) for query in ("n150", "waiting item", "n7 n8 n9 boat")]
    assert [sorted(found) for found in again] == [sorted(found) for found in whole]
    assert sum(map(len, whole)) > 240


def test_ranks_are_those_of_an_index_in_the_file(shelf: Agent, writer: Agent) -> None:
    asked = ("yawl n7", "n7 wagon", "waiting n150")
    ours = {query: shelf.recall(query) for query in asked}  # before the writer indexes what waits
    for query in asked:
        theirs = writer.recall(query)
        assert ours[query][0].text == theirs[0].text, query
        assert {hit.text for hit in ours[query]} & {hit.text for hit in theirs}
