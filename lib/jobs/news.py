"""What is told of a job, or of the machine, when it matters: one short text per event, ready to be sent."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

import humanize

from lib.jobs.failures.judge import Verdict
from lib.jobs.job import JobStatus

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


def end_news(run: Run, verdict: Verdict, lasted_s: float) -> list[News]:
    """How the attempt ended. Nothing when it was cancelled: a person did that."""
    lasted = humanize.precisedelta(timedelta(seconds=round(lasted_s)), format="%d")
    told = nan_news(run, verdict.alarms)
    if verdict.status is JobStatus.SUCCEEDED:
        return [*told, run.news(Event.FINISHED, "finished", f"It took {lasted}.")]
    if verdict.status in (JobStatus.FAILED, JobStatus.LOST):
        cause = verdict.failure.message if verdict.failure else "The cause is not known."
        what = "was lost" if verdict.status is JobStatus.LOST else "failed"
        return [*told, run.news(Event.FAILED, what, f"{cause} It ran for {lasted}.")]
    return told


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
