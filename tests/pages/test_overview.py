"""The overview in each of its states."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

from streamlit.testing.v1 import AppTest

from lib import services
from lib.errors import SourceUnavailable
from lib.jobs.job import Failure, Job, JobStatus, Progress
from lib.jobs.query import JobPage, JobQuery
from lib.sources.memory import MemorySource
from lib.sources.protocol import OutcomeBucket
from tests.making import NOW
from tests.pages.reading import labels, texts

OpenPage = Callable[..., AppTest]


def fill(source: MemorySource) -> None:
    """One job that runs, one that waits, one that succeeded and one that failed an hour ago."""
    hour_ago = NOW - timedelta(hours=1)
    source.add(
        Job(id="r", name="Runs", status=JobStatus.RUNNING, progress=Progress(fraction=0.42, loss=0.08)),
        Job(id="p", name="Waits", status=JobStatus.PENDING),
        Job(id="s", name="Succeeded", status=JobStatus.SUCCEEDED, finished_at=hour_ago),
        Job(
            id="f",
            name="**Failed**",
            status=JobStatus.FAILED,
            finished_at=hour_ago,
            failure=Failure(cause="out_of_memory", message="The GPU ran out of memory."),
        ),
    )


def test_a_busy_overview(source: MemorySource, open_page: OpenPage) -> None:
    fill(source)
    app = open_page("overview")
    assert not app.exception
    assert [each.value for each in app.header] == ["Active jobs", "Outcomes", "Recent failures", "Health"]
    said, offered = texts(app), labels(app)
    assert {"**1** Running", "**1** Pending", "**1** Failed", "New Training Job", "All failed jobs"} <= set(offered)
    assert "\\*\\*Failed\\*\\*" in offered
    assert "The GPU ran out of memory" in said
    assert "1 succeeded and 1 failed or lost in the last 24 hours." in said
    assert "**Source**" in said
    assert "Waiting to start" in said
    assert len(app.get("component_instance")) == 1


def test_an_empty_installation_is_greeted_with_three_steps(source: MemorySource, open_page: OpenPage) -> None:
    app = open_page("overview")
    assert "Train your first LoRA" in texts(app)
    assert {"1. Upload a dataset", "2. Choose a configuration", "3. Start the training"} <= set(labels(app))
    assert not app.get("component_instance")


def test_a_source_that_is_down_is_no_empty_installation(source: MemorySource, open_page: OpenPage) -> None:
    source.failing = SourceUnavailable("No answer from the source.")
    app = open_page("overview")
    assert not app.exception
    assert "Train your first LoRA" not in texts(app)
    assert [each.value for each in app.header] == ["Active jobs", "Outcomes", "Recent failures", "Health"]
    assert "No answer from the source" in app.error[0].value
    assert app.get("component_instance")
    # "Retry" in one panel, or the next tick, draws the whole page again.
    source.failing = None
    source.add(Job(id="r", name="Runs", status=JobStatus.RUNNING))
    app.button(key="retry The failures cannot be loaded").click().run()
    assert not app.error
    assert "No job has failed" in texts(app)


class Partial(MemorySource):
    """A source that knows only a part so far."""

    def list_jobs(self, query: JobQuery) -> JobPage:
        return replace(super().list_jobs(query), incomplete="Still counting *old* jobs.")


def test_what_is_partial_is_not_shown_as_whole(source: MemorySource, open_page: OpenPage) -> None:
    services.connect(Partial(now=lambda: NOW))
    app = open_page("overview")
    assert [each.value for each in app.warning] == ["Still counting \\*old\\* jobs\\."] * 2
    assert "Train your first LoRA" not in texts(app)
    assert "No failure is known so far" in texts(app)


def test_the_latest_failures_are_those_that_ended_last(source: MemorySource, open_page: OpenPage) -> None:
    for number in range(30):
        created = NOW - timedelta(days=number)
        job = Job(id=f"f{number}", name=f"Failed {number}", status=JobStatus.FAILED, created_at=created)
        # The oldest of them ran longest and failed a minute ago.
        source.add(replace(job, finished_at=created if number < 29 else NOW - timedelta(minutes=1)))
    named = [label for label in labels(open_page("overview")) if label.startswith("Failed ")]
    assert named == ["Failed 0", "Failed 29", "Failed 1", "Failed 2", "Failed 3"]


class NoOutcomes(MemorySource):
    """A source of which one part does not work."""

    def outcomes(self, window: str) -> Sequence[OutcomeBucket]:
        raise SourceUnavailable("The outcomes are not there.")


def test_each_panel_fails_on_its_own(source: MemorySource, open_page: OpenPage) -> None:
    broken = NoOutcomes(now=lambda: NOW)
    fill(broken)
    services.connect(broken)
    app = open_page("overview")
    assert len(app.error) == 1
    assert "The outcomes are not there" in app.error[0].value
    assert "The GPU ran out of memory" in texts(app)


def test_the_period_is_in_the_url(source: MemorySource, open_page: OpenPage) -> None:
    fill(source)
    assert "in the last 7 days" in texts(open_page("overview", window="7d"))
    assert "in the last 24 hours" in texts(open_page("overview", window="900d"))
