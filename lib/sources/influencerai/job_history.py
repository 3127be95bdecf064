"""Remembers what the API forgets about a job: attempts, their start times and logs, progress that never drops.

The API's status is not monotonic: a late write turns an ended job back into a running one, for about 150 ms or for
ever, and a failed job really does run again after a back-off of 5 s or more. ``finishedAt`` stays set in both cases;
the time between it and the write (``updatedAt``) tells them apart.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar

from lib.jobs.failures.causes import Cause
from lib.jobs.job import Artifact, Attempt, Failure, Job, JobStatus, LossPoint, Progress
from lib.jobs.logs.progress import ProgressParser
from lib.sources.influencerai.log_windows import FINAL_WINDOW, RUNNING_WINDOW, MergedLog
from lib.sources.influencerai.single_read import (
    QUEUE_NOTE,
    SAME_WRITE,
    is_late_write,
    is_unfinished,
    job_of,
    judged,
    merged_progress,
)
from lib.sources.influencerai.snapshot import FIRST_STAGES, Snapshot

Found = TypeVar("Found")

# ``startedAt`` is the time of the last write, so it is the start only for somebody who saw the job wait shortly before.
START_SEEN = timedelta(seconds=12)
# The API's worker tries a job this often: again after 5 s and 10 s, or later when its queue is long.
MOST_ATTEMPTS = 3
RUNS_AGAIN_WITHIN = timedelta(minutes=10)
# No late write comes after a terminal status this old.
SETTLED = timedelta(seconds=5)
MOST_JOBS = 300
MOST_LOG_BYTES = 64 << 20
JUDGED_BYTES = 256 << 10
RUNS_AGAIN_HINT = "The deployment may run it again by itself: it tries a job up to three times."
UNFINISHED = Failure(
    cause=Cause.WORKER_LOST,
    message="The API says that the job has ended and also that it is still running, and nothing was written since.",
    hint="Its last writes most likely crossed, so all may be trained: look for the LoRA file among its files "
    "(the dashboard finds them in the store if S3_BUCKET is set). If it is not there, retry the training.",
)


@dataclass(kw_only=True)
class _Run:
    """One attempt. ``after`` is the end of the attempt before it, which the API keeps in ``finishedAt``."""

    number: int
    after: datetime | None
    started_at: datetime | None
    duration_note: str = ""
    finished_at: datetime | None = None
    status: JobStatus = JobStatus.RUNNING
    progress: Progress = field(default_factory=Progress)
    failure: Failure | None = None
    alarms: tuple[str, ...] = ()
    log: MergedLog = field(default_factory=MergedLog)
    losses: dict[int, LossPoint] = field(default_factory=dict)
    parser: ProgressParser = field(default_factory=ProgressParser)
    last_output_at: datetime | None = None
    read_until: float | None = None

    def read_lines(self, lines: Sequence[str], seen_at: float) -> None:
        """Parse lines that had arrived by ``seen_at``.

        They are spread evenly over the time since the previous ones, if it is known and no line is missing between.
        """
        began = self.read_until or (self.started_at.timestamp() if self.started_at and not self.duration_note else None)
        if began is None or began >= seen_at or self.log.has_gap:
            self.parser.feed("".join(f"{line}\n" for line in lines).encode("utf-8", "replace"), seen_at)
        else:
            for number, line in enumerate(lines, 1):
                at = began + (seen_at - began) * number / len(lines)
                self.parser.feed(f"{line}\n".encode("utf-8", "replace"), at)
        self.read_until = seen_at
        self.take_losses()
        self.alarms = self.parser.alarms

    def take_losses(self, *, is_over: bool = False) -> None:
        """Keep the losses that the parser considers final."""
        for point in self.parser.drain_losses(is_over=is_over):
            self.losses[point.step] = point

    def loss_points(self) -> list[LossPoint]:
        """Every loss seen, by step. The newest may still change while the attempt runs."""
        now, points = self.progress, dict(self.losses)
        if now.step is not None and now.loss is not None and not self.status.is_terminal:
            newest = LossPoint(step=now.step, loss=now.loss, at=self.read_until, learning_rate=now.learning_rate)
            points.setdefault(now.step, newest)
        return [points[step] for step in sorted(points)]

    @property
    def runs_again_until(self) -> datetime | None:
        """Until when the deployment may try again by itself after this attempt, if it may."""
        is_over = self.status not in (JobStatus.FAILED, JobStatus.LOST) or self.number >= MOST_ATTEMPTS
        return None if is_over or self.finished_at is None else self.finished_at + RUNS_AGAIN_WITHIN

    def failure_at(self, now: datetime) -> Failure | None:
        """Why it failed, and that it may still run again by itself."""
        if self.failure is None or self.runs_again_until is None or now >= self.runs_again_until:
            return self.failure
        return replace(self.failure, hint=f"{RUNS_AGAIN_HINT} {self.failure.hint}".strip())

    def attempt(self, status: JobStatus) -> Attempt:
        """The attempt as shown, with this status."""
        return Attempt(
            number=self.number,
            status=status,
            started_at=self.started_at,
            finished_at=self.finished_at,
            progress=self.progress,
            failure=self.failure,
            alarms=self.alarms,
        )


class JobHistory:
    """One job as seen over time. Not thread-safe on its own.

    Args:
        waited_at: When the job was last seen before it ran, if it was.
    """

    def __init__(self, *, waited_at: datetime | None = None) -> None:
        self.runs: list[_Run] = []
        self._last: Snapshot | None = None
        self._shown = JobStatus.UNKNOWN
        self._raw_shown = ""
        self._waited_at = waited_at
        self._artifacts: tuple[Artifact, ...] = ()

    def observe(self, snapshot: Snapshot, now: datetime) -> None:
        """Process one read; one older than the last is ignored."""
        last = self._last
        if last and last.updated_at and snapshot.updated_at and snapshot.updated_at < last.updated_at:
            return
        self._last = snapshot.without_bulk()
        if self.runs and self.runs[-1].status.is_terminal and is_late_write(snapshot):
            self._follow(self.runs[-1], snapshot, now)
            return
        self._shown, was_shown = snapshot.status, self._shown
        if snapshot.status is JobStatus.RUNNING:
            run = self._running(snapshot, now)
            self._follow(run, snapshot, now)
            if is_unfinished(snapshot, now):
                run.status = self._shown = JobStatus.LOST
                run.finished_at, run.failure = snapshot.finished_at, UNFINISHED
                run.progress = replace(run.progress, eta_s=None)
                run.take_losses(is_over=True)
        else:
            self._waited_at = now
        if snapshot.status.is_terminal:
            self._end(self._ending(snapshot, now), snapshot, now)
            if last and was_shown.is_active and not last.status.is_terminal and not _is_settled(snapshot, now):
                self._shown = was_shown  # until a second read confirms the end
                return
        self._raw_shown, self._artifacts = snapshot.raw_status, snapshot.artifacts

    def job(self, now: datetime) -> Job:
        """The job as shown, without the raw response."""
        snapshot = self._last
        assert snapshot is not None, "observe() comes first"
        job = job_of(snapshot, status=self._shown, raw_status=self._raw_shown, artifacts=self._artifacts)
        if not self.runs:
            return job
        run, ended = self.runs[-1], self._shown.is_terminal
        # All attempts write to the same place: what is there belongs to the last one.
        job = replace(job, artifacts=tuple(replace(each, attempt=run.number) for each in job.artifacts))
        is_unconfirmed = self._shown is JobStatus.RUNNING and run.status.is_terminal
        shown = self._shown if is_unconfirmed else run.status
        last = replace(run.attempt(shown), failure=run.failure_at(now))
        attempts = (*(each.attempt(each.status) for each in self.runs[:-1]), last)
        if self._shown is JobStatus.PENDING:  # put back into the queue
            return replace(job, attempt=run.number, attempts=attempts)
        return replace(
            job,
            attempt=run.number,
            attempts=attempts,
            started_at=run.started_at,
            finished_at=run.finished_at if ended else None,
            duration_note=run.duration_note,
            progress=run.progress,
            failure=run.failure_at(now) if ended else None,
            runs_again_until=run.runs_again_until if ended else None,
            alarms=run.alarms,
            last_output_at=run.last_output_at,
        )

    def run(self, number: int) -> _Run | None:
        """An attempt by its number."""
        return next((run for run in self.runs if run.number == number), None)

    @property
    def log_bytes(self) -> int:
        """Size of all logs."""
        return sum(len(run.log.data) for run in self.runs)

    def _running(self, snapshot: Snapshot, now: datetime) -> _Run:
        """The attempt that a running job is in: the last one, or a new one."""
        run = self.runs[-1] if self.runs else None
        if run and not run.status.is_terminal and snapshot.finished_at in (run.after, None):
            return run
        if run and is_late_write(snapshot):
            return run
        if run and not run.status.is_terminal:
            run.status, run.finished_at = JobStatus.FAILED, snapshot.finished_at  # its end was missed
        if run is None and snapshot.finished_at and not is_late_write(snapshot):
            self.runs.append(_Run(number=1, after=None, started_at=None, status=JobStatus.FAILED))
            self.runs[0].finished_at = snapshot.finished_at
        return self._open(snapshot, now)

    def _ending(self, snapshot: Snapshot, now: datetime) -> _Run:
        """The attempt that a job has ended in."""
        return self.runs[-1] if self.runs else self._open(snapshot, now)

    def _open(self, snapshot: Snapshot, now: datetime) -> _Run:
        is_again = snapshot.status is JobStatus.RUNNING and not is_late_write(snapshot)
        after = snapshot.finished_at if is_again else None
        run = _Run(number=len(self.runs) + 1, after=after, started_at=snapshot.started_at)
        if not self._knows_start(snapshot, now):
            run.started_at = after or snapshot.created_at
            run.duration_note = QUEUE_NOTE if run.started_at else ""
        self.runs.append(run)
        return run

    def _knows_start(self, snapshot: Snapshot, now: datetime) -> bool:
        """Whether ``startedAt`` is the real start: every later write overwrites it with its own time."""
        if snapshot.started_at is None:
            return False
        if snapshot.status.is_terminal:
            return bool(snapshot.finished_at and snapshot.finished_at - snapshot.started_at > SAME_WRITE)
        has_just_begun = self._waited_at is not None and now - self._waited_at <= START_SEEN
        is_old = bool(snapshot.updated_at and snapshot.updated_at - snapshot.started_at > SAME_WRITE)
        return has_just_begun or is_old or snapshot.stage in FIRST_STAGES

    def _follow(self, run: _Run, snapshot: Snapshot, now: datetime) -> None:
        """Read log and progress."""
        seen_at = (snapshot.updated_at or now).timestamp()
        most_lines = FINAL_WINDOW if snapshot.status.is_terminal else RUNNING_WINDOW
        if fresh := run.log.merge(snapshot.logs, most_lines=most_lines):
            run.last_output_at = snapshot.updated_at or now
            run.read_lines(fresh, seen_at)
        run.progress = merged_progress(run.progress, run.parser.progress, snapshot)

    def _end(self, run: _Run, snapshot: Snapshot, now: datetime) -> None:
        is_repeated = run.status is snapshot.status and run.finished_at == snapshot.finished_at
        self._follow(run, snapshot, now)
        run.take_losses(is_over=True)
        run.status = snapshot.status
        run.finished_at = snapshot.finished_at or snapshot.updated_at
        if snapshot.status is JobStatus.SUCCEEDED:
            run.failure = None
        elif not is_repeated or (snapshot.stack and not (run.failure and run.failure.traceback)):
            run.failure, run.alarms = judged(snapshot, bytes(run.log.data[-JUDGED_BYTES:]), run.alarms)


class JobHistories:
    """The histories of the jobs that were looked at. The least recently seen are dropped when there are too many."""

    def __init__(self, *, most_jobs: int = MOST_JOBS, most_log_bytes: int = MOST_LOG_BYTES) -> None:
        self._lock = threading.Lock()
        self._histories: OrderedDict[str, JobHistory] = OrderedDict()
        self._most_jobs = most_jobs
        self._most_log_bytes = most_log_bytes

    def observe(self, snapshot: Snapshot, now: datetime, *, waited_at: datetime | None = None) -> Job:
        """Remember one read, and return the job as shown, without the raw response.

        ``waited_at`` is when a list showed the job as pending, in case it has no history yet.
        """
        with self._lock:
            history = self._histories.get(snapshot.id)
            if history is None:
                history = self._histories[snapshot.id] = JobHistory(waited_at=waited_at)
            self._histories.move_to_end(snapshot.id)
            history.observe(snapshot, now)
            self._forget_old()
            return history.job(now)

    def read(self, job_id: str, reader: Callable[[JobHistory], Found]) -> Found | None:
        """What ``reader`` returns for the history of a job; None if there is no history."""
        with self._lock:
            history = self._histories.get(job_id)
            return reader(history) if history else None

    def knows(self, job_id: str) -> bool:
        """Whether anything is remembered about the job."""
        return job_id in self._histories

    def forget(self, job_id: str) -> None:
        """Drop a job that no longer exists."""
        with self._lock:
            self._histories.pop(job_id, None)

    def _forget_old(self) -> None:
        sizes = {job_id: history.log_bytes for job_id, history in self._histories.items()}
        total = sum(sizes.values())
        while len(self._histories) > 1 and (len(self._histories) > self._most_jobs or total > self._most_log_bytes):
            job_id, _ = self._histories.popitem(last=False)
            total -= sizes[job_id]


def _is_settled(snapshot: Snapshot, now: datetime) -> bool:
    return bool(snapshot.updated_at and now - snapshot.updated_at > SETTLED)
