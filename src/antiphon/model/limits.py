"""Room `model` (pure; imports nothing of ours): every limit, named, units last."""

from __future__ import annotations

from typing import Final

HEADER_BYTES_MAX: Final = 4_096
BODY_BYTES_MAX: Final = 262_144
COMMIT_EVENTS_MAX: Final = 65_536
REFS_PER_EVENT_MAX: Final = 64
ABOUT_PER_EVENT_MAX: Final = 64
KIND_BYTES_MAX: Final = 128
LOG_EVENTS_MAX: Final = 1 << 40

BLOCK_LEAVES: Final = 1_024
NODE_LEAVES: Final = 32
FRAME_BODY_BYTES: Final = 14_336
"""A frame of bodies closes at this many raw bytes: reading one event inflates at most one frame."""

RUNS_PER_BLOCK_MAX: Final = 64
"""Small rows that may pile up in an open block before they are packed into columns."""

ERASURE_HOLD_MS: Final = 72 * 3_600_000
"""What an instance erases is hidden on other replicas, and destroyed so long after they have heard of it."""

CLOCK_AHEAD_MS_MAX: Final = 300_000
"""Stamps further ahead of the local clock than this are not folded yet and never advance ours."""

PROOF_BYTES_MAX: Final = 1 << 20
QUERY_CHARS_MAX: Final = 4_096
RECALL_HITS_MAX: Final = 1_000
FULLTEXT_INLINE_EVENTS_MAX: Final = 64
"""Commits up to this size are indexed for full text in the same transaction; larger ones leave a backlog."""

BUSY_TIMEOUT_MS: Final = 10_000
WAL_PAGES_MAX: Final = 4_000
"""Pages that wait in a file's write-ahead log, 16 MiB, before a commit copies them to their places. Pages that every
commit writes to, as those of an index over random keys, are copied once in so long."""
NAME_CHARS_MAX: Final = 64
TAGS_MAX: Final = 32
OUTBOX_COMMITS_MAX: Final = 100_000
"""Feed entries kept at most; a follower further behind bootstraps again."""
OUTBOX_COMMITS_MIN: Final = 1_024
"""Feed entries kept though every follower is past them: readers that keep no cursor in the file are near the end."""
FEED_ROWS_MAX: Final = 4_096
"""Events and rows that a follower looks at in one step, and so at most in memory."""
LETTERS_MAX: Final = 10_000
"""Rows of one follower that its engine may refuse; past that the engine is taken to be wrong, the follower stops."""

REFOLD_AT_ONCE_EVENTS_MAX: Final = 16_384
"""Files of up to so many events are folded again when they are opened (about a second); larger ones beside the rest."""
REFOLD_BATCH_EVENTS: Final = 512
"""Events folded in one background transaction: how long a commit may have to wait for one, about 30 ms."""
REFOLD_SLICE_MS_MAX: Final = 2_000
"""What an open spends on folding a larger file again, in a process that has no background step."""

COPIES_MAX: Final = 1_024
"""Snapshots, exports and proof files whose paths are kept for `forget` to name; of older ones only how many."""

SCRUB_FILE_BYTES_MAX: Final = 256 << 20
"""Files up to this size are rewritten at once when forgetting finds old copies in their free space (1 s for 100 MiB);
larger ones wait for `antiphon doctor`."""

JSON_BYTES_MAX: Final = 65_536
JSON_DEPTH_MAX: Final = 32
ITEMS_MAX: Final = 4_096
"""Items of a list, a set or a map in one column; of a set that many add to, the first in the order of sets stay."""

KEY_BYTES_MAX: Final = 1_024
"""Of a row's key, encoded."""
EVENT_WRITES_MAX: Final = 4_096
"""Rows that one event may write to."""

PAGE_ROWS_MAX: Final = 10_000
"""Rows of one answer."""
ROWS_SCANNED_MAX: Final = 100_000
"""Rows that a page looks at for conditions which its index does not serve; then it ends, and says where to go on."""
ROWS_PASSED_MAX: Final = 200_000
"""Rows of others that a page passes over (0.3 s); then it ends, and says where to go on."""
VECTORS_SCANNED_MAX: Final = 100_000
"""Vectors that one question is compared with (2 s without numpy)."""
NEIGHBOURS_MAX: Final = 1_000
BUCKETS_MAX: Final = 100_000
"""Buckets of one answer of a rollup, empty ones counted where they are filled in."""
VALUES_MAX: Final = 100_000
"""Different values of a column in one answer."""
DUPLICATES_MAX: Final = 1_000
"""Values that several rows have though their columns are unique, in one answer."""
DUPLICATE_ROWS_MAX: Final = 100
"""Rows named of those that have one such value; how many there are is said."""
LINKS_SCANNED_MAX: Final = 100_000
"""Rows looked through for circles."""
CURSOR_CHARS_MAX: Final = 1 << 20

TASK_DEPENDENCIES_MAX: Final = 64
"""Tasks that one task may wait for."""

DEPENDENCY_WALK_MAX: Final = 10_000
"""Tasks that a home looks at before it lets one wait for another."""

GRANTS_MAX: Final = 65_536
"""Grants of one principal; what it grants past that counts for nothing."""
GRANT_TABLES_MAX: Final = 256
"""Tables that one grant names."""

REGION_FILES_MAX: Final = 256
"""Files of logs, and files of rows, of one region."""
REASON_CHARS_MAX: Final = 1_000
