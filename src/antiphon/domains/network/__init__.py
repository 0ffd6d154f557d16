"""Room `domains` (imports `views` and below): agents, what passes between them, and what they add up to.

It plugs in by the same public way as anyone's domain: kinds, tables and folds in a `Domain`. Commands are in
`commands.py`, and `formulas.py` has what is computed when it is read: trust, hormones, resonance, coherence, drift.
"""

from antiphon.domains.network.declare import NETWORK

__all__ = ["NETWORK"]
