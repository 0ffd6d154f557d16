"""Room `agent` (imports all below it): an agent's own database, in one object."""

from antiphon.agent.answers import Memory, Recorded, parse_checkpoint, recall_in, receipts
from antiphon.agent.face import Agent
from antiphon.agent.writing import Writing

__all__ = ["Agent", "Memory", "Recorded", "Writing", "parse_checkpoint", "recall_in", "receipts"]
