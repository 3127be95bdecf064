"""Where the worker's jobs can go on, and those it continues by itself: after a restart, or a loss of their cluster."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lib.embedded.datasets.library import DatasetFolder
from lib.embedded.files.attempt_folder import AttemptFolder
from lib.embedded.store.jobs import Store
from lib.embedded.store.runs import Claim
from lib.embedded.trainers.recipe import Recipe
from lib.embedded.trainers.resume_points import image_count, resume_points, steps_left, steps_per_epoch
from lib.embedded.worker.cluster_resumes import after_loss, is_lost, start_at
from lib.embedded.worker.local_executor import LOCAL, was_restarted_since
from lib.jobs.failures.judge import Verdict
from lib.jobs.job import Job, JobStatus, Origin, Progress
from lib.jobs.resume import ResumePoint, Start


class Resumes:
    """What ended attempts left to go on from.

    Args:
        after_restart: Whether attempts that a restart of the machine or their cluster ended go on by themselves.
    """

    def __init__(self, store: Store, data_dir: Path, recipes: Mapping[str, Recipe], *, after_restart: bool) -> None:
        self._store, self._data_dir, self._recipes = store, data_dir, recipes
        self._after_restart = after_restart

    def points(self, job_id: str, recipe: Recipe) -> Sequence[ResumePoint]:
        """Where a job can go on, as ``resume_points``."""
        return self._points(self._store.get_job(job_id), recipe)

    def _points(self, job: Job, recipe: Recipe) -> Sequence[ResumePoint]:
        images = image_count(DatasetFolder(self._data_dir / "datasets"), job)
        return resume_points(job, recipe, lambda attempt: AttemptFolder.of(self._data_dir, job.id, attempt), images)

    def after(self, claim: Claim, folder: AttemptFolder, verdict: Verdict, progress: Progress) -> Start | None:
        """What goes on by itself after an attempt that a restart ended: its newest whole state; None if nothing does.

        A state from which it went on by itself before is not used twice: such a training may be what ends the machine.
        """
        recipe = self._recipes.get(claim.settings.trainer)
        if not self._after_restart or recipe is None or claim.origin is not Origin.DASHBOARD:
            return None
        if claim.executor == LOCAL:
            is_lost_so = verdict.status is JobStatus.LOST and was_restarted_since(folder)
        else:
            is_lost_so = is_lost(verdict)
        if not is_lost_so:
            return None
        job = self._store.get_job(claim.job_id)
        ended = replace(job.attempts[-1], status=verdict.status, progress=progress)
        job = replace(job, attempts=(*job.attempts[:-1], ended))
        points, per_epoch = self._points(job, recipe), steps_per_epoch(job)
        if claim.executor != LOCAL:
            return after_loss(claim, job, points, lambda point: steps_left(point, claim.settings, per_epoch))
        states = [each for each in points if each.is_state and not each.problem]
        if not states or not steps_left(states[0], claim.settings, per_epoch):
            return None
        newest = states[0]
        if claim.start and claim.start.by_itself and claim.start.point_id == newest.id:
            return None
        return start_at(newest, claim)
