"""Three agents of one file try to read one another's rows, in every way there is."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from antiphon import Agent, Column, Fleet, InvalidInput, LimitExceeded, Table, Type
from antiphon.model.table import READ_ALL
from antiphon.model.text import parse_entity
from antiphon.query.access import EVERY_ROW, Reader, Seen, seen_by
from antiphon.query.plan import Range
from tests.unit.query.pool import HOUR, POOL, raw, say, three

Ways = dict[str, Callable[[Agent], list[Any]]]
NEAR = [0.0, 0.0, 1.0]


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[tuple[Agent, Agent, Agent]]:
    with Fleet.create(tmp_path / "fleet", domains=(POOL,)) as fleet:
        red, green, blue = three(fleet)
        for agent in (red, green, blue):
            for no in range(3):
                fields = {"no": no, "at": no * HOUR, "vec": [no, 0.0, 1.0]}
                say(agent, "post.said", f"owl {agent.name} {no}", **fields)
                say(agent, "diary.said", f"owl {agent.name} {no}", **fields)
        say(red, "letter.said", "owl red to green", to=raw(green), at=HOUR, vec=NEAR)
        say(green, "letter.said", "owl green to blue", to=raw(blue), at=HOUR, vec=NEAR)
        yield red, green, blue


def texts(rows: list[Any]) -> list[str]:
    return sorted(row["text"] for row in rows)


def ways(table: str) -> Ways:
    """Every way to a table's rows that names nobody."""

    def paged(agent: Agent) -> list[Any]:
        rows, cursor = [], None
        while True:
            page = agent.table(table).page({"board": "news"}, limit=1, after=cursor, order="at")
            rows += page.rows
            cursor = page.cursor
            if cursor is None:
                return rows
            assert len(page.rows) == 1, "what others wrote is not in the way of a page"

    return {
        "select": lambda agent: list(agent.table(table).select()),
        "index": lambda agent: list(agent.table(table).select(board="news", order="no", descending=True)),
        "range": lambda agent: list(agent.table(table).select(board="news", within=Range("at", least=0))),
        "filter": lambda agent: list(agent.table(table).select(board="news", weight=1.0)),
        "below": lambda agent: list(agent.table(table).select(below=("board", "news"))),
        "every": lambda agent: list(agent.table(table).every({"board": "news"})),
        "pages": paged,
        "near": lambda agent: [one.row for one in agent.table(table).neighbours("vec", NEAR, k=100, board="news")],
        "near, all": lambda agent: [one.row for one in agent.table(table).neighbours("vec", NEAR, k=100)],
        "text": lambda agent: [one.row for one in agent.table(table).search("owl", limit=100)],
        "text, filtered": lambda agent: [one.row for one in agent.table(table).search("owl", limit=100, board="news")],
    }


@pytest.mark.parametrize("way", ways("posts"))
def test_what_all_may_read_all_read(agents: tuple[Agent, ...], way: str) -> None:
    wanted = sorted(f"owl {agent.name} {no}" for agent in agents for no in range(3))
    for agent in agents:
        assert texts(ways("posts")[way](agent)) == wanted


@pytest.mark.parametrize("way", ways("diaries"))
def test_what_is_ones_own_nobody_else_reads(agents: tuple[Agent, ...], way: str) -> None:
    for agent in agents:
        assert texts(ways("diaries")[way](agent)) == [f"owl {agent.name} {no}" for no in range(3)]


@pytest.mark.parametrize("way", ways("mail"))
def test_letters_are_read_by_both_ends(agents: tuple[Agent, ...], way: str) -> None:
    found = [texts(ways("mail")[way](agent)) for agent in agents]
    assert found == [["owl red to green"], ["owl green to blue", "owl red to green"], ["owl green to blue"]]


def test_get_finds_ones_own_only(agents: tuple[Agent, ...]) -> None:
    red, green, blue = agents
    for reader in agents:
        for writer in agents:
            row = reader.table("diaries").get(raw(writer), 1)
            assert (row is not None) == (reader is writer)
            assert reader.table("diaries").get(writer=raw(writer), no=1) == row, "from the cache too"
            by_key = reader.table("diaries").select(writer=raw(writer), no=1)
            assert by_key == ([] if row is None else [row])
    made = say(red, "letter.said", "once more", to=raw(blue))
    key = parse_entity(made.entity)
    assert [agent.table("mail").get(key) is not None for agent in (red, green, blue)] == [True, False, True]
    assert green.table("mail").select(to=raw(blue)) == [
        row for row in blue.table("mail").select(to=raw(blue)) if row["text"] == "owl green to blue"
    ]


def test_a_limit_counts_what_one_sees(agents: tuple[Agent, ...]) -> None:
    _, _, blue = agents
    assert texts(blue.table("diaries").select(limit=2)) == ["owl blue 0", "owl blue 1"]
    assert [one.row["text"] for one in blue.table("diaries").neighbours("vec", NEAR, k=1)] == ["owl blue 0"]
    assert blue.table("diaries").search("owl", limit=1)[0].row["text"].startswith("owl blue")
    page = blue.table("diaries").page({"board": "news"}, order="at", limit=3)
    assert (page.cursor, page.scanned) == (None, 3), "rows of others are not even counted"


def test_a_cursor_is_a_place_and_no_right(agents: tuple[Agent, ...]) -> None:
    red, green, _ = agents
    first = red.table("diaries").page({"board": "news"}, order="at", limit=1)
    assert first.cursor is not None
    assert texts(green.table("diaries").page({"board": "news"}, order="at", after=first.cursor).rows) == [
        "owl green 1",
        "owl green 2",
    ], "another agent's cursor leads to one's own rows"
    digest, _, values = msgspec.msgpack.decode(base64.urlsafe_b64decode(first.cursor + "==="))
    forged = msgspec.msgpack.encode([digest, -1, [-(1 << 60), *values[1:]]])
    cursor = base64.urlsafe_b64encode(forged).rstrip(b"=").decode()
    assert len(green.table("diaries").page({"board": "news"}, order="at", after=cursor).rows) == 3
    with pytest.raises(InvalidInput, match="another question"):
        red.table("diaries").page({"board": "old"}, order="at", after=first.cursor)
    with pytest.raises(InvalidInput, match="another question"):
        red.table("mail").page({"board": "news"}, order="at", after=first.cursor)
    for wrong in ("", "x", "é", first.cursor + "A", first.cursor[:-2], base64.urlsafe_b64encode(b"\xc1").decode()):
        with pytest.raises(InvalidInput, match="cursor"):
            red.table("diaries").page({"board": "news"}, order="at", after=wrong)
    late = {"within": Range("at", least=HOUR), "order": "at"}
    first = red.table("diaries").page({"board": "news"}, limit=1, **late)
    assert first.cursor is not None
    digest, n, _ = msgspec.msgpack.decode(base64.urlsafe_b64decode(first.cursor + "==="))
    outside = base64.urlsafe_b64encode(msgspec.msgpack.encode([digest, n, [-1]])).rstrip(b"=").decode()
    with pytest.raises(InvalidInput, match="outside"):
        red.table("diaries").page({"board": "news"}, after=outside, **late)
    nonsense = msgspec.msgpack.encode([digest, 1, ["text where a time belongs"]])
    with pytest.raises(InvalidInput):
        red.table("diaries").page(
            {"board": "news"}, order="at", after=base64.urlsafe_b64encode(nonsense).rstrip(b"=").decode()
        )


def test_rollups_show_no_sums_over_others_rows(agents: tuple[Agent, ...]) -> None:
    red, green, blue = agents
    assert [row["said"] for row in red.table("posts").rollup("post_hours", board="news")] == [3, 3, 3]
    for agent in agents:
        with pytest.raises(InvalidInput, match="diary_hours"):
            agent.table("diaries").rollup("diary_hours", board="news")
        with pytest.raises(InvalidInput, match="diary_hours"):
            agent.table("diary_hours").select()
        with pytest.raises(InvalidInput, match="diary_hours"):
            agent.table("diary_hours").get(0, "news")
        own = agent.table("diaries").rollup("diary_own_hours")
        assert [(row["writer"], row["said"]) for row in own] == [(raw(agent), 1)] * 3
        assert agent.table("diary_own_hours").select() == own
        assert [row["to"] for row in agent.table("mail").rollup("letter_hours")] == (
            [] if agent is red else [raw(agent)]
        )
    assert blue.table("diaries").rollup("diary_own_hours", writer=raw(green)) == []
    assert green.table("diary_own_hours").get(0, raw(blue)) is None


def test_an_agent_alone_in_its_file_reads_all_sums() -> None:
    with Agent.create("ada", domains=(POOL,)) as ada:
        say(ada, "diary.said", "one", no=1)
        assert [row["said"] for row in ada.table("diaries").rollup("diary_hours", board="news")] == [1]


def test_a_private_event_is_in_no_shared_table(agents: tuple[Agent, ...]) -> None:
    from tests.unit.query.pool import Said

    red, green, _ = agents
    before = len(green.table("posts").select())
    with pytest.raises(InvalidInput, match="posts folds circle and public events alone"):
        red.record("post.said", Said("private"))
    assert len(green.table("posts").select()) == before


def test_what_folds_private_events_is_nobody_elses_even_where_all_may_read() -> None:
    columns = (Column("id", Type.ID, nullable=False),)
    shared = Table("open", "id", columns, shared=True, access=READ_ALL)
    private = Table("closed", "id", columns, access=READ_ALL)
    reader = Reader(bytes(32), (1, 2))
    assert seen_by(reader, shared, {}) == EVERY_ROW
    assert seen_by(reader, private, {}) == Seen(logs=(1, 2))


def test_a_page_passes_over_so_many_rows_of_others_and_says_where_to_go_on(
    agents: tuple[Agent, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    red, green, blue = agents
    for no in range(10, 30):
        say(green, "diary.said", f"owl green's secret {no}", no=no, at=no)
    for no in range(30, 33):
        say(blue, "diary.said", f"owl blue {no}", no=no, at=no)
    wanted = [row["no"] for row in blue.table("diaries").every({"board": "news"}, order="no")]
    monkeypatch.setattr("antiphon.model.limits.ROWS_PASSED_MAX", 7)
    ways_through: list[dict[str, Any]] = [{"order": "no"}, {"order": "no", "descending": True}, {"order": "n"}]
    for how in ways_through:
        found, cursor, pages = list[Any](), None, 0
        while pages == 0 or cursor is not None:
            page = blue.table("diaries").page({} if how["order"] == "n" else {"board": "news"}, after=cursor, **how)
            found += page.rows
            cursor, pages = page.cursor, pages + 1
            assert page.scanned == len(page.rows), "rows of others are not counted"
        assert sorted(row["no"] for row in found) == wanted
        assert pages == 4  # 6 + 20 rows of others, 7 a page
    with pytest.raises(LimitExceeded, match="ROWS_PASSED_MAX"):
        blue.table("diaries").select(board="news", order="no")
    monkeypatch.setattr("antiphon.model.limits.ROWS_PASSED_MAX", 2)
    with pytest.raises(LimitExceeded, match="ROWS_PASSED_MAX"):
        blue.table("diaries").rollup("diary_own_hours", writer=raw(red), since=0, until=40 * HOUR)
    assert len(red.table("posts").select()) == 9, "where all rows are everybody's none is passed over"


def test_a_cursor_says_nothing_of_the_row_that_it_stands_at(
    agents: tuple[Agent, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, green, blue = agents
    monkeypatch.setattr("antiphon.model.limits.ROWS_PASSED_MAX", 2)
    marks = [0x5AFE0000 + no for no in range(4)]
    for at in marks:
        say(green, "diary.said", "secret", no=at & 0xFF, at=at)
    page = blue.table("diaries").page({"board": "news"}, order="at", descending=True, limit=9)
    assert page.cursor is not None
    behind = base64.urlsafe_b64decode(page.cursor + "===")
    assert not any(at.to_bytes(4, "big") in behind or at.to_bytes(4, "little") in behind for at in marks)
    digest, sealed = msgspec.msgpack.decode(behind)
    made_up = [[digest, sealed[:-1] + bytes([sealed[-1] ^ 1])], [digest, b""], [digest, b"x" * 60], [b"", sealed], []]
    for forged in made_up:
        cursor = base64.urlsafe_b64encode(msgspec.msgpack.encode(forged)).rstrip(b"=").decode()
        with pytest.raises(InvalidInput, match="cursor"):
            blue.table("diaries").page({"board": "news"}, order="at", descending=True, after=cursor)
    with Fleet.create(tmp_path / "other", domains=(POOL,)) as fleet:
        other = fleet.add("red")
        say(other, "diary.said", "one")
        with pytest.raises(InvalidInput, match="of this file"):
            other.table("diaries").page({"board": "news"}, order="at", descending=True, after=page.cursor)
