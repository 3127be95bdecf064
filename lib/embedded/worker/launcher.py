"""Starts the worker when there is work and none runs; a file lock ensures that there is never more than one."""

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType

from lib.embedded.files import locks
from lib.embedded.files.availability import FolderUnavailable, read_file
from lib.embedded.trainers.registry import DEFAULT_RECIPES
from lib.embedded.worker.limits import DEFAULT_LIMITS
from lib.embedded.worker.processes import TRAINER_VARIABLE, let_end
from lib.errors import WorkerError
from lib.ray_settings import RaySettings
from lib.settings import ROOT, NotifySettings, Settings, TrainingRules

BEAT_NAME = "worker.beat"
LOG_NAME = "worker.log"
SETTINGS_NAME = "worker.settings"  # names those that the worker was started with
# A worker that keeps failing is started less and less often.
START_EVERY_S = 3.0
START_AT_LEAST_EVERY_S = 60.0
LOOK_EVERY_S = 1.0
_HERE = "here"
# A longer log is renamed at the next start and replaces the one renamed before.
MOST_LOG_BYTES = 4 << 20


class WorkerLauncher:
    """Keeps a worker running for one data folder. Safe to use from several threads and processes."""

    def __init__(
        self,
        data_dir: Path,
        *,
        max_parallel: int = 1,
        gpus: Sequence[str] = (),
        trainer_paths: Mapping[str, Path] = MappingProxyType({}),
        trainer_env: Mapping[str, str] = MappingProxyType({}),
        rules: TrainingRules = TrainingRules(),  # noqa: B008 (frozen)
        recipes: str = DEFAULT_RECIPES,
        upload: bool = False,
        notify: NotifySettings = NotifySettings(),  # noqa: B008 (frozen)
        ray: RaySettings | None = None,
        most_log_bytes: int = MOST_LOG_BYTES,
    ) -> None:
        self._data_dir = data_dir
        self._argv = [sys.executable, "-m", "lib.embedded.worker.worker", "--data-dir", str(data_dir)]
        self._argv += ["--recipes", recipes, "--max-parallel", str(max_parallel)]
        for gpu in gpus:
            self._argv += ["--gpu", gpu]
        for name, path in trainer_paths.items():
            self._argv += ["--trainer-path", name, str(path)]
        for folder in rules.model_dirs:
            self._argv += ["--model-dir", str(folder)]
        self._argv += ["--allow-pickles"] if rules.allow_pickles else []
        self._argv += ["--allow-any-option"] if rules.allow_any_option else []
        self._argv += ["--resume-after-restart"] if rules.resume_after_restart else []
        self._argv += ["--upload"] if upload else []
        # In the environment, which only this account can read: every account of the machine sees an argv.
        self._variables = {f"{TRAINER_VARIABLE}{name}": value for name, value in trainer_env.items()}
        self._variables |= notify.variables | (ray.variables if ray else {})
        self._most_log_bytes = most_log_bytes
        self._settings = ""
        self._lock = threading.Lock()
        self._started_at = self._looked_at = -float("inf")
        self._process: subprocess.Popen[bytes] | None = None
        self._failures = 0
        self._problem = ""

    @property
    def problem(self) -> str:
        """Why the last start failed; empty when it succeeded."""
        return self._problem

    def is_running(self) -> bool:
        """Whether a worker process is alive. Raises FolderUnavailable when the data folder cannot be read."""
        return locks.is_held(self._data_dir / locks.WORKER_LOCK)

    def beat_age_s(self) -> float | None:
        """Seconds since the worker last showed that it is alive; None when it never did."""
        try:
            return max(0.0, time.time() - (self._data_dir / BEAT_NAME).stat().st_mtime)
        except FileNotFoundError:
            return None

    def is_look_due(self) -> bool:
        """Whether a reader should check again if a worker is needed; at most once a second."""
        with self._lock:
            if time.monotonic() - self._looked_at < LOOK_EVERY_S:
                return False
            self._looked_at = time.monotonic()
            return True

    def ensure(self, *, at_once: bool = False) -> None:
        """Start a worker if none runs. Raises WorkerError.

        Args:
            at_once: Even shortly after the last start, because something new was submitted.
        """
        with self._lock:
            try:
                is_there = self.is_running() or self._is_starting()
            except FolderUnavailable as error:
                raise WorkerError(f"The worker could not be started. {error}", hint=error.hint) from error
            if is_there or (not at_once and not self._is_start_due()):
                return
            if self._process is not None:
                # A worker that was killed did not fail by itself, and its jobs must not wait long.
                self._failures = self._failures + 1 if (self._process.poll() or 0) > 0 else 0
            self._started_at = time.monotonic()
            self._process = self._start()

    def begin_hand_over(self, settings: str) -> None:
        """``hand_over`` in the background; what keeps it from that is tried again at the dashboard's next start."""

        def hand_over() -> None:
            with suppress(WorkerError, FolderUnavailable):
                self.hand_over(settings)

        threading.Thread(target=hand_over, name="hand over", daemon=True).start()

    def hand_over(self, settings: str) -> None:
        """Replace a worker that was started with other settings: a new one takes its trainings over.

        One with a cluster stays unless the new one has a cluster that is reached in the same way: it alone can follow
        what runs there. It waits until the former one has let go. Raises WorkerError or FolderUnavailable.

        Args:
            settings: What ``settings_name`` says of those of the workers that are started from now on.
        """
        self._settings, path = settings, self._data_dir / SETTINGS_NAME
        known = (read_file(path) or b"").decode("utf-8", "replace")
        place, _, _ = known.partition(" ")
        if known == settings or place not in (_HERE, settings.partition(" ")[0]) or not self.is_running():
            return
        with locks.taken_from_holder(self._data_dir / locks.WORKER_LOCK):
            """Now it has let go."""
        self.ensure(at_once=True)

    def _is_start_due(self) -> bool:
        wait_s: float = min(START_AT_LEAST_EVERY_S, START_EVERY_S * 2.0**self._failures)
        return time.monotonic() - self._started_at >= wait_s

    def _is_starting(self) -> bool:
        """Whether our worker is about to take the lock; it never exits before its idle grace is over."""
        is_young = time.monotonic() - self._started_at < DEFAULT_LIMITS.idle_grace_s
        return is_young and self._process is not None and self._process.poll() is None

    def _start(self) -> subprocess.Popen[bytes]:
        log_path = self._data_dir / LOG_NAME
        try:
            if log_path.exists() and log_path.stat().st_size > self._most_log_bytes:
                log_path.replace(log_path.with_suffix(".log.1"))
            with log_path.open("ab") as log:
                process = subprocess.Popen(
                    self._argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=ROOT,
                    env={**os.environ, **self._variables},
                    start_new_session=True,
                )
        except OSError as error:
            self._problem = error.strerror or str(error)
            raise WorkerError(
                f"The worker could not be started ({self._problem}).",
                hint="The job is in the queue and will run once a worker can be started.",
            ) from error
        self._problem = ""
        if self._settings:
            with suppress(OSError):  # as on a full disk: nobody replaces this worker then
                (self._data_dir / SETTINGS_NAME).write_text(self._settings)
        let_end(process)
        return process


def settings_name(settings: Settings) -> str:
    """Names settings, in two words: where attempts may be beside this machine, and what differs for any others."""
    place = f"cluster:{settings.ray.transport}" if settings.ray else _HERE
    return f"{place} {hashlib.sha256(json.dumps(asdict(settings), default=str, sort_keys=True).encode()).hexdigest()}"
