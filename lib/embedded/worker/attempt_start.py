"""Starts an attempt: what the trainer needs is written, and an executor runs it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.embedded.datasets.library import DatasetFolder
from lib.embedded.files.attempt_folder import AttemptFolder, RunSpec
from lib.embedded.store.runs import Claim, RunStore
from lib.embedded.trainers.recipe import MoreFolder, Recipe, TrainingRun, base_problems, further_problems
from lib.embedded.trainers.resume_points import sum_known
from lib.embedded.worker.attempt_end import NotRunnable
from lib.embedded.worker.executor import Executor, Need
from lib.embedded.worker.gpus import Gpus
from lib.errors import DatasetError, WorkerError
from lib.jobs.more_data import MoreData
from lib.jobs.resume import ResumePoint, Start
from lib.ray_settings import LOCAL
from lib.settings import ROOT


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStart:
    """What every attempt of a data folder is started with."""

    datasets: DatasetFolder
    runs: RunStore
    gpus: Gpus
    stop_grace_s: float
    points: Callable[[str, Recipe], Sequence[ResumePoint]]

    def start(self, claim: Claim, folder: AttemptFolder, recipe: Recipe | None, executor: Executor) -> None:
        """Let the executor start the trainer. Raises NotRunnable, WorkerError, or what a recipe raises."""
        if recipe is None:
            raise WorkerError(f"There is no trainer named {claim.settings.trainer[:80]!r}.")
        folder.make()
        training = self._training(claim, folder)
        # Again: the files, the dataset or the rules may have changed since the job was submitted.
        problems = [
            *_gpu_problems(claim),
            *self._start_problems(claim, recipe),
            *recipe.problems(claim.settings, training.dataset),
            *further_problems(recipe, claim.settings, training.more),
            *base_problems(recipe, claim.settings),
        ]
        if problems:
            raise NotRunnable(problems)
        counts = (each.image_count for each in (training.dataset, *(more.dataset for more in training.more)))
        if (images := sum_known(counts)) is not None:
            folder.note_images(images)
        recipe.prepare(training)
        command = recipe.command(training)
        self.runs.record_command(claim, command)
        executor.start(
            claim,
            folder,
            RunSpec(
                argv=tuple(command),
                before=tuple(map(tuple, recipe.commands_before(training))),
                cwd=str(ROOT),
                environ={**self.gpus.environ(claim.gpus), **recipe.environ(training)},
                time_limit_s=claim.time_limit_s,
                stop_grace_s=self.stop_grace_s,
            ),
            Need(uses_gpu=recipe.uses_gpu, inputs=_inputs(training)),
        )

    def _training(self, claim: Claim, folder: AttemptFolder) -> TrainingRun:
        return TrainingRun(
            job_id=claim.job_id,
            name=claim.name,
            settings=claim.settings,
            dataset=self.datasets.get(claim.dataset_id),
            dataset_path=self.datasets.path(claim.dataset_id),
            attempt_dir=folder.path,
            output_dir=folder.output,
            gpu_count=max(1, len(claim.gpus)) if claim.executor == LOCAL else claim.settings.gpus,
            start=claim.start,
            start_path=_start_path(claim.start, folder) if claim.start else None,
            more=tuple(map(self._more, claim.more_data)),
        )

    def _more(self, said: MoreData) -> MoreFolder:
        """Raises DatasetError when it was deleted since."""
        try:
            return MoreFolder(
                said=said, dataset=self.datasets.get(said.dataset_id), path=self.datasets.path(said.dataset_id)
            )
        except DatasetError as error:
            raise DatasetError(
                f"The further dataset {(said.name or said.dataset_id)[:80]!r} cannot be used. {error}", hint=error.hint
            ) from error

    def _start_problems(self, claim: Claim, recipe: Recipe) -> list[str]:
        """Why the attempt cannot go on from what it was to; empty when it can, or begins at step 0."""
        if claim.start is None:
            return []
        points = {point.id: point for point in self.points(claim.job_id, recipe)}
        found, what_now = points.get(claim.start.point_id), "Continue from another state, or retry from step 0."
        if found is None:
            return [f"{claim.start.path}, from which it was to go on, is gone.", what_now]
        return [f"It was to go on from {found.path}. {found.problem}", what_now] if found.problem else []


def _start_path(start: Start, folder: AttemptFolder) -> Path:
    return AttemptFolder(folder.path.parent / str(start.attempt)).output / start.path


def _inputs(training: TrainingRun) -> dict[str, Path]:
    start = {"start": training.start_path} if training.start_path else {}
    more = {f"more-{number}": each.path for number, each in enumerate(training.more, 1)}
    return {"dataset": training.dataset_path, **more, **start}


def _gpu_problems(claim: Claim) -> Sequence[str]:
    if not claim.gpus or claim.settings.gpus <= len(claim.gpus):
        return ()
    return [f"The job asks for {claim.settings.gpus} GPUs, but this machine has {len(claim.gpus)} for trainers."]
