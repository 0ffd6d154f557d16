"""What agents come to see, what rings true to others, and what they agree on; with nobody's number taken on trust."""

import tempfile

from antiphon import Fleet, InvalidInput, NotFound
from antiphon.domains.wisdom import Wisdom

with tempfile.TemporaryDirectory() as folder, Fleet.create(folder) as fleet:
    agents = {name: fleet.add(name) for name in ("ada", "bob", "cyd")}
    ada, bob, cyd = (Wisdom(agent) for agent in agents.values())
    ids = {agent.id: name for name, agent in agents.items()}

    # 1. Insights are for everybody. Ada's was drawn from something that she keeps for herself.
    seen = agents["ada"].remember("Bob's cellar was dry at noon and flooded at six")
    tide = ada.share("The mill floods at spring tide", tags=["floods"], sources=[seen.event])
    wind = bob.share("North wind holds the tide in")

    # 2. Resonance is how many agents acknowledged, each of them once: nobody writes the number.
    for wisdom in (bob, cyd, bob):
        wisdom.acknowledge(tide.entity)
    ada.acknowledge(wind.entity)
    print("resonance:", [(row["content"], row["resonance"]) for row in cyd.insights()])
    cyd.unacknowledge(tide.entity)
    print("cyd thinks again:", [row["resonance"] for row in cyd.insights()])

    # 3. What they agree on is a crystal, with everyone who contributed; crystals can be related.
    agreed = ada.crystallize("Move the sandbags before spring tide", list(ids), score=0.9, tags=["floods"])
    more = bob.crystallize("Ring when the wind turns north", [agents["bob"].id], related=[agreed.entity])
    bob.acknowledge_crystal(agreed.entity)
    for row in cyd.crystals():
        print(f"crystal: {row['insight_content']} ({row['resonance_count']}, {len(row['contributing_agents'])} agents)")

    # 4. Others' words are not one's own, and there is nothing to say of what is not there.
    try:
        bob.edit(tide.entity, content="Nothing ever floods")
    except InvalidInput as refused:
        print("refused:", str(refused).replace(tide.entity, "…"))
    try:
        cyd.acknowledge(more.entity)
    except NotFound as refused:
        print("refused:", str(refused).replace(more.entity, "…"))

    # 5. Where the source is forgotten, what was drawn from it goes with it, for everybody.
    agents["ada"].forget(seen.event)
    print("left:", [row["content"] for row in cyd.insights()])
