"""The only wiring: opens the source that the settings name, and keeps what is read from it for all viewers.

Pages call ``source()`` for what is asked once, ``act()`` for what changes something, and the functions below for what
every tick of every viewer reads.
"""

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar, cast

from lib.access import NO_ACCESS, Access, Visitor, acting_as, require_operator
from lib.artifacts.lora.adapter_config import CONFIG_FILE
from lib.artifacts.lora.file import read_lora
from lib.artifacts.lora.norms_tasks import NormsTasks
from lib.artifacts.lora.opened import OpenedFile, opened_link, opened_path
from lib.artifacts.lora.report import report_of
from lib.artifacts.lora.sent_bytes import MAX_SENT_HEADER_BYTES, sent_file
from lib.artifacts.model_folders import file_below
from lib.audit import Audited, AuditFile
from lib.errors import NotAllowed, SettingsError
from lib.jobs.cluster import Cluster
from lib.jobs.dataset import Dataset
from lib.jobs.highlights import Highlights
from lib.jobs.job import Artifact, Job, JobStatus, LossPoint
from lib.jobs.logs.loss_curve import LossCurve, loss_curve
from lib.jobs.logs.losses import SMOOTHING, DrawnPoints, LossRange, drawn_points, loss_range, mean_loss, smoothed
from lib.jobs.logs.search import LogSearch
from lib.jobs.logs.search import find_in_log as search_log
from lib.jobs.logs.tail import LogFollower, LogView
from lib.jobs.lora_report import LoraPlace, LoraReport, NormsReport, NormsState
from lib.jobs.query import JobPage, JobQuery
from lib.jobs.training_settings import TrainingConfig
from lib.settings import Settings, load_settings
from lib.sources.protocol import Action, HealthCheck, JobSource, LocalFile, OutcomeBucket
from lib.sources.reads import Reading, Reads

# Just under the pages' tick of 2 s: one viewer's tick always reads afresh, many viewers share one read.
SHARED_READ_S = 1.8
# What a page reads every 10 s: it is at most this much older than its tick, however many viewers there are.
SHARED_SLOW_READ_S = 2.5
# With the interval of its ticks, a loss chart is at most 5 s behind the figures beside it.
SHARED_LOSS_READ_S = 1.3
HEALTH_TTL_S = 10.0
CLUSTER_TTL_S = 4.0
OUTCOMES_TTL_S = 30.0
# Files of jobs as cards show them: a new sample every few minutes at most, and hardly ever one of an ended job.
SAMPLES_TTL_S = 8.0
FINISHED_TTL_S = 300.0
SHOWN_QUEUE = 10
# A trained file hardly ever changes, and reading one in a store takes two requests.
LORA_TTL_S = 60.0
# Of each job in a comparison: eight of them stay far below 200 kB.
CURVE_POINTS = 400
SHORT_LOG_LINES = 500
# What a chart of half a page's width can show; every tick of it sends all of them.
RAW_POINTS, SMOOTH_POINTS = 400, 200
BESIDE_LOSS = ("learning_rate", "grad_norm", "validation_loss")
MAX_UPLOAD_BYTES = 8 << 30
# A form on another site cannot send a header of ours: the browser would ask us first, and we never agree.
UPLOAD_HEADER = "X-Lora-Upload"

Result = TypeVar("Result")

_opening = threading.Lock()
_connected: list[JobSource] = []
_identify: list[Callable[[], Visitor | None]] = []
_reads = Reads()
# Thousands of lines each, so there are fewer of them.
_logs = Reads(max_entries=64)
_followers = Reads(max_entries=64)
_loras = Reads(max_entries=64)
_norms = NormsTasks()


@cache
def access() -> Access:
    """Who may do what. Raises SettingsError; tried again at the next call. Once known it stays."""
    return Access(load_settings())


def source() -> JobSource:
    """The source that the settings name. Raises SettingsError or StoreError; tried again at the next call."""
    with _opening:
        if not _connected:
            _connected.append(_open_source(load_settings()))
        return _connected[-1]


def connect(other: JobSource | None) -> None:
    """Use this source from now on (tests and notebooks); None goes back to the one that the settings name."""
    global _reads, _logs, _followers, _loras, _norms
    with _opening:
        _connected[:] = [other] if other else []
        access.cache_clear()
        _reads, _logs, _followers = Reads(), Reads(max_entries=64), Reads(max_entries=64)
        _loras, _norms = Reads(max_entries=64), NormsTasks()


def _open_source(settings: Settings) -> JobSource:
    if settings.source == "embedded":
        from lib.sources.embedded.source import open_embedded

        embedded = open_embedded(settings)
        embedded.hand_over_worker(settings)
        return embedded
    if settings.source == "influencerai":
        from lib.sources.influencerai.source import open_influencerai

        return open_influencerai(settings)
    raise SettingsError(
        f"LORA_SOURCE is {settings.source!r}.", hint='Set it to "embedded" or "influencerai", or leave it out.'
    )


def identify_with(current_visitor: Callable[[], Visitor | None]) -> None:
    """Ask this who is behind what runs now, where people sign in; without it nobody has access there."""
    _identify[:] = [current_visitor]


def visitor() -> Visitor | None:
    """Who is behind what runs now; None for somebody without access."""
    if not access().signs_in:
        return access().visitor(None)
    return _identify[-1]() if _identify else None


def reason_against(action: Action) -> str:
    """Why the visitor, or else the source, cannot do ``action``; empty when both can."""
    current = visitor()
    return (current.refusal if current else NO_ACCESS) or source().reason_against(action)


def require(action: Action) -> None:
    """Raise NotAllowed or NotSupported with the reason when ``action`` cannot be done."""
    require_operator(visitor())
    source().require(action)


def act(change: Callable[[JobSource], Result]) -> Result:
    """Let ``change`` do something to the source; afterwards everything is read afresh, even if it failed.

    Every change goes through here. Raises NotAllowed unless the visitor is an operator.
    """
    current = visitor()
    try:
        require_operator(current)
    except NotAllowed as error:
        _audit_file().write(current.name if current else "", "change", [], error)
        raise
    name = current.name if current else ""
    token = acting_as.set(name)
    try:
        connected = source()
        return change(cast(JobSource, Audited(connected, _audit_file(), name)) if name else connected)
    finally:
        acting_as.reset(token)
        forget_reads()


def _audit_file() -> AuditFile:
    return AuditFile(load_settings().data_dir)


def forget_reads() -> None:
    """Read everything afresh next time: after an action, for "Retry" and for "Refresh now"."""
    for reads in (_reads, _logs, _loras):
        reads.forget()
    for connected in _connected:
        connected.forget_reads()


def latest_jobs(query: JobQuery) -> Reading[JobPage]:
    """One page of jobs, or the last one known while the source does not answer."""
    return _reads.latest(query, lambda: source().list_jobs(query), ttl_s=SHARED_READ_S)


def knows_jobs(query: JobQuery) -> bool:
    """Whether this page was read before, so that there is something to show while it is read again."""
    return _reads.knows(query)


def count_by_status() -> Mapping[JobStatus, int]:
    """How many jobs have each status."""
    return _reads.read("counts", lambda: source().count_by_status(), ttl_s=SHARED_READ_S)


def latest_job(job_id: str) -> Reading[Job]:
    """One job, or its last known state while the source does not answer. Raises JobNotFound."""
    return _reads.latest(("job", job_id), lambda: source().get_job(job_id), ttl_s=SHARED_READ_S)


def queued_jobs() -> Sequence[Job]:
    """The first pending jobs in the order in which they will run."""
    return _reads.read("queue", lambda: tuple(source().queued_jobs(SHOWN_QUEUE)), ttl_s=SHARED_READ_S)


def small_picture(path: Path) -> bytes:
    """A picture of this machine as a small WebP. Raises DatasetError or OSError when it cannot be read."""
    from lib.embedded.files.small_pictures import small_picture  # with Pillow, which not every source needs

    return small_picture(path)


def highlights(jobs: Sequence[Job]) -> Mapping[str, Highlights]:
    """Job id -> newest sample and LoRA, for the few jobs that a page shows as cards. Finished jobs are asked rarely."""
    if not jobs:
        return {}
    key = ("highlights", *((job.id, job.attempt, job.status) for job in jobs))
    ttl_s = SAMPLES_TTL_S if any(job.status.is_active for job in jobs) else FINISHED_TTL_S
    return _reads.read(key, lambda: source().highlights(jobs), ttl_s=ttl_s)


def latest_artifacts(job: Job) -> Reading[Sequence[Artifact]]:
    """The files of a job, or those known last while the source does not answer."""
    return _reads.latest(
        ("files", job.id),
        lambda: tuple(source().artifacts(latest_job(job.id).value)),
        ttl_s=SHARED_SLOW_READ_S,
        version=(job.attempt, job.status),
    )


def list_datasets() -> Sequence[Dataset]:
    """All datasets, by name."""
    return _reads.read("datasets", lambda: tuple(source().datasets.list()), ttl_s=SHARED_READ_S)


def list_configs() -> Sequence[TrainingConfig]:
    """All configurations, the default one first."""
    return _reads.read("configs", lambda: tuple(source().configs.list()), ttl_s=SHARED_READ_S)


def latest_cluster() -> Reading[Cluster] | None:
    """The nodes that run jobs, or those known last; None where there is no cluster."""
    if not (read := source().cluster):
        return None
    return _reads.latest("cluster", read, ttl_s=CLUSTER_TTL_S)


def outcomes(window: str) -> Sequence[OutcomeBucket]:
    """Outcomes over ``24h``, ``7d`` or ``30d``."""
    return _reads.read(("outcomes", window), lambda: tuple(source().outcomes(window)), ttl_s=OUTCOMES_TTL_S)


def health() -> Sequence[HealthCheck]:
    """Health of source, store, worker and disk."""
    return _reads.read("health", lambda: tuple(source().health()), ttl_s=HEALTH_TTL_S)


def latest_log(job_id: str, attempt: int, keep_lines: int = SHORT_LOG_LINES) -> Reading[LogView]:
    """The last lines of a log as a terminal shows them, or what was read last while the source does not answer."""
    key = (job_id, attempt, keep_lines)
    read = partial(read_log_bytes, job_id, attempt)
    follower = _followers.read(key, lambda: LogFollower(read, keep_lines=keep_lines), ttl_s=math.inf)
    return _logs.latest(key, follower.update, ttl_s=SHARED_READ_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnLoss:
    """What a loss chart draws: thinned raw losses with those not finite, the smoothed line, range and mean.

    ``beside`` names what else was recorded: it may be too rare to be found among the thinned points.
    """

    raw: DrawnPoints
    smooth: tuple[LossPoint, ...]
    range: LossRange | None = None
    mean: float | None = None
    beside: frozenset[str] = frozenset()


def latest_loss(job_id: str, attempt: int, *, is_over: bool, weight: float = SMOOTHING) -> Reading[DrawnLoss]:
    """The losses of an attempt as a chart draws them, or those known last while the source does not answer.

    ``is_over`` asks again once the attempt has ended: nothing would draw the last losses later. A ``weight`` of 0 draws
    no smoothed line.
    """

    def draw() -> DrawnLoss:
        points = source().loss_points(job_id, attempt=attempt)
        smooth = drawn_points(smoothed(points, weight), SMOOTH_POINTS).line if weight else ()
        raw = drawn_points(points, RAW_POINTS)
        beside = frozenset(name for name in BESIDE_LOSS if any(getattr(each, name) is not None for each in points))
        return DrawnLoss(raw=raw, smooth=smooth, range=loss_range(points), mean=mean_loss(points), beside=beside)

    return _reads.latest(("loss", job_id, attempt, weight), draw, ttl_s=SHARED_LOSS_READ_S, version=is_over)


def latest_beside(job_id: str, attempt: int, field: str, *, is_over: bool) -> Reading[tuple[LossPoint, ...]]:
    """What was recorded beside the losses, thinned: one of ``BESIDE_LOSS``, in place of each loss."""

    def draw() -> tuple[LossPoint, ...]:
        found = [(point, getattr(point, field)) for point in loss_points(job_id, attempt)]
        values = (LossPoint(step=point.step, loss=value, at=point.at) for point, value in found if value is not None)
        return drawn_points(values, SMOOTH_POINTS).line

    return _reads.latest(("beside", job_id, attempt, field), draw, ttl_s=SHARED_LOSS_READ_S, version=is_over)


def loss_points(job_id: str, attempt: int) -> Sequence[LossPoint]:
    """Every loss of an attempt, read now."""
    return source().loss_points(job_id, attempt=attempt)


def latest_curve(job: Job, *, weight: float) -> Reading[LossCurve]:
    """The loss of a job's newest attempt as one of several curves, smoothed by ``weight``, in [0, 1)."""

    def read() -> LossCurve:
        points = source().loss_points(job.id, attempt=job.attempt) if job.attempt else ()
        return loss_curve(points, weight=weight, most_points=CURVE_POINTS)

    key, ttl_s = ("curve", job.id, weight), math.inf if job.status.is_terminal else SHARED_SLOW_READ_S
    return _reads.latest(key, read, ttl_s=ttl_s, version=(job.attempt, job.status))


def find_in_log(job_id: str, attempt: int, needle: str, should_stop: Callable[[], bool]) -> LogSearch:
    """Every line of a whole log that holds ``needle``, up to a limit."""
    return search_log(partial(read_log_bytes, job_id, attempt), needle, should_stop=should_stop)


def read_log_bytes(job_id: str, attempt: int, offset: int, limit: int) -> tuple[bytes, int]:
    """Raw bytes of a log and its size now: for finding in it and for downloading it."""
    chunk = source().read_log(job_id, attempt=attempt, offset=offset, limit=limit)
    return chunk.data, chunk.size_bytes


def open_folders() -> tuple[str, ...]:
    """The folders of this machine whose LoRA files may be read by their path."""
    return tuple(map(str, load_settings().rules.model_dirs))


def lora_report(place: LoraPlace) -> Reading[LoraReport]:
    """What a file's header tells, or what it told last. Raises ArtifactError when it is broken or cannot be read."""

    def read() -> LoraReport:
        with _opened(place) as file:
            return file.report()

    return _loras.latest(place, read, ttl_s=LORA_TTL_S)


def longest_sent_header() -> int:
    """Most bytes of a header that a browser may send."""
    return MAX_SENT_HEADER_BYTES


def sent_report(name: str, payload: Mapping[str, Any]) -> LoraReport:
    """What the header tells that a browser sent; nothing of it is kept. Raises ArtifactError."""
    return report_of(read_lora(sent_file(payload)), name=name, version="")


def norms_state(place: LoraPlace, version: str) -> NormsState | None:
    """How far the norms of this content are; None when nobody asked for them, or they were cancelled."""
    return _norms.state((place, version))


def start_norms(place: LoraPlace, version: str) -> None:
    """Compute the norms of this content in the background, unless that was begun already."""

    def work(progress: Callable[[float], None], is_cancelled: Callable[[], bool]) -> NormsReport:
        with _opened(place) as file:
            return file.norms(version, progress, is_cancelled)

    _norms.start((place, version), work)


def cancel_norms(place: LoraPlace, version: str) -> None:
    """Stop computing the norms of this content."""
    _norms.cancel((place, version))


@contextmanager
def _opened(place: LoraPlace) -> Iterator[OpenedFile]:
    """A LoRA file to read. Raises ArtifactError, or what the source raises."""
    if place.path:
        path = file_below(load_settings().rules.model_dirs, place.path)
        with opened_path(path, path.name) as file:
            yield file
        return
    found = source().locate_artifact(place.job_id, place.artifact_id)
    if isinstance(found, LocalFile):
        with opened_path(found.path, found.name) as file:
            yield file
        return
    id_ = PurePosixPath(place.artifact_id)
    links = iter((found.url,))  # the first one is there already

    def link() -> str:
        return next(links, "") or _link(place.job_id, place.artifact_id)

    yield opened_link(id_.name, link, lambda: _link(place.job_id, str(id_.with_name(CONFIG_FILE))))


def _link(job_id: str, artifact_id: str) -> str:
    found = source().locate_artifact(job_id, artifact_id)
    return "" if isinstance(found, LocalFile) else found.url
