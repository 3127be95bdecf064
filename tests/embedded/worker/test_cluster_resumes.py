"""What goes on by itself after a loss of its cluster."""

from collections.abc import Sequence

import pytest

from lib.embedded.store.runs import Claim
from lib.embedded.worker.cluster_resumes import MOST_IN_A_ROW, after_loss
from lib.jobs.job import Attempt, Failure, Job, JobStatus
from lib.jobs.resume import ANEW, ResumePoint, Start
from lib.jobs.training_settings import TrainingSettings

LOST = Failure(cause="node_lost", message="The node died.")
KILLED = Failure(cause="killed", message="It was killed.")


def state(attempt: int, step: int, *, problem: str = "", is_state: bool = True) -> ResumePoint:
    return ResumePoint(attempt=attempt, path=f"{step}-state", is_state=is_state, step=step, problem=problem)


def start(attempt: int, step: int, *, by_itself: bool = True) -> Start:
    return Start(attempt=attempt, path=f"{step}-state", step=step, by_itself=by_itself)


def after(starts: Sequence[Start | None], points: Sequence[ResumePoint], failure: Failure = LOST) -> Start | None:
    """What follows the last of attempts that began at ``starts`` and ended alike; step 9 is the end of the training."""
    attempts = tuple(
        Attempt(number=number, status=JobStatus.FAILED, start=each, failure=failure)
        for number, each in enumerate(starts, 1)
    )
    job = Job(id="job", name="job", status=JobStatus.FAILED, attempt=len(starts), attempts=attempts)
    claim = Claim(
        job_id="job",
        attempt=len(starts),
        name="job",
        settings=TrainingSettings(epochs=3),
        dataset_id="d",
        time_limit_s=None,
        started_at=0.0,
        start=starts[-1],
    )
    return after_loss(claim, job, points, lambda point: point.step < 9)


@pytest.mark.parametrize(
    ("starts", "points", "step", "attempt"),
    [
        ([None], [state(1, 4), state(1, 2)], 4, 1),
        ([None], [state(1, 2), state(1, 4, problem="It was only half written.")], 2, 1),
        ([None], [state(1, 9), state(1, 8)], 8, 1),
        ([None], [state(1, 4, is_state=False)], 0, 0),  # weights alone would begin the optimizer anew
        ([start(1, 4), start(1, 4)], [state(2, 6), state(1, 4)], 6, 2),
        ([None, start(1, 4)], [state(1, 4)], 4, 1),
        ([None, None], [state(1, 4)], 0, 0),  # somebody began anew on purpose
        ([None, start(1, 2, by_itself=False)], [state(1, 4), state(1, 2)], 2, 1),  # and here from an older state
        ([None, start(1, 4)], [state(1, 2)], 2, 1),  # that state is gone
        ([None, start(1, 4)], [], 0, 0),
    ],
)
def test_it_goes_on_from_its_newest_whole_state_or_as_it_began(
    starts: list[Start | None], points: list[ResumePoint], step: int, attempt: int
) -> None:
    found = after(starts, points)
    assert found is not None
    assert (found.step, found.attempt, found.is_anew) == (step, attempt, attempt == 0)
    assert found is ANEW or (found.by_itself, found.is_state) == (True, True)


def test_it_is_given_up_when_it_is_lost_too_often_at_one_point() -> None:
    same = [start(1, 4)] * MOST_IN_A_ROW
    assert after([None, *same], [state(1, 4)]) is not None
    assert after([None, *same, same[0]], [state(1, 4)]) is None
    assert after([None, *same, same[0]], [state(5, 6), state(1, 4)]) is not None  # a newer one
    assert after([None] * MOST_IN_A_ROW, []) is ANEW
    assert after([None] * (MOST_IN_A_ROW + 1), []) is None
    assert after([None] * (MOST_IN_A_ROW + 1), [], KILLED) is ANEW  # only losses in a row count
