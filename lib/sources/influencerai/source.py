"""A real InfluencerAI deployment as a source of jobs."""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from lib.artifacts.object_store import ObjectStore
from lib.embedded.store.side_table import SideTable
from lib.errors import DashboardError, InvalidRequest, JobNotFound, NotSupported, SettingsError, SourceError, StoreError
from lib.jobs.annotations import Annotations, annotated, checked
from lib.jobs.dataset import Dataset
from lib.jobs.job import Artifact, Job, JobStatus, LossPoint, PresignedUrl
from lib.jobs.job_request import JobRequest
from lib.jobs.query import JobPage, JobQuery
from lib.jobs.training_settings import TrainingConfig, setting_problems
from lib.settings import Settings
from lib.sources.influencerai.api_errors import NotFound
from lib.sources.influencerai.artifacts import locate, stored_artifacts
from lib.sources.influencerai.client import LONGEST_ID, InfluencerClient, path_of
from lib.sources.influencerai.configs import ApiConfigs, api_settings, left_to_the_deployment
from lib.sources.influencerai.datasets import ApiDatasets
from lib.sources.influencerai.health import health_checks
from lib.sources.influencerai.index_rows import JobRows, Names
from lib.sources.influencerai.job_history import JobHistories, JobHistory
from lib.sources.influencerai.job_index import Intervals, JobIndex
from lib.sources.influencerai.snapshot import (
    API_FIELDS,
    JOB_TYPE,
    RETRY_KEY,
    SUBMISSION_KEY,
    TRAINER,
    Snapshot,
    read_snapshot,
    shortened,
)
from lib.sources.influencerai.submission import Submissions
from lib.sources.protocol import Action, HealthCheck, JobSource, LocalFile, LogChunk, OutcomeBucket, Preview
from lib.sources.reads import Reads

NO_WAY = "The InfluencerAI API has no way to {}."
REFUSED = {
    Action.CANCEL: NO_WAY.format("cancel a job"),
    Action.DELETE: NO_WAY.format("delete a job"),
    Action.ANNOTATE: NO_WAY.format("rename a job, or to keep a star, a note or tags with it"),
    Action.MOVE: NO_WAY.format("change the order of the queue"),
    Action.RETRY_IN_PLACE: NO_WAY.format(
        "run a job again as its next attempt; a retry makes a new job with the same values"
    ),
    Action.SWEEP: NO_WAY.format("start all jobs of a sweep, or none; start them one by one"),
    Action.MORE_DATA: NO_WAY.format("train on several datasets; put their images into one"),
    Action.CHANGE_DATASETS: NO_WAY.format("fill a dataset from here; its own web pages do that"),
}
SLOW_TTL_S, NAME_TTL_S = 10.0, 60.0
DOUBLE_CLICK_S = 10.0
RETRY_ANYWAY = "choose 'Fix and retry' on the page of the job"


class InfluencerSource(JobSource):
    """Jobs of one deployment, files in its store.

    A retry makes a **new** job with the same values and returns it: the API cannot run a job again.

    Args:
        client: The deployment.
        files: The store of its artifacts; None when there are no credentials for it.
        side_table: Keeps what people write on jobs; None when nothing does.
        intervals: How often the API is asked.
        background: Whether a thread keeps lists fresh; if not, they are read when someone looks.
    """

    name = "InfluencerAI"
    refused = REFUSED
    lists_samples = False  # the files of a job are one request each
    used_settings = frozenset({"trainer", *API_FIELDS})
    datasets: ApiDatasets
    configs: ApiConfigs
    trainers = MappingProxyType({TRAINER: f"{TRAINER} (run by the deployment)"})

    def __init__(
        self,
        client: InfluencerClient,
        *,
        files: ObjectStore | None,
        side_table: SideTable | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
        intervals: Intervals | None = None,
        background: bool = True,
    ) -> None:
        intervals = intervals or Intervals()
        self._client, self._files, self._now = client, files, now
        self._job_ttl_s = intervals.interval_s
        self._slow_ttl_s = SLOW_TTL_S if intervals.interval_s else 0.0
        self._name_ttl_s = NAME_TTL_S if intervals.interval_s else 0.0
        self._reads = Reads(error_hold_s=intervals.interval_s, clock=clock)
        self.datasets = ApiDatasets(client, self._reads, ttl_s=self._slow_ttl_s)
        self.configs = ApiConfigs(client, self._reads, ttl_s=self._slow_ttl_s)
        self._histories = JobHistories()
        self._rows = JobRows(self._histories, clock=clock)
        self._index = JobIndex(
            client,
            self._rows,
            reads=self._reads,
            fetch_names=self._names,
            intervals=intervals,
            background=background,
            now=now,
            clock=clock,
        )
        self._side_table, self._side_problem = side_table, ""
        if side_table is not None:
            self.refused = {action: reason for action, reason in REFUSED.items() if action is not Action.ANNOTATE}
            self._read_side_table(side_table)
        self._submissions = Submissions(client)
        self._retries = Reads(clock=clock)  # never forgotten by an action, so that a double click starts one job
        self._retry_ids: dict[str, str] = {}

    def close(self) -> None:
        """Stop reading and give the connections back."""
        self._index.close()
        self._client.close()
        if self._files is not None:
            self._files.close()

    def list_jobs(self, query: JobQuery) -> JobPage:
        page = self._index.page(query)
        return replace(page, incomplete=" ".join(filter(None, (page.incomplete, self._side_problem))))

    def count_by_status(self) -> Mapping[JobStatus, int]:
        return self._index.count()

    def get_job(self, job_id: str) -> Job:
        job = self._reads.read(("job", job_id), lambda: self._read_job(job_id), ttl_s=self._job_ttl_s)
        return annotated(self._rows.linked(self._named(job)), self._rows.written.get(job_id))

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
        if request.more_data:
            problems["more_data"] = self.reason_against(Action.MORE_DATA)
        if not request.name.strip():
            problems["name"] = "The job name is empty."
        if not any(dataset.id == request.dataset_id for dataset in self.datasets.list()):
            problems["dataset_id"] = "There is no such dataset."
        if problems:
            raise InvalidRequest("The job cannot be created.", fields=problems)
        payload: dict[str, Any] = {
            "trainingName": request.name.strip(),
            "datasetId": request.dataset_id,
            "config": api_settings(request.settings),
        }
        if request.config_id:
            payload["configId"] = request.config_id
        if request.retry_of:
            payload[RETRY_KEY] = request.retry_of
        return self._created(self._submissions.submit(request.submission_id, payload))

    def preview(self, request: JobRequest) -> Preview:
        problems = tuple(setting_problems(request.settings).values())
        if request.more_data:
            problems = (*problems, self.reason_against(Action.MORE_DATA))
        warnings = ["The deployment's worker builds the command line, so it is only known once the job has ended."]
        if request.time_limit_s is not None:
            warnings.append("The InfluencerAI API has no time limit, so it is left out.")
        if left := left_to_the_deployment(request.settings):
            warnings.append(f"The deployment decides about: {', '.join(left)}.")
        return Preview(problems=problems, warnings=tuple(warnings))

    def retry_job(self, job_id: str) -> Job:
        """A new job with the same values. A second click within seconds returns the same one."""
        job = self.get_job(job_id)
        if job.status.is_active:
            raise InvalidRequest("The job has not ended yet, so there is nothing to retry.")
        return self._retries.read(job_id, lambda: self._retry(job), ttl_s=DOUBLE_CLICK_S)

    def annotate_job(self, job_id: str, annotations: Annotations) -> None:
        """Keep it beside the deployment, which has no place for it."""
        if self._side_table is None:
            raise self._refusal(Action.ANNOTATE)
        job = self.get_job(job_id)
        files = tuple(self.artifacts(job)) if annotations.best else ()
        self._side_table.write(job_id, checked(annotations, replace(job, artifacts=files)))
        self._read_side_table(self._side_table)

    def _read_side_table(self, table: SideTable) -> None:
        try:
            self._rows.annotate(table.read())
            self._side_problem = ""
        except StoreError as error:
            self._side_problem = f"Stars, names, notes and tags given here are missing: {error}"

    def locate_artifact(self, job_id: str, artifact_id: str) -> LocalFile | PresignedUrl:
        return locate(self.get_job(job_id), artifact_id, self._files, self._now)

    def artifacts(self, job: Job) -> Sequence[Artifact]:
        files = self._files
        if files is None:
            return job.artifacts
        return self._reads.read(
            ("files", job.id),
            lambda: stored_artifacts(job, files),
            ttl_s=self._slow_ttl_s,
            version=(job.status, job.attempt),
        )

    def outcomes(self, window: str) -> Sequence[OutcomeBucket]:
        return self._index.outcomes(window)

    def health(self) -> Sequence[HealthCheck]:
        return health_checks(self._client, self._files, self._now)

    def forget_reads(self) -> None:
        self._reads.forget()

    def _read_job(self, job_id: str) -> Job:
        return self._shown(self._read_row(job_id))

    def _read_row(self, job_id: str) -> Snapshot:
        if len(job_id) > LONGEST_ID:
            raise JobNotFound(job_id)
        try:
            snapshot = read_snapshot(self._client.get(path_of("jobs", job_id)))
            is_there = self._client.is_ours(snapshot.tenant_id)
        except NotFound:
            is_there = False
        if not is_there:
            self._rows.forget(job_id)
            self._histories.forget(job_id)
            raise JobNotFound(job_id)
        if snapshot.type != JOB_TYPE:
            raise NotSupported(
                f"The job {job_id[:80]!r} is of the type {snapshot.type[:40]!r}, not a LoRA training.",
                hint="The dashboard shows LoRA trainings only. The deployment's own web pages show the other jobs.",
            )
        return snapshot

    def _shown(self, snapshot: Snapshot) -> Job:
        job = self._histories.observe(snapshot, self._now())
        self._rows.put(job)
        return replace(job, payload=shortened(snapshot.payload))

    def _named(self, job: Job) -> Job:
        """The job with the names of its dataset and configuration; those that no list has yet are asked for."""
        known = self._rows.names

        def name(kind: str, key: str | None, ask: Callable[[str], Dataset | TrainingConfig]) -> str | None:
            def found() -> str | None:
                try:
                    return ask(key or "").name
                except DashboardError:  # the id is shown; asked again in a minute
                    return None

            return self._reads.read((kind, key), found, ttl_s=self._name_ttl_s) if key else None

        dataset, config = job.dataset_id or "", job.config_id or ""
        return replace(
            job,
            dataset_name=known.datasets.get(dataset) or name("dataset", dataset, self.datasets.get) or job.dataset_name,
            config_name=known.configs.get(config) or name("config", config, self.configs.get) or job.config_name,
        )

    def _see(self, job_id: str) -> None:
        """Refresh the history that logs and losses come from; a known one stays readable while the API is down."""
        try:
            self.get_job(job_id)
        except JobNotFound:
            raise
        except SourceError:
            if not self._histories.knows(job_id):
                raise

    def _created(self, snapshot: Snapshot) -> Job:
        self._reads.forget()
        return self._named(self._shown(snapshot))

    def _retry(self, job: Job) -> Job:
        asked = self._read_row(job.id).payload.get("payload")  # read again, because the payload of a Job is shortened
        if not isinstance(asked, Mapping):
            raise InvalidRequest(
                "The job does not say what it was started with, so it cannot be started again.",
                hint="Start a new job with its dataset and configuration.",
            )
        payload = {**asked, RETRY_KEY: job.id}
        payload.pop(SUBMISSION_KEY, None)
        # The same id until the outcome is known: a retry after a timeout first looks for the job of the one before it.
        submission_id = self._retry_ids.setdefault(job.id, f"retry-{uuid.uuid4().hex}")
        created = self._submissions.submit(submission_id, payload, anyway=RETRY_ANYWAY)
        self._retry_ids.pop(job.id, None)
        return self._created(created)

    def _names(self) -> Names:
        if self._side_table is not None:  # another dashboard with the same data folder may have written
            self._read_side_table(self._side_table)
        return Names(
            datasets={dataset.id: dataset.name for dataset in self.datasets.fetch()},
            configs={config.id: config.name for config in self.configs.fetch()},
        )


def open_influencerai(settings: Settings) -> InfluencerSource:
    """The deployment named by the settings; nothing is sent until someone looks. Raises SettingsError."""
    if settings.influencerai is None:
        raise SettingsError("INFLUENCERAI_API_URL is missing.", hint="Set it to the address of the API.")
    files = ObjectStore(settings.s3) if settings.s3 else None
    side_table = SideTable(settings.data_dir, urlsplit(settings.influencerai.api_url).netloc)
    return InfluencerSource(InfluencerClient(settings.influencerai), files=files, side_table=side_table)
