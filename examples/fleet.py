"""A fleet: a thousand agents with keys and logs of their own, in one encrypted file."""

import tempfile

from antiphon import Fleet

with tempfile.TemporaryDirectory() as folder, Fleet.create(folder) as fleet:
    fleet.add_all([f"scout-{at}" for at in range(1_000)])

    # Memories of many agents in one commit: one wait for the disk, and all or nothing.
    with fleet.batch() as batch:
        for at in range(1_000):
            batch.remember(f"scout-{at}", f"sector {at} is {'flooded' if at % 250 == 0 else 'dry'}")

    for hit in fleet.recall("Which sectors are flooded?", limit=4):
        print(f"{hit.author}: {hit.text}")

    # One agent of it is an `Agent` like any other.
    scout = fleet.agent("scout-250")
    scout.remember("Zoe lives in sector 250", user="Zoe")
    print("its log verifies:", scout.verify().ok, "- by", scout.principal[:12] + "…")

    # Across all agents: forget a person, then an agent. What is left is still provable.
    print("about Zoe:", sum(len(outcome.events) for outcome in fleet.forget_person("Zoe")), "events forgotten")
    fleet.forget_agent("scout-0")
    print("left:", [hit.author for hit in fleet.recall("flooded")])
    verdicts = list(fleet.verify())
    print("logs verified:", sum(verdict.ok for verdict in verdicts), "of", len(verdicts))
