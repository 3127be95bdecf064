"""The worker: one process per data folder that runs the queue and exits when it is empty.

It may be killed at any time: trainers keep running under their supervisors, and the next worker takes over from the
files and rows.
"""

import contextlib
import errno
import functools
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lib.embedded.datasets.library import DatasetFolder
from lib.embedded.files import locks
from lib.embedded.files.attempt_folder import AttemptFolder
from lib.embedded.files.availability import WAIT_AT_MOST_S, FolderUnavailable
from lib.embedded.files.privacy import PRIVATE_UMASK
from lib.embedded.store.connection import DiskFullError
from lib.embedded.store.database import require_database
from lib.embedded.store.jobs import Store
from lib.embedded.store.migrations import OutdatedCodeError
from lib.embedded.store.runs import AttemptEnd, Claim
from lib.embedded.trainers.recipe import Recipe
from lib.embedded.trainers.registry import load_recipes
from lib.embedded.worker.artifact_upload import UploadTarget
from lib.embedded.worker.attempt_end import judge_failed_start
from lib.embedded.worker.attempt_follower import AttemptFollower
from lib.embedded.worker.attempt_start import AttemptStart
from lib.embedded.worker.disk_reserve import DiskReserve
from lib.embedded.worker.executor import Executor, Executors
from lib.embedded.worker.gpus import Gpus, find_gpus
from lib.embedded.worker.launcher import BEAT_NAME
from lib.embedded.worker.limits import DEFAULT_LIMITS, WorkerLimits
from lib.embedded.worker.local_executor import LOCAL, LOCK_PATIENCE_S, LocalExecutor
from lib.embedded.worker.machine import Machine
from lib.embedded.worker.notifications import Notifications
from lib.embedded.worker.options import configured_target, other_executors, read_options
from lib.embedded.worker.resumes import Resumes
from lib.embedded.worker.watch_follower import WatchFollower
from lib.errors import DashboardError, StoreError, WorkerError
from lib.jobs.failures.judge import Verdict
from lib.jobs.job import Origin, Progress
from lib.jobs.training_settings import TrainingSettings
from lib.settings import NotifySettings, handed_notify_settings

TICK_S = 0.2
MOST_BLIND_LOOKS = 3
BEAT_EVERY_S = 2.0
ELSEWHERE_EVERY_S = 1.0
# A job that cannot be followed so many times in a row, with its processes gone, is given up.
MOST_ERRORS = 25
# A repeated error is logged at most every 10 minutes.
SAY_AGAIN_S = 600.0
_PASSING_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})

_log = logging.getLogger("worker")


class Worker:
    """Claims jobs, starts their supervisors and follows them. The caller must hold the worker's lock."""

    def __init__(
        self,
        data_dir: Path,
        *,
        recipes: Mapping[str, Recipe],
        max_parallel: int = 1,
        gpus: Gpus = Gpus(()),  # noqa: B008 (it never changes)
        upload_to: UploadTarget | None = None,
        limits: WorkerLimits = DEFAULT_LIMITS,
        notify: NotifySettings = NotifySettings(),  # noqa: B008 (frozen)
        executors: Sequence[Executor] = (),
        resume_after_restart: bool = False,
    ) -> None:
        self._data_dir = data_dir
        self._recipes = recipes
        self._limits = limits
        self._reserve = DiskReserve(data_dir)
        self._store = self._open_store()
        self._file_id = self._store.database.file_id()
        self._away_since: float | None = None
        self._runs = self._store.runs
        self._runs.told = notify.told
        self._machine = Machine()
        self._notifications = Notifications(self._store.outbox, data_dir, notify) if notify.urls else None
        local = LocalExecutor(
            data_dir, self._runs, max_parallel=max_parallel, gpus=gpus, stop_grace_s=limits.stop_grace_s
        )
        self._executors = Executors((local, *executors), patience_s=limits.out_of_reach_s)
        self._resumes = Resumes(self._store, data_dir, recipes, after_restart=resume_after_restart)
        self._start = AttemptStart(
            datasets=DatasetFolder(data_dir / "datasets"),
            runs=self._runs,
            gpus=gpus,
            stop_grace_s=limits.stop_grace_s,
            points=self._resumes.points,
        )
        self._follower = functools.partial(
            AttemptFollower, store=self._runs, limits=limits, upload_to=upload_to, goes_on=self._resumes.after
        )
        self._followed: dict[str, AttemptFollower] = {}
        self._ends: list[tuple[Claim, AttemptEnd]] = []
        self._errors: dict[str, int] = {}
        self._said_at: dict[str, float] = {}
        self._beaten_at = -float("inf")
        self._held_until = -float("inf")
        self._part_away_since = float("inf")
        self._looked_elsewhere_at = -float("inf")
        # Claims to take over; None: not known yet.
        self._left_over: list[Claim] | None = None

    def _open_store(self) -> Store:
        require_database(self._data_dir)  # a worker never creates one
        try:
            return Store(self._data_dir)
        except DiskFullError:
            self._reserve.release()
            return Store(self._data_dir)

    def close(self) -> None:
        """Close the database; trainers keep running."""
        self._executors.close()
        self._store.close()

    def drain(self, lock: int) -> None:
        """Work until there has been nothing to do for a while, or the lock file was deleted."""
        self._left_over = None  # another worker may have held the lock, and claimed, since the last time
        busy_at = time.monotonic()
        while time.monotonic() - busy_at < self._limits.idle_grace_s and not locks.is_deleted(lock):
            if self.tick():
                busy_at = time.monotonic()
            time.sleep(TICK_S)

    def has_work(self) -> bool:
        """Whether a job is pending or running, or a message waits."""
        has_mail = self._notifications is not None and self._notifications.has_mail()
        return has_mail or self._store.has_active_jobs()

    def tick(self) -> bool:
        """Do one round and return whether there is work. After a full disk everything is tried again.

        Raises:
            WorkerError: Another data folder is in the place of this worker's.
            OutdatedCodeError: The database is for newer workers.
        """
        if not self._is_available():
            is_patient = self._away_since is None or time.monotonic() - self._away_since < WAIT_AT_MOST_S
            return is_patient and bool(self._followed or self._ends or self._left_over)
        self._beat()
        with self._survived("taking over"):
            self._take_over()
        with self._survived("runs elsewhere"):
            self._take_in()
        with self._survived("the queue"):
            self._start_waiting()
        for run in list(self._followed.values()):
            mark = run.claim.mark
            with self._survived(mark):
                if self._advance(run):
                    del self._followed[mark]
            with self._survived(f"an end of {mark}"):
                if self._is_hopeless(run.claim):
                    del self._followed[mark]
                    self._end(run.claim, self._executors.unknown_end(run.claim), run.progress)
        with self._survived("an end"):
            self._record_ends()
        with self._survived("the machine"):
            self._look_at_machine()
        has_mail = False
        with self._survived("notifications"):
            has_mail = self._notifications is not None and self._notifications.tick()
        return has_mail or bool(self._followed or self._ends) or self._left_over != [] or self._is_held()

    def _look_at_machine(self) -> None:
        followed = self._followed.values()
        here = [run for run in followed if run.claim.origin is not Origin.WATCHED and run.claim.executor == LOCAL]
        if here and (use := self._machine.look()) is not None:
            for run in here:
                self._runs.record_machine(run.claim, use)

    def _is_available(self) -> bool:
        """Whether the data folder can be read; if not, a missing file does not mean that an attempt ended."""
        try:
            file_id = self._store.database.file_id()
        except FolderUnavailable as error:
            self._away_since = self._away_since or time.monotonic()
            self._say("waiting", error)
            return False
        if file_id != self._file_id:
            raise WorkerError(f"Another database is in the place of this worker's: {self._store.database.path}.")
        self._away_since = None
        return True

    def _advance(self, run: AttemptFollower) -> bool:
        """Follow a run and return whether its end is recorded; on a full disk the reserve is released for that."""
        try:
            return run.follow()
        except DiskFullError:
            if run.is_alive():
                raise  # the trainer would fill the reserve as well
            self._reserve.release()
            return run.follow()

    @contextlib.contextmanager
    def _survived(self, what: str) -> Iterator[None]:
        """An error with one job must not stop the others."""
        try:
            yield
        except OutdatedCodeError:
            raise
        except Exception as error:
            # The store may recover after any time; another error that repeats is permanent.
            is_passing = isinstance(error, StoreError)
            self._errors[what] = self._errors.get(what, 0) + (not is_passing)
            self._say(what, error)
        else:
            self._errors.pop(what, None)

    def _say(self, what: str, error: Exception) -> None:
        key = f"{what} {type(error).__name__}"
        if time.monotonic() - self._said_at.get(key, -float("inf")) < SAY_AGAIN_S:
            return
        self._said_at[key] = time.monotonic()
        _log.warning("%s: %s", what, error, exc_info=None if isinstance(error, DashboardError) else error)

    def _is_hopeless(self, claim: Claim) -> bool:
        """Whether the end of a run cannot be determined; it must not stay "running" forever."""
        errors = self._errors.get(claim.mark, 0)
        try:
            if errors and self._executors.is_alive(claim, self._folder(claim)):
                self._errors[claim.mark] = 0  # its end is still to come
                return False
        except FolderUnavailable:
            return False
        return errors >= MOST_ERRORS

    def _beat(self) -> None:
        """Show that this process is alive; a file's time can be set even when the disk is full."""
        if time.monotonic() - self._beaten_at < BEAT_EVERY_S:
            return
        self._beaten_at = time.monotonic()
        with contextlib.suppress(OSError):
            (self._data_dir / BEAT_NAME).touch()
        self._reserve.keep()

    def _take_over(self) -> None:
        """Take over what a former worker left running, and remove leftovers of deleted jobs."""
        if self._left_over is None:
            shutil.rmtree(self._data_dir / "trash", ignore_errors=True)
            known = {*self._followed, *(claim.mark for claim, _ in self._ends)}
            self._left_over = [claim for claim in self._runs.running() if claim.mark not in known]
        for claim in list(self._left_over):
            with self._survived(claim.mark):
                self._adopt(claim)
                self._left_over.remove(claim)
                continue
            if self._is_hopeless(claim):
                self._left_over.remove(claim)
                self._end(claim, self._executors.unknown_end(claim))

    def _take_in(self) -> None:
        """Follow runs that were started elsewhere since the last look."""
        if self._left_over is None or time.monotonic() - self._looked_elsewhere_at < ELSEWHERE_EVERY_S:
            return
        self._looked_elsewhere_at = time.monotonic()
        known = {*self._followed, *(claim.mark for claim in self._left_over), *(claim.mark for claim, _ in self._ends)}
        self._left_over += [claim for claim in self._runs.running(elsewhere=True) if claim.mark not in known]

    def _adopt(self, claim: Claim) -> None:
        folder = self._folder(claim)
        if claim.origin is Origin.WATCHED:
            self._followed[claim.mark] = WatchFollower(claim, folder, self._runs, limits=self._limits)
            return
        if claim.cancel_requested:
            folder.request_cancel()
        if self._executors.of(claim).was_never_started(claim, folder):
            if claim.origin is Origin.DASHBOARD and self._runs.unclaim(claim):
                return  # the former worker died between claim and start
            folder.request_cancel()
        self._follow(claim, folder)

    def _is_held(self) -> bool:
        return time.monotonic() < self._held_until

    def _start_waiting(self) -> None:
        """Start what there is room for, some of it each round: those that run must not wait for a long queue."""
        for name in self._runs.executors_waited_for() if self._left_over is not None else ():
            deadline = time.monotonic() + self._limits.start_for_s
            while not self._is_held() and self._start_one(name) and time.monotonic() < deadline:
                pass

    def _start_one(self, executor: str) -> bool:
        """Start the first job that waits for an executor, and return whether there may be another one."""
        claim = self._runs.claim_next(functools.partial(self._room, executor=executor), executor=executor)
        if claim is None:
            return False
        left_over = self._left_over = self._left_over or []
        # Until it is followed: if anything fails here, the next round takes it over.
        left_over.append(claim)
        folder = self._folder(claim)
        try:
            self._start.start(claim, folder, self._recipes.get(claim.settings.trainer), self._executors.of(claim))
        except Exception as error:
            self._say(claim.mark, error)
            if self._may_pass(error):
                self._held_until = time.monotonic() + self._limits.hold_s
                return False
            self._end(claim, judge_failed_start(error))
        else:
            self._part_away_since = float("inf")
            self._follow(claim, folder)
        left_over.remove(claim)
        return True

    def _room(self, settings: TrainingSettings, executor: str = LOCAL) -> tuple[str, ...] | None:
        """Cards for the next job; None while it has to wait. A run that is only watched takes no room."""
        recipe = self._recipes.get(settings.trainer)
        claims = [*(run.claim for run in self._followed.values()), *(self._left_over or ())]
        running = [claim for claim in claims if claim.origin is not Origin.WATCHED]
        return self._executors.room(executor, settings, recipe is None or recipe.uses_gpu, running)

    def _may_pass(self, error: Exception) -> bool:
        """Whether the start failed for a reason that may pass."""
        if not self._is_available():
            return True
        if isinstance(error, FolderUnavailable):  # only the datasets are unavailable: wait, but not forever
            self._part_away_since = min(self._part_away_since, time.monotonic())
            return time.monotonic() - self._part_away_since < self._limits.gone_after_s
        return isinstance(error, StoreError) or (isinstance(error, OSError) and error.errno in _PASSING_ERRORS)

    def _follow(self, claim: Claim, folder: AttemptFolder) -> None:
        recipe = self._recipes.get(claim.settings.trainer)
        run = self._executors.of(claim).run_of(claim, folder)
        self._followed[claim.mark] = self._follower(claim, folder, run, recipe)

    def _end(self, claim: Claim, verdict: Verdict, progress: Progress | None = None) -> None:
        self._ends.append((claim, AttemptEnd(verdict=verdict, progress=progress, finished_at=time.time())))

    def _record_ends(self) -> None:
        """Record ends that no log shows; repeated until the database accepts them."""
        while self._ends:
            self._runs.finish(*self._ends[0])
            self._ends.pop(0)

    def _folder(self, claim: Claim) -> AttemptFolder:
        return AttemptFolder.of(self._data_dir, claim.job_id, claim.attempt, claim.place)


def work(data_dir: Path, worker: Worker) -> None:
    """Run the queue under the worker's lock. A job that arrives at the last moment is not left behind."""
    blind_looks = 0
    while (lock := locks.take(data_dir / locks.WORKER_LOCK, patience_s=LOCK_PATIENCE_S)) is not None:
        try:
            worker.drain(lock)
            if locks.is_deleted(lock) and locks.is_held(data_dir / locks.WORKER_LOCK):
                return  # whoever put another lock in its place waits for that
        finally:
            os.close(lock)
        # A submitter that saw the lock held relies on this check after the lock is freed.
        try:
            if not worker.has_work():
                return
            blind_looks = 0
        except FolderUnavailable:  # the dashboard starts a worker once the folder is back
            return
        except StoreError:  # a busy database is tried again, but not forever
            blind_looks += 1
            if blind_looks == MOST_BLIND_LOOKS:
                raise


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the worker process."""
    options, settings = read_options(arguments)
    os.umask(PRIVATE_UMASK)  # also of supervisors and trainers
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    worker = Worker(
        options.data_dir,
        recipes=load_recipes(options.recipes, settings),
        max_parallel=options.max_parallel,
        gpus=find_gpus(options.gpu, os.environ),
        upload_to=configured_target() if options.upload else None,
        notify=handed_notify_settings(os.environ),
        executors=other_executors(os.environ),
        resume_after_restart=settings.rules.resume_after_restart,
    )
    with contextlib.closing(worker):
        try:
            work(options.data_dir, worker)
        except (WorkerError, OutdatedCodeError) as error:
            _log.warning("%s Its trainings go on; the next worker takes over.", error)


if __name__ == "__main__":
    main()
