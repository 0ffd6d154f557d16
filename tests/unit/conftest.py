"""What tests of several rooms get: a world in which the domain of every rule is written and heard."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.simulation.views_world import Cast, World


@pytest.fixture
def world(people: "Cast") -> "Iterator[World]":
    """A file in which all four agents write, and two that hear of it when a test says so."""
    from tests.simulation.views_world import World  # most tests need none
    from tests.unit.views.every_rule import domain

    made = World(people, domain)
    yield made
    made.close()
