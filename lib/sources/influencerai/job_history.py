"""Remembers what the API forgets about a job: attempts, their start times and logs, progress that never drops.

The API's status is not monotonic: a late write turns an ended job back into a running one for about 150 ms, and a
failed job really does run again after a back-off of 5 s or more. ``finishedAt`` stays set in both cases; the time
between it and the write (``updatedAt``) tells them apart.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar

from lib.jobs.failures.judge import judge
from lib.jobs.job import Artifact, Attempt, Failure, Job, JobStatus, LossPoint, Progress, Stage
from lib.jobs.logs.progress import ProgressParser
from lib.jobs.logs.terminal import plain_lines
from lib.sources.influencerai.log_windows import MergedLog
from lib.sources.influencerai.snapshot import FIRST_STAGES, Snapshot

Number = TypeVar("Number", int, float)
Found = TypeVar("Found")

LATE_WRITE = timedelta(seconds=2.5)
# After this long the status is taken at face value, however odd it is.
SETTLES_AFTER = timedelta(seconds=10)
# No late write comes after a terminal status this old.
SETTLED = timedelta(seconds=5)
# Times further apart than this come from different writes.
SAME_WRITE = timedelta(seconds=2)
MOST_JOBS = 300
MOST_LOG_BYTES = 64 << 20
JUDGED_BYTES = 256 << 10
NO_LOG_HINT = "The API keeps no log of a failed job; the dashboard only has what it saw while the job ran."
QUEUE_NOTE = "including time in the queue"


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
        """Parse lines that had arrived by ``seen_at``, spread evenly over the time since the previous."""
        began = self.read_until or (self.started_at.timestamp() if self.started_at and not self.duration_note else None)
        if began is None or began >= seen_at:
            began = seen_at - len(lines)
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
            points.setdefault(now.step, LossPoint(step=now.step, loss=now.loss, at=self.read_until))
        return [points[step] for step in sorted(points)]

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
    """One job as seen over time. Not thread-safe on its own."""

    def __init__(self, *, was_pending: bool = False) -> None:
        self.runs: list[_Run] = []
        self._last: Snapshot | None = None
        self._shown = JobStatus.PENDING if was_pending else JobStatus.UNKNOWN
        self._raw_shown = ""
        self._suspect_since: datetime | None = None
        self._artifacts: tuple[Artifact, ...] = ()

    def observe(self, snapshot: Snapshot, now: datetime) -> None:
        """Process one read; one older than the last is ignored."""
        last = self._last
        if last and last.updated_at and snapshot.updated_at and snapshot.updated_at < last.updated_at:
            return
        self._last = snapshot.without_bulk()
        if self._is_late_write(snapshot, now):
            self._follow(self.runs[-1], snapshot, now)
            return
        self._suspect_since = None
        if snapshot.status is JobStatus.RUNNING:
            self._follow(self._running(snapshot), snapshot, now)
        elif snapshot.status.is_terminal:
            self._end(self._ending(snapshot), snapshot, now)
            if last and self._shown.is_active and not last.status.is_terminal and not _is_settled(snapshot, now):
                return  # keep showing the old status until a second read confirms the end
        self._shown, self._raw_shown = snapshot.status, snapshot.raw_status
        self._artifacts = snapshot.artifacts

    def job(self) -> Job:
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
        attempts = (*(each.attempt(each.status) for each in self.runs[:-1]), run.attempt(shown))
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
            failure=run.failure if ended else None,
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

    def _is_late_write(self, snapshot: Snapshot, now: datetime) -> bool:
        if not self.runs or not self.runs[-1].status.is_terminal or not is_suspect(snapshot):
            return False
        self._suspect_since = self._suspect_since or now
        return now - self._suspect_since < SETTLES_AFTER

    def _running(self, snapshot: Snapshot) -> _Run:
        """The attempt that a running job is in: the last one, or a new one."""
        run = self.runs[-1] if self.runs else None
        if run and not run.status.is_terminal and snapshot.finished_at in (run.after, None):
            return run
        if run and is_suspect(snapshot):
            run.status = JobStatus.RUNNING  # it settled: the earlier end was not real
            return run
        if run and not run.status.is_terminal:
            run.status, run.finished_at = JobStatus.FAILED, snapshot.finished_at  # its end was missed
        if run is None and snapshot.finished_at and not is_suspect(snapshot):
            self.runs.append(_Run(number=1, after=None, started_at=None, status=JobStatus.FAILED))
            self.runs[0].finished_at = snapshot.finished_at
        return self._open(snapshot)

    def _ending(self, snapshot: Snapshot) -> _Run:
        """The attempt that a job has ended in."""
        return self.runs[-1] if self.runs else self._open(snapshot)

    def _open(self, snapshot: Snapshot) -> _Run:
        is_again = snapshot.status is JobStatus.RUNNING and not is_suspect(snapshot)
        after = snapshot.finished_at if is_again else None
        run = _Run(number=len(self.runs) + 1, after=after, started_at=snapshot.started_at)
        if not self._knows_start(snapshot):
            run.started_at = after or snapshot.created_at
            run.duration_note = QUEUE_NOTE if run.started_at else ""
        self.runs.append(run)
        return run

    def _knows_start(self, snapshot: Snapshot) -> bool:
        """Whether ``startedAt`` is the real start: every later write overwrites it with its own time."""
        if snapshot.started_at is None:
            return False
        if snapshot.status.is_terminal:
            return bool(snapshot.finished_at and snapshot.finished_at - snapshot.started_at > SAME_WRITE)
        was_seen_before = self._shown is not JobStatus.UNKNOWN
        is_old = bool(snapshot.updated_at and snapshot.updated_at - snapshot.started_at > SAME_WRITE)
        return was_seen_before or is_old or snapshot.stage in FIRST_STAGES

    def _follow(self, run: _Run, snapshot: Snapshot, now: datetime) -> None:
        """Read log and progress."""
        seen_at = (snapshot.updated_at or now).timestamp()
        if fresh := run.log.merge(snapshot.logs):
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
            run.progress = replace(run.progress, fraction=1.0, stage=Stage.FINISHED.value, eta_s=None)
        elif not is_repeated or (snapshot.stack and not (run.failure and run.failure.traceback)):
            run.failure, run.alarms = judged(snapshot, bytes(run.log.data[-JUDGED_BYTES:]), run.alarms)


class JobHistories:
    """The histories of the jobs that were looked at. The least recently seen are dropped when there are too many."""

    def __init__(self, *, most_jobs: int = MOST_JOBS, most_log_bytes: int = MOST_LOG_BYTES) -> None:
        self._lock = threading.Lock()
        self._histories: OrderedDict[str, JobHistory] = OrderedDict()
        self._most_jobs = most_jobs
        self._most_log_bytes = most_log_bytes

    def observe(self, snapshot: Snapshot, now: datetime, *, was_pending: bool = False) -> Job:
        """Remember one read, and return the job as shown, without the raw response."""
        with self._lock:
            history = self._histories.get(snapshot.id)
            if history is None:
                history = self._histories[snapshot.id] = JobHistory(was_pending=was_pending)
            self._histories.move_to_end(snapshot.id)
            history.observe(snapshot, now)
            self._forget_old()
            return history.job()

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


def is_suspect(snapshot: Snapshot) -> bool:
    """Whether a row that says running may be a late write to a job that has ended."""
    ended, written = snapshot.finished_at, snapshot.updated_at
    if snapshot.status is not JobStatus.RUNNING or ended is None or written is None:
        return False
    return written - ended < LATE_WRITE


def is_fleeting(snapshot: Snapshot, now: datetime) -> bool:
    """Whether the row may be a late write so recent that the next write may still correct it."""
    return is_suspect(snapshot) and not (snapshot.updated_at and now - snapshot.updated_at > SETTLES_AFTER)


def job_of(snapshot: Snapshot, *, status: JobStatus, raw_status: str, artifacts: Sequence[Artifact] = ()) -> Job:
    """The job as a single read shows it."""
    is_over = status.is_terminal
    knows_start = bool(
        snapshot.started_at and snapshot.finished_at and snapshot.finished_at - snapshot.started_at > SAME_WRITE
    )
    has_run = is_over or status is JobStatus.RUNNING
    return Job(
        id=snapshot.id,
        name=snapshot.name,
        status=status,
        raw_status=raw_status,
        attempt=1 if has_run else 0,
        created_at=snapshot.created_at,
        started_at=(snapshot.started_at if knows_start else snapshot.created_at) if has_run else None,
        updated_at=snapshot.updated_at,
        finished_at=(snapshot.finished_at or snapshot.updated_at) if is_over else None,
        duration_note=QUEUE_NOTE if has_run and not knows_start else "",
        progress=merged_progress(Progress(), Progress(), snapshot),
        artifacts=tuple(artifacts),
        dataset_id=snapshot.dataset_id,
        dataset_name=snapshot.dataset_name,
        config_id=snapshot.config_id,
        config_name=snapshot.config_name,
        settings=snapshot.settings,
        command=snapshot.command,
    )


def merged_progress(known: Progress, told: Progress, snapshot: Snapshot) -> Progress:
    """Progress from the log wins over the worker's reading of its last line; nothing known is lost or decreases."""
    if snapshot.status is JobStatus.SUCCEEDED:
        return replace(known, fraction=1.0, stage=Stage.FINISHED.value, eta_s=None)
    knows_from_log = told.fraction is not None
    # The worker mistakes any progress bar for that of the training.
    worker_knows = told.stage != Stage.CACHING_LATENTS
    fraction, step = (snapshot.fraction, snapshot.step) if worker_knows else (None, None)
    total_steps = snapshot.total_steps if worker_knows else None
    return replace(
        told,
        fraction=told.fraction if knows_from_log else _highest(known.fraction, fraction),
        step=told.step if knows_from_log else _highest(known.step, step),
        total_steps=told.total_steps if knows_from_log else total_steps or known.total_steps,
        epoch=told.epoch if told.epoch is not None else known.epoch,
        total_epochs=told.total_epochs if told.total_epochs is not None else known.total_epochs,
        loss=told.loss if told.loss is not None else known.loss,
        stage=_stage(known, told, snapshot),
        eta_s=told.eta_s if snapshot.status is JobStatus.RUNNING else None,
    )


def judged(snapshot: Snapshot, log: bytes, alarms: tuple[str, ...]) -> tuple[Failure, tuple[str, ...]]:
    """Why an attempt failed: judged from the kept log, or else in the worker's words."""
    said = snapshot.message or "The worker gave no reason."
    verdict = judge(plain_lines(log), exit_code=_exit_code(snapshot.message), lora_count=0, alarms=alarms)
    found = verdict.failure
    if found is None or found.cause == "unknown":
        evidence = found.evidence if found else ()
        message = said if said[-1:] in ".!?" else f"{said}."
        found = Failure(cause="unknown", message=message, hint="" if log else NO_LOG_HINT, evidence=evidence)
    return replace(found, traceback=found.traceback or snapshot.stack), verdict.alarms


def _exit_code(message: str) -> int:
    last = message.rsplit("exited with code ", 1)[-1].split(" ", 1)[0]
    return int(last) if last.removeprefix("-").isdecimal() and last != "0" else 1


def _is_settled(snapshot: Snapshot, now: datetime) -> bool:
    return bool(snapshot.updated_at and now - snapshot.updated_at > SETTLED)


def _stage(known: Progress, told: Progress, snapshot: Snapshot) -> str | None:
    """The log's stage wins over "running"; any other stage from the worker wins over the log's."""
    if snapshot.stage in (None, Stage.TRAINING.value):
        from_log = None if told.stage == Stage.QUEUED else told.stage
        return from_log or snapshot.stage or known.stage
    return known.stage if snapshot.status.is_terminal else snapshot.stage


def _highest(known: Number | None, new: Number | None) -> Number | None:
    return new if known is None else known if new is None else max(known, new)
