"""Room `demo` (imports everything below it): the chat corpus of the demo, from the `chitchat-dataset` package (MIT)."""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from antiphon.model.errors import NotFound
from antiphon.model.times import to_ms

NO_TEXT: Final = "(no text)"
"""What is remembered of the 33 messages that hold nothing but white space."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """One chat message. *Units*: ms since 1970."""

    person: str
    text: str
    sent_ms: int


class Meeting(msgspec.Struct, frozen=True):
    """A conversation of two. `rating` is how well it went, from 1 to 10, where they said so. *Units*: ms since 1970."""

    people: tuple[str, str]
    turns: tuple[int, int]
    ended_ms: int
    rating: float | None


class Opinion(msgspec.Struct, frozen=True):
    """What somebody said, and the other of the conversation agreed with in the next words. *Units*: ms since 1970."""

    person: str
    text: str
    said_ms: int
    other: str
    answer: str


class Liking(msgspec.Struct, frozen=True):
    """Somebody who said that they like a thing, or not. *Units*: ms since 1970."""

    person: str
    thing: str
    likes: bool
    text: str
    said_ms: int


class _Raw(msgspec.Struct, gc=False):
    text: str
    timestamp: str
    sender: str


class _Conversation(msgspec.Struct, gc=False):
    messages: list[list[_Raw]]
    ratings: dict[str, float | None] = {}


def corpus_path() -> Path:
    """Where the installed package keeps its conversations. Raises NotFound, naming the extra to install."""
    found = importlib.util.find_spec("chitchat_dataset")
    if found is None or found.origin is None:
        raise NotFound("the demo's conversations are not installed: pip install 'antiphon[demo]'")
    return Path(found.origin).parent / "dataset.json"


def read_corpus(path: Path) -> list[Message]:
    """All messages in the order in which they were sent. People are named by the first 8 digits of their id."""
    conversations = msgspec.json.decode(path.read_bytes(), type=dict[str, _Conversation])
    messages = [
        Message(f"person-{raw.sender[:8]}", raw.text if raw.text.strip() else NO_TEXT, to_ms(raw.timestamp))
        for conversation in conversations.values()
        for run in conversation.messages
        for raw in run
    ]
    messages.sort(key=lambda message: message.sent_ms)
    return messages


def read_meetings(path: Path) -> list[Meeting]:
    """The conversations in which two people spoke, in the order in which they ended."""
    found = []
    for conversation in msgspec.json.decode(path.read_bytes(), type=dict[str, _Conversation]).values():
        turns = Counter(f"person-{run[0].sender[:8]}" for run in conversation.messages if run)
        if len(turns) != 2:
            continue
        (one, first), (other, second) = turns.items()
        given = [rating for rating in conversation.ratings.values() if rating is not None]
        ended = max(to_ms(raw.timestamp) for run in conversation.messages for raw in run)
        rating = sum(given) / len(given) if given else None
        found.append(Meeting((one, other), (first, second), ended, rating))
    return sorted(found, key=lambda meeting: (meeting.ended_ms, meeting.people))


_AGREES: Final = re.compile(
    r"(yeah,? |yes,? |oh )?(i (totally |completely |definitely )?agree|agreed|exactly|that'?s (so |very )?true"
    r"|(so|very) true|absolutely|you'?re right|good point)\b",
    re.IGNORECASE,
)
_LIKES: Final = re.compile(
    r"\bi (?:really |also |just |absolutely )?(love|like|enjoy|hate|dislike|don'?t (?:really )?like) "
    r"((?:[a-z']+ )??[a-z']{3,})\s*(?:too|lol|haha+|so much|a lot)?\s*[.!]*$",
    re.IGNORECASE,
)
_NO_THINGS: Final = frozenset(
    re.findall(
        "[a-z]+",
        "all any anything both do for going her here him his how it its lot make many more most much my one our some "
        "something talking that the their them there these they this those things think to too us very what when with "
        "you your",
    )
)
"""Words that say nothing of what is liked."""


def read_opinions(path: Path) -> tuple[list[Opinion], list[Liking]]:
    """What people said that the other agreed with at once, and what they like, in the order in which it was said."""
    opinions, likings = list[Opinion](), list[Liking]()
    for conversation in msgspec.json.decode(path.read_bytes(), type=dict[str, _Conversation]).values():
        runs = [run for run in conversation.messages if run]
        for run, following in zip(runs, [*runs[1:], []], strict=True):
            for raw in run:
                likings += _likings(raw)
            last = run[-1]
            agrees = bool(following) and following[0].sender != last.sender and _AGREES.match(following[0].text)
            if agrees and 50 <= len(last.text) <= 150 and "?" not in last.text:
                person, other = (f"person-{one[:8]}" for one in (last.sender, following[0].sender))
                opinions.append(Opinion(person, last.text, to_ms(last.timestamp), other, following[0].text))
    return (
        sorted(opinions, key=lambda one: (one.said_ms, one.person)),
        sorted(likings, key=lambda one: (one.said_ms, one.person, one.thing)),
    )


def _likings(raw: _Raw) -> Iterator[Liking]:
    found = _LIKES.search(raw.text) if len(raw.text) <= 150 else None
    if found is not None:
        thing = found[2].lower()
        if not _NO_THINGS & {*thing.split()}:
            yield Liking(f"person-{raw.sender[:8]}", thing, found[1][0] in "lLeE", raw.text, to_ms(raw.timestamp))


def people_of(messages: list[Message]) -> list[str]:
    """Everybody who wrote, in the order of their first message."""
    return list(dict.fromkeys(message.person for message in messages))


def chunks(messages: list[Message], size: int) -> Iterator[list[Message]]:
    """The messages in consecutive chunks."""
    for at in range(0, len(messages), size):
        yield messages[at : at + size]
