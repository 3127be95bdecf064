"""Runs attempts on this machine: a supervisor per attempt, whose lock says that it or its trainer is alive."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from lib.embedded.files import locks
from lib.embedded.files.attempt_folder import AttemptFolder, Exit, RunSpec
from lib.embedded.store.runs import Claim, RunStore
from lib.embedded.worker.executor import Executor, Need, Run
from lib.embedded.worker.gpus import Gpus
from lib.embedded.worker.launcher import LOG_NAME
from lib.embedded.worker.processes import (
    GroupStop,
    age_s,
    find_marked,
    groups_of_marked,
    is_marked,
    kill_marked,
    let_end,
    machine_run,
)
from lib.embedded.worker.supervisor import start_supervisor
from lib.errors import WorkerError
from lib.jobs.training_settings import TrainingSettings
from lib.settings import ROOT

LOCAL = "local"
# Probing a lock takes it briefly, so waiting a moment is normal.
LOCK_PATIENCE_S = 1.0
# A living supervisor ends a training in time; this much later it counts as dead.
LATE_LIMIT_S = 2.0


class LocalExecutor(Executor):
    """Starts at most ``max_parallel`` attempts at once, each with cards of its own."""

    name = LOCAL

    def __init__(self, data_dir: Path, runs: RunStore, *, max_parallel: int, gpus: Gpus, stop_grace_s: float) -> None:
        self._data_dir, self._runs = data_dir, runs
        self._max_parallel, self._gpus, self._stop_grace_s = max_parallel, gpus, stop_grace_s

    def room(self, settings: TrainingSettings, uses_gpu: bool, running: Sequence[Claim]) -> tuple[str, ...] | None:
        """Cards for the next job; None while too many jobs run or too few cards are free."""
        if len(running) >= self._max_parallel:
            return None
        return self._gpus.free(settings.gpus if uses_gpu else 0, (gpu for claim in running for gpu in claim.gpus))

    def start(self, claim: Claim, folder: AttemptFolder, spec: RunSpec, need: Need) -> None:
        """Start a supervisor, which starts the trainer."""
        folder.write_spec(spec)
        lock = locks.take(folder.lock, patience_s=LOCK_PATIENCE_S)
        if lock is None:
            raise WorkerError("Another process holds the lock of this attempt.")
        try:
            # Handed over while held, so that the attempt never looks abandoned.
            let_end(start_supervisor(folder, lock, claim.mark, self._data_dir / LOG_NAME, ROOT))
        finally:
            os.close(lock)

    def was_never_started(self, claim: Claim, folder: AttemptFolder) -> bool:
        """Whether no supervisor or trainer ran or will run, and nobody asked it to stop."""
        if not folder.is_made():
            return not find_marked(claim.mark)  # if it is, the disk of the jobs folder is unavailable
        return folder.was_never_started() and not folder.cancel_requested()

    def run_of(self, claim: Claim, folder: AttemptFolder) -> Run:
        """An attempt on this machine."""
        return LocalRun(claim, folder, self._runs, stop_grace_s=self._stop_grace_s)


def was_restarted_since(folder: AttemptFolder) -> bool:
    """Whether it is certain that the machine, or the container, was restarted since an attempt began."""
    then, now = folder.machine_run(), machine_run()
    return bool(then and now) and then != now


class LocalRun(Run):
    """A supervisor and its trainer."""

    def __init__(self, claim: Claim, folder: AttemptFolder, runs: RunStore, *, stop_grace_s: float) -> None:
        self._claim, self._folder, self._runs = claim, folder, runs
        self._stop = GroupStop(stop_grace_s)
        self._leftovers = GroupStop(stop_grace_s)

    def is_alive(self) -> bool:
        """Whether one of its processes is alive."""
        return locks.is_held(self._folder.lock)

    def has_processes(self) -> bool:
        """Whether processes carry its mark. Needs /proc; False elsewhere."""
        return bool(find_marked(self._claim.mark))

    def clear(self) -> None:
        """Kill what left the trainer's group: it would go on writing and hold the GPU."""
        kill_marked(self._claim.mark)

    def exit(self) -> Exit | None:
        """How it ended; None while one of its processes is alive."""
        if (exit_ := self._folder.read_exit()) is not None:
            return exit_
        if locks.is_held(self._folder.lock):
            if self._has_lost_its_leaders():
                self._leftovers.press(groups_of_marked(self._claim.mark))
            else:
                self._stop_orphan()
            return None
        # The supervisor may have recorded the end between the two checks.
        if (exit_ := self._folder.read_exit()) is not None:
            return exit_
        exit_ = self._unrecorded_exit()
        # The folder seen may be one that was created in the place of an unavailable one.
        self._runs.require_available()
        self.clear()
        return exit_

    def _unrecorded_exit(self) -> Exit:
        cancelled = self._folder.cancel_requested()
        stopped_for = "" if cancelled else self._folder.stop_requested()[0]
        last_output_at = self._folder.last_output_at()
        never_started = last_output_at is None and self._folder.was_never_started() and not cancelled
        return Exit(
            exit_code=None,
            finished_at=last_output_at or time.time(),
            cancelled=cancelled,
            timed_out=self._stop.is_asked and not cancelled and not stopped_for,
            stopped_for=stopped_for,
            was_restarted=was_restarted_since(self._folder),
            start_error="its supervisor ended before the trainer began (see worker.log)" if never_started else "",
        )

    def _has_lost_its_leaders(self) -> bool:
        """Whether supervisor and trainer are dead, and only what the trainer started holds the lock.

        Without /proc that is unknown: no process is known by its mark there, not even a living one.
        """
        facts = self._facts()
        if "trainer" not in facts or not find_marked(self._claim.mark):
            return False
        return not any(is_marked(facts.get(name), self._claim.mark) for name in ("supervisor", "trainer"))

    def _stop_orphan(self) -> None:
        """Stop a trainer that outlived its supervisor, as the supervisor would have."""
        facts = self._facts()
        is_asked = self._folder.cancel_requested() or bool(self._folder.stop_requested()[0])
        if not is_asked and not self._is_late(facts.get("trainer")):
            return
        if is_marked(facts.get("supervisor"), self._claim.mark):
            return
        # Without /proc there are no marks; the held lock proves that the group id is still the trainer's.
        leader = {facts["trainer"]} if "trainer" in facts else set()
        self._stop.press(groups_of_marked(self._claim.mark) or leader)

    def _is_late(self, trainer: int | None) -> bool:
        if (limit_s := self._claim.time_limit_s) is None:
            return False
        age = age_s(trainer) if is_marked(trainer, self._claim.mark) else None
        return (time.time() - self._claim.started_at if age is None else age) > limit_s + LATE_LIMIT_S

    def _facts(self) -> Mapping[str, int]:
        return self._folder.started() or {}
