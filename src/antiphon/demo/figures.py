"""Room `demo` (imports everything below it): what the demo measured."""

from __future__ import annotations

import msgspec

from antiphon.agent import Memory
from antiphon.demo.seeing import Seen
from antiphon.demo.society import Society
from antiphon.replica.forget import Forgotten


class Figures(msgspec.Struct):
    """What the demo measured. *Units*: seconds, bytes."""

    messages: int = 0
    people: int = 0
    raw_bytes: int = 0
    zstd_bytes: int = 0
    enrol_s: float = 0.0
    write_s: float = 0.0
    pack_s: float = 0.0
    log_bytes: int = 0
    identity_bytes: int = 0
    file_bytes: int = 0
    verified_logs: int = 0
    verified_events: int = 0
    verify_s: float = 0.0
    recalls: list[tuple[str, float, list[Memory]]] = []
    proof_bytes: int = 0
    proof_text: str = ""
    proof_event: str = ""
    proof_ok: bool = False
    flipped_at: int = 0
    flip_found: str = ""
    person: str = ""
    needle: str = ""
    before: list[str] = []
    after: list[str] = []
    free_before: int = 0
    forgotten: Forgotten | None = None
    forget_s: float = 0.0
    still_verified: bool = False
    society: Society = msgspec.field(default_factory=Society)
    seen: Seen = msgspec.field(default_factory=Seen)
    folder: str = ""
    kept: bool = False
