"""Room `domains` (imports `views` and below): the tables of deals: opportunities, forecasts, and what was won.

A deal's home decides its stage and whose it is; its author says the rest. A deal that is won counts in the forecasts of
the home's agent for its week, month, quarter and year; one that is opened again does not.
"""

from __future__ import annotations

from typing import Final

from antiphon.domains.market import names
from antiphon.domains.market.parties import COUNT, LIST, NAME, SHARE
from antiphon.model.places import Edge, Places, Relational
from antiphon.model.table import ANYONE, READ_ALL, Check, Column, Derived, Index, Merge, Table, Type

DECIDED: Final = Merge.DECIDED

OPPORTUNITIES_TABLE: Final = Table(
    names.OPPORTUNITIES,
    key="id",
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("name", Type.TEXT, nullable=False, check=NAME),
        Column("name_key", Type.TEXT, doc="the name without case, accents and points"),
        Column("company_id", Type.ID, references="food_companies.id"),
        Column("contact_persona_id", Type.ID, references="personas.id"),
        Column("stage", Type.ENUM, default=names.OPEN[0], values=names.STAGES, merge=DECIDED),
        Column("value", Type.DECIMAL, nullable=False, scale=2, check=COUNT),
        Column("probability", Type.DECIMAL, default="0.1", check=SHARE),
        Column("weighted_value", Type.DECIMAL, scale=2, derived=Derived("product", of=("value", "probability"))),
        Column("created_date", Type.DATE),
        Column("close_date", Type.DATE, doc="expected"),
        Column("closed_on", Type.DATE, merge=DECIDED, doc="when it was won or lost"),
        Column("stage_since", Type.TIMESTAMP, merge=DECIDED),
        Column("velocity_score", Type.DECIMAL, merge=DECIDED,
               doc="stages passed in 30 days, from its creation to its last move"),
        Column("owner_agent", Type.AGENT, merge=DECIDED, references="agents.id"),
        Column("support_agents", Type.SET, of=Type.AGENT, default=[], merge=DECIDED, check=LIST),
        Column("competitor_analysis", Type.JSON),
        Column("decision_criteria", Type.JSON),
        Column("blockers", Type.LIST, of=Type.TEXT, check=LIST),
        Column("next_steps", Type.TEXT, check=Check(length_max=names.LONG_TEXT_MAX)),
        Column("source", Type.TEXT, check=NAME, doc="inbound, outbound, referral, specter, …"),
        Column("campaign", Type.TEXT, check=NAME),
        Column("created_by", Type.AGENT, nullable=False, merge=Merge.ONCE),
        Column("created_at", Type.TIMESTAMP, nullable=False, merge=Merge.ONCE),
        Column("updated_at", Type.TIMESTAMP),
        Column("field_times", Type.MAP, of=Type.TIMESTAMP, default={},
               doc="since when each field has its value, at its source"),
        Column("home", Type.LOG, nullable=False, merge=Merge.ONCE, doc="the log that decides"),
    ),
    indexes=(
        Index(("home", "name_key")),
        Index(("stage", "value")),
        Index(("owner_agent", "stage")),
        Index(("company_id",)),
    ),
    shared=True,
    access=READ_ALL,
    home="home",
    places=Places(relational=Relational(hash=("id",), partitions=16)),
    doc="Deals, from the first call to the signature.",
)  # fmt: skip

_OF_VALUE: Final = ("task_id", "company_id")
VALUES_TABLE: Final = Table(
    names.VALUES,
    key=(*_OF_VALUE, "agent_id"),
    columns=(
        Column("task_id", Type.ID, nullable=False, references="tasks.id"),
        Column("company_id", Type.ID, nullable=False, references="food_companies.id"),
        Column("agent_id", Type.AGENT, nullable=False, doc="who says so"),
        Column("amount", Type.DECIMAL, nullable=False, scale=2, check=COUNT),
        Column("said", Type.INTEGER, nullable=False, default=1, check=Check(least=1, most=1),
               doc="1: by it `generated_values` knows that somebody says so"),
        Column("said_at", Type.TIMESTAMP),
    ),
    indexes=(Index(("agent_id", "said_at")),),
    shared=True,
    access=READ_ALL,
    places=Places(relational=Relational(hash=("task_id",), partitions=16)),
    doc="What tasks have brought from companies: each agent's own word.",
)  # fmt: skip

GENERATED_TABLE: Final = Table(
    names.GENERATED,
    key=_OF_VALUE,
    columns=(
        Column("task_id", Type.ID, nullable=False, references="tasks.id"),
        Column("company_id", Type.ID, nullable=False, references="food_companies.id"),
        Column("amount", Type.DECIMAL, scale=2, derived=Derived("max", names.VALUES, "amount", _OF_VALUE),
               doc="the most that is said: several words about one value do not add up"),
        Column("said", Type.INTEGER, derived=Derived("max", names.VALUES, "said", _OF_VALUE),
               doc="1 while somebody says so, else null"),
    ),
    indexes=(Index(("company_id",)),),
    writers=ANYONE,
    shared=True,
    access=READ_ALL,
    places=Places(
        relational=Relational(hash=("task_id",), partitions=16),
        edges=(Edge("GENERATES_VALUE", "task_id", "company_id", "Task", "Company", ("amount",), where=("said", 1)),),
    ),
    doc="What tasks have brought from companies, once for all that agents say of two. All of it is counted.",
)  # fmt: skip

ACTUALS_TABLE: Final = Table(
    names.ACTUALS,
    key=("forecast_id", "decided_by", "opportunity_id"),
    columns=(
        Column("forecast_id", Type.ID, nullable=False, references="revenue_forecast.id"),
        Column("decided_by", Type.AGENT, nullable=False, doc="the home's agent: a book's word counts for its own"),
        Column("opportunity_id", Type.ID, nullable=False, references="opportunities.id"),
        Column("amount", Type.DECIMAL, nullable=False, scale=2),
        Column("closed_on", Type.DATE),
    ),
    indexes=(Index(("opportunity_id",)),),
    shared=True,
    access=READ_ALL,
    places=Places(relational=Relational(hash=("forecast_id",), partitions=16)),
    doc="Which deal that was won counts in which period.",
)

FORECASTS_TABLE: Final = Table(
    names.FORECASTS,
    key="id",
    minted=False,
    columns=(
        Column("id", Type.ID, nullable=False, doc="a hash of the agent and the period"),
        Column("agent_id", Type.AGENT, nullable=False),
        Column("period_start", Type.DATE, nullable=False),
        Column("period_end", Type.DATE, nullable=False),
        Column("base_case", Type.DECIMAL, scale=2),
        Column("best_case", Type.DECIMAL, scale=2),
        Column("worst_case", Type.DECIMAL, scale=2),
        Column("ml_prediction", Type.DECIMAL, scale=2),
        Column("actual_revenue", Type.DECIMAL, scale=2, default=0,
               derived=Derived("sum", names.ACTUALS, "amount", match=("forecast_id",))),
        Column("confidence_interval", Type.JSON),
        Column("model_accuracy", Type.DECIMAL, check=SHARE),
        Column("created_at", Type.TIMESTAMP),
    ),
    indexes=(Index(("agent_id", "period_start")), Index(("period_start", "period_end"))),
    writers=ANYONE,
    shared=True,
    access=READ_ALL,
    places=Places(relational=Relational(hash=("id",), partitions=16)),
    doc="What agents expect of a period, and what came of it. Its id is of its agent, so nobody writes another's.",
)  # fmt: skip
