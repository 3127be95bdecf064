"""The rows of the job index in memory: reduced to what lists show, filtered and sorted on request."""

import sys
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any

from lib.jobs.annotations import Annotations, annotated
from lib.jobs.job import Job, JobLink, JobStatus
from lib.jobs.query import JobPage, JobQuery, select_jobs
from lib.jobs.training_settings import TrainingSettings
from lib.sources.influencerai.job_history import JobHistories
from lib.sources.influencerai.single_read import is_late_write, job_of
from lib.sources.influencerai.snapshot import JOB_TYPE, Snapshot

KEPT_ORDERS = 16
LISTED_SETTINGS = tuple(each.name for each in fields(TrainingSettings))
ORDER_KEPT_S = 2.0  # the order by duration changes over time


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Names of datasets and configurations by id, for lists and search."""

    datasets: Mapping[str, str] = field(default_factory=dict)
    configs: Mapping[str, str] = field(default_factory=dict)


class JobRows:
    """All known jobs. Safe to use from several threads."""

    def __init__(self, histories: JobHistories, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._histories = histories
        self._clock = clock
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}
        self._waited_at: dict[str, datetime] = {}  # pending jobs -> when they were seen to wait
        self._retries: dict[str, list[str]] = {}
        self.names = Names()
        self.written: Mapping[str, Annotations] = {}  # what people wrote on jobs, by job
        self.lacks_names = False  # whether a job was met whose dataset or configuration has no name yet
        self._nameless: frozenset[str] = frozenset()  # ids that had no name when the names were read
        self._version = 0
        self._orders: OrderedDict[JobQuery, tuple[int, float, tuple[Job, ...]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._jobs)

    def take(self, snapshots: Iterable[Snapshot], now: datetime) -> None:
        """Add or update rows from the API; outdated rows and other job types are ignored."""
        with self._lock:
            for snapshot in snapshots:
                known = self._jobs.get(snapshot.id)
                if snapshot.type == JOB_TYPE and not _is_older(snapshot, known):
                    self._put(self._row(snapshot, known, now), known)

    def put(self, job: Job) -> None:
        """Add or update a job as its own page shows it."""
        with self._lock:
            self._put(reduced(job), self._jobs.get(job.id))

    def forget(self, job_id: str) -> None:
        """Drop a job that no longer exists."""
        with self._lock:
            self._waited_at.pop(job_id, None)
            if self._jobs.pop(job_id, None):
                self._version += 1

    def rename(self, names: Names) -> None:
        """Use these names of datasets and configurations from now on."""
        with self._lock:
            self.names, self.lacks_names = names, False
            jobs = list(self._jobs.values())
            self._nameless = frozenset(key for job in jobs for key in self._unnamed(job))
            for job in jobs:
                self._put(job, job)

    def annotate(self, written: Mapping[str, Annotations]) -> None:
        """Show this on the jobs from now on."""
        with self._lock:
            changed = [job_id for job_id, each in written.items() if self.written.get(job_id) != each]
            self.written = written
            for job_id in changed:
                if job := self._jobs.get(job_id):
                    self._put(job, job)

    def named(self, job: Job) -> Job:
        """The job with the names of its dataset and configuration, if known."""
        dataset = self.names.datasets.get(job.dataset_id or "") or job.dataset_name
        config = self.names.configs.get(job.config_id or "") or job.config_name
        if (dataset, config) == (job.dataset_name, job.config_name):
            return job
        return replace(job, dataset_name=dataset, config_name=config)

    def linked(self, job: Job) -> Job:
        """The job with the names of the one that it retries and of those that retry it, as far as they are known."""
        with self._lock:
            later = [found for each in self._retries.get(job.id, ()) if (found := self._jobs.get(each))]
            origin = self._jobs.get(job.retry_of.id) if job.retry_of else None
        return replace(
            job,
            retry_of=JobLink(id=origin.id, name=origin.name) if origin else job.retry_of,
            retried_as=tuple(JobLink(id=each.id, name=each.name) for each in sorted(later, key=_made)),
        )

    def all(self) -> list[Job]:
        """Every job, in no particular order."""
        with self._lock:
            return list(self._jobs.values())

    def count(self) -> Mapping[JobStatus, int]:
        """How many jobs have each status."""
        return Counter(job.status for job in self.all())

    def select(self, query: JobQuery, now: datetime) -> JobPage:
        """One page. The sorted result is kept for other pages and viewers."""
        whole = replace(query, skip=0, take=1)
        with self._lock:
            version, jobs = self._version, list(self._jobs.values())
            kept = self._orders.get(whole)
        if kept and kept[0] == version and self._clock() - kept[1] < ORDER_KEPT_S:
            found = kept[2]
        else:
            found = select_jobs(jobs, replace(whole, take=len(jobs)), now).jobs
            self._keep_order(whole, version, found)
        return JobPage(jobs=found[query.skip : query.skip + query.take], total=len(found))

    def _keep_order(self, query: JobQuery, version: int, found: tuple[Job, ...]) -> None:
        with self._lock:
            self._orders[query] = (version, self._clock(), found)
            self._orders.move_to_end(query)
            while len(self._orders) > KEPT_ORDERS:
                self._orders.popitem(last=False)

    def _row(self, snapshot: Snapshot, known: Job | None, now: datetime) -> Job:
        has_history = self._histories.knows(snapshot.id)
        is_same = known is not None and known.updated_at is not None and known.updated_at == snapshot.updated_at
        if known and known.status.is_terminal and is_same and not has_history:
            return known
        if not has_history and known and known.status.is_terminal and is_late_write(snapshot):
            return known
        waited_at = self._waited_at.pop(snapshot.id, None)
        if has_history or snapshot.status is JobStatus.RUNNING:
            return reduced(self._histories.observe(snapshot, now, waited_at=waited_at))
        if snapshot.status is JobStatus.PENDING:
            self._waited_at[snapshot.id] = now
        return reduced(job_of(snapshot, status=snapshot.status, raw_status=snapshot.raw_status))

    def _put(self, job: Job, known: Job | None) -> None:
        job = annotated(self.named(job), self.written.get(job.id))
        if job != known:
            if known is None and job.retry_of:
                self._retries.setdefault(job.retry_of.id, []).append(job.id)
            self._jobs[job.id] = job
            self._version += 1
            self.lacks_names = self.lacks_names or not self._nameless.issuperset(self._unnamed(job))

    def _unnamed(self, job: Job) -> list[str]:
        named = ((job.dataset_id, self.names.datasets), (job.config_id, self.names.configs))
        return [key for key, names in named if key and key not in names]


def reduced(job: Job) -> Job:
    """The job without what only its own page shows."""
    return replace(job, settings=_compact(job.settings), command=(), artifacts=(), attempts=())


def _made(job: Job) -> tuple[float, str]:
    return (job.created_at.timestamp() if job.created_at else 0.0, job.id)


def _compact(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings shown in lists, with strings that many jobs share stored once."""
    return {name: _shared(settings[name]) for name in LISTED_SETTINGS if name in settings}


def _shared(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return tuple(map(_shared, value))
    return sys.intern(value) if type(value) is str else value


def _is_older(snapshot: Snapshot, known: Job | None) -> bool:
    if known is None or known.updated_at is None or snapshot.updated_at is None:
        return False
    return snapshot.updated_at < known.updated_at
