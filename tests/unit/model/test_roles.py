"""Writers by role, declared: what is refused, what is printed, and what stays as it was."""

from typing import Any

import msgspec
import pytest

from antiphon import Column, InvalidInput, Table, Type
from antiphon.model.printed import facts_of, notes_of, writers_text
from antiphon.model.table import ANYONE, AUTHOR, Merge, Writers, owners, role


def table(writers: Writers, *, key: Any = ("agent", "name"), column: Writers | None = None, **more: Any) -> Table:
    columns = (
        Column("id", Type.ID, nullable=False), Column("agent", Type.AGENT, nullable=False),
        Column("other", Type.AGENT), Column("name", Type.TEXT), Column("level", Type.INTEGER, writers=column),
    )  # fmt: skip
    return Table("alarms", key, columns, writers=writers, shared=True, **more)


@pytest.mark.parametrize("name", ["", "Monitor", "two words", "9th", "x" * 64, "a-b"])
def test_a_role_is_a_name(name: str) -> None:
    with pytest.raises(InvalidInput, match="is no name"):
        table(role(name, "agent"))
    with pytest.raises(InvalidInput, match="is no name"):
        table(AUTHOR, column=role(name))


@pytest.mark.parametrize(
    ("writers", "said"),
    [
        (Writers("role"), "is no name"),
        (Writers("author", (), "monitor"), "writers by author have no role"),
        (Writers("role", ("agent", "other"), "monitor"), "granted by the principal of one agent"),
        (role("monitor", "other"), "'other', which is outside the key"),
        (role("monitor", "name"), "'name', which is not a column that names an agent"),
        (role("monitor", "nobody"), "'nobody', which is not a column that names an agent"),
        (Writers("boss"), "there are author, principal, anyone, owners and role"),
    ],
)
def test_what_contradicts_itself_is_refused(writers: Writers, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        table(writers)
    with pytest.raises(InvalidInput, match=said):
        table(ANYONE, column=writers)


def test_what_does_not_is_declared() -> None:
    assert table(role("monitor", "agent")).asks_roles
    assert table(role("monitor", "other"), key="id").asks_roles, "whoever makes a row of a minted id says whose it is"
    assert table(role("editor"), key="name").asks_roles, "nobody's rows are those of whom the file trusts to grant"
    assert table(AUTHOR, column=role("monitor")).asks_roles
    assert not table(role("monitor", "agent")).is_plain
    plain = table(owners("agent"))
    assert not plain.asks_roles
    assert not plain.takes_grants
    highest = Column("star", Type.TEXT, merge=Merge.HIGHEST, by="level")
    assert Table("stars", "id", (*plain.columns, highest)).takes_grants, "a ceiling is a matter of grants too"


def test_it_is_printed_and_in_the_fingerprint() -> None:
    mine = table(role("monitor", "agent"), column=role("chief"))
    assert writers_text(mine.writers) == "role monitor, granted by the principal of agent"
    assert ("writers", "role monitor, granted by the principal of agent") in list(facts_of(mine))
    notes = notes_of(mine, mine.column("level"))
    assert "written by role chief, granted by a principal that the file trusts" in notes
    others = (table(role("watcher", "agent"), column=role("chief")), table(role("monitor", "agent"), column=AUTHOR))
    assert len({one.shape for one in (mine, *others)}) == len({one.fingerprint for one in (mine, *others)}) == 3


def test_other_writers_are_encoded_as_before() -> None:
    """Else every table of every file there is would be folded again."""
    assert msgspec.json.encode(AUTHOR) == b'{"rule":"author","columns":[]}'
    assert msgspec.json.encode(owners("a")) == b'{"rule":"owners","columns":["a"]}'
    assert msgspec.json.encode(role("a")) == b'{"rule":"role","columns":[],"name":"a"}'
