"""Watched runs as jobs: the worker in this process follows files that somebody else writes."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lib.embedded.watching.life import LifeLimits
from lib.embedded.worker.limits import WorkerLimits
from lib.embedded.worker.worker import Worker
from lib.errors import ArtifactError, InvalidRequest, JobNotFound, NotSupported, StoreError
from lib.jobs.job import Job, JobStatus, Origin
from lib.jobs.training_settings import TrainingSettings
from lib.sources.embedded.source import EmbeddedSource
from lib.sources.protocol import Action
from tests.contract.houses import IdleLauncher
from tests.embedded.scripted import WEIGHTS
from tests.embedded.watching.test_runs import put
from tests.jobs.failures.test_judge import BY_LOG, EXPECTED, RECORDINGS
from tests.jobs.recordings import raw_log
from tests.waiting import wait_for

SLOW = LifeLimits(gone_s=0.0, said_s=3_000.0, quiet_s=6_000.0)
BAR = b"\rsteps:  %d%%|##| %d/10 [00:01<00:09, 1.00it/s, avr_loss=0.%d]"


class Post:
    """A data folder, a folder of runs beside it, and a worker that is stepped by hand."""

    def __init__(self, folder: Path) -> None:
        self.data, self.runs = folder / "data", folder / "runs"
        self.runs.mkdir()
        self.source = EmbeddedSource(self.data, launcher=IdleLauncher(self.data), watch_dirs=[self.runs])
        self.worker: Worker | None = None

    def hire(self, life: LifeLimits = SLOW, **limits: float) -> None:
        self.close_worker()
        values = {"watch_look_s": 0.0, "write_every_s": 0.0, **limits}
        self.worker = Worker(self.data, recipes={}, limits=WorkerLimits(life=life, **values))  # type: ignore[arg-type]

    def watch(self, path: Path, name: str = "") -> Job:
        (job, *_) = self.source.watch_job(str(path), name)
        return job

    def until(self, job: Job, condition: Callable[[Job], object]) -> Job:
        worker = self.worker
        assert worker

        def is_so() -> object:
            worker._looked_elsewhere_at = -1e9
            worker.tick()
            return condition(self.source.get_job(job.id))

        wait_for(is_so, lambda: f"not as wanted: {self.source.get_job(job.id)}")
        return self.source.get_job(job.id)

    def close_worker(self) -> None:
        if self.worker:
            self.worker.close()

    def close(self) -> None:
        self.close_worker()
        self.source.close()


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    with closing(Post(tmp_path)) as built:
        built.hire()
        yield built


def bar(step: int) -> bytes:
    return BAR % (step * 10, step, 100 - step)


def test_a_run_is_followed_to_its_end_and_nothing_is_written_beside_it(post: Post) -> None:
    run = post.runs / "fox"
    log = put(run / "train.log", b"running training\n" + bar(1) + bar(2))
    job = post.until(post.watch(run), lambda now: now.progress.step == 2)
    assert (job.name, job.origin, job.status, job.trainer) == ("fox", Origin.WATCHED, JobStatus.RUNNING, "watched")
    assert job.last_output_at is not None
    with log.open("ab") as file:
        file.write(bar(3) + bar(4))
        file.flush()
        put(run / "fox-000001.safetensors", WEIGHTS)
        put(run / "sample" / "fox_e000001_00_20261123150700_1.png")
        job = post.until(job, lambda now: now.progress.step == 4 and len(now.artifacts) == 2)
        assert job.progress.total_steps == 10
        file.write(bar(10) + b"\nmodel saved.\n")
    put(run / "fox.safetensors", WEIGHTS)
    before = sorted((path, path.stat().st_mtime_ns) for path in run.rglob("*"))
    post.hire(LifeLimits(gone_s=0.0, said_s=0.0))  # another worker goes on
    job = post.until(job, lambda now: now.status.is_terminal)
    assert (job.status, job.failure, job.progress.fraction) == (JobStatus.SUCCEEDED, None, 1.0)
    assert {file.name for file in job.artifacts} == {
        "fox.safetensors",
        "fox-000001.safetensors",
        "fox_e000001_00_20261123150700_1.png",
    }
    assert [point.step for point in post.source.loss_points(job.id, attempt=1)] == [1, 2, 3, 4, 10]
    assert post.source.locate_artifact(job.id, "1/fox.safetensors").path.read_bytes() == WEIGHTS
    assert b"model saved." in post.source.read_log(job.id, attempt=1, offset=0).data
    assert sorted((path, path.stat().st_mtime_ns) for path in run.rglob("*")) == before
    post.source.delete_job(job.id)
    assert sorted((path, path.stat().st_mtime_ns) for path in run.rglob("*")) == before
    with pytest.raises(JobNotFound):
        post.source.get_job(job.id)


def test_every_recording_is_judged_by_its_log(post: Post) -> None:
    second = RECORDINGS.with_name("trainers-2")
    logs = {name: raw_log(name) for name in EXPECTED}
    logs |= {folder.name: (folder / "merged.bin").read_bytes() for folder in second.iterdir()}
    post.hire(LifeLimits(said_s=0.0, quiet_s=0.0))
    jobs = {name: post.watch(put(post.runs / name / f"{name}.log", data)) for name, data in logs.items()}
    for job in jobs.values():
        post.until(job, lambda now: now.status.is_terminal)
    ends = {name: post.source.get_job(job.id) for name, job in jobs.items()}
    told = {name: (job.status.value, job.failure.cause if job.failure else "") for name, job in ends.items()}
    usual = {"running": ("lost", "unknown")}
    for name in EXPECTED:
        expected = BY_LOG.get(name, ("succeeded", ""))
        assert told[name] == usual.get(expected[0], expected), name
    for folder in second.iterdir():
        end = json.loads((folder / "meta.json").read_text())["exit"] or {"exit_code": 0, "cancelled": False}
        # A process that SIGTERM ends says nothing: only who sent it knows.
        wanted = "lost" if end["cancelled"] else "failed" if end["exit_code"] else "succeeded"
        assert told[folder.name][0] == wanted, folder.name


def test_the_end_of_the_process_that_wrote_is_the_end_of_the_run(post: Post) -> None:
    log = put(post.runs / "log.txt", bar(1))
    job = post.watch(log, "mine")
    with log.open("ab"):
        reader, writer = os.pipe()
        if (child := os.fork()) == 0:
            os.read(reader, 1)
            os._exit(0)
    post.until(job, lambda now: now.progress.step == 1)
    seen = post.worker._followed[f"{job.id}/1"]  # type: ignore[union-attr]
    post.until(job, lambda _now: seen._steady)
    assert post.source.get_job(job.id).status is JobStatus.RUNNING
    os.write(writer, b"x")
    os.waitpid(child, 0)
    os.close(reader)
    os.close(writer)
    job = post.until(job, lambda now: now.status.is_terminal)
    assert (job.status, job.name) == (JobStatus.LOST, "mine")
    assert job.failure
    assert job.failure.message == "The process that wrote it has ended, and its log does not say how the run ended."


def test_a_folder_that_vanishes_is_said_and_nothing_is_lost(post: Post, tmp_path: Path) -> None:
    run = post.runs / "fox"
    put(run / "train.log", bar(1) + bar(2))
    put(run / "fox-000001.safetensors", WEIGHTS)
    job = post.until(post.watch(run), lambda now: now.progress.step == 2 and now.artifacts)
    shutil.move(run, tmp_path / "elsewhere")
    job = post.until(job, lambda now: now.alarms)
    assert (job.status, job.alarms, job.progress.step) == (JobStatus.RUNNING, ("watched_away",), 2)
    assert len(job.artifacts) == 1
    with pytest.raises(StoreError, match="cannot be reached"):
        post.source.read_log(job.id, attempt=1, offset=0)
    with pytest.raises(ArtifactError, match="cannot be found"):
        post.source.locate_artifact(job.id, "1/fox-000001.safetensors")
    post.hire()  # a worker that starts while it is away
    post.until(job, lambda now: now.alarms)
    shutil.move(tmp_path / "elsewhere", run)
    job = post.until(job, lambda now: not now.alarms)
    assert (job.status, job.progress.step, len(job.artifacts)) == (JobStatus.RUNNING, 2, 1)
    shutil.rmtree(run)
    post.hire(LifeLimits(quiet_s=0.0))
    job = post.until(job, lambda now: now.status.is_terminal)
    assert (job.status, job.progress.step, len(job.artifacts)) == (JobStatus.LOST, 2, 1)
    assert job.failure
    assert "cannot be reached any more" in job.failure.message


def test_a_link_that_leads_elsewhere_later_shows_nothing(post: Post, tmp_path: Path) -> None:
    run = post.runs / "fox"
    put(run / "train.log", bar(1))
    put(run / "fox.safetensors", WEIGHTS)
    job = post.until(post.watch(run), lambda now: now.artifacts)
    put(tmp_path / "secret" / "train.log", b"secret")
    put(tmp_path / "secret" / "fox.safetensors", b"secret")
    shutil.rmtree(run)
    run.symlink_to(tmp_path / "secret")
    with pytest.raises(StoreError):
        post.source.read_log(job.id, attempt=1, offset=0)
    with pytest.raises(ArtifactError):
        post.source.locate_artifact(job.id, "1/fox.safetensors")
    post.until(job, lambda now: now.alarms == ("watched_away",))


def test_of_several_runs_in_one_file_the_newest_counts(post: Post) -> None:
    start = b"running training\n\rsteps:   0%|          | 0/10 [00:00<?, ?it/s]"
    log = put(post.runs / "a.log", start + b"".join(map(bar, range(1, 9))) + b"\n" + start + bar(1) + bar(2) + bar(3))
    job = post.until(post.watch(log), lambda now: now.progress.step == 3)
    assert [point.step for point in post.source.loss_points(job.id, attempt=1)] == [1, 2]
    log.rename(log.with_suffix(".1"))  # rotated
    log.write_bytes(bar(4) + bar(5))
    job = post.until(job, lambda now: now.progress.step == 5)
    log.write_bytes(bar(6))  # truncated
    job = post.until(job, lambda now: now.progress.step == 6)
    assert job.status is JobStatus.RUNNING


def test_what_is_known_is_taken_in_once_and_again_when_it_goes_on(post: Post) -> None:
    log = put(post.runs / "a.log", bar(1), at=1_000.0)
    first = post.watch(log)
    assert post.watch(log).id == first.id
    post.hire(LifeLimits(quiet_s=10.0))
    ended = post.until(first, lambda now: now.status.is_terminal)
    assert (ended.status, ended.finished_at and ended.finished_at.timestamp()) == (JobStatus.LOST, 1_000.0)
    assert post.watch(log).status is JobStatus.LOST
    with log.open("ab") as file:
        file.write(bar(2))
    again = post.watch(log)
    assert (again.id, again.status, again.attempt) == (first.id, JobStatus.RUNNING, 2)
    assert again.started_at == ended.finished_at or again.started_at > ended.finished_at  # type: ignore[operator]
    assert post.source.count_by_status() == {JobStatus.RUNNING: 1}


def test_files_alone_show_how_far_a_run_is_and_that_it_ended(post: Post) -> None:
    run = post.runs / "fox"
    put(run / "fox-000003.safetensors", WEIGHTS)
    job = post.until(post.watch(run), lambda now: now.progress.epoch == 3)
    assert (job.status, job.progress.fraction) == (JobStatus.RUNNING, None)
    put(run / "fox.safetensors", WEIGHTS, at=1_000.0)
    put(run / "fox-000003.safetensors", WEIGHTS, at=1_000.0)
    post.hire(LifeLimits(quiet_s=10.0))
    job = post.until(job, lambda now: now.status.is_terminal)
    assert (job.status, job.alarms) == (JobStatus.SUCCEEDED, ("ended_by_files",))


def test_a_folder_is_watched_before_its_run_begins(post: Post) -> None:
    run = post.runs / "fox"
    run.mkdir()
    job = post.watch(run)
    put(run / "train.log", bar(1) + bar(2))
    job = post.until(job, lambda now: now.progress.step == 2)
    assert [each.id for each in (post.watch(run), post.watch(run / "train.log"))] == [job.id, job.id]
    assert post.source.count_by_status() == {JobStatus.RUNNING: 1}


def test_the_output_folder_is_found_once_the_log_names_it(post: Post, tmp_path: Path) -> None:
    out = post.runs / "out"
    put(out / "a-000001.safetensors", WEIGHTS)
    log = put(post.runs / "here" / "a.log", bar(1))
    job = post.until(post.watch(log), lambda now: now.progress.step == 1)
    with log.open("ab") as file:
        file.write(b"\nsaving checkpoint: " + os.fsencode(out) + b"/a-000001.safetensors\n")
    job = post.until(job, lambda now: now.artifacts)
    assert job.artifacts[0].name == "a-000001.safetensors"
    assert post.source.locate_artifact(job.id, job.artifacts[0].id).path == out / "a-000001.safetensors"


def test_nothing_can_be_done_to_a_watched_run_but_to_stop_watching(post: Post) -> None:
    job = post.watch(put(post.runs / "a.log", bar(1)))
    for change in (post.source.cancel_job, post.source.retry_job):
        with pytest.raises(InvalidRequest):
            change(job.id)
    post.until(job, lambda now: now.progress.step == 1)
    post.source.delete_job(job.id)
    assert post.worker
    wait_for(lambda: not post.worker.tick(), "the worker goes on")  # type: ignore[union-attr]
    assert (post.runs / "a.log").exists()


def test_a_watched_run_takes_no_room_in_the_queue(post: Post) -> None:
    post.until(post.watch(put(post.runs / "a.log", bar(1))), lambda now: now.progress.step)
    assert post.worker
    assert post.worker._room(TrainingSettings()) is not None


def test_without_a_folder_that_is_open_nothing_is_watched_from_the_page(tmp_path: Path) -> None:
    launcher = IdleLauncher(tmp_path)
    with closing(EmbeddedSource(tmp_path / "data", launcher=launcher)) as source:
        assert "LORA_WATCH_DIRS" in source.reason_against(Action.WATCH)
        with pytest.raises(NotSupported):
            source.watch_job("/etc/passwd")
        (job,) = source.watch(str(put(tmp_path / "a.log", bar(1))), roots=None)
        assert job.status is JobStatus.RUNNING
        assert launcher.starts
