"""Which jobs to list, in which order, which page of them. The one place that knows the rules."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from lib.jobs.job import Job, JobStatus

DEFAULT_TAKE = 20
MAX_TAKE = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SortBy(StrEnum):
    """What a list is sorted by; the values are the words of the URL."""

    CREATED_AT = "createdAt"
    NAME = "name"
    STATUS = "status"
    PROGRESS = "progress"
    LOSS = "loss"
    DURATION = "duration"
    FINISHED_AT = "finishedAt"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobQuery:
    """A question to a source.

    Attributes:
        statuses: Only jobs in one of these; empty means all.
        search: Case-insensitive part of name, id, dataset or configuration name; empty means all.
        executor: Only jobs that it runs: ``local`` or ``ray``; empty means all.
        tag: Only jobs that have this tag; empty means all.
        sweep: Only the jobs of the sweep with this id; empty means all.
        created_from, created_until: Half-open span of creation times, aware UTC.
        finished_from, finished_until: The same for the end of the job.
        skip, take: First row and number of rows; take is in [1, 100].
    """

    statuses: frozenset[JobStatus] = frozenset()
    search: str = ""
    executor: str = ""
    tag: str = ""
    sweep: str = ""
    created_from: datetime | None = None
    created_until: datetime | None = None
    finished_from: datetime | None = None
    finished_until: datetime | None = None
    sort_by: SortBy = SortBy.CREATED_AT
    descending: bool = True
    skip: int = 0
    take: int = DEFAULT_TAKE

    @property
    def is_filtered(self) -> bool:
        """Whether anything narrows the list."""
        return replace(self, sort_by=SortBy.CREATED_AT, descending=True, skip=0, take=DEFAULT_TAKE) != JobQuery()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPage:
    """One page of an answer.

    Attributes:
        jobs: At most ``take`` jobs.
        total: How many jobs match; with ``incomplete`` how many are known so far.
        skipped_rows: Rows of the source that could not be understood and are not shown.
        incomplete: What is still missing, in words; empty when the answer is whole.
    """

    jobs: tuple[Job, ...]
    total: int
    skipped_rows: int = 0
    incomplete: str = ""


def select_jobs(jobs: Iterable[Job], query: JobQuery, now: datetime) -> JobPage:
    """Filter, sort and page in memory, for sources that cannot do it themselves.

    What is unknown comes last in both directions; ties are ordered by creation and id.
    """
    found = [job for job in jobs if matches(job, query)]
    values = {job.id: _sort_value(job, query.sort_by, now) for job in found}
    found.sort(key=lambda job: (job.created_at or _EPOCH, job.id), reverse=query.descending)
    known = [job for job in found if values[job.id] is not None]
    known.sort(key=lambda job: values[job.id], reverse=query.descending)
    found = known + [job for job in found if values[job.id] is None]
    return JobPage(jobs=tuple(found[query.skip : query.skip + query.take]), total=len(found))


def matches(job: Job, query: JobQuery) -> bool:
    """Whether the job passes the query's filters."""
    if query.statuses and job.status not in query.statuses:
        return False
    if query.executor and job.executor != query.executor:
        return False
    if query.tag and search_key(query.tag) not in job.tags:
        return False
    if query.sweep and (job.sweep is None or job.sweep.id != query.sweep):
        return False
    if not _within(job.created_at, query.created_from, query.created_until):
        return False
    if not _within(job.finished_at, query.finished_from, query.finished_until):
        return False
    needle = search_key(query.search)
    texts = (
        job.name,
        job.id,
        job.dataset_name or job.dataset_id or "",
        job.config_name or job.config_id or "",
        *(each.name or each.dataset_id for each in job.more_data),
    )
    return not needle or any(needle in search_key(text) for text in texts)


def search_key(text: str) -> str:
    """What is compared in a search: no case, and spaces as a page shows them.

    Word joiners go: shown names have some (``lib/ui/parts/text.py``), and a name copied from a page is to be found.
    """
    return " ".join(text.replace("\u2060", "").split()).casefold()


def _within(at: datetime | None, start: datetime | None, end: datetime | None) -> bool:
    if start is None and end is None:
        return True
    return at is not None and (start is None or at >= start) and (end is None or at < end)


def _sort_value(job: Job, sort_by: SortBy, now: datetime) -> Any:
    """What a job is sorted by; None if unknown, as a loss is that is not a number."""
    match sort_by:
        case SortBy.NAME:
            return search_key(job.name)
        case SortBy.STATUS:
            return job.status.value
        case SortBy.PROGRESS:
            return job.progress.fraction
        case SortBy.LOSS:
            loss = job.progress.loss
            return None if loss is None or math.isnan(loss) else loss
        case SortBy.DURATION:
            return job.duration_s(now)
        case SortBy.FINISHED_AT:
            return job.finished_at
        case _:
            return job.created_at
