"""Runs a command line as a job: a supervisor runs it, and its output is shown in the terminal that it came from."""

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from lib.embedded.files import locks
from lib.embedded.files.attempt_folder import AttemptFolder, Exit, RunSpec
from lib.embedded.store.elsewhere import Outsider, new_job_id
from lib.embedded.store.jobs import Store
from lib.embedded.trainers.recipe import shown_command
from lib.embedded.worker.launcher import LOG_NAME
from lib.embedded.worker.processes import TRAINER_VARIABLE, let_end, signal_groups
from lib.embedded.worker.supervisor import start_supervisor
from lib.errors import WorkerError
from lib.jobs.job import Origin, RunPlace
from lib.settings import ROOT

_POLL_S = 0.05
_READ_BYTES = 1 << 16
# A trainer that was asked to stop may still save.
STOP_GRACE_S = 120.0
_START_FAILED, _SIGNALLED = 127, 128
# The supervisor keeps these from trainers of the queue; here they are what the terminal has.
_TERMINALS_OWN = "AWS_"


class TerminalRun:
    """One command line, from its start to its end.

    Args:
        ensure_worker: Starts the worker, which follows the run and judges its end.
    """

    def __init__(self, data_dir: Path, store: Store, ensure_worker: Callable[[], None]) -> None:
        self._data_dir = data_dir
        self._store = store
        self._ensure_worker = ensure_worker
        self._interrupts = 0

    def start(self, argv: Sequence[str], name: str, place: RunPlace) -> AttemptFolder:
        """Start it as a job. Raises StoreError or WorkerError."""
        job_id, now = new_job_id(datetime.now(UTC)), time.time()
        place = replace(place, since=now - 1.0)
        folder = AttemptFolder.of(self._data_dir, job_id, 1, place)
        shown = shown_command(argv)
        spec = RunSpec(
            argv=tuple(argv),
            cwd=str(Path.cwd()),
            environ=_look_of_terminal(),
            stop_grace_s=STOP_GRACE_S,
            stop_signal=signal.SIGINT,
        )
        folder.make()
        folder.write_spec(spec)
        lock = locks.take(folder.lock)
        if lock is None:
            raise WorkerError("Another process holds the lock of this run.")
        try:
            # Locked before it is known, so that it never looks abandoned.
            run = Outsider(
                name=name, origin=Origin.TERMINAL, place=place, started_at=now, last_sign_at=now, command=shown
            )
            self._store.elsewhere.take_in(run, job_id)
            log = self._data_dir / LOG_NAME
            let_end(start_supervisor(folder, lock, f"{job_id}/1", log, ROOT, _kept_variables()))
        except BaseException:
            shutil.rmtree(folder.path.parent, ignore_errors=True)
            raise
        finally:
            os.close(lock)
        self._ensure_worker()
        return folder

    def show(self, folder: AttemptFolder, out: BinaryIO) -> int:
        """Show its output until it ends, and return the exit code as a shell has it. Ctrl+C reaches the trainer."""
        handlers = {number: signal.signal(number, self._stop(folder)) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            return _code_of(_shown_to_end(folder, out))
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _stop(self, folder: AttemptFolder) -> Callable[[int, object], None]:
        def handle(_number: int, _frame: object) -> None:
            self._interrupts += 1
            folder.request_cancel()
            trainer = (folder.started() or {}).get("trainer")
            if self._interrupts > 1 and trainer:  # the first one is the supervisor's to send
                signal_groups([trainer], signal.SIGINT)

        return handle


def _shown_to_end(folder: AttemptFolder, out: BinaryIO) -> Exit | None:
    offset, has_spec, gone = 0, True, 0
    while True:
        exit_ = folder.read_exit()
        is_held = locks.is_held(folder.lock)
        while data := folder.read_log(offset, _READ_BYTES):
            offset += len(data)
            try:
                out.write(data)
                out.flush()
            except OSError:  # whoever read it has gone (``| head``): the training goes on as ever
                out = _nowhere(out)
        if exit_ is not None:
            return exit_
        if has_spec and "trainer" in (folder.started() or {}):
            has_spec = False
            _hide_secrets(folder)
        gone = 0 if is_held else gone + 1
        if gone > 1:  # supervisor and trainer were killed
            return None
        time.sleep(_POLL_S)


def _nowhere(out: BinaryIO) -> BinaryIO:
    """The same stream, leading nowhere: what is still buffered would fail again when this process ends."""
    with Path(os.devnull).open("wb") as null:
        os.dup2(null.fileno(), out.fileno())
    return out


def _hide_secrets(folder: AttemptFolder) -> None:
    """The supervisor has read the command line; what it was given in confidence stays nowhere."""
    spec = folder.read_spec()
    folder.write_spec(replace(spec, argv=shown_command(spec.argv)))


def _code_of(exit_: Exit | None) -> int:
    if exit_ is None:
        return 1
    if exit_.start_error:
        return _START_FAILED
    if exit_.exit_code is None:
        return _SIGNALLED + signal.SIGINT if exit_.cancelled else 1
    return exit_.exit_code if exit_.exit_code >= 0 else _SIGNALLED - exit_.exit_code


def _look_of_terminal() -> dict[str, str]:
    """What makes programs print for this terminal, although their output goes through a file."""
    if not sys.stdout or not sys.stdout.isatty():
        return {}
    columns = {"COLUMNS": str(shutil.get_terminal_size().columns)}
    return columns if "NO_COLOR" in os.environ else {**columns, "FORCE_COLOR": os.environ.get("FORCE_COLOR", "1")}


def _kept_variables() -> dict[str, str]:
    return {f"{TRAINER_VARIABLE}{name}": value for name, value in os.environ.items() if name.startswith(_TERMINALS_OWN)}
