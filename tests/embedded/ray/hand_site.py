"""A data folder, a worker that is stepped by hand, and a Ray of a few lines."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from lib.embedded.files.attempt_folder import AttemptFolder
from lib.embedded.ray.desk import DeskLimits, RayDesk
from lib.embedded.trainers.recipe import EndedRun, FoundState
from lib.embedded.worker.limits import WorkerLimits
from lib.embedded.worker.ray_executor import RayExecutor
from lib.embedded.worker.ray_submission import RayLimits
from lib.embedded.worker.worker import Worker
from lib.errors import ArtifactError
from lib.jobs.job import Job
from lib.jobs.job_request import JobRequest
from lib.jobs.training_settings import TrainingSettings
from lib.ray_settings import RaySettings
from lib.sources.embedded.source import EmbeddedSource
from tests.contract.houses import IdleLauncher
from tests.embedded.ray.fake_ray import FakeRay
from tests.embedded.scripted import REFERENCE, TRAIN, ScriptedRecipe

SETTINGS = RaySettings(address="http://head:8265", trainers={"scripted": "/opt/lora/bin/python -u"})
AT_ONCE = DeskLimits(start_s=0, run_s=0, share=1e9, cluster_s=0, pauses_s=(0,), stop_again_s=0, look_again_s=0)
NO_WAIT = RayLimits(settle_s=0, lost_s=0, counted_s=0)
LOG = b"steps: 100%|##| 4/4 [00:01<00:00, 1.00it/s, avr_loss=0.5]\n"


class HandDesk(RayDesk):
    """A desk without its thread."""

    def _begin(self) -> None:
        self._answered_at = self._answered_at or self._clock()


class StatedRecipe(ScriptedRecipe):
    """Its states are files whose names begin with their steps."""

    def states(self, ended: EndedRun) -> Sequence[FoundState]:
        found = sorted(ended.output_dir.glob("*-state"))
        return [FoundState(path=path.name, step=int(path.name[0]), modified_at=datetime.now(UTC)) for path in found]


class FakeTransport:
    """A store between here and the nodes.

    Attributes:
        error: Why nothing can be brought up; empty when it can.
        is_ready: Whether what goes up is up.
        is_seen: Whether what nodes told is here.
        is_heard: Whether the store answers.
    """

    def __init__(self) -> None:
        self.error: str | OSError = ""
        self.is_ready, self.is_seen, self.is_heard = True, True, True
        self.followed: list[list[str]] = []

    def published(self, *_: object) -> str | None:
        if self.error:
            raise self.error if isinstance(self.error, OSError) else ArtifactError(self.error)
        return "http://store/ticket" if self.is_ready else None

    def follow(self, mark: str, folder: AttemptFolder, prefixes: list[str]) -> None:
        self.followed.append(prefixes)

    def seen_at(self, mark: str) -> float:
        return time.monotonic() if self.is_seen else -float("inf")

    def heard_at(self, mark: str) -> float:
        return time.monotonic() if self.is_heard else -float("inf")

    def problem(self, mark: str) -> str:
        return "" if self.is_seen else "The store does not answer."

    def release(self, mark: str) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nothing is open."""


class Site:
    """A data folder, a cluster, and workers that may be killed.

    Args:
        settings: Of the cluster as the dashboard asks it; the worker asks ``ray``.
    """

    def __init__(self, folder: Path, settings: RaySettings = SETTINGS) -> None:
        self.folder = folder
        self.ray = FakeRay()
        self.source = EmbeddedSource(
            folder, recipes=REFERENCE, launcher=IdleLauncher(folder), executors=("local", "ray"), ray=settings
        )
        self.dataset_id = self.source.datasets.create("Portraits").id
        (folder / "datasets" / self.dataset_id / "one.png").write_bytes(b"\x89PNG\r\n\x1a\n")
        self.limits = NO_WAIT
        self.resumes_lost = False
        self.transport: FakeTransport | None = None
        self.desk_type = HandDesk
        self.hire()

    def hire(self, **limits: float) -> None:
        """A new worker, as after a kill of the former one."""
        if hasattr(self, "worker"):
            self.worker.close()
        self.desk = self.desk_type(self.ray, ("runner.zip", b"zip"), limits=AT_ONCE)  # type: ignore[arg-type]
        executor = RayExecutor(SETTINGS, self.desk, limits=self.limits, transport=self.transport)  # type: ignore[arg-type]
        self.worker = Worker(
            self.folder,
            recipes={"scripted": StatedRecipe()},
            limits=WorkerLimits(**{"write_every_s": 0, "start_for_s": 60, **limits}),
            executors=[executor],
            max_parallel=0,
            resume_after_restart=self.resumes_lost,
        )

    def close(self) -> None:
        self.worker.close()
        self.source.close()

    def submit(self, name: str = "one", **values: object) -> Job:
        settings = TrainingSettings(trainer="scripted", extra={"script": TRAIN}, **{"where": "ray", **values})
        return self.source.create_job(
            JobRequest(name=name, dataset_id=self.dataset_id, config_id=None, settings=settings, submission_id=name)
        )

    def step(self, times: int = 1) -> None:
        for _ in range(times):
            self.worker.tick()
            self.desk.tick()

    def job(self, job: Job) -> Job:
        return self.source.get_job(job.id)

    def until(self, job: Job, is_so: Callable[[Job], object]) -> Job:
        for _ in range(20):
            self.step()
            if is_so(self.job(job)):
                return self.job(job)
        raise AssertionError(f"not as wanted: {self.job(job)}")

    def started(self, job: Job) -> str:
        """Step until Ray has it, and return its id there."""
        for _ in range(5):
            self.step()
        (found,) = [each.id for each in self.ray.posted if job.id in each.id]
        return found

    def attempt(self, job: Job) -> AttemptFolder:
        return AttemptFolder.of(self.folder, job.id, max(1, self.job(job).attempt))
