"""The overview in each of its states."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NoReturn

from streamlit.testing.v1 import AppTest

from lib import services
from lib.errors import SourceUnavailable
from lib.jobs.dataset import Dataset
from lib.jobs.job import Artifact, ArtifactKind, Failure, Job, JobStatus, PresignedUrl, Progress
from lib.jobs.query import JobPage, JobQuery
from lib.jobs.training_settings import TrainingConfig, TrainingSettings
from lib.sources.memory import MemorySource
from lib.sources.protocol import Action, HealthCheck, OutcomeBucket
from tests.making import NOW
from tests.pages.reading import labels, plain, texts

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


HEADERS = ["Running now", "Queue", "Finished since yesterday", "Recent failures", "Outcomes"]


def test_a_busy_overview(source: MemorySource, open_page: OpenPage, clock: list[datetime]) -> None:
    fill(source)
    app = open_page("overview")
    assert not app.exception
    assert [each.value for each in app.header] == HEADERS
    said, offered = texts(app), labels(app)
    assert {"**1** Running", "**1** Pending", "**1** Failed", "New Training Job", "All failed jobs"} <= set(offered)
    assert "\\*\\*Failed\\*\\*" in offered
    assert "The GPU ran out of memory" in said
    assert "Fix and retry => new?from=f&step=2&mark=batch_size%2Cresolution" in said
    assert "1 succeeded and 1 failed or lost in the last 24 hours." in said
    assert "42% · Loss 0.0800" in said
    assert said.count("**Source**") == 1
    assert "Health: all well" in said
    assert "checked just now" in said
    assert len(app.get("component_instance")) == 1


def test_a_card_shows_the_newest_sample_and_downloads_the_lora_with_one_click(
    source: MemorySource, open_page: OpenPage, clock: list[datetime]
) -> None:
    fill(source)
    files = (
        Artifact(id="1/old.png", name="old.png", kind=ArtifactKind.SAMPLE, epoch=1),
        Artifact(id="1/new.png", name="new.png", kind=ArtifactKind.SAMPLE, epoch=2),
        Artifact(id="1/lora é.safetensors", name="lora é.safetensors", kind=ArtifactKind.LORA),
    )
    for job_id in ("r", "s"):
        source.add(replace(source.jobs[job_id], artifacts=files))
    links = {each.proto.label: each for each in open_page("overview").get("link_button")}
    assert links["Newest sample of Runs"].proto.url == "/download/r/1/new.png?inline=1"
    assert links["Newest sample of Succeeded"].proto.url == "/download/s/1/new.png?inline=1"
    assert links["Download"].proto.url == "/download/s/1/lora%20%C3%A9.safetensors"
    assert links["Download"].proto.type == "primary"


def test_a_link_that_has_expired_is_not_offered(
    source: MemorySource, open_page: OpenPage, clock: list[datetime]
) -> None:
    for job_id, age in (("fresh", timedelta(hours=1)), ("stale", timedelta(hours=-1))):
        link = PresignedUrl(url="https://evil.test/secret", expires_at=NOW + age)
        lora = Artifact(id="a", name="a.safetensors", kind=ArtifactKind.LORA, frozen_link=link)
        source.add(
            Job(id=job_id, name=job_id, status=JobStatus.SUCCEEDED, finished_at=NOW, artifacts=(lora,)),
        )
    app = open_page("overview")
    assert [each.proto.url for each in app.get("link_button")] == ["/download/fresh/a"]
    assert "The link to its file has expired." in texts(app)


def test_what_finished_before_yesterday_is_one_click_away_too(
    source: MemorySource, open_page: OpenPage, clock: list[datetime]
) -> None:
    for days in range(3, 9):
        at = NOW - timedelta(days=days)
        source.add(Job(id=f"s{days}", name=f"Done {days}", status=JobStatus.SUCCEEDED, finished_at=at))
    app = open_page("overview")
    assert "Finished last" in [each.value for each in app.header]
    assert "Nothing has finished since yesterday." in texts(app)
    assert [each for each in labels(app) if each.startswith("Done")] == ["Done 3", "Done 4", "Done 5"]
    assert "All 6 succeeded jobs" in labels(app)
    for number in range(12):
        at = NOW - timedelta(hours=number)
        source.add(Job(id=f"n{number}", name=f"New {number}", status=JobStatus.SUCCEEDED, finished_at=at))
    services.forget_reads()
    app = open_page("overview")
    assert [each for each in labels(app) if each.startswith(("New ", "Done"))][1:] == [f"New {n}" for n in range(9)]
    said = texts(app)
    assert (
        "All 12 that finished since yesterday => jobs?status=succeeded&sortBy=finishedAt&finishedFrom=2026-11-22"
        in said
    )


def test_a_click_brings_a_waiting_job_to_the_front(source: MemorySource, open_page: OpenPage) -> None:
    fill(source)
    source.add(*(Job(id=f"p{number}", name=f"Waits {number}", status=JobStatus.PENDING) for number in (2, 3)))
    app = open_page("overview")

    def queue() -> list[str]:
        return [each for each in labels(app) if each.startswith("Waits")]

    assert queue() == ["Waits", "Waits 2", "Waits 3"]
    assert [each.label for each in app.button if each.label in ("Up", "To the front")] == ["Up", "To the front"] * 2
    app = app.button(key="move -1000000 p3").click().run()
    assert queue() == ["Waits 3", "Waits", "Waits 2"]
    app = app.button(key="move -1 p2").click().run()
    assert queue() == ["Waits 3", "Waits 2", "Waits"]
    assert [job.id for job in source.queued_jobs(9)] == ["p3", "p2", "p"]


def test_a_queue_that_cannot_be_reordered_says_why_and_a_long_one_leads_to_the_list(
    source: MemorySource, open_page: OpenPage
) -> None:
    source.add(*(Job(id=f"p{number}", name=f"Waits {number}", status=JobStatus.PENDING) for number in range(30)))
    source.refused = {Action.MOVE: "This queue cannot be reordered."}
    app = open_page("overview")
    assert texts(app).count("This queue cannot be reordered.") == 1
    assert not [each for each in app.button if each.label in ("Up", "To the front")]
    assert "All 30 waiting jobs" in labels(app)
    assert len([each for each in labels(app) if each.startswith("Waits")]) == 10


def test_the_reads_of_a_tick_do_not_grow_with_the_jobs(
    source: MemorySource, open_page: OpenPage, clock: list[datetime]
) -> None:
    """``highlights`` of a source in memory asks for each job shown: at most for the running and the finished cards."""
    for number in range(200):
        status = (JobStatus.RUNNING, JobStatus.PENDING, JobStatus.SUCCEEDED, JobStatus.FAILED)[number % 4]
        finished_at = NOW if status.is_terminal else None
        source.add(Job(id=f"j{number}", name=f"j{number}", status=status, finished_at=finished_at))
    open_page("overview")
    assert source.calls["list_jobs"] == 3
    assert (source.calls["queued_jobs"], source.calls["count_by_status"]) == (1, 1)
    assert source.calls["get_job"] == 10 + 9
    open_page("overview")
    assert source.calls["get_job"] == 10 + 9


def test_trouble_is_said_without_a_click(source: MemorySource, open_page: OpenPage) -> None:
    fill(source)
    source.health = lambda: [  # type: ignore[method-assign]
        HealthCheck(name="Source", ok=True, message="fine", checked_at=NOW),
        HealthCheck(name="*Disk*", ok=False, message="Only 1 GB free.", checked_at=NOW - timedelta(minutes=3)),
    ]
    app = open_page("overview")
    assert [plain(each.value) for each in app.error] == ["***Disk*:** Only 1 GB free."]
    assert "Health: 1 problem" in texts(app)


def test_cards_stay_without_pictures_when_files_cannot_be_listed(source: MemorySource, open_page: OpenPage) -> None:
    fill(source)

    def fail(_jobs: object) -> NoReturn:
        raise SourceUnavailable("The store does not answer.")

    source.highlights = fail  # type: ignore[method-assign]
    app = open_page("overview")
    assert not app.error
    assert {"Runs", "Succeeded"} <= set(labels(app))
    assert texts(app).count("The store does not answer.") == 2


def test_an_empty_installation_is_greeted_with_three_steps(source: MemorySource, open_page: OpenPage) -> None:
    app = open_page("overview")
    assert "Train your first LoRA" in texts(app)
    # A source in memory takes no uploads.
    assert {"1. Look at the datasets", "2. Choose a configuration", "3. Start the training"} <= set(labels(app))
    assert "upload" not in texts(app).lower()
    assert not app.get("component_instance")
    assert "with what is ready" not in texts(app)


def test_the_greeting_leads_to_a_training_of_what_is_ready(source: MemorySource, open_page: OpenPage) -> None:
    source.datasets.kept = {
        "empty": Dataset(id="empty", name="A folder", image_count=0),
        "shapes": Dataset(id="shapes", name="Shapes *", image_count=3),
    }
    source.configs.kept = {
        "slow": TrainingConfig(id="slow", name="Another", settings=TrainingSettings()),
        "quick": TrainingConfig(
            id="quick", name="Quick", description="A minute.", settings=TrainingSettings(), is_default=True
        ),
    }
    said = texts(open_page("overview"))
    assert "Train Shapes * with Quick => new?datasetId=shapes&configId=quick&step=2" in said
    assert "A minute." in said


def test_a_source_that_is_down_is_no_empty_installation(source: MemorySource, open_page: OpenPage) -> None:
    source.failing = SourceUnavailable("No answer from the source.")
    app = open_page("overview")
    assert not app.exception
    assert "Train your first LoRA" not in texts(app)
    assert [each.value for each in app.header] == ["Recent failures", "Outcomes"]
    assert "Health: 1 problem" in texts(app)
    assert "No answer from the source" in app.error[0].value
    assert app.get("component_instance")
    # "Retry" in one panel, or the next tick, draws the whole page again.
    source.failing = None
    source.add(Job(id="r", name="Runs", status=JobStatus.RUNNING))
    app.button(key="retry The failures cannot be loaded").click().run()
    assert not app.error
    assert "Running now" in [each.value for each in app.header]
    assert "Recent failures" not in [each.value for each in app.header]  # no failure needs no heading


class Partial(MemorySource):
    """A source that knows only a part so far."""

    def list_jobs(self, query: JobQuery) -> JobPage:
        return replace(super().list_jobs(query), incomplete="Still counting *old* jobs.")


def test_what_is_partial_is_not_shown_as_whole(source: MemorySource, open_page: OpenPage) -> None:
    services.connect(Partial(now=lambda: NOW))
    app = open_page("overview")
    assert [each.value for each in app.warning] == ["Still counting \\*old\\* jobs\\."] * 2
    assert "No job is known to wait or run." in texts(app)
    assert "No success is known so far." in texts(app)
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
