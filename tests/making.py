"""Made-up jobs for tests."""

from datetime import UTC, datetime, timedelta
from typing import Any

from lib.jobs.job import Job, JobStatus

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def make_job(number: int = 1, status: JobStatus = JobStatus.SUCCEEDED, **values: Any) -> Job:
    """A job that was created ``number`` minutes before ``NOW``."""
    created_at = NOW - timedelta(minutes=number)
    return Job(
        **{"id": f"job-{number:03d}", "name": f"Aria v{number}", "created_at": created_at, **values}, status=status
    )
