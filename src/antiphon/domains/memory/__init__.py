"""Room `domains` (imports `views` and below): what an agent remembers, reflects on, and how its tone moves.

It plugs in by the same public way as anyone's domain: kinds, tables and folds in a `Domain`.
"""

from antiphon.domains.memory.declare import MEMORIES, MEMORY, PEOPLE, REFLECTIONS, TONE_SHIFTS

__all__ = ["MEMORIES", "MEMORY", "PEOPLE", "REFLECTIONS", "TONE_SHIFTS"]
