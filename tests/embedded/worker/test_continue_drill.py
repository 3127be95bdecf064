"""Kill -9 while a training goes on from a state: the state stays as it is, and no step is trained twice."""

import hashlib
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest

from lib.embedded.files.attempt_folder import AttemptFolder
from lib.jobs.job import Job, JobStatus
from lib.jobs.resume import ResumePoint
from lib.settings import ROOT
from tests.embedded.worker.drill.laying import HOLD, LAYING, REFERENCE
from tests.embedded.worker.test_resume import TinyYard
from tests.reaper import kill_all, living, working_on
from tests.waiting import wait_for

pytestmark = pytest.mark.slow

EPOCH = 12  # steps
VICTIMS = ("worker",) * 3 + ("supervisor",) * 3 + ("trainer",) * 4
MORE_EPOCHS = 20  # long enough to be killed in


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[TinyYard]:
    with closing(TinyYard(tmp_path / "data")) as built:
        try:
            yield built
        finally:
            kill_all(lambda: working_on(built.folder))


def folder_of(yard: TinyYard, job: Job, attempt: int) -> AttemptFolder:
    return yard.source._files.attempt(job.id, attempt)


def state_of(yard: TinyYard, job: Job) -> ResumePoint:
    """What the job goes on from first."""
    point, *_ = yard.source.resume_points(job.id)
    assert point.is_state
    return point


def content(yard: TinyYard, job: Job, point: ResumePoint) -> dict[str, str]:
    """File -> what is in it."""
    state = folder_of(yard, job, point.attempt).output / point.path
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in state.iterdir()}


def argv_of(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def trainers(yard: TinyYard) -> list[psutil.Process]:
    def is_trainer(process: psutil.Process) -> bool:
        argv = process.cmdline()
        return "lib.tiny_trainer" in argv and any(str(yard.folder) in part for part in argv)

    return living(is_trainer)


def start_worker(yard: TinyYard) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "lib.embedded.worker.worker", "--data-dir", str(yard.folder)]
    with (yard.folder / "worker.log").open("ab") as log:
        return subprocess.Popen([*argv, "--recipes", REFERENCE], cwd=ROOT, stderr=log, start_new_session=True)


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def assert_one_line(yard: TinyYard, job: Job, epochs: int) -> None:
    """The training is whole: each attempt began at its state, and all losses are one line without a step twice."""
    assert job.status is JobStatus.SUCCEEDED, (job.failure, yard.worker_log())
    assert (job.progress.step, job.progress.total_steps) == (epochs * EPOCH, epochs * EPOCH)
    for attempt in job.attempts:
        if attempt.start and attempt.progress.resumed_step is not None:
            assert attempt.progress.resumed_step == attempt.start.step
    steps = [point.step for point in yard.source.loss_points(job.id, attempt=job.attempt)]
    assert steps == sorted(set(steps))
    assert steps[-1] == epochs * EPOCH


def test_a_trainer_killed_before_its_first_step_costs_no_state(yard: TinyYard) -> None:
    job = yard.run_to_end(yard.start())
    state = state_of(yard, job)
    before = content(yard, job, state)
    for attempt, more in ((2, 1), (3, 0)):
        yard.source.continue_job(job.id, state.id, more)
        folder = folder_of(yard, job, attempt)
        staff = yard.hire()
        yard.run_until(staff, job, lambda _: folder.is_made() and "trainer" in (folder.started() or {}))  # noqa: B023
        psutil.Process((folder.started() or {})["trainer"]).kill()
        job = yard.run_until(staff, job, lambda now: now.status.is_terminal)
        assert (job.attempt, job.failure and job.failure.cause, job.progress.step) == (attempt, "killed", None)
        assert (state_of(yard, job), content(yard, job, state)) == (state, before)
    yard.source.continue_job(job.id, state.id, 0)
    job = yard.run_to_end(job)
    assert_one_line(yard, job, epochs=3)
    assert content(yard, job, state) == before


def test_a_worker_killed_while_it_lays_the_folder_leaves_the_attempt_to_the_next(yard: TinyYard) -> None:
    job = yard.run_to_end(yard.start())
    yard.dismiss()
    state = state_of(yard, job)
    before = content(yard, job, state)
    yard.source.continue_job(job.id, state.id, 1)
    (yard.folder / HOLD).touch()
    worker = start_worker(yard)
    wait_for(lambda: (yard.folder / LAYING).exists(), "nothing was laid")
    assert yard.source.get_job(job.id).status is JobStatus.RUNNING
    end(worker)
    assert not trainers(yard)
    (yard.folder / HOLD).unlink()
    worker = start_worker(yard)
    wait_for(lambda: yard.source.get_job(job.id).status.is_terminal, lambda: yard.worker_log())
    job = yard.source.get_job(job.id)
    assert job.attempt == 2
    assert folder_of(yard, job, 2).log.read_bytes().count(b"running training") == 1
    assert_one_line(yard, job, epochs=3)
    assert content(yard, job, state) == before
    end(worker)


def kill_one(yard: TinyYard, victims: list[str], dice: random.Random) -> None:
    """Kill one of the listed kinds that lives, and take it from the list."""
    working = working_on(yard.folder)
    found = {role: [each for each in working if f"lib.embedded.worker.{role}" in argv_of(each)] for role in victims}
    found |= {"trainer": trainers(yard)} if "trainer" in victims else {}
    possible = [role for role in victims if found[role]]
    if possible:
        role = dice.choice(possible)
        with suppress(psutil.NoSuchProcess):
            found[role][0].kill()
            victims.remove(role)


def test_kill_anything_at_any_instant_of_continue(yard: TinyYard) -> None:
    dice, epochs, victims = random.Random(8), 2, list(VICTIMS)
    job = yard.run_to_end(yard.start())
    yard.dismiss()
    worker = start_worker(yard)
    while victims or job.status is not JobStatus.SUCCEEDED:
        if worker.poll() is not None:
            worker = start_worker(yard)
        if job.status.is_terminal:
            point, more = state_of(yard, job), MORE_EPOCHS if job.status is JobStatus.SUCCEEDED else 0
            before, epochs = content(yard, job, point), epochs + more
            yard.source.continue_job(job.id, point.id, more)
            assert content(yard, job, point) == before
        at = time.monotonic() + dice.uniform(0.0, 0.8)
        while time.monotonic() < at:
            assert len(trainers(yard)) <= 1, "two train the same job"
            time.sleep(0.01)
        kill_one(yard, victims, dice)
        job = yard.source.get_job(job.id)
    assert_one_line(yard, job, epochs)
    assert any(attempt.status is not JobStatus.SUCCEEDED for attempt in job.attempts)
    end(worker)
