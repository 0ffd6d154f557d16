"""Room `domains` (imports `views` and below): names of people out of a text, however they are spelled in it. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

from antiphon.domains.loops.guilding import words
from antiphon.model.errors import InvalidInput


def tokenized(text: str, hide: Sequence[str]) -> str:
    """The text with `[person N]` in place of the N-th of these names, where it stands as a word.

    Case, width, composition and white space do not count, nor do characters that nobody sees. Raises InvalidInput for
    a name that is not there: it would be thought to be hidden.
    """
    if isinstance(hide, str):
        raise InvalidInput("hide is a list of names, not one: put it into brackets")
    if not hide:
        return text
    folded, at = _folded(text)
    taken: list[tuple[int, int, int]] = []
    for number, name in enumerate(hide, 1):
        found = [*_places(words("hide", name), folded, at)]
        if not found:
            raise InvalidInput(f"hide: {name!r:.80} is not in the text: spell it as it is there, or leave it out")
        taken += [(begin, end, number) for begin, end in found if not any(a < end and begin < b for a, b, _ in taken)]
    for begin, end, number in sorted(taken, reverse=True):
        text = f"{text[:begin]}[person {number}]{text[end:]}"
    return text


def _folded(text: str) -> tuple[str, list[int]]:
    """The text without what does not count; where in the text each of its characters begins, -1 within one there."""
    made: list[str] = []
    at: list[int] = []
    for begin, end in _characters(text):
        part = _fold(text[begin:end])
        made.append(part)
        at += [begin, *[-1] * (len(part) - 1)] if part else []
    return "".join(made), [*at, len(text)]


def _characters(text: str) -> Iterator[tuple[int, int]]:
    """Where each character with its marks begins and ends."""
    begin = 0
    for place in range(1, len(text) + 1):
        if place == len(text) or not unicodedata.combining(text[place]):
            yield begin, place
            begin = place


def _fold(text: str) -> str:
    """As `model/text.py:name_key`, but decomposed, so that it can be done character by character."""
    seen = "".join(one for one in text if unicodedata.category(one) != "Cf")
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFD", seen).casefold())
    return unicodedata.normalize("NFKD", folded.casefold())


def _places(name: str, folded: str, at: list[int]) -> Iterator[tuple[int, int]]:
    """Where the name stands in the text: never within a word, or a letter without its marks."""
    said = r"\s+".join(re.escape(word) for word in _fold(name).split())
    for found in re.finditer(rf"(?<!\w){said}(?!\w)", folded) if said else ():
        if at[found.start()] >= 0 and at[found.end()] >= 0:
            yield at[found.start()], at[found.end()]
