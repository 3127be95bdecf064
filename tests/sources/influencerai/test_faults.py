"""Faults of the real, running API that the source must see through, on a clock of the test."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest

from lib.jobs.job import JobStatus
from lib.jobs.query import JobQuery
from lib.sources.influencerai.client import InfluencerClient
from lib.sources.influencerai.source import InfluencerSource
from tests.sources.influencerai.api_server import START, ApiServer
from tests.sources.influencerai.conftest import AT_ONCE

RAN_AGAIN = "The deployment may run it again by itself"


class Clock:
    """One clock for the API and the dashboard; it stands still until it is moved."""

    def __init__(self) -> None:
        self.time = START + timedelta(hours=1)

    def __call__(self) -> datetime:
        return self.time

    def wait(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@pytest.fixture
def clock(api: ApiServer) -> Clock:
    clock = Clock()
    api.now = clock
    return clock


@pytest.fixture
def source(client: InfluencerClient, clock: Clock) -> Iterator[InfluencerSource]:
    opened = InfluencerSource(client, files=None, intervals=AT_ONCE, background=False, now=clock)
    yield opened
    opened.close()


def bar(step: int, total: int = 2000) -> str:
    """What sd-scripts prints after a step of 2 s."""
    return (
        f"steps: {100 * step // total:3d}%|##| {step}/{total} "
        f"[00:{step % 60:02d}<01:00, 2.00s/it, avr_loss=0.{step % 10}]"
    )


def train(api: ApiServer, steps: range, total: int = 2000, stage: str = "running") -> None:
    """The worker's next write: the last 20 lines of its log."""
    lines = [bar(step, total) for step in steps][-20:]
    api.patch("a", "running", {"progress": {"stage": stage, "logs": lines}})


def test_a_second_visit_shows_no_start_and_no_pace_that_nobody_saw(
    api: ApiServer, source: InfluencerSource, clock: Clock
) -> None:
    api.add_job("a")
    created_at = source.get_job("a").created_at
    clock.wait(3600)  # the page was left
    train(api, range(1, 501))
    job = source.get_job("a")
    assert (job.started_at, job.duration_note) == (created_at, "including time in the queue")
    assert job.progress.seconds_per_step == 2.0  # as the trainer prints it
    assert job.progress.eta_s is None
    for done in range(505, 530, 5):
        clock.wait(10)
        train(api, range(1, done + 1))
        job = source.get_job("a")
    assert job.progress.seconds_per_step == pytest.approx(2.0)
    assert job.progress.eta_s == pytest.approx((2000 - 525) * 2.0, rel=0.1)


def test_a_list_read_long_ago_knows_no_start_either(api: ApiServer, source: InfluencerSource, clock: Clock) -> None:
    api.add_job("a")
    source.list_jobs(JobQuery())
    clock.wait(3600)
    train(api, range(1, 501))
    assert source.list_jobs(JobQuery()).jobs[0].duration_note == "including time in the queue"
    api.add_job("b")
    source.list_jobs(JobQuery())
    clock.wait(4)
    api.patch("b", "running", {"progress": {"stage": "running", "logs": []}})
    (begun,) = (job for job in source.list_jobs(JobQuery()).jobs if job.id == "b")
    assert (begun.started_at, begun.duration_note) == (clock(), "")


def test_a_gap_in_the_log_is_no_burst_of_speed(api: ApiServer, source: InfluencerSource, clock: Clock) -> None:
    api.add_job("a")
    source.get_job("a")
    train(api, range(1, 11))
    source.get_job("a")
    clock.wait(2 * 990)  # another page was looked at
    train(api, range(1, 1001))
    assert source.get_job("a").progress.seconds_per_step == pytest.approx(2.0)


def stuck_job(api: ApiServer, source: InfluencerSource, clock: Clock) -> datetime:
    """A job whose last writes crossed: running for ever, though it has ended. Returns its end."""
    api.add_job("a")
    source.get_job("a")
    train(api, range(1, 2001))
    source.get_job("a")
    api.patch("a", "succeeded", {"artifacts": [{"key": "lora-training/a/aria.safetensors"}]})
    ended_at = clock()
    clock.wait(0.1)
    train(api, range(1, 2001), stage="uploading")  # the same write once more, late
    return ended_at


def test_running_for_ever_with_an_end_is_ended_and_unfinished(
    api: ApiServer, source: InfluencerSource, clock: Clock
) -> None:
    ended_at = stuck_job(api, source, clock)
    clock.wait(30)
    assert source.get_job("a").status is JobStatus.RUNNING  # nobody saw its end: it may still come
    clock.wait(31)
    job = source.get_job("a")
    assert (job.status, job.finished_at, job.raw_status) == (JobStatus.LOST, ended_at, "running")
    for failure in (job.failure, job.attempts[-1].failure):
        assert failure is not None
        assert "ended and also that it is still running" in failure.message
        assert "S3_BUCKET" in failure.hint
    assert job.progress.eta_s is None
    assert job.runs_again_until is not None  # the page goes on looking, slowly
    (listed,) = source.list_jobs(JobQuery()).jobs
    assert listed.status is JobStatus.LOST
    assert source.retry_job("a").id != "a"
    api.patch("a", "succeeded", {})  # somebody mends the row
    assert source.get_job("a").status is JobStatus.SUCCEEDED


@pytest.mark.parametrize("is_watched", [True, False])
def test_the_last_lines_count_at_the_end(
    api: ApiServer, source: InfluencerSource, clock: Clock, is_watched: bool
) -> None:
    lines = [
        f"steps: {step * 100 // 40}%|#| {step}/40 [00:01<00:01, 1.00s/it, avr_loss=0.11{step:02d}]"
        for step in range(41)
    ]
    api.add_job("a")
    if is_watched:
        source.get_job("a")
        api.patch(
            "a", "running", {"progress": {"stage": "running", "step": 33, "totalSteps": 40, "logs": lines[14:34]}}
        )
        assert source.get_job("a").progress.step == 33
        clock.wait(2)
    api.patch("a", "succeeded", {"progress": {"stage": "completed", "percent": 100, "logs": lines[-200:]}})
    source.get_job("a")
    clock.wait(2)
    job = source.get_job("a")
    done = job.progress
    assert (job.status, done.step, done.total_steps, done.loss, done.fraction) == (
        JobStatus.SUCCEEDED,
        40,
        40,
        0.1140,
        1.0,
    )
    assert (done.stage, done.eta_s) == ("finished", None)
    assert job.attempts[-1].progress == done
    assert source.loss_points("a", attempt=1)[-1].step == 40
    (listed,) = source.list_jobs(JobQuery()).jobs
    assert (listed.progress.step, listed.progress.loss) == (40, 0.1140)


def test_a_failed_job_that_may_run_again_says_so(api: ApiServer, source: InfluencerSource, clock: Clock) -> None:
    api.add_job("a")
    api.patch("a", "running", {"progress": {"stage": "initializing"}})
    source.get_job("a")
    for attempt in (1, 2):
        api.patch("a", "failed", {"message": "kohya_ss exited with code 1"})
        source.get_job("a")
        clock.wait(45)  # its next attempt waits behind other jobs
        job = source.get_job("a")
        assert job.runs_again_until == clock() + timedelta(minutes=10, seconds=-45)
        for failure in (job.failure, job.attempts[-1].failure):
            assert failure is not None
            assert failure.hint.startswith(RAN_AGAIN)
        api.patch("a", "running", {"progress": {"stage": "initializing"}})
        assert source.get_job("a").attempt == attempt + 1
        assert RAN_AGAIN not in str(source.get_job("a").attempts[attempt - 1].failure)
    api.patch("a", "failed", {"message": "kohya_ss exited with code 1"})
    source.get_job("a")
    clock.wait(10)
    last = source.get_job("a")
    assert (last.attempt, last.runs_again_until) == (3, None)
    assert RAN_AGAIN not in str(last.failure)


def test_a_failure_that_was_not_tried_again_ends_for_good(
    api: ApiServer, source: InfluencerSource, clock: Clock
) -> None:
    api.add_job("a")
    api.patch("a", "failed", {"message": "x"})
    clock.wait(601)
    assert RAN_AGAIN not in str(source.get_job("a").failure)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ("no space left on the worker", "no space left on the worker."),
        ("Error: spawn accelerate ENOENT\n    at ChildProcess", "Error: spawn accelerate ENOENT."),
        ({"error": {"message": "queue is gone"}}, "queue is gone."),
    ],
)
def test_whatever_says_why_is_the_reason(
    api: ApiServer, source: InfluencerSource, clock: Clock, result: object, message: str
) -> None:
    api.add_job("a")
    api.patch("a", "failed", result)
    clock.wait(60)
    failure = source.get_job("a").failure
    assert failure is not None
    assert failure.message == message
    if isinstance(result, str) and "\n" in result:
        assert failure.traceback == result
    (listed,) = source.list_jobs(JobQuery()).jobs
    assert listed.failure is not None
    assert listed.failure.message == message


def test_a_failure_nobody_opened_has_its_reason_in_the_list(
    api: ApiServer, source: InfluencerSource, connect: Callable[..., InfluencerClient]
) -> None:
    api.add_job("a")
    api.patch("a", "failed", {"message": "kohya_ss exited with code 1"}, at=START)
    (listed,) = source.list_jobs(JobQuery()).jobs
    assert listed.failure is not None
    assert listed.failure.message == "kohya_ss exited with code 1."
