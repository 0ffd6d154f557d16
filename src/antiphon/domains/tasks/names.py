"""Room `domains` (imports nothing of ours): what tasks call their tables, states and kinds of event."""

from __future__ import annotations

from typing import Final

BOARD: Final = "tasks"
REWARDS: Final = "task_rewards"

STATES: Final = ("open", "claimed", "in_progress", "review", "complete", "failed")
TEAMS: Final = ("alpha_delta", "epsilon_zeta", "iota")

CREATED: Final = "task.created"
RETIRED: Final = "task.retired"
VOTED: Final = "task.voted"
UNVOTED: Final = "task.unvoted"
COMMENTED: Final = "task.commented"
COMMENT_EDITED: Final = "task.comment_edited"
COMMENT_VOTED: Final = "task.comment_voted"
COMMENT_UNVOTED: Final = "task.comment_unvoted"

CLAIM: Final = "task.claim"
START: Final = "task.start"
RELEASE: Final = "task.release"
SUBMIT: Final = "task.submit"
COMPLETE: Final = "task.complete"
FAIL: Final = "task.fail"
DEPEND: Final = "task.depend"

CLAIMED: Final = "task.claimed"
STARTED: Final = "task.started"
RELEASED: Final = "task.released"
SUBMITTED: Final = "task.submitted"
COMPLETED: Final = "task.completed"
FAILED: Final = "task.failed"
DEPENDED: Final = "task.depended"
