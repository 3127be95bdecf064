"""What a source of jobs can be asked. Pages know this protocol and no source by name.

A new source is a subclass of ``JobSource`` that implements what it has: everything else is refused with a reason, and
its control on the page is disabled.
"""

import contextlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from lib.errors import ArtifactError, JobNotFound, NotSupported
from lib.jobs.annotations import Annotations
from lib.jobs.cluster import Cluster
from lib.jobs.highlights import Highlights, highlights_of
from lib.jobs.job import Artifact, Job, JobStatus, LossPoint, PresignedUrl
from lib.jobs.job_request import JobRequest
from lib.jobs.query import MAX_TAKE, JobPage, JobQuery
from lib.jobs.resume import ResumePoint
from lib.jobs.sweep import SweepValues
from lib.jobs.trainer_check import TrainerCheck
from lib.jobs.training_settings import SETTINGS, Parameter, TrainingSettings
from lib.sources.parts import Configs, Datasets, NoConfigs, NoDatasets

WINDOWS = ("24h", "7d", "30d")
_WIDTHS_AND_COUNTS = {"24h": (timedelta(hours=1), 24), "7d": (timedelta(days=1), 7), "30d": (timedelta(days=1), 30)}


class Action(StrEnum):
    """What a source may be unable to do.

    ``RETRY_IN_PLACE``: a retry is the next attempt of the same job; ``SWEEP``: all jobs of a sweep are made at once;
    ``MORE_DATA``: a job has further datasets beside its main one.
    """

    CREATE = "create"
    CANCEL = "cancel"
    RETRY = "retry"
    CONTINUE = "continue"
    RETRY_IN_PLACE = "retry in place"
    SWEEP = "start a sweep"
    MORE_DATA = "train on several datasets"
    MOVE = "move"
    DELETE = "delete"
    ANNOTATE = "annotate"
    WATCH = "watch"
    CHANGE_DATASETS = "change datasets"
    CHANGE_CONFIGS = "change configurations"


_NOT_OF_JOBS = (Action.SWEEP, Action.MORE_DATA, Action.CHANGE_DATASETS, Action.CHANGE_CONFIGS)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogChunk:
    """A piece of a raw log: ``data`` begins at byte ``offset`` of ``size_bytes`` known now."""

    offset: int
    data: bytes
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What would run: the commands before the training, its own, and the problems that prevent it (empty: none).

    ``writes_bytes`` is about what it writes, ``free_bytes`` what is free there; None where that is not known.
    """

    before: tuple[tuple[str, ...], ...] = ()
    command: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    steps: int | None = None
    estimate_s: float | None = None
    estimate_basis: str = ""
    base_model: str = ""
    writes_bytes: int | None = None
    free_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """One part's health. ``ok`` None: not known or not needed now."""

    name: str
    ok: bool | None
    message: str
    checked_at: datetime
    latency_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeBucket:
    """How many jobs ended in [start, end): succeeded, and failed or lost."""

    start: datetime
    end: datetime
    succeeded: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFile:
    """An artifact on this machine."""

    path: Path
    name: str


def bucket_starts(window: str, now: datetime) -> tuple[list[datetime], timedelta]:
    """Where the buckets of one of the ``WINDOWS`` begin, oldest first, and how wide they are.

    They begin at full hours or at midnight UTC; the last one is the current, unfinished one.
    """
    width, count = _WIDTHS_AND_COUNTS[window]
    current = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if width >= timedelta(days=1):
        current = current.replace(hour=0)
    return [current - width * age for age in reversed(range(count))], width


def count_outcomes(jobs: Iterable[Job], window: str, now: datetime) -> list[OutcomeBucket]:
    """How many of all jobs ended in each bucket of one of the ``WINDOWS``."""
    starts, width = bucket_starts(window, now)
    ended = Counter(((job.finished_at - starts[0]) // width, job.status) for job in jobs if job.finished_at)
    return [
        OutcomeBucket(
            start=start,
            end=start + width,
            succeeded=ended[place, JobStatus.SUCCEEDED],
            failed=ended[place, JobStatus.FAILED] + ended[place, JobStatus.LOST],
        )
        for place, start in enumerate(starts)
    ]


def no_such_file() -> ArtifactError:
    """The error for an id that leads to no file of the job."""
    return ArtifactError("The job has no such file.", hint="Open the job to see its files.")


class JobSource(ABC):
    """A source of jobs. Every method raises ``lib.errors.SourceError`` or ``StoreError`` on failure.

    Attributes:
        name: What the source is called in a sentence.
        refused: Why the source cannot do something, in its own words, shown beside the disabled control. An action
            that a source does not implement is refused in general words.
        trainers: Name -> label of every trainer that a job can be started with.
        checked_trainers: Names of those whose start can be tried with ``start_check``.
        used_settings: What its trainers take; other settings are kept with a configuration and change nothing.
        lists_samples: Whether the newest samples of a whole list are known without a request for each job.
        takes_more_data: Whether a job may have further datasets (``JobRequest.more_data``).
        executors: Where a job may run, the usual place first; empty where that is not chosen.
        cluster: Reads the cluster that runs jobs, or raises SourceError; None where there is none.
        notifies: Whether it tells people when a job ends, unless its request says otherwise.
        datasets, configs: Empty for a source that has none.
    """

    name: str
    refused: Mapping[Action, str] = MappingProxyType({})
    trainers: Mapping[str, str] = MappingProxyType({})
    checked_trainers: frozenset[str] = frozenset()
    used_settings: frozenset[str] = frozenset(SETTINGS)
    lists_samples: bool = True
    notifies: bool = False
    takes_more_data: bool = False
    executors: tuple[str, ...] = ()
    cluster: Callable[[], Cluster] | None = None
    datasets: Datasets = NoDatasets()
    configs: Configs = NoConfigs()

    def first_settings(self) -> TrainingSettings:
        """What a new configuration starts from, with a trainer that is there."""
        usual = TrainingSettings()
        is_there = not self.trainers or usual.trainer in self.trainers
        return usual if is_there else replace(usual, trainer=next(iter(self.trainers)))

    def parameters(self, trainer: str) -> Mapping[str, Parameter]:
        """Setting -> what the trainer calls it, of all settings that it uses."""
        return dict.fromkeys(self.used_settings, Parameter())

    def start_check(self, settings: TrainingSettings) -> None:
        """Try in the background whether the trainer starts that these settings need, unless it is being tried."""
        raise NotSupported(f"The source {self.name} cannot check the trainer {settings.trainer[:80]}.")

    def trainer_check(self, settings: TrainingSettings) -> TrainerCheck | None:
        """What came of the last try, or that it goes on; None when nobody asked for one."""
        return None

    def in_effect(self, settings: TrainingSettings) -> TrainingSettings:
        """The settings as its trainers take them: those that they do not use are as if not set."""
        unused = {name: getattr(TrainingSettings(), name) for name in SETTINGS if name not in self.used_settings}
        return replace(settings, **unused)

    @abstractmethod
    def list_jobs(self, query: JobQuery) -> JobPage:
        """One page of the jobs that match."""

    def all_jobs(self, query: JobQuery) -> Iterator[Job]:
        """Every job that matches, in the query's order and each once, whatever page the query asks for."""
        seen: set[str] = set()  # new jobs shift the pages meanwhile
        skip = 0
        while True:
            page = self.list_jobs(replace(query, skip=skip, take=MAX_TAKE))
            for job in page.jobs:
                if job.id not in seen:
                    seen.add(job.id)
                    yield job
            skip += MAX_TAKE
            if skip >= page.total:
                return

    @abstractmethod
    def count_by_status(self) -> Mapping[JobStatus, int]:
        """How many jobs have each status."""

    def queued_jobs(self, take: int) -> Sequence[Job]:
        """The first pending jobs in the order in which they will run; with ``queue_position`` where that is certain."""
        oldest_first = JobQuery(statuses=frozenset({JobStatus.PENDING}), descending=False, take=take)
        return self.list_jobs(oldest_first).jobs

    def highlights(self, jobs: Sequence[Job]) -> Mapping[str, Highlights]:
        """Job id -> newest sample and LoRA, for a few jobs at once; a job that is gone is missing."""
        found = {}
        for job in jobs:
            with contextlib.suppress(JobNotFound):
                known = self.get_job(job.id)
                found[job.id] = highlights_of(self.artifacts(known), known.best)
        return found

    @abstractmethod
    def get_job(self, job_id: str) -> Job:
        """One job with attempts, artifacts and payload. Raises JobNotFound."""

    @abstractmethod
    def read_log(self, job_id: str, *, attempt: int, offset: int, limit: int = 1 << 20) -> LogChunk:
        """At most ``limit`` raw bytes from ``offset``; empty ``data`` when there is nothing more now."""

    @abstractmethod
    def health(self) -> Sequence[HealthCheck]:
        """The checks of source, store, worker and disk. Never raises: a failed check says so."""

    def loss_points(self, job_id: str, *, attempt: int) -> Sequence[LossPoint]:
        """Every loss seen, by step, with learning rate and gradient norm where they are known; the same step is given
        once. Raises JobNotFound.
        """
        self.get_job(job_id)
        return ()

    def artifacts(self, job: Job) -> Sequence[Artifact]:
        """All files of a job with sizes; may ask the store, unlike ``job.artifacts``."""
        return job.artifacts

    def locate_artifact(self, job_id: str, artifact_id: str) -> LocalFile | PresignedUrl:
        """Where the file is right now; a link is signed for this call. Raises ArtifactError."""
        self.get_job(job_id)
        raise no_such_file()

    def outcomes(self, window: str) -> Sequence[OutcomeBucket]:
        """Outcomes over ``24h`` (full hours), ``7d`` or ``30d`` (days in UTC), oldest first; the last is unfinished.

        Empty if unknown.
        """
        return ()

    def preview(self, request: JobRequest) -> Preview:
        """What ``create_job`` would run, without doing it."""
        return Preview()

    def create_job(self, request: JobRequest) -> Job:
        """Submit a job. Raises InvalidRequest with field messages."""
        raise self._refusal(Action.CREATE)

    def create_sweep(self, request: JobRequest, values: SweepValues) -> Sequence[Job]:
        """Submit a job for each combination of these values, all or none, in the order they will run.

        Raises InvalidRequest with field messages.
        """
        raise self._refusal(Action.SWEEP)

    def cancel_job(self, job_id: str) -> None:
        """Stop a pending or running job."""
        raise self._refusal(Action.CANCEL)

    def retry_job(self, job_id: str) -> Job:
        """Run an ended job again with the same settings: its next attempt, or a new job."""
        raise self._refusal(Action.RETRY)

    def resume_points(self, job_id: str) -> Sequence[ResumePoint]:
        """Where an ended job can go on, what can be used before what cannot, states before weights, newest first.

        Empty where there is nothing.
        """
        return ()

    def continue_job(self, job_id: str, point_id: str, more: int) -> Job:
        """Go on with an ended job from one of its resume points: its next attempt, or a new job.

        Args:
            more: Epochs to add to the whole training, or steps where the job counts those; 0 only finishes it.

        Raises:
            InvalidRequest: With a message for ``more`` where nothing would be left to train.
        """
        raise self._refusal(Action.CONTINUE)

    def move_job(self, job_id: str, places: int) -> None:
        """Move a pending job in the queue: -1 is one place nearer to the front."""
        raise self._refusal(Action.MOVE)

    def delete_job(self, job_id: str) -> None:
        """Delete an ended or pending job with its files."""
        raise self._refusal(Action.DELETE)

    def annotate_job(self, job_id: str, annotations: Annotations) -> None:
        """Change what people wrote on a job. Raises InvalidRequest with field messages."""
        raise self._refusal(Action.ANNOTATE)

    def watch_job(self, place: str, name: str = "") -> Sequence[Job]:
        """Take in the runs that a log file or a folder holds, newest first, as jobs that are only watched.

        Those that are known already are not taken in twice: they are among the answer. Raises InvalidRequest.
        """
        raise self._refusal(Action.WATCH)

    def forget_reads(self) -> None:  # noqa: B027  nothing is kept by default
        """Ask afresh next time: a source that keeps answers for a while forgets them, failures included."""

    def reason_against(self, action: Action) -> str:
        """Why the source cannot do ``action``; empty when it can."""
        if action in self.refused:
            return self.refused[action]
        what = action if action in _NOT_OF_JOBS else f"{action} jobs"
        return "" if self._implements(action) else f"The source {self.name} cannot {what}."

    def require(self, action: Action) -> None:
        """Raise NotSupported with the reason when the source cannot do ``action``."""
        if self.reason_against(action):
            raise self._refusal(action)

    def _implements(self, action: Action) -> bool:
        if action is Action.CHANGE_DATASETS:
            return type(self.datasets).create is not Datasets.create
        if action is Action.CHANGE_CONFIGS:
            return type(self.configs).save is not Configs.save
        if action is Action.MORE_DATA:
            return self.takes_more_data
        method = "create_sweep" if action is Action.SWEEP else f"{action}_job"
        return action is Action.RETRY_IN_PLACE or getattr(type(self), method) is not getattr(JobSource, method)

    def _refusal(self, action: Action) -> NotSupported:
        return NotSupported(self.reason_against(action))
