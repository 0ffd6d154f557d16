"""After every example, whatever its domain, the tables say what the logs say: `antiphon doctor` is content."""

import runpy
from decimal import Decimal
from pathlib import Path

import pytest

from antiphon import Agent
from antiphon.domains.market import MARKET, Market, names
from antiphon.model.table import Column, Table, Type
from antiphon.ops.doctor import Finding, State
from antiphon.ops.refold import check_views
from antiphon.replica.core import Replica

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


def findings(replica: Replica) -> list[Finding]:
    return list(
        check_views(replica.registry, replica.tables, replica.mentions, replica.reader, replica.heads(), replica.views)
    )


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_tables_say_what_logs_say(
    example: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found: list[Finding] = []
    close = Replica.close

    def checking(self: Replica) -> None:
        if not self.file.read_only:
            found.extend(findings(self))
        close(self)

    monkeypatch.setattr(Replica, "close", checking)
    runpy.run_path(str(example), run_name="__main__")
    capsys.readouterr()
    assert found
    assert [(one.name, one.detail) for one in found if one.state != State.OK] == []


def test_a_deal_whose_probability_nobody_said() -> None:
    """Its default is declared as text: it is that number, wherever the row comes from."""
    with Agent.create("ada", domains=[MARKET]) as agent:
        market = Market(agent)
        deal = market.opportunity("Oats", 100).entity
        market.persona("Ann", email="ann@x.org", role="buyer")
        market.move(deal, "proposal")
        market.change(deal, next_steps="call")
        (row,) = agent.table(names.OPPORTUNITIES).every({"stage": "proposal"})
        assert (type(row["probability"]), row["weighted_value"]) == (Decimal, Decimal("10.00"))
        assert [one.detail for one in findings(agent.replica) if one.state != State.OK] == []


def test_defaults_are_in_the_form_of_their_type() -> None:
    columns = (
        Column("id", Type.ID, nullable=False), Column("share", Type.DECIMAL, default="0.1", scale=2),
        Column("count", Type.DECIMAL, default=3), Column("tags", Type.SET, of=Type.TEXT, default=["b", "a", "b"]),
        Column("day", Type.DATE, default="2026-11-21"), Column("rest", Type.TEXT),
    )  # fmt: skip
    made = Table("things", key="id", columns=columns)
    assert [str(made.defaults["share"]), str(made.defaults["count"])] == ["0.10", "3.000000"]
    assert (made.defaults["tags"], made.defaults["day"].year, made.defaults["rest"]) == (["a", "b"], 2026, None)
