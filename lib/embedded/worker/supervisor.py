"""Watches one trainer: starts it in its own process group, stops it on request, records how it ended.

It is a separate process, so that the worker may be killed at any time: the next worker reads what the supervisor
recorded. The trainer inherits the supervisor's lock, which is held as long as either of them is alive.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from lib.embedded.files import locks
from lib.embedded.files.attempt_folder import AttemptFolder, Exit, RunSpec
from lib.embedded.files.availability import WAIT_AT_MOST_S, FolderUnavailable
from lib.embedded.files.disk_space import free_bytes
from lib.embedded.worker.processes import ATTEMPT_MARK, TRAINER_VARIABLE, GroupStop, machine_run, signal_groups

_POLL_S = 0.1
_TRIES_WHILE_AVAILABLE = 2
# The dashboard's own settings contain secrets, which trainers must not see.
_OURS = ("LORA_", "S3_", "AWS_", "INFLUENCERAI_", "RAY_")

# A supervisor that alone is told to end leaves its trainer to the worker after so long.
LEAVE_AFTER_S = 10.0
# Of two processes that are told to end together, one hears of it first.
TOGETHER_S = 1.0

_T = TypeVar("_T")


class EndSignal:
    """SIGTERM to this process. A machine that shuts down sends it to all, so the trainer's end is still recorded."""

    def __init__(self, leave_after_s: float = LEAVE_AFTER_S) -> None:
        self._leave_after_s = leave_after_s
        self._at: float | None = None

    def listen(self) -> None:
        """Note the signal from now on, instead of ending at once."""
        signal.signal(signal.SIGTERM, self._note)

    def _note(self, *_: object) -> None:
        self._at = self._at or time.monotonic()

    @property
    def has_come(self) -> bool:
        """Whether this process was told to end."""
        return self._at is not None

    @property
    def is_over(self) -> bool:
        """Whether it came so long ago that nobody but this process was meant."""
        return self._at is not None and time.monotonic() - self._at >= self._leave_after_s

    def leave_if_alone(self) -> None:
        """End this process where nobody but it was told to."""
        if self.is_over:
            sys.exit(128 + signal.SIGTERM)

    def has_come_beside(self, exit_code: int) -> bool:
        """Whether it was told to end, or is within a moment where the trainer seems to have been."""
        deadline = time.monotonic() + (TOGETHER_S if exit_code in (-signal.SIGTERM, 128 + signal.SIGTERM) else 0)
        while not self.has_come and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        return self.has_come


def supervise(folder: AttemptFolder, lock: int, told: EndSignal | None = None) -> None:
    """Run the trainer of an attempt to its end."""
    told = told or EndSignal()
    spec = _once_available(folder, lock, folder.read_spec)
    _once_available(folder, lock, folder.reserve_exit)
    if _once_available(folder, lock, folder.cancel_requested):
        ended = Exit(exit_code=None, finished_at=time.time(), cancelled=True)
    else:
        ended = _run(spec, folder, lock, told)
    _once_available(folder, lock, partial(folder.write_exit, ended))


def _run(spec: RunSpec, folder: AttemptFolder, lock: int, told: EndSignal) -> Exit:
    """Run the commands before the training and the training itself; the first that does not end well is the end."""
    deadline = time.monotonic() + spec.time_limit_s if spec.time_limit_s else None
    for number, argv in enumerate(spec.before, 1):
        _log_step(folder, number, spec, argv)
        ended = _run_one(replace(spec, argv=argv), folder, lock, deadline, told)
        if ended.exit_code != 0 or ended.cancelled or ended.timed_out or ended.stopped_for or ended.was_told:
            return ended
    if spec.before:
        _log_step(folder, len(spec.before) + 1, spec, spec.argv)
    return _run_one(spec, folder, lock, deadline, told)


def _log_step(folder: AttemptFolder, number: int, spec: RunSpec, argv: Sequence[str]) -> None:
    """Say in the log which command comes; the stages of the progress are read from it."""
    step = f"Step {number} of {len(spec.before) + 1}: {_script_of(argv)}"
    with contextlib.suppress(OSError), folder.log.open("ab") as log:
        log.write(f"{step}\n".encode())


def _script_of(argv: Sequence[str]) -> str:
    """The name of the script in a command line, or else of its program; its arguments may be secret."""
    return next((Path(each).name for each in argv if each.endswith(".py")), Path(argv[0]).name)


def _run_one(spec: RunSpec, folder: AttemptFolder, lock: int, deadline: float | None, told: EndSignal) -> Exit:
    started: dict[str, int | str] = {"supervisor": os.getpid(), "machine_run": machine_run()}
    try:
        _once_available(folder, lock, partial(folder.mark_started, **started))
        trainer = start_trainer(spec, folder, lock)
    except OSError as error:
        message = f"{spec.argv[0]}: {error.strerror or error}"
        with contextlib.suppress(OSError), folder.log.open("ab") as log:
            log.write(f"{message}\n".encode())
        return Exit(exit_code=None, finished_at=time.time(), start_error=message)
    with contextlib.suppress(OSError):  # the disk may be full; the trainer's mark also identifies its group
        folder.mark_started(**started, trainer=trainer.pid)
    return _wait_for(trainer, spec, folder, lock, deadline, told)


def _once_available(folder: AttemptFolder, lock: int, do: Callable[[], _T]) -> _T:
    """Do something with the folder; wait while it is unavailable, but not when it was deleted."""
    deadline = time.monotonic() + WAIT_AT_MOST_S
    failures = 0
    while True:
        is_last = failures == _TRIES_WHILE_AVAILABLE or locks.is_deleted(lock) or time.monotonic() > deadline
        if is_last or locks.is_at(folder.lock, lock):
            try:
                return do()
            except (OSError, FolderUnavailable):
                # The folder may have gone after the check: only a repeated failure is an error.
                failures += 1
                if is_last:
                    raise
        time.sleep(_POLL_S)


def start_trainer(spec: RunSpec, folder: AttemptFolder, lock: int) -> subprocess.Popen[bytes]:
    """Start the trainer with its output going directly into the log."""
    environ = {**trainer_environ(os.environ), "PYTHONUNBUFFERED": "1", "COLUMNS": "240", **spec.environ}
    with _once_available(folder, lock, partial(folder.log.open, "ab", buffering=0)) as log:
        return subprocess.Popen(
            spec.argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=spec.cwd,
            env=environ,
            start_new_session=True,
            pass_fds=(lock,),
        )


def trainer_environ(ours: Mapping[str, str]) -> dict[str, str]:
    """A trainer's environment: what we inherited, without our settings and with what those mean for trainers."""
    kept = {name: value for name, value in ours.items() if name == ATTEMPT_MARK or not name.startswith(_OURS)}
    meant = {name.removeprefix(TRAINER_VARIABLE): value for name, value in ours.items() if _is_for_trainer(name)}
    return {**kept, **meant}


def _is_for_trainer(name: str) -> bool:
    return name.startswith(TRAINER_VARIABLE) and name != TRAINER_VARIABLE


def _wait_for(
    trainer: subprocess.Popen[bytes],
    spec: RunSpec,
    folder: AttemptFolder,
    lock: int,
    deadline: float | None,
    told: EndSignal,
) -> Exit:
    """Wait for the end; stop the trainer on request or when its time is up."""
    stop = GroupStop(spec.stop_grace_s, spec.stop_signal)
    cancelled = timed_out = was_away = False
    stopped_for = ""
    # WNOWAIT keeps the dead trainer as a zombie, so that its group id cannot be reused before the kill below.
    while os.waitid(os.P_PID, trainer.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        was_away = was_away or not locks.is_at(folder.lock, lock)
        if not stop.is_asked:
            cancelled = _is_cancel_seen(folder)
            timed_out = not cancelled and deadline is not None and time.monotonic() >= deadline
            stopped_for = "" if cancelled or timed_out else _stop_seen(folder)
        if cancelled or timed_out or stopped_for:
            stop.press([trainer.pid])
        told.leave_if_alone()
        time.sleep(_POLL_S)
    was_away = was_away or not locks.is_at(folder.lock, lock)
    # Children that outlive their trainer would keep writing into the log and hold the GPU.
    signal_groups([trainer.pid], signal.SIGKILL)
    finished_at, exit_code = time.time(), trainer.wait()
    return Exit(
        exit_code=exit_code,
        finished_at=finished_at,
        cancelled=cancelled,
        timed_out=timed_out,
        was_away=was_away,
        was_told=not stop.is_asked and told.has_come_beside(exit_code),
        free_bytes=_free_bytes(folder.path),
        stopped_for=stopped_for,
    )


def _is_cancel_seen(folder: AttemptFolder) -> bool:
    """Whether a stop was requested; False while the folder is unavailable."""
    with contextlib.suppress(OSError, FolderUnavailable):
        return folder.cancel_requested()
    return False


def _stop_seen(folder: AttemptFolder) -> str:
    """Why the worker wants the end; empty when it does not, or the folder is unavailable."""
    with contextlib.suppress(OSError, FolderUnavailable):
        return folder.stop_requested()[0]
    return ""


def _free_bytes(path: Path) -> int | None:
    try:
        return free_bytes(path)
    except OSError:
        return None


def start_supervisor(
    folder: AttemptFolder, lock: int, mark: str, log: Path, cwd: Path, more: Mapping[str, str] = MappingProxyType({})
) -> subprocess.Popen[bytes]:
    """Start this module as its own process in its own session, with the attempt's lock and ``more`` variables."""
    with log.open("ab") as errors:
        return subprocess.Popen(
            [sys.executable, "-m", "lib.embedded.worker.supervisor", str(folder.path), str(lock)],
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            cwd=cwd,
            env={**os.environ, **more, ATTEMPT_MARK: mark},
            start_new_session=True,
            pass_fds=(lock,),
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the supervisor process."""
    parser = argparse.ArgumentParser(description="Watches one trainer.")
    parser.add_argument("attempt_dir", type=Path)
    parser.add_argument("lock", type=int)
    options = parser.parse_args(arguments)
    # What a shell starts in the background ignores it, and so would the trainer.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    told = EndSignal()
    told.listen()
    supervise(AttemptFolder(options.attempt_dir), options.lock, told)


if __name__ == "__main__":
    main()
