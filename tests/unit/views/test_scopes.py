"""A table folds the events of its scopes, and of them alone: at once, on another replica, and when folded again."""

from itertools import chain, combinations
from pathlib import Path

import msgspec
import pytest

from antiphon import Agent, AssertRow, Column, Domain, InvalidInput, Kind, Table, Type, UpdateRow
from antiphon.model.event import Scope
from antiphon.model.table import SCOPES, SHARED_SCOPES
from antiphon.replica.homes import take_in_all

CIRCLE = bytes(16)


class Said(msgspec.Struct):
    text: str


def subsets(scopes: tuple[str, ...]) -> list[tuple[str, ...]]:
    return list(chain.from_iterable(combinations(scopes, count) for count in range(1, len(scopes) + 1)))


def _table(scopes: tuple[str, ...], *, shared: bool) -> Table:
    return Table(
        "_".join(["shared" if shared else "own", *scopes]),
        key="id",
        columns=(Column("id", Type.ID, nullable=False), Column("text", Type.TEXT)),
        scopes=scopes,
        shared=shared,
    )


TABLES = (
    *(_table(scopes, shared=False) for scopes in subsets(SCOPES)),
    *(_table(scopes, shared=True) for scopes in subsets(SHARED_SCOPES)),
)
DOMAIN = Domain(
    "scopes",
    (Kind("all.said", Said), Kind("all.changed", Said), Kind("some.said", Said)),
    TABLES,
    {
        "all.said": tuple(AssertRow(table, text="text") for table in TABLES),
        "all.changed": tuple(UpdateRow(table, text="text") for table in TABLES),
        "some.said": (AssertRow(next(one for one in TABLES if one.name == "shared_public"), text="text"),),
    },
)


def rows_of(agent: Agent) -> dict[str, set[str]]:
    return {
        table.name: {row.values["text"] for row in agent.replica.tables.select(table, {}, order="n")}
        for table in TABLES
    }


def circle_of(scope: Scope) -> bytes | None:
    return CIRCLE if scope == Scope.CIRCLE else None


def test_rows_are_of_the_scopes_that_are_declared(own_home: Path) -> None:
    with (
        Agent.create("ada", home=own_home / "one", domains=[DOMAIN]) as ada,
        Agent.create("bob", home=own_home / "two", domains=[DOMAIN]) as bob,
    ):
        for scope in Scope:
            ada.record("all.said", Said(scope.name), scope=scope, circle=circle_of(scope))
        expected = {table.name: {scope.upper() for scope in table.scopes} for table in TABLES}
        assert rows_of(ada) == expected
        with ada.replica.transaction():
            ada.replica.views.refold(ada.replica.state, "scopes", ada.replica.heads())
        assert rows_of(ada) == expected

        take_in_all(ada.replica, bob.replica)
        assert rows_of(bob) == {
            table.name: {scope.upper() for scope in table.scopes} - {"PRIVATE"} if table.shared else set()
            for table in TABLES
        }


def test_an_update_counts_where_its_scope_does(own_home: Path) -> None:
    with Agent.create("ada", home=own_home, domains=[DOMAIN]) as ada:
        for scope in Scope:
            entity = ada.record("all.said", Said(scope.name), scope=scope, circle=circle_of(scope)).entity
            ada.record("all.changed", Said("CHANGED"), entity=entity, scope=Scope.PUBLIC)
        found = rows_of(ada)
        assert found["own_private"] == {"PRIVATE"}
        assert found["own_private_circle"] == {"PRIVATE", "CIRCLE"}
        assert found["own_public"] == found["own_private_circle_public"] == found["shared_public"] == {"CHANGED"}


@pytest.mark.parametrize("scope", [Scope.PRIVATE, Scope.CIRCLE])
def test_an_event_that_no_table_would_fold_is_refused(scope: Scope, own_home: Path) -> None:
    with Agent.create("ada", home=own_home, domains=[DOMAIN]) as ada:
        said = f"a {scope.name.lower()} some.said would change nothing: shared_public folds public events alone"
        with pytest.raises(InvalidInput, match=said):
            ada.record("some.said", Said("x"), scope=scope, circle=circle_of(scope))
        ada.record("some.said", Said("x"), scope=Scope.PUBLIC)
        assert rows_of(ada)["shared_public"] == {"x"}
