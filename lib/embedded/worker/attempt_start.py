"""Starts an attempt: what the trainer needs is written, and an executor runs it."""

from collections.abc import Sequence
from dataclasses import dataclass

from lib.embedded.datasets.library import DatasetFolder
from lib.embedded.files.attempt_folder import AttemptFolder, RunSpec
from lib.embedded.store.runs import Claim, RunStore
from lib.embedded.trainers.recipe import Recipe, TrainingRun
from lib.embedded.worker.attempt_end import NotRunnable
from lib.embedded.worker.executor import Executor
from lib.embedded.worker.gpus import Gpus
from lib.errors import WorkerError
from lib.settings import ROOT


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStart:
    """What every attempt of a data folder is started with."""

    datasets: DatasetFolder
    runs: RunStore
    gpus: Gpus
    stop_grace_s: float

    def start(self, claim: Claim, folder: AttemptFolder, recipe: Recipe | None, executor: Executor) -> None:
        """Let the executor start the trainer. Raises NotRunnable, WorkerError, or what a recipe raises."""
        if recipe is None:
            raise WorkerError(f"There is no trainer named {claim.settings.trainer[:80]!r}.")
        folder.make()
        training = self._training(claim, folder)
        # Again: the files, the dataset or the rules may have changed since the job was submitted.
        problems = [*_gpu_problems(claim), *recipe.problems(claim.settings, training.dataset)]
        if problems:
            raise NotRunnable(problems)
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
            gpu_count=max(1, len(claim.gpus)),
        )


def _gpu_problems(claim: Claim) -> Sequence[str]:
    if not claim.gpus or claim.settings.gpus <= len(claim.gpus):
        return ()
    return [f"The job asks for {claim.settings.gpus} GPUs, but this machine has {len(claim.gpus)} for trainers."]
