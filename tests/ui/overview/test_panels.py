"""The overview's words and links."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import altair
import pytest

from lib.jobs.job import Job, JobStatus, Progress
from lib.jobs.query import JobPage, JobQuery
from lib.sources.protocol import HealthCheck, OutcomeBucket
from lib.sources.reads import Reading
from lib.ui.overview.ended import result_text, since_yesterday
from lib.ui.overview.health import check_text
from lib.ui.overview.health import summary_text as health_summary
from lib.ui.overview.live import count_links, progress_line, tick_ms
from lib.ui.overview.outcomes_chart import bucket_label, jobs_behind, outcome_rows, outcomes_chart, summary_text
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
    job = Job(id="1", name="a", status=status, progress=progress)
    assert progress_line(job) == line
    assert progress_line(replace(job, cancelling=True)) == f"Cancelling · {line}"


def test_a_result_in_one_line_says_only_what_is_known() -> None:
    job = Job(id="1", name="a", status=JobStatus.SUCCEEDED)
    assert result_text(job) == ""
    ran = replace(job, started_at=NOW - timedelta(hours=2), finished_at=NOW, progress=Progress(loss=0.0412))
    assert result_text(ran) == "Loss 0.0412 · 2h 0m 0s"


@pytest.mark.parametrize(
    ("now", "zone", "begin"),
    [
        ("2026-11-23T12:00+00:00", "UTC", "2026-11-22T00:00+00:00"),
        ("2026-11-23T00:30+00:00", "America/New_York", "2026-11-21T00:00-05:00"),
        # The clocks were put back, and forward, in between: yesterday has 25 hours, or 23.
        ("2026-10-26T12:00+01:00", "Europe/Berlin", "2026-10-25T00:00+02:00"),
        ("2026-03-30T12:00+02:00", "Europe/Berlin", "2026-03-29T00:00+01:00"),
    ],
)
def test_yesterday_begins_at_the_viewers_midnight(now: str, zone: str, begin: str) -> None:
    query = since_yesterday(datetime.fromisoformat(now), ZoneInfo(zone))
    assert query.finished_from == datetime.fromisoformat(begin)
    later = since_yesterday(datetime.fromisoformat(now) + timedelta(seconds=90), ZoneInfo(zone))
    assert later == query, "viewers share one read"


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
    waiting = Job(id="1", name="a", status=JobStatus.PENDING)
    idle, busy = JobPage(jobs=(), total=0), JobPage(jobs=(replace(waiting, status=JobStatus.RUNNING),), total=1)
    assert tick_ms(Reading(value=busy, read_at=NOW), ()) == 2_000
    assert tick_ms(Reading(value=idle, read_at=NOW), (waiting,)) == 2_000
    assert tick_ms(Reading(value=idle, read_at=NOW), ()) == 10_000
    assert tick_ms(None, ()) == 10_000


def check(ok: bool | None, message: str = "3 *GB*", latency_ms: float | None = 2.6) -> HealthCheck:
    return HealthCheck(name="Disk", ok=ok, message=message, checked_at=NOW, latency_ms=latency_ms)


@pytest.mark.parametrize(("ok", "word"), [(True, "OK"), (False, "Problem"), (None, "Not checked")])
def test_a_check_in_one_line(ok: bool | None, word: str) -> None:
    assert check_text(check(ok)).endswith(f"{word}] **Disk** 3 \\*GB\\* :gray[(3 ms)]")
    assert "ms" not in check_text(check(ok, latency_ms=0.4)), "nobody needs to know that it took 0 ms"


def test_health_in_one_badge() -> None:
    for checks, word in (
        ([check(True), check(None)], "Health: all well"),
        ([check(True), check(False)], "Health: 1 problem"),
        ([check(False), check(False)], "Health: 2 problems"),
        ([check(None)], "Health: not known"),
        ([], "Health: not known"),
    ):
        assert health_summary(checks).endswith(f" {word}]")
