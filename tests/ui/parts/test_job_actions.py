"""What the dialogs of the actions say: sizes, and what stops."""

from datetime import UTC, datetime

import pytest

from lib.jobs.job import Job, JobStatus
from lib.ui.parts.job_actions import cancel_text, deletion_text

STARTED = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
NEVER_RAN = Job(id="a", name="", status=JobStatus.CANCELLED)
SIZED = Job(id="b", name="", status=JobStatus.SUCCEEDED, attempt=1, started_at=STARTED, size_bytes=2048)
UNSIZED = Job(id="c", name="", status=JobStatus.LOST, attempt=1, started_at=STARTED)


@pytest.mark.parametrize(
    ("jobs", "text"),
    [
        ([SIZED], "1 job, 2 KB"),
        ([SIZED, NEVER_RAN, NEVER_RAN], "3 jobs, 2 KB"),
        ([SIZED, UNSIZED, NEVER_RAN], "3 jobs, 2 KB and 1 of unknown size"),
        ([UNSIZED], "1 job, size unknown"),
        ([NEVER_RAN, NEVER_RAN], "2 jobs without files"),
    ],
)
def test_what_never_ran_has_no_files(jobs: list[Job], text: str) -> None:
    assert deletion_text(jobs) == text


def test_what_has_not_begun_does_not_stop() -> None:
    waiting, running = (Job(id="d", name="", status=status) for status in (JobStatus.PENDING, JobStatus.RUNNING))
    assert cancel_text([waiting]) == "It leaves the queue before it starts."
    assert cancel_text([waiting, waiting]) == "They leave the queue before they start."
    assert cancel_text([waiting, running]).startswith("The training stops.")
