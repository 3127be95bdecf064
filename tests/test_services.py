"""Shared reads: one call for many viewers, nothing stale once a job has ended, and "Retry" asks again at once."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from lib import services
from lib.errors import DashboardError, SourceUnavailable
from lib.jobs.highlights import Highlights
from lib.jobs.job import Artifact, ArtifactKind, Job, JobStatus, LossPoint
from lib.jobs.query import JobQuery
from lib.settings import InfluencerSettings
from lib.sources.influencerai.client import InfluencerClient
from lib.sources.influencerai.source import InfluencerSource
from lib.sources.memory import MemorySource
from tests.sources.influencerai.api_server import EMAIL, PASSWORD, ApiServer, api_server


@pytest.fixture
def job(source: MemorySource) -> Job:
    """A running job of the connected source."""
    source.add(Job(id="j1", name="one", status=JobStatus.RUNNING, attempt=1))
    return source.jobs["j1"]


def test_many_viewers_make_one_read(source: MemorySource, job: Job) -> None:
    for _viewer in range(50):
        services.latest_job("j1")
        services.latest_log("j1", 1)
        services.latest_artifacts(job)
    assert [source.calls[each] for each in ("get_job", "read_log", "artifacts")] == [1, 1, 1]


def test_the_last_losses_of_a_run_are_drawn_when_it_has_just_ended(source: MemorySource, job: Job) -> None:
    source.losses["j1", 1] = [LossPoint(step=1, loss=0.5)]
    assert services.latest_loss("j1", 1, is_over=False).value.raw.line[-1].step == 1
    source.losses["j1", 1].append(LossPoint(step=2, loss=0.25))
    assert services.latest_loss("j1", 1, is_over=True).value.raw.line[-1].step == 2


def test_the_files_of_cards_are_read_once_for_all_viewers_and_again_when_a_job_has_ended(
    source: MemorySource, job: Job
) -> None:
    assert services.highlights([]) == {}
    for _viewer in range(50):
        assert services.highlights([job]) == {"j1": Highlights()}
    assert source.calls["artifacts"] == 1
    sample = Artifact(id="1/a.png", name="a.png", kind=ArtifactKind.SAMPLE)
    ended = replace(job, status=JobStatus.SUCCEEDED, artifacts=(sample,))
    source.add(ended)
    services.forget_reads()
    assert services.highlights([ended, replace(ended, id="gone")]) == {"j1": Highlights(sample=sample)}


def test_a_change_is_seen_at_once(source: MemorySource, job: Job) -> None:
    assert services.latest_job("j1").value.status is JobStatus.RUNNING
    services.act(lambda source: source.cancel_job("j1"))
    assert services.latest_job("j1").value.status is JobStatus.CANCELLED


def test_a_change_that_failed_forgets_what_was_read_as_well(source: MemorySource, job: Job) -> None:
    services.latest_job("j1")
    with pytest.raises(DashboardError):
        services.act(lambda source: source.move_job("j1", 1))
    services.latest_job("j1")
    assert source.calls["get_job"] == 2


def test_a_log_goes_on_where_it_was_read_to_while_the_source_was_down(source: MemorySource, job: Job) -> None:
    source.logs["j1", 1] = b"one\n"
    assert services.latest_log("j1", 1).value.lines == ("one",)
    source.failing = SourceUnavailable("down")
    services.forget_reads()
    reading = services.latest_log("j1", 1)
    assert (reading.value.lines, str(reading.problem)) == (("one",), "down")
    source.failing = None
    source.logs["j1", 1] += b"two\n"
    services.forget_reads()
    assert services.latest_log("j1", 1).value.lines == ("one", "two")


@pytest.fixture
def api() -> Iterator[ApiServer]:
    """A deployment that answers nothing but errors; the clock of the source in front of it stands still."""
    with api_server() as running:
        running.add_job("a")
        settings = InfluencerSettings(api_url=running.url, email=EMAIL, password=PASSWORD)
        source = InfluencerSource(InfluencerClient(settings), files=None, background=False, clock=lambda: 1000.0)
        services.connect(source)
        running.trouble("GET /(jobs|datasets|lora-configs)", "html")
        yield running
        services.connect(None)
        source.close()


@pytest.mark.parametrize(
    "read",
    [
        lambda: services.latest_jobs(JobQuery()),
        lambda: services.latest_job("a"),
        services.list_datasets,
        services.list_configs,
        lambda: services.outcomes("24h"),
    ],
    ids=["jobs", "job", "datasets", "configurations", "outcomes"],
)
def test_retry_asks_the_api_at_once_after_a_failure(api: ApiServer, read: Callable[[], object]) -> None:
    for _viewer in range(3):
        with pytest.raises(DashboardError):
            read()
    asked = len(api.requests)
    api.calm()
    services.forget_reads()
    assert read()
    assert len(api.requests) > asked
