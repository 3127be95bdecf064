"""When to read a job again: often until its end was seen twice, then rarely or not at all."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from lib.jobs.job import Job, JobStatus
from lib.services import SHARED_READ_S

POLL_MS = 2_000
LOSS_POLL_MS = 3_000
RESULTS_POLL_MS = 10_000
SLOW_POLL_MS = 60_000
CONFIRMING_READS = 2
# A source may retry a failed job by itself, usually within seconds (the InfluencerAI worker after 5 s and 10 s) and
# never after this window.
RERUN_SOON = timedelta(seconds=20)
RERUN_WINDOW = timedelta(minutes=10)
SILENT_AFTER = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What a viewer has seen. ``ended_reads`` counts consecutive reads that showed the job as ended."""

    read_at: datetime | None = None
    ended_reads: int = 0

    @property
    def is_confirmed(self) -> bool:
        """Whether the end was seen often enough: a source may report it too early."""
        return self.ended_reads >= CONFIRMING_READS


def next_watch(watch: Watch, job: Job, read_at: datetime) -> Watch:
    """What was seen after another read. A read shared with other viewers is still the same one and confirms nothing."""
    # A negative difference means that the clock was set back; it is another read then.
    if watch.read_at is not None and 0 <= (read_at - watch.read_at).total_seconds() < SHARED_READ_S:
        return watch
    return Watch(read_at=read_at, ended_reads=watch.ended_reads + 1 if job.status.is_terminal else 0)


def poll_interval_ms(job: Job, watch: Watch, now: datetime) -> int | None:
    """Milliseconds until the next read; None when nothing will change by itself."""
    is_unsure = job.status.is_terminal and not watch.is_confirmed
    if job.status.is_active or is_unsure or _may_run_again(job, now, RERUN_SOON):
        return POLL_MS
    # One read more than the span, so that the page no longer says that the job may run again.
    if job.runs_again_until and now < job.runs_again_until + timedelta(milliseconds=RESULTS_POLL_MS):
        return RESULTS_POLL_MS
    if job.status is JobStatus.UNKNOWN or has_frozen_links(job) or _may_run_again(job, now, RERUN_WINDOW):
        return SLOW_POLL_MS
    return None


def has_frozen_links(job: Job) -> bool:
    """Whether a file is available only through a link that expires."""
    return any(artifact.frozen_link is not None for artifact in job.artifacts)


def is_silent(job: Job, now: datetime) -> bool:
    """Whether the trainer has printed nothing for suspiciously long."""
    since = job.last_output_at or job.started_at
    return job.status is JobStatus.RUNNING and since is not None and now - since >= SILENT_AFTER


def _may_run_again(job: Job, now: datetime, within: timedelta) -> bool:
    ended = job.finished_at or job.updated_at
    return job.status is JobStatus.FAILED and ended is not None and now - ended < within
