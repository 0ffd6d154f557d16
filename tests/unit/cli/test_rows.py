"""`antiphon rows`: what is asked for, what is shown, what is refused."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result

from antiphon import Agent, Column, InvalidInput, Table, Type
from antiphon.cli import main
from antiphon.cli.rows import asked
from antiphon.query.plan import Range
from antiphon.query.shown import as_plain, from_text

Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    with Agent.create("ada") as ada:
        for no in range(3):
            ada.remember(f"tea\t{no}", type="chat", occurred=no * 1_000)

    def call(*args: str, code: int = 0) -> Result:
        result = CliRunner().invoke(main, args)
        assert result.exit_code == code, result.output
        return result

    return call


def answer(result: Result) -> Any:
    return json.loads(result.stdout)


def test_rows_page_by_page(run: Run) -> None:
    first = answer(run("rows", "memories", "--order", "timestamp", "--limit", "2", "--json"))
    assert [row["timestamp"] for row in first["rows"]] == [0, 1_000]
    assert first["by"] == "(timestamp)"
    rest = answer(run("rows", "memories", "--order", "timestamp", "--after", first["cursor"], "--json"))
    assert ([row["timestamp"] for row in rest["rows"]], rest["cursor"]) == ([2_000], None)
    shown = answer(run("rows", "memories", "--where", f"id={first['rows'][0]['id']}", "--json"))
    assert shown["rows"] == first["rows"][:1], "an id can be typed as it was shown"


def test_conditions_and_lines(run: Run) -> None:
    lines = run("rows", "memories", "--where", "type=chat", "--where", "timestamp>=1970-01-01T00:00:01Z", "--desc")
    head, *rows = lines.stdout.splitlines()
    assert head.split("\t")[:3] == ["id", "timestamp", "type"]
    assert len(rows) == 2
    assert "there are more: --after" in run("rows", "memories", "--limit", "1").stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["nothing"], "no domain declares"),
        (["memories", "--where", "namespace=x"], "no index serves namespace"),
        (["memories", "--where", "nothing"], "no condition"),
        (["memories", "--where", "nothing=1"], "no column 'nothing'"),
        (["memories", "--where", "compressed=maybe"], "boolean"),
        (["memories", "--where", "type=a", "--where", "type=b"], "said twice"),
        (["memories", "--where", "timestamp>1", "--where", "significance>0"], "a range of one column"),
        (["memories", "--order", "content"], "no order by 'content'"),
        (["memories", "--after", "x"], "no cursor"),
        (["memories", "--limit", "0"], "--limit"),
    ],
)
def test_what_is_refused(run: Run, args: list[str], said: str) -> None:
    assert said in run("rows", *args, code=2).stderr


TYPES = Table(
    "typed",
    key="id",
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("word", Type.TEXT),
        Column("sort", Type.ENUM, values=("a", "b")),
        Column("whole", Type.INTEGER),
        Column("real", Type.REAL),
        Column("price", Type.DECIMAL, precision=6, scale=2),
        Column("yes", Type.BOOLEAN),
        Column("day", Type.DATE),
        Column("raw", Type.BYTES),
        Column("who", Type.AGENT),
        Column("peers", Type.SET, of=Type.AGENT),
        Column("named", Type.MAP, of=Type.PERSON),
    ),
)


def test_every_type_is_typed_as_it_is_shown() -> None:
    from antiphon.model.values import canonical

    values: dict[str, Any] = {
        "id": bytes(16), "word": "null", "sort": "b", "whole": -7, "real": 0.5, "price": "1.50", "yes": True,
        "day": "2025-01-31", "raw": b"\0\1", "who": bytes(32),
    }  # fmt: skip
    row = {name: canonical(TYPES.column(name), value) for name, value in values.items()}
    shown = json.loads(__import__("msgspec").json.encode(as_plain(TYPES, row)))
    for name, value in row.items():
        text = shown[name] if isinstance(shown[name], str) else json.dumps(shown[name])
        assert canonical(TYPES.column(name), from_text(TYPES.column(name), text)) == value
    assert from_text(TYPES.column("whole"), "null") is None
    assert from_text(TYPES.column("sort"), "null") is None
    plain = as_plain(TYPES, {"peers": [bytes(32)], "named": {"x": bytes(16)}})
    assert plain["peers"][0].startswith("b")
    assert plain["named"]["x"].count("-") == 4
    for name, wrong in (("whole", "x"), ("real", "x"), ("raw", "%"), ("who", "x"), ("id", "x"), ("peers", "{")):
        with pytest.raises(InvalidInput):
            from_text(TYPES.column(name), wrong)


def test_both_ends_of_a_range() -> None:
    equal, within = asked(TYPES, ["whole>=1", "whole < 5", "word= a=b "])
    assert (equal, within) == ({"word": "a=b"}, Range("whole", least=1, under=5))


def test_an_order_by_no_column_is_answered_with_the_orders_there_are(run: Run) -> None:
    said = run("rows", "memories", "--order", "nonsense", code=2).stderr
    assert "has no column 'nonsense' to order by; its orders are the key (id)" in said
    assert "the order of making (n)" in said
