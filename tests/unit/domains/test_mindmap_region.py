"""Mind maps in a region: rows lie in several files, and a home in it decides as one file would."""

from pathlib import Path
from typing import Any

from antiphon.domains.mindmap import MINDMAP, names
from antiphon.domains.network import NETWORK
from antiphon.engines.keyfiles import Unlock
from antiphon.model.event import NEW, Scope
from antiphon.region import Region
from antiphon.replica.commit import Batch
from antiphon.replica.enrol import NewAgent
from antiphon.views.commands import convert, draft_of
from antiphon.world.clock import ManualClock


def test_an_agreement_of_maps_in_several_files(tmp_path: Path) -> None:
    clock = ManualClock()
    with Region.create(
        tmp_path / "region", domains=[NETWORK, MINDMAP], unlock=Unlock(key=bytes(32)), log_files=3, row_files=3,
        clock=clock,
    ) as region:  # fmt: skip
        agents = region.add_agents(region.add_principal().log, 3)
        home = agents[0].log

        def say(agent: NewAgent, kind: str, body: dict[str, Any], entity: bytes = NEW) -> bytes:
            clock.pass_ms(1)
            declared = region.registry.kind(kind)
            draft = draft_of(declared, convert(declared, body), entity=entity, scope=Scope.PUBLIC)
            (made,) = region.commit([Batch(agent.log, [draft], [None])])
            return made.headers[0].entity or b""

        nodes = [say(agent, names.GROWN, {"node_key": "tide", "label": "Tide"}) for agent in agents]
        for n, agent in enumerate(agents):
            say(agent, names.EMBEDDED, {"vector": [1.0, n / 4, *[0.0] * 382], "model_version": "m"}, nodes[n])
            say(agent, names.STREAMED, {"points": [{"time": clock.now_ms(), "atp_level": "1.5"}]}, nodes[n])
            say(agent, names.DRAWN, {"from_node": nodes[n], "to_node": nodes[n - 1]})
        agreed = say(agents[0], names.FOUNDED, {"node_key": "tide"})
        for n, agent in enumerate(agents):
            say(agent, names.CONTRIBUTED, {"consensus": agreed, "node": nodes[n]})
            say(agent, names.CALCULATE, {"home": home}, agreed)
        found = region.row(names.CONSENSUS, {"id": agreed})
        assert found is not None
        assert found["contributors"] == sorted(nodes)
        assert (found["contributor_count"], found["consensus_label"]) == (3, "Tide")
        assert found["resonance_score"] > 0.9
        assert [row["drawn"] for row in region.rows(names.LINKS)] == [1, 1, 1]
        assert sorted(row["node_id"] for row in region.rows(names.HOURLY)) == sorted(nodes)
        assert region.rejections() == []
