"""Remember, recall, prove, verify, forget: an agent's own database in twenty-five lines."""

import tempfile

from antiphon import Agent, verify_proof

with tempfile.TemporaryDirectory() as folder, Agent.create("ada", home=folder) as ada:
    # Each call is on disk, encrypted and signed, when it returns.
    ada.remember("Bob prefers tea over coffee", user="Bob", tags=["preferences"])
    fact = ada.remember("The harbour ferry leaves at nine", significance=0.9)
    ada.supersede(fact.entity, "The harbour ferry leaves at ten")

    for hit in ada.recall("When does the ferry leave?"):
        print(f"{hit.score:.2f}  {hit.text}" + ("  (corrected)" if hit.superseded_by else ""))

    # Anyone can check this proof offline; they need nothing but the principal's id.
    proof = ada.prove(fact.event)
    print("proved:", verify_proof(proof).describe()["body"]["text"])

    # A person asks to be forgotten. The rest, and every older proof, still verifies.
    outcome = ada.forget(person="Bob")
    print("forgotten:", len(outcome.events), "events;", ", ".join(place.name for place in outcome.places))
    print("recall after that:", ada.recall("Bob tea"))
    print("verified:", ada.verify().ok, "and the proof still holds:", verify_proof(proof).seq == 2)
