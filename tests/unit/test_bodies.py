"""What a body says too much, or too deep, is refused by name, and nothing is recorded."""

from typing import Any

import pytest

from antiphon import Agent, Fleet, InvalidInput
from antiphon.domains.tasks import Tasks
from antiphon.home import default_folder
from antiphon.model.event import Scope


def deep(levels: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for _ in range(levels):
        made = {"a": made}
    return made


@pytest.mark.parametrize("levels", [33, 200, 5_000])
def test_deep_json_is_refused(levels: int) -> None:
    with Fleet.create(default_folder()) as fleet:
        ada = fleet.add("ada")
        with pytest.raises(InvalidInput, match=r"deep|recursion"):
            Tasks(ada).create("x", bonus=deep(levels))
        with pytest.raises(InvalidInput, match=r"deep|recursion"):
            ada.record("task.created", {"title": "x", "completion_bonus": deep(levels)}, scope=Scope.PUBLIC)
        assert list(ada.log()) == []


def test_a_field_that_nothing_reads_is_refused_by_name() -> None:
    with Agent.create("ada") as ada:
        with pytest.raises(InvalidInput, match=r"stream\.noted has no field 'colour'; it has event_type, content"):
            ada.record("stream.noted", {"event_type": "woke", "colour": "red"})
        assert list(ada.log()) == []
        ada.record("stream.noted", {"event_type": "woke"})
