"""When a job is looked at again, and when no more."""

from datetime import UTC, datetime, timedelta

import pytest

from lib.jobs.job import Artifact, Job, JobStatus, PresignedUrl
from lib.ui.monitor.poll_interval import Watch, is_silent, next_watch, poll_interval_ms

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
FROZEN = Artifact(id="a", name="a", frozen_link=PresignedUrl(url="https://s", expires_at=NOW))
CONFIRMED = Watch(ended_reads=2)


def make_job(status: JobStatus, **values: object) -> Job:
    return Job(id="j", name="j", status=status, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("job", "watch", "interval_ms"),
    [
        (make_job(JobStatus.PENDING), Watch(), 2_000),
        (make_job(JobStatus.RUNNING), CONFIRMED, 2_000),
        (make_job(JobStatus.SUCCEEDED), Watch(ended_reads=1), 2_000),
        (make_job(JobStatus.SUCCEEDED), CONFIRMED, None),
        (make_job(JobStatus.CANCELLED), CONFIRMED, None),
        (make_job(JobStatus.LOST), CONFIRMED, None),
        (make_job(JobStatus.SUCCEEDED, artifacts=(FROZEN,)), CONFIRMED, 60_000),
        (make_job(JobStatus.FAILED, finished_at=NOW - timedelta(seconds=19)), CONFIRMED, 2_000),
        (make_job(JobStatus.FAILED, finished_at=NOW - timedelta(seconds=21)), CONFIRMED, 60_000),
        (make_job(JobStatus.FAILED, finished_at=NOW - timedelta(minutes=2)), CONFIRMED, 60_000),
        (make_job(JobStatus.FAILED, finished_at=NOW - timedelta(minutes=12)), CONFIRMED, None),
        (make_job(JobStatus.FAILED, finished_at=NOW - timedelta(minutes=2), runs_again_until=NOW), CONFIRMED, 10_000),
        (make_job(JobStatus.LOST, runs_again_until=NOW - timedelta(seconds=9)), CONFIRMED, 10_000),
        (make_job(JobStatus.LOST, runs_again_until=NOW - timedelta(seconds=11)), CONFIRMED, None),
        (make_job(JobStatus.UNKNOWN), Watch(), 60_000),
    ],
)
def test_how_soon_a_job_is_looked_at_again(job: Job, watch: Watch, interval_ms: int | None) -> None:
    assert poll_interval_ms(job, watch, NOW) == interval_ms


def test_an_end_is_confirmed_by_a_second_read_not_by_the_same_one() -> None:
    ended, watch = make_job(JobStatus.SUCCEEDED), Watch()
    for seconds, confirmed in ((0, False), (0.5, False), (2.0, True)):
        watch = next_watch(watch, ended, NOW + timedelta(seconds=seconds))
        assert watch.is_confirmed is confirmed


def test_a_clock_set_back_hides_no_end() -> None:
    ended, watch = make_job(JobStatus.SUCCEEDED), Watch()
    for minutes in (0, -60):
        watch = next_watch(watch, ended, NOW + timedelta(minutes=minutes))
    assert watch.is_confirmed


def test_an_end_that_is_taken_back_counts_for_nothing() -> None:
    watch = Watch()
    for seconds, status in ((0, JobStatus.SUCCEEDED), (2, JobStatus.RUNNING), (4, JobStatus.SUCCEEDED)):
        watch = next_watch(watch, make_job(status), NOW + timedelta(seconds=seconds))
    assert not watch.is_confirmed


def test_only_a_running_job_can_be_silent() -> None:
    long_ago = NOW - timedelta(minutes=10)
    assert is_silent(make_job(JobStatus.RUNNING, last_output_at=long_ago), NOW)
    assert is_silent(make_job(JobStatus.RUNNING, started_at=long_ago), NOW)
    assert not is_silent(make_job(JobStatus.RUNNING, last_output_at=NOW), NOW)
    assert not is_silent(make_job(JobStatus.FAILED, last_output_at=long_ago), NOW)
    assert not is_silent(make_job(JobStatus.RUNNING), NOW)
