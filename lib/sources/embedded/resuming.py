"""Continues ended jobs of this machine: from a state, or with the weights of a file."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lib.embedded.datasets.library import DatasetFolder
from lib.embedded.files.job_files import JobFiles
from lib.embedded.store.jobs import Store
from lib.embedded.trainers.recipe import Recipe
from lib.embedded.trainers.resume_points import image_count, resume_points, steps_left, steps_per_epoch
from lib.errors import InvalidRequest
from lib.jobs.job import Job, Origin
from lib.jobs.resume import ResumePoint, Start
from lib.jobs.training_settings import setting_problems, settings_from_payload
from lib.jobs.words import count_text


class Resuming:
    """What can be continued, and how."""

    def __init__(self, store: Store, files: JobFiles, datasets: DatasetFolder, recipes: Mapping[str, Recipe]) -> None:
        self._store = store
        self._datasets = datasets
        self._files = files
        self._recipes = recipes

    def points(self, job_id: str) -> Sequence[ResumePoint]:
        """Where the job can go on; empty where its trainer cannot be continued."""
        job = self._store.get_job(job_id)
        recipe = self._recipes.get(job.trainer or "")
        if recipe is None or job.origin is not Origin.DASHBOARD or not job.status.is_terminal:
            return ()
        images = image_count(self._datasets, job)
        return resume_points(job, recipe, lambda attempt: self._files.attempt(job_id, attempt), images)

    def go_on(self, job_id: str, point_id: str, more: int) -> Job:
        """Queue the next attempt. Raises InvalidRequest."""
        job = self._store.get_job(job_id)
        if not job.status.is_terminal:
            raise InvalidRequest("The job has not ended yet, so there is nothing to continue.")
        point = next((each for each in self.points(job_id) if each.id == point_id), None)
        if point is None:
            raise InvalidRequest(
                "What the training was to go on from is gone.", hint="Choose another state, or retry from step 0."
            )
        if point.problem:
            raise InvalidRequest(
                f"The training cannot go on from {point.path}. {point.problem}",
                hint="Choose another state, or retry from step 0.",
            )
        return self._store.retry(job_id, self._start(job, point, more))

    def _start(self, job: Job, point: ResumePoint, more: int) -> Start:
        """From ``point``, with ``more`` epochs or steps. Raises InvalidRequest."""
        settings = settings_from_payload(job.settings)
        now = job.start.applied(settings) if job.start else settings
        # A trainer that goes on in whole epochs may be past the steps that were asked for.
        longer = {"epochs": now.epochs + more}
        if now.max_steps:
            longer = {"max_steps": (max(now.max_steps, point.step) if more else now.max_steps) + more}
        new = replace(now, **longer)  # type: ignore[arg-type]
        problems = setting_problems(new)
        if more < 0:
            problems["more"] = "Only epochs or steps can be added."
        elif not steps_left(point, new, steps_per_epoch(job)):
            length = (
                count_text(now.max_steps, "step", "steps")
                if now.max_steps
                else count_text(now.epochs, "epoch", "epochs")
            )
            problems["more"] = f"The training has {length}, and is finished there. Add at least one."
        if problems:
            fields = {"more": next(iter(problems.values()))}
            raise InvalidRequest("The training cannot be continued so.", fields=fields)
        return Start(
            attempt=point.attempt,
            path=point.path,
            is_state=point.is_state,
            step=point.step,
            epoch=point.epoch,
            epochs=new.epochs,
            max_steps=new.max_steps,
        )
