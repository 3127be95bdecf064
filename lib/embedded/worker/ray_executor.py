"""Runs attempts on a Ray cluster, whose nodes see the data folder at the same path, or reach it through a store.

Ray only runs them: the attempt's folder says what happens, and Ray's word counts where nothing there does.
"""

import os
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lib.embedded.files.attempt_folder import AttemptFolder, RunSpec
from lib.embedded.files.availability import is_entry
from lib.embedded.ray import runner
from lib.embedded.ray.client import RayClient
from lib.embedded.ray.desk import Errand, RayDesk
from lib.embedded.ray.package import runner_package
from lib.embedded.store.runs import CannotRun, Claim
from lib.embedded.worker.attempt_end import NotRunnable
from lib.embedded.worker.executor import Executor, Need, Run
from lib.embedded.worker.ray_run import RayRun
from lib.embedded.worker.ray_submission import (
    RAY_LIMITS,
    RECORD,
    STORE_LIMITS,
    RayLimits,
    SubmissionRecord,
    submission_id,
)
from lib.errors import WorkerError
from lib.jobs.cluster import fits, needs_of, never_fits
from lib.jobs.training_settings import TrainingSettings
from lib.ray_settings import RAY, S3, SAME, RaySettings, trainer_problem
from lib.settings import ROOT, load_settings

if TYPE_CHECKING:
    from lib.embedded.ray.store_transport import StoreTransport


class RayExecutor(Executor):
    """Submits what fits into the cluster now; the rest waits in our own queue."""

    name = RAY

    def __init__(
        self,
        settings: RaySettings,
        desk: RayDesk,
        *,
        limits: RayLimits = RAY_LIMITS,
        transport: "StoreTransport | None" = None,
    ) -> None:
        self._settings, self._desk, self._limits, self._transport = settings, desk, limits, transport
        self._errands: dict[str, Errand] = {}

    def close(self) -> None:
        """End the talk with the cluster; what runs there goes on."""
        self._desk.close()
        if self._transport is not None:
            self._transport.close()

    def room(self, settings: TrainingSettings, uses_gpu: bool, running: Sequence[Claim]) -> tuple[str, ...] | None:
        """No cards, for Ray chooses them; None while nothing fits. Raises CannotRun for what fits on no node."""
        found = self._desk.cluster(at_most_s=self._limits.room_s)
        if found is None:
            return None
        cluster, at = found
        needs = needs_of(settings, uses_gpu=uses_gpu)
        if never_fits(needs, cluster):
            raise CannotRun
        uncounted = [
            errand.submission.needs
            for errand in self._errands.values()
            if not errand.is_over
            and (errand.running_since is None or at - errand.running_since < self._limits.counted_s)
        ]
        return () if fits(needs, cluster, uncounted) else None

    def start(self, claim: Claim, folder: AttemptFolder, spec: RunSpec, need: Need) -> None:
        """Write down what will be submitted; the desk does it once the attempt is followed. Raises NotRunnable."""
        trainer = claim.settings.trainer
        folder.write_spec(
            replace(
                spec,
                argv=self._on_node(spec.argv, trainer),
                before=tuple(self._on_node(argv, trainer) for argv in spec.before),
                environ={name: _unpacked(value) for name, value in spec.environ.items()},
                cwd=runner.PACKAGE,
            )
        )
        SubmissionRecord(
            id=submission_id(claim),
            needs=needs_of(claim.settings, uses_gpu=need.uses_gpu),
            stop_grace_s=spec.stop_grace_s,
            inputs={name: str(path) for name, path in need.inputs.items()},
        ).write(folder)

    def was_never_started(self, claim: Claim, folder: AttemptFolder) -> bool:
        """Whether nothing was submitted: that is always written down before."""
        return not folder.is_made() or not is_entry(folder.path / RECORD)

    def run_of(self, claim: Claim, folder: AttemptFolder) -> Run:
        """An attempt at the cluster, found by what was written down."""
        return RayRun(claim, folder, self._desk, self._errands, limits=self._limits, transport=self._transport)

    def _on_node(self, argv: Sequence[str], trainer: str) -> tuple[str, ...]:
        if problem := trainer_problem(trainer, self._settings):
            raise NotRunnable([problem])
        python = self._settings.trainers[trainer]
        first, *rest = argv
        return tuple(argv) if python == SAME else (*shlex.split(python), *_module(first), *rest)


def open_ray(settings: RaySettings) -> RayExecutor:
    """The executor of the settings' cluster."""
    desk = RayDesk(RayClient(settings), runner_package())
    if settings.transport != S3:
        return RayExecutor(settings, desk)
    from lib.artifacts.object_store import ObjectStore  # boto3 takes a second to import
    from lib.embedded.ray.store_transport import StoreTransport

    if (store := load_settings().s3) is None:
        raise WorkerError("LORA_RAY_TRANSPORT is s3, but S3_BUCKET is not set.")
    return RayExecutor(settings, desk, limits=STORE_LIMITS, transport=StoreTransport(ObjectStore(store)))


def _module(program: str) -> tuple[str, ...]:
    """What a Python is told instead of a program that is a script of its environment."""
    name = Path(program).name
    if name.startswith("python"):
        return ()
    if name == "accelerate":
        return ("-m", "accelerate.commands.accelerate_cli")
    raise NotRunnable([f"{name} is not started by Python, so LORA_RAY_TRAINERS can only say {SAME} for it."])


def _unpacked(value: str) -> str:
    """Our own code is in the package that Ray unpacks, wherever that is on the node."""
    return os.pathsep.join(runner.PACKAGE if part == str(ROOT) else part for part in value.split(os.pathsep))
