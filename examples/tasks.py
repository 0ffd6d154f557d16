"""A board of tasks: agents vote and claim; the board's home decides, in one order, so each task has one owner."""

import tempfile
from threading import Barrier, Thread

from antiphon import Conflict, Fleet
from antiphon.domains.tasks import Tasks

with tempfile.TemporaryDirectory() as folder, Fleet.create(f"{folder}/fleet") as fleet:
    ada, bob, cyd = (Tasks(fleet.add(name)) for name in ("ada", "bob", "cyd"))

    # 1. Ada makes two tasks. Her log is their home: it decides who has them, and how far they are.
    survey = ada.create("Survey the harbour", priority=8, reward="2.5", bonus={"oxytocin": 0.4})
    chart = ada.create("Draw the chart", depends_on=[survey.entity])

    # 2. Votes are everybody's own, one each; the hot order is of votes and age, as of now.
    for voter in (ada, bob, cyd):
        voter.vote(survey.entity)
    ada.vote(chart.entity)
    bob.vote(chart.entity, -1, reason="not before the survey")
    for order in ("hot", "controversial"):
        print(f"{order}:", [f"{row['title']} +{row['upvotes']}-{row['downvotes']}" for row in bob.list(order=order)])

    # 3. Bob and Cyd claim the same task at the same moment: the first in the home's order has it.
    won, together = [], Barrier(2)

    def claim(name: str, tasks: Tasks) -> None:
        together.wait()
        try:
            tasks.claim(survey.entity)
            won.append((name, tasks))
        except Conflict as refused:
            print("one of them:", str(refused).replace(survey.entity, "…").split(":")[0])

    threads = [Thread(target=claim, args=one) for one in (("bob", bob), ("cyd", cyd))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ((name, winner),) = won
    print("exactly one has it:", len(won) == 1)

    # 4. The work: started, submitted, looked at by Ada, done; the reward is credited by the same decision.
    winner.start(survey.entity)
    winner.submit(survey.entity, output={"depths_m": [4.1, 3.8, 6.0]})
    ada.complete(survey.entity, quality=0.9)
    (reward,) = winner.rewards()
    print(f"{ada.get(survey.entity)['status']}: {reward['dopamine']:.1f} dopamine, bonus {reward['bonus']}")

    # 5. What would make no sense is refused, and leaves nothing behind.
    try:
        ada.depend(survey.entity, on=chart.entity)
    except Conflict as refused:
        print("refused:", str(refused).split(":")[1].strip())
    bob.claim(chart.entity)
    bob.start(chart.entity)  # what it waited for is complete
