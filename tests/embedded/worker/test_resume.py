"""Jobs that go on where they stopped, with a real worker and the real tiny trainer."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from lib.embedded.datasets.sample import STARTER
from lib.embedded.store import runs
from lib.embedded.trainers.tiny import TinyRecipe
from lib.embedded.worker.processes import kill_marked, machine_run
from lib.embedded.worker.worker import Worker
from lib.jobs.job import ArtifactKind, Job, JobStatus
from lib.jobs.query import JobQuery
from lib.jobs.training_settings import TrainingSettings
from tests.contract.houses import EmbeddedHouse
from tests.contract.test_changing import request_for
from tests.embedded.worker.test_worker import Yard
from tests.waiting import wait_for

pytestmark = pytest.mark.slow

# 4 images: 12 steps an epoch.
SETTINGS = TrainingSettings(
    trainer="tiny", epochs=2, batch_size=1, resolution=128, network_dim=2, network_alpha=1, repeats=3
)


class TinyYard(Yard):
    """A data folder whose worker trains with the tiny trainer."""

    def __init__(self, folder: Path) -> None:
        EmbeddedHouse.__init__(self, folder, live_clock=True)
        self.folder, self.workers = folder, []
        dataset = folder / "datasets" / self.dataset_id
        (dataset / "one.png").unlink()
        for number in range(1, 5):
            shutil.copy(STARTER / "dataset" / f"sample-{number:02d}.png", dataset)

    def start(self, **values: object) -> Job:
        request = replace(request_for(self), settings=replace(SETTINGS, **values))  # type: ignore[arg-type]
        return self.source.create_job(request)

    def close(self) -> None:
        """End the workers, supervisors and trainers."""
        self.dismiss()
        for job in self.source.list_jobs(JobQuery()).jobs:
            kill_marked(f"{job.id}/{job.attempt}")
        super().close()

    def hire(self, **values: object) -> Worker:
        return super().hire(**{"recipes": {"tiny": TinyRecipe()}, **values})


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[TinyYard]:
    with closing(TinyYard(tmp_path / "data")) as built:
        yield built


def test_a_job_goes_on_from_its_state_twice_and_its_line_of_losses_has_no_gap(yard: TinyYard) -> None:
    job = yard.run_to_end(yard.start())
    assert job.status is JobStatus.SUCCEEDED, (job.failure, yard.worker_log())
    for attempt, first in ((2, 24), (3, 36)):
        point, *_ = yard.source.resume_points(job.id)
        assert (point.is_state, point.attempt, point.step, point.epoch) == (True, attempt - 1, first, first // 12)
        yard.source.continue_job(job.id, point.id, 1)
        job = yard.run_to_end(job)
        assert job.status is JobStatus.SUCCEEDED, (job.failure, yard.worker_log())
        now = job.progress
        assert (now.step, now.total_steps, now.epoch, now.total_epochs) == (first + 12, first + 12, *[attempt + 1] * 2)
        assert (now.resumed_step, Path(now.resumed_from or "").name) == (first, point.path)
        start = job.attempts[-1].start
        assert start is not None
        assert (start.attempt, start.step, start.epochs, start.is_state) == (attempt - 1, first, attempt + 1, True)
    losses = yard.source.loss_points(job.id, attempt=3)
    assert losses[0].step <= 12
    assert losses[-1].step == 48
    assert [point.step for point in losses] == sorted({point.step for point in losses})
    assert {file.epoch for file in job.artifacts if file.kind is ArtifactKind.CHECKPOINT} == {1}
    yard.source.retry_job(job.id)
    job = yard.run_to_end(job)
    assert (job.progress.step, job.progress.total_steps, job.attempts[-1].start) == (24, 24, None)


def test_a_job_goes_on_with_the_weights_of_an_epoch(yard: TinyYard) -> None:
    job = yard.run_to_end(yard.start(save_state=False))
    assert yard.source._files.attempt(job.id, 1).images() == 4
    weights = yard.source.resume_points(job.id)
    assert [(point.is_state, point.step, point.epoch) for point in weights] == [(False, 24, 2), (False, 12, 1)]
    yard.source.continue_job(job.id, weights[1].id, 0)
    job = yard.run_to_end(job)
    assert job.status is JobStatus.SUCCEEDED, (job.failure, yard.worker_log())
    assert (job.progress.step, job.progress.total_steps) == (24, 24)
    assert (job.progress.resumed_from or "").endswith(weights[1].path)
    assert yard.source.loss_points(job.id, attempt=2)[0].step <= 12


def test_a_state_that_vanished_between_page_and_start_costs_nothing(yard: TinyYard) -> None:
    job = yard.run_to_end(yard.start())
    state, *_ = yard.source.resume_points(job.id)
    yard.source.continue_job(job.id, state.id, 1)
    shutil.rmtree(yard.source._files.attempt(job.id, 1).output / state.path)
    job = yard.run_to_end(job)
    assert job.failure is not None
    assert job.failure.message == f"The training was not started. {state.path}, from which it was to go on, is gone."
    assert job.failure.hint == "Continue from another state, or retry from step 0."
    again = yard.source.resume_points(job.id)
    assert [point.is_state for point in again] == [False, False]
    yard.source.continue_job(job.id, again[0].id, 0)  # what was added stays added
    job = yard.run_to_end(job)
    assert (job.status, job.progress.step) == (JobStatus.SUCCEEDED, 36), (job.failure, json.dumps(yard.worker_log()))


def lost_after_an_epoch(yard: TinyYard, job: Job, **values: object) -> None:
    """Everything that works on a job dies, as when the machine is switched off, once it has a state."""
    worker = yard.hire(**values)
    output = yard.source._files.attempt(job.id, 1).output
    yard.run_until(worker, job, lambda now: any(output.glob("*-state")))
    yard.dismiss()
    kill_marked(f"{job.id}/1")


def restart(yard: TinyYard, job: Job) -> None:
    """What the machine's restart leaves: the first attempt began in a run of the machine that is over."""
    folder = yard.source._files.attempt(job.id, 1)
    assert folder.machine_run() == machine_run()
    folder.mark_started(**(folder.started() or {}), machine_run="a former run")


def test_a_training_that_a_restart_ended_goes_on_by_itself_before_all_others(yard: TinyYard) -> None:
    job = yard.start(epochs=1_000)
    waiting = yard.source.create_job(replace(request_for(yard, "two"), settings=SETTINGS))
    lost_after_an_epoch(yard, job)
    restart(yard, job)
    worker = yard.hire(resume_after_restart=True, max_parallel=1)
    job = yard.run_until(worker, job, lambda now: now.attempt == 2 and now.progress.step)
    start = job.start
    assert start is not None
    assert (start.by_itself, start.attempt, start.epochs) == (True, 1, 1_000)
    first = job.attempts[0]
    assert first.status is JobStatus.LOST
    assert first.failure is not None
    assert first.failure.message.endswith("nobody saw how it ended, likely because the machine was restarted.")
    assert (job.progress.step or 0) >= start.step > 0
    assert job.progress.resumed_step == start.step
    assert yard.source.get_job(waiting.id).status is JobStatus.PENDING


def test_a_worker_killed_while_it_records_the_loss_leaves_it_to_the_next(
    yard: TinyYard, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = yard.start(epochs=1_000)
    lost_after_an_epoch(yard, job)
    restart(yard, job)

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt  # nothing survives it, as nothing survives SIGKILL

    monkeypatch.setattr(runs, "queue_again", die)
    worker = yard.hire(resume_after_restart=True)
    with pytest.raises(KeyboardInterrupt):
        yard.run_until(worker, job, lambda now: now.attempt == 2)
    assert yard.source.get_job(job.id).status is JobStatus.RUNNING, "neither is recorded without the other"
    monkeypatch.undo()
    job = yard.run_until(yard.hire(resume_after_restart=True), job, lambda now: now.attempt == 2)
    assert job.attempts[0].status is JobStatus.LOST


def test_a_shutdown_that_reaches_the_trainer_first_is_no_kill_and_goes_on(yard: TinyYard) -> None:
    """SIGTERM to all; the setting is on, and still nothing goes on as long as the machine was not restarted."""
    jobs = []
    for name in ("one", "two"):
        settings = replace(SETTINGS, epochs=1_000)
        job = yard.source.create_job(replace(request_for(yard, name), settings=settings))
        output = yard.source._files.attempt(job.id, 1).output
        yard.run_until(yard.hire(), job, lambda now: any(output.glob("*-state")))  # noqa: B023 (run at once)
        yard.dismiss()
        leaders = yard.source._files.attempt(job.id, 1).started() or {}
        for leader in ("trainer", "supervisor"):
            os.kill(leaders[leader], signal.SIGTERM)
        folder = yard.source._files.attempt(job.id, 1)
        wait_for(lambda: folder.read_exit(), "its end was not recorded")  # noqa: B023
        if name == "two":
            restart(yard, job)
        worker = yard.hire(resume_after_restart=True)
        jobs.append(yard.run_until(worker, job, lambda now: now.status.is_terminal or now.attempt == 2))
    first, second = jobs
    assert (first.status, first.attempt, second.attempt) == (JobStatus.LOST, 1, 2)
    for job in jobs:
        failure = job.attempts[0].failure
        assert failure is not None
        assert failure.message.startswith("The trainer and its supervisor were told to end, likely because")


def test_without_the_setting_or_a_restart_a_lost_training_stays_lost(yard: TinyYard) -> None:
    for place, is_on in enumerate((False, True)):
        request = replace(request_for(yard, str(place)), settings=replace(SETTINGS, epochs=1_000))
        job = yard.source.create_job(request)
        lost_after_an_epoch(yard, job)
        if not is_on:
            restart(yard, job)
        worker = yard.hire(resume_after_restart=is_on)
        job = yard.run_until(worker, job, lambda now: now.status.is_terminal)
        worker.tick()
        assert (yard.source.get_job(job.id).status, job.attempt) == (JobStatus.LOST, 1)
