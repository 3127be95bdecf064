"""The worker in this process, with real supervisors and trainers of a few lines."""

import errno
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from lib.embedded.files import locks
from lib.embedded.store.migrations import MIGRATIONS, OutdatedCodeError
from lib.embedded.trainers.recipe import FoundFile, TrainingRun
from lib.embedded.worker import worker
from lib.embedded.worker.gpus import Gpus
from lib.embedded.worker.launcher import WorkerLauncher
from lib.embedded.worker.limits import WorkerLimits
from lib.embedded.worker.local_executor import LOCK_PATIENCE_S
from lib.embedded.worker.processes import age_s, find_marked
from lib.embedded.worker.worker import Worker, work
from lib.errors import ArtifactError, StoreError
from lib.jobs.dataset import Dataset
from lib.jobs.job import ArtifactKind, Job, JobStatus, Progress
from lib.jobs.training_settings import TrainingSettings
from lib.settings import NOTIFY_EVENTS, ROOT, TrainingRules
from tests.contract.houses import EmbeddedHouse
from tests.contract.test_changing import request_for
from tests.embedded.scripted import FIRST, REFERENCE, TRAIN, WEIGHTS, ScriptedRecipe, safetensors
from tests.jobs.recordings import FOLDER as RECORDINGS
from tests.reaper import kill_all, working_on
from tests.waiting import PATIENCE_S, wait_for

pytestmark = pytest.mark.slow


LIMITS = {field.name for field in fields(WorkerLimits)}


class Yard(EmbeddedHouse):
    """A data folder with workers that are stepped by hand."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, recipes=REFERENCE, live_clock=True)
        self.folder = folder
        self.workers: list[Worker] = []

    def submit(self, script: str = TRAIN, submission_id: str = "one", **values: object) -> Job:
        """A job that runs a script."""
        limit_s = values.pop("time_limit_s", None)
        settings = TrainingSettings(trainer="scripted", epochs=1, extra={"script": script, **values})
        request = replace(request_for(self, submission_id), settings=settings, time_limit_s=limit_s)
        return self.source.create_job(request)

    def hire(self, **values: object) -> Worker:
        """A worker with these arguments and limits; the former one is gone as if killed."""
        self.dismiss()
        limits = {name: values.pop(name) for name in LIMITS & values.keys()}
        staff = {"recipes": {"scripted": ScriptedRecipe()}, "limits": WorkerLimits(**limits), **values}
        self.workers.append(Worker(self.folder, **staff))  # type: ignore[arg-type]
        return self.workers[-1]

    def dismiss(self) -> None:
        """End the workers; what they started goes on."""
        while self.workers:
            self.workers.pop().close()

    def close(self) -> None:
        """End the workers, and what they started too."""
        self.dismiss()
        super().close()
        kill_all(lambda: working_on(self.folder))

    def run_until(self, staff: Worker, job: Job, condition: Callable[[Job], object]) -> Job:
        """Step the worker until the job is as wanted."""

        def is_so() -> object:
            staff.tick()
            return condition(self.source.get_job(job.id))

        wait_for(is_so, f"not as wanted: {self.source.get_job(job.id)} {self.worker_log()}")
        return self.source.get_job(job.id)

    def run_to_end(self, job: Job, **values: object) -> Job:
        """Run a job with a new worker."""
        return self.run_until(self.hire(**values), job, lambda now: now.status.is_terminal)

    def worker_log(self) -> str:
        path = self.folder / "worker.log"
        return path.read_text() if path.exists() else ""


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    with closing(Yard(tmp_path / "data")) as built:
        yield built


def test_a_job_from_queue_to_file(yard: Yard) -> None:
    job = yard.run_to_end(yard.submit())
    assert (job.status, job.failure, job.alarms) == (JobStatus.SUCCEEDED, None, ())
    assert (job.progress.step, job.progress.total_steps, job.progress.fraction) == (4, 4, 1.0)
    assert job.progress.stage == "finished"
    assert job.command[0] == sys.executable
    assert job.size_bytes
    assert job.last_output_at is not None
    (attempt,) = job.attempts
    assert (attempt.exit_code, attempt.status) == (0, JobStatus.SUCCEEDED)
    points = yard.source.loss_points(job.id, attempt=1)
    assert [(point.step, point.loss) for point in points] == [(1, 0.8), (2, 0.7), (3, 0.6), (4, 0.5)]
    files = {artifact.id: artifact for artifact in job.artifacts}
    assert set(files) == {"1/lora.safetensors", "1/lora-000001.safetensors"}
    assert files["1/lora.safetensors"].kind is ArtifactKind.LORA
    assert yard.source.locate_artifact(job.id, "1/lora.safetensors").path.read_bytes() == WEIGHTS
    assert b"model saved." in yard.source.read_log(job.id, attempt=1, offset=0).data


@pytest.mark.parametrize(
    ("script", "values", "cause", "code"),
    [
        ("raise OSError(28, 'No space left on device')", {}, "disk_full", 1),
        ("os.kill(os.getpid(), signal.SIGKILL)", {}, "killed", -9),
        ("print('nothing to do')", {}, "no_output", 0),
        ("time.sleep(600)", {"time_limit_s": 0.2}, "timeout", -15),
        ("", {"argv": ["/nowhere/accelerate"]}, "missing_trainer", None),
        ("", {"unprepared": "no pen"}, "missing_trainer", None),
    ],
)
def test_why_a_job_failed(yard: Yard, script: str, values: dict[str, object], cause: str, code: int | None) -> None:
    job = yard.run_to_end(yard.submit(script, **values))
    assert job.status is JobStatus.FAILED
    assert job.failure is not None
    assert (job.failure.cause, job.attempts[0].exit_code) == (cause, code)
    assert job.failure.message
    assert job.failure.hint


def test_datasets_that_stay_away_do_not_hold_the_queue_for_ever(yard: Yard) -> None:
    job, away = yard.submit(), yard.folder / "away"
    (yard.folder / "datasets").rename(away)
    yard.hire(hold_s=0.0).tick()
    assert yard.source.get_job(job.id).failure is None
    ended = yard.run_to_end(job, hold_s=0.0, gone_after_s=0.0)
    assert ended.failure is not None
    assert (ended.failure.cause, str(yard.folder / "datasets") in ended.failure.message) == ("missing_dataset", True)


def test_a_dataset_that_is_gone_by_then(yard: Yard) -> None:
    job = yard.submit()
    shutil.rmtree(yard.folder / "datasets" / yard.dataset_id)
    ended = yard.run_to_end(job)
    assert ended.failure is not None
    assert ended.failure.cause == "missing_dataset"
    assert yard.dataset_id in ended.failure.message


def test_a_lora_file_that_was_not_written_completely_is_none(yard: Yard) -> None:
    half = f"(OUTPUT / 'lora.safetensors').write_bytes({FIRST[:-1]!r})\n"
    ended = yard.run_to_end(yard.submit(half))
    assert (ended.status, ended.artifacts[0].kind) == (JobStatus.FAILED, ArtifactKind.INCOMPLETE)
    assert ended.failure is not None
    assert (ended.failure.cause, "lora.safetensors is not a complete" in ended.failure.message) == ("no_output", True)
    kept = yard.run_to_end(yard.submit(TRAIN + half, "two"))
    kinds = {artifact.name: artifact.kind for artifact in kept.artifacts}
    assert kept.status is JobStatus.SUCCEEDED
    assert kinds == {"lora-000001.safetensors": ArtifactKind.CHECKPOINT, "lora.safetensors": ArtifactKind.INCOMPLETE}


def test_a_file_that_is_no_lora_does_not_make_a_success(yard: Yard) -> None:
    vae = safetensors("vae", "encoder.conv_in.weight", "decoder.conv_out.weight")
    written = f"(OUTPUT / 'vae.safetensors').write_bytes({vae!r}); (OUTPUT / 'training_args.bin').write_bytes(b'PK')\n"
    written += "(OUTPUT / 'learned_embeds.bin').write_bytes(b'PK')\n"
    ended = yard.run_to_end(yard.submit(written))
    assert {artifact.name: artifact.kind for artifact in ended.artifacts} == {
        "learned_embeds.bin": ArtifactKind.OTHER,
        "training_args.bin": ArtifactKind.STATE,
        "vae.safetensors": ArtifactKind.OTHER,
    }
    assert (ended.status, ended.failure and ended.failure.cause) == (JobStatus.FAILED, "no_output")
    assert ended.failure is not None
    assert "vae.safetensors is something else" in ended.failure.message
    named = f"(OUTPUT / 'sampler_girl.safetensors').write_bytes({WEIGHTS!r})\n"
    kept = yard.run_to_end(yard.submit(written + named, "two"))
    assert kept.status is JobStatus.SUCCEEDED
    assert [each.name for each in kept.artifacts if each.kind is ArtifactKind.LORA] == ["sampler_girl.safetensors"]


def test_cancel_while_running_and_retry(yard: Yard) -> None:
    script = f"(OUTPUT / 'lora.safetensors').write_bytes({WEIGHTS!r}); print('first', flush=True); time.sleep(600)"
    job = yard.submit(script)
    staff = yard.hire()
    yard.run_until(staff, job, lambda now: now.artifacts)
    yard.source.cancel_job(job.id)
    assert yard.source.get_job(job.id).cancelling
    cancelled = yard.run_until(staff, job, lambda now: now.status.is_terminal)
    assert (cancelled.status, cancelled.failure) == (JobStatus.CANCELLED, None)
    assert cancelled.attempts[0].exit_code == -15
    yard.source.retry_job(job.id)
    yard.run_until(staff, job, lambda now: now.attempt == 2 and len(now.artifacts) == 2)
    yard.source.cancel_job(job.id)
    again = yard.run_until(staff, job, lambda now: now.status.is_terminal)
    assert [attempt.number for attempt in again.attempts] == [1, 2]
    assert [artifact.id for artifact in again.artifacts] == ["1/lora.safetensors", "2/lora.safetensors"]
    for attempt in (1, 2):
        assert yard.source.read_log(job.id, attempt=attempt, offset=0).data == b"first\n"


def test_a_worker_takes_over_from_one_that_was_killed(yard: Yard) -> None:
    script = TRAIN + "\nwhile not (OUTPUT / 'go').exists():\n    time.sleep(0.02)\n"
    job = yard.submit(script)
    yard.run_until(yard.hire(), job, lambda now: now.progress.step == 4)
    staff = yard.hire()
    running = yard.run_until(staff, job, lambda now: len(now.artifacts) == 2)
    assert running.status is JobStatus.RUNNING
    (yard.folder / "jobs" / job.id / "1" / "output" / "go").touch()
    ended = yard.run_until(staff, job, lambda now: now.status.is_terminal)
    assert (ended.status, ended.attempt, ended.attempts[0].exit_code) == (JobStatus.SUCCEEDED, 1, 0)
    losses = yard.folder / "jobs" / job.id / "1" / "losses"
    assert losses.stat().st_size == 4 * 24


GATED = """
for step in range(1, 13):
    while step == 9 and not (OUTPUT / "go").exists():
        time.sleep(0.02)
    print(f"\\rsteps: {step}%|##| {step}/100 [00:01<00:01, 1.00it/s, avr_loss={step}]", end="", flush=True)
while True:
    time.sleep(600)
"""


def test_a_takeover_keeps_the_pace_and_the_times_of_the_losses(yard: Yard) -> None:
    job = yard.submit(GATED)
    yard.run_until(yard.hire(), job, lambda now: now.progress.step == 8)
    (claim,) = yard.source._store.runs.running()
    measured = Progress(step=8, total_steps=100, fraction=0.08, seconds_per_step=7.0, eta_s=644.0)
    yard.source._store.runs.record_progress(claim, measured, (), None)
    before = yard.source.loss_points(job.id, attempt=1)
    assert [point.step for point in before] == [1, 2, 3, 4, 5, 6, 7]
    staff = yard.hire(read_at_once_bytes=100, read_for_s=0.0)  # several looks until it has caught up
    steps = []
    taken_over = yard.run_until(staff, job, lambda now: steps.append(now.progress.step) or now.progress.epoch)
    assert set(steps) == {8}
    assert (taken_over.progress.seconds_per_step, taken_over.progress.eta_s) == (7.0, pytest.approx(92 * 7.0))
    (yard.folder / "jobs" / job.id / "1" / "output" / "go").touch()
    yard.run_until(staff, job, lambda now: now.progress.step == 12)
    after = yard.source.loss_points(job.id, attempt=1)
    assert after[:7] == before
    assert [(point.step, point.at is None) for point in after[7:]] == [(8, True), (9, False), (10, False), (11, False)]


NO_STEP_YET = """
print("\\rsteps: 0%|  | 0/100 [00:00<?, ?it/s]", end="", flush=True)
while not (OUTPUT / "go").exists():
    time.sleep(0.02)
print("\\ncompiling", flush=True)
time.sleep(600)
"""


def test_a_clock_that_is_set_an_hour_ahead_makes_no_training_stuck(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    job = yard.submit(NO_STEP_YET)
    staff = yard.hire(write_every_s=0.01)
    staff._runs.told = NOTIFY_EVENTS
    yard.run_until(staff, job, lambda now: now.progress.total_steps == 100)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 3_600)
    staff._runs._now = lambda: datetime.now(UTC) + timedelta(hours=1)
    store, folder = yard.source._store, yard.source._files.attempt(job.id, 1)
    set_at = yard.source.get_job(job.id).updated_at
    yard.run_until(staff, job, lambda now: now.updated_at > set_at)
    assert not store.outbox.has_unsent()
    (folder.output / "go").touch()
    yard.run_until(staff, job, lambda _: b"compiling" in folder.log.read_bytes())
    written_at = yard.source.get_job(job.id).updated_at
    job = yard.run_until(staff, job, lambda now: now.updated_at > written_at)
    assert job.alarms == ()
    assert not store.outbox.has_unsent()


def test_a_claim_without_a_start_goes_back_into_the_queue(yard: Yard) -> None:
    job = yard.submit()
    assert yard.source._store.runs.claim_next() is not None
    ended = yard.run_to_end(job)
    assert (ended.status, ended.attempt) == (JobStatus.SUCCEEDED, 1)


def test_a_job_whose_processes_vanished_is_lost_with_what_is_known(yard: Yard) -> None:
    job = yard.submit(TRAIN.replace('print("\\nmodel saved.", flush=True)', "time.sleep(600)"))
    yard.run_until(yard.hire(), job, lambda now: now.progress.step == 4)
    yard.dismiss()
    for pid in worker_processes(job):
        os.kill(pid, 9)
    wait_for(lambda: not worker_processes(job), "they live")
    ended = yard.run_to_end(job)
    assert ended.status is JobStatus.LOST
    assert ended.failure is not None
    assert ended.failure.cause == "worker_lost"
    assert (ended.progress.step, ended.attempts[0].exit_code) == (4, None)


def worker_processes(job: Job) -> list[int]:
    """Supervisor and trainer of the first attempt."""
    from lib.embedded.worker.processes import find_marked

    return find_marked(f"{job.id}/1")


def test_a_clock_that_jumps_is_no_time_limit(yard: Yard) -> None:
    """The supervisor is gone, so the worker keeps the limit; it takes over after the clock went an hour ahead."""
    job = yard.submit("print('on', flush=True)\ntime.sleep(600)", time_limit_s=1_800)
    folder = yard.source._files.attempt(job.id, 1)
    yard.run_until(yard.hire(), job, lambda _: "trainer" in (folder.started() or {}) and folder.log.read_bytes())
    leaders = folder.started() or {}
    os.kill(leaders["supervisor"], signal.SIGKILL)
    with closing(sqlite3.connect(yard.folder / "lora.db")) as database, database:
        database.execute("UPDATE jobs SET started_at = started_at - 3600")
    staff = yard.hire()
    for _ in range(3):
        staff.tick()
    assert find_marked(f"{job.id}/1") == [leaders["trainer"]]
    assert age_s(leaders["trainer"]) == pytest.approx(
        time.time() - psutil.Process(leaders["trainer"]).create_time(), abs=1
    )
    yard.source.cancel_job(job.id)
    ended = yard.run_until(staff, job, lambda now: now.status.is_terminal)
    assert ended.status is JobStatus.CANCELLED


def test_a_detached_child_does_not_keep_a_job_running_when_its_leaders_were_killed(yard: Yard) -> None:
    job = yard.submit("if os.fork() == 0:\n    os.setsid()\nprint('on', flush=True)\ntime.sleep(600)")
    staff = yard.hire(stop_grace_s=0.2)
    folder = yard.source._files.attempt(job.id, 1)
    yard.run_until(staff, job, lambda _: folder.log.exists() and folder.log.read_bytes().count(b"on") == 2)
    wait_for(lambda: "trainer" in (folder.started() or {}), "its supervisor has not recorded that it began")
    leaders = folder.started() or {}
    for name in ("supervisor", "trainer"):
        os.kill(leaders[name], signal.SIGKILL)
    ended = yard.run_until(staff, job, lambda now: now.status.is_terminal)
    assert (ended.status, ended.attempts[0].exit_code) == (JobStatus.LOST, None)
    assert find_marked(f"{job.id}/1") == []


def test_what_leaves_the_trainers_group_ends_with_the_job(yard: Yard) -> None:
    ended = yard.run_to_end(yard.submit(f"if os.fork() == 0:\n    os.setsid()\n    time.sleep(600)\n{TRAIN}"))
    assert ended.status is JobStatus.SUCCEEDED
    wait_for(lambda: find_marked(f"{ended.id}/1") == [], "a child went on")


@pytest.mark.parametrize("how", ["os.mkfifo(LOG)", "LOG.symlink_to('/dev/zero')", "LOG.mkdir()"])
def test_a_log_that_is_no_file_any_more_does_not_hold_the_worker(yard: Yard, how: str) -> None:
    ended = yard.run_to_end(yard.submit(f"LOG = OUTPUT.parent / 'log'\nLOG.unlink()\n{how}\n{TRAIN}"))
    assert ended.status is JobStatus.SUCCEEDED
    assert yard.source.read_log(ended.id, attempt=1, offset=0).data == b""


def test_only_changed_files_are_written_to_the_database(yard: Yard) -> None:
    store, job = yard.source._store, yard.submit()
    claim = store.runs.claim_next()
    assert claim is not None
    files = [
        FoundFile(path=f"{number}.txt", kind=ArtifactKind.OTHER, size_bytes=1, modified_at=datetime.now(UTC))
        for number in range(4)
    ]
    store.runs.record_artifacts(claim, files, {})
    with closing(sqlite3.connect(yard.folder / "lora.db")) as database:
        database.execute("UPDATE artifacts SET size_bytes = 99")  # shows which rows are written again
        database.commit()
    now = [*files[1:3], replace(files[3], size_bytes=2), replace(files[3], path="new.txt")]
    store.runs.record_artifacts(claim, now, {"1.txt": "key"}, known=files)
    found = {artifact.name: artifact.size_bytes for artifact in yard.source.get_job(job.id).artifacts}
    assert found == {"1.txt": 1, "2.txt": 99, "3.txt": 2, "new.txt": 1}


def test_as_many_at_once_as_allowed(yard: Yard) -> None:
    script = "while not (OUTPUT.parents[2] / 'go').exists():\n    time.sleep(0.02)\n" + TRAIN
    jobs = [yard.submit(script, str(number)) for number in range(3)]
    staff = yard.hire(max_parallel=2)
    yard.run_until(staff, jobs[1], lambda now: now.status is JobStatus.RUNNING)
    assert yard.source.get_job(jobs[2].id).queue_position == 1
    (yard.folder / "jobs" / "go").touch()
    for job in jobs:
        assert yard.run_until(staff, job, lambda now: now.status.is_terminal).status is JobStatus.SUCCEEDED


class FailingRecipe(ScriptedRecipe):
    """Cannot make out its files."""

    def collect(self, output_dir: Path) -> list[object]:  # type: ignore[override]
        raise ValueError("unreadable")


def test_a_recipe_that_breaks_does_not_keep_a_job_running_for_ever(yard: Yard) -> None:
    ended = yard.run_to_end(yard.submit(), recipes={"scripted": FailingRecipe()})
    assert ended.status is JobStatus.FAILED
    assert ended.failure is not None
    assert "worker.log" in ended.failure.message
    assert ended.progress.step == 4


class FlakyRecipe(ScriptedRecipe):
    """Cannot make out its files at first."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures

    def collect(self, output_dir: Path) -> Sequence[FoundFile]:
        self.failures -= 1
        if self.failures >= 0:
            raise ValueError("unreadable")
        return super().collect(output_dir)


def test_only_errors_in_a_row_after_the_end_count_against_a_job(yard: Yard) -> None:
    recipe = FlakyRecipe(worker.MOST_ERRORS + 10)
    job = yard.submit(TRAIN + "\nwhile not (OUTPUT / 'go').exists():\n    time.sleep(0.02)\n")
    staff = yard.hire(recipes={"scripted": recipe}, write_every_s=0.0)
    yard.run_until(staff, job, lambda _: recipe.failures < 5)
    (yard.folder / "jobs" / job.id / "1" / "output" / "go").touch()
    ended = yard.run_until(staff, job, lambda now: now.status.is_terminal)
    assert (ended.status, ended.progress.step) == (JobStatus.SUCCEEDED, 4)


def test_a_damaged_attempt_does_not_stop_the_queue(yard: Yard) -> None:
    cut, odd, good = (yard.submit(submission_id=str(number)) for number in range(3))
    for job, damaged in ((cut, "started.json"), (odd, "exit.json")):
        assert yard.source._store.runs.claim_next() is not None
        (yard.folder / "jobs" / job.id / "1").mkdir(parents=True)
        (yard.folder / "jobs" / job.id / "1" / damaged).touch()  # empty, as a power cut leaves it
    (yard.folder / "jobs" / odd.id / "1" / "exit.json").unlink()
    (yard.folder / "jobs" / odd.id / "1" / "exit.json").mkdir()
    staff = yard.hire()
    ended = [yard.run_until(staff, job, lambda now: now.status.is_terminal) for job in (good, cut, odd)]
    assert [job.status for job in ended] == [JobStatus.SUCCEEDED, JobStatus.LOST, JobStatus.SUCCEEDED]
    assert ended[2].attempts[0].exit_code == 0, "the folder in place of the record made room for it"


class UnpreparedRecipe(ScriptedRecipe):
    """Cannot prepare anything as long as there is an error."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error: Exception | None = error

    def prepare(self, run: TrainingRun) -> None:
        if self.error:
            raise self.error


@pytest.mark.parametrize("error", [StoreError("The database is in use."), OSError(errno.ENOSPC, "No space left")])
def test_what_passes_fails_no_job(yard: Yard, error: Exception) -> None:
    jobs = [yard.submit(submission_id=str(number)) for number in range(2)]
    recipe = UnpreparedRecipe(error)
    staff = yard.hire(recipes={"scripted": recipe}, hold_s=0.0)
    for _ in range(3):
        assert staff.tick()
    recipe.error = None
    waiting = [yard.source.get_job(job.id) for job in jobs]
    assert {(job.attempt, job.failure) for job in waiting} <= {(0, None), (1, None)}
    for job in jobs:
        ended = yard.run_until(staff, job, lambda now: now.status.is_terminal)
        assert (ended.status, ended.attempt, len(ended.attempts)) == (JobStatus.SUCCEEDED, 1, 1)


def test_a_worker_that_works_on_takes_over_what_another_claimed(yard: Yard) -> None:
    staff = yard.hire(idle_grace_s=0.1)
    lock = locks.take(yard.folder / locks.WORKER_LOCK)
    assert lock is not None
    staff.drain(lock)
    job = yard.submit()
    assert yard.source._store.runs.claim_next() is not None  # by a worker that was killed then
    wait_for(lambda: staff.drain(lock) or yard.source.get_job(job.id).status.is_terminal, "left running")
    os.close(lock)
    assert yard.source.get_job(job.id).status is JobStatus.SUCCEEDED


class Shelf:
    """A store of copies; refuses when told to."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.kept: dict[str, bytes] = {}
        self.refuses = refuses

    def upload(self, path: Path, key: str) -> None:
        if self.refuses:
            raise ArtifactError("The store does not answer.")
        self.kept[key] = path.read_bytes()


@pytest.mark.parametrize("refuses", [False, True])
def test_files_are_copied_to_the_store(yard: Yard, refuses: bool) -> None:
    shelf = Shelf(refuses=refuses)
    job = yard.run_to_end(yard.submit(), upload_to=shelf, upload_pauses_s=(0.0,))
    assert job.status is JobStatus.SUCCEEDED
    assert job.alarms == (("upload_failed",) if refuses else ())
    keys = {f"jobs/{job.id}/1/{name}" for name in ("lora.safetensors", "lora-000001.safetensors")}
    assert set(shelf.kept) == (set() if refuses else keys)
    if not refuses:
        assert {artifact.key for artifact in job.artifacts} == keys


def test_a_job_that_comes_in_while_the_worker_leaves_is_not_left(yard: Yard) -> None:
    staff, jobs = yard.hire(idle_grace_s=0.1), []

    class LateWorker:
        """Gets a job after it stopped looking for jobs, before its lock is free."""

        def drain(self, lock: int) -> None:
            staff.drain(lock)
            if not jobs:
                jobs.append(yard.submit())

        has_work = staff.has_work

    work(yard.folder, LateWorker())  # type: ignore[arg-type]
    assert yard.source.get_job(jobs[0].id).status is JobStatus.SUCCEEDED
    assert not locks.is_held(yard.folder / locks.WORKER_LOCK)


def test_the_worker_gets_paths_rules_and_secrets_of_the_dashboard(yard: Yard) -> None:
    rules = TrainingRules(model_dirs=(Path("/a b"), Path("/c")), allow_pickles=True, allow_any_option=True)
    rules = replace(rules, resume_after_restart=True)
    starter = WorkerLauncher(
        yard.folder,
        recipes=REFERENCE,
        trainer_paths={"SCRIPTED_DIR": yard.folder},
        trainer_env={"WANDB_API_KEY": "S3CRET"},
        rules=rules,
    )
    job = yard.submit(
        "print('at', os.environ['SCRIPTED_DIR'], os.environ['RULES'], len(os.environ['WANDB_API_KEY']))\n"
        "(OUTPUT / 'mine').touch(); print(oct((OUTPUT / 'mine').stat().st_mode))"
    )
    assert starter._start().wait(PATIENCE_S) == 0
    log = yard.source.read_log(job.id, attempt=1, offset=0).data.decode()
    assert log == f"at {yard.folder} {rules} 6\n0o100600\n"
    assert "S3CRET" not in " ".join(starter._argv)
    for path in (each for each in yard.folder.rglob("*") if each.is_file()):
        assert b"S3CRET" not in path.read_bytes(), path
    assert (yard.folder.stat().st_mode & 0o777) == 0o700


def test_what_may_not_run_any_more_does_not_start(yard: Yard) -> None:
    class Strict(ScriptedRecipe):
        def problems(self, settings: TrainingSettings, dataset: Dataset) -> Sequence[str]:
            return ("The base model lies in the data folder.", "Another thing is wrong.")

    job = yard.run_to_end(yard.submit("(OUTPUT / 'it-ran').touch()"), recipes={"scripted": Strict()})
    assert job.failure is not None
    assert (job.status, job.failure.cause) == (JobStatus.FAILED, "bad_argument")
    assert job.failure.message == "The training was not started. The base model lies in the data folder."
    assert job.failure.hint == "Another thing is wrong."
    assert job.command == ()
    assert not list(yard.folder.rglob("it-ran"))


def test_a_second_worker_leaves_at_once(yard: Yard) -> None:
    lock = locks.take(yard.folder / locks.WORKER_LOCK)
    assert lock is not None
    argv = [sys.executable, "-m", "lib.embedded.worker.worker", "--data-dir", str(yard.folder), "--recipes", REFERENCE]
    job = yard.submit()
    subprocess.run(argv, cwd=ROOT, check=True, timeout=PATIENCE_S)
    os.close(lock)
    assert yard.source.get_job(job.id).status is JobStatus.PENDING
    assert WorkerLimits().idle_grace_s > LOCK_PATIENCE_S


def test_a_worker_that_a_newer_version_ruled_out_leaves_its_jobs_to_the_next(yard: Yard) -> None:
    """The test plays the dashboard after an update: the trainer goes on, and the worker ends instead of writing."""
    job = yard.submit(GATED)
    staff = yard.hire()
    yard.run_until(staff, job, lambda now: now.progress.step == 8)
    with closing(sqlite3.connect(yard.folder / "lora.db")) as newer:
        newer.execute(f"PRAGMA user_version = {MIGRATIONS[-1].number + 1}")
    with pytest.raises(OutdatedCodeError):
        work(yard.folder, staff)
    assert not locks.is_held(yard.folder / locks.WORKER_LOCK)
    with closing(sqlite3.connect(yard.folder / "lora.db")) as newer:
        newer.execute("PRAGMA user_version = 1")
    (yard.folder / "jobs" / job.id / "1" / "output" / "go").touch()
    yard.run_until(yard.hire(), job, lambda now: now.progress.step == 12)


WHILE_ASKED = """
print("sees", os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
while not (OUTPUT.parents[2] / "go").exists():
    time.sleep(0.02)
"""


def test_each_job_has_its_own_card_also_after_the_worker_was_killed(yard: Yard) -> None:
    jobs = [yard.submit(WHILE_ASKED, str(number)) for number in range(3)]
    pair = yard.source.create_job(
        replace(
            request_for(yard, "pair"),
            settings=TrainingSettings(trainer="scripted", gpus=3, extra={"script": WHILE_ASKED}),
        )
    )

    def cards() -> list[tuple[str, ...]]:
        return [each.attempts[0].gpus if each.attempts else () for each in map(yard.source.get_job, ids)]

    ids = [job.id for job in jobs]
    yard.run_until(yard.hire(max_parallel=9, gpus=Gpus(["4", "5"])), jobs[1], lambda now: now.attempts)
    staff = yard.hire(max_parallel=9, gpus=Gpus(["4", "5"]))
    yard.run_until(staff, jobs[1], lambda _: b"sees 5" in yard.source.read_log(ids[1], attempt=1, offset=0).data)
    assert cards() == [("4",), ("5",), ()]
    (yard.folder / "jobs" / "go").touch()
    refused = yard.run_until(staff, pair, lambda now: now.status.is_terminal)
    assert len(cards()[2]) == 1
    assert b"sees 4\n" in yard.source.read_log(ids[0], attempt=1, offset=0).data
    assert refused.failure is not None
    assert "asks for 3 GPUs, but this machine has 2" in refused.failure.message


NAN_PAIR = FIRST[:-8] + bytes.fromhex("0000c07f") * 2
GOES_NAN = f"""
(OUTPUT / "lora-000001.safetensors").write_bytes({WEIGHTS!r})
(OUTPUT / "lora-000002.safetensors").write_bytes({NAN_PAIR!r})
for step in range(1, 100_000):
    loss = "0.5" if step in (1, 3) else "nan"
    print(f"\\rsteps: 1%|##| {{step}}/100000 [00:01<00:01, 1.00it/s, avr_loss={{loss}}]", end="", flush=True)
    time.sleep(0.01)
"""


def nan_job(yard: Yard, script: str, *, stop_on_nan: int) -> Job:
    settings = TrainingSettings(trainer="scripted", stop_on_nan=stop_on_nan, extra={"script": script})
    return yard.source.create_job(replace(request_for(yard, "nan"), settings=settings))


def test_a_loss_that_stays_nan_ends_the_run_as_failed_and_marks_its_files(yard: Yard) -> None:
    job = nan_job(yard, GOES_NAN, stop_on_nan=5)
    ended = yard.run_to_end(job)
    assert ended.failure is not None
    assert (ended.status, ended.failure.cause) == (JobStatus.FAILED, "nan_loss")
    assert "the dashboard ended the training at step 8." in ended.failure.message
    assert "Stop after NaN losses" in ended.failure.hint
    assert "avr_loss=nan" in ended.failure.evidence[0]
    exit_ = yard.source._files.attempt(job.id, 1).read_exit()
    assert exit_ is not None
    assert (exit_.stopped_for, exit_.cancelled, exit_.exit_code) == ("nan_loss", False, -15)
    marks = {file.name: file.holds_nan for file in ended.artifacts}
    assert marks == {"lora-000001.safetensors": False, "lora-000002.safetensors": True}
    located = yard.source.locate_artifact(job.id, "1/lora-000002.safetensors")
    assert located.name == "lora-000002.NaN.safetensors"


def test_a_stop_that_nobody_is_left_to_record_is_still_no_cancellation(yard: Yard) -> None:
    job = nan_job(yard, GOES_NAN, stop_on_nan=5)
    folder = yard.source._files.attempt(job.id, 1)
    staff = yard.hire(stop_grace_s=0.2)
    yard.run_until(staff, job, lambda _: (folder.started() or {}).get("trainer"))
    os.kill((folder.started() or {})["supervisor"], signal.SIGKILL)
    ended = yard.run_until(staff, job, lambda now: now.status.is_terminal)
    assert (ended.status, ended.failure and ended.failure.cause) == (JobStatus.FAILED, "nan_loss")


def test_a_run_that_may_go_on_with_nan_does_and_its_files_are_looked_at(yard: Yard) -> None:
    script = GOES_NAN.replace("100_000", "40")
    job = nan_job(yard, script + f"(OUTPUT / 'lora.safetensors').write_bytes({NAN_PAIR!r})\n", stop_on_nan=0)
    ended = yard.run_to_end(job)
    assert (ended.status, ended.alarms) == (JobStatus.SUCCEEDED, ("nan_loss", "nan_weights"))
    assert [file.name for file in ended.artifacts if file.holds_nan] == ["lora-000002.safetensors", "lora.safetensors"]


def test_an_average_that_a_passing_nan_spoilt_ends_nothing(yard: Yard) -> None:
    gate = "while not (OUTPUT / 'go').exists():\n    time.sleep(0.02)\n"
    job = nan_job(yard, gate + GOES_NAN.replace("100_000", "40"), stop_on_nan=5)
    folder, staff = yard.source._files.attempt(job.id, 1), yard.hire()
    yard.run_until(staff, job, lambda _: folder.started())
    recorded = next((RECORDINGS / "sd-scripts-success").rglob("events.out.tfevents.*"))
    folder.event_logs.mkdir()
    shutil.copy(recorded, folder.event_logs)
    (folder.output / "go").touch()
    ended = yard.run_until(staff, job, lambda now: now.status.is_terminal)
    assert (ended.status, "nan_loss" in ended.alarms) == (JobStatus.SUCCEEDED, True)


def test_a_run_at_an_executor_that_is_not_named_waits_for_one_that_has_it_and_holds_up_no_other(
    yard: Yard,
) -> None:
    far, near = yard.submit(submission_id="far"), yard.submit(submission_id="near")
    with yard.source.store.database.writing() as connection:
        connection.execute("UPDATE jobs SET settings = json_set(settings, '$.where', 'ray') WHERE id = ?", (far.id,))
    assert yard.source.store.runs.claim_next(executor="ray")
    assert yard.source.store.runs.claim_next()
    staff = yard.hire()
    assert yard.run_until(staff, near, lambda now: now.status.is_terminal).status is JobStatus.SUCCEEDED
    for _ in range(2 * worker.MOST_ERRORS):
        assert staff.tick(), "there is work"
    assert yard.source.get_job(far.id).status is JobStatus.RUNNING
    staff = yard.hire(out_of_reach_s=0.0)
    far = yard.run_until(staff, far, lambda now: now.status.is_terminal)
    assert far.status is JobStatus.LOST
    assert far.failure is not None
    assert "unknown whether the training still runs. This dashboard has no executor 'ray'" in far.failure.message
