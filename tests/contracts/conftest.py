"""Real servers for the contract suites: one of each a session, started when it is first asked for, or named by URL.

A server that somebody named is not hurt: what `needs` more than a URL is left out there, counted and told at the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from servers import Postgres, ServerMissing, Valkey, named
from servers.places import PostgresPlace, RedisPlace

_left_out: Counter[str] = Counter()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresPlace]:
    """A PostgreSQL server, with all its extensions where it is ours."""
    if url := named.named(named.POSTGRES):
        place = PostgresPlace(url, lent=True)
        yield place
        place.close()
        return
    with Postgres() as server:
        place = PostgresPlace(server.url(), lent=False)
        yield place
        place.close()


@pytest.fixture(scope="session")
def valkey() -> Iterator[RedisPlace]:
    """A Valkey server, or a Redis."""
    if url := named.named(named.REDIS):
        place = RedisPlace(url, lent=True, shared=named.is_shared())
        yield place
        place.close()
        return
    with Valkey() as server:
        yield RedisPlace(server.url(), lent=False)


@pytest.fixture(scope="session")
def cluster() -> Iterator[RedisPlace]:
    """A Valkey that is the only node of a cluster. Left out before, or skipped, where another is named."""
    if named.named(named.REDIS):
        pytest.skip(named.NEEDS["own valkey"])
    with Valkey(slots=(0, 16_383)) as server:
        yield RedisPlace(server.url(), lent=False)


# -- what named servers cannot give ------------------------------------------------------------------------------


@cache
def _lacking() -> dict[str, str]:
    try:
        return named.lacking()
    except ServerMissing as error:
        raise pytest.UsageError(str(error)) from None


@pytest.hookimpl(trylast=True)  # what `-k` and `-m` leave is counted
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what needs more of a named server than it can give."""
    wanting = {item: [need for mark in item.iter_markers("needs") for need in mark.args] for item in items}
    unknown = {need for needs in wanting.values() for need in needs} - named.NEEDS.keys()
    if unknown:
        raise pytest.UsageError(f"no need of this name is known: {', '.join(sorted(unknown))}")
    if not any(wanting.values()):
        return
    missing = {item: [need for need in needs if need in _lacking()] for item, needs in wanting.items()}
    left_out = [item for item in items if missing[item]]
    if left_out:
        _left_out.update(_lacking()[missing[item][0]] for item in left_out)
        items[:] = [item for item in items if not missing[item]]
        config.hook.pytest_deselected(items=left_out)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker tells whoever started it, who collects nothing itself."""
    told = getattr(session.config, "workeroutput", None)
    if told is not None:
        told["left_out"] = dict(_left_out)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """All workers collect the same."""
    _left_out.update({why: count for why, count in node.workeroutput.get("left_out", {}).items() if not _left_out[why]})


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What was left out is said, with the reason."""
    if _left_out:
        terminalreporter.section("left out on servers that are named")
        for why, count in _left_out.most_common():
            terminalreporter.line(f"{count} left out: {why}")
