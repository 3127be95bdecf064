"""Jobs on a cluster, with a worker that is stepped by hand and a Ray of a few lines."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lib.embedded.files.attempt_folder import AttemptFolder, Exit
from lib.embedded.ray.client import RayJob, Submission
from lib.embedded.ray.desk import DeskLimits, RayDesk
from lib.embedded.worker.limits import WorkerLimits
from lib.embedded.worker.ray_executor import RayExecutor
from lib.embedded.worker.ray_run import RayLimits
from lib.embedded.worker.worker import Worker
from lib.errors import InvalidRequest, SourceUnavailable
from lib.jobs.job import Job, JobStatus
from lib.jobs.job_request import JobRequest
from lib.jobs.training_settings import TrainingSettings
from lib.ray_settings import RaySettings
from lib.settings import ROOT
from lib.sources.embedded.source import EmbeddedSource
from tests.contract.houses import IdleLauncher
from tests.embedded.ray.fake_ray import FakeRay, node, play_runner
from tests.embedded.scripted import REFERENCE, TRAIN, WEIGHTS, ScriptedRecipe

SETTINGS = RaySettings(address="http://head:8265", trainers={"scripted": "/opt/lora/bin/python -u"})
AT_ONCE = DeskLimits(start_s=0, run_s=0, share=1e9, cluster_s=0, pauses_s=(0,), stop_again_s=0)
NO_WAIT = RayLimits(settle_s=0, lost_s=0, counted_s=0)
LOG = b"steps: 100%|##| 4/4 [00:01<00:00, 1.00it/s, avr_loss=0.5]\n"


class HandDesk(RayDesk):
    """A desk without its thread."""

    def _begin(self) -> None:
        self._answered_at = self._answered_at or self._clock()


class Site:
    """A data folder, a cluster, and workers that may be killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ray = FakeRay()
        self.source = EmbeddedSource(
            folder, recipes=REFERENCE, launcher=IdleLauncher(folder), executors=("local", "ray"), ray=SETTINGS
        )
        self.dataset_id = self.source.datasets.create("Portraits").id
        (folder / "datasets" / self.dataset_id / "one.png").write_bytes(b"\x89PNG\r\n\x1a\n")
        self.limits = NO_WAIT
        self.hire()

    def hire(self, **limits: float) -> None:
        """A new worker, as after a kill of the former one."""
        if hasattr(self, "worker"):
            self.worker.close()
        self.desk = HandDesk(self.ray, ("runner.zip", b"zip"), limits=AT_ONCE)  # type: ignore[arg-type]
        executor = RayExecutor(SETTINGS, self.desk, limits=self.limits)
        self.worker = Worker(
            self.folder,
            recipes={"scripted": ScriptedRecipe()},
            limits=WorkerLimits(**{"write_every_s": 0, "start_for_s": 60, **limits}),
            executors=[executor],
            max_parallel=0,
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


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with closing(Site(tmp_path / "data")) as built:
        yield built


def test_a_job_from_queue_to_file(site: Site) -> None:
    job = site.submit(gpus=1, cluster_memory_gb=2, cluster_resources=("A100=1",))
    site.ray.nodes = (node(GPU=2.0, A100=1.0),)
    ray_id = site.started(job)
    assert ray_id == f"lora-{job.id}-a1"
    (sent,) = site.ray.posted
    assert sent.needs == {"CPU": 1.0, "GPU": 1.0, "memory": float(2 << 30), "A100": 1.0}
    assert sent.environ == {"RAY_JOB_STOP_WAIT_TIME_S": "30"}
    assert site.job(job).progress.stage == "starting on the cluster"
    spec = site.attempt(job).read_spec()
    assert spec.argv[:3] == ("/opt/lora/bin/python", "-u", "-I")
    assert (spec.cwd, str(ROOT) in str(spec.environ)) == ("{package}", False)
    site.ray.run(ray_id)
    play_runner(site.attempt(job), log=LOG)
    running = site.until(job, lambda now: now.node)
    assert (running.node, running.progress.step, running.executor) == ("n1", 4, "ray")
    (site.attempt(job).output / "lora.safetensors").write_bytes(WEIGHTS)
    ahead = time.time() + 600  # the node's clock
    site.attempt(job).write_exit(Exit(exit_code=0, finished_at=ahead))
    done = site.until(job, lambda now: now.status.is_terminal)
    assert done.status is JobStatus.SUCCEEDED
    assert done.finished_at is not None
    assert done.finished_at.timestamp() < ahead - 500
    site.ray.end(ray_id, "get-succeeded")
    site.step()
    assert site.ray.removed == [ray_id]


@pytest.mark.parametrize(
    ("recording", "status", "cause", "words"),
    [
        ("node-died-get", JobStatus.FAILED, "node_lost", "node that ran the training died"),
        ("series-oom-ray-memory-monitor", JobStatus.FAILED, "node_memory", "low on memory"),
        ("series-env-pip-bad", JobStatus.FAILED, "node_setup", "could not be prepared"),
        ("series-driver-killed", JobStatus.FAILED, "killed", "killed"),
        ("series-failure", JobStatus.FAILED, "node_setup", "could not begin on the node"),
    ],
)
def test_what_only_ray_knows_is_a_cause_of_its_own(
    site: Site, recording: str, status: JobStatus, cause: str, words: str
) -> None:
    job = site.submit()
    ray_id = site.started(job)
    if cause != "node_setup":
        play_runner(site.attempt(job), log=LOG)
    site.ray.end(ray_id, recording)
    ended = site.until(job, lambda now: now.status.is_terminal)
    assert ended.failure is not None
    assert (ended.status, ended.failure.cause) == (status, cause)
    assert words in ended.failure.message
    assert ended.failure.hint


def test_nothing_is_submitted_that_does_not_fit_and_what_never_fits_blocks_nobody(site: Site) -> None:
    site.ray.nodes = (node(CPU=2.0),)
    nowhere, first, second, third = (
        site.submit(name, gpus=1, cluster_cpus=cpus, cluster_resources=more)
        for name, cpus, more in (("nowhere", 1, ("H100=1",)), ("a", 1, ()), ("b", 1, ()), ("c", 1, ()))
    )
    site.ray.nodes = (node(CPU=2.0, GPU=4.0),)
    site.step(6)
    assert [each.id for each in site.ray.posted] == [f"lora-{job.id}-a1" for job in (first, second)]
    assert site.job(third).status is site.job(nowhere).status is JobStatus.PENDING
    site.source.cancel_job(third.id)  # it waits here, so this is at once
    assert site.job(third).status is JobStatus.CANCELLED


def test_a_long_queue_starts_in_many_rounds_so_that_what_runs_is_followed(site: Site) -> None:
    for number in range(3):
        site.submit(f"job {number}")
    site.hire(start_for_s=0)
    site.step()
    for number in (1, 2, 3):
        site.worker.tick()
        assert site.source.count_by_status()[JobStatus.RUNNING] == number


def test_after_a_slow_round_not_all_attempts_write_in_the_same_one(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [site.submit(f"job {number}") for number in range(24)]
    site.ray.nodes = (node(CPU=24.0, GPU=24.0),)
    site.hire(write_every_s=1)
    for job in jobs:
        site.started(job)
        play_runner(site.attempt(job), log=b"running training\n")
    now, written = time.monotonic(), []
    monkeypatch.setattr(time, "monotonic", lambda: now)
    runs = site.source._store.runs
    monkeypatch.setattr(type(runs), "record_progress", lambda _, claim, *values: written.append(claim.mark))
    counts = []
    for passed_s in (10.0, *[0.2] * 12):
        now += passed_s
        written.clear()
        site.worker.tick()
        counts.append(len(written))
    assert counts[0] == 24
    assert sum(counts[3:]) >= 24
    assert max(counts[3:]) < 20


def test_a_worker_killed_before_the_submit_and_one_killed_before_its_answer_start_it_once(site: Site) -> None:
    job = site.submit()
    site.worker.tick()
    site.desk.tick()
    site.worker.tick()  # claimed and written down, not sent
    assert (site.job(job).status, site.ray.posted) == (JobStatus.RUNNING, [])
    site.hire()
    site.ray.loses_answer = True
    site.step(2)
    assert len(site.ray.posted) == 1
    site.hire()
    site.step(3)
    assert len(site.ray.posted) == 1
    assert site.ray.jobs.keys() == {f"lora-{job.id}-a1"}


def test_no_room_in_time_is_waiting_under_another_id(site: Site) -> None:
    job = site.submit()
    ray_id = site.started(job)
    site.ray.end(ray_id, "no-room")
    site.step(4)
    assert [each.id for each in site.ray.posted] == [ray_id, f"{ray_id}-2"]
    assert site.job(job).status is JobStatus.RUNNING


def test_what_ray_lost_before_it_began_is_sent_again_a_few_times(site: Site) -> None:
    job = site.submit()
    ray_id = site.started(job)
    for number in (2, 3):
        site.ray.end(site.ray.posted[-1].id, "node-died-get")
        site.step(4)
        assert site.ray.posted[-1].id == f"{ray_id}-{number}"
    site.ray.end(site.ray.posted[-1].id, "node-died-get")
    assert site.until(job, lambda now: now.failure).failure.cause == "node_lost"
    assert len(site.ray.posted) == 3


def test_cancel_asks_ray_and_the_record_of_the_runner_counts(site: Site) -> None:
    job = site.submit()
    ray_id = site.started(job)
    site.ray.run(ray_id)
    play_runner(site.attempt(job), log=LOG)
    site.source.cancel_job(job.id)
    site.step(2)
    assert site.ray.stopped
    site.attempt(job).write_exit(Exit(exit_code=-15, finished_at=time.time(), cancelled=True))
    assert site.until(job, lambda now: now.status.is_terminal).status is JobStatus.CANCELLED


def test_a_cancelled_job_that_ray_never_had_does_not_begin_later(site: Site) -> None:
    job = site.submit()
    site.step()
    site.ray.is_down = True
    site.step(2)
    assert site.job(job).progress.stage == "waiting for the cluster"
    site.source.cancel_job(job.id)
    site.ray.is_down = False
    assert site.until(job, lambda now: now.status.is_terminal).status is JobStatus.CANCELLED
    assert site.ray.posted == []
    assert (site.attempt(job).path / "runner.json").exists()  # a runner that comes after all stops at once


def test_a_job_that_ray_forgot_goes_on_by_its_files_and_is_lost_without_a_sign(site: Site) -> None:
    site.limits = RayLimits(settle_s=0, lost_s=3600)
    site.hire()
    alive, dead = site.submit("alive"), site.submit("dead")
    for job in (alive, dead):
        site.ray.run(site.started(job))
        play_runner(site.attempt(job), log=LOG)
    site.step(2)
    site.ray.jobs.clear()
    site.step(3)
    assert site.job(alive).status is site.job(dead).status is JobStatus.RUNNING
    (site.attempt(alive).output / "lora.safetensors").write_bytes(WEIGHTS)
    site.attempt(alive).write_exit(Exit(exit_code=0, finished_at=time.time()))
    assert site.until(alive, lambda now: now.status.is_terminal).status is JobStatus.SUCCEEDED
    site.limits = NO_WAIT
    site.hire()
    lost = site.until(dead, lambda now: now.status.is_terminal)
    assert lost.failure is not None
    assert (lost.status, lost.failure.cause) == (JobStatus.LOST, "cluster_lost")
    assert len(site.ray.posted) == 2  # never a second time by itself


def test_one_job_that_ray_cannot_take_holds_up_no_other(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = site.submit("first"), site.submit("second")
    submit = site.ray.submit

    def fails_for_first(submission: Submission) -> None:
        if first.id in submission.id:
            raise SourceUnavailable("The cluster answered with an error: trouble.")
        submit(submission)

    monkeypatch.setattr(site.ray, "submit", fails_for_first)
    assert site.started(second)
    site.source.cancel_job(second.id)
    site.step(5)
    assert site.ray.stopped


@pytest.mark.parametrize(
    "written",
    [
        b'{"id": "lora-other-a1", "number": 1}',
        b'{"x": 1}',
        b'{"id": "{id}", "number": "x"}',
        b'{"id": "{id}", "needs": {"CPU": "x"}}',
        b'{"id": "{id}", "needs": 5, "stop_grace_s": null}',
        b"[" * 200_000,
    ],
    ids=str,
)
def test_what_a_trainer_writes_in_place_of_our_record_names_no_other_job(site: Site, written: bytes) -> None:
    job = site.submit()
    ray_id = site.started(job)
    site.ray.run(ray_id)
    play_runner(site.attempt(job), log=LOG)
    (site.attempt(job).path / "ray.json").write_bytes(written.replace(b"{id}", ray_id.encode()))
    site.hire()
    site.step(2)
    site.source.cancel_job(job.id)
    site.step(5)
    assert set(site.ray.stopped) == {ray_id}
    assert site.started(site.submit("another"))


def test_a_record_of_a_newer_version_is_read_without_what_is_new(site: Site) -> None:
    job = site.submit()
    second = f"{site.started(job)}-2"
    record = site.attempt(job).path / "ray.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "id": second, "number": 2, "region": {"new": 1}}))
    site.ray.jobs[second] = RayJob(id=second, status="RUNNING")
    play_runner(site.attempt(job), log=LOG)
    site.hire()
    site.step(2)
    site.source.cancel_job(job.id)
    site.step(4)
    assert set(site.ray.stopped) == {second}


def test_a_job_that_ray_forgot_before_it_began_is_sent_again(site: Site) -> None:
    job = site.submit()
    ray_id = site.started(job)
    site.ray.jobs.clear()
    site.step(4)
    assert [each.id for each in site.ray.posted] == [ray_id, f"{ray_id}-2"]
    assert site.job(job).status is JobStatus.RUNNING


def test_a_cluster_that_is_away_ends_nothing(site: Site) -> None:
    job = site.submit()
    site.ray.run(site.started(job))
    play_runner(site.attempt(job), log=LOG)
    site.limits = RayLimits(away_s=0)
    site.hire()
    site.ray.is_down = True
    site.step(3)
    away = site.job(job)
    assert (away.status, away.progress.step, away.alarms) == (JobStatus.RUNNING, 4, ("cluster_away",))


def test_what_cannot_run_there_is_refused_in_words(site: Site) -> None:
    with pytest.raises(InvalidRequest) as caught:
        site.submit(cluster_resources=("A100",))
    assert "as in A100=1" in str(caught.value.fields)
    with pytest.raises(InvalidRequest) as caught:
        site.submit(where="moon")
    assert "LORA_EXECUTORS does not name it" in str(caught.value.fields)
    site.source.create_job(
        JobRequest(
            name="local",
            dataset_id=site.dataset_id,
            config_id=None,
            settings=TrainingSettings(trainer="scripted", extra={"script": TRAIN}, where="local"),
            submission_id="local",
        )
    )
    site.step(3)
    assert site.ray.posted == []
