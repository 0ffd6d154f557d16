"""Room `model` (pure; imports nothing of ours): every error Antiphon raises, one tree.

AntiphonError
├── InvalidInput          the caller's fault; never retry
│   ├── LimitExceeded     names the limit
│   └── WrongKey          a key or passphrase does not open what it should
├── NotFound              the caller asked for what is not (or no longer) there
├── Conflict              somebody was faster; read again, then retry
├── Unavailable           cannot now; back off, or mend the machine, then retry
│   ├── Busy              another process holds the file
│   ├── DiskFull          no room left; nothing was lost
│   └── ReadOnly          the file or folder does not let us write
├── Rejected              an engine, or a fold, refuses this row for good
├── ProtocolViolation     the peer (or a proof, or an archive) broke the rules
├── Corrupt               our own bytes fail verification; this log stops
└── UnsupportedFormat     made by a newer Antiphon than this one
"""

from __future__ import annotations


class AntiphonError(Exception):
    """What went wrong, whose fault it is and what to do, with machine-readable `context`."""

    def __init__(self, message: str, **context: object) -> None:
        super().__init__(message)
        self.context = context


class InvalidInput(AntiphonError):
    """The caller's input is wrong; the same call can never succeed."""


class LimitExceeded(InvalidInput):
    """Something is larger than a named limit allows."""

    def __init__(self, limit: str, *, got: int, allowed: int, what: str) -> None:
        super().__init__(
            f"{what} is {got:,}, more than the {allowed:,} that {limit} allows: make it smaller or split it",
            limit=limit,
            got=got,
            allowed=allowed,
        )


class WrongKey(InvalidInput):
    """The key, key file or passphrase given does not open this."""


class NotFound(AntiphonError):
    """What was asked for does not exist, or was forgotten."""


class Conflict(AntiphonError):
    """The state changed under the caller; read it again and retry."""


class Unavailable(AntiphonError):
    """Cannot be done right now; nothing was lost."""


class Busy(Unavailable):
    """Another process holds the file longer than we wait."""


class DiskFull(Unavailable):
    """No room is left on the device; everything acknowledged is still there."""


class ReadOnly(Unavailable):
    """The file, folder or file system does not allow writing."""


class Rejected(AntiphonError):
    """A fold or an engine refuses this event or row for good."""


class ProtocolViolation(AntiphonError):
    """Bytes from somebody else break the protocol; do not trust them."""


class Corrupt(AntiphonError):
    """Our own stored bytes fail verification."""


class UnsupportedFormat(AntiphonError):
    """The file or message is of a newer format than this version of Antiphon knows."""
