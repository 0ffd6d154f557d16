"""Real servers for the contract suites: one of each a session, started when it is first asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from servers import Postgres, Valkey


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server with all its extensions."""
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def valkey() -> Iterator[Valkey]:
    """A Valkey server."""
    with Valkey() as server:
        yield server


@pytest.fixture(scope="session")
def cluster() -> Iterator[Valkey]:
    """A Valkey that is the only node of a cluster."""
    with Valkey(slots=(0, 16_383)) as server:
        yield server
