"""Three agents among themselves: profiles, messages, trust, a spore that travels, a field that is measured."""

import tempfile

from antiphon import Fleet, InvalidInput
from antiphon.domains.network.commands import Network

DAY_MS = 86_400_000

with tempfile.TemporaryDirectory() as folder, Fleet.create(folder) as fleet:
    fleet.add_all(["ada", "bob", "cyd"])
    agents = {name: fleet.agent(name) for name in ("ada", "bob", "cyd")}
    ada, bob, cyd = (Network(agent) for agent in agents.values())
    ids = {agent.id: name for name, agent in agents.items()}

    # Every row is written by the agent that it is about: nobody edits another's profile.
    ada.enlist("Alpha-7", team="iota", specialization=["rivers"])
    bob.enlist("Zeta-Prime", role="scout")
    print("profiles:", [row["codename"] for row in agents["cyd"].table("agents").every()])

    # Messages to one agent are for the two alone; those to a topic are for everyone.
    asked = ada.send(agents["bob"].id, "How high is the river?")
    bob.send(agents["ada"].id, "Two metres and rising", reply_to=asked.entity)
    cyd.subscribe("floods")
    bob.post("floods", "The river rises at the old mill")
    print("ada reads:", [message["content"] for message in ada.inbox()])
    print("cyd reads:", [message["content"] for message in cyd.inbox()], "and has", len(agents["cyd"].recall("metres")))

    # Trust is counted from what happened. It fades, and nobody can raise it for itself.
    now = bob.heartbeat().recorded_ms
    ada.connect(agents["bob"].id, strength=0.8)
    for went_well in (True, True, False, True):
        ada.interact(agents["bob"].id, "collaboration", success=went_well)
    later = now + 60 * DAY_MS
    print(f"ada trusts bob: {ada.trust(agents['bob'].id, as_of=now + DAY_MS):.2f}", end=", ")
    print(f"two months later {ada.trust(agents['bob'].id, as_of=later):.2f}")
    try:
        bob.interact(agents["bob"].id, "praise", success=True)
    except InvalidInput as error:
        print("refused:", error)

    # A spore goes from agent to agent; each says for itself that it came.
    spore = ada.create_spore("Sandbags are at the old mill", resonance_score=0.9)
    bob.propagate(spore.entity, from_agent=agents["ada"].id)
    cyd.propagate(spore.entity, from_agent=agents["bob"].id, hop=2)
    print("the spore went", " > ".join(ids[agent] for agent in cyd.path(spore.entity)))
    print(f"ada and bob talk alike: {cyd.resonance(agents['ada'].id, agents['bob'].id):.2f}")

    # Measurements are rolled up by the minute, exactly: what is forgotten goes from the sums too.
    bob.measure("delta", coherence_level=71.5, active_agents=3, occurred=now)
    wrong = cyd.measure("delta", coherence_level=11.5, active_agents=1, occurred=now)
    minute = agents["ada"].table("field_coherence_1min")
    print("mean coherence:", [row["avg_coherence"] for row in minute.every()], end=" ")
    agents["cyd"].forget(wrong.event)
    print("without cyd's:", [row["avg_coherence"] for row in minute.every()])
