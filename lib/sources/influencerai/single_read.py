"""What a single read of a job says, in our words: the job, its progress, and why it failed."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

from lib.jobs.failures.causes import Cause
from lib.jobs.failures.judge import judge
from lib.jobs.job import Artifact, Failure, Job, JobLink, JobStatus, Progress, Stage
from lib.jobs.logs.progress import ProgressParser
from lib.jobs.logs.terminal import plain_lines
from lib.sources.influencerai.snapshot import TRAINER, Snapshot

Number = TypeVar("Number", int, float)

LATE_WRITE = timedelta(seconds=2.5)
# A late write that nothing follows for this long is the last word of the API.
GIVEN_UP_AFTER = timedelta(minutes=1)
# Times further apart than this come from different writes.
SAME_WRITE = timedelta(seconds=2)
NO_LOG_HINT = "The API keeps no log of a failed job; the dashboard only has what it saw while the job ran."
QUEUE_NOTE = "including time in the queue"


def is_late_write(snapshot: Snapshot) -> bool:
    """Whether a row that says running was written so shortly after its end that no new attempt can have begun."""
    ended, written = snapshot.finished_at, snapshot.updated_at
    if snapshot.status is not JobStatus.RUNNING or ended is None or written is None:
        return False
    return written - ended < LATE_WRITE


def is_unfinished(snapshot: Snapshot, now: datetime) -> bool:
    """Whether a late write has remained the last word: the job has ended, but its row never says how."""
    return is_late_write(snapshot) and snapshot.updated_at is not None and now - snapshot.updated_at >= GIVEN_UP_AFTER


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
        progress=merged_progress(Progress(), _last_bar(snapshot) if is_over else Progress(), snapshot),
        failure=_said(snapshot) if status is JobStatus.FAILED else None,
        artifacts=tuple(artifacts),
        dataset_id=snapshot.dataset_id,
        dataset_name=snapshot.dataset_name,
        config_id=snapshot.config_id,
        config_name=snapshot.config_name,
        settings=snapshot.settings,
        trainer=TRAINER,
        command=snapshot.command,
        retry_of=JobLink(id=snapshot.retry_of) if snapshot.retry_of else None,
    )


def _last_bar(snapshot: Snapshot) -> Progress:
    """What the last progress bar of the log says: enough for a list, and quick."""
    parser = ProgressParser()
    if line := next((line for line in reversed(snapshot.logs) if "%|" in line), ""):
        parser.feed(f"{line}\n".encode("utf-8", "replace"), None)
    return parser.progress


def merged_progress(known: Progress, told: Progress, snapshot: Snapshot) -> Progress:
    """Progress from the log wins over the worker's reading of its last line; nothing known is lost or decreases."""
    knows_from_log = told.fraction is not None
    # The worker mistakes any progress bar for that of the training.
    worker_knows = told.stage != Stage.CACHING_LATENTS
    fraction, step = (snapshot.fraction, snapshot.step) if worker_knows else (None, None)
    total_steps = snapshot.total_steps if worker_knows else None
    merged = replace(
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
    if snapshot.status is JobStatus.SUCCEEDED:
        return replace(merged, fraction=1.0, stage=Stage.FINISHED.value)
    return merged


def judged(snapshot: Snapshot, log: bytes, alarms: tuple[str, ...]) -> tuple[Failure, tuple[str, ...]]:
    """Why an attempt failed: judged from the kept log, or else in the worker's words."""
    verdict = judge(plain_lines(log), exit_code=_exit_code(snapshot.message), lora_count=0, alarms=alarms)
    found = verdict.failure
    if found is None or found.cause == "unknown":
        evidence = found.evidence if found else ()
        found = replace(_said(snapshot), hint="" if log else NO_LOG_HINT, evidence=evidence)
    return replace(found, traceback=found.traceback or snapshot.stack), verdict.alarms


def _said(snapshot: Snapshot) -> Failure:
    """The failure in the worker's words."""
    said = snapshot.message or "The worker gave no reason."
    return Failure(cause=Cause.UNKNOWN, message=said if said[-1:] in ".!?" else f"{said}.")


def _exit_code(message: str) -> int:
    last = message.rsplit("exited with code ", 1)[-1].split(" ", 1)[0]
    return int(last) if last.removeprefix("-").isdecimal() and last != "0" else 1


def _stage(known: Progress, told: Progress, snapshot: Snapshot) -> str | None:
    """The log's stage wins over "running"; any other stage from the worker wins over the log's."""
    if snapshot.stage in (None, Stage.TRAINING.value):
        from_log = None if told.stage == Stage.QUEUED else told.stage
        return from_log or snapshot.stage or known.stage
    return known.stage if snapshot.status.is_terminal else snapshot.stage


def _highest(known: Number | None, new: Number | None) -> Number | None:
    return new if known is None else known if new is None else max(known, new)
