"""A source that keeps everything in memory: for tests, and as the shortest example of the protocol."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from lib.errors import InvalidRequest, JobNotFound, SourceError
from lib.jobs.annotations import Annotations, checked
from lib.jobs.dataset import Dataset
from lib.jobs.job import Artifact, Attempt, Job, JobLink, JobStatus, LossPoint, PresignedUrl, Progress
from lib.jobs.job_request import JobRequest
from lib.jobs.more_data import more_data_problem, named
from lib.jobs.query import JobPage, JobQuery, select_jobs
from lib.jobs.sweep import SweepValues, sweep_requests
from lib.jobs.training_settings import CONFIG_NAME_TAKEN, TrainingConfig, config_problems, setting_problems
from lib.sources.parts import Configs, Datasets
from lib.sources.protocol import (
    Action,
    HealthCheck,
    JobSource,
    LocalFile,
    LogChunk,
    OutcomeBucket,
    Preview,
    count_outcomes,
    no_such_file,
)

NO_DATASETS = "The in-memory source keeps no files, so datasets cannot be changed."


class MemoryDatasets(Datasets):
    """Datasets in a dictionary, without files."""

    def __init__(self, called: Callable[[str], None]) -> None:
        self.kept: dict[str, Dataset] = {}
        self._called = called

    def list(self) -> Sequence[Dataset]:
        self._called("datasets.list")
        return sorted(self.kept.values(), key=lambda dataset: dataset.name.casefold())

    def get(self, dataset_id: str) -> Dataset:
        self._called("datasets.get")
        return self.kept[dataset_id] if dataset_id in self.kept else super().get(dataset_id)


class MemoryConfigs(Configs):
    """Configurations in a dictionary."""

    def __init__(self, source: "MemorySource") -> None:
        self.kept: dict[str, TrainingConfig] = {}
        self._source = source

    def list(self) -> Sequence[TrainingConfig]:
        self._source._called("configs.list")
        return sorted(self.kept.values(), key=lambda config: (not config.is_default, config.name.casefold()))

    def get(self, config_id: str) -> TrainingConfig:
        self._source._called("configs.get")
        return self.kept[config_id] if config_id in self.kept else super().get(config_id)

    def save(self, config: TrainingConfig) -> TrainingConfig:
        problems = config_problems(config)
        others = (other for other in self.kept.values() if other.id != config.id)
        if any(other.name.casefold() == config.name.casefold() for other in others):
            problems["name"] = CONFIG_NAME_TAKEN
        if problems:
            raise InvalidRequest("The configuration cannot be saved.", fields=problems)
        saved = replace(config, id=config.id or f"config-{len(self.kept) + 1}", updated_at=self._source.now())
        if saved.is_default:
            self.kept = {key: replace(each, is_default=False) for key, each in self.kept.items()}
        self.kept[saved.id] = saved
        return saved

    def delete(self, config_id: str) -> None:
        if any(job.config_id == config_id and job.status.is_active for job in self._source.jobs.values()):
            raise InvalidRequest("The configuration is used by a job that has not ended.")
        self.kept.pop(self.get(config_id).id)


@dataclass(kw_only=True)
class MemorySource(JobSource):
    """Jobs in a dictionary.

    Attributes:
        failing: Every read raises it, like a source that is down.
        on_create: Called before a job is created; may raise what a source would raise then.
        on_preview: Makes the previews instead.
    """

    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    name: str = "memory"
    takes_more_data: bool = True
    trainers: Mapping[str, str] = field(default_factory=lambda: {"tiny": "tiny", "sd-scripts": "sd-scripts"})
    refused: Mapping[Action, str] = field(default_factory=lambda: {Action.CHANGE_DATASETS: NO_DATASETS})
    jobs: dict[str, Job] = field(default_factory=dict)
    logs: dict[tuple[str, int], bytes] = field(default_factory=dict)
    losses: dict[tuple[str, int], list[LossPoint]] = field(default_factory=dict)
    files: dict[tuple[str, str], LocalFile | PresignedUrl] = field(default_factory=dict)
    datasets: MemoryDatasets = field(init=False)
    configs: MemoryConfigs = field(init=False)
    submissions: dict[str, str] = field(default_factory=dict)
    failing: SourceError | None = None
    on_create: Callable[[JobRequest], object] = lambda _request: None
    on_preview: Callable[[JobRequest], Preview] | None = None
    calls: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.datasets = MemoryDatasets(self._called)
        self.configs = MemoryConfigs(self)

    def add(self, *jobs: Job) -> None:
        """Add jobs as they are."""
        self.jobs.update({job.id: job for job in jobs})

    def list_jobs(self, query: JobQuery) -> JobPage:
        self._called("list_jobs")
        return select_jobs(self.jobs.values(), query, self.now())

    def count_by_status(self) -> Mapping[JobStatus, int]:
        self._called("count_by_status")
        return Counter(job.status for job in self.jobs.values())

    def get_job(self, job_id: str) -> Job:
        self._called("get_job")
        if job_id not in self.jobs:
            raise JobNotFound(job_id)
        job = self.jobs[job_id]
        origin = self.jobs.get(job.retry_of.id) if job.retry_of else None
        later = [each for each in self.jobs.values() if each.retry_of and each.retry_of.id == job_id]
        return replace(
            job,
            queue_position=self._place(job) if job.status is JobStatus.PENDING else None,
            retry_of=replace(job.retry_of, name=origin.name if origin else "") if job.retry_of else None,
            retried_as=tuple(JobLink(id=each.id, name=each.name) for each in later),
        )

    def queued_jobs(self, take: int) -> Sequence[Job]:
        self._called("queued_jobs")
        waiting = [job for job in self.jobs.values() if job.status is JobStatus.PENDING]
        return [replace(job, queue_position=place) for place, job in enumerate(waiting[:take], 1)]

    def read_log(self, job_id: str, *, attempt: int, offset: int, limit: int = 1 << 20) -> LogChunk:
        self._called("read_log")
        self._require(job_id)
        log = self.logs.get((job_id, attempt), b"")
        return LogChunk(offset=offset, data=log[offset : offset + limit], size_bytes=len(log))

    def loss_points(self, job_id: str, *, attempt: int) -> Sequence[LossPoint]:
        self._called("loss_points")
        self._require(job_id)
        return tuple(self.losses.get((job_id, attempt), ()))

    def create_job(self, request: JobRequest) -> Job:
        self._called("create_job")
        self.on_create(request)
        if (known := self.submissions.get(request.submission_id, "")) in self.jobs:
            return self.jobs[known]
        problems = setting_problems(request.settings)
        if not request.name.strip():
            problems["name"] = "The job name is empty."
        if request.dataset_id not in self.datasets.kept:
            problems["dataset_id"] = "There is no such dataset."
        if problem := more_data_problem(request.dataset_id, request.more_data) or self._unknown(request):
            problems["more_data"] = problem
        if problems:
            raise InvalidRequest("The job cannot be created.", fields=problems)
        config = self.configs.kept.get(request.config_id or "")
        job = Job(
            id=f"job-{len(self.jobs) + 1:04d}",
            name=request.name,
            status=JobStatus.PENDING,
            raw_status="pending",
            created_at=self.now(),
            updated_at=self.now(),
            dataset_id=request.dataset_id,
            dataset_name=self.datasets.kept[request.dataset_id].name,
            more_data=named(request.more_data, {key: each.name for key, each in self.datasets.kept.items()}),
            config_id=request.config_id,
            config_name=config.name if config else None,
            trainer=request.settings.trainer,
            time_limit_s=request.time_limit_s,
            retry_of=JobLink(id=request.retry_of) if request.retry_of else None,
        )
        self.add(job)
        self.submissions[request.submission_id] = job.id
        return job

    def _unknown(self, request: JobRequest) -> str:
        is_gone = any(each.dataset_id not in self.datasets.kept for each in request.more_data)
        return "There is no such dataset." if is_gone else ""

    def create_sweep(self, request: JobRequest, values: SweepValues) -> Sequence[Job]:
        self._called("create_sweep")
        requests = sweep_requests(request, values)
        known = [self.submissions.get(each.submission_id, "") for each in requests]
        if left := [self.jobs[job_id] for job_id in known if job_id in self.jobs]:
            return left
        before = dict(self.jobs), dict(self.submissions)
        try:
            made = [self.create_job(each) for each in requests]
        except SourceError:
            self.jobs, self.submissions = before
            raise
        sweep = JobLink(id=f"sweep-{made[0].id}", name=request.name)
        made = [replace(job, sweep=sweep) for job in made]
        self.add(*made)
        return made

    def preview(self, request: JobRequest) -> Preview:
        self._called("preview")
        if self.on_preview is not None:
            return self.on_preview(request)
        problems = tuple(setting_problems(request.settings).values())
        return Preview(command=("train", request.name), problems=problems)

    def cancel_job(self, job_id: str) -> None:
        self._called("cancel_job")
        job = self._require(job_id)
        if not job.status.is_active:
            raise InvalidRequest("Only a pending or running job can be cancelled.")
        # A retry that never began counts as its own attempt: the previous one stays as it was.
        number = job.attempt + (job.status is JobStatus.PENDING and job.attempt > 0)
        cancelled = replace(job, status=JobStatus.CANCELLED, raw_status="cancelled", finished_at=self.now())
        self.add(replace(cancelled, attempt=number))

    def retry_job(self, job_id: str) -> Job:
        self._called("retry_job")
        job = self._require(job_id)
        if job.status.is_active:
            raise InvalidRequest("The job has not ended yet, so there is nothing to retry.")
        ended = Attempt(number=job.attempt, status=job.status, started_at=job.started_at)
        again = replace(
            job,
            status=JobStatus.PENDING,
            raw_status="pending",
            progress=Progress(),
            failure=None,
            started_at=None,
            finished_at=None,
            attempts=job.attempts or (ended,),
        )
        self.add(again)
        return again

    def move_job(self, job_id: str, places: int) -> None:
        self._called("move_job")
        job = self._require(job_id)
        if job.status is not JobStatus.PENDING:
            raise InvalidRequest("Only a pending job has a place in the queue.")
        queue = [each for each in self.jobs.values() if each.status is JobStatus.PENDING]
        at = queue.index(job)
        queue.insert(max(0, min(len(queue) - 1, at + places)), queue.pop(at))
        others = {each.id: each for each in self.jobs.values() if each.status is not JobStatus.PENDING}
        self.jobs = {**others, **{each.id: each for each in queue}}

    def delete_job(self, job_id: str) -> None:
        self._called("delete_job")
        if self._require(job_id).status is JobStatus.RUNNING:
            raise InvalidRequest("The job is running.", hint="Cancel it first.")
        del self.jobs[job_id]

    def annotate_job(self, job_id: str, annotations: Annotations) -> None:
        self._called("annotate_job")
        job = self._require(job_id)
        self.add(replace(job, **checked(annotations, job).changes))

    def locate_artifact(self, job_id: str, artifact_id: str) -> LocalFile | PresignedUrl:
        self._called("locate_artifact")
        self._require(job_id)
        if (job_id, artifact_id) not in self.files:
            raise no_such_file()
        return self.files[job_id, artifact_id]

    def artifacts(self, job: Job) -> Sequence[Artifact]:
        self._called("artifacts")
        return job.artifacts

    def outcomes(self, window: str) -> Sequence[OutcomeBucket]:
        self._called("outcomes")
        return count_outcomes(self.jobs.values(), window, self.now())

    def health(self) -> Sequence[HealthCheck]:
        ok = self.failing is None
        return [HealthCheck(name="Source", ok=ok, message=str(self.failing or "in memory"), checked_at=self.now())]

    def _place(self, job: Job) -> int:
        queue: Iterable[Job] = (each for each in self.jobs.values() if each.status is JobStatus.PENDING)
        return [each.id for each in queue].index(job.id) + 1

    def _require(self, job_id: str) -> Job:
        if job_id not in self.jobs:
            raise JobNotFound(job_id)
        return self.jobs[job_id]

    def _called(self, method: str) -> None:
        self.calls[method] += 1
        if self.failing is not None:
            raise self.failing
