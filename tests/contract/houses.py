"""Sources with a world around them: what the contract suite needs to put things in, whatever the source keeps them in.

To put another source under the suite, write a class with ``House``'s methods and add it to ``conftest.HOUSES``. What
the source refuses is not asked of it.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from lib.embedded.trainers.registry import DEFAULT_RECIPES
from lib.embedded.worker.launcher import WorkerLauncher
from lib.jobs.dataset import Dataset
from lib.jobs.job import Job, LossPoint
from lib.jobs.training_settings import TrainingConfig, TrainingSettings
from lib.ray_settings import RaySettings
from lib.sources.embedded.source import EmbeddedSource
from lib.sources.memory import MemorySource
from tests.embedded.known_jobs import put_jobs

NOW = datetime(2026, 3, 10, 12, 30, tzinfo=UTC)


class House(Protocol):
    """A source and the ways to furnish it: at first it has no job, one dataset and one configuration.

    ``dataset_id`` and ``config_id`` are empty if the source keeps none. ``beyond`` (optional) names tests that the
    source cannot pass for a reason outside of it, with that reason. ``only`` (optional) is the one module of the suite
    that it visits.
    """

    source: Any
    dataset_id: str
    config_id: str

    def put_jobs(self, jobs: Sequence[Job]) -> None:
        """Make jobs known as they are."""

    def put_dataset(self, name: str) -> str:
        """Make a dataset with one image, and say its id; only where a job takes several."""

    def put_log(self, job: Job, data: bytes) -> None:
        """Give the latest attempt of a job its log."""

    def put_losses(self, job: Job, points: Sequence[LossPoint]) -> None:
        """Give the latest attempt of a job its losses."""

    def pass_time(self, span: timedelta) -> None:
        """Let the source's clock go on."""

    def close(self) -> None:
        """Leave nothing open."""


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.time = NOW

    def __call__(self) -> datetime:
        return self.time


class MemoryHouse:
    """The in-memory source."""

    def __init__(self, _folder: Path) -> None:
        self._clock = Clock()
        self.source = MemorySource(now=self._clock)
        self.dataset_id, self.config_id = "portraits", "quick"
        self.source.datasets.kept[self.dataset_id] = Dataset(id=self.dataset_id, name="Portraits", image_count=1)
        self.source.configs.kept[self.config_id] = TrainingConfig(
            id=self.config_id, name="Quick", settings=TrainingSettings(), is_default=True
        )

    def put_jobs(self, jobs: Sequence[Job]) -> None:
        self.source.add(*jobs)

    def put_dataset(self, name: str) -> str:
        self.source.datasets.kept[name] = Dataset(id=name, name=name, image_count=1)
        return name

    def put_log(self, job: Job, data: bytes) -> None:
        self.source.logs[job.id, job.attempt] = data

    def put_losses(self, job: Job, points: Sequence[LossPoint]) -> None:
        self.source.losses[job.id, job.attempt] = list({point.step: point for point in points}.values())

    def pass_time(self, span: timedelta) -> None:
        self._clock.time += span

    def close(self) -> None:
        """Nothing is open."""


class IdleLauncher(WorkerLauncher):
    """Starts no worker and counts how often one was wanted."""

    starts = 0

    def ensure(self, *, at_once: bool = False) -> None:
        self.starts += 1


class EmbeddedHouse:
    """The embedded source in a folder of its own, without a worker."""

    def __init__(
        self, folder: Path, *, recipes: str = DEFAULT_RECIPES, live_clock: bool = False, **places: Any
    ) -> None:
        self._clock = Clock()
        self.launcher = IdleLauncher(folder)
        now = (lambda: datetime.now(UTC)) if live_clock else self._clock
        self.source = EmbeddedSource(folder, recipes=recipes, launcher=self.launcher, now=now, **places)
        self.dataset_id = self.put_dataset("Portraits")
        config = TrainingConfig(id="", name="Quick", settings=TrainingSettings(), is_default=True)
        self.config_id = self.source.configs.save(config).id

    def put_jobs(self, jobs: Sequence[Job]) -> None:
        put_jobs(self.source._store, jobs)

    def put_dataset(self, name: str) -> str:
        dataset = self.source.datasets.create(name)
        (self.source.datasets.path(dataset.id) / "one.png").write_bytes(b"\x89PNG\r\n\x1a\n")
        return dataset.id

    def put_log(self, job: Job, data: bytes) -> None:
        folder = self.source._files.attempt(job.id, job.attempt)
        folder.make()
        folder.log.write_bytes(data)

    def put_losses(self, job: Job, points: Sequence[LossPoint]) -> None:
        folder = self.source._files.attempt(job.id, job.attempt)
        folder.make()
        folder.append_losses(points)

    def pass_time(self, span: timedelta) -> None:
        self._clock.time += span

    def close(self) -> None:
        self.source.close()


class ClusterHouse(EmbeddedHouse):
    """The embedded source where all jobs run on a Ray cluster; nothing is there to answer for it.

    Reading jobs does not depend on where they run, and ``test_running`` has houses of its own that run them.
    """

    only = "test_changing"

    def __init__(self, folder: Path) -> None:
        trainers = dict.fromkeys(("tiny", "sd-scripts"), "same")
        ray = RaySettings(address="http://127.0.0.1:9", trainers=trainers)
        super().__init__(folder, executors=("ray",), ray=ray)
