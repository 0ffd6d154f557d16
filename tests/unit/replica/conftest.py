"""What tests of this room get beside those of the others: a board of three files."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.replica.boards import Fleet


@pytest.fixture
def fleet(own_home: Path) -> Iterator[Fleet]:
    made = Fleet(own_home)
    yield made
    for agent in (made.ada, made.bob, made.cyd):
        agent.close()
