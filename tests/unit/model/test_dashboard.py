"""Dashboards as data: what contradicts itself, or the tables, is refused by name; all of it is printed."""

from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from antiphon import Column, Domain, InvalidInput, Table, Type
from antiphon.cli import main
from antiphon.domains import BUILT_IN
from antiphon.domains.dashboards import DASHBOARDS, FEDERATION_DASHBOARD
from antiphon.model.dashboard import CONDITIONS_MAX, FIGURES_MAX, Condition, Dashboard, Figure, equal, newer, unlike
from antiphon.model.places import DAY_MS
from antiphon.model.printed import facts_of_dashboard, figure_text
from antiphon.model.table import Derived
from antiphon.views.domain import Registry

DEALS = Table(
    "deals",
    key="id",
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("value", Type.DECIMAL),
        Column("share", Type.DECIMAL),
        Column("weighted", Type.DECIMAL, derived=Derived("product", of=("value", "share"))),
        Column("stage", Type.ENUM, values=("open", "won", "lost"), nullable=False),
        Column("owner", Type.TEXT),
        Column("name", Type.TEXT, pii=True),
        Column("at", Type.TIMESTAMP),
        Column("seen", Type.TIMESTAMP),
    ),
)


def over(*figures: Figure, name: str = "figures", **how: Any) -> Registry:
    return Registry([Domain("dealing", (), (DEALS,), dashboards=(Dashboard(name, figures), *how.values()))])


COUNT = Figure("deals", "count", "deals")


def of(function: str = "sum", column: str = "value", **how: Any) -> Figure:
    return Figure("one", function, "deals", column, **how)


ITSELF = {
    "name": ((), {"name": "Figures!"}, "its name must be lower-case"),
    "none": ((), {}, "it has 0 figures, not 1 to FIGURES_MAX"),
    "many": ([Figure(f"f{n}", "count", "deals") for n in range(FIGURES_MAX + 1)], {}, "it has 65 figures"),
    "reserved": ([Figure("as_of", "count", "deals")], {}, "figure 'as_of' has a name that is reserved"),
    "twice": ([COUNT, COUNT], {}, "figure 'deals' is declared twice"),
    "function": ([of("median")], {}, "figure 'one' is a 'median'; there are count, sum"),
    "count of a column": ([of("count")], {}, "a count is of rows, everything else of a column"),
    "sum of rows": ([of(column="")], {}, "a count is of rows, everything else of a column"),
    "latest by nothing": ([of("latest")], {}, "the latest is by a time, and nothing else is"),
    "sum by a time": ([of(by="at")], {}, "the latest is by a time, and nothing else is"),
    "latest of groups": ([of("latest", by="at", group="stage")], {}, "the latest has no group"),
    "conditions": ([of(where=(equal("owner", "a"),) * (CONDITIONS_MAX + 1))], {}, "over CONDITIONS_MAX"),
    "two times": ([of(where=(newer("at", 1), newer("seen", 1)))], {}, "is bounded by time twice"),
    "two bounds": ([of(where=(newer("at", 1), newer("at", 2)))], {}, "is bounded by time twice"),
    "latest and another time": ([of("latest", by="at", where=(newer("seen", 1),))], {}, "is bounded by time twice"),
}
JOINED = {
    "table": (Figure("one", "count", "dealz"), "is of 'dealz', which is no table"),
    "column": (of(column="worth"), "is of deals.worth, which is no column"),
    "condition": (of(where=(equal("state", 1),)), "is of deals.state, which is no column"),
    "text": (of(column="owner"), "needs a number, and deals.owner is of type text"),
    "by a text": (of("latest", by="owner"), "needs a time, and deals.owner is of type text"),
    "by groups of text": (of(group="owner"), "needs an enum, and deals.owner is of type text"),
    "personal": (of(where=(equal("name", "Ann"),)), "deals.name, which is personal data"),
    "not stored": (of(where=(equal("weighted", 1),)), "deals.weighted, which is not kept with the row"),
    "value": (of(where=(equal("stage", "shut"),)), "asks for a value that is never there: column 'stage' is one of"),
    "never null": (of(where=(equal("stage", None),)), "asks for a value that is never there: column 'stage' must have"),
    "type": (of(where=(equal("value", 1),)), "compares deals.value, which is of type decimal"),
    "unlike text": (of(where=(unlike("owner", "a"),)), "leaves out values of deals.owner, which is of type text"),
    "unlike all": (of(where=(unlike("stage", "open", "won", "lost"),)), "leaves out 'open', 'won', 'lost' of"),
    "unlike none": (of(where=(unlike("stage"),)), "all of it, nothing, or no value"),
    "newer text": (of(where=(newer("owner", 1),)), "bounds deals.owner, which is of type text, by time"),
    "newer than now": (of(where=(newer("at", 0),)), "by 0 ms: it must be more than nothing"),
    "condition of no kind": (of(where=(Condition("owner", "like", ("a",)),)), "has a condition 'like' on deals.owner"),
}  # fmt: skip


@pytest.mark.parametrize("what", ITSELF)
def test_what_contradicts_itself_is_refused(what: str) -> None:
    figures, how, said = ITSELF[what]
    with pytest.raises(InvalidInput, match=f"dashboard '.*': .*{said}"):
        Dashboard(how.get("name", "figures"), tuple(figures))


@pytest.mark.parametrize("what", JOINED)
def test_what_contradicts_the_tables_is_refused_by_name(what: str) -> None:
    figure, said = JOINED[what]
    with pytest.raises(InvalidInput, match=f"dashboard 'figures': figure 'one' .*{said}"):
        over(figure)


def test_a_name_means_one_thing() -> None:
    with pytest.raises(InvalidInput, match="dashboard 'deals' has the name of a table"):
        over(COUNT, name="deals")
    with pytest.raises(InvalidInput, match="two dashboards are named 'figures'"):
        over(COUNT, other=Dashboard("figures", (COUNT,)))


def test_a_sum_may_be_of_what_is_computed_when_it_is_read() -> None:
    registry = over(of(column="weighted", where=(unlike("stage", "lost"),), group="stage"))
    (figure,) = registry.dashboards["figures"].figures
    assert figure.values_of(DEALS, "stage") == ("open", "won")
    assert figure.range is None


def test_a_fingerprint_changes_with_anything_that_is_declared() -> None:
    some = (COUNT, of(), of(doc="why"), of(where=(equal("owner", "a"),)), of(where=(equal("owner", "b"),)))
    made = [Dashboard("figures", (figure,)).fingerprint for figure in some]
    assert len(set(made)) == len(some)
    assert (
        Dashboard("figures", (COUNT,), doc="why").fingerprint != made[0] == Dashboard("figures", (COUNT,)).fingerprint
    )


def test_a_dashboard_is_printed_whole() -> None:
    facts = dict(facts_of_dashboard(FEDERATION_DASHBOARD))
    assert facts == {
        "total_agents": "count of rows of agents, where decommissioned_at is null",
        "avg_trust": "mean of agents.trust_coefficient, where decommissioned_at is null",
        "tasks_24h": 'count of rows of tasks, where status is "complete", where completed_at is in the last 1 d',
        "pipeline_value": 'sum of opportunities.weighted_value, where stage is not "closed_lost"',
        "pipeline_by_stage": 'sum of opportunities.weighted_value, where stage is not "closed_lost", for each stage',
        "current_consciousness": "latest of consciousness_timeline.global_consciousness by time (where several agents "
        "reported at one time, the mean of what they said)",
        "fingerprint": FEDERATION_DASHBOARD.fingerprint,
    }
    assert figure_text(of(where=(newer("at", DAY_MS),))) == "sum of deals.value, where at is in the last 1 d"


def test_the_command_line_shows_it_and_the_view_it_becomes() -> None:
    def call(*args: str) -> str:
        result = CliRunner().invoke(main, ["tables", "federation_dashboard", *args])
        assert result.exit_code == 0, result.output
        return result.stdout

    shown = call()
    assert all(text in shown for _, text in facts_of_dashboard(FEDERATION_DASHBOARD))
    told = msgspec.json.decode(call("--json"))
    assert told.pop("fingerprint") == FEDERATION_DASHBOARD.fingerprint
    assert told == msgspec.json.decode(msgspec.json.encode(FEDERATION_DASHBOARD))
    made = call("--ddl", "postgres")
    assert 'CREATE MATERIALIZED VIEW "antiphon"."federation_dashboard" AS' in made
    assert 'TO "antiphon_monitor"' in made
    assert call("--ddl", "sqlite") == ""


def test_the_built_in_ones_fit_the_built_in_tables() -> None:
    assert set(Registry(BUILT_IN, dashboards=DASHBOARDS).dashboards) == {"federation_dashboard"}
