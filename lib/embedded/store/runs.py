"""The worker's side of the database: jobs are claimed, followed and ended."""

import contextlib
import json
import math
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from lib.embedded.store import outbox
from lib.embedded.store.database import Database
from lib.embedded.store.queue import KIND, queue_again
from lib.embedded.store.rows import (
    failure_json,
    machine_from,
    origin_from,
    place_from,
    place_json,
    progress_from,
    progress_json,
    settings_from,
    start_from,
    to_json,
)
from lib.embedded.trainers.recipe import FoundFile
from lib.jobs.failures.judge import Verdict
from lib.jobs.job import Origin, Progress, RunPlace
from lib.jobs.machine import MachineUse
from lib.jobs.more_data import MoreData, more_data_from
from lib.jobs.news import News, Run, end_news, nan_news, stall_news
from lib.jobs.resume import Start
from lib.jobs.stalls import is_stalled
from lib.jobs.training_settings import TrainingSettings


class CannotRun(Exception):
    """A waiting job for which there will be no room by waiting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """An attempt that the worker holds: what it needs to run and to follow it.

    Attributes:
        settings: With the length of the whole training where it goes on from ``start``.
        gpus: The cards it has.
    """

    job_id: str
    attempt: int
    name: str
    settings: TrainingSettings
    dataset_id: str
    time_limit_s: float | None
    started_at: float
    cancel_requested: bool = False
    notify: bool = True
    gpus: tuple[str, ...] = ()
    origin: Origin = Origin.DASHBOARD
    place: RunPlace | None = None
    start: Start | None = None
    more_data: tuple[MoreData, ...] = ()

    @property
    def mark(self) -> str:
        """Names the attempt: its processes carry it in their environment."""
        return f"{self.job_id}/{self.attempt}"

    @property
    def executor(self) -> str:
        """What runs it."""
        return self.settings.where or "local"

    @property
    def run(self) -> Run:
        """The attempt as messages name it."""
        return Run(job_id=self.job_id, attempt=self.attempt, name=self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnd:
    """How an attempt ended. ``progress`` and ``node`` None keep what was recorded last.

    Attributes:
        goes_on: The next attempt, which is to begin before all other jobs; None when people decide.
    """

    verdict: Verdict
    finished_at: float
    progress: Progress | None = None
    exit_code: int | None = None
    last_output_at: float | None = None
    size_bytes: int | None = None
    node: str | None = None
    goes_on: Start | None = None


class RunStore:
    """Attempts from claim to end. A claim is one UPDATE, so that a job never runs twice at once.

    Attributes:
        told: Events that people want to be told of. Their messages are written with the change that they tell.
    """

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now
        self.told: Collection[str] = ()

    def claim_next(
        self, room: Callable[[TrainingSettings], Sequence[str] | None] = lambda _: (), *, executor: str = "local"
    ) -> Claim | None:
        """Claim the first job of an executor's queue. No two callers get the same job.

        Args:
            room: The cards for a job with these settings; None while it has to wait for them. Raises CannotRun for one
                that cannot run at all now: those behind it may. It looks at the settings of ``NEEDED`` only.

        Returns:
            None when the queue is empty, or the first job that can run has to wait.
        """
        while (found := self._first_with_room(room, executor)) is not None:
            if (claim := self._claim(*found)) is not None:  # otherwise somebody was faster
                return claim
        return None

    def _first_with_room(
        self, room: Callable[[TrainingSettings], Sequence[str] | None], executor: str
    ) -> tuple[str, Sequence[str]] | None:
        for row in self._waiting(executor):
            with contextlib.suppress(CannotRun):
                gpus = room(settings_from(row["settings"]))
                return None if gpus is None else (row["id"], gpus)
        return None

    def executors_waited_for(self) -> list[str]:
        """The executors that pending jobs wait for."""
        return [row["executor"] for row in self._rows("SELECT DISTINCT executor FROM jobs WHERE status = 'pending'")]

    def _waiting(self, executor: str) -> Iterator[sqlite3.Row]:
        """The first job of the queue, and should it not do, the first one of each kind of needs, in queue order."""
        pending = "FROM jobs WHERE status = 'pending' AND executor = ?"
        yield from self._rows(f"SELECT id, settings {pending} ORDER BY queue_rank LIMIT 1", executor)
        # Of a group SQLite gives the row that has the minimum.
        firsts = f"SELECT id, settings, min(queue_rank) AS first {pending} GROUP BY {KIND} ORDER BY first"
        yield from self._rows(firsts, executor)

    def _rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        with self._database.reading() as connection:
            return connection.execute(query, values).fetchall()

    def _claim(self, job_id: str, gpus: Sequence[str]) -> Claim | None:
        """None when it is no longer pending."""
        at = self._now().timestamp()
        with self._database.writing() as connection:
            row = connection.execute(
                """
                UPDATE jobs SET status = 'running', attempt = attempt + 1, started_at = ?, updated_at = ?,
                    finished_at = NULL, duration_s = 0
                WHERE id = ? AND status = 'pending' RETURNING *
                """,
                (at, at, job_id),
            ).fetchone()
            if row is None:
                return None
            connection.execute(
                "INSERT INTO attempts (job_id, number, status, started_at, gpus, start) "
                "VALUES (?, ?, 'running', ?, ?, ?)",
                (row["id"], row["attempt"], at, to_json(list(gpus)), row["start"]),
            )
        return _claim_from(row, gpus)

    def require_available(self) -> None:
        """Raise FolderUnavailable when the data folder cannot be read: nothing is known about an attempt then."""
        self._database.file_id()

    def running(self, *, elsewhere: bool = False) -> list[Claim]:
        """The attempts recorded as running; of those only what was started elsewhere, if so asked."""
        rows = self._rows(
            f"""
            SELECT jobs.*, a.gpus FROM jobs
            LEFT JOIN attempts AS a ON a.job_id = jobs.id AND a.number = jobs.attempt
            WHERE jobs.status = 'running' {"AND jobs.place <> ''" if elsewhere else ""} ORDER BY seq
            """
        )
        return [_claim_from(row, json.loads(row["gpus"] or "[]")) for row in rows]

    def move_place(self, claim: Claim, place: RunPlace) -> None:
        """Record where a run's files are, once that is known."""
        with self._database.writing() as connection:
            connection.execute("UPDATE jobs SET place = ? WHERE id = ?", (place_json(place), claim.job_id))

    def unclaim(self, claim: Claim) -> bool:
        """Undo a claim whose trainer never started; the job keeps its place in the queue.

        Returns:
            False when its cancellation was requested meanwhile: it stays claimed.
        """
        with self._database.writing() as connection:
            given_back = connection.execute(
                """
                UPDATE jobs SET status = 'pending', attempt = attempt - 1, started_at = NULL, duration_s = -1
                WHERE id = ? AND attempt = ? AND status = 'running' AND NOT cancel_requested
                """,
                (claim.job_id, claim.attempt),
            ).rowcount
            if given_back:
                connection.execute(
                    "DELETE FROM attempts WHERE job_id = ? AND number = ? AND status = 'running'",
                    (claim.job_id, claim.attempt),
                )
        return given_back == 1

    def record_command(self, claim: Claim, command: Sequence[str]) -> None:
        """Record the command line of an attempt."""
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE attempts SET command = ? WHERE job_id = ? AND number = ?",
                (to_json(list(command)), claim.job_id, claim.attempt),
            )

    def record_progress(
        self,
        claim: Claim,
        progress: Progress,
        alarms: Sequence[str],
        last_output_at: float | None,
        node: str = "",
        seen_quiet_s: float = math.inf,
    ) -> bool:
        """Record the progress of a running attempt and return whether its cancellation was requested.

        ``seen_quiet_s`` is how long the caller saw it print nothing: the clock may have been set.
        """
        values = (progress_json(progress), to_json(list(alarms)), last_output_at, node, claim.job_id, claim.attempt)
        at = self._now().timestamp()
        quiet_s = min(at - (last_output_at or claim.started_at), seen_quiet_s)
        news = nan_news(claim.run, alarms)
        if "stalled_at_start" in alarms or is_stalled(progress, quiet_s):
            news.append(stall_news(claim.run, quiet_s))
        with self._database.writing() as connection:
            connection.execute(
                """
                UPDATE attempts SET progress = ?, alarms = ?, last_output_at = ?, node = ?
                WHERE job_id = ? AND number = ? AND status = 'running'
                """,
                values,
            )
            rows = connection.execute(
                """
                UPDATE jobs SET updated_at = ?1, duration_s = max(0, ?1 - started_at)
                WHERE id = ?2 AND status = 'running' RETURNING cancel_requested
                """,
                (at, claim.job_id),
            ).fetchall()
            if rows:
                self.tell(connection, news if claim.notify else (), at)
        return any(row["cancel_requested"] for row in rows)

    def record_machine(self, claim: Claim, use: MachineUse) -> None:
        """Record what the machine does while an attempt runs; peaks are kept."""
        mine = (claim.job_id, claim.attempt)
        with self._database.writing() as connection:
            rows = connection.execute("SELECT machine FROM attempts WHERE job_id = ? AND number = ?", mine).fetchall()
            if rows:
                kept = to_json(asdict(use.after(machine_from(rows[0]["machine"]))))
                connection.execute("UPDATE attempts SET machine = ? WHERE job_id = ? AND number = ?", (kept, *mine))

    def progress_of(self, claim: Claim) -> Progress:
        """The progress of an attempt as recorded last."""
        chosen = "SELECT progress FROM attempts WHERE job_id = ? AND number = ?"
        rows = self._rows(chosen, claim.job_id, claim.attempt)
        return progress_from(rows[0]["progress"]) if rows else Progress()

    def record_artifacts(
        self,
        claim: Claim,
        files: Sequence[FoundFile],
        keys: Mapping[str, str],
        known: Sequence[FoundFile] | None = None,
    ) -> None:
        """Record the files an attempt has now.

        Args:
            keys: Path -> key of the file's copy in the object store.
            known: What was recorded last, so that only differences are written; None when that is unknown.
        """
        former, paths = set(known or ()), {file.path for file in files}
        gone = {file.path for file in former} - paths
        rows = [
            {
                "job_id": claim.job_id,
                "attempt": claim.attempt,
                "path": file.path,
                "kind": file.kind.value,
                "size_bytes": file.size_bytes,
                "created_at": file.modified_at.timestamp(),
                "epoch": file.epoch,
                "step": file.step,
                "prompt_index": file.prompt_index,
                "prompt": file.prompt,
                "key": keys.get(file.path),
            }
            for file in files
            if file not in former or file.path in keys
        ]
        with self._database.writing() as connection:
            if known is None:
                whole = "DELETE FROM artifacts WHERE job_id = ? AND attempt = ?"
                connection.execute(whole, (claim.job_id, claim.attempt))
            one = "DELETE FROM artifacts WHERE job_id = ? AND attempt = ? AND path = ?"
            connection.executemany(one, [(claim.job_id, claim.attempt, path) for path in gone])
            if rows:
                columns = rows[0].keys()
                statement = f"INSERT OR REPLACE INTO artifacts ({', '.join(columns)}) VALUES (:{', :'.join(columns)})"
                connection.executemany(statement, rows)
            bad = [(claim.job_id, claim.attempt, file.path) for file in files if file.holds_nan]
            connection.executemany("INSERT OR IGNORE INTO nan_files VALUES (?, ?, ?)", bad)

    def finish(self, claim: Claim, end: AttemptEnd) -> bool:
        """Record how an attempt ended, and queue the next one if it goes on; False if its end was already recorded.

        What a person asked to cancel does not go on.
        """
        at = max(end.finished_at, claim.started_at)  # the clock may have been set back
        with self._database.writing() as connection:
            job = connection.execute("SELECT * FROM jobs WHERE id = ?", (claim.job_id,)).fetchone()
            ended = connection.execute(
                """
                UPDATE jobs SET status = ?, finished_at = ?, updated_at = ?, duration_s = ?, size_bytes = ?,
                    cancel_requested = 0
                WHERE id = ? AND attempt = ? AND status = 'running'
                """,
                (end.verdict.status, at, at, at - claim.started_at, end.size_bytes, claim.job_id, claim.attempt),
            ).rowcount
            connection.execute(
                """
                UPDATE attempts SET status = ?, finished_at = ?, exit_code = ?, progress = ifnull(?, progress),
                    failure = ?, alarms = ?, last_output_at = ifnull(?, last_output_at), node = ifnull(?, node)
                WHERE job_id = ? AND number = ? AND status = 'running'
                """,
                (
                    end.verdict.status,
                    at,
                    end.exit_code,
                    progress_json(end.progress) if end.progress else None,
                    failure_json(end.verdict.failure),
                    to_json(list(end.verdict.alarms)),
                    end.last_output_at,
                    end.node,
                    claim.job_id,
                    claim.attempt,
                ),
            )
            if ended:
                now, goes_on = self._now().timestamp(), None if job["cancel_requested"] else end.goes_on
                if goes_on:
                    queue_again(connection, claim.job_id, goes_on, now, is_next=True, by=None)
                news = end_news(claim.run, end.verdict, at - claim.started_at, goes_on.step if goes_on else None)
                self.tell(connection, outbox.within_sweep(connection, news, job) if claim.notify else (), now)
        return ended == 1

    def former_progress(self, claim: Claim) -> Progress | None:
        """How the newest other job of the same configuration ended that succeeded; None without one."""
        with self._database.reading() as connection:
            row = connection.execute(
                """
                SELECT a.progress FROM jobs JOIN attempts AS a ON a.job_id = jobs.id AND a.number = jobs.attempt
                WHERE jobs.status = 'succeeded' AND jobs.id <> ?
                    AND config_id = (SELECT config_id FROM jobs WHERE id = ?)
                ORDER BY jobs.finished_at DESC LIMIT 1
                """,
                (claim.job_id, claim.job_id),
            ).fetchone()
        return progress_from(row["progress"]) if row else None

    def tell(self, connection: sqlite3.Connection, news: Iterable[News], at: float) -> None:
        """Keep those messages for sending that people want, within the caller's transaction."""
        outbox.put(connection, [each for each in news if each.event in self.told], at)


def _claim_from(row: sqlite3.Row, gpus: Iterable[str]) -> Claim:
    start, settings = start_from(row["start"]), settings_from(row["settings"])
    return Claim(
        job_id=row["id"],
        attempt=row["attempt"],
        name=row["name"],
        settings=start.applied(settings) if start else settings,
        dataset_id=row["dataset_id"],
        time_limit_s=row["time_limit_s"],
        started_at=row["started_at"],
        cancel_requested=bool(row["cancel_requested"]),
        notify=bool(row["notify"]),
        gpus=tuple(gpus),
        origin=origin_from(row["origin"]),
        place=place_from(row["place"]),
        start=start,
        more_data=more_data_from(row["more_data"]),
    )
