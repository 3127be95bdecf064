"""Jobs in the database as people see and change them. Every change is one statement or one transaction."""

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lib.access import acting_as
from lib.embedded.store import job_queries, outbox
from lib.embedded.store.configs import ConfigStore
from lib.embedded.store.database import Database
from lib.embedded.store.elsewhere import ElsewhereStore, new_job_id, refuse_watched
from lib.embedded.store.queue import LAST_RANK, queue_again
from lib.embedded.store.rows import (
    HOLDS_NAN,
    artifact_from,
    attempt_from,
    job_from,
    progress_from,
    settings_json,
    start_from,
    tags_text,
)
from lib.embedded.store.runs import RunStore
from lib.embedded.trainers.recipe import shown_command
from lib.errors import InvalidRequest, JobNotFound
from lib.jobs.annotations import Annotations, checked
from lib.jobs.highlights import Highlights
from lib.jobs.job import Artifact, Job, JobStatus, Origin, Progress
from lib.jobs.job_request import JobRequest
from lib.jobs.more_data import more_data_json
from lib.jobs.query import JobPage, JobQuery, search_key
from lib.jobs.resume import Start

# Not a ``JobStatus``, so that such a job cannot be claimed, cancelled or retried.
DELETING = "deleting"
READ_AT_ONCE = 500
# Columns that repeat others, for lists to search and sort by.
_FOR_LISTS = frozenset({"search_text", "name_key", "fraction", "loss"})


class Store:
    """The database of one data folder. Raises StoreError when it cannot be used."""

    def __init__(self, data_dir: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.database = Database(data_dir)
        self.configs = ConfigStore(self.database, now)
        self.runs = RunStore(self.database, now)
        self.outbox = outbox.OutboxStore(self.database)
        self.elsewhere = ElsewhereStore(self.database, now)
        self._now = now

    def close(self) -> None:
        """Close the connections."""
        self.database.close()

    # Reading

    def list_jobs(self, query: JobQuery) -> JobPage:
        """One page of the jobs that match."""
        with self.database.reading() as connection:
            return job_queries.list_jobs(connection, query)

    def all_jobs(self, query: JobQuery) -> Iterator[Job]:
        """Every matching job as lists show it: those that exist at the start, without those deleted meanwhile."""
        with self.database.reading() as connection:
            ids = job_queries.all_ids(connection, query)
        for start in range(0, len(ids), READ_AT_ONCE):
            with self.database.reading() as connection:
                jobs = job_queries.read_jobs(connection, ids[start : start + READ_AT_ONCE])
            yield from jobs

    def queued_jobs(self, take: int) -> tuple[Job, ...]:
        """The first pending jobs in the order of the queue, with their places."""
        with self.database.reading() as connection:
            return job_queries.queued_jobs(connection, take)

    def highlights(self, job_ids: Sequence[str]) -> Mapping[str, Highlights]:
        """Newest sample and LoRA of those jobs that have one."""
        with self.database.reading() as connection:
            return job_queries.highlights(connection, job_ids)

    def count_by_status(self) -> Mapping[JobStatus, int]:
        """How many jobs have each status."""
        with self.database.reading() as connection:
            return job_queries.count_by_status(connection)

    def outcome_counts(self, start: datetime, width: timedelta, count: int) -> Mapping[int, tuple[int, int]]:
        """Bucket number -> (succeeded, failed or lost)."""
        with self.database.reading() as connection:
            return job_queries.outcome_counts(connection, start, width.total_seconds(), count)

    def get_job(self, job_id: str) -> Job:
        """One job with attempts, artifacts and place in the queue. Raises JobNotFound."""
        with self.database.reading() as connection:
            row = _job_row(connection, job_id)
            attempts = connection.execute(
                "SELECT * FROM attempts WHERE job_id = ? ORDER BY number", (job_id,)
            ).fetchall()
            artifacts = _artifacts(connection, job_id)
            retry_of, retried_as = job_queries.retries(connection, job_id, row["retry_of"])
            place = None
            if row["status"] == JobStatus.PENDING:
                place = connection.execute(
                    "SELECT count(*) FROM jobs WHERE status = 'pending' AND queue_rank <= ?", (row["queue_rank"],)
                ).fetchone()[0]
        return replace(
            job_from(row),
            attempts=tuple(attempt_from(each) for each in attempts),
            artifacts=artifacts,
            command=shown_command(json.loads(attempts[-1]["command"])) if attempts else (),
            queue_position=place,
            retry_of=retry_of,
            retried_as=retried_as,
            payload={key: row[key] for key in row.keys() if key not in _FOR_LISTS},  # noqa: SIM118
        )

    def artifacts(self, job_id: str) -> tuple[Artifact, ...]:
        """The recorded files of a job."""
        with self.database.reading() as connection:
            return _artifacts(connection, job_id)

    def starts(self, job_id: str) -> Mapping[int, Start]:
        """What the attempts of a job that do not begin at step 0 go on from. Raises JobNotFound."""
        self.require(job_id)
        with self.database.reading() as connection:
            rows = connection.execute("SELECT number, start FROM attempts WHERE job_id = ?", (job_id,)).fetchall()
        return {row["number"]: start for row in rows if (start := start_from(row["start"]))}

    def has_copies(self, job_id: str) -> bool:
        """Whether the object store has files of the job."""
        with self.database.reading() as connection:
            found = connection.execute(
                "SELECT 1 FROM artifacts WHERE job_id = ? AND key IS NOT NULL LIMIT 1", (job_id,)
            ).fetchone()
        return found is not None

    def require(self, job_id: str) -> None:
        """Raise JobNotFound unless the job exists."""
        with self.database.reading() as connection:
            if not _is_there(connection, job_id):
                raise JobNotFound(job_id)

    def has_active_jobs(self) -> bool:
        """Whether a worker is needed."""
        with self.database.reading() as connection:
            found = connection.execute("SELECT 1 FROM jobs WHERE status IN ('pending', 'running') LIMIT 1").fetchone()
        return found is not None

    def active_job_names(self, *, dataset_id: str) -> list[str]:
        """Names of jobs that have not ended and use the dataset, as their main one or a further one."""
        with self.database.reading() as connection:
            rows = connection.execute(
                """
                SELECT name FROM jobs WHERE status IN ('pending', 'running') AND (
                    dataset_id = :id
                    OR EXISTS (SELECT 1 FROM json_each(more_data) WHERE json_extract(value, '$.dataset_id') = :id)
                ) ORDER BY seq
                """,
                {"id": dataset_id},
            ).fetchall()
        return [row["name"] for row in rows]

    def half_deleted(self) -> list[str]:
        """Ids of the jobs that are being deleted, or whose deletion was cut short."""
        with self.database.reading() as connection:
            return [row["id"] for row in connection.execute("SELECT id FROM jobs WHERE status = ?", (DELETING,))]

    def has_name(self, name: str) -> bool:
        """Whether a job has this name already."""
        with self.database.reading() as connection:
            found = connection.execute("SELECT 1 FROM jobs WHERE name_key = ? LIMIT 1", (search_key(name),)).fetchone()
        return found is not None

    def former_runs(self, config_id: str, limit: int = 10) -> list[tuple[float, Progress]]:
        """Duration in seconds and final progress of the newest succeeded jobs with a configuration."""
        with self.database.reading() as connection:
            rows = connection.execute(
                """
                SELECT jobs.duration_s, a.progress
                FROM jobs JOIN attempts AS a ON a.job_id = jobs.id AND a.number = jobs.attempt
                WHERE config_id = ? AND jobs.status = 'succeeded' AND a.start IS NULL
                ORDER BY jobs.finished_at DESC LIMIT ?
                """,
                (config_id, limit),
            ).fetchall()
        return [(row["duration_s"], progress_from(row["progress"])) for row in rows]

    # What people do

    def submit(self, request: JobRequest, *, dataset_name: str, config_name: str | None) -> Job:
        """Put a job in the queue, or return the one that this submission made before."""
        with self.database.writing() as connection:
            known = connection.execute(
                "SELECT id FROM jobs WHERE submission_id = ?", (request.submission_id,)
            ).fetchone()
            job_id = known["id"] if known else self._insert(connection, request, dataset_name, config_name)
        return self.get_job(job_id)

    def submit_sweep(
        self, requests: Sequence[JobRequest], name: str, *, dataset_name: str, config_name: str | None
    ) -> tuple[Job, ...]:
        """Put all jobs of a sweep in the queue or none, or return those that this submission made before."""
        submission_ids = [request.submission_id for request in requests]
        with self.database.writing() as connection:
            if known := job_queries.sweep_of(connection, submission_ids):
                return known
            sweep_id = new_job_id(self._now())
            for request in requests:
                job_id = self._insert(connection, request, dataset_name, config_name)
                connection.execute(
                    "UPDATE jobs SET sweep_id = ?, sweep_name = ? WHERE id = ?", (sweep_id, name, job_id)
                )
            return job_queries.sweep_of(connection, submission_ids)

    def sweep_submitted_before(self, requests: Sequence[JobRequest]) -> tuple[Job, ...]:
        """The jobs that are left of the sweep that these requests made before; empty if they made none."""
        with self.database.reading() as connection:
            return job_queries.sweep_of(connection, [request.submission_id for request in requests])

    def submitted_before(self, submission_id: str) -> Job | None:
        """The job that a submission made before."""
        with self.database.reading() as connection:
            known = connection.execute("SELECT id FROM jobs WHERE submission_id = ?", (submission_id,)).fetchone()
        return self.get_job(known["id"]) if known else None

    def cancel(self, job_id: str) -> int | None:
        """Cancel a pending job at once, or request it of a running one and return the attempt to stop."""
        at = self._now().timestamp()
        with self.database.writing() as connection:
            row = _job_row(connection, job_id)
            refuse_watched(row["origin"])
            if row["status"] == JobStatus.PENDING:
                connection.execute(
                    "UPDATE jobs SET status = 'cancelled', finished_at = ?, updated_at = ?, cancelled_by = ? "
                    "WHERE id = ?",
                    (at, at, _person(), job_id),
                )
                self._tell_of_sweep(connection, row)
                return None
            if row["status"] != JobStatus.RUNNING:
                raise InvalidRequest("Only a pending or running job can be cancelled.")
            connection.execute(
                "UPDATE jobs SET cancel_requested = 1, updated_at = ?, cancelled_by = ? WHERE id = ?",
                (at, _person(), job_id),
            )
            return int(row["attempt"])

    def retry(self, job_id: str, start: Start | None = None) -> Job:
        """Put an ended job at the end of the queue. It goes on from ``start``, or from step 0."""
        with self.database.writing() as connection:
            row = _job_row(connection, job_id)
            if row["origin"] != Origin.DASHBOARD:
                raise InvalidRequest(
                    "The run was not started by the dashboard, which does not know all it needs.",
                    hint="Start it again where it was started.",
                )
            if not JobStatus.parse(row["status"]).is_terminal:
                raise InvalidRequest("The job has not ended yet, so there is nothing to retry.")
            queue_again(connection, job_id, start, self._now().timestamp(), is_next=False, by=_person())
        return self.get_job(job_id)

    def move(self, job_id: str, places: int) -> None:
        """Move a pending job in the queue: jobs swap the existing ranks."""
        with self.database.writing() as connection:
            if _job_row(connection, job_id)["status"] != JobStatus.PENDING:
                raise InvalidRequest("Only a pending job has a place in the queue.")
            queue = connection.execute(
                "SELECT id, queue_rank FROM jobs WHERE status = 'pending' ORDER BY queue_rank"
            ).fetchall()
            ids = [row["id"] for row in queue]
            at = ids.index(job_id)
            ids.insert(max(0, min(len(ids) - 1, at + places)), ids.pop(at))
            moved = [(row["queue_rank"], new_id) for row, new_id in zip(queue, ids, strict=True) if row["id"] != new_id]
            connection.executemany("UPDATE jobs SET queue_rank = ? WHERE id = ?", moved)

    def annotate(self, job_id: str, annotations: Annotations) -> None:
        """Change what people wrote on a job; a new name is searched and sorted by."""
        with self.database.writing() as connection:
            row = _job_row(connection, job_id)
            known = replace(job_from(row), artifacts=_artifacts(connection, job_id))
            values = checked(annotations, known).changes
            if "tags" in values:
                values["tags"] = tags_text(values["tags"])
            if "name" in values:
                key = search_key(values["name"])
                values |= {"name_key": key, "search_text": "\n".join((key, *row["search_text"].split("\n")[1:]))}
            if not values:
                return
            columns = ", ".join(f"{name} = ?" for name in values)
            connection.execute(f"UPDATE jobs SET {columns} WHERE id = ?", (*values.values(), job_id))

    @contextmanager
    def deleting(self, job_id: str) -> Iterator[None]:
        """Delete the row of an ended or pending job after the block removed its files; keep it when that fails.

        No worker can start the job meanwhile. If the process dies, the next dashboard finishes the deletion.
        """
        with self.database.writing() as connection:
            row = _job_row(connection, job_id)
            former = row["status"]
            if former == DELETING:  # by another process, or one that died
                former = _last_status(connection, job_id)
            if former == JobStatus.RUNNING and row["origin"] != Origin.WATCHED:  # that only ends the watching
                raise InvalidRequest("The job is running.", hint="Cancel it first.")
            connection.execute("UPDATE jobs SET status = ? WHERE id = ?", (DELETING, job_id))
        try:
            yield
        except BaseException:
            with self.database.writing() as connection:
                connection.execute("UPDATE jobs SET status = ? WHERE id = ? AND status = ?", (former, job_id, DELETING))
            raise
        with self.database.writing() as connection:
            found = connection.execute("DELETE FROM jobs WHERE id = ? AND status = ?", (job_id, DELETING))
            if not found.rowcount and _is_there(connection, job_id):
                raise InvalidRequest("Another process tried to delete the job and failed.", hint="Delete it again.")
            if former == JobStatus.PENDING:
                self._tell_of_sweep(connection, row)

    def _tell_of_sweep(self, connection: sqlite3.Connection, row: sqlite3.Row) -> None:
        """Write how the sweep of a job that no longer waits has ended, if it has."""
        news = outbox.within_sweep(connection, (), row) if row["notify"] else ()
        self.runs.tell(connection, news, self._now().timestamp())

    def _insert(
        self, connection: sqlite3.Connection, request: JobRequest, dataset_name: str, config_name: str | None
    ) -> str:
        now = self._now()
        job_id = new_job_id(now)
        more = (each.name or each.dataset_id for each in request.more_data)
        texts = (request.name, job_id, dataset_name, config_name or request.config_id or "", *more)
        values = {
            "id": job_id,
            "name": request.name,
            "name_key": search_key(request.name),
            "search_text": "\n".join(map(search_key, texts)),
            "status": JobStatus.PENDING.value,
            "created_at": now.timestamp(),
            "updated_at": now.timestamp(),
            "dataset_id": request.dataset_id,
            "dataset_name": dataset_name,
            "config_id": request.config_id,
            "config_name": config_name,
            "trainer": request.settings.trainer,
            "settings": settings_json(request.settings),
            "time_limit_s": request.time_limit_s,
            "submission_id": request.submission_id,
            "submitted_by": _person(),
            "retry_of": request.retry_of,
            "notify": request.notify,
            "more_data": more_data_json(request.more_data) or None,
        }
        connection.execute(
            f"""
            INSERT INTO jobs ({", ".join(values)}, queue_rank)
            VALUES ({", ".join("?" * len(values))}, {LAST_RANK})
            """,
            tuple(values.values()),
        )
        return job_id


def _is_there(connection: sqlite3.Connection, job_id: str) -> bool:
    return connection.execute("SELECT 1 FROM jobs WHERE id = ?", (job_id,)).fetchone() is not None


def _person() -> str | None:
    """Who acts, where people sign in."""
    return acting_as.get() or None


def _job_row(connection: sqlite3.Connection, job_id: str) -> sqlite3.Row:
    row: sqlite3.Row | None = connection.execute(f"{job_queries.JOB_COLUMNS} WHERE jobs.id = ?", (job_id,)).fetchone()
    if row is None:
        raise JobNotFound(job_id)
    return row


def _last_status(connection: sqlite3.Connection, job_id: str) -> str:
    """The status of the latest attempt; a job that never ran is not queued again."""
    row = connection.execute(
        "SELECT status FROM attempts WHERE job_id = ? ORDER BY number DESC LIMIT 1", (job_id,)
    ).fetchone()
    return str(row["status"]) if row else JobStatus.CANCELLED.value


def _artifacts(connection: sqlite3.Connection, job_id: str) -> tuple[Artifact, ...]:
    chosen = f"SELECT *, {HOLDS_NAN} FROM artifacts WHERE job_id = ? ORDER BY attempt, path"
    rows = connection.execute(chosen, (job_id,)).fetchall()
    return tuple(artifact_from(row) for row in rows)
