"""Items: JSON values by namespace and key, as LangGraph's stores keep them; with a history, and really forgotten.

Needs the extra `langgraph`. Without it, `agent.record("item.put", …)` writes the same rows.
"""

import tempfile

from antiphon import Agent
from antiphon.serve.langgraph import AntiphonStore

with tempfile.TemporaryDirectory() as folder, Agent.create("waiter", home=folder) as agent:
    store = AntiphonStore(agent)
    zoe = ("guests", "zoe")

    # 1. Put, get, put again: one row a key, and every value it ever had is an event.
    store.put(zoe, "drink", {"likes": "green tea", "cups": 2})
    store.put(zoe, "seat", {"likes": "by the window"})
    store.put(zoe, "drink", {"likes": "oolong tea", "cups": 3})
    found = store.get(zoe, "drink")
    print("now:", found.value, "- put", len(agent.history(store.entity(zoe, "drink"))), "times")

    # 2. Items are found by their words, by what their fields hold, and in any process that opens the agent.
    print("tea:", [(item.key, item.value["likes"]) for item in store.search(("guests",), query="who drinks tea?")])
    print("3 cups:", [item.key for item in store.search(("guests",), filter={"cups": {"$gte": 3}})])
    print("namespaces:", store.list_namespaces())

    # 3. They are rows of a table like any other, and the log behind them verifies.
    rows = agent.table("items").select(namespace="guests.zoe", order="key")
    print("rows:", [(row["key"], row["value"]) for row in rows], "verified:", agent.verify().ok)

    # 4. A deleted item is gone from the table, not from history; a forgotten one is gone from both.
    seat = store.entity(zoe, "seat")
    store.delete(zoe, "seat")
    print("deleted:", store.get(zoe, "seat"), [event.kind for event in agent.history(seat)])
    agent.forget(entity=seat)
    print("forgotten:", agent.history(seat), "verified:", agent.verify().ok)
