"""What goes on by itself after an attempt that its cluster lost: its node or the head died, or Ray forgot it."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from lib.embedded.store.runs import Claim
from lib.jobs.failures.causes import Cause
from lib.jobs.failures.judge import Verdict
from lib.jobs.job import Attempt, Job, JobStatus
from lib.jobs.resume import ANEW, ResumePoint, Start

# So often in a row from one and the same point; an attempt that left a newer state begins a new row.
MOST_IN_A_ROW = 3
_LOST = frozenset({Cause.NODE_LOST.value, Cause.CLUSTER_LOST.value})


def is_lost(verdict: Verdict) -> bool:
    """Whether the cluster ended an attempt, and not its trainer or a person."""
    return verdict.failure is not None and verdict.failure.cause in _LOST


def after_loss(
    claim: Claim, job: Job, points: Sequence[ResumePoint], has_steps_left: Callable[[ResumePoint], bool]
) -> Start | None:
    """What the next attempt goes on from; None when it was lost too often at one point.

    Without a state of its own the attempt is repeated as it was: from what it had begun from, or from the beginning.

    Args:
        job: With its attempts, of which the last one is the one that was lost.
        points: Where the job can go on, newest first.
    """
    states = [each for each in points if each.is_state and not each.problem and has_steps_left(each)]
    if own := [each for each in states if each.attempt == claim.attempt]:
        return start_at(own[0], claim)
    row = 0
    for attempt in reversed(job.attempts[:-1]):
        if not _was_lost(attempt) or _point_of(attempt.start) != _point_of(claim.start):
            break
        row += 1
    if row >= MOST_IN_A_ROW:
        return None
    if claim.start is None:
        return ANEW
    if any(each.id == claim.start.point_id and not each.problem for each in points):
        return replace(claim.start, by_itself=True)
    return start_at(states[0], claim) if states else ANEW


def start_at(point: ResumePoint, claim: Claim) -> Start:
    """The rest of a training, by itself, from one of its states."""
    return Start(
        attempt=point.attempt,
        path=point.path,
        step=point.step,
        epoch=point.epoch,
        epochs=claim.settings.epochs,
        max_steps=claim.settings.max_steps,
        by_itself=True,
    )


def _point_of(start: Start | None) -> str:
    return start.point_id if start else ""


def _was_lost(attempt: Attempt) -> bool:
    is_over = attempt.status in (JobStatus.LOST, JobStatus.FAILED)
    return is_over and attempt.failure is not None and attempt.failure.cause in _LOST
