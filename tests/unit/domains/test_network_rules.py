"""Rules of declarations that the network stands on: where figures may look, who owns a pair, what an index has."""

import msgspec
import pytest

from antiphon import Agent, AssertRow, Column, Domain, Index, InvalidInput, Kind, Table, Type
from antiphon.domains.network import NETWORK
from antiphon.domains.network.agents import AGENTS
from antiphon.engines.sqlite.tables import ddl
from antiphon.model.event import Scope
from antiphon.model.places import Places, Wide
from antiphon.model.table import Derived, owners
from antiphon.model.text import parse_id
from antiphon.views.domain import Op, Registry, Write
from antiphon.views.merge import Placed, merge

A, B, C = (bytes([at]) * 32 for at in (1, 2, 3))


def pairs(*, shard: tuple[str, ...] = (), source: tuple[str, ...] = ()) -> Registry:
    """Links, and how often the two met."""
    key = (Column("one", Type.AGENT, nullable=False), Column("other", Type.AGENT, nullable=False))
    met = Table(
        "met", key=("one", "other", "at"), columns=(*key, Column("at", Type.TIMESTAMP, nullable=False)), shard=source
    )
    times = Column("times", Type.INTEGER, derived=Derived("count", "met", match=("one", "other")))
    links = Table("links", key=("one", "other"), columns=(*key, times), shard=shard)
    return Registry([Domain("pairs", (), (met, links))])


def test_figures_look_at_rows_that_are_placed_as_they_are() -> None:
    for by in (("one",), ("other",), ("one", "other")):
        assert pairs(shard=by, source=by).sources.keys() == {"met"}
    with pytest.raises(InvalidInput, match="could be in another file"):
        pairs(shard=("one",), source=("other",))
    with pytest.raises(InvalidInput, match="could be in another file"):
        pairs(shard=("other", "one"), source=("one", "other"))


def test_figures_of_a_row_are_by_its_whole_key() -> None:
    times = Column("times", Type.INTEGER, derived=Derived("count", "met", match=("one",)))
    with pytest.raises(InvalidInput, match="`match` has a column of 'met' for each of one, other"):
        Table("links", key=("one", "other"), columns=(Column("one", Type.AGENT), Column("other", Type.AGENT), times))


PAIR = Table(
    "pair",
    key=("one", "other"),
    columns=(Column("one", Type.AGENT), Column("other", Type.AGENT), Column("text", Type.TEXT)),
    writers=owners("one", "other"),
    shared=True,
)


@pytest.mark.parametrize(("author", "counts"), [(A, True), (B, True), (C, False)])
@pytest.mark.parametrize("op", [Op.ASSERT, Op.UPDATE])
def test_who_a_key_names_owns_the_row_before_it_is_there(author: bytes, counts: bool, op: Op) -> None:
    key = msgspec.msgpack.encode([A, B])
    named = {"one": A, "other": B} if op == Op.ASSERT else {}
    first = Placed(1, author, 1, Write("pair", key, op, {**named, "text": "x"}), 0, author)
    second = Placed(2, A, 2, Write("pair", key, Op.ASSERT, {"one": A, "other": B}), 0, A)
    outcome = merge(PAIR, [second, first], named=A)
    assert outcome.row is not None
    assert outcome.row.values == (A, B, "x" if counts else None)
    assert [one.rule for one in outcome.refused] == ([] if counts else ["writers"])


def test_an_index_over_rows_without_a_value() -> None:
    statement = next(one for one in ddl(AGENTS) if "decommissioned_at" in one and "CREATE INDEX" in one)
    assert statement.endswith('WHERE "decommissioned_at" IS NULL')
    with Agent.create("ada") as ada:
        ada.record("agent.enlisted", {"codename": "A"}, scope=Scope.PUBLIC)
        now = ada.record("agent.heartbeat", {}, scope=Scope.PUBLIC).recorded_ms
        agents = ada.table("agents")
        there = {"decommissioned_at": None, "last_heartbeat": now}
        assert [row["codename"] for row in agents.select(**there)] == ["A"]
        ada.record("agent.decommissioned", {}, scope=Scope.PUBLIC)
        assert agents.select(**there) == []


def test_a_wide_place_clusters_by_what_the_event_that_made_the_row_said() -> None:
    columns = (Column("id", Type.ID, nullable=False), Column("at", Type.TIMESTAMP))
    wide = Places(wide=Wide((), ("-at", "id"), bucket_of="at"))
    assert Table("seeds", key="id", columns=columns, places=wide).minted
    with pytest.raises(InvalidInput, match="'at' in the primary key"):
        Table("seeds", key="id", columns=columns, places=wide, minted=False)
    with pytest.raises(InvalidInput, match="'at' in the primary key"):
        Table("seeds", key="id", columns=columns, places=Places(wide=Wide(("at",), ("id",))))


def test_a_map_may_have_a_default() -> None:
    table = Table(
        "levels", key="id", columns=(Column("id", Type.ID), Column("m", Type.MAP, of=Type.REAL, default={"a": 1}))
    )
    assert table.column("m").default == {"a": 1}


def test_a_beta_mean_is_of_two_numbers() -> None:
    columns = (Column("id", Type.ID), Column("b", Type.REAL, derived=Derived("beta", of=("id", "id"))))
    with pytest.raises(InvalidInput, match="beta is of numbers"):
        Table("means", key="id", columns=columns)


class Met(msgspec.Struct):
    peer: bytes


MET = Table(
    "met",
    key=("one", "other"),
    columns=(Column("one", Type.AGENT, nullable=False), Column("other", Type.AGENT, nullable=False)),
    shared=True,
    indexes=(Index(("other",)),),
)


def test_a_fold_between_two_refuses_one() -> None:
    fold = AssertRow(MET, one="@author", other="peer").between("one", "other")
    domain = Domain("met", (Kind("agent.met", Met),), (MET,), {"agent.met": (fold,)})
    with Agent.create("ada", domains=[domain]) as ada:
        ada.record("agent.met", Met(B), scope=Scope.PUBLIC)
        with pytest.raises(InvalidInput, match="one and other are the same"):
            ada.record("agent.met", Met(parse_id(ada.id)), scope=Scope.PUBLIC)
        assert len(ada.table("met").select(one=parse_id(ada.id))) == 1


def test_an_agent_with_rows_of_composite_keys_is_read_and_written_by_entity_as_before() -> None:
    with Agent.create("ada") as ada:
        ada.record("connection.noted", {"peer": B})
        kept = ada.remember("amber")
        assert (ada.get(kept.entity or "") or {})["content"] == "amber"
        ada.record("memory.updated", {"text": "birch"}, entity=kept.entity)
        assert (ada.get(kept.entity or "") or {})["content"] == "birch"
        assert ada.get("00000000-0000-7000-8000-000000000000") is None


@pytest.mark.parametrize(("scope", "circle"), [(Scope.CIRCLE, None), (Scope.PUBLIC, bytes(16)), (Scope.CIRCLE, b"x")])
def test_a_circle_goes_with_its_scope(scope: Scope, circle: bytes | None) -> None:
    with Agent.create("ada", domains=[NETWORK]) as ada, pytest.raises(InvalidInput, match="circle"):
        ada.record("topic.subscribed", {"topic": "t"}, scope=scope, circle=circle)
