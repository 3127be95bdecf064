"""Puts jobs into the embedded source's database as they are, in any state and number."""

import json
from collections.abc import Iterable
from datetime import datetime

from lib.embedded.store.jobs import Store
from lib.embedded.store.rows import failure_json, progress_json
from lib.jobs.job import Job, JobStatus
from lib.jobs.query import search_key

_JOB_COLUMNS = (
    "id name name_key search_text status attempt created_at started_at updated_at finished_at duration_s dataset_id "
    "dataset_name config_id config_name trainer settings submission_id queue_rank size_bytes"
).split()


def put_jobs(store: Store, jobs: Iterable[Job]) -> None:
    """Insert jobs with their latest attempt, in one transaction."""
    rows, attempts = [], []
    for rank, job in enumerate(jobs):
        rows.append(_job_row(job, rank))
        if job.attempt:
            attempts.append(_attempt_row(job))
    with store.database.writing() as connection:
        marks = ", ".join("?" * len(_JOB_COLUMNS))
        connection.executemany(f"INSERT INTO jobs ({', '.join(_JOB_COLUMNS)}) VALUES ({marks})", rows)
        connection.executemany(
            """
            INSERT INTO attempts (job_id, number, status, started_at, finished_at, progress, failure, alarms)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?)
            """,
            attempts,
        )


def _job_row(job: Job, rank: int) -> tuple[object, ...]:
    duration_s = job.duration_s(job.updated_at) if job.updated_at else None
    texts = (job.name, job.id, job.dataset_name or job.dataset_id or "", job.config_name or job.config_id or "")
    return (
        job.id,
        job.name,
        search_key(job.name),
        "\n".join(map(search_key, texts)),
        job.raw_status or job.status.value,
        job.attempt,
        _seconds(job.created_at) or 0.0,
        _seconds(job.started_at),
        _seconds(job.updated_at or job.created_at) or 0.0,
        _seconds(job.finished_at),
        -1 if job.status is JobStatus.PENDING or duration_s is None else duration_s,
        job.dataset_id or "",
        job.dataset_name,
        job.config_id,
        job.config_name,
        job.trainer or "tiny",
        json.dumps(dict(job.settings)),
        f"submission-{job.id}",
        float(rank + 1),
        job.size_bytes,
    )


def _attempt_row(job: Job) -> tuple[object, ...]:
    return (
        job.id,
        job.attempt,
        job.status.value,
        _seconds(job.started_at) or 0.0,
        _seconds(job.finished_at),
        progress_json(job.progress),
        failure_json(job.failure),
        json.dumps(job.alarms),
    )


def _seconds(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()
