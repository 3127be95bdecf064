"""The only wiring: opens the source that the settings name, and holds the only caches.

Every read is shared by all viewers for a moment, so that the source sees one call however many people look.
A failed call raises and is not cached.
"""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

import streamlit as st

from lib.errors import DashboardError, NotSupported, SettingsError
from lib.jobs.dataset import Dataset, DatasetImage, ImportReport
from lib.jobs.job import Artifact, Job, JobStatus, LossPoint
from lib.jobs.logs.losses import DrawnPoints, drawn_points, smoothed
from lib.jobs.logs.search import LogSearch
from lib.jobs.logs.search import find_in_log as search_log
from lib.jobs.logs.tail import LogFollower, LogView
from lib.jobs.query import JobPage, JobQuery
from lib.jobs.training_settings import TrainingConfig
from lib.settings import Settings, load_settings
from lib.sources.protocol import (
    ConfigManager,
    DatasetManager,
    HealthCheck,
    JobRequest,
    JobSource,
    OutcomeBucket,
    Preview,
)
from lib.sources.reads import LastGood, Reading

# Just under the pages' tick of 2 s: one viewer's tick always reads afresh, many viewers share one read.
SHARED_READ_S = 1.8
# What a page reads every 10 s: what is shown is at most so much older than its tick, however many look.
SHARED_SLOW_READ_S = 2.5
SHORT_LOG_LINES = 500

_connected: list[JobSource] = []


def source() -> JobSource:
    """The source that the settings name. Raises SettingsError or StoreError; tried again at the next call."""
    return _connected[-1] if _connected else _configured_source()


def connect(other: JobSource) -> None:
    """Use this source from now on, whatever the settings say (tests and notebooks)."""
    st.cache_data.clear()
    st.cache_resource.clear()
    _connected[:] = [other]


@st.cache_resource(show_spinner=False)
def _configured_source() -> JobSource:
    return _open_source(load_settings())


def _open_source(settings: Settings) -> JobSource:
    if settings.source == "embedded":
        from lib.sources.embedded.source import open_embedded

        return open_embedded(settings)
    if settings.source == "influencerai":
        from lib.sources.influencerai import open_influencerai

        return open_influencerai(settings)
    raise SettingsError(
        f"LORA_SOURCE is {settings.source!r}.", hint='Set it to "embedded" or "influencerai", or leave it out.'
    )


def config_manager() -> ConfigManager:
    """The source, if it keeps configurations. Raises NotSupported."""
    return cast(ConfigManager, _able("manage_configs"))


def dataset_manager() -> DatasetManager:
    """The source, if it keeps datasets. Raises NotSupported."""
    return cast(DatasetManager, _able("manage_datasets"))


def _able(capability: str) -> JobSource:
    if reason := source().capabilities.reason_against(capability):
        raise NotSupported(reason)
    return source()


def reason_against(action: str) -> str:
    """Why the source cannot do ``action``; empty when it can."""
    return source().capabilities.reason_against(action)


@st.cache_data(ttl=SHARED_READ_S, show_spinner=False, max_entries=200)
def list_jobs(query: JobQuery) -> JobPage:
    """One page of jobs."""
    return source().list_jobs(query)


@st.cache_data(ttl=SHARED_READ_S, show_spinner=False, max_entries=1)
def count_by_status() -> Mapping[JobStatus, int]:
    """How many jobs stand where."""
    return dict(source().count_by_status())


@st.cache_data(ttl=SHARED_READ_S, show_spinner=False, max_entries=500)
def get_job(job_id: str) -> Job:
    """One job. Raises JobNotFound."""
    return source().get_job(job_id)


@st.cache_data(ttl=SHARED_SLOW_READ_S, show_spinner=False, max_entries=200)
def artifacts(job_id: str, attempt: int, status: JobStatus) -> Sequence[Artifact]:
    """Files of a job with their sizes; attempt and status are part of the key, so that a change reads afresh."""
    return source().artifacts(source().get_job(job_id))


@st.cache_data(ttl=SHARED_READ_S, show_spinner=False, max_entries=1)
def list_datasets() -> Sequence[Dataset]:
    """All datasets, by name."""
    return source().list_datasets()


@st.cache_data(ttl=SHARED_READ_S, show_spinner=False, max_entries=1)
def list_configs() -> Sequence[TrainingConfig]:
    """All configurations, the default one first."""
    return source().list_configs()


@st.cache_data(ttl=30, show_spinner=False, max_entries=3)
def outcomes(window: str) -> Sequence[OutcomeBucket]:
    """Outcomes over ``24h``, ``7d`` or ``30d``."""
    return source().outcomes(window)


@st.cache_data(ttl=10, show_spinner=False, max_entries=1)
def health() -> Sequence[HealthCheck]:
    """Health of source, store, worker and disk."""
    return source().health()


def preview(request: JobRequest) -> Preview:
    """What would run, and what stands against it."""
    return source().preview(request)


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnLoss:
    """What a loss chart draws: thinned raw losses with those that are not finite, and the smoothed line."""

    raw: DrawnPoints
    smooth: tuple[LossPoint, ...]


class SharedLog:
    """One log as all its viewers see it: read and rendered once per moment, whoever asks."""

    def __init__(self, job_id: str, attempt: int, keep_lines: int) -> None:
        self._lock = threading.Lock()
        self._follower = LogFollower(self._read, keep_lines=keep_lines)
        self._job_id, self._attempt = job_id, attempt
        self._last: Reading[LogView] | None = None

    def read(self) -> Reading[LogView]:
        """The log's end now; only what is new is read. Gives what was read last when that fails."""
        with self._lock:
            try:
                self._last = Reading(value=self._follower.update(), read_at=datetime.now(UTC))
            except DashboardError as error:
                if self._last is None:
                    raise
                return replace(self._last, problem=error)
            return self._last

    def _read(self, offset: int, limit: int) -> tuple[bytes, int]:
        chunk = source().read_log(self._job_id, attempt=self._attempt, offset=offset, limit=limit)
        return chunk.data, chunk.size_bytes


@st.cache_resource(ttl=3600, show_spinner=False, max_entries=64)
def _shared_log(job_id: str, attempt: int, keep_lines: int) -> SharedLog:
    return SharedLog(job_id, attempt, keep_lines)


# A resource, not data: ten thousand lines are shared as they are, and copied for nobody.
@st.cache_resource(ttl=SHARED_READ_S, show_spinner=False, max_entries=64)
def latest_log(job_id: str, attempt: int, keep_lines: int = SHORT_LOG_LINES) -> Reading[LogView]:
    """The last lines of a log as a terminal shows them, or what was read last while the source does not answer."""
    return _shared_log(job_id, attempt, keep_lines).read()


@st.cache_resource(ttl=SHARED_SLOW_READ_S, show_spinner=False, max_entries=64)
def drawn_loss(job_id: str, attempt: int, is_over: bool) -> DrawnLoss:
    """The losses of an attempt as a chart draws them, thinned once for all viewers."""
    points = source().loss_points(job_id, attempt=attempt)
    return DrawnLoss(raw=drawn_points(points, 600), smooth=drawn_points(smoothed(points), 400).line)


def latest_loss(job_id: str, attempt: int, *, is_over: bool) -> Reading[DrawnLoss]:
    """The drawn losses, or those known last while the source does not answer.

    ``is_over`` asks afresh once the attempt has ended: nothing would draw the last losses later.
    """
    return _last_good().read(("loss", job_id, attempt), lambda: drawn_loss(job_id, attempt, is_over))


def latest_artifacts(job: Job) -> Reading[Sequence[Artifact]]:
    """The files of a job, or those known last while the source does not answer."""
    return _last_good().read(("files", job.id), lambda: artifacts(job.id, job.attempt, job.status))


def find_in_log(job_id: str, attempt: int, needle: str, should_stop: Callable[[], bool]) -> LogSearch:
    """Every line of a whole log that holds ``needle``, up to a limit."""
    return search_log(partial(read_log_bytes, job_id, attempt), needle, should_stop=should_stop)


def read_log_bytes(job_id: str, attempt: int, offset: int, limit: int) -> tuple[bytes, int]:
    """Raw bytes of a log and its size now: for finding in it and for downloading it."""
    chunk = source().read_log(job_id, attempt=attempt, offset=offset, limit=limit)
    return chunk.data, chunk.size_bytes


def forget_reads() -> None:
    """Read everything afresh next time: after an action, and for "Refresh now"."""
    for cached in (list_jobs, count_by_status, get_job, artifacts, list_datasets, list_configs):
        cached.clear()
    for slow in (outcomes, health, latest_log, drawn_loss):
        slow.clear()
    _last_good().forget_failures()


def create_job(request: JobRequest) -> Job:
    """Submit a job; the same submission_id never makes a second one."""
    job = source().create_job(request)
    forget_reads()
    return job


def cancel_job(job_id: str) -> None:
    """Stop a pending or running job."""
    source().cancel_job(job_id)
    forget_reads()


def retry_job(job_id: str) -> Job:
    """Run an ended job again."""
    job = source().retry_job(job_id)
    forget_reads()
    return job


def move_job(job_id: str, places: int) -> None:
    """Move a pending job in the queue."""
    source().move_job(job_id, places)
    forget_reads()


def delete_job(job_id: str) -> None:
    """Delete a job with its files."""
    source().delete_job(job_id)
    forget_reads()


# Datasets and configurations

MAX_UPLOAD_BYTES = 8 << 30
# A form on a foreign page cannot send a header of its own: its browser would ask us first, and we never agree.
UPLOAD_HEADER = "X-Lora-Upload"


def get_dataset(dataset_id: str) -> Dataset:
    """One dataset. Raises DatasetError."""
    return source().get_dataset(dataset_id)


def dataset_images(
    dataset_id: str, *, skip: int = 0, take: int, among: Collection[str] | None = None
) -> Sequence[DatasetImage]:
    """One page of a dataset's images, of all or of those ``among``."""
    return dataset_manager().dataset_images(dataset_id, skip=skip, take=take, among=among)


def thumbnail(dataset_id: str, image_name: str) -> Path:
    """A small picture of an image, made once. Raises DatasetError: it does not decode, or the disk is full."""
    return dataset_manager().thumbnail(dataset_id, image_name)


def scan_dataset(dataset_id: str, *, budget_s: float) -> float:
    """Collect picture facts and thumbnails for a moment; the finished part in [0, 1]."""
    fraction = dataset_manager().scan_dataset(dataset_id, budget_s=budget_s)
    list_datasets.clear()
    return fraction


def create_dataset(name: str) -> Dataset:
    """An empty dataset."""
    dataset = dataset_manager().create_dataset(name)
    forget_reads()
    return dataset


def import_file(dataset_id: str, name: str, stream: BinaryIO) -> ImportReport:
    """Take an uploaded file into a dataset."""
    report = dataset_manager().import_file(dataset_id, name, stream)
    list_datasets.clear()
    return report


def set_caption(dataset_id: str, image_name: str, caption: str) -> None:
    """Replace the caption of an image."""
    dataset_manager().set_caption(dataset_id, image_name, caption)
    list_datasets.clear()


def delete_image(dataset_id: str, image_name: str) -> None:
    """Delete an image with its caption."""
    dataset_manager().delete_image(dataset_id, image_name)
    list_datasets.clear()


def delete_stray_captions(dataset_id: str, names: Collection[str]) -> None:
    """Delete those of the named captions that belong to no image."""
    dataset_manager().delete_stray_captions(dataset_id, names)
    list_datasets.clear()


def delete_dataset(dataset_id: str) -> None:
    """Delete a dataset with its files."""
    dataset_manager().delete_dataset(dataset_id)
    forget_reads()


def upload_folder() -> Path:
    """Where an upload lies until it is taken in: on the data folder's disk."""
    folder = load_settings().data_dir
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def save_config(config: TrainingConfig) -> TrainingConfig:
    """Create or change a configuration."""
    saved = config_manager().save_config(config)
    forget_reads()
    return saved


def delete_config(config_id: str) -> None:
    """Delete a configuration."""
    config_manager().delete_config(config_id)
    forget_reads()


# Reads that outlive a failure


@st.cache_resource(show_spinner=False)
def _last_good() -> LastGood:
    return LastGood(ask_again_after_s=SHARED_READ_S)


def latest_jobs(query: JobQuery) -> Reading[JobPage]:
    """One page of jobs, or the last one known while the source does not answer."""
    return _last_good().read(query, lambda: list_jobs(query))


def knows_jobs(query: JobQuery) -> bool:
    """Whether this page was read before, so that there is something to show while it is read again."""
    return _last_good().knows(query)


def latest_job(job_id: str) -> Reading[Job]:
    """One job, or its last known state while the source does not answer. Raises JobNotFound."""
    return _last_good().read(("job", job_id), lambda: get_job(job_id))


def trainer_labels() -> Mapping[str, str]:
    """Name -> label of every trainer that the source can start."""
    return source().trainers


def get_config(config_id: str) -> TrainingConfig:
    """One configuration. Raises InvalidRequest."""
    return source().get_config(config_id)
