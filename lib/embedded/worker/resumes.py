"""Where the worker's jobs can go on, and the trainings that it continues by itself after a restart of the machine."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from lib.embedded.files.attempt_folder import AttemptFolder
from lib.embedded.store.jobs import Store
from lib.embedded.store.runs import Claim
from lib.embedded.trainers.recipe import Recipe
from lib.embedded.trainers.resume_points import resume_points, steps_left, steps_per_epoch
from lib.embedded.worker.local_executor import LOCAL
from lib.jobs.job import JobStatus
from lib.jobs.resume import ResumePoint, Start


def machine_started_at() -> float:
    """Unix seconds since when the machine, or the container, runs: the beginning of its first process."""
    try:
        return float(psutil.Process(1).create_time())
    except psutil.Error:  # other accounts' processes may be hidden
        return float(psutil.boot_time())


class Resumes:
    """What ended attempts left to go on from.

    Args:
        restarted_at: Unix seconds of the machine's start; attempts from before that were lost go on by themselves.
            None: none does.
    """

    def __init__(self, store: Store, data_dir: Path, recipes: Mapping[str, Recipe], restarted_at: float | None) -> None:
        self._store, self._data_dir, self._recipes = store, data_dir, recipes
        self._restarted_at = restarted_at

    def points(self, job_id: str, recipe: Recipe) -> Sequence[ResumePoint]:
        """Where a job can go on, as ``resume_points``."""
        job = self._store.get_job(job_id)
        return resume_points(job, recipe, lambda attempt: AttemptFolder.of(self._data_dir, job_id, attempt).output)

    def after_restart(self, claim: Claim) -> bool:
        """Queue the next attempt of one that a restart ended, from its newest whole state. Whether that was done.

        A state from which it went on by itself before is not used twice: such a training may be what ends the machine.
        """
        recipe = self._recipes.get(claim.settings.trainer)
        is_from_before = self._restarted_at is not None and claim.started_at < self._restarted_at
        if recipe is None or not is_from_before or claim.executor != LOCAL:
            return False
        job = self._store.get_job(claim.job_id)
        if job.status is not JobStatus.LOST or job.attempt != claim.attempt:
            return False
        states = [each for each in self.points(job.id, recipe) if each.is_state and not each.problem]
        if not states or not steps_left(states[0], claim.settings, steps_per_epoch(job)):
            return False
        newest = states[0]
        if claim.start and claim.start.by_itself and claim.start.point_id == newest.id:
            return False
        start = Start(
            attempt=newest.attempt,
            path=newest.path,
            step=newest.step,
            epoch=newest.epoch,
            epochs=claim.settings.epochs,
            max_steps=claim.settings.max_steps,
            by_itself=True,
        )
        self._store.retry(job.id, start, is_next=True)
        return True
