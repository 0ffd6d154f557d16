"""Room `ops` (imports `engines` and below): the words of HTML, in time that grows with its length alone.

Pure. What feeds have in their titles and summaries is written by anybody: no text makes it slow, and none is refused.
"""

from __future__ import annotations

import html
import re
from typing import Final

_BEGINS: Final = re.compile(r"<(?=[a-zA-Z/!?])")
_NAME: Final = re.compile(r"[a-zA-Z]{1,16}")
_VALUE_OR_END: Final = re.compile(r"=\s*([\"'])|>")
_UNREAD: Final = ("script", "style")
"""Elements that are not meant to be read."""
_REFERENCE: Final = re.compile(r"&#[xX]?[0-9a-fA-F]{9,}")
"""A reference to no character; Python reads no number of thousands of digits."""


def plain(text: str) -> str:
    """A text without its HTML, on one line."""
    if "<" not in text and "&" not in text:
        return " ".join(text.split())
    words: list[str] = []
    at = 0
    while (tag := _BEGINS.search(text, at)) is not None:
        words.append(text[at : tag.start()])
        end = _end_of(text, tag.end())
        if end is None:  # it never ends: so it is none
            at = tag.start()
            break
        words.append(" ")
        at = end
    words.append(text[at:])
    return " ".join(html.unescape(_REFERENCE.sub("\ufffd", "".join(words))).split())


def _end_of(text: str, at: int) -> int | None:
    """Where what begins here has ended: a comment, a tag, an element that is not read; None where it has no end."""
    if text.startswith("!--", at):
        end = text.find("-->", at + 3)
        return len(text) if end < 0 else end + 3
    name = _NAME.match(text, at)
    end_of_tag = _end_of_tag(text, at)
    if end_of_tag is None or name is None or name[0].lower() not in _UNREAD:
        return end_of_tag
    closing = re.compile(f"</{name[0]}", re.IGNORECASE).search(text, end_of_tag)
    return len(text) if closing is None else closing.start()


def _end_of_tag(text: str, at: int) -> int | None:
    """Behind the first `>` that stands in no attribute's value."""
    while (found := _VALUE_OR_END.search(text, at)) is not None:
        if found[1] is None:
            return found.end()
        end = text.find(found[1], found.end())
        if end < 0:  # the value never ends: the tag does
            end = text.find(">", found.end())
            return None if end < 0 else end + 1
        at = end + 1
    return None
