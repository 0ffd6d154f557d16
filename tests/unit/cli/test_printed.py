"""Formulas and conditions are printed as they are counted."""

from antiphon.domains.network.agents import AGENTS
from antiphon.domains.tasks.declare import TASKS_TABLE
from antiphon.model.printed import derived_text, facts_of, notes_of
from antiphon.model.table import Derived


def test_each_formula_of_two_columns_is_told_apart() -> None:
    said = {function: derived_text(Derived(function, of=("a", "b"))) for function in ("ratio", "product", "beta")}
    assert said == {"ratio": "a / b", "product": "a × b", "beta": "(1 + a) / (2 + a + b)"}
    (trust,) = [note for note in notes_of(AGENTS, AGENTS.column("trust_coefficient")) if "derived" in note]
    assert trust == "derived: (1 + times_trusted) / (2 + times_trusted + times_failed)"


def test_a_condition_on_nothing_is_null() -> None:
    assert ("index", "last_heartbeat, where decommissioned_at is null") in list(facts_of(AGENTS))
    assert "names the home" in notes_of(TASKS_TABLE, TASKS_TABLE.column("home"))
