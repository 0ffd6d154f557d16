"""The Python of docs/engines.md runs, as it stands there, against servers that another agent's file feeds."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner

from antiphon import Agent, InvalidInput
from antiphon.cli import main
from antiphon.domains.market import Market
from antiphon.domains.tasks import Tasks
from antiphon.engines.postgres.source import PostgresSource
from antiphon.engines.redis.source import RedisRows
from antiphon.engines.sealing import SealedSource
from servers.places import PostgresPlace, RedisPlace
from tests.contracts.engines import OWN_BOTH

pytestmark = [*OWN_BOTH]  # the page has no prefix and no schema of its own
PAGE = Path(__file__).parents[2] / "docs/engines.md"
NUMBER = 11
"""A database of this Valkey that no other test uses."""


def run(what: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What the page's Python about something prints."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    capsys.readouterr()
    exec(compile(next(block for block in blocks if what in block), str(PAGE), "exec"), {})
    return capsys.readouterr().out.splitlines()


def feed(store: str, cache: str) -> None:
    for words in (("add", "store", store), ("add", "cache", cache), ("feed", "--once")):
        done = CliRunner().invoke(main, ["-a", "ada", "engines", *words])
        assert done.exit_code == 0, done.output


@pytest.fixture
def urls(own_home: Path, postgres: PostgresPlace, valkey: RedisPlace) -> tuple[str, str]:
    with contextlib.closing(redis.Redis.from_url(valkey.url(NUMBER))) as client:
        client.flushdb()
    return postgres.url(postgres.make_database("documented")), valkey.url(NUMBER)


def test_the_page_reads_what_another_agent_has_written(
    urls: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Agent.create("ada") as ada:
        Tasks(ada).create("Survey the harbour")
    feed(*urls)
    monkeypatch.setenv("STORE", urls[0])
    monkeypatch.setenv("CACHE", urls[1])
    said = run("PostgresSource(", capsys)
    assert said[0] == "Survey the harbour"
    assert said[1].startswith("Survey the harbour from the cache, at most ")
    assert said[2] == "{'process': 0, 'file': 0, 'cache': 1, 'store': 0}"


def test_the_page_says_who_is_there_and_what_has_happened(
    urls: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CACHE", urls[1])
    with Agent.create("ada") as ada:
        task = Tasks(ada).create("Survey the harbour").entity or ""
    assert run("RedisPresence(", capsys) == ["1 there", f"task.created {task.replace('-', '')}"]


def test_personal_data_is_opened_with_the_homes_keys_and_no_others(urls: tuple[str, str], own_home: Path) -> None:
    with Agent.create("ada") as ada:
        person = Market(ada).persona("Ann Meyer", email="ann@acme.com").entity
        feed(*urls)
        places = PostgresSource(urls[0], ada.tables), RedisRows(urls[1], ada.tables)
        people = ada.table("personas", source=places[0])
        (ann,) = people.select(email="ann@acme.com")
        assert (ann["name"], ann.source) == ("Ann Meyer", "store")
        assert people.get(ann["id"]).source == "store"  # type: ignore[union-attr]
        with Agent.create("bob") as bob:  # of the same home, but not one to read her
            assert bob.table("personas", source=places[0]).select(email="ann@acme.com") == []
        with pytest.raises(InvalidInput, match="unsealed"):
            places[0].row(ada.tables["personas"], _key(person), ada._reader())
        raw = places[0].row(ada.seals.table(ada.tables["personas"]), _key(person), ada._reader())
        assert raw is not None
        assert raw.values["name"] != "Ann Meyer"
        with Agent.create("eve", home=own_home / "elsewhere") as eve:
            theirs = ada.table("personas", source=SealedSource(places[0], eve.seals))
            assert theirs.select(email="ann@acme.com") == []
        for place in places:
            place.close()


def _key(entity: str) -> bytes:
    return bytes.fromhex(entity.replace("-", ""))
