"""What a source of jobs can be asked. Pages know this protocol and no source by name."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Protocol

from lib.jobs.dataset import Dataset, DatasetImage, ImportReport
from lib.jobs.job import Artifact, Job, JobStatus, LossPoint, PresignedUrl
from lib.jobs.query import JobPage, JobQuery
from lib.jobs.training_settings import TrainingConfig, TrainingSettings

WINDOWS = ("24h", "7d", "30d")
_WIDTHS_AND_COUNTS = {"24h": (timedelta(hours=1), 24), "7d": (timedelta(days=1), 7), "30d": (timedelta(days=1), 30)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a source cannot do: action -> the reason, shown beside the disabled control.

    Actions: create, cancel, delete, retry, move (the queue), manage_configs, manage_datasets, attempts.
    """

    refused: Mapping[str, str] = field(default_factory=dict)

    def reason_against(self, action: str) -> str:
        """Why the source cannot do ``action``; empty when it can."""
        return self.refused.get(action, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogChunk:
    """A piece of a raw log: ``data`` begins at byte ``offset`` of ``size_bytes`` known now."""

    offset: int
    data: bytes
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """A job to create. The same ``submission_id`` never makes a second job."""

    name: str
    dataset_id: str
    config_id: str | None
    settings: TrainingSettings
    submission_id: str
    time_limit_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What would run: the command line, and problems that stand against it (empty: none)."""

    command: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    estimate_s: float | None = None
    estimate_basis: str = ""


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


class JobSource(Protocol):
    """A source of jobs. Every method raises ``lib.errors.SourceError`` or ``StoreError`` on failure.

    Attributes:
        trainers: Name -> label of every trainer that a job can be started with.
    """

    name: str
    capabilities: Capabilities
    trainers: Mapping[str, str]

    def list_jobs(self, query: JobQuery) -> JobPage:
        """One page of the jobs that match."""

    def count_by_status(self) -> Mapping[JobStatus, int]:
        """How many jobs stand where."""

    def get_job(self, job_id: str) -> Job:
        """One job with attempts, artifacts and payload. Raises JobNotFound."""

    def read_log(self, job_id: str, *, attempt: int, offset: int, limit: int = 1 << 20) -> LogChunk:
        """At most ``limit`` raw bytes from ``offset``; empty ``data`` when there is nothing more now."""

    def loss_points(self, job_id: str, *, attempt: int) -> Sequence[LossPoint]:
        """Every loss seen, by step; the same step is given once."""

    def create_job(self, request: JobRequest) -> Job:
        """Submit a job. Raises InvalidRequest with field messages."""

    def preview(self, request: JobRequest) -> Preview:
        """What ``create_job`` would run, without doing it."""

    def cancel_job(self, job_id: str) -> None:
        """Stop a pending or running job."""

    def retry_job(self, job_id: str) -> Job:
        """Run an ended job again, as its next attempt with the same settings."""

    def move_job(self, job_id: str, places: int) -> None:
        """Move a pending job in the queue: -1 is one place nearer to the front."""

    def delete_job(self, job_id: str) -> None:
        """Delete an ended or pending job with its files."""

    def locate_artifact(self, job_id: str, artifact_id: str) -> LocalFile | PresignedUrl:
        """Where the file is right now; a link is signed for this call. Raises ArtifactError."""

    def artifacts(self, job: Job) -> Sequence[Artifact]:
        """All files of a job with sizes; may ask the store, unlike ``job.artifacts``."""

    def list_datasets(self) -> Sequence[Dataset]:
        """All datasets, by name."""

    def get_dataset(self, dataset_id: str) -> Dataset:
        """One dataset. Raises DatasetError."""

    def list_configs(self) -> Sequence[TrainingConfig]:
        """All configurations, the default one first, then by name."""

    def get_config(self, config_id: str) -> TrainingConfig:
        """One configuration. Raises InvalidRequest."""

    def outcomes(self, window: str) -> Sequence[OutcomeBucket]:
        """Outcomes over ``24h`` (full hours), ``7d`` or ``30d`` (days in UTC), oldest first; the last goes on."""

    def health(self) -> Sequence[HealthCheck]:
        """The checks of source, store, worker and disk. Never raises: a failed check says so."""


class ConfigManager(Protocol):
    """A source that keeps configurations (capability ``manage_configs``)."""

    def save_config(self, config: TrainingConfig) -> TrainingConfig:
        """Create (empty id) or change one. Raises InvalidRequest with field messages."""

    def delete_config(self, config_id: str) -> None:
        """Delete one; refused while an active job uses it."""


class DatasetManager(Protocol):
    """A source that keeps datasets (capability ``manage_datasets``)."""

    def create_dataset(self, name: str) -> Dataset:
        """An empty dataset. Raises InvalidRequest for a bad or taken name."""

    def import_file(self, dataset_id: str, name: str, stream: BinaryIO) -> ImportReport:
        """Take in an image, a caption or a zip of both; what is refused is named."""

    def image_names(self, dataset_id: str) -> Sequence[str]:
        """Names of all images, in their order."""

    def dataset_images(
        self, dataset_id: str, *, skip: int = 0, take: int = 50, among: Collection[str] | None = None
    ) -> Sequence[DatasetImage]:
        """Images by name, one page of all or of those whose names are ``among``."""

    def scan_dataset(self, dataset_id: str, *, budget_s: float) -> float:
        """Collect picture facts and thumbnails for at most ``budget_s``; the finished part in [0, 1]."""

    def thumbnail(self, dataset_id: str, image_name: str) -> Path:
        """A small cached WebP of an image. Raises DatasetError when it does not decode."""

    def image_preview(self, dataset_id: str, image_name: str) -> Path:
        """A large cached WebP of an image, made when it is asked for. Raises DatasetError like ``thumbnail``."""

    def image_path(self, dataset_id: str, image_name: str) -> Path:
        """The image's own file. Raises DatasetError."""

    def set_caption(self, dataset_id: str, image_name: str, caption: str) -> None:
        """Replace the caption of an image."""

    def delete_image(self, dataset_id: str, image_name: str) -> None:
        """Delete an image with its caption; refused while an active job uses the dataset."""

    def delete_stray_captions(self, dataset_id: str, names: Collection[str]) -> None:
        """Delete those of the named captions that belong to no image."""

    def delete_dataset(self, dataset_id: str) -> None:
        """Delete one with its files; refused while an active job uses it."""
