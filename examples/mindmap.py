"""Mind maps: each agent's own nodes with energy and links; what several minds agree on; what follows from it."""

import tempfile

from antiphon import Conflict, Fleet, InvalidInput
from antiphon.domains.mindmap import MINDMAP, MindMap

with tempfile.TemporaryDirectory() as folder, Fleet.create(folder, domains=[MINDMAP]) as fleet:
    names = ("ada", "bob", "cyd", "dan")
    minds = {name: MindMap(fleet.add(name)) for name in names}
    ada, bob, cyd, dan = minds.values()

    # 1. Each mind has a map of its own. Ada's thought leads to what should be done about it.
    said = {"ada": "The tide floods the mill", "bob": "Spring tides reach the mill", "cyd": "The tide floods the mill"}
    tide = {name: minds[name].grow("tide", label=label).entity for name, label in said.items()}
    sandbags = ada.grow("sandbags", label="Move the sandbags").entity
    ada.link(tide["ada"], sandbags, relationship_type="leads-to", weight=2.0)
    tea = dan.grow("tea", label="Time for tea", metadata={"cups": 2}).entity

    # 2. Thinking of something gives it energy; every pulse stays as a point of its series.
    for name, energy in (("ada", 4), ("bob", 1.5), ("cyd", 0.5)):
        minds[name].pulse(tide[name], energy)
    thawed = ada.thaw("tide")
    print(f"{thawed.node['label']}: ATP {thawed.node['energy']['ATP']}, {len(thawed.edges)} link")
    hour = ada.evolution(minds=3)[0]
    print(f"{hour.active_minds} minds, mean ATP {hour.avg_atp}, spread {hour.atp_deviation:.3f}")

    # 3. What nodes mean are vectors: by hand here, of a model elsewhere. Dan's tea is like nobody's.
    for name, part in (("ada", 0), ("bob", 0.5), ("cyd", 0.9)):
        minds[name].embed(tide[name], [1, part, *[0] * 382], "by-hand-1")
    dan.embed(tea, [0, 0, 1, *[0] * 381], "by-hand-1")
    print("like ada's:", [(row.label, round(row.similarity, 2)) for row in ada.similar(tide["ada"])])

    # 4. They agree: each adds a node by its own word, and Ada's log says what it comes to. Dan's tea changes nothing.
    agreed = ada.found(tide["ada"]).entity
    bob.contribute(agreed, tide["bob"])
    print("two are too few:", fleet.agent("ada").get(agreed)["resonance_score"])
    cyd.contribute(agreed, tide["cyd"])
    dan.contribute(agreed, tea)
    row = fleet.agent("dan").get(agreed)
    print(f"{row['consensus_label']!r}: {row['contributor_count']} minds, resonance {row['resonance_score']:.2f}")

    # 5. What follows from it, along the links of those who think of it.
    for branch in bob.tree():
        print(" > ".join(branch.path), round(branch.resonance_score, 2))

    # 6. A map is its own mind's, with one node a key; and who leaves is out of the agreement.
    for act in (lambda: bob.change(tide["ada"], label="No"), lambda: ada.grow("tide")):
        try:
            act()
        except (InvalidInput, Conflict) as refused:
            print("refused:", str(refused).replace(tide["ada"], "…"))
    bob.leave(agreed)
    print("without bob:", fleet.agent("ada").get(agreed)["resonance_score"])
