"""Values that should be unique are found whichever files of a region their rows lie in."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from antiphon import AssertRow, Column, Domain, Index, Kind, Table, Type
from antiphon.engines.keyfiles import Unlock
from antiphon.log.kinds import REQUEST_REFUSED
from antiphon.model import limits
from antiphon.model.event import NEW, Draft, Scope, encode_body
from antiphon.model.text import id_text
from antiphon.region import Region
from antiphon.replica.commit import Batch
from antiphon.replica.enrol import NewAgent
from antiphon.world.clock import ManualClock
from tests.unit.replica.test_kept import HALLS, Asked, Made


class Named(msgspec.Struct):
    name: str | None


SHIPS = Table(
    "ships",
    key="id",
    columns=(Column("id", Type.ID, nullable=False), Column("name", Type.TEXT)),
    indexes=(Index(("name",)),),
    unique=(("name",),),
    shared=True,
)
DOMAIN = Domain("ships", (Kind("ship.named", Named),), (SHIPS,), {"ship.named": (AssertRow(SHIPS, name="name"),)})
NAMES = ["Argo", "Beagle", "Argo", None, "Cutty", None, "Dawn", "Cutty", "Argo"]


@pytest.mark.parametrize("row_files", [1, 3])
def test_a_name_taken_twice_is_found_across_files(row_files: int, tmp_path: Path) -> None:
    unlock = Unlock(key=bytes(32))
    with Region.create(tmp_path / "r", domains=[DOMAIN], unlock=unlock, log_files=2, row_files=row_files) as region:
        agents = region.add_agents(region.add_principal().log, len(NAMES))
        for agent, name in zip(agents, NAMES, strict=True):
            draft = Draft("ship.named", encode_body(Named(name)), entity=NEW, scope=Scope.PUBLIC)
            region.commit([Batch(agent.log, [draft], [None])])
        argo, cutty = region.duplicates("ships")
        assert (argo.values, argo.count, cutty.values, cutty.count) == ({"name": "Argo"}, 3, {"name": "Cutty"}, 2)
        assert {holder.author for holder in argo.rows} == {id_text(agents[at].id) for at in (0, 2, 8)}
        assert {holder.event for holder in cutty.rows} == {f"{id_text(agents[at].log)}/0" for at in (4, 7)}
        if row_files > 1:
            assert sum(file.tables.count(SHIPS) > 0 for file in region.row_files) > 1, "rows lie in several files"


def test_so_many_are_listed_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DUPLICATE_ROWS_MAX", 1)
    with Region.create(
        tmp_path / "r", domains=[DOMAIN], unlock=Unlock(key=bytes(32)), log_files=1, row_files=2
    ) as region:
        (agent,) = region.add_agents(region.add_principal().log, 1)
        drafts = [
            Draft("ship.named", encode_body(Named(f"{at % 5}")), entity=NEW, scope=Scope.PUBLIC) for at in range(20)
        ]
        region.commit([Batch(agent.log, drafts, [None] * 20)])
        assert [(one.values["name"], one.count, len(one.rows)) for one in region.duplicates("ships")] == [
            (f"{at}", 4, 1) for at in range(5)
        ]


def test_a_home_in_a_region_gives_a_value_to_one_row_alone(tmp_path: Path) -> None:
    clock = ManualClock()
    with Region.create(
        tmp_path / "r", domains=[HALLS], unlock=Unlock(key=bytes(32)), log_files=2, row_files=3, clock=clock
    ) as region:
        home, *others = region.add_agents(region.add_principal().log, 5)

        def say(agent: NewAgent, kind: str, body: Any, entity: bytes = NEW) -> bytes:
            clock.pass_ms(1)
            draft = Draft(kind, encode_body(body), entity=entity, scope=Scope.PUBLIC)
            (made,) = region.commit([Batch(agent.log, [draft], [None])])
            return made.headers[0].entity or b""

        def column(name: str) -> list[Any]:
            return [(region.row("chairs", {"id": chair}) or {})[name] for chair in chairs]

        chairs = [say(agent, "chair.made", Made("north", home.log)) for agent in others]
        for chair, agent in zip(chairs, others, strict=True):
            say(agent, "chair.ask", Asked(home.log, seat=7), chair)
        region.catch_up()
        assert column("seat") == [7, None, None, None]
        say(others[1], "chair.ask", Asked(home.log, seat=8), chairs[1])
        for at in range(4):
            say(others[at], "chair.ask", Asked(home.log, behind=chairs[(at + 1) % 4]), chairs[at])
        assert column("seat") == [7, 8, None, None]
        assert column("behind") == [*chairs[1:], None]
        assert region.duplicates("chairs") == []
        file = region.file_of(home.log)
        said = [event.kind for event in file.reader.events(file.head(home.log))]
        assert said.count(REQUEST_REFUSED) == 4
