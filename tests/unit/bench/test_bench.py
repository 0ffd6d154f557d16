"""Every benchmark runs at a tiny size, and what it prints has the keys that others read."""

import io
import json
import math
from collections.abc import Iterator

import pytest

import bench.__main__ as command
from bench import board, coherence, commit, links, live, network, point_read, register, size, start, tables
from bench.figures import Figure, Size, alternate, as_markdown, as_table, figure

KEYS = {"name", "value", "unit", "baseline", "ratio", "target", "met", "runs"}
TINY = Size(rounds=1, scale=0.01)


def _sound(one: Figure) -> None:
    assert one.value is not None
    assert math.isfinite(one.value)
    assert one.value > 0
    assert one.runs["count"] >= 1
    assert one.runs["min"] <= one.value <= one.runs["max"]
    if one.baseline is not None:
        assert one.ratio == pytest.approx(one.value / one.baseline, rel=1e-3)
    assert (one.met is None) == (one.target == "reported")


@pytest.mark.parametrize(
    ("run", "figures"),
    [
        (commit.run, 23), (point_read.run, 5), (start.run, 5), (links.run, 2), (coherence.run, 2), (register.run, 1),
        (tables.run, 7), (live.run, 11), (network.run, 6), (board.run, 4),
    ],
)  # fmt: skip
def test_a_benchmark_runs_at_a_tiny_size(run, figures) -> None:
    found = list(run(TINY))
    assert len(found) == figures
    assert len({one.name for one in found}) == figures
    for one in found:
        _sound(one)


def test_sizes_of_a_small_part_of_the_corpus() -> None:
    pytest.importorskip("chitchat_dataset")
    found = list(size.run(TINY))
    assert len(found) == 7
    for one in found:
        _sound(one)


def test_the_command_prints_one_json_object_a_figure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(_: Size) -> Iterator[Figure]:
        yield figure("a", "s", [1.0, 3.0, 2.0], [4.0], target="≤ 1×", ratio_max=1)
        yield figure("b", "s", [1.0], target="≥ 2", value_min=2)

    monkeypatch.setattr(start, "run", run)
    assert command.main(["start", "--json"]) == 1  # b has missed its target
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [set(line) for line in lines] == [KEYS, KEYS]
    assert lines[0]["value"] == 2
    assert lines[0]["ratio"] == 0.5
    assert lines[0]["met"] is True
    assert lines[1]["met"] is False


def test_an_unknown_benchmark_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["nothing"])
    assert "choose from commit, read, start, size" in capsys.readouterr().err


def test_contestants_take_turns_and_the_first_round_does_not_count() -> None:
    order: list[str] = []

    def turn(name: str) -> float:
        order.append(name)
        return float(len(order))

    found = alternate({"a": lambda: turn("a"), "b": lambda: turn("b")}, 2)
    assert order == ["a", "b"] * 3
    assert found == {"a": [3.0, 5.0], "b": [4.0, 6.0]}


def test_a_figure_meets_its_target_only_within_every_limit() -> None:
    assert figure("a", "s", [2.0], [1.0], target="x", value_min=2, ratio_min=3).met is False
    assert figure("a", "s", [3.0], [1.0], target="x", value_min=2, ratio_min=3).met is True
    assert figure("a", "s", [], target="x", value_min=2).met is False
    assert "missed" in as_markdown([figure("a", "s", [1.0], target="x", value_min=2)])


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_is_readable_where_it_is_narrow(width: int) -> None:
    from rich.console import Console

    name, target = "commit, one view, batches of 1,000, against eventsourcing's application", "≥ 90,000/s and ≥ 0.8×"
    rates = [85_121.0, 75_893.0, 99_545.0]
    shown = [figure(name, "events/s", rates, [223_130.0], target=target, ratio_min=0.8), figure("short", "ms", [1.0])]
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(as_table(shown))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= width
    for whole in ("85,121 events/s", "75,893 to 99,545", "223,130", "0.382×", "missed", f"target {target}"):
        assert any(whole in line for line in lines), whole
