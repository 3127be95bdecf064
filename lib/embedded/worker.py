"""The worker: one process per data folder that drains the queue and ends when there is nothing left to do.

It may be killed at any instant. Trainers go on under their supervisors, and the next worker takes over from the
files and rows that are there.
"""

import argparse
import contextlib
import errno
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lib.embedded import locks
from lib.embedded.attempt_folder import AttemptFolder, RunSpec
from lib.embedded.database import DiskFullError
from lib.embedded.datasets import DatasetFolder
from lib.embedded.ending import failed
from lib.embedded.followed_run import FollowedRun
from lib.embedded.launcher import BEAT_NAME, IDLE_GRACE_S, LOCK_NAME, LOG_NAME
from lib.embedded.mirror import Mirror
from lib.embedded.processes import let_end
from lib.embedded.recipes import DEFAULT_RECIPES, load_recipes
from lib.embedded.reserve import Reserve
from lib.embedded.run_store import Claim, Ending
from lib.embedded.store import Store
from lib.embedded.supervisor import start_supervisor
from lib.embedded.trainers.recipe import Recipe, TrainingRun
from lib.errors import DashboardError, DatasetError, StoreError, WorkerError
from lib.jobs.causes import Cause
from lib.jobs.failure import Verdict
from lib.jobs.job import Progress
from lib.settings import ROOT, load_settings

TICK_S = 0.2
BEAT_EVERY_S = 2.0
STOP_GRACE_S = 10.0
# Whoever only looks whether a lock is held takes it for a moment.
LOCK_PATIENCE_S = 1.0
MOST_ERRORS = 25

_log = logging.getLogger("worker")


class Worker:
    """Claims jobs, starts their supervisors and follows them. Needs the worker's lock to be held."""

    def __init__(
        self,
        data_dir: Path,
        *,
        recipes: Mapping[str, Recipe],
        max_parallel: int = 1,
        sd_scripts_dir: Path | None = None,
        mirror: Mirror | None = None,
        stop_grace_s: float = STOP_GRACE_S,
    ) -> None:
        self._data_dir = data_dir
        self._recipes = recipes
        self._max_parallel = max_parallel
        self._sd_scripts_dir = sd_scripts_dir
        self._mirror = mirror
        self._stop_grace_s = stop_grace_s
        self._reserve = Reserve(data_dir)
        self._store = self._open_store()
        self._runs = self._store.runs
        self._datasets = DatasetFolder(data_dir / "datasets")
        self._followed: dict[str, FollowedRun] = {}
        self._endings: list[tuple[Claim, Verdict]] = []
        self._errors: dict[str, int] = {}
        self._beaten_at = -float("inf")
        self._has_adopted = False

    def _open_store(self) -> Store:
        try:
            return Store(self._data_dir)
        except DiskFullError:
            self._reserve.release()
            return Store(self._data_dir)

    def close(self) -> None:
        """Close the database; trainers go on."""
        self._store.close()

    def drain(self) -> None:
        """Work until there was nothing to do for a while."""
        busy_at = time.monotonic()
        while time.monotonic() - busy_at < IDLE_GRACE_S:
            if self.tick():
                busy_at = time.monotonic()
            time.sleep(TICK_S)

    def has_work(self) -> bool:
        """Whether a job waits or runs."""
        return self._store.has_active_jobs()

    def tick(self) -> bool:
        """One round; whether there is anything to do. A full disk ends nothing: it is tried again."""
        self._beat()
        with self._survived("the queue"):
            self._adopt_once()
            self._start_waiting()
        for run in list(self._followed.values()):
            with self._survived(run.claim.mark):
                if self._advance(run):
                    del self._followed[run.claim.mark]
            self._give_up_if_hopeless(run)
        with self._survived("an end"):
            self._record_endings()
        return bool(self._followed or self._endings) or not self._has_adopted

    def _advance(self, run: FollowedRun) -> bool:
        """Follow a run; whether its end is recorded, for which the reserve is given up when the disk is full."""
        try:
            return run.follow()
        except DiskFullError:
            if run.is_alive():
                raise  # the trainer would only fill the reserve, too
            self._reserve.release()
            return run.follow()

    @contextlib.contextmanager
    def _survived(self, what: str) -> Iterator[None]:
        """Whatever goes wrong with one job must not keep the others from running."""
        try:
            yield
        except StoreError as error:
            _log.warning("%s", error)
        except Exception:
            self._errors[what] = self._errors.get(what, 0) + 1
            if self._errors[what] in (1, MOST_ERRORS):
                _log.exception("%s", what)

    def _give_up_if_hopeless(self, run: FollowedRun) -> None:
        """A run whose end cannot be made out must not stay "running" for ever."""
        mark = run.claim.mark
        if mark not in self._followed or self._errors.get(mark, 0) < MOST_ERRORS or run.is_alive():
            return
        message = "The training ended, but the worker could not make out how; worker.log has the error."
        self._endings.append((run.claim, failed(Cause.UNKNOWN, message)))
        del self._followed[mark]

    def _beat(self) -> None:
        """Show that this process works; a file's time can be set even when the disk is full."""
        if time.monotonic() - self._beaten_at < BEAT_EVERY_S:
            return
        self._beaten_at = time.monotonic()
        with contextlib.suppress(OSError):
            (self._data_dir / BEAT_NAME).touch()
        self._reserve.keep()

    def _adopt_once(self) -> None:
        """Take over what a former worker left running, and take apart what is left of deleted jobs."""
        if self._has_adopted:
            return
        shutil.rmtree(self._data_dir / "trash", ignore_errors=True)
        for claim in self._runs.running():
            folder = self._folder(claim)
            if claim.cancel_requested:
                folder.request_cancel()
            if folder.was_never_started() and not folder.cancel_requested():
                self._runs.unclaim(claim)  # the former worker died between claim and start
            else:
                self._follow(claim, folder)
        self._has_adopted = True

    def _start_waiting(self) -> None:
        while len(self._followed) < self._max_parallel and (claim := self._runs.claim_next()) is not None:
            folder = self._folder(claim)
            try:
                self._start(claim, folder)
            except Exception as error:
                _log.warning("%s could not be started", claim.mark, exc_info=not isinstance(error, DashboardError))
                self._endings.append((claim, _start_verdict(error)))
            else:
                self._follow(claim, folder)

    def _start(self, claim: Claim, folder: AttemptFolder) -> None:
        recipe = self._recipes.get(claim.settings.trainer)
        if recipe is None:
            raise WorkerError(f"There is no trainer named {claim.settings.trainer[:80]!r}.")
        folder.make()
        training = self._training(claim, folder)
        recipe.prepare(training)
        command = recipe.command(training)
        self._runs.record_command(claim, command)
        folder.write_spec(
            RunSpec(
                argv=tuple(command),
                cwd=str(ROOT),
                environ=recipe.environ(training),
                time_limit_s=claim.time_limit_s,
                stop_grace_s=self._stop_grace_s,
            )
        )
        lock = locks.take(folder.lock, patience_s=LOCK_PATIENCE_S)
        if lock is None:
            raise WorkerError("Another process holds the lock of this attempt.")
        try:
            # Handed over while it is held: there is no moment at which the attempt looks abandoned.
            log = self._data_dir / LOG_NAME
            let_end(start_supervisor(folder, lock, claim.mark, log, ROOT))
        finally:
            os.close(lock)

    def _training(self, claim: Claim, folder: AttemptFolder) -> TrainingRun:
        return TrainingRun(
            job_id=claim.job_id,
            name=claim.name,
            settings=claim.settings,
            dataset=self._datasets.get(claim.dataset_id),
            dataset_path=self._datasets.path(claim.dataset_id),
            attempt_dir=folder.path,
            output_dir=folder.output,
            sd_scripts_dir=self._sd_scripts_dir,
        )

    def _follow(self, claim: Claim, folder: AttemptFolder) -> None:
        recipe = self._recipes.get(claim.settings.trainer)
        self._followed[claim.mark] = FollowedRun(
            claim, folder, recipe, self._runs, stop_grace_s=self._stop_grace_s, mirror=self._mirror
        )

    def _record_endings(self) -> None:
        """Record the ends that no log tells, until the database takes them."""
        while self._endings:
            claim, verdict = self._endings[0]
            self._runs.finish(
                claim,
                Ending(status=verdict.status, progress=Progress(), failure=verdict.failure, finished_at=time.time()),
            )
            self._endings.pop(0)

    def _folder(self, claim: Claim) -> AttemptFolder:
        return AttemptFolder.of(self._data_dir, claim.job_id, claim.attempt)


def _start_verdict(error: Exception) -> Verdict:
    cause = Cause.MISSING_DATASET if isinstance(error, DatasetError) else Cause.MISSING_TRAINER
    if isinstance(error, DiskFullError) or (isinstance(error, OSError) and error.errno == errno.ENOSPC):
        cause = Cause.DISK_FULL
    message = f"The training could not be started: {error}"
    return failed(cause, message, hint=error.hint if isinstance(error, DashboardError) else "")


def work(data_dir: Path, worker: Worker) -> None:
    """Drain the queue under the worker's lock, without ever leaving a job that came in at the last moment."""
    while (lock := locks.take(data_dir / LOCK_NAME, patience_s=LOCK_PATIENCE_S)) is not None:
        try:
            worker.drain()
        finally:
            os.close(lock)
        # A submitter that saw the lock held relies on this look after it was freed.
        if not worker.has_work():
            return


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the worker process."""
    parser = argparse.ArgumentParser(description="Runs the training jobs of a data folder.")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--max-parallel", type=int, default=1)
    parser.add_argument("--sd-scripts-dir", type=Path)
    parser.add_argument("--recipes", default=DEFAULT_RECIPES)
    parser.add_argument("--mirror", action="store_true", help="copy finished files to the store of the settings")
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    worker = Worker(
        options.data_dir,
        recipes=load_recipes(options.recipes),
        max_parallel=options.max_parallel,
        sd_scripts_dir=options.sd_scripts_dir,
        mirror=_configured_mirror() if options.mirror else None,
    )
    with contextlib.closing(worker):
        work(options.data_dir, worker)


def _configured_mirror() -> Mirror | None:
    from lib.artifacts.object_store import ObjectStore  # boto3 takes a second to import, and most have no store

    settings = load_settings().s3
    return ObjectStore(settings) if settings else None


if __name__ == "__main__":
    main()
