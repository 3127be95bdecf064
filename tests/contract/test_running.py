"""What is told of jobs that really run is the same wherever they do: here, or on a cluster over each transport."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest

from lib.artifacts.object_store import ObjectStore
from lib.embedded.ray.client import RayClient
from lib.embedded.ray.desk import DeskLimits, RayDesk
from lib.embedded.ray.package import runner_package
from lib.embedded.ray.store_transport import StoreTransport
from lib.embedded.worker.executor import Executor
from lib.embedded.worker.limits import WorkerLimits
from lib.embedded.worker.ray_executor import RayExecutor
from lib.embedded.worker.ray_submission import RAY_LIMITS, STORE_LIMITS
from lib.embedded.worker.worker import Worker
from lib.errors import InvalidRequest, JobNotFound
from lib.jobs.job import Job, JobStatus
from lib.jobs.query import JobQuery
from lib.jobs.training_settings import TrainingSettings
from lib.ray_settings import RaySettings
from tests.artifacts.s3_server import s3_server
from tests.contract.houses import EmbeddedHouse
from tests.contract.test_changing import request_for
from tests.embedded.ray.stand_in import StandIn
from tests.embedded.scripted import FIRST, REFERENCE, TRAIN, WEIGHTS, ScriptedRecipe
from tests.reaper import kill_all, working_on
from tests.waiting import wait_for

pytestmark = pytest.mark.slow
OFTEN = DeskLimits(start_s=0.05, run_s=0.05, share=1.0, cluster_s=0.05, stop_again_s=0.5)
WAIT = "print('ready', flush=True)\ntime.sleep(600)"
FAIL = "print('ValueError: no such thing', file=sys.stderr); sys.exit(3)"


class CpuRecipe(ScriptedRecipe):
    """Needs no card."""

    uses_gpu = False


class WorkingHouse(EmbeddedHouse):
    """The embedded source with a worker that is stepped by hand, and a cluster where an executor is given."""

    def __init__(self, folder: Path, executor: Executor | None = None, ray: RaySettings | None = None) -> None:
        names = (executor.name,) if executor else ("local",)
        super().__init__(folder, recipes=REFERENCE, live_clock=True, executors=names, ray=ray)
        self.folder = folder
        self.worker = Worker(
            folder,
            recipes={"scripted": CpuRecipe()},
            limits=WorkerLimits(write_every_s=0.1),
            executors=[executor] if executor else [],
        )

    def submit(self, script: str, submission_id: str = "one") -> Job:
        settings = TrainingSettings(trainer="scripted", epochs=1, extra={"script": script})
        return self.source.create_job(replace(request_for(self, submission_id), settings=settings))

    def until(self, job: Job, is_so: Callable[[Job], object]) -> Job:
        def step() -> object:
            self.worker.tick()
            return is_so(self.source.get_job(job.id))

        wait_for(step, lambda: f"not as wanted: {self.source.get_job(job.id)}", poll_s=0.02)
        return self.source.get_job(job.id)

    def ended(self, job: Job) -> Job:
        return self.until(job, lambda now: now.status.is_terminal)

    def log(self, job: Job, attempt: int) -> str:
        return self.source.read_log(job.id, attempt=attempt, offset=0).data.decode()

    def close(self) -> None:
        self.worker.close()
        super().close()
        kill_all(lambda: working_on(self.folder))


@pytest.fixture(params=["here", "shared folder", "store"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[WorkingHouse]:
    with ExitStack() as stack:
        if request.param == "here":
            yield stack.enter_context(closing(WorkingHouse(tmp_path / "data")))
            return
        cluster = stack.enter_context(closing(StandIn(tmp_path / "ray")))
        cluster.start_head()
        cluster.start_node()
        settings = replace(cluster.settings, trainers={"scripted": "same"})
        desk = RayDesk(RayClient(settings), runner_package(), limits=OFTEN)
        transport, limits = None, RAY_LIMITS
        if request.param == "store":
            store = ObjectStore(stack.enter_context(s3_server(tmp_path / "s3")).settings)
            transport, limits = StoreTransport(store, slots=50, every_s=0.1), STORE_LIMITS
        executor = RayExecutor(settings, desk, limits=limits, transport=transport)
        yield stack.enter_context(closing(WorkingHouse(tmp_path / "data", executor, settings)))


def test_a_job_runs_is_read_retried_and_deleted(house: WorkingHouse) -> None:
    job = house.ended(house.submit(TRAIN))
    assert (job.status, job.attempt, job.failure, job.alarms) == (JobStatus.SUCCEEDED, 1, None, ())
    assert (job.progress.step, job.progress.total_steps, job.progress.fraction) == (4, 4, 1.0)
    assert job.started_at is not None
    assert job.finished_at is not None
    assert job.started_at <= job.finished_at
    assert job.finished_at.timestamp() <= time.time()
    (listed,) = house.source.list_jobs(JobQuery(statuses=frozenset({JobStatus.SUCCEEDED}))).jobs
    assert (listed.id, listed.progress.step, listed.executor) == (job.id, 4, job.executor)
    assert house.source.count_by_status()[JobStatus.SUCCEEDED] == 1
    assert "model saved." in house.log(job, 1)
    points = house.source.loss_points(job.id, attempt=1)
    assert [(point.step, point.loss) for point in points] == [(1, 0.8), (2, 0.7), (3, 0.6), (4, 0.5)]
    files = {each.id: house.source.locate_artifact(job.id, each.id).path.read_bytes() for each in job.artifacts}
    assert files == {"1/lora-000001.safetensors": FIRST, "1/lora.safetensors": WEIGHTS}
    house.source.retry_job(job.id)
    again = house.ended(job)
    assert [(each.number, each.status) for each in again.attempts] == [
        (1, JobStatus.SUCCEEDED),
        (2, JobStatus.SUCCEEDED),
    ]
    assert "model saved." in house.log(job, 2)
    house.source.delete_job(job.id)
    with pytest.raises(JobNotFound):
        house.source.get_job(job.id)
    assert not (house.folder / "jobs" / job.id).exists()


def test_a_running_job_is_cancelled_and_one_that_failed_says_why(house: WorkingHouse) -> None:
    job = house.submit(WAIT)
    house.until(job, lambda now: now.attempt and "ready" in house.log(now, 1))
    with pytest.raises(InvalidRequest):
        house.source.delete_job(job.id)
    house.source.cancel_job(job.id)
    assert house.source.get_job(job.id).cancelling
    cancelled = house.ended(job)
    assert (cancelled.status, cancelled.failure) == (JobStatus.CANCELLED, None)
    assert house.log(job, 1) == "ready\n"
    failed = house.ended(house.submit(FAIL, "two"))
    assert failed.failure is not None
    assert (failed.status, failed.attempts[0].exit_code) == (JobStatus.FAILED, 3)
    assert "no such thing" in failed.failure.message
    assert bool(failed.node) == (failed.executor != "local")
