"""Jobs that the dashboard did not start: runs in a terminal, and runs that are only watched."""

import secrets
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from lib.access import acting_as
from lib.embedded.store.database import Database
from lib.embedded.store.rows import place_from, place_json, to_json
from lib.errors import InvalidRequest
from lib.jobs.job import JobStatus, Origin, RunPlace
from lib.jobs.query import search_key

_ID_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
# What a newer sign than the recorded end must be newer by: file times are not exact everywhere.
LATER_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outsider:
    """A run to take in as a job.

    Attributes:
        started_at: Unix seconds of the first sign of it.
        last_sign_at: Of the last one.
        command: Its command line as it may be shown; empty when unknown.
        notify: Whether people are told of its events.
    """

    name: str
    origin: Origin
    place: RunPlace
    started_at: float
    last_sign_at: float
    command: tuple[str, ...] = ()
    notify: bool = True


class ElsewhereStore:
    """Takes them in as running, so that no worker starts them."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    def place_of(self, job_id: str) -> RunPlace | None:
        """Where the files of a job are; None for one of the dashboard."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT place FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return place_from(row["place"]) if row else None

    def take_in(self, run: Outsider, job_id: str = "") -> tuple[str, bool]:
        """The id of the job of this run, and whether there is something new: a new job, or a new attempt.

        A watched run is known by its place. One that is known and ended, and has written since, gets its next attempt.

        Args:
            job_id: What a new job gets as its id; one is made otherwise.
        """
        with self._database.writing() as connection:
            known = _known(connection, run)
            started_at = run.started_at
            if known is None:
                job_id, attempt = job_id or new_job_id(self._now()), 1
                values = self._new_row(job_id, run)
                marks = ", ".join("?" * len(values))
                connection.execute(f"INSERT INTO jobs ({', '.join(values)}) VALUES ({marks})", tuple(values.values()))
            else:
                job_id, attempt = known["id"], known["attempt"] + 1
                is_over = JobStatus.parse(known["status"]).is_terminal
                if not is_over or run.last_sign_at <= (known["finished_at"] or 0.0) + LATER_S:
                    return job_id, False
                started_at = max(started_at, known["finished_at"] or 0.0)
                connection.execute(
                    "UPDATE jobs SET status = 'running', attempt = ?, started_at = ?, finished_at = NULL, "
                    "updated_at = ?, duration_s = 0 WHERE id = ?",
                    (attempt, started_at, self._now().timestamp(), job_id),
                )
            connection.execute(
                "INSERT INTO attempts (job_id, number, status, started_at, command) VALUES (?, ?, 'running', ?, ?)",
                (job_id, attempt, started_at, to_json(list(run.command))),
            )
        return job_id, True

    def _new_row(self, job_id: str, run: Outsider) -> dict[str, object]:
        return {
            "id": job_id,
            "name": run.name,
            "name_key": search_key(run.name),
            "search_text": "\n".join(map(search_key, (run.name, job_id, run.place.main, run.origin))),
            "status": JobStatus.RUNNING.value,
            "attempt": 1,
            "created_at": run.started_at,
            "started_at": run.started_at,
            "updated_at": self._now().timestamp(),
            "duration_s": 0.0,
            "dataset_id": "",
            "trainer": run.origin.value,
            # No recipe has this name: a worker of older code cannot take it for one of the queue.
            "settings": to_json({"trainer": run.origin.value}),
            "queue_rank": 0.0,
            "submitted_by": acting_as.get() or None,
            "notify": run.notify,
            "origin": run.origin.value,
            "place": place_json(run.place),
        }


def refuse_watched(origin: str) -> None:
    """Raise InvalidRequest for a job that is only watched."""
    if origin == Origin.WATCHED:
        raise InvalidRequest(
            "The run was started elsewhere and is only watched here.", hint="Stop it where it was started."
        )


def new_job_id(now: datetime) -> str:
    """An id that sorts by time and cannot be guessed: ``20260131-142233-k3v9tq2m``."""
    return now.strftime("%Y%m%d-%H%M%S-") + "".join(secrets.choice(_ID_ALPHABET) for _ in range(8))


def _known(connection: sqlite3.Connection, run: Outsider) -> sqlite3.Row | None:
    """The job of a watched run: it has its log, or its folder where one of the two has no log."""
    if run.origin is not Origin.WATCHED:
        return None
    jobs = connection.execute("SELECT * FROM jobs WHERE place IS NOT NULL AND origin = 'watched' ORDER BY seq DESC")
    for job in jobs:
        place = place_from(job["place"]) or RunPlace()
        is_same_folder = (place.output, place.stem) == (run.place.output, run.place.stem) and bool(place.output)
        if place.log == run.place.log if place.log and run.place.log else is_same_folder:
            found: sqlite3.Row = job
            return found
    return None
