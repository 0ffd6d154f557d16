"""Every example runs, warns of nothing, leaves nothing behind and prints what it says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SAYS = {
    "quickstart": ["The harbour ferry leaves at ten", "(corrected)", "forgotten: 2 events", "recall after that: []"],
    "own_domain": [
        "-> closed",
        "found: ['The export stops at 4 GB']",
        "verified: True",
        "after forgetting Bob: None [",
    ],
    "loops": [
        "refused: 20 are asked for, and the user has 10",
        "lineage: ['Watch it by night (1)', 'Watch the tide for [person 1] (0)']",
        "blessed: True by 1 agent and a guild",
        "fulfilled: fulfilled | waiting: 0",
        "drift: 0.",
    ],
    "market": [
        "import: 2 added, [(3, 'Employees')]",
        "trust in A. Meyer: 0.60",
        "bob: asked 8",
        "actual: 1000.00",
        "webhook: ['taken', 'known']",
        "forgotten: None verified: True",
    ],
    "mindmap": [
        "3 minds, mean ATP 3.0, spread 1.803",
        "'The tide floods the mill': 4 minds, resonance 0.95",
        "tide > sandbags 0.86",
        "without bob: 0.0",
    ],
    "tasks": [
        "hot: ['Survey the harbour +3-0', 'Draw the chart +1-1']",
        "controversial: ['Draw the chart +1-1', 'Survey the harbour +3-0']",
        "is claimed already",
        "exactly one has it: True",
        "complete: 2.5 dopamine, bonus {'oxytocin': 0.4}",
        "refused: that would be a circle",
    ],
    "network": [
        "ada reads: ['Two metres and rising']",
        "cyd reads: ['The river rises at the old mill'] and has 0",
        "ada trusts bob: 0.67, two months later 0.58",
        "refused: an agent has no dealings with itself",
        "the spore went ada > bob > cyd",
        "mean coherence: [41.5] without cyd's: [71.5]",
    ],
    "wisdom": [
        "resonance: [('The mill floods at spring tide', 2), ('North wind holds the tide in', 1)]",
        "cyd thinks again: [1, 1]",
        "crystal: Move the sandbags before spring tide (1, 3 agents)",
        "refused: insights: … is another agent's",
        "left: ['North wind holds the tide in']",
    ],
    "items": [
        "now: {'likes': 'oolong tea', 'cups': 3} - put 2 times",
        "tea: [('drink', 'oolong tea')]",
        "3 cups: ['drink']",
        "rows: [('drink', {'likes': 'oolong tea', 'cups': 3}), ('seat', {'likes': 'by the window'})] verified: True",
        "deleted: None ['item.put', 'item.deleted']",
        "forgotten: [] verified: True",
    ],
    "fleet": ["scout-250: sector 250 is flooded", "about Zoe: 2 events", "logs verified: 1001 of 1001"],
}
LINES_MAX = 60


def examples() -> list[Path]:
    return sorted(EXAMPLES.glob("*.py"))


def test_the_examples_are_these() -> None:
    assert {path.stem for path in examples()} == SAYS.keys()


@pytest.mark.parametrize("path", examples(), ids=lambda path: path.stem)
def test_an_example_runs(path: Path, own_home: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) < LINES_MAX
    temporary = own_home / "tmp"
    temporary.mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=temporary,
        env={**os.environ, "TMPDIR": str(temporary), "TEMP": str(temporary), "TMP": str(temporary)},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert list(temporary.iterdir()) == []
    for words in SAYS.get(path.stem, []):
        assert words in done.stdout
    assert done.stdout.strip()
