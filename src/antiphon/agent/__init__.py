"""Room `agent` (imports all below it): an agent's own database, in one object."""

from antiphon.agent.answers import Memory, Receipts, Recorded, parse_checkpoint, recall_in
from antiphon.agent.face import Agent
from antiphon.agent.writing import Writing

__all__ = ["Agent", "Memory", "Receipts", "Recorded", "Writing", "parse_checkpoint", "recall_in"]
