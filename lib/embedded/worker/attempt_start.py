"""Starts an attempt: what the trainer needs is written, and a supervisor runs it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.embedded.datasets.library import DatasetFolder
from lib.embedded.files import locks
from lib.embedded.files.attempt_folder import AttemptFolder, RunSpec
from lib.embedded.store.runs import Claim, RunStore
from lib.embedded.trainers.recipe import Recipe, TrainingRun
from lib.embedded.worker.attempt_end import NotRunnable
from lib.embedded.worker.gpus import Gpus
from lib.embedded.worker.launcher import LOG_NAME
from lib.embedded.worker.processes import let_end
from lib.embedded.worker.supervisor import start_supervisor
from lib.errors import WorkerError
from lib.settings import ROOT

# Probing a lock takes it briefly, so waiting a moment is normal.
LOCK_PATIENCE_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStart:
    """What every attempt of a data folder is started with."""

    data_dir: Path
    datasets: DatasetFolder
    runs: RunStore
    gpus: Gpus
    stop_grace_s: float

    def start(self, claim: Claim, folder: AttemptFolder, recipe: Recipe | None) -> None:
        """Start a supervisor, which starts the trainer. Raises NotRunnable, WorkerError, or what a recipe raises."""
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
        folder.write_spec(
            RunSpec(
                argv=tuple(command),
                before=tuple(map(tuple, recipe.commands_before(training))),
                cwd=str(ROOT),
                environ={**self.gpus.environ(claim.gpus), **recipe.environ(training)},
                time_limit_s=claim.time_limit_s,
                stop_grace_s=self.stop_grace_s,
            )
        )
        lock = locks.take(folder.lock, patience_s=LOCK_PATIENCE_S)
        if lock is None:
            raise WorkerError("Another process holds the lock of this attempt.")
        try:
            # Handed over while held, so that the attempt never looks abandoned.
            let_end(start_supervisor(folder, lock, claim.mark, self.data_dir / LOG_NAME, ROOT))
        finally:
            os.close(lock)

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
