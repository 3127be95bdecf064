"""The data folder is away for a while, as a network share or a USB disk is: nothing is lost, judged or made anew."""

import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from lib.embedded.files import locks
from lib.embedded.files.availability import FolderUnavailable, is_entry, is_there, read_file, stat_file
from lib.embedded.store.database import Database
from lib.embedded.store.jobs import Store
from lib.embedded.worker import local_executor, worker
from lib.embedded.worker.launcher import WorkerLauncher
from lib.errors import StoreError, WorkerError
from lib.jobs.job import Job, JobStatus
from lib.jobs.query import JobQuery
from lib.sources.embedded.source import EmbeddedSource
from tests.embedded.scripted import REFERENCE, TRAIN, ScriptedRecipe
from tests.embedded.worker.drill.processes import all_killed_at_the_end, make_dataset, wait_until
from tests.embedded.worker.test_artifact_upload import ended, submit
from tests.embedded.worker.test_worker import Yard, worker_processes
from tests.waiting import wait_for

pytestmark = pytest.mark.slow

FIRST_LINE = b"running training / \xe5\xad\xa6\xe7\xbf\x92\xe9\x96\x8b\xe5\xa7\x8b\n"


class Shore(Yard):
    """A yard whose data folder can be taken away. The trainers' gates are elsewhere."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "data")
        self.away, self.gates = folder / "away", folder

    def script(self, before: str = "", after: str = "") -> str:
        """A training that says "halfway" when it got there, and goes on when the gate is open."""
        wait = f"while not Path({str(self.gates / 'go')!r}).exists():\n    time.sleep(0.01)\n"
        return f"{before}\nPath({str(self.gates / 'halfway')!r}).touch()\n{wait}{after}"

    def start(self, script: str, **values: object) -> tuple[Job, worker.Worker]:
        """A job that came halfway."""
        job, staff = self.submit(script), self.hire(**values)
        self.run_until(staff, job, lambda _: (self.gates / "halfway").exists())
        return job, staff

    def take_away(self) -> None:
        self.folder.rename(self.away)

    def bring_back(self) -> None:
        assert not self.folder.exists()  # nobody made anything in its place
        self.away.rename(self.folder)

    def go(self) -> None:
        (self.gates / "go").touch()


@pytest.fixture
def shore(tmp_path: Path) -> Iterator[Shore]:
    with closing(Shore(tmp_path)) as built:
        yield built


def assert_whole(shore: Shore, job: Job) -> None:
    """It succeeded at once, with every byte of its log and every loss."""
    assert (job.status, job.failure, job.attempt) == (JobStatus.SUCCEEDED, None, 1), shore.worker_log()
    assert (job.progress.step, len(job.artifacts)) == (4, 2)
    assert [point.step for point in shore.source.loss_points(job.id, attempt=1)] == [1, 2, 3, 4]
    data = shore.source.read_log(job.id, attempt=1, offset=0).data
    assert (data.startswith(FIRST_LINE), data.endswith(b"\nmodel saved.\n")) == (True, True)


def test_a_training_goes_on_while_the_folder_is_away(shore: Shore) -> None:
    steps, last_words, files = re.split(r"(print.*model saved.*\n)", TRAIN)
    until_back = f"while not Path({str(shore.folder)!r}).exists():\n    time.sleep(0.01)\n"
    job, staff = shore.start(shore.script(steps, last_words + until_back + files))
    shore.take_away()
    assert all(staff.tick() for _ in range(2 * worker.MOST_ERRORS))
    shore.go()  # its last words are written meanwhile
    log = shore.away / "jobs" / job.id / "1" / "log"
    wait_for(lambda: log.read_bytes().endswith(b"saved.\n"), "the trainer was stopped")
    assert all(staff.tick() for _ in range(2 * worker.MOST_ERRORS))
    assert len(worker_processes(job)) == 2
    shore.bring_back()
    assert_whole(shore, shore.run_until(staff, job, lambda now: now.status.is_terminal))


def test_an_end_while_the_folder_is_away_is_recorded_later(shore: Shore) -> None:
    job, staff = shore.start(shore.script(TRAIN))
    shore.take_away()
    (shore.folder / "jobs" / job.id / "1").mkdir(parents=True)  # some trainers do
    shore.go()
    wait_for(lambda: len(worker_processes(job)) == 1, "the trainer does not end")  # its supervisor waits
    assert staff.tick()
    shore.dismiss()  # and the next worker comes when the folder is not there
    with pytest.raises(FolderUnavailable):
        shore.hire()
    shutil.rmtree(shore.folder)
    shore.bring_back()
    assert_whole(shore, shore.run_to_end(job))


def test_a_trainer_that_fails_because_of_it_is_told_why(shore: Shore) -> None:
    job, staff = shore.start(shore.script("", "(OUTPUT / 'lora.safetensors').write_bytes(b'')"))
    folder = shore.source._files.attempt(job.id, 1)
    wait_for(lambda: "trainer" in (folder.started() or {}), "it is not said which process it is")
    trainer = (folder.started() or {})["trainer"]
    shore.take_away()
    shore.go()
    wait_for(lambda: not psutil.pid_exists(trainer), "its supervisor does not notice the end")
    shore.bring_back()
    failure = shore.run_until(staff, job, lambda now: now.status.is_terminal).failure
    assert failure is not None
    assert "lora.safetensors" in failure.message
    assert "data folder was away" in failure.hint


@pytest.mark.parametrize("moment", ["claim", "start"])
def test_a_job_that_starts_when_the_folder_goes_away(
    shore: Shore, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    job, staff = shore.submit(), shore.hire(hold_s=0.0)
    place, name = (ScriptedRecipe, "prepare") if moment == "claim" else (local_executor, "start_supervisor")
    original = getattr(place, name)

    def go_away(*arguments: object) -> object:
        result = original(*arguments)
        shore.take_away()
        return result

    with monkeypatch.context() as broken:
        broken.setattr(place, name, go_away)
        staff.tick()
        assert shore.away.exists()
        staff.tick()
    shore.bring_back()
    assert_whole(shore, shore.run_until(staff, job, lambda now: now.status.is_terminal))


@pytest.mark.parametrize("is_remade", [False, True], ids=["an empty mount point", "made by the trainer"])
def test_what_stands_in_its_place_is_not_taken_for_it(shore: Shore, is_remade: bool) -> None:
    job, staff = shore.start(shore.script("", TRAIN))
    shore.take_away()
    (shore.folder / f"jobs/{job.id}/1/output" if is_remade else shore.folder).mkdir(parents=True)
    assert all(staff.tick() for _ in range(2 * worker.MOST_ERRORS))
    assert len(worker_processes(job)) == 2
    with pytest.raises(FolderUnavailable, match="its database"):
        shore.source.list_jobs(JobQuery())
    shutil.rmtree(shore.folder)
    shore.bring_back()
    shore.go()
    assert_whole(shore, shore.run_until(staff, job, lambda now: now.status.is_terminal))


def test_another_folder_in_its_place_is_another_workers(shore: Shore) -> None:
    job, staff = shore.start(shore.script("", TRAIN))
    shore.take_away()
    Store(shore.folder).close()
    with pytest.raises(WorkerError, match="Another database"):
        staff.tick()
    assert shore.source.list_jobs(JobQuery()).total == 0  # what people see is what is there
    shutil.rmtree(shore.folder)
    shore.bring_back()
    shore.go()
    assert_whole(shore, shore.run_to_end(job))


def test_an_attempt_whose_folder_was_deleted_is_lost_and_said_to_be(shore: Shore) -> None:
    job, staff = shore.start(shore.script(TRAIN), gone_after_s=0.0)
    shore.run_until(staff, job, lambda now: now.progress.step == 4)
    shutil.rmtree(shore.folder / "jobs" / job.id)
    staff.tick()
    assert len(worker_processes(job)) == 2
    shore.go()
    lost = shore.run_until(staff, job, lambda now: now.status.is_terminal)
    assert lost.failure is not None
    assert (lost.status, lost.failure.cause, lost.progress.step) == (JobStatus.LOST, "worker_lost", 4)
    assert "is gone" in lost.failure.message


def test_nothing_that_cannot_be_seen_is_shown_as_empty(shore: Shore) -> None:
    launcher = WorkerLauncher(shore.folder)
    shore.submit()
    shore.take_away()
    for look in (
        shore.source.datasets.list,
        shore.source.count_by_status,
        shore.source.configs.list,
        lambda: shore.source.datasets.get("portraits"),
        lambda: shore.source.datasets.create("new"),
        launcher.is_running,
    ):
        with pytest.raises(StoreError, match="cannot be reached") as told:
            look()
        assert "LORA_DATA_DIR" in told.value.hint
    with pytest.raises(WorkerError, match="cannot be reached"):
        launcher.ensure()
    health = {check.name: (check.ok, check.message) for check in shore.source.health()}
    assert {name: ok for name, (ok, _) in health.items()} == {"Source": False, "Worker": None, "Disk": False}
    assert "LORA_DATA_DIR" in health["Source"][1]
    assert not any("Errno" in message for _, message in health.values())
    shore.bring_back()
    assert len(shore.source.datasets.list()) == 1
    assert shore.source.list_jobs(JobQuery()).total == 1


def test_a_database_that_was_replaced_by_no_database_is_said(tmp_path: Path) -> None:
    with closing(Database(tmp_path)) as database:
        database.path.rename(tmp_path / "aside")
        with closing(sqlite3.connect(database.path)) as other:
            other.execute("CREATE TABLE other (id)")
        with pytest.raises(StoreError, match="replaced"), database.reading():
            pass


def test_a_link_to_a_disk_that_is_away_tells_nothing(tmp_path: Path) -> None:
    (tmp_path / "jobs").symlink_to(tmp_path / "disk" / "jobs")
    for look in (locks.is_held, is_there, is_entry, read_file, stat_file):
        with pytest.raises(FolderUnavailable):
            look(tmp_path / "jobs" / "lock")
    with pytest.raises(FolderUnavailable):
        is_there(tmp_path / "jobs")
    assert not locks.is_held(tmp_path / "other")


def test_a_link_in_place_of_a_file_of_ours_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "disk" / "lock")
    assert not locks.is_held(tmp_path / "lock")
    assert is_entry(tmp_path / "lock")
    assert read_file(tmp_path / "lock") is None


def test_a_worker_process_waits_and_goes_on(tmp_path: Path) -> None:
    data_dir, away, go = tmp_path / "data", tmp_path / "away", tmp_path / "go"
    make_dataset(data_dir)
    wait = f"while not Path({str(go)!r}).exists():\n    time.sleep(0.02)\n"
    with all_killed_at_the_end(data_dir), closing(EmbeddedSource(data_dir, recipes=REFERENCE)) as source:
        job = submit(source, "print('here', flush=True)\n" + wait + TRAIN)
        log = source._files.attempt(job.id, 1).log
        wait_until(data_dir, lambda: log.exists() and log.stat().st_size, "it does not start")
        for _ in range(500):  # shorter than any look at what is in it
            data_dir.rename(away)
            away.rename(data_dir)
        data_dir.rename(away)
        wait_for(lambda: "waiting: " in (away / "worker.log").read_text(), "the worker does not notice")
        away.rename(data_dir)
        go.touch()
        done = ended(source, job)
        assert (done.status, done.failure, done.progress.step) == (JobStatus.SUCCEEDED, None, 4)
        assert "Traceback" not in (data_dir / "worker.log").read_text()
