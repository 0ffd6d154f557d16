"""Loops: a whisper becomes a loop, is forked, blessed by a guild, foretold about, and drifts; the home decides."""

import tempfile

from antiphon import Conflict, Fleet
from antiphon.domains.loops import LOOPS, Loops
from antiphon.world.clock import ManualClock

DAY = 86_400_000

clock = ManualClock(1_800_000_000_000)
with tempfile.TemporaryDirectory() as folder, Fleet.create(f"{folder}/fleet", clock=clock, domains=[LOOPS]) as fleet:
    ada, bob, cyd = (Loops(fleet.add(name)) for name in ("ada", "bob", "cyd"))

    # 1. Ada keeps the users: their names are given once, their credits are never below none.
    grace = ada.register_user("grace", "grace@example.org", emotional_credits=30).entity
    ada.spend(grace, 20, reason="a loop")
    try:
        ada.spend(grace, 20)
    except Conflict as refused:
        print("refused:", str(refused).split(": ")[1])

    # 2. A prompt is a whisper until it begins; Grace's name stays out of it. Bob forks what has begun.
    tides = ada.whisper("Watch the tide for Grace", creator=grace, tone="calm", hide=["Grace"]).entity
    ada.begin(tides)
    fork = bob.whisper("Watch it by night", fork_of=tides).entity
    print("lineage:", [f"{row['whisper_origin']} ({row['fork_depth']})" for row in bob.lineage(fork)])

    # 3. Who blesses a loop is a set; that it *is* blessed, a guild's members decide by their votes.
    bob.bless(tides, "light", consensus_score="0.9")
    guild = ada.found("elders", quorum=2, is_open=True).entity
    bob.join(guild)
    asked = bob.ask(guild, "Is it blessed?", loop=tides).entity
    for voter, vote in ((ada, 1), (bob, 1), (cyd, -1)):
        voter.vote(asked, vote)  # Cyd is no member: her vote is seen, and counts for nothing
    ada.close(asked)
    ada.sanctify(tides, asked)
    print("blessed:", ada.get(tides)["blessed"], "by", len(ada.get(tides)["blessed_by"]), "agent and a guild")

    # 4. A prophecy is judged once; a run is one agent's.
    told = cyd.prophesy("The tide will take the wall", loops=[tides]).entity
    ada.judge(told, fulfilled=True, evidence=tides)
    run = ada.queue(tides, operation="reflect").entity
    bob.take(run)
    bob.finish(run, result={"height_m": 3.1})
    print("fulfilled:", fleet.agent("cyd").table("prophecies").select()[0]["fulfillment_status"], "| waiting:",
          len(cyd.waiting()))  # fmt: skip

    # 5. Drift: how far today's tones are from those of the last thirty days, the same for everyone.
    for day in range(20, 0, -1):
        ada.note(tides, "measured", tone="calm", occurred=clock.now_ms() - day * DAY)
    for _ in range(20):
        ada.note(tides, "measured", tone="wild")
    print(f"drift: {cyd.drift(tides, as_of=clock.now_ms()):.2f}, a day later "
          f"{cyd.drift(tides, as_of=clock.now_ms() + DAY):.2f}")  # fmt: skip
