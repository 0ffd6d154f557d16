"""Room `domains` (imports `views` and below): the bodies of the events of items."""

from __future__ import annotations

from typing import Any

import msgspec


class Put(msgspec.Struct, omit_defaults=True):
    """The whole value of an item, in place of the one before. `text` is what full text finds it by.

    *Shapes*: a namespace is a path of labels, none of them empty or with a dot.
    """

    namespace: list[str]
    key: str
    value: dict[str, Any]
    text: str = ""


class Deleted(msgspec.Struct):
    """The item is no longer there; what it held stays in history until it is forgotten."""


class SecretMade(msgspec.Struct):
    """What is mixed into the ids of items, so that no key can be guessed by its id. The first one counts."""

    secret: bytes
