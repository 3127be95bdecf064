"""What a training job is: its status, attempts, progress, failure and files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from lib.jobs.machine import MachineUse
from lib.jobs.more_data import MoreData
from lib.jobs.resume import Start


class JobStatus(StrEnum):
    """Where a job stands. An unknown word becomes UNKNOWN; ``Job.raw_status`` keeps it."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"
    UNKNOWN = "unknown"

    @classmethod
    def parse(cls, word: object) -> "JobStatus":
        """The status a source's word means; UNKNOWN for any other word."""
        text = str(word).strip().lower()
        return cls(_SYNONYMS.get(text, text)) if _SYNONYMS.get(text, text) in _WORDS else cls.UNKNOWN

    @property
    def is_terminal(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self in TERMINAL_STATUSES

    @property
    def is_active(self) -> bool:
        """Whether the job waits for or uses a worker."""
        return self in ACTIVE_STATUSES

    @property
    def label(self) -> str:
        """The word shown to people: ``Running``."""
        return self.value.capitalize()


_WORDS = frozenset(status.value for status in JobStatus)
_SYNONYMS = {"completed": "succeeded", "canceled": "cancelled", "queued": "pending"}
ACTIVE_STATUSES = frozenset({JobStatus.PENDING, JobStatus.RUNNING})
TERMINAL_STATUSES = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.LOST})


class Stage(StrEnum):
    """What a trainer is busy with."""

    QUEUED = "queued"
    LOADING_MODEL = "loading model"
    CACHING_LATENTS = "caching latents"
    TRAINING = "training"
    SAMPLING = "sampling"
    SAVING = "saving"
    UPLOADING = "uploading"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an attempt is. None means unknown.

    Attributes:
        fraction: Finished part of the training, in [0, 1]; never falls within an attempt.
        stage: What the trainer is busy with: a ``Stage`` value, or the source's own word.
        step: Count of finished optimisation steps, the offset of a resumed run included.
        epoch: The epoch being trained, from 1.
        loss: Last loss printed (a running average for most trainers); may be nan or inf.
        learning_rate: Last one printed.
        seconds_per_step: Median of recent plain steps.
        eta_s: Estimated seconds until the training ends.
        pauses: What was measured of saving and sampling: kind, every how many steps, seconds beyond a plain step.
        resumed_from: The state or file that the trainer says it has loaded to go on from.
        resumed_step: The step at which the trainer itself says it went on; None also where it does not say.
    """

    fraction: float | None = None
    stage: str | None = None
    step: int | None = None
    total_steps: int | None = None
    epoch: int | None = None
    total_epochs: int | None = None
    loss: float | None = None
    learning_rate: float | None = None
    seconds_per_step: float | None = None
    eta_s: float | None = None
    pauses: tuple[tuple[str, int, float], ...] = ()
    resumed_from: str | None = None
    resumed_step: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LossPoint:
    """One printed loss, with what was printed beside it.

    Attributes:
        at: Unix seconds when it was seen, None if unknown.
        validation_loss: The last one measured after this step and before the next point's.
    """

    step: int
    loss: float
    at: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    validation_loss: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an attempt failed.

    Attributes:
        cause: A word of ``lib.jobs.failures.judge``: out_of_memory, killed, missing_dataset, …, unknown.
        message: One plain sentence.
        hint: What to do next; may be empty.
        evidence: The lines of the log that prove it, in order.
        traceback: The whole traceback, empty when there is none.
        confidence: ``certain`` when words of the log name the cause, ``likely`` when only its structure does.
        phase: Where it broke: ``loading``, ``caching``, ``step 12``, ``sampling``, ``saving``, …; may be empty.
        raised_by: Who raised it: a package, or a file of the trainer and its line; may be empty.
    """

    cause: str
    message: str
    hint: str = ""
    evidence: tuple[str, ...] = ()
    traceback: str = ""
    confidence: str = ""
    phase: str = ""
    raised_by: str = ""


class ArtifactKind(StrEnum):
    """What a file of a job is."""

    LORA = "lora"
    CHECKPOINT = "checkpoint"
    SAMPLE = "sample"
    STATE = "state"
    LOG = "log"
    OTHER = "other"
    INCOMPLETE = "incomplete"


@dataclass(frozen=True, slots=True, kw_only=True)
class PresignedUrl:
    """A link that carries its own permission, until it expires.

    Attributes:
        url: A bearer secret: never logged, never in session state, never in an error.
        expires_at: Aware UTC; None when the link does not say.
    """

    url: str = field(repr=False)
    expires_at: datetime | None

    def is_fresh(self, now: datetime, margin: timedelta = timedelta(seconds=60)) -> bool:
        """Whether the link still works ``margin`` from now."""
        return self.expires_at is None or self.expires_at - now > margin


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A file of a job.

    Attributes:
        id: Names the file within its job, as in /download/{job_id}/{id}; stable, may hold slashes.
        name: File name as people read it, with the folders that tell it from others.
        key: Where the store keeps it, relative to the store's root; None when only a link exists.
        size_bytes: None when unknown.
        unavailable: Why it cannot be downloaded; empty when it can.
        frozen_link: The link the source froze into the job, when there is nothing better.
        epoch, step: When it was written, where the name tells.
        prompt_index: Which sample prompt, from 0 (samples only).
        holds_nan: Whether some of its weights are NaN or infinite; False also when nobody looked.
    """

    id: str
    name: str
    kind: ArtifactKind = ArtifactKind.OTHER
    key: str | None = None
    size_bytes: int | None = None
    created_at: datetime | None = None
    attempt: int = 1
    epoch: int | None = None
    step: int | None = None
    prompt_index: int | None = None
    prompt: str | None = None
    frozen_link: PresignedUrl | None = None
    unavailable: str = ""
    holds_nan: bool = False

    @property
    def download_name(self) -> str:
        """The name offered on download: one file's, so without folders. It tells of NaN: ``aria.NaN.safetensors``."""
        name = self.name.replace("/", "_")
        stem, dot, ending = name.rpartition(".")
        return f"{stem}.NaN{dot}{ending}" if self.holds_nan and dot else name


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One run of a job. ``number`` counts from 1; a negative exit code is a signal, as in subprocess.

    ``gpus`` are the cards set aside for it, as CUDA names them; empty where there are none, or it is unknown.
    ``start`` is what it goes on from; None for one from the beginning.
    ``node`` is the machine of a cluster that it runs on; empty on this one, or where that is unknown.
    """

    number: int
    status: JobStatus
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int | None = None
    progress: Progress = Progress()
    failure: Failure | None = None
    alarms: tuple[str, ...] = ()
    machine: MachineUse | None = None
    gpus: tuple[str, ...] = ()
    start: Start | None = None
    node: str = ""

    @property
    def never_began(self) -> bool:
        """Whether it was cancelled while it waited."""
        is_untouched = self.started_at is None and self.progress.step is None and self.progress.fraction is None
        return self.status is JobStatus.CANCELLED and is_untouched


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLink:
    """Another job, or a sweep. ``name`` is empty where it is not known, or the job is gone."""

    id: str
    name: str = ""


class Origin(StrEnum):
    """Where a job was started. One that was started elsewhere is only watched: nothing here can stop it."""

    DASHBOARD = "dashboard"
    TERMINAL = "terminal"
    WATCHED = "watched"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlace:
    """Where a run keeps its files that the dashboard did not start. Paths are absolute and without links.

    Attributes:
        log: Empty when there is none, or the dashboard keeps it.
        output: Where its LoRA files and samples are; empty when unknown.
        events: Where its TensorBoard files are; empty when unknown.
        stem: Of several runs with one output folder, the one whose files have this name; empty: all files are its own.
        since: Unix seconds before which no file of ``output`` and ``events`` is its own.
        roots: Folders outside of which nothing is looked for that only the log names; empty: anywhere.
    """

    log: str = ""
    output: str = ""
    events: str = ""
    stem: str = ""
    since: float = 0.0
    roots: tuple[str, ...] = ()

    @property
    def main(self) -> str:
        """What people call it by: its log, or else its folder."""
        return self.log or self.output


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A training job as its source knows it. All times are aware UTC or None.

    Attributes:
        raw_status: The source's own word.
        origin: Where it was started.
        place: Where its files are, for a job that the dashboard did not start.
        executor: What runs it: ``local`` for this machine, ``ray`` for a cluster.
        node: The machine of the cluster that its latest attempt runs on; empty when unknown.
        cancelling: It runs, was told to stop, and has not stopped yet.
        attempt: Number of the latest attempt, from 1; 0 when none was started.
        attempts: All attempts, oldest first; empty in lists.
        more_data: The datasets beside the main one.
        settings: The job's own copy of its training settings (see ``lib.jobs.training_settings``).
        command: The command line the trainer runs with, empty when unknown.
        queue_position: Place in the queue from 1, pending jobs only.
        time_limit_s: Seconds after which an attempt is stopped, None for no limit.
        last_output_at: When the trainer last printed something.
        alarms: Words such as ``nan_loss``: the job goes on or succeeded, but look at it.
        runs_again_until: Until when the source may run a failed job again by itself; None: it will not.
        duration_note: Set when the duration is not what it seems ("including time in the queue").
        size_bytes: What deleting the job frees, None when unknown.
        start: What its next attempt goes on from while it is pending, else what its latest one went on from.
        retry_of: The job whose values it was started with, to try again.
        retried_as: The jobs that were started with its values; empty in lists.
        sweep: The sweep that it belongs to: id and name; None for a single job.
        note, tags, is_starred: What people wrote on it (``lib.jobs.annotations``).
        best: The id of the file that somebody picked; empty for none.
        submitted_by, cancelled_by, retried_by: Who did so last, where people sign in; None when unknown.
        payload: The source's raw answer, for "Raw data"; empty in lists.
    """

    id: str
    name: str
    status: JobStatus
    raw_status: str = ""
    origin: Origin = Origin.DASHBOARD
    place: RunPlace | None = None
    executor: str = "local"
    node: str = ""
    cancelling: bool = False
    attempt: int = 0
    created_at: datetime | None = None
    started_at: datetime | None = None
    updated_at: datetime | None = None
    finished_at: datetime | None = None
    progress: Progress = Progress()
    failure: Failure | None = None
    alarms: tuple[str, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    dataset_id: str | None = None
    dataset_name: str | None = None
    more_data: tuple[MoreData, ...] = ()
    config_id: str | None = None
    config_name: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    trainer: str | None = None
    command: tuple[str, ...] = ()
    queue_position: int | None = None
    time_limit_s: float | None = None
    last_output_at: datetime | None = None
    runs_again_until: datetime | None = None
    duration_note: str = ""
    size_bytes: int | None = None
    start: Start | None = None
    retry_of: JobLink | None = None
    retried_as: tuple[JobLink, ...] = ()
    sweep: JobLink | None = None
    note: str = ""
    tags: tuple[str, ...] = ()
    is_starred: bool = False
    best: str = ""
    submitted_by: str | None = None
    cancelled_by: str | None = None
    retried_by: str | None = None
    payload: Mapping[str, Any] = field(default_factory=dict)

    def duration_s(self, now: datetime) -> float | None:
        """Seconds from start to end, or until ``now`` while running; None before the start."""
        if self.started_at is None:
            return None
        end = self.finished_at if self.status.is_terminal else now
        return max(0.0, ((end or self.updated_at or now) - self.started_at).total_seconds())
