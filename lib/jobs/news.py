"""What is told of a job, or of the machine, when it matters: one short text per event, ready to be sent."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from math import isfinite

import humanize

from lib.jobs.failures.judge import Verdict
from lib.jobs.job import Job, JobLink, JobStatus
from lib.jobs.sweep import best_jobs, name_within

# The first part of the key of what is about a sweep; no job has this id.
SWEEP = "sweep"
_NAN_ALARMS = frozenset({"nan_loss", "inf_loss", "nan_latents"})


class Event(StrEnum):
    """What a notification may be about."""

    FINISHED = "finished"
    FAILED = "failed"
    NAN = "nan"
    STALLED = "stalled"
    DISK = "disk"


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """One event in words.

    Attributes:
        key: What happens only once: the same key is never told twice.
        job_id: The job to link to; None where it is about the machine.
    """

    event: Event
    key: str
    title: str
    body: str
    job_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The attempt that the news is about."""

    job_id: str
    attempt: int
    name: str

    def news(self, event: Event, what: str, body: str) -> News:
        """One event of this attempt; an event comes once per attempt."""
        key = f"{self.job_id}/{self.attempt}/{event}"
        return News(event=event, key=key, title=f"{self.name} {what}", body=body, job_id=self.job_id)


def end_news(run: Run, verdict: Verdict, lasted_s: float, goes_on_at: int | None = None) -> list[News]:
    """How the attempt ended, and where it goes on by itself. Nothing when it was cancelled: a person did that."""
    lasted = humanize.precisedelta(timedelta(seconds=round(lasted_s)), format="%d")
    told = nan_news(run, verdict.alarms)
    if verdict.status is JobStatus.SUCCEEDED:
        return [*told, run.news(Event.FINISHED, "finished", f"It took {lasted}.")]
    if verdict.status in (JobStatus.FAILED, JobStatus.LOST):
        cause = verdict.failure.message if verdict.failure else "The cause is not known."
        what = "was lost" if verdict.status is JobStatus.LOST else "failed"
        next_step = "" if goes_on_at is None else f" It goes on by itself from step {goes_on_at:,}."
        return [*told, run.news(Event.FAILED, what, f"{cause} It ran for {lasted}.{next_step}")]
    return told


def sweep_news(sweep: JobLink, jobs: Sequence[Job]) -> list[News]:
    """How a sweep ended, once all its jobs have; nothing before, and nothing where people cancelled them all.

    After a retry of one of them it is told again.
    """
    counts = Counter(job.status for job in jobs)
    if any(job.status.is_active for job in jobs) or counts[JobStatus.CANCELLED] == len(jobs):
        return []
    ended = ", ".join(f"{counts[status]} {status.value}" for status in JobStatus if counts[status])
    for best in best_jobs([job for job in jobs if job.status is JobStatus.SUCCEEDED], 1):
        if (loss := best.progress.loss) is not None and isfinite(loss):
            ended += f". The smallest last loss is {loss:.4g} ({name_within(best)})"
    attempts = sum(job.attempt for job in jobs)
    title = f"{sweep.name}: {'its job has' if len(jobs) == 1 else f'all {len(jobs)} jobs of the sweep have'} ended"
    return [News(event=Event.FINISHED, key=f"{SWEEP}/{sweep.id}/{attempts}", title=title, body=f"{ended}.")]


def nan_news(run: Run, alarms: Sequence[str]) -> list[News]:
    """The loss, or what the images became, is no number any more."""
    if not _NAN_ALARMS.intersection(alarms):
        return []
    what = "latents that are NaN" if "nan_latents" in alarms else "a loss that is NaN or infinite"
    return [run.news(Event.NAN, "has NaN values", f"The trainer reports {what}. The result is probably useless.")]


def stall_news(run: Run, quiet_s: float) -> News:
    """The training may be stuck."""
    quiet = humanize.precisedelta(timedelta(seconds=quiet_s), minimum_unit="minutes", format="%d")
    body = f"The trainer has printed nothing for {quiet}, or its first step takes far too long. It may be stuck."
    return run.news(Event.STALLED, "seems to be stuck", body)


def disk_news(problem: str, day: str) -> News:
    """The disk is nearly full; told once a day while that lasts."""
    return News(event=Event.DISK, key=f"disk/{day}", title="The disk is nearly full", body=problem)
