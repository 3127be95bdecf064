"""Reads and deletes the files of jobs (logs, losses, artifacts), and nothing outside a job's own folder."""

import contextlib
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from lib.embedded.files.attempt_folder import AttemptFolder
from lib.embedded.files.availability import is_straight, open_file
from lib.embedded.files.tensorboard import EventFiles
from lib.embedded.trainers.kohya_files import file_stem
from lib.errors import ArtifactError, DashboardError, StoreError
from lib.jobs.job import Artifact, ArtifactKind, Attempt, Job, LossPoint, RunPlace
from lib.jobs.resume import Start

MOST_KEPT_EVENT_FILES = 8  # attempts that are looked at now
ELSEWHERE_HINT = "It was written elsewhere: see that its folder is there and may be read."
_BESIDE = ("learning_rate", "grad_norm", "validation_loss")
NOT_IN_FOLDER = "The file is not one of the job's own files."


class JobFiles:
    """``data/jobs``. Ids given here must be those of known jobs.

    Args:
        place_of: Where the files of a job are that was started elsewhere.
    """

    def __init__(self, data_dir: Path, place_of: Callable[[str], RunPlace | None] = lambda _job_id: None) -> None:
        self._data_dir = data_dir
        self._place_of = place_of
        self._lock = threading.Lock()
        self._event_files: dict[Path, EventFiles] = {}

    def attempt(self, job_id: str, attempt: int) -> AttemptFolder:
        """The folder of one attempt."""
        return AttemptFolder.of(self._data_dir, job_id, attempt, self._place_of(job_id))

    def read_log(self, job_id: str, attempt: int, offset: int, limit: int) -> tuple[bytes, int]:
        """At most ``limit`` bytes from ``offset``, and the current size of the log; empty before there is a log."""
        folder = self.attempt(job_id, attempt)
        path = folder.log
        try:
            is_here = path.parent.is_dir() and (not folder.place.log or is_straight(path))
            descriptor = open_file(path) if is_here else None
            if descriptor is None:
                if folder.place.log:
                    raise StoreError(f"The log {path} cannot be reached now.", hint=ELSEWHERE_HINT)
                return b"", 0
            with os.fdopen(descriptor, "rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(offset)
                return log.read(limit), size
        except OSError as error:
            raise StoreError(f"The log cannot be read ({error.strerror or error}).") from error

    def loss_points(self, job_id: str, attempt: int, start: Start | None = None) -> Sequence[LossPoint]:
        """The losses by step: from event files where they exist, otherwise the log's averages.

        What the event files lack beside the losses (learning rate, gradient norm, validation loss) is the log's.

        Args:
            start: What the attempt goes on from: event files of many trainers count their steps from 1 again.
        """
        folder = self.attempt(job_id, attempt)
        is_folder = folder.event_logs.is_dir() and not folder.event_logs.is_symlink()
        if is_folder and (points := self._event_losses(folder)):
            offset = start.step if start and points[0].step <= start.step else 0
            points = [replace(point, step=offset + point.step) for point in points] if offset else points
            return _completed(points, _logged_losses(folder)) if folder.has_more_than_losses() else tuple(points)
        by_step = {point.step: point for point in _logged_losses(folder)}
        return tuple(by_step[step] for step in sorted(by_step))

    def _event_losses(self, folder: AttemptFolder) -> list[LossPoint]:
        """The losses of the event files; empty when they cannot be read on this machine."""
        with self._lock:
            files = self._event_files.pop(folder.path, None) or EventFiles(folder.event_logs, folder.place.since)
            self._event_files[folder.path] = files  # now the youngest
            while len(self._event_files) > MOST_KEPT_EVENT_FILES:
                del self._event_files[next(iter(self._event_files))]
            with contextlib.suppress(DashboardError):
                return list(files.losses())
        return []

    def log_artifact(self, job: Job, attempt: Attempt) -> Artifact | None:
        """The log of an attempt as a file to download; None when it does not exist."""
        path = self.attempt(job.id, attempt.number).log
        if path.is_symlink() or not path.is_file():
            return None
        return Artifact(
            id=f"log/{attempt.number}",  # never the id of an artifact, which begins with a number
            name=f"{file_stem(job.name)}-attempt-{attempt.number}.log",
            kind=ArtifactKind.LOG,
            key=path.relative_to(self._data_dir).as_posix() if path.is_relative_to(self._data_dir) else None,
            size_bytes=path.stat().st_size,
            created_at=attempt.started_at,
            attempt=attempt.number,
        )

    def artifact_path(self, job_id: str, artifact_id: str) -> Path | None:
        """Where ``attempt/path`` is; None when it is gone. Raises ArtifactError for a path outside the job."""
        attempt, _, relative = artifact_id.partition("/")
        parts = PurePosixPath(relative)
        is_plain = relative and "\0" not in relative and not parts.is_absolute() and ".." not in parts.parts
        if not attempt.isdecimal() or not is_plain:
            raise ArtifactError(NOT_IN_FOLDER)
        folder = self.attempt(job_id, int(attempt))
        path = folder.output.joinpath(*parts.parts)
        jobs = self._data_dir / "jobs"  # may be a link to another disk; nothing below it may
        own = path if folder.place.output else jobs.resolve() / path.relative_to(jobs)
        # realpath leaves a circle of links as it is, where Path.resolve raises.
        if Path(os.path.realpath(path)) != own or path.is_symlink():
            raise ArtifactError(NOT_IN_FOLDER)
        return path if path.is_file() else None

    def request_cancel(self, job_id: str, attempt: int) -> None:
        """Ask the supervisor of an attempt to stop its trainer."""
        try:
            self.attempt(job_id, attempt).request_cancel()
        except OSError as error:
            raise StoreError(f"The training could not be told to stop ({error.strerror or error}).") from error

    def delete(self, job_id: str) -> None:
        """Delete all files of a job: move them to the trash at once, then remove them; the worker removes leftovers."""
        folder = self._data_dir / "jobs" / job_id
        trash = self._data_dir / "trash"
        try:
            trash.mkdir(exist_ok=True)
            gone = folder.rename(trash / f"{job_id}-{secrets.token_hex(4)}")
        except FileNotFoundError:
            return  # it never ran
        except OSError as error:
            raise StoreError(f"The job's files could not be deleted ({error.strerror or error}).") from error
        shutil.rmtree(gone, ignore_errors=True)


def _logged_losses(folder: AttemptFolder) -> list[LossPoint]:
    try:
        return folder.read_losses() if folder.path.is_dir() else []
    except OSError as error:
        raise StoreError(f"The losses cannot be read ({error.strerror or error}).") from error


def _completed(points: Sequence[LossPoint], logged: Sequence[LossPoint]) -> tuple[LossPoint, ...]:
    """The points with what none of them knows from the log's points of the same steps."""
    missing = [name for name in _BESIDE if all(getattr(point, name) is None for point in points)]
    by_step = {point.step: point for point in logged}
    found = {step: {name: getattr(point, name) for name in missing} for step, point in by_step.items()}
    return tuple(replace(point, **found[point.step]) if point.step in found else point for point in points)
