"""A real InfluencerAI deployment as a source of jobs."""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from lib.artifacts.object_store import ObjectStore
from lib.errors import DatasetError, InvalidRequest, JobNotFound, NotSupported, SourceError
from lib.jobs.dataset import Dataset
from lib.jobs.job import Artifact, Job, JobStatus, LossPoint, PresignedUrl
from lib.jobs.query import JobPage, JobQuery
from lib.jobs.training_settings import TrainingConfig, name_problem, setting_problems
from lib.sources.influencerai.api_errors import Conflict, NotFound
from lib.sources.influencerai.artifacts import locate, stored_artifacts
from lib.sources.influencerai.catalog import (
    TRAINER,
    Names,
    config_payload,
    fetch_configs,
    fetch_datasets,
    in_our_words,
    left_to_the_deployment,
    read_config,
    read_dataset,
    settings_payload,
)
from lib.sources.influencerai.client import LONGEST_ID, InfluencerClient, path_of
from lib.sources.influencerai.health import fetch_outcomes, health_checks
from lib.sources.influencerai.index_rows import JobRows
from lib.sources.influencerai.job_history import JobHistories, JobHistory
from lib.sources.influencerai.job_index import JobIndex, Pace
from lib.sources.influencerai.shared_reads import SharedReads
from lib.sources.influencerai.snapshot import JOB_TYPE, SUBMISSION_KEY, Snapshot, read_snapshot, shortened
from lib.sources.influencerai.submission import Submissions
from lib.sources.protocol import Capabilities, HealthCheck, JobRequest, LocalFile, LogChunk, OutcomeBucket, Preview

NO_WAY = "The InfluencerAI API has no way to {}."
CAPABILITIES = Capabilities(
    refused={
        "cancel": NO_WAY.format("cancel a job"),
        "delete": NO_WAY.format("delete a job"),
        "move": NO_WAY.format("change the order of the queue"),
        "attempts": NO_WAY.format("run a job again as its next attempt; a retry makes a new job with the same values"),
        "manage_datasets": NO_WAY.format("fill a dataset from here; its own web pages do that"),
    }
)
CATALOG_KEPT_S = 10.0
FILES_KEPT_S = 10.0
OUTCOMES_KEPT_S = 30.0
HEALTH_KEPT_S = 5.0
RETRY_AGAIN_S = 10.0
RETRY_ANYWAY = "choose 'Retry training' on the page of the job"


class InfluencerSource:
    """Jobs of one deployment, files in its store.

    A retry makes a **new** job with the same values and returns it: the API cannot run a job again.

    Args:
        client: The deployment.
        files: The store of its artifacts; None when there are no credentials for it.
        pace: How often the API is asked.
        background: Whether lists are kept fresh by a thread; else at the moment somebody looks.
    """

    name = "InfluencerAI"
    trainers: Mapping[str, str] = MappingProxyType({TRAINER: f"{TRAINER} (run by the deployment)"})

    def __init__(
        self,
        client: InfluencerClient,
        *,
        files: ObjectStore | None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
        pace: Pace | None = None,
        background: bool = True,
    ) -> None:
        pace = pace or Pace()
        self.capabilities = CAPABILITIES
        self._client, self._files, self._now, self._clock = client, files, now, clock
        self._histories = JobHistories()
        self._rows = JobRows(self._histories, clock=clock)
        self._index = JobIndex(
            client, self._rows, fetch_names=self._names, pace=pace, background=background, now=now, clock=clock
        )
        self._submissions = Submissions(client)
        is_shared = float(pace.interval_s > 0)
        self._jobs = SharedReads[Job](pace.interval_s, clock=clock)
        self._stored = SharedReads[tuple[Artifact, ...]](FILES_KEPT_S * is_shared, clock=clock)
        self._datasets = SharedReads[list[Dataset]](CATALOG_KEPT_S * is_shared, clock=clock)
        self._configs = SharedReads[list[TrainingConfig]](CATALOG_KEPT_S * is_shared, clock=clock)
        self._outcomes = SharedReads[list[OutcomeBucket]](OUTCOMES_KEPT_S * is_shared, clock=clock)
        self._health = SharedReads[list[HealthCheck]](HEALTH_KEPT_S * is_shared, clock=clock)
        self._retries = SharedReads[Job](RETRY_AGAIN_S, clock=clock)
        self._retry_ids: dict[str, str] = {}

    def close(self) -> None:
        """Stop reading and give the connections back."""
        self._index.close()
        self._client.close()
        if self._files is not None:
            self._files.close()

    def list_jobs(self, query: JobQuery) -> JobPage:
        return self._index.page(query)

    def count_by_status(self) -> Mapping[JobStatus, int]:
        return self._index.count()

    def get_job(self, job_id: str) -> Job:
        return self._rows.named(self._jobs.get(job_id, lambda: self._read_job(job_id)))

    def read_log(self, job_id: str, *, attempt: int, offset: int, limit: int = 1 << 20) -> LogChunk:
        self._see(job_id)

        def read(history: JobHistory) -> LogChunk:
            run = history.run(attempt)
            log = run.log.data if run else b""
            return LogChunk(offset=offset, data=bytes(log[offset : offset + limit]), size_bytes=len(log))

        return self._histories.read(job_id, read) or LogChunk(offset=offset, data=b"", size_bytes=0)

    def loss_points(self, job_id: str, *, attempt: int) -> Sequence[LossPoint]:
        self._see(job_id)

        def read(history: JobHistory) -> list[LossPoint]:
            run = history.run(attempt)
            return run.loss_points() if run else []

        return self._histories.read(job_id, read) or []

    def create_job(self, request: JobRequest) -> Job:
        problems = setting_problems(request.settings)
        if not request.name.strip():
            problems["name"] = "The job name is empty."
        if not any(dataset.id == request.dataset_id for dataset in self.list_datasets()):
            problems["dataset_id"] = "There is no such dataset."
        if problems:
            raise InvalidRequest("The job cannot be created.", fields=problems)
        payload: dict[str, Any] = {
            "trainingName": request.name.strip(),
            "datasetId": request.dataset_id,
            "config": settings_payload(request.settings),
        }
        if request.config_id:
            payload["configId"] = request.config_id
        return self._created(self._submissions.submit(request.submission_id, payload))

    def preview(self, request: JobRequest) -> Preview:
        problems = tuple(setting_problems(request.settings).values())
        warnings = ["The worker of the deployment builds the command line; it is known when the job has ended."]
        if request.time_limit_s is not None:
            warnings.append("The InfluencerAI API knows no time limit; it is left out.")
        if left := left_to_the_deployment(request.settings):
            warnings.append(f"The deployment decides about: {', '.join(left)}.")
        return Preview(problems=problems, warnings=tuple(warnings))

    def cancel_job(self, job_id: str) -> None:
        self._refuse("cancel")

    def move_job(self, job_id: str, places: int) -> None:
        self._refuse("move")

    def delete_job(self, job_id: str) -> None:
        self._refuse("delete")

    def retry_job(self, job_id: str) -> Job:
        """A new job with the same values; a second click within seconds gives the same one."""
        job = self.get_job(job_id)
        if job.status.is_active:
            raise InvalidRequest("The job has not ended yet, so there is nothing to retry.")
        return self._retries.get(job_id, lambda: self._retry(job))

    def locate_artifact(self, job_id: str, artifact_id: str) -> LocalFile | PresignedUrl:
        return locate(self.get_job(job_id), artifact_id, self._files, self._now)

    def artifacts(self, job: Job) -> Sequence[Artifact]:
        files = self._files
        if files is None:
            return job.artifacts
        return self._stored.get(f"{job.id} {job.status} {job.attempt}", lambda: stored_artifacts(job, files))

    def list_datasets(self) -> Sequence[Dataset]:
        return self._datasets.get("", lambda: fetch_datasets(self._client))

    def get_dataset(self, dataset_id: str) -> Dataset:
        try:
            found = read_dataset(self._client.get(path_of("datasets", dataset_id)))
        except NotFound:
            found = None
        if found is None:
            raise DatasetError("There is no such dataset.", hint="It may have been deleted.")
        return found

    def list_configs(self) -> Sequence[TrainingConfig]:
        return self._configs.get("", lambda: fetch_configs(self._client))

    def get_config(self, config_id: str) -> TrainingConfig:
        return self._config(config_id)[0]

    def save_config(self, config: TrainingConfig) -> TrainingConfig:
        problems = setting_problems(config.settings)
        if problem := name_problem(config.name):
            problems["name"] = problem
        if problems:
            raise InvalidRequest("The configuration cannot be saved.", fields=problems)
        meta = self._config(config.id)[1] if config.id else {}
        path = path_of("lora-configs", config.id) if config.id else "/lora-configs"
        try:
            row = self._client.send("PATCH" if config.id else "POST", path, config_payload(config, meta))
        except Conflict as error:
            taken = {"name": "A configuration with this name exists already."}
            raise InvalidRequest("The configuration cannot be saved.", fields=taken) from error
        except InvalidRequest as error:
            raise in_our_words(error) from error
        self._configs.clear()
        return read_config(row) or config

    def delete_config(self, config_id: str) -> None:
        try:
            self._client.send("DELETE", path_of("lora-configs", config_id))
        except NotFound:
            raise _no_such_config() from None
        finally:
            self._configs.clear()

    def outcomes(self, window: str) -> Sequence[OutcomeBucket]:
        return self._outcomes.get(window, lambda: fetch_outcomes(self._client, window))

    def health(self) -> Sequence[HealthCheck]:
        return self._health.get("", lambda: health_checks(self._client, self._files, self._now))

    def _read_job(self, job_id: str) -> Job:
        return self._shown(self._read_row(job_id))

    def _read_row(self, job_id: str) -> Snapshot:
        if len(job_id) > LONGEST_ID:
            raise JobNotFound(job_id)
        try:
            return read_snapshot(self._client.get(path_of("jobs", job_id)))
        except NotFound:
            self._rows.forget(job_id)
            self._histories.forget(job_id)
            raise JobNotFound(job_id) from None

    def _shown(self, snapshot: Snapshot) -> Job:
        job = self._histories.observe(snapshot, self._now())
        if snapshot.type == JOB_TYPE:
            self._rows.put(job)
        return replace(job, payload=shortened(snapshot.payload))

    def _see(self, job_id: str) -> None:
        """Logs and losses are read off the job's own answers; they stay readable while the API does not answer."""
        try:
            self.get_job(job_id)
        except JobNotFound:
            raise
        except SourceError:
            if not self._histories.knows(job_id):
                raise

    def _created(self, snapshot: Snapshot) -> Job:
        self._jobs.forget(snapshot.id)
        return self._rows.named(self._shown(snapshot))

    def _retry(self, job: Job) -> Job:
        asked = self._read_row(job.id).payload.get("payload")  # whole: what the job shows of it is shortened
        if not isinstance(asked, Mapping):
            raise InvalidRequest(
                "The job does not say what it was started with, so it cannot be started again.",
                hint="Start a new job with its dataset and configuration.",
            )
        payload = {**asked, "retryOf": job.id}
        payload.pop(SUBMISSION_KEY, None)
        # The same id until the outcome is known: a retry after a timeout looks for the job of the one before.
        submission_id = self._retry_ids.setdefault(job.id, f"retry-{uuid.uuid4().hex}")
        created = self._submissions.submit(submission_id, payload, anyway=RETRY_ANYWAY)
        self._retry_ids.pop(job.id, None)
        return self._created(created)

    def _config(self, config_id: str) -> tuple[TrainingConfig, Mapping[str, Any]]:
        """A configuration, and what its ``meta`` holds."""
        try:
            row = self._client.get(path_of("lora-configs", config_id))
        except NotFound:
            raise _no_such_config() from None
        config = read_config(row)
        if config is None:
            raise _no_such_config()
        return config, row["meta"] if isinstance(row.get("meta"), Mapping) else {}

    def _names(self) -> Names:
        return Names(
            datasets={dataset.id: dataset.name for dataset in self.list_datasets()},
            configs={config.id: config.name for config in self.list_configs()},
        )

    def _refuse(self, action: str) -> None:
        raise NotSupported(self.capabilities.reason_against(action))


def _no_such_config() -> InvalidRequest:
    return InvalidRequest("There is no such configuration.", hint="It may have been deleted.")
