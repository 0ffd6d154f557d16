"""The Python of pages that are guides runs as it stands there, in a home of its own."""

import re
from pathlib import Path

import pytest

from antiphon.domains import BUILT_IN

DOCS = Path(__file__).parents[2] / "docs"
SAYS = {
    "fleets": [
        "['Watch it by night', 'Watch the tide for [person 1]'] 0.0",
        "5.0 [] 1",
    ],
}


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (DOCS / f"{page}.md").read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", SAYS)
def test_the_python_of_a_page_runs(page: str, own_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = blocks(page)
    assert len(found) == len(SAYS[page])
    for block, says in zip(found, SAYS[page], strict=True):
        exec(compile(block, f"docs/{page}.md", "exec"), {})
        assert capsys.readouterr().out.strip() == says


def test_the_first_page_names_every_domain_of_a_home_and_a_story_of_each() -> None:
    page = (DOCS.parent / "README.md").read_text("utf-8")
    listed = page[page.index("## What every home can keep") : page.index("## What it does not do yet")]
    rows = re.findall(r"^\| (\w+) \| .* \| \[\w+\]\((examples/\w+\.py)\) \|$", listed, re.MULTILINE)
    assert sorted(name for name, _ in rows) == sorted(domain.name for domain in BUILT_IN)
    for name, story in rows:
        assert (DOCS.parent / story).is_file()
        assert Path(story).stem in (name, "quickstart")
