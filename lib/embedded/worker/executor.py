"""Where attempts run: the worker claims, follows and judges them, an executor starts and stops their processes."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lib.embedded.files.attempt_folder import AttemptFolder, Exit, RunSpec
from lib.embedded.store.runs import Claim
from lib.embedded.worker.attempt_end import END_UNKNOWN, NotRunnable, judge_out_of_reach
from lib.jobs.failures.judge import Verdict
from lib.jobs.training_settings import TrainingSettings


class Run(Protocol):
    """One attempt as its executor sees it. Nothing here blocks for long.

    Raises:
        FolderUnavailable: By every method, when the attempt's folder cannot be read.
    """

    def exit(self) -> Exit | None:
        """How it ended; None while it may still run. It is also what stops it where that was requested."""

    @property
    def node(self) -> str:
        """The machine of a cluster that runs it; empty where that is this one, or unknown."""
        return ""

    @property
    def stage(self) -> str:
        """What it waits for as long as its log says nothing; empty where there is nothing to say."""
        return ""

    @property
    def alarms(self) -> tuple[str, ...]:
        """What people should know of the place that runs it, now."""
        return ()

    def is_alive(self) -> bool:
        """Whether one of its processes may be alive, as far as is known."""

    def has_processes(self) -> bool:
        """The same, for an attempt whose folder is missing."""

    def clear(self) -> None:
        """End what is left of an attempt whose trainer has ended."""

    def release(self) -> None:
        """Its end is recorded, and nobody will ask again."""
        return


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What an attempt needs beside its command.

    Attributes:
        inputs: Name -> a folder that the command reads and nobody changes.
    """

    uses_gpu: bool
    inputs: Mapping[str, Path]


class Executor(Protocol):
    """Starts attempts in one place.

    Attributes:
        name: What settings and jobs call it.
    """

    name: str

    def room(self, settings: TrainingSettings, uses_gpu: bool, running: Sequence[Claim]) -> tuple[str, ...] | None:
        """The cards for the next job, beside the attempts that run here; None while it has to wait.

        Raises:
            CannotRun: Waiting will not help it, and those behind it need not wait for it.
        """

    def start(self, claim: Claim, folder: AttemptFolder, spec: RunSpec, need: Need) -> None:
        """Start an attempt whose folder is ready. Raises WorkerError."""

    def was_never_started(self, claim: Claim, folder: AttemptFolder) -> bool:
        """Whether it is certain that an attempt did not and will not run, so that its claim can be undone."""

    def run_of(self, claim: Claim, folder: AttemptFolder) -> Run:
        """An attempt that this worker, or a former one, started."""

    def close(self) -> None:
        """The worker ends; what runs goes on."""
        return


class Executors:
    """All places where jobs may run.

    Args:
        patience_s: For so long, what runs at an executor that is not named is left to a worker that has it.
    """

    def __init__(self, executors: Iterable[Executor], *, patience_s: float = 0.0) -> None:
        self._executors = {each.name: each for each in executors}
        self._patient_until = time.monotonic() + patience_s

    def of(self, claim: Claim) -> Executor:
        """The one that runs an attempt. Raises NotRunnable."""
        if (found := self._executors.get(claim.executor)) is None:
            raise NotRunnable([no_executor(claim.executor)])
        return found

    def room(
        self, name: str, settings: TrainingSettings, uses_gpu: bool, claims: Sequence[Claim]
    ) -> tuple[str, ...] | None:
        """As ``Executor.room``. A job for a place that does not exist gets room: its start says what is wrong."""
        running = [claim for claim in claims if claim.executor == name]
        return self._executors[name].room(settings, uses_gpu, running) if name in self._executors else ()

    def is_alive(self, claim: Claim, folder: AttemptFolder) -> bool:
        """Whether one of its processes may be alive; without its executor that is supposed for a while."""
        if (found := self._executors.get(claim.executor)) is None:
            return time.monotonic() < self._patient_until
        return found.run_of(claim, folder).is_alive()

    def unknown_end(self, claim: Claim) -> Verdict:
        """The verdict on an attempt whose end cannot be told."""
        return END_UNKNOWN if claim.executor in self._executors else judge_out_of_reach(no_executor(claim.executor))

    def close(self) -> None:
        """The worker ends; what runs goes on."""
        for executor in self._executors.values():
            executor.close()


def no_executor(name: str) -> str:
    """Why a job cannot run where its settings say."""
    return f"This dashboard has no executor {name[:40]!r}: LORA_EXECUTORS does not name it."
