"""The overview's words and links."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import altair
import pytest

from lib.errors import SourceUnavailable
from lib.jobs.job import Job, JobStatus, Progress
from lib.jobs.query import JobPage, JobQuery
from lib.sources.protocol import HealthCheck, OutcomeBucket
from lib.sources.reads import Reading
from lib.ui.overview.outcomes_chart import bucket_label, jobs_behind, outcome_rows, outcomes_chart, summary_text
from lib.ui.overview.panels import count_links, health_text, in_queue_order, live_tick_ms, progress_line
from lib.ui.parts.job_filters import job_query
from lib.ui.parts.url import UrlReader

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
BUCKETS = [
    OutcomeBucket(start=NOW - timedelta(hours=2), end=NOW - timedelta(hours=1), succeeded=3, failed=1),
    OutcomeBucket(start=NOW - timedelta(hours=1), end=NOW, succeeded=0, failed=0),
]


def test_bars_are_told_apart_by_more_than_colour_and_lead_to_their_jobs() -> None:
    rows = outcome_rows(BUCKETS, "24h", UTC)
    assert [(row["bucket"], row["outcome"], row["height"]) for row in rows[:2]] == [
        (0, "Succeeded", 3),
        (0, "Failed", -1),
    ]
    assert summary_text(BUCKETS, "24h") == "3 succeeded and 1 failed or lost in the last 24 hours"
    altair.Chart.from_dict(outcomes_chart(rows)).to_dict()  # valid Vega-Lite, or it raises
    assert outcomes_chart(rows)["params"][0]["name"] == "bar"
    query = job_query(UrlReader(params=jobs_behind(BUCKETS[0], "Failed")))
    assert query == JobQuery(
        statuses=frozenset({JobStatus.FAILED, JobStatus.LOST}),
        finished_from=BUCKETS[0].start,
        finished_until=BUCKETS[0].end,
    )


def test_bars_are_labelled_in_the_viewers_zone() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    assert bucket_label(BUCKETS[0], "24h", berlin) == "Mon 11:00"
    midnight = NOW.replace(hour=0)
    day = OutcomeBucket(start=midnight, end=midnight + timedelta(days=1), succeeded=0, failed=0)
    assert bucket_label(day, "30d", ZoneInfo("America/New_York")) == "Mon 23 Nov"


@pytest.mark.parametrize(
    ("status", "progress", "line"),
    [
        (JobStatus.PENDING, Progress(), "Waiting to start · Place 2 in the queue"),
        (JobStatus.RUNNING, Progress(), "Running"),
        (JobStatus.RUNNING, Progress(stage="loading model"), "Loading model"),
        (
            JobStatus.RUNNING,
            Progress(fraction=0.42, step=840, total_steps=2000, epoch=21, total_epochs=50, eta_s=5445, loss=0.08),
            "42% · Step 840/2000 · Epoch 21/50 · 1h 30m 45s left · Loss 0.0800",
        ),
    ],
)
def test_progress_in_one_line(status: JobStatus, progress: Progress, line: str) -> None:
    assert progress_line(Job(id="1", name="a", status=status, progress=progress, queue_position=2)) == line


def test_active_jobs_stand_in_the_order_of_the_queue() -> None:
    jobs = [
        Job(id=name, name=name, status=JobStatus.PENDING if place else JobStatus.RUNNING, queue_position=place)
        for name, place in (("third", 3), ("runs", None), ("next", 1), ("second", 2))
    ]
    assert [job.id for job in in_queue_order(jobs)] == ["runs", "next", "second", "third"]
    unknown = [Job(id=name, name=name, status=JobStatus.PENDING) for name in ("newest", "oldest")]
    assert [job.id for job in in_queue_order(unknown)] == ["oldest", "newest"]


def test_counts_show_zero_for_the_main_statuses_and_others_only_when_there_are_some() -> None:
    links = count_links({JobStatus.RUNNING: 1_234, JobStatus.LOST: 2})
    assert [label for label, _icon, _params in links] == [
        "**0** Pending",
        "**1,234** Running",
        "**0** Succeeded",
        "**0** Failed",
        "**2** Lost",
    ]
    assert links[-1][2] == {"status": "lost"}


def test_it_always_looks_again_and_sooner_when_there_is_more_to_see() -> None:
    idle, busy = JobPage(jobs=(), total=0), JobPage(jobs=(Job(id="1", name="a", status=JobStatus.RUNNING),), total=1)
    fresh = Reading(value=idle, read_at=NOW)
    stale = Reading(value=idle, read_at=NOW, problem=SourceUnavailable("No answer."))
    partial = Reading(value=JobPage(jobs=(), total=0, incomplete="Still counting."), read_at=NOW)
    ticks = [live_tick_ms(each) for each in (Reading(value=busy, read_at=NOW), None, stale, partial, fresh)]
    assert ticks == [2_000, 10_000, 10_000, 10_000, 60_000]


@pytest.mark.parametrize(("ok", "word"), [(True, "OK"), (False, "Problem"), (None, "Not checked")])
def test_health_in_one_line(ok: bool | None, word: str) -> None:
    check = HealthCheck(name="Disk", ok=ok, message="3 *GB*", checked_at=NOW - timedelta(minutes=1), latency_ms=2.6)
    text = health_text(check, NOW)
    assert f"{word}] **Disk** 3 \\*GB\\*" in text
    assert text.endswith("(checked a minute ago, 3 ms)]")
