"""The job index against a real server: everything is found, nothing is asked too often, nothing stale is passed off."""

import gc
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from lib.errors import BadPayload, SourceUnavailable
from lib.jobs.job import JobStatus
from lib.jobs.query import JobQuery, SortBy
from lib.sources.influencerai.client import InfluencerClient
from lib.sources.influencerai.job_index import Intervals, JobIndex
from lib.sources.influencerai.source import InfluencerSource
from tests.sources.influencerai.api_server import START, ApiServer, iso
from tests.sources.influencerai.conftest import AT_ONCE, IMPATIENT, PATIENT

LIST = r"GET /jobs\?"
NEWEST = r"GET /jobs\?type=lora-training&take=\d+&skip=0$"


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return START + timedelta(days=1, seconds=self.seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def paced(client: InfluencerClient, clock: Clock) -> Iterator[InfluencerSource]:
    """The real pace on a clock of the test, without threads: a look reads what is due."""
    opened = InfluencerSource(client, files=None, background=False, now=clock.now, clock=clock)
    yield opened
    opened.close()


def index_of(source: InfluencerSource) -> JobIndex:
    return source._index


def test_all_jobs_are_found_sorted_and_searched(api: ApiServer, source: InfluencerSource) -> None:
    for number in range(250):
        api.add_job(payload={"trainingName": f"Name {number % 50:02d}", "datasetId": "cmwtedhsk000d9n7dpxohdhqz"})
    api.add_job(type="image-generation")
    page = source.list_jobs(JobQuery(take=100, skip=200))
    assert (page.total, len(page.jobs), page.incomplete) == (250, 50, "")
    names = [job.name for job in source.list_jobs(JobQuery(sort_by=SortBy.NAME, descending=False, take=6)).jobs]
    assert names == ["Name 00"] * 5 + ["Name 01"]
    assert source.list_jobs(JobQuery(search="name 07")).total == 5
    assert source.list_jobs(JobQuery(search="aria")).total == 250  # the dataset's name
    assert source.count_by_status() == {JobStatus.PENDING: 250}
    assert all(job.payload == {} for job in page.jobs)


def test_rows_that_cannot_be_understood_are_counted(api: ApiServer, source: InfluencerSource) -> None:
    api.add_job("good")
    api.jobs["bad"] = {"type": "lora-training", "id": None}
    page = source.list_jobs(JobQuery())
    assert [job.id for job in page.jobs] == ["good"]
    assert page.skipped_rows == 1


def test_ties_and_moving_rows_are_met_once(api: ApiServer, source: InfluencerSource) -> None:
    for _ in range(230):
        api.add_job(createdAt=iso(START))
    assert source.list_jobs(JobQuery()).total == 230
    for number in range(1, 4):
        del api.jobs[f"job_{number:05d}"]
    api.add_job("newest")
    found = source.list_jobs(JobQuery(take=1))
    assert (found.jobs[0].id, found.total >= 228) == ("newest", True)
    assert source.list_jobs(JobQuery()).total == 228


def test_vanished_jobs_are_noticed_and_ended_ones_are_asked_for(api: ApiServer, source: InfluencerSource) -> None:
    for number in range(120):
        api.add_job(f"old{number}")
    api.patch("old0", "running", at=START + timedelta(minutes=5))
    assert source.list_jobs(JobQuery(statuses=frozenset({JobStatus.RUNNING}))).total == 1
    del api.jobs["old1"]
    api.patch("old0", "failed", {"message": "x"}, at=START + timedelta(minutes=6))
    for _ in range(3):
        source.list_jobs(JobQuery())
    assert source.list_jobs(JobQuery()).total == 119
    assert source.count_by_status() == {JobStatus.PENDING: 118, JobStatus.FAILED: 1}


def test_a_flicker_does_not_show_in_lists(api: ApiServer, source: InfluencerSource) -> None:
    api.add_job("a")
    ended = api.now()
    api.patch("a", "succeeded", at=ended)
    assert source.list_jobs(JobQuery()).jobs[0].status is JobStatus.SUCCEEDED
    api.patch("a", "running", at=ended + timedelta(seconds=0.1))
    assert source.list_jobs(JobQuery()).jobs[0].status is JobStatus.SUCCEEDED


def test_steady_state_is_one_request_per_interval(api: ApiServer, paced: InfluencerSource, clock: Clock) -> None:
    for _ in range(150):
        api.add_job()
    api.patch("job_00001", "running", at=START + timedelta(minutes=5))
    paced.list_jobs(JobQuery())
    before = len(api.requests)
    index, waited_s = index_of(paced), 0.0
    while waited_s < 200:
        delay_s = index.step()
        assert delay_s >= 0.01
        clock.seconds += delay_s
        waited_s += delay_s
    steady = len(api.requests) - before
    assert 50 <= steady <= 200 / 2 + 3
    statuses = [path for _, path in api.requests[before:] if "status=" in path]
    assert len(statuses) >= 20


def test_fifty_viewers_share_the_reading(api: ApiServer, connect: Callable[..., InfluencerClient]) -> None:
    for _ in range(30):
        api.add_job()
    api.patch("job_00030", "running", at=START)
    intervals = Intervals(interval_s=600, newest_s=600, active_s=600, names_s=600)  # one interval is all this test sees
    source = InfluencerSource(connect(), files=None, intervals=intervals)
    start, totals = threading.Barrier(50), []

    def look() -> None:
        start.wait()
        for _ in range(5):
            totals.append(source.list_jobs(JobQuery()).total)
            totals.append(len(source.get_job("job_00030").id) + 21)

    threads = [threading.Thread(target=look) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    source.close()
    assert totals == [30] * 500
    assert api.count("GET /jobs/job_00030") == 1
    assert api.count(LIST) <= 2


def test_a_source_that_is_down_is_no_empty_list(api: ApiServer, source: InfluencerSource) -> None:
    api.stop()
    with pytest.raises(SourceUnavailable):
        source.list_jobs(JobQuery())
    with pytest.raises(SourceUnavailable):
        source.count_by_status()
    api.start()
    assert source.list_jobs(JobQuery()).total == 0


def test_fifty_viewers_of_a_dead_api_make_one_call(api: ApiServer, connect: Callable[..., InfluencerClient]) -> None:
    api.tokens.add("given-token")
    source = InfluencerSource(connect(replace(IMPATIENT, retries=0), token="given-token"), files=None)
    trouble = api.trouble("GET /jobs", "hang")
    errors: list[str] = []

    def look() -> None:
        try:
            source.get_job("a")
        except SourceUnavailable as error:
            errors.append(str(error))

    threads = [threading.Thread(target=look) for _ in range(50)]
    for thread in threads:
        thread.start()
    assert trouble.happened.wait(20)
    for thread in threads:
        thread.join()
    source.close()
    assert len(errors) == 50
    assert api.count("GET /jobs/a") <= 3  # one, unless a straggler starts when the shared answer has aged


def test_stale_data_is_said_to_be_stale(api: ApiServer, paced: InfluencerSource, clock: Clock) -> None:
    api.add_job()
    assert paced.list_jobs(JobQuery()).incomplete == ""
    api.trouble("GET", "500")
    shown = clock.now()
    clock.seconds += 45
    page = paced.list_jobs(JobQuery())
    assert page.total == 1
    assert "failed with status 500: Internal server error" in page.incomplete
    assert page.incomplete.endswith(f"; shown is the state of {shown:%H:%M} UTC, 45 s ago.")
    api.calm()
    clock.seconds += 5
    assert paced.list_jobs(JobQuery()).incomplete == ""


def test_a_failing_list_is_not_hidden_by_others_that_answer(
    api: ApiServer, paced: InfluencerSource, clock: Clock
) -> None:
    for _ in range(110):
        api.add_job()
    assert paced.list_jobs(JobQuery()).incomplete == ""
    shown = clock.now()
    api.trouble(NEWEST, "500")
    for _ in range(10):
        clock.seconds += 4
        page = paced.list_jobs(JobQuery(take=1))
    assert page.incomplete.endswith(
        f"failed with status 500: Internal server error; shown is the state of {shown:%H:%M} UTC, 40 s ago."
    )
    api.calm()
    api.trouble(r"status=pending", "500")
    for _ in range(4):
        clock.seconds += 4
        page = paced.list_jobs(JobQuery(take=1))
    assert page.incomplete.startswith("Older pending jobs are not up to date: The InfluencerAI API at ")
    api.calm()
    clock.seconds += 4
    assert paced.list_jobs(JobQuery(take=1)).incomplete == ""


def test_a_page_that_is_too_slow_gets_smaller_and_later_grows_again(
    api: ApiServer, paced: InfluencerSource, clock: Clock
) -> None:
    for _ in range(110):
        api.add_job()
    paced.list_jobs(JobQuery())
    api.trouble(NEWEST.replace(r"\d+", "100"), "504")  # what a gateway says of an answer that takes too long
    clock.seconds += 45
    assert paced.list_jobs(JobQuery()).incomplete
    clock.seconds += 5
    assert paced.list_jobs(JobQuery()).incomplete == ""
    assert api.count(NEWEST.replace(r"\d+", "50")) == 1
    api.calm()
    before = api.count(NEWEST.replace(r"\d+", "100"))
    for _ in range(8):
        clock.seconds += 5
        paced.list_jobs(JobQuery())
    assert api.count(NEWEST.replace(r"\d+", "100")) > before


def test_all_running_jobs_are_refreshed_not_only_a_first_page(
    api: ApiServer, paced: InfluencerSource, clock: Clock
) -> None:
    for _ in range(150):
        api.add_job(status="running")
    for _ in range(120):
        api.add_job()
    assert paced.count_by_status() == {JobStatus.RUNNING: 150, JobStatus.PENDING: 120}
    clock.seconds += 5
    paced.list_jobs(JobQuery())
    api.patch("job_00001", "running", {"progress": {"percent": 40}}, at=clock.now())
    api.patch("job_00002", "failed", {"message": "x"}, at=clock.now())
    for _ in range(6):
        clock.seconds += 5
        paced.list_jobs(JobQuery())
    jobs = {job.id: job for job in paced._rows.all()}
    assert jobs["job_00001"].progress.fraction == 0.4
    assert jobs["job_00002"].status is JobStatus.FAILED
    assert api.count("GET /jobs/") <= 1  # whoever is on the second page is not asked for one by one


def test_a_job_that_cannot_be_read_does_not_stop_the_checks(
    api: ApiServer, paced: InfluencerSource, clock: Clock
) -> None:
    for number in range(3):
        api.add_job(f"running{number}", status="running")
    for _ in range(100):
        api.add_job()
    paced.list_jobs(JobQuery())
    for number in range(3):
        api.patch(f"running{number}", "failed", {"message": "x"}, at=clock.now())
    api.trouble("GET /jobs/running[01]", "html")
    for _ in range(25):
        clock.seconds += 4
        paced.list_jobs(JobQuery())
    assert paced.count_by_status()[JobStatus.FAILED] == 1
    assert api.count("GET /jobs/running[01]") == 2
    assert paced.list_jobs(JobQuery()).incomplete == ""


def test_what_is_still_missing_is_said_while_the_first_walk_runs(
    api: ApiServer, connect: Callable[..., InfluencerClient]
) -> None:
    for _ in range(250):
        api.add_job()
    walking = api.trouble(r"skip=95", "slow", times=1)
    source = InfluencerSource(connect(), files=None)
    assert "100 jobs are read so far" in source.list_jobs(JobQuery()).incomplete
    assert walking.happened.wait(20)
    assert sum(source.count_by_status().values()) == source.list_jobs(JobQuery()).total == 100
    assert source.list_jobs(JobQuery(take=1)).incomplete  # what the counts of the overview are shown with
    walking.release.set()
    index = index_of(source)
    with index._turn:
        assert index._turn.wait_for(lambda: source._index._is_whole, 20)
    page = source.list_jobs(JobQuery())
    assert (page.total, page.incomplete) == (250, "")
    source.close()
    assert not [each for each in threading.enumerate() if each.name == "influencerai-index"]


def test_the_thread_ends_when_nobody_looks(api: ApiServer, connect: Callable[..., InfluencerClient]) -> None:
    api.add_job()
    source = InfluencerSource(connect(), files=None, intervals=Intervals(interval_s=0.01, watched_s=0.02))
    source.list_jobs(JobQuery())
    thread = index_of(source)._thread
    assert thread is not None
    thread.join(20)
    assert not thread.is_alive()
    api.add_job("later")
    assert source.list_jobs(JobQuery()).total >= 1
    source.close()


def test_rows_of_a_megabyte_are_read_in_smaller_pages(api: ApiServer, connect: Callable[..., InfluencerClient]) -> None:
    for _ in range(12):
        api.add_job(status="succeeded", result={"log": "x" * (1 << 20)})
    for _ in range(100):
        api.add_job()
    source = InfluencerSource(
        connect(replace(PATIENT, list_bytes=4 << 20)), files=None, intervals=AT_ONCE, background=False
    )
    page = source.list_jobs(JobQuery())
    assert (page.total, page.incomplete) == (112, "")
    source.close()


def test_what_is_remembered_of_a_row_is_small(api: ApiServer, source: InfluencerSource) -> None:
    for number in range(8):
        result = {"blob": "x" * 1_000_000, "stack": "y" * 100_000, "progress": {"percent": number, "logs": ["z"]}}
        api.add_job(status="running", result=result)
    tracemalloc.start()
    try:
        shown = source.list_jobs(JobQuery()).jobs
        jobs = [source.get_job(job.id) for job in shown]
        gc.collect()
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (len(shown), len(jobs), jobs[0].payload["id"]) == (8, 8, jobs[0].id)
    assert kept_bytes < 2_000_000


def test_something_else_than_a_list_is_an_error(api: ApiServer, source: InfluencerSource) -> None:
    api.trouble(LIST, "html")
    with pytest.raises(BadPayload):
        source.list_jobs(JobQuery())
