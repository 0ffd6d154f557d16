"""What the demo says that people agree on is what they said, and what the tables hold."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from antiphon import Fleet
from antiphon.demo import corpus, page, seeing
from antiphon.demo.figures import Figures
from antiphon.replica.forget import Done, Forgotten, Place

SAID = "I think that the tide comes in sooner when the wind is from the north"


def run(sender: str, *texts: str) -> list[dict[str, str]]:
    return [{"text": text, "timestamp": "2018-04-23T10:00:00Z", "sender": sender} for text in texts]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    talks: dict[str, Any] = {
        "a": [run("ann", "hi", SAID), run("bob", "Exactly!", "I love sailing"), run("ann", "i like Sailing too")],
        "b": [run("cyd", "I really enjoy sailing!", "I love it"), run("dan", "I hate sailing."), run("cyd", "so true")],
        "c": [run("eve", "Is it not so that the moon does that, as far as anybody has found out?"), run("ann", "true")],
    }
    place = tmp_path / "talks.json"
    place.write_text(json.dumps({name: {"messages": runs, "ratings": {}} for name, runs in talks.items()}))
    return place


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with Fleet.create(tmp_path / "fleet") as made:
        made.add_all([f"person-{name}" for name in ("ann", "bob", "cyd", "dan", "eve")])
        yield made


def test_opinions_are_what_the_other_agreed_with_at_once(path: Path) -> None:
    opinions, likings = corpus.read_opinions(path)
    assert [(one.person, one.text, one.other, one.answer) for one in opinions] == [
        ("person-ann", SAID, "person-bob", "Exactly!")
    ]
    assert [(one.person, one.thing, one.likes) for one in likings] == [
        ("person-ann", "sailing", True), ("person-bob", "sailing", True), ("person-cyd", "sailing", True),
        ("person-dan", "sailing", False),
    ]  # fmt: skip


def test_what_is_shown_is_read_from_the_tables(path: Path, fleet: Fleet) -> None:
    opinions, likings = corpus.read_opinions(path)
    assert seeing.see(fleet, opinions, likings) == 4 + 1 + 1 + 2
    found = seeing.look(fleet, opinions, "person-eve")
    assert (found.insights, found.people, found.acknowledged, found.crystals) == (4, 3, 1, 1)
    assert found.said == [("person-ann", SAID, "person-bob", "Exactly!")]
    assert found.agreed == [seeing.Agreed("I love sailing", 3, 2, 0.75)]
    fleet.forget_agent("person-bob")
    left = seeing.look(fleet, opinions, "person-eve")
    assert (left.insights, left.acknowledged, left.agreed[0].acknowledged) == (3, 0, 1)


def test_two_are_no_quorum(path: Path, fleet: Fleet) -> None:
    _, likings = corpus.read_opinions(path)
    seeing.see(fleet, [], [one for one in likings if one.person != "person-cyd"])
    assert seeing.look(fleet, [], "person-eve").crystals == 0


def test_the_page_is_one_file_for_browsers(tmp_path: Path) -> None:
    figures = Figures(write_s=1, enrol_s=1, zstd_bytes=1, raw_bytes=1, forgotten=Forgotten([], [], []))
    figures.society.days, figures.society.rows = [(1, 2.0)], defaultdict(int)
    assert figures.forgotten is not None
    figures.forgotten.places.append(Place("log", Done.DONE, "all of it"))
    figures.seen.said = [("person-ann", "<b>[red]tides[/red]</b>", "person-bob", "x" * 200)]
    place = tmp_path / "page.html"
    page.write_html(place, figures)
    text = place.read_text("utf-8")
    assert text.startswith("<!DOCTYPE html>")
    assert "&lt;b&gt;[red]tides[/red]&lt;/b&gt;" in text, "what people said is no markup"
    assert "http" not in text
    assert "x" * 101 not in text
    console = Console(file=StringIO(), width=60)
    page.show(console, figures)
