"""The embedded source: jobs on this machine, stored in SQLite and run by a separate worker process."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from lib.embedded.datasets.sample import prepare
from lib.embedded.files.job_files import JobFiles
from lib.embedded.files.privacy import close_to_others
from lib.embedded.store.jobs import Store
from lib.embedded.trainers.recipe import all_parameters, shown_command
from lib.embedded.trainers.registry import DEFAULT_RECIPES, load_recipes
from lib.embedded.trainers.trainer_check import TrainerChecks
from lib.embedded.worker.gpus import find_gpus
from lib.embedded.worker.launcher import WorkerLauncher, settings_name
from lib.embedded.worker.processes import TRAINER_VARIABLE
from lib.embedded.worker.supervisor import trainer_environ
from lib.errors import ArtifactError, DashboardError, InvalidRequest, WorkerError
from lib.jobs.annotations import Annotations
from lib.jobs.dataset import Dataset
from lib.jobs.highlights import Highlights
from lib.jobs.job import Artifact, Job, JobStatus, LossPoint, Origin, PresignedUrl
from lib.jobs.job_request import JobRequest
from lib.jobs.query import JobPage, JobQuery
from lib.jobs.resume import ResumePoint
from lib.jobs.sweep import SweepValues, sweep_requests
from lib.jobs.trainer_check import TrainerCheck
from lib.jobs.training_settings import Parameter, TrainingConfig, TrainingSettings
from lib.ray_settings import LOCAL, RaySettings
from lib.settings import NotifySettings, Settings, TrainingRules
from lib.sources.embedded.chosen_data import ChosenData
from lib.sources.embedded.datasets import EmbeddedDatasets
from lib.sources.embedded.health import check_health
from lib.sources.embedded.places import Places
from lib.sources.embedded.planning import Planner
from lib.sources.embedded.resuming import Resuming
from lib.sources.embedded.watching import NOTHING_TO_WATCH, Watching
from lib.sources.protocol import (
    WINDOWS,
    Action,
    HealthCheck,
    JobSource,
    LocalFile,
    LogChunk,
    OutcomeBucket,
    Preview,
    bucket_starts,
    no_such_file,
)

if TYPE_CHECKING:  # boto3 takes a second to import, and most installations have no store
    from lib.artifacts.object_store import ObjectStore
    from lib.embedded.ray.client import RayClient


class EmbeddedSource(JobSource):
    """Everything of one data folder. Raises StoreError when the folder or its database cannot be used.

    Args:
        gpus: The cards that trainers get; empty: all there are.
        trainer_paths: Setting name -> where that trainer is installed.
        trainer_env: Variables that only trainers get.
        rules: What a configuration may run.
        watch_dirs: Folders in which runs may be watched.
        notify: Who is told of what.
        executors: Where jobs may run; the first is the usual one.
        ray: The cluster, where ``executors`` name it.
        recipes: ``module:function`` that builds the trainer recipes, here and in the worker.
        files: Where the worker copies artifacts; None keeps them on this machine only.
        launcher: Starts the worker; made from the values above unless given.
    """

    name = "embedded"
    takes_more_data = True

    def __init__(
        self,
        data_dir: Path,
        *,
        max_parallel: int = 1,
        gpus: Sequence[str] = (),
        trainer_paths: Mapping[str, Path] = MappingProxyType({}),
        trainer_env: Mapping[str, str] = MappingProxyType({}),
        rules: TrainingRules = TrainingRules(),  # noqa: B008 (frozen)
        watch_dirs: Sequence[Path] = (),
        notify: NotifySettings = NotifySettings(),  # noqa: B008 (frozen)
        executors: Sequence[str] = (LOCAL,),
        ray: RaySettings | None = None,
        recipes: str = DEFAULT_RECIPES,
        files: "ObjectStore | None" = None,
        launcher: WorkerLauncher | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        data_dir = data_dir.absolute()  # the worker has another working directory
        self.data_dir = data_dir
        self._now = now
        self._store = Store(data_dir, now)
        close_to_others(data_dir)
        self.datasets: EmbeddedDatasets = EmbeddedDatasets(data_dir, self._store)
        self._chosen = ChosenData(self.datasets)
        self.configs = self._store.configs
        self._files = JobFiles(data_dir, self._store.elsewhere.place_of)
        self._watch_dirs = tuple(watch_dirs)
        if not watch_dirs:
            self.refused = {Action.WATCH: NOTHING_TO_WATCH}
        self._watching = Watching(self._store, data_dir, now)
        self._object_store = files
        self._notify, self._store.runs.told = notify, notify.told
        self.notifies = bool(notify.urls)
        known = load_recipes(recipes, Settings(data_dir=data_dir, trainer_paths=trainer_paths, rules=rules))
        self.trainers = {name: recipe.label for name, recipe in known.items()}
        self.executors = tuple(executors) if ray else ()
        client = _cluster_client(ray) if ray else None
        self._cluster_client = client
        self.cluster = partial(client.cluster, with_load=True) if client else None
        places = Places(tuple(executors), ray)
        self._parameters = {name: {**all_parameters(recipe), **places.parameters} for name, recipe in known.items()}
        self._resuming = Resuming(self._store, self._files, self.datasets, known)
        environ = {**os.environ, **{f"{TRAINER_VARIABLE}{name}": value for name, value in trainer_env.items()}}
        self._checks = TrainerChecks(known, trainer_environ(environ))
        self.checked_trainers = self._checks.trainers
        self._planner = Planner(self._store, known, data_dir, places, cache(lambda: find_gpus(gpus, environ).count))
        self._launcher = launcher or WorkerLauncher(
            data_dir,
            max_parallel=max_parallel,
            gpus=gpus,
            trainer_paths=trainer_paths,
            trainer_env=trainer_env,
            rules=rules,
            recipes=recipes,
            upload=files is not None,
            notify=notify,
            ray=ray,
        )

        for job_id in self._store.half_deleted():  # by a process that was killed
            with contextlib.suppress(DashboardError):  # the job is then what it was before
                self.delete_job(job_id)

    @property
    def store(self) -> Store:
        """The database, for commands that run beside the dashboard."""
        return self._store

    def close(self) -> None:
        """Close the database and all connections; the worker keeps running."""
        self._store.close()
        if self._object_store is not None:
            self._object_store.close()
        if self._cluster_client is not None:
            self._cluster_client.close()

    def parameters(self, trainer: str) -> Mapping[str, Parameter]:
        return self._parameters.get(trainer) or super().parameters(trainer)

    def start_check(self, settings: TrainingSettings) -> None:
        self._checks.start(settings)

    def trainer_check(self, settings: TrainingSettings) -> TrainerCheck | None:
        return self._checks.state(settings)

    def list_jobs(self, query: JobQuery) -> JobPage:
        self._keep_worker_going()
        return self._store.list_jobs(query)

    def all_jobs(self, query: JobQuery) -> Iterator[Job]:
        return self._store.all_jobs(query)

    def count_by_status(self) -> Mapping[JobStatus, int]:
        self._keep_worker_going()
        return self._store.count_by_status()

    def queued_jobs(self, take: int) -> Sequence[Job]:
        self._keep_worker_going()
        return self._store.queued_jobs(take)

    def highlights(self, jobs: Sequence[Job]) -> Mapping[str, Highlights]:
        return self._store.highlights([job.id for job in jobs])

    def get_job(self, job_id: str) -> Job:
        self._keep_worker_going()
        return self._store.get_job(job_id)

    def read_log(self, job_id: str, *, attempt: int, offset: int, limit: int = 1 << 20) -> LogChunk:
        self._store.require(job_id)
        data, size_bytes = self._files.read_log(job_id, attempt, offset, limit)
        return LogChunk(offset=offset, data=data, size_bytes=size_bytes)

    def loss_points(self, job_id: str, *, attempt: int) -> Sequence[LossPoint]:
        start = self._store.starts(job_id).get(attempt)
        points = self._files.loss_points(job_id, attempt, start)
        if start is None:
            return points
        before = self.loss_points(job_id, attempt=start.attempt)
        return (*(point for point in before if point.step <= start.step), *points)

    def create_job(self, request: JobRequest) -> Job:
        if (made := self._store.submitted_before(request.submission_id)) is not None:
            self.start_worker()
            return made
        request = self._planner.placed(request)
        dataset, config = self._checked([request]), self._config_or_none(request.config_id)
        job = self._store.submit(
            self._chosen.with_names(request),
            dataset_name=dataset.name,
            config_name=config.name if config else None,
        )
        self.start_worker()
        return job

    def create_sweep(self, request: JobRequest, values: SweepValues) -> Sequence[Job]:
        requests = sweep_requests(self._planner.placed(request), values)
        jobs = self._store.sweep_submitted_before(requests)
        if not jobs:
            dataset, config = self._checked(requests), self._config_or_none(request.config_id)
            jobs = self._store.submit_sweep(
                [self._chosen.with_names(each) for each in requests],
                request.name.strip(),
                dataset_name=dataset.name,
                config_name=config.name if config else None,
            )
        self.start_worker()
        return jobs

    def _checked(self, requests: Sequence[JobRequest]) -> Dataset:
        """The dataset of these requests. Raises InvalidRequest for the first one that cannot be accepted."""
        dataset, more = self._chosen.main(requests[0].dataset_id), self._chosen.more(requests[0].more_data)
        for request in requests:
            problems = self._planner.problems(request, dataset, more)
            if problems or dataset is None:
                what = "The job cannot be created." if len(requests) == 1 else f"No job was created: {request.name!r}."
                first, *others = problems.others or ("",)
                raise InvalidRequest(f"{what} {first}".rstrip(), fields=problems.fields, hint=" ".join(others))
        assert dataset is not None
        return dataset

    def preview(self, request: JobRequest) -> Preview:
        dataset, more = self._chosen.main(request.dataset_id), self._chosen.more(request.more_data)
        found = self._planner.preview(request, dataset, more)
        return replace(found, before=tuple(map(shown_command, found.before)), command=shown_command(found.command))

    def cancel_job(self, job_id: str) -> None:
        attempt = self._store.cancel(job_id)
        if attempt is not None:
            self._files.request_cancel(job_id, attempt)
            self.start_worker()

    def retry_job(self, job_id: str) -> Job:
        self._chosen.require(self._store.get_job(job_id))
        job = self._store.retry(job_id)
        self.start_worker()
        return job

    def resume_points(self, job_id: str) -> Sequence[ResumePoint]:
        return self._resuming.points(job_id)

    def continue_job(self, job_id: str, point_id: str, more: int) -> Job:
        self._chosen.require(self._store.get_job(job_id))
        job = self._resuming.go_on(job_id, point_id, more)
        self.start_worker()
        return job

    def move_job(self, job_id: str, places: int) -> None:
        self._store.move(job_id, places)

    def annotate_job(self, job_id: str, annotations: Annotations) -> None:
        self._store.annotate(job_id, annotations)

    def watch_job(self, place: str, name: str = "") -> Sequence[Job]:
        self.require(Action.WATCH)
        return self.watch(place, name, roots=self._watch_dirs)

    def watch(self, place: str, name: str = "", *, output: str = "", roots: Sequence[Path] | None) -> Sequence[Job]:
        """The same; ``roots`` None looks anywhere, as whoever has this account may. Raises InvalidRequest."""
        jobs = [self._store.get_job(job_id) for job_id in self._watching.take_in(place, name, output, roots)]
        self.start_worker()
        return jobs

    def delete_job(self, job_id: str) -> None:
        # The job's row goes last: while any part is left, the job can be deleted again.
        with self._store.deleting(job_id):
            if self._object_store is not None and self._store.has_copies(job_id):
                self._object_store.delete_prefix(f"jobs/{job_id}/")
            self._files.delete(job_id)

    def locate_artifact(self, job_id: str, artifact_id: str) -> LocalFile | PresignedUrl:
        job = self._store.get_job(job_id)
        for attempt in job.attempts:
            if (log := self._files.log_artifact(job, attempt)) is not None and log.id == artifact_id:
                return LocalFile(path=self._files.attempt(job_id, attempt.number).log, name=log.name)
        found = next((artifact for artifact in job.artifacts if artifact.id == artifact_id), None)
        if found is None:
            raise no_such_file()
        if (path := self._files.artifact_path(job_id, artifact_id)) is not None:
            return LocalFile(path=path, name=found.download_name)
        if job.place is not None and job.origin is Origin.WATCHED:
            where = f"The file {found.name!r} cannot be found in {job.place.output} now"
            raise ArtifactError(f"{where}.", hint="It was moved or deleted there, or the folder is out of reach.")
        if self._object_store is None or found.key is None:
            raise ArtifactError(f"The file {found.name!r} is gone from the data folder.", hint="Train it again.")
        self._object_store.head(found.key)  # a link to a missing file would open the store's error page
        return self._object_store.sign(found.key, found.download_name)

    def artifacts(self, job: Job) -> Sequence[Artifact]:
        logs = (self._files.log_artifact(job, attempt) for attempt in self._store.get_job(job.id).attempts)
        return (*self._store.artifacts(job.id), *(log for log in logs if log is not None))

    def outcomes(self, window: str) -> Sequence[OutcomeBucket]:
        if window not in WINDOWS:
            raise InvalidRequest(f"There is no window {window[:20]!r}.", hint=f"Choose {', '.join(WINDOWS)}.")
        starts, width = bucket_starts(window, self._now())
        found = self._store.outcome_counts(starts[0], width, len(starts))
        counts = [found.get(index, (0, 0)) for index in range(len(starts))]
        return [
            OutcomeBucket(start=start, end=start + width, succeeded=succeeded, failed=failed)
            for start, (succeeded, failed) in zip(starts, counts, strict=True)
        ]

    def health(self) -> Sequence[HealthCheck]:
        return check_health(
            self._store,
            self._launcher,
            self.data_dir,
            self._object_store,
            self._now,
            self._notify,
            self._cluster_client,
        )

    def start_worker(self) -> None:
        """Start a worker for what was just recorded. A failure undoes nothing: starting is tried again."""
        with contextlib.suppress(WorkerError):  # the worker's health check says why
            self._launcher.ensure(at_once=True)

    def hand_over_worker(self, settings: Settings) -> None:
        """In the background, let a worker with these settings take over from one that was started with others."""
        self._launcher.begin_hand_over(settings_name(settings))

    def _keep_worker_going(self) -> None:
        """Start a worker if the last one died, so that no job counts as running forever."""
        if self._launcher.is_look_due() and self._needs_worker():
            with contextlib.suppress(WorkerError):  # the worker's health check says why; reading goes on
                self._launcher.ensure()

    def _needs_worker(self) -> bool:
        return self._store.has_active_jobs() or (self.notifies and self._store.outbox.has_unsent())

    def _config_or_none(self, config_id: str | None) -> TrainingConfig | None:
        return next((each for each in self.configs.list() if each.id == config_id), None)


def open_embedded(settings: Settings) -> EmbeddedSource:
    """The embedded source described by the settings, with the sample dataset and configurations."""
    source = EmbeddedSource(
        settings.data_dir,
        max_parallel=settings.max_parallel,
        gpus=settings.gpus,
        trainer_paths=settings.trainer_paths,
        trainer_env=settings.trainer_env,
        rules=settings.rules,
        watch_dirs=settings.watch_dirs,
        notify=settings.notify,
        executors=settings.executors,
        ray=settings.ray,
        files=_object_store(settings),
    )
    try:
        prepare(source.datasets, source.configs.save, settings.trainer_paths)
    except BaseException:
        source.close()
        raise
    return source


def _cluster_client(settings: RaySettings) -> "RayClient":
    from lib.embedded.ray.client import PAGE_TIMEOUT_S, RayClient  # requests, which most installations do not need

    return RayClient(settings, timeout_s=PAGE_TIMEOUT_S)


def _object_store(settings: Settings) -> "ObjectStore | None":
    if settings.s3 is None:
        return None
    from lib.artifacts.object_store import ObjectStore

    return ObjectStore(settings.s3)
