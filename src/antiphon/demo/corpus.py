"""Room `demo` (imports everything below it): the chat corpus of the demo, from the `chitchat-dataset` package (MIT)."""

from __future__ import annotations

import importlib.util
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


def people_of(messages: list[Message]) -> list[str]:
    """Everybody who wrote, in the order of their first message."""
    return list(dict.fromkeys(message.person for message in messages))


def chunks(messages: list[Message], size: int) -> Iterator[list[Message]]:
    """The messages in consecutive chunks."""
    for at in range(0, len(messages), size):
        yield messages[at : at + size]
