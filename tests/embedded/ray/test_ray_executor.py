"""Jobs on a cluster, with a worker that is stepped by hand and a Ray of a few lines."""

import json
import os
import time
from dataclasses import replace

import pytest

from lib.embedded.files.attempt_folder import Exit
from lib.embedded.ray.client import RayJob, Submission
from lib.embedded.ray.desk import LOOKS_BEFORE_STOP
from lib.embedded.worker.ray_submission import RayLimits
from lib.errors import InvalidRequest, SourceUnavailable
from lib.jobs.job import Job, JobStatus
from lib.jobs.job_request import JobRequest
from lib.jobs.training_settings import TrainingSettings
from lib.settings import ROOT
from tests.embedded.ray.fake_ray import node, play_runner, recorded_job
from tests.embedded.ray.hand_site import LOG, NO_WAIT, FakeTransport, Site
from tests.embedded.scripted import TRAIN, WEIGHTS


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


@pytest.mark.parametrize(
    ("code", "said", "cause", "words"),
    [
        (95, "n1: No space left on device", "disk_full", "could not get what the training needs: n1: No space left on"),
        (95, "n1: the store refused a link (403)", "node_setup", "needs: n1: the store refused a link (403)."),
        (94, "n1: /tmp/x keeps what could not be sent", "network", "could not send everything: n1: /tmp/x keeps what"),
        (
            96,
            "n1: cannot read /data: No such file or directory",
            "node_setup",
            "folder: n1: cannot read /data: No",
        ),
        (98, "n1: cannot write to /data: Read-only file system", "node_setup", "/data: Read-only file system."),
        (98, "n1: cannot write to /data: No space left on device", "disk_full", "/data: No space left on device."),
        (127, "/bin/sh: 1: exec: python3: not found", "node_setup", "The node has no python3"),
    ],
)
def test_what_its_runner_said_is_the_cause(site: Site, code: int, said: str, cause: str, words: str) -> None:
    job = site.submit()
    ray_id = site.started(job)
    message = f"Job entrypoint command failed with exit code {code}, last available logs:\n{said}\n"
    site.ray.jobs[ray_id] = RayJob(id=ray_id, status="FAILED", exit_code=code, message=message)
    ended = site.until(job, lambda now: now.status.is_terminal)
    assert ended.failure is not None
    assert ended.failure.cause == cause
    assert words in ended.failure.message


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


def test_what_has_ended_there_takes_no_room_though_its_files_are_still_to_come(site: Site) -> None:
    site.ray.nodes = (node(CPU=1.0),)
    site.transport = FakeTransport()
    site.transport.is_seen = False
    site.hire()
    first, second = site.submit("first"), site.submit("second")
    site.ray.end(site.started(first), "get-succeeded")
    site.step(3)
    assert site.job(first).status is JobStatus.RUNNING
    assert site.started(second)


def test_a_folder_that_is_away_for_a_moment_ends_no_training(site: Site) -> None:
    job = site.submit()
    ray_id = site.started(job)
    site.ray.run(ray_id)
    play_runner(site.attempt(job), log=LOG)
    site.step(2)
    jobs = site.folder / "jobs"
    jobs.rename(site.folder / "away")
    site.step(3)
    (site.folder / "away").rename(jobs)
    site.step(2)
    assert (site.ray.stopped, site.job(job).status) == ([], JobStatus.RUNNING)
    site.limits = replace(NO_WAIT, missing_s=0)
    site.hire(gone_after_s=0)
    site.step(2)
    jobs.rename(site.folder / "deleted")
    site.step(3)
    assert site.ray.stopped
    site.ray.jobs[ray_id] = RayJob(id=ray_id, status="STOPPED")
    assert site.until(job, lambda now: now.status.is_terminal).status is JobStatus.LOST


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
    monkeypatch.setattr(type(runs), "record_progress", lambda _, claim, *values, **more: written.append(claim.mark))
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


@pytest.mark.parametrize(
    ("recording", "cause", "words"),
    [
        ("node-died-get", "node_lost", "node that ran the training died"),
        # As when the package vanished with the last job that used it, just before this one was sent.
        ("series-env-pip-bad", "node_setup", "could not be prepared: runtime_env setup failed"),
    ],
)
def test_what_ray_lost_before_it_began_is_sent_again_a_few_times(
    site: Site, recording: str, cause: str, words: str
) -> None:
    job = site.submit()
    ray_id = site.started(job)
    for number in (2, 3):
        site.ray.end(site.ray.posted[-1].id, recording)
        site.step(4)
        assert site.ray.posted[-1].id == f"{ray_id}-{number}"
    site.ray.end(site.ray.posted[-1].id, recording)
    ended = site.until(job, lambda now: now.failure)
    assert ended.failure is not None
    assert (ended.status, ended.failure.cause) == (JobStatus.FAILED, cause)
    assert words in ended.failure.message
    assert len(site.ray.posted) == 3


def test_a_job_that_waits_at_ray_is_cancelled_at_once_and_its_retry_need_not_wait_for_it(site: Site) -> None:
    job = site.submit()
    ray_id = site.started(job)
    assert site.ray.jobs[ray_id].status == "PENDING"  # where a stop changes nothing until there is room
    site.source.cancel_job(job.id)
    site.step(2)
    assert site.job(job).status is JobStatus.CANCELLED
    assert (site.attempt(job).path / "runner.json").exists()  # a runner that comes after all stops at once
    assert site.ray.stopped == [ray_id]
    site.source.retry_job(job.id)
    site.step(3)
    assert site.ray.posted[-1].id == f"lora-{job.id}-a2"


def test_a_runner_that_took_a_job_before_ray_knew_is_stopped_and_recorded(site: Site) -> None:
    job = site.submit()
    ray_id = site.started(job)
    play_runner(site.attempt(job), log=LOG)  # Ray still says PENDING
    site.source.cancel_job(job.id)
    site.step(3)
    assert (site.job(job).status, set(site.ray.stopped)) == (JobStatus.RUNNING, {ray_id})
    site.attempt(job).write_exit(Exit(exit_code=-15, finished_at=time.time(), cancelled=True))
    assert site.until(job, lambda now: now.status.is_terminal).status is JobStatus.CANCELLED


def test_a_cancelled_job_whose_runner_died_ends_though_ray_says_that_it_waits(site: Site) -> None:
    site.limits = replace(NO_WAIT, look_s=0)
    site.hire()
    job = site.submit()
    ray_id = site.started(job)
    play_runner(site.attempt(job), log=LOG)
    site.source.cancel_job(job.id)
    site.step(3)
    assert site.job(job).cancelling
    site.ray.unseen[ray_id] = RayJob(id=ray_id, status="STOPPED")
    assert site.until(job, lambda now: now.status.is_terminal).status is JobStatus.CANCELLED


def test_a_cancelled_job_that_began_but_is_unknown_to_ray_ends_without_a_sign_of_life(site: Site) -> None:
    job = site.submit()
    site.step()
    site.worker.tick()  # written down; a former worker sent it, and the head forgot it before that was written, too
    play_runner(site.attempt(job), log=LOG)
    site.source.cancel_job(job.id)
    assert site.until(job, lambda now: now.status.is_terminal).status is JobStatus.CANCELLED
    assert site.ray.posted == []


@pytest.mark.parametrize("status", ["PENDING", "RUNNING"])
def test_states_that_are_stale_after_a_restart_of_the_head_are_looked_at(site: Site, status: str) -> None:
    site.limits = replace(NO_WAIT, look_s=0)
    site.hire()
    job = site.submit()
    ray_id = site.started(job)
    site.ray.jobs[ray_id] = RayJob(id=ray_id, status=status)
    if status == "RUNNING":
        play_runner(site.attempt(job), log=LOG)
    site.ray.unseen[ray_id] = recorded_job("node-died-get", ray_id)
    if status == "RUNNING":
        ended = site.until(job, lambda now: now.failure)
        assert ended.failure is not None
        assert ended.failure.cause == "node_lost"
    else:
        site.until(job, lambda _: f"{ray_id}-2" in site.ray.jobs)


def test_a_node_that_was_shut_down_with_its_head_is_told_though_the_state_is_stale(site: Site) -> None:
    job = site.submit()
    ray_id = site.started(job)
    site.ray.run(ray_id)
    play_runner(site.attempt(job), exit_=Exit(exit_code=-15, finished_at=time.time(), cancelled=True))
    site.ray.unseen[ray_id] = recorded_job("node-died-get", ray_id)
    ended = site.until(job, lambda now: now.failure)
    assert ended.failure is not None
    assert ended.failure.cause == "node_lost"


def test_a_cluster_that_was_shut_down_is_no_cancellation(site: Site) -> None:
    site.limits = replace(NO_WAIT, away_s=0, gone_s=0)
    site.hire()
    job = site.submit()
    site.ray.run(site.started(job))
    site.ray.is_down = True
    play_runner(site.attempt(job), exit_=Exit(exit_code=-15, finished_at=time.time(), cancelled=True))
    ended = site.until(job, lambda now: now.status.is_terminal)
    assert ended.failure is not None
    assert (ended.status, ended.failure.cause) == (JobStatus.LOST, "cluster_lost")
    assert ended.failure.message.startswith("Its node was shut down, and the cluster has not answered for")


def test_what_waits_with_a_store_between_is_cancelled_without_its_cluster_after_a_while(site: Site) -> None:
    site.transport = FakeTransport()
    site.limits = replace(NO_WAIT, gone_s=3600)
    site.hire()
    job = site.submit()
    site.started(job)
    site.ray.is_down = True
    site.source.cancel_job(job.id)
    site.step(5)
    assert site.job(job).cancelling  # a runner may begin there, and nothing here could keep it from that
    site.limits = replace(NO_WAIT, gone_s=0)
    site.hire()
    site.step(3)
    assert site.job(job).status is JobStatus.CANCELLED


@pytest.mark.parametrize("off_s", [600.0, -600.0])
def test_a_nodes_clock_that_is_off_changes_no_verdict_and_no_time(
    site: Site, off_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.limits = replace(NO_WAIT, lost_s=60)
    site.hire()
    told, silent = site.submit("told"), site.submit("silent")
    for job in (told, silent):
        site.ray.run(site.started(job))
        play_runner(site.attempt(job), log=LOG)
    site.ray.jobs.clear()
    began, passed_s = time.monotonic(), 0.0
    monkeypatch.setattr(time, "monotonic", lambda: began + passed_s)
    for second in range(10):
        passed_s += 30
        beat = time.time() + off_s + second
        os.utime(site.attempt(told).path / "beat", (beat, beat))
        os.utime(site.attempt(told).log, (beat, beat))
        site.attempt(told).log.write_bytes(LOG * (second + 2))
        os.utime(site.attempt(told).log, (beat, beat))
        site.step()
    running = site.job(told)
    assert (running.status, site.job(silent).status) == (JobStatus.RUNNING, JobStatus.LOST)
    assert running.last_output_at is not None
    assert abs(running.last_output_at.timestamp() - time.time()) < 300
    site.attempt(told).write_exit(Exit(exit_code=1, finished_at=time.time() + off_s))
    ended = site.until(told, lambda now: now.status.is_terminal)
    assert ended.started_at is not None
    assert ended.finished_at is not None
    assert 0 <= (ended.finished_at - ended.started_at).total_seconds() < 300


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


def lose(site: Site, job: Job) -> None:
    """The head is started afresh while the job runs."""
    ray_id = f"lora-{job.id}-a{site.job(job).attempt}"
    site.ray.run(ray_id)
    play_runner(site.attempt(job), log=LOG)
    site.step(2)
    site.ray.jobs.clear()


def test_a_job_that_ray_forgot_goes_on_by_itself_from_its_state_a_few_times(site: Site) -> None:
    site.resumes_lost = True
    site.hire()
    job = site.submit()
    site.started(job)
    (site.attempt(job).output / "2-state").touch()
    lose(site, job)
    again = site.until(job, lambda now: now.attempt == 2)
    assert again.start is not None
    assert (again.start.by_itself, again.start.attempt, again.start.step) == (True, 1, 2)
    first = again.attempts[0]
    assert first.failure is not None
    assert (first.status, first.failure.cause) == (JobStatus.LOST, "cluster_lost")
    assert first.failure.hint == "The training goes on by itself from step 2."
    for attempt in (2, 3, 4, 5):
        site.until(job, lambda _, attempt=attempt: f"lora-{job.id}-a{attempt}" in site.ray.jobs)  # type: ignore[misc]
        lose(site, job)
        site.until(job, lambda now, attempt=attempt: now.attempt > attempt or now.status.is_terminal)  # type: ignore[misc]
    lost = site.job(job)
    assert (lost.status, lost.attempt) == (JobStatus.LOST, 5)
    site.step(5)
    assert len(site.ray.posted) == 5
    assert (site.attempt(job).path / "cancel").exists()  # for a runner that lives on, out of reach


def test_a_node_that_died_before_there_was_a_state_lets_it_begin_anew_unless_it_was_cancelled(site: Site) -> None:
    site.resumes_lost = True
    site.hire()
    job, cancelled = site.submit("one"), site.submit("two")
    for each in (job, cancelled):
        site.ray.run(site.started(each))
        play_runner(site.attempt(each), log=LOG)
    site.step(2)
    site.source.cancel_job(cancelled.id)
    for ray_id in list(site.ray.jobs):
        site.ray.end(ray_id, "node-died-get")
    again = site.until(job, lambda now: now.attempt == 2)
    assert again.start is None
    assert again.attempts[0].failure is not None
    assert again.attempts[0].failure.hint.startswith("It left no state to go on from")
    site.step(3)
    assert site.job(cancelled).attempt == 1
    assert site.job(cancelled).status.is_terminal


def test_what_counts_as_lost_ends_before_the_next_attempt_is_sent(site: Site) -> None:
    site.resumes_lost = True
    site.hire()
    job = site.submit()
    ray_id = site.started(job)
    known = site.ray.jobs[ray_id]
    lose(site, job)
    site.desk.tick()
    while site.job(job).attempt == 1:
        site.worker.tick()
    site.ray.jobs[ray_id] = replace(known, status="RUNNING")  # the head is back with its storage
    site.step(3)
    assert [each.id for each in site.ray.posted] == [ray_id]
    assert ray_id in site.ray.stopped
    assert site.job(job).progress.stage == "waiting for the end of the former attempt"
    site.ray.end(ray_id, "series-driver-killed")
    site.step(3)
    assert [each.id for each in site.ray.posted] == [ray_id, f"lora-{job.id}-a2"]


@pytest.mark.parametrize(
    ("recording", "status", "cause"),
    [
        ("node-died-get", JobStatus.FAILED, "node_lost"),
        ("", JobStatus.CANCELLED, ""),
        ("series-failure", JobStatus.FAILED, "interrupted"),
    ],
)
def test_a_stop_that_nobody_asked_for_here_is_what_ray_says(
    site: Site, recording: str, status: JobStatus, cause: str
) -> None:
    job = site.submit()
    ray_id = site.started(job)
    site.ray.run(ray_id)
    play_runner(site.attempt(job), exit_=Exit(exit_code=-15, finished_at=time.time(), cancelled=True))
    site.step(3)
    assert site.job(job).status is JobStatus.RUNNING
    if recording:
        site.ray.end(ray_id, recording)
    else:
        site.ray.jobs[ray_id] = RayJob(id=ray_id, status="STOPPED")
    ended = site.until(job, lambda now: now.status.is_terminal)
    assert (ended.status, ended.failure.cause if ended.failure else "") == (status, cause)


def test_a_store_that_is_away_is_no_silence_of_the_cluster_and_no_end(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.transport = FakeTransport()
    site.limits = replace(NO_WAIT, away_s=0, gone_s=0)
    site.hire()
    first = site.submit("first")
    site.transport.error = "The store does not answer."
    site.step(5)
    assert (site.ray.posted, site.desk.silent_s()) == ([], 0.0)
    assert site.job(first).progress.stage == "waiting for the store"
    site.transport.error, site.transport.is_ready = "", False
    site.step(3)
    assert site.job(first).progress.stage == "sending the dataset to the store"
    site.transport.error = "The store does not answer."
    site.step(3)
    assert caplog.text.count("The store does not answer.") == 1, "it is tried all the time, and said once"
    site.transport.error = ""
    site.transport.is_ready = True
    ray_id = site.started(first)
    assert site.ray.posted[0].environ["LORA_TICKET"] == "http://store/ticket"
    site.ray.run(ray_id)
    play_runner(site.attempt(first), log=LOG)
    site.step(3)
    site.transport.is_seen = site.transport.is_heard = False
    site.ray.end(ray_id, "series-driver-killed")
    site.step(5)
    assert (site.job(first).status, site.job(first).alarms) == (JobStatus.RUNNING, ("store_away",))
    site.ray.jobs.clear()
    site.hire()
    site.step(5)
    assert site.job(first).status is JobStatus.RUNNING  # nobody could see a sign of life
    site.transport.is_seen = site.transport.is_heard = True
    assert site.until(first, lambda now: now.status.is_terminal).status is JobStatus.LOST


def test_what_has_not_begun_is_not_lost_with_its_head_and_is_cancelled_without_it(site: Site) -> None:
    site.limits = replace(NO_WAIT, away_s=0, gone_s=0)
    site.hire()
    job = site.submit()
    ray_id = site.started(job)
    site.ray.is_down = True
    site.step(4)
    assert site.job(job).status is JobStatus.RUNNING
    site.source.cancel_job(job.id)
    site.step(2)
    assert site.job(job).status is JobStatus.CANCELLED
    assert (site.attempt(job).path / "runner.json").exists()  # a runner that comes after all stops at once
    site.ray.is_down = False
    for _ in range(3 * LOOKS_BEFORE_STOP):
        site.ray.run(ray_id)
        site.desk._paused_until = site.desk._to_remove[ray_id].due_at = 0.0
        site.desk.tick()
    assert ray_id in site.ray.stopped


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (FileNotFoundError(2, "No such file", "x.png"), "missing_file"),
        (OSError(28, "No space left on device"), "disk_full"),
    ],
)
def test_what_cannot_be_read_here_is_said_and_not_tried_for_ever(site: Site, error: OSError, cause: str) -> None:
    site.transport = FakeTransport()
    site.transport.error = error
    site.hire()
    ended = site.until(site.submit(), lambda now: now.status.is_terminal)
    assert ended.failure is not None
    assert (ended.failure.cause, site.ray.posted) == (cause, [])
    assert ended.failure.message.startswith("What its node needs cannot be sent there: ")


def test_what_is_sent_again_has_slots_of_its_own(site: Site) -> None:
    site.transport = FakeTransport()
    site.hire()
    job = site.submit()
    site.ray.end(site.started(job), "node-died-get")
    site.step(4)
    prefix = f"cluster/{job.id}/a1"
    assert site.transport.followed[-1] == [f"{prefix}/", f"{prefix}-2/"]


def test_one_job_that_ray_cannot_take_holds_up_no_other(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = site.submit("first"), site.submit("second")
    submit = site.ray.submit

    def fails_for_first(submission: Submission) -> None:
        if first.id in submission.id:
            raise SourceUnavailable("The cluster answered with an error: trouble.")
        submit(submission)

    monkeypatch.setattr(site.ray, "submit", fails_for_first)
    site.ray.run(site.started(second))
    play_runner(site.attempt(second), log=LOG)
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
    play_runner(site.attempt(job), exit_=Exit(exit_code=1, finished_at=time.time(), cancelled=False))
    ended = site.until(job, lambda now: now.status.is_terminal)
    assert (ended.status, ended.alarms) == (JobStatus.FAILED, ()), "nobody asks the cluster for it any more"


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
