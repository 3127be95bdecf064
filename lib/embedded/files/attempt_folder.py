"""The folder of one attempt, ``data/jobs/<job>/<attempt>/``: log, output, and messages between its processes."""

import contextlib
import errno
import json
import math
import os
import signal
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from lib.embedded.files import locks
from lib.embedded.files.availability import is_entry, open_file, read_file, stat_file
from lib.embedded.files.json_file import json_object, replace_json
from lib.jobs.job import LossPoint, RunPlace

EVENTS_FOLDER = "logs"  # where a trainer may write TensorBoard event files
_LOSS = struct.Struct("<qdd")  # step, loss, unix seconds; nan for an unknown time
_RATES = struct.Struct("<qdd")  # step, learning rate, gradient norm; nan for one that was not printed
_EXIT_BYTES = 1024
_START_ERROR_CHARACTERS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """What the supervisor is to run.

    Attributes:
        before: Commands to run first, one after the other; the first that fails ends the attempt.
        stop_signal: What asks it to stop.
        stop_grace_s: The time between that and SIGKILL.
    """

    argv: tuple[str, ...]
    cwd: str
    before: tuple[tuple[str, ...], ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    time_limit_s: float | None = None
    stop_grace_s: float = 10.0
    stop_signal: int = signal.SIGTERM


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a trainer ended.

    Attributes:
        exit_code: None when it never started; a negative one is a signal.
        was_away: The folder was unavailable for a while.
        was_told: Its supervisor was told to end, too, as everything is when the machine shuts down.
        was_restarted: Nobody recorded the end, and the machine was restarted since it began.
        stopped_for: Why the dashboard ended it by itself, as a cause; empty when it did not.
        cause, message: Why the place that ran it ended it, as a cause and a sentence; empty when it did not.
    """

    exit_code: int | None
    finished_at: float
    cancelled: bool = False
    timed_out: bool = False
    start_error: str = ""
    was_away: bool = False
    was_told: bool = False
    was_restarted: bool = False
    free_bytes: int | None = None
    stopped_for: str = ""
    cause: str = ""
    message: str = ""


class AttemptFolder:
    """Paths and small files of one attempt. Small files are replaced in one step: readers never see half of one.

    Args:
        place: Where log and output are for a run that was started elsewhere: nothing is ever written there.

    Raises:
        FolderUnavailable: By most methods, when the folder itself cannot be read.
    """

    def __init__(self, path: Path, place: RunPlace = RunPlace()) -> None:  # noqa: B008 (frozen)
        self.path = path
        self.place = place
        self.log = Path(place.log or path / "log")
        self.output = Path(place.output or path / "output")
        self.losses = path / "losses"
        self._rates = path / "rates"
        self._validation = path / "validation"
        self.event_logs = Path(place.events or path / EVENTS_FOLDER)
        self.lock = path / "lock"
        self._spec = path / "spec.json"
        self._started = path / "started.json"
        self._exit = path / "exit.json"
        self._dataset = path / "dataset.json"
        self._cancel = path / "cancel"
        self._stop = path / "stop.json"

    @classmethod
    def of(cls, data_dir: Path, job_id: str, attempt: int, place: RunPlace | None = None) -> "AttemptFolder":
        """The folder of an attempt of a job."""
        return cls(data_dir / "jobs" / job_id / str(attempt), place or RunPlace())

    def make(self) -> None:
        """Create the folder with an empty log."""
        self._make_path()
        if not self.place.output:
            self.output.mkdir(exist_ok=True)
        if not self.place.log:
            self.log.touch()

    def _make_path(self) -> None:
        """Create the folder, but never the data folder: a missing one is unavailable, not new."""
        for folder in (*reversed(self.path.parents[:2]), self.path):
            folder.mkdir(exist_ok=True)

    def is_made(self) -> bool:
        """Whether the folder was created. Raises FolderUnavailable when the data folder cannot be read."""
        return is_entry(self.path, below=self.path.parents[2])

    def require_available(self) -> None:
        """Raise FolderUnavailable when the folder cannot be read."""
        is_entry(self.path / "output")

    def read_log(self, offset: int, limit: int) -> bytes:
        """At most ``limit`` bytes of the log; empty when there is no ordinary file in its place."""
        descriptor = open_file(self.log)
        if descriptor is None:
            return b""
        with os.fdopen(descriptor, "rb") as log:
            log.seek(offset)
            return log.read(limit)

    def log_end(self, limit: int) -> bytes:
        """The last ``limit`` bytes of the log."""
        return self.read_log(max(0, self.log_size() - limit), limit)

    def log_stat(self) -> os.stat_result | None:
        """Size, time and inode of the log; None when there is no ordinary file in its place."""
        return stat_file(self.log)

    def log_size(self) -> int:
        """Bytes of the log; 0 when it was deleted."""
        stat = self.log_stat()
        return stat.st_size if stat else 0

    def last_output_at(self) -> float | None:
        """Unix seconds of the last output; None before the first."""
        stat = self.log_stat()
        return stat.st_mtime if stat and stat.st_size else None

    def note_images(self, count: int) -> None:
        """Record how many images it trains on: another number changes how long an epoch is."""
        replace_json(self._dataset, {"images": count})

    def images(self) -> int | None:
        """The number given to ``note_images``; None when unknown."""
        data = read_file(self._dataset)
        count = (json_object(data) or {}).get("images") if data is not None else None
        return count if isinstance(count, int) else None

    def write_spec(self, spec: RunSpec) -> None:
        """Tell the supervisor what to run."""
        replace_json(self._spec, {**asdict(spec), "environ": dict(spec.environ)})

    def read_spec(self) -> RunSpec:
        """What to run."""
        values = json.loads(self._spec.read_bytes())
        before = tuple(map(tuple, values.get("before", ())))
        return RunSpec(**{**values, "argv": tuple(values["argv"]), "before": before})

    def mark_started(self, **facts: int | str) -> None:
        """Record that the trainer is about to run; without this record it certainly never ran."""
        replace_json(self._started, facts)

    def started(self) -> Mapping[str, int] | None:
        """The process ids given to ``mark_started``, if they can be read."""
        facts = self._start_facts()
        return None if facts is None else {name: value for name, value in facts.items() if isinstance(value, int)}

    def machine_run(self) -> str:
        """The run of the machine in which it began, as given to ``mark_started``; empty when unknown."""
        found = (self._start_facts() or {}).get("machine_run")
        return found if isinstance(found, str) else ""

    def _start_facts(self) -> Mapping[str, Any] | None:
        data = read_file(self._started)
        return None if data is None else json_object(data)

    def was_never_started(self) -> bool:
        """Whether no trainer ran or will run: no start is recorded, and no process is about to start one."""
        return not locks.is_held(self.lock) and not is_entry(self._started) and self.read_exit() is None

    def request_cancel(self) -> None:
        """Ask the supervisor to stop the trainer."""
        self._make_path()
        descriptor = open_file(self._cancel, os.O_WRONLY | os.O_CREAT)
        if descriptor is not None:  # anything else in its place counts as a request, too
            os.close(descriptor)

    def cancel_requested(self) -> bool:
        """Whether a stop of the trainer was requested."""
        return is_entry(self._cancel)

    def request_stop(self, cause: str, step: int) -> None:
        """Ask the supervisor to end the trainer, though nobody cancelled it: ``cause`` was seen at ``step``."""
        replace_json(self._stop, {"cause": cause, "step": step})

    def stop_requested(self) -> tuple[str, int]:
        """Cause and step of ``request_stop``; an empty cause when nothing was requested."""
        data = read_file(self._stop)
        found = {} if data is None else json_object(data) or {}
        cause, step = found.get("cause"), found.get("step")
        return (cause, step) if isinstance(cause, str) and isinstance(step, int) else ("", 0)

    def reserve_exit(self) -> None:
        """Reserve disk space for the exit record, so that it can be written when the disk is full."""
        self._exit.with_suffix(".reserved").write_bytes(b" " * _EXIT_BYTES)

    def write_exit(self, exit_: Exit) -> None:
        """Record how the trainer ended."""
        short = {**asdict(exit_), "start_error": exit_.start_error[:_START_ERROR_CHARACTERS]}
        for name in (
            "was_away",
            "was_told",
            "was_restarted",
            "stopped_for",
            "cause",
            "message",
        ):  # an older worker could not read one
            if not short[name]:
                del short[name]
        data = json.dumps(short, ensure_ascii=False).encode(errors="replace").ljust(_EXIT_BYTES)
        reserved = self._exit.with_suffix(".reserved")
        descriptor = open_file(reserved, os.O_RDWR | os.O_CREAT)
        if descriptor is None:  # the trainer put something else in its place
            reserved = self._exit.with_suffix(f".{os.getpid()}")
            descriptor = os.open(reserved, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            file.write(data)
            file.flush()
            with contextlib.suppress(OSError):
                os.fsync(file.fileno())
        try:
            reserved.replace(self._exit)
        except IsADirectoryError:  # again something of the trainer's
            self._exit.rename(self._exit.with_suffix(f".{os.getpid()}.moved"))
            reserved.replace(self._exit)

    def read_exit(self) -> Exit | None:
        """How the trainer ended; None while it runs, or when its supervisor died before recording it."""
        data = read_file(self._exit)
        values = None if data is None else json_object(data)
        known = {each.name for each in fields(Exit)}
        with contextlib.suppress(TypeError):  # not an object of ours
            return None if values is None else Exit(**{name: values[name] for name in values if name in known})
        return None

    def append_losses(self, points: Sequence[LossPoint]) -> None:
        """Append losses and what was printed beside them, all or none."""
        rated = [point for point in points if (point.learning_rate, point.grad_norm) != (None, None)]
        # The losses last: they are counted, and what is written again by their side does no harm.
        _append(
            self._rates,
            [_RATES.pack(each.step, _packed(each.learning_rate), _packed(each.grad_norm)) for each in rated],
        )
        _append(
            self._validation,
            [
                _LOSS.pack(point.step, point.validation_loss, _packed(point.at))
                for point in points
                if point.validation_loss is not None
            ],
        )
        _append(self.losses, [_LOSS.pack(point.step, point.loss, _packed(point.at)) for point in points])

    def read_losses(self) -> list[LossPoint]:
        """Every loss in order; a half-written last one is left out."""
        validation = {step: loss for step, loss, _ in _records(self._validation, _LOSS)}
        rates = {step: (learning_rate, norm) for step, learning_rate, norm in _records(self._rates, _RATES)}
        return [
            LossPoint(
                step=step,
                loss=loss,
                at=_unpacked(at),
                learning_rate=_unpacked(rates[step][0]) if step in rates else None,
                grad_norm=_unpacked(rates[step][1]) if step in rates else None,
                validation_loss=validation.get(step),
            )
            for step, loss, at in _records(self.losses, _LOSS)
        ]

    def has_more_than_losses(self) -> bool:
        """Whether something was printed beside the losses."""
        return self._rates.is_file() or self._validation.is_file()

    def clear_losses(self) -> None:
        """Forget the losses: the log goes on with another run."""
        for path in (self._rates, self._validation, self.losses):
            path.unlink(missing_ok=True)

    def trim_losses(self) -> int:
        """Cut off a half-written last loss and return the number of whole ones."""
        _trim(self._rates, _RATES)
        _trim(self._validation, _LOSS)
        return _trim(self.losses, _LOSS)


def _packed(value: float | None) -> float:
    return math.nan if value is None else value


def _unpacked(value: float) -> float | None:
    return None if math.isnan(value) else value


def _append(path: Path, records: Sequence[bytes]) -> None:
    if not records:
        return
    data = b"".join(records)
    descriptor = open_file(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    if descriptor is None:
        raise OSError(errno.EINVAL, "it is no ordinary file")
    with os.fdopen(descriptor, "ab", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        try:
            if file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            file.truncate(size)
            raise


def _records(path: Path, record: struct.Struct) -> list[tuple[Any, ...]]:
    data = read_file(path, -1) or b""
    return list(record.iter_unpack(data[: len(data) - len(data) % record.size]))


def _trim(path: Path, record: struct.Struct) -> int:
    descriptor = open_file(path, os.O_RDWR)
    if descriptor is None:
        return 0
    try:
        size = os.fstat(descriptor).st_size
        if size % record.size:
            os.truncate(descriptor, size - size % record.size)
    finally:
        os.close(descriptor)
    return size // record.size


def folder_size(path: Path) -> int:
    """Bytes of all files below a folder; 0 when it does not exist."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118 (pathlib is 5 times slower)
    return total
