"""Room `domains` (imports `views` and below): items: JSON values by namespace and key, as agent frameworks keep them.

It plugs in by the same public way as anyone's domain: kinds, tables and folds in a `Domain`.
"""

from antiphon.domains.items.declare import ITEM_SECRETS, ITEMS, ITEMS_TABLE

__all__ = ["ITEMS", "ITEMS_TABLE", "ITEM_SECRETS"]
