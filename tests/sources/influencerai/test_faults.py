"""Faults of the real, running API that the source must see through, on a clock of the test."""

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest

from lib.errors import ArtifactError, JobNotFound, NotSupported, SourceError
from lib.jobs.highlights import Highlights, highlights_of
from lib.jobs.job import JobStatus
from lib.jobs.query import JobQuery
from lib.settings import InfluencerSettings
from lib.sources.influencerai.client import InfluencerClient
from lib.sources.influencerai.job_index import Intervals
from lib.sources.influencerai.source import InfluencerSource
from tests.sources.influencerai.api_server import EMAIL, PASSWORD, START, ApiServer, recorded
from tests.sources.influencerai.conftest import AT_ONCE
from tests.waiting import wait_for

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
    if not is_watched:  # fewer lines than the API keeps at the end: none is missing
        log = source.read_log("a", attempt=1, offset=0).data.decode()
        assert log.splitlines() == lines
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


def test_only_the_jobs_of_the_token_s_tenant_are_shown(
    api: ApiServer, source: InfluencerSource, connect: Callable[..., InfluencerClient], caplog: pytest.LogCaptureFixture
) -> None:
    api.add_job("ours")
    for number in range(120):  # whole pages of others
        api.add_job(f"theirs{number}", tenantId="tenant_dev_2", status="running")
    api.add_job("nobodys", tenantId=None)
    page = source.list_jobs(JobQuery())
    assert ([job.id for job in page.jobs], page.total, page.incomplete) == (["nobodys", "ours"], 2, "")
    assert source.count_by_status() == {JobStatus.PENDING: 2}
    for ask in (source.get_job, source.retry_job, lambda job_id: source.read_log(job_id, attempt=1, offset=0)):
        with pytest.raises(JobNotFound):
            ask("theirs0")
    api.jobs["ours"]["tenantId"] = "tenant_dev_2"
    with pytest.raises(JobNotFound):
        source.get_job("ours")
    assert source.list_jobs(JobQuery()).total == 1

    settings = InfluencerSettings(api_url=api.url, email=EMAIL, password=PASSWORD, all_tenants=True)
    admin = InfluencerSource(InfluencerClient(settings), files=None, intervals=AT_ONCE, background=False)
    assert admin.list_jobs(JobQuery()).total == 122
    assert admin.get_job("theirs0").id == "theirs0"
    admin.close()
    for token in ("no-jwt", "a.!!!.c", "a.bnVsbA.c", "a.W10.c"):  # null, []
        api.tokens.add(token)
        anybody = InfluencerSource(connect(token=token), files=None, intervals=AT_ONCE, background=False)
        assert anybody.list_jobs(JobQuery()).total == 122
        anybody.close()
    assert "tenant_dev" not in caplog.text


def test_a_job_of_another_type_is_said_to_be_one(api: ApiServer, source: InfluencerSource) -> None:
    api.add_job("picture", type="image-generation", payload={"prompt": "a cat"})
    with pytest.raises(NotSupported, match="is of the type 'image-generation', not a LoRA training") as caught:
        source.get_job("picture")
    assert "LoRA trainings only" in caught.value.hint
    with pytest.raises(NotSupported):
        source.read_log("picture", attempt=1, offset=0)
    assert source.list_jobs(JobQuery()).total == 0


def test_a_dry_run_offers_no_file(api: ApiServer, source: InfluencerSource) -> None:
    row = recorded("jobs/13-create-dryrun-in-payload")["response"]["body"]
    api.jobs[row["id"]] = row
    (file,) = source.get_job(row["id"]).artifacts
    assert file.unavailable == "This was a dry run: nothing was trained, and the file was never written."
    with pytest.raises(ArtifactError, match="This was a dry run") as caught:
        source.locate_artifact(row["id"], file.id)
    assert caught.value.hint == ""
    assert highlights_of([file]) == Highlights()  # no card offers it


def test_a_job_s_page_has_the_names_that_no_list_was_asked_for(
    api: ApiServer, client: InfluencerClient, clock: Clock
) -> None:
    seconds = [1000.0]
    source = InfluencerSource(client, files=None, background=False, now=clock, clock=lambda: seconds[0])
    api.datasets.append({"id": "d1", "meta": {"name": "Portraits"}})
    api.configs.append({"id": "c1", "name": "Quick", "meta": {}})
    api.add_job("a", payload={"datasetId": "d1", "configId": "c1"})
    api.add_job("b", payload={"datasetId": "gone", "configId": "c1", "datasetPath": "/data/old"})
    for _ in range(5):
        seconds[0] += 3
        job = source.get_job("a")
        assert (job.dataset_name, job.config_name) == ("Portraits", "Quick")
        assert source.get_job("b").dataset_name == "old"
    assert api.count("GET /datasets/") == 2
    assert api.count("GET /lora-configs/") == 1

    # A list reads all names at first, and again soon after a job refers to one that is new.
    assert source.list_jobs(JobQuery(search="portraits")).total == 1
    api.datasets.append({"id": "d2", "meta": {"name": "Landscapes"}})
    api.add_job("c", payload={"datasetId": "d2", "configId": "c1"})
    before = api.count(r"GET /datasets\?")
    for _ in range(60):
        seconds[0] += 2
        clock.wait(2)
        found = source.list_jobs(JobQuery(search="landscapes")).total
        if found:
            break
    assert found == 1
    assert seconds[0] - 1015 <= 20
    for _ in range(60):  # the name that nobody has is not asked for again and again
        seconds[0] += 2
        source.list_jobs(JobQuery())
    assert api.count(r"GET /datasets\?") == before + 1
    source.close()


def test_a_new_job_of_a_colleague_is_in_the_next_look(api: ApiServer, connect: Callable[..., InfluencerClient]) -> None:
    """While nothing is active, the page looks every 10 s and later every minute, when the thread has ended."""
    seconds = [1000.0]
    for number in range(3):
        api.add_job(f"old{number}", status="succeeded")
    at = START + timedelta(hours=1)
    source = InfluencerSource(
        connect(),
        files=None,
        now=lambda: at + timedelta(seconds=seconds[0]),
        clock=lambda: seconds[0],
        intervals=Intervals(interval_s=0.01, newest_s=0.01),
    )
    assert source.list_jobs(JobQuery()).total == 3
    for pause_s in (10, 60, 3600):
        job = api.add_job()
        seconds[0] += pause_s
        if pause_s == 10:  # the thread goes on reading
            wait_for(lambda job=job: source.list_jobs(JobQuery()).jobs[0].id == job["id"], "the job is not found")
        else:  # the thread has ended, because nobody looked
            thread = source._index._thread
            assert thread is not None
            thread.join(20)
            assert source.list_jobs(JobQuery()).jobs[0].id == job["id"]
    source.close()


def test_the_first_walk_is_complete_at_once_and_nothing_waits_for_it(
    api: ApiServer, connect: Callable[..., InfluencerClient]
) -> None:
    for _ in range(250):
        api.add_job(status="succeeded")
    api.trouble(r"GET /(datasets|lora-configs)", "500")  # not every token may read them
    source = InfluencerSource(connect(), files=None)
    began = time.monotonic()
    page = source.list_jobs(JobQuery())
    while page.incomplete and time.monotonic() - began < 20:
        time.sleep(0.01)
        page = source.list_jobs(JobQuery())
    asked = [path for _, path in api.requests if path.startswith(("/jobs", "/datasets", "/lora"))]
    assert (page.total, page.incomplete) == (250, "")
    assert [path.split("skip=")[1] for path in asked[:3]] == ["0", "95", "190"]  # each page once, and first
    assert time.monotonic() - began < 2
    source.close()


@pytest.mark.parametrize(
    ("address", "words", "hint"),
    [
        ("{url}/v2", "Cannot POST /v2/auth/login", "nothing of the API answers at this address"),
        ("https://{host}", "does not speak https", "have to begin with http://?"),
        ("{url}/as-html", "refused the request: status 405", "nothing of the API answers at this address"),
        (
            "{url}/as-store",
            "an object store answers, not the InfluencerAI API (status 403)",
            "belongs into S3_ENDPOINT",
        ),
    ],
)
def test_a_wrong_address_is_told_from_an_outage(api: ApiServer, address: str, words: str, hint: str) -> None:
    api.trouble("POST /as-html/", "405")
    api.trouble("/as-store/", "store")
    url = address.format(url=api.url, host=api.url.removeprefix("http://"))
    client = InfluencerClient(InfluencerSettings(api_url=url, email=EMAIL, password=PASSWORD))
    source = InfluencerSource(client, files=None, intervals=AT_ONCE, background=False)
    for ask in (lambda: source.list_jobs(JobQuery()), lambda: source.get_job("a")):
        with pytest.raises(SourceError) as caught:
            ask()
        assert not isinstance(caught.value, JobNotFound)
        assert words in str(caught.value)
        assert hint in caught.value.hint
    assert "certificate" not in str(caught.value)
    source.close()
