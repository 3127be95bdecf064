"""The table's rows, the words about pages, and the CSV file."""

import csv
import io
import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.jobs.job import Failure, JobStatus, Progress
from lib.jobs.query import JobPage, JobQuery, SortBy
from lib.ui.job_list.columns import CHOICES, COLUMNS, NAME, status_words
from lib.ui.job_list.csv_export import csv_row, jobs_csv
from lib.ui.job_list.grid import header, job_rows, name_label, shown_columns, sorted_by
from lib.ui.job_list.table import last_page, page_texts
from tests.making import NOW, make_job


def page_of(total: int, shown: int) -> JobPage:
    """A page that shows ``shown`` of ``total`` jobs."""
    return JobPage(jobs=tuple(make_job(number) for number in range(shown)), total=total)


@pytest.mark.parametrize(
    ("total", "shown", "skip", "texts"),
    [
        (137, 20, 20, ("137 jobs", "Showing 21-40 of 137", "Page 2 of 7")),
        (50, 20, 0, ("50 jobs", "Showing 1-20 of 50", "Page 1 of 3")),
        (137, 17, 120, ("137 jobs", "Showing 121-137 of 137", "Page 7 of 7")),
        (20, 20, 0, ("20 jobs", "", "")),
        (1, 1, 0, ("1 job", "", "")),
        (100_000, 20, 0, ("100,000 jobs", "Showing 1-20 of 100,000", "Page 1 of 5,000")),
    ],
)
def test_words_about_pages(total: int, shown: int, skip: int, texts: tuple[str, str, str]) -> None:
    assert page_texts(page_of(total, shown), JobQuery(skip=skip)) == texts


@given(total=st.integers(1, 10_000), take=st.integers(1, 100))
def test_the_last_page_has_the_last_job(total: int, take: int) -> None:
    query = last_page(total, JobQuery(skip=10_000_000, take=take))
    assert query.skip % take == 0
    assert query.skip < total <= query.skip + take


ALL = (NAME, *COLUMNS)


def test_a_row_shows_what_is_known_and_marks_what_is_not() -> None:
    progress = Progress(fraction=0.42, epoch=12, total_epochs=50, loss=math.nan, eta_s=5445, learning_rate=5e-5)
    started = NOW - timedelta(seconds=90)
    known = make_job(status=JobStatus.RUNNING, progress=progress, started_at=started, settings={"learning_rate": 1e-4})
    unknown = make_job(2, JobStatus.UNKNOWN, name="", raw_status="exploded")
    first, second, third = job_rows([known, unknown, make_job(3, JobStatus.RUNNING, cancelling=True)], ALL, NOW)
    assert third["Status"] == ["Cancelling"]
    assert (first["Status"], first["Progress"], first["Epoch"]) == (["Running", "NaN loss"], 42, "12/50")
    assert (first["ETA"], first["Duration"], first["Learning rate"]) == ("1h 30m 45s", "1m 30s", 1e-4)
    assert (second["Name"], second["Status"], second["Progress"]) == ("job-002", ["Unknown (exploded)"], None)
    assert {second[name] for name in ("Epoch", "ETA", "Duration", "Dataset", "Configuration", "Trainer")} == {"–"}
    assert (second["Loss"], second["Learning rate"]) == (None, None)


def test_a_row_shows_the_newest_sample_or_nothing() -> None:
    columns = shown_columns(("sample", "loss"), is_narrow=False)
    rows = job_rows([make_job(1), make_job(2)], columns, NOW, samples={"job-001": "/download/job-001/a.png?inline=1"})
    assert [row["Sample"] for row in rows] == ["/download/job-001/a.png?inline=1", ""]
    assert list(rows[0]) == ["Sample", "Name", "Loss"]


def test_a_phone_shows_two_columns_with_the_status_below_the_name() -> None:
    columns = shown_columns(tuple(CHOICES), is_narrow=True)
    assert [column.label for column in columns] == ["Name", "Progress"]
    job = make_job(status=JobStatus.RUNNING, progress=Progress(loss=math.nan))
    assert name_label(job, is_narrow=True) == "Aria v1 :blue[● Running, NaN loss]"
    assert name_label(job, is_narrow=False) == "Aria v1"


@pytest.mark.parametrize(
    ("clicks", "params", "arrow"),
    [
        (["Loss"], {"sortBy": "loss", "sortOrder": "asc", "skip": None}, "Loss ↑"),
        (["Loss", "Loss"], {"sortBy": "loss", "sortOrder": None, "skip": None}, "Loss ↓"),
        (["Progress"], {"sortBy": "progress", "sortOrder": None, "skip": None}, "Progress ↓"),
        (["Created"], {"sortBy": None, "sortOrder": "asc", "skip": None}, "Created ↑"),
        (["Name"], {"sortBy": "name", "sortOrder": "asc", "skip": None}, "Name ↑"),
        (["Epoch"], {}, "Epoch"),
    ],
)
def test_a_click_on_a_header_sorts_and_the_next_one_turns_round(
    clicks: list[str], params: dict[str, str | None], arrow: str
) -> None:
    columns, query, changes = {column.label: column for column in ALL}, JobQuery(), {}
    for label in clicks:
        changes = sorted_by(columns[label], query)
        if changes:
            sort_by = SortBy(changes["sortBy"] or "createdAt")
            query = JobQuery(sort_by=sort_by, descending=changes["sortOrder"] is None)
    assert changes == params
    assert header(columns[clicks[-1]], query) == arrow


@pytest.mark.parametrize(
    ("cause", "alarms", "words"),
    [
        ("out_of_memory", (), ["Failed", "out of memory"]),
        ("nan_loss", ("nan_loss",), ["Failed", "NaN loss"]),
        ("unknown", ("nan_loss",), ["Failed", "cause unknown", "NaN loss"]),
    ],
)
def test_what_failed_says_why(cause: str, alarms: tuple[str, ...], words: list[str]) -> None:
    failure = Failure(cause=cause, message="It failed.")
    job = make_job(status=JobStatus.FAILED, failure=failure, alarms=alarms, progress=Progress(fraction=0.425))
    assert status_words(job) == words


def test_an_ended_job_has_no_time_left() -> None:
    (row,) = job_rows([make_job(status=JobStatus.FAILED, progress=Progress(eta_s=100))], ALL, NOW)
    assert row["ETA"] == "–"


def test_the_csv_has_times_parameters_and_the_final_loss() -> None:
    failure = Failure(cause="out_of_memory", message="The GPU ran out of memory.")
    prompts, extra = ["a, b", 'c "d"'], {"hf_token": "s3cret", "clip_skip": 2}
    job = make_job(
        status=JobStatus.FAILED,
        raw_status="failed",
        started_at=NOW - timedelta(seconds=90),
        finished_at=NOW,
        progress=Progress(loss=0.0873),
        settings={
            "epochs": 50,
            "learning_rate": 1e-4,
            "sample_prompts": prompts,
            "trainer": "tiny",
            "extra": extra,
        },
        failure=failure,
    )
    (row,) = csv.DictReader(io.StringIO(jobs_csv([job], NOW)))
    assert (row["started_at"], row["finished_at"], row["duration_s"]) == (
        "2026-11-23T11:58:30Z",
        "2026-11-23T12:00:00Z",
        "90.0",
    )
    assert (row["final_loss"], row["epochs"], row["learning_rate"], row["trainer"]) == (
        "0.0873",
        "50",
        "0.0001",
        "tiny",
    )
    assert row["sample_prompts"] == '["a, b", "c \\"d\\""]'
    assert row["extra"] == '{"hf_token": "(not shown)", "clip_skip": 2}'
    assert row["failure"] == "The GPU ran out of memory."
    assert row["batch_size"] == row["dataset"] == ""


def test_the_csv_names_who_did_what() -> None:
    row = csv_row(make_job(submitted_by="ann@corp.example", cancelled_by="=HYPERLINK()"), NOW)
    assert (row["submitted_by"], row["retried_by"], row["cancelled_by"]) == ("ann@corp.example", "", "'=HYPERLINK()")


def test_the_csv_has_stars_picks_tags_and_notes() -> None:
    job = make_job(is_starred=True, best="1/e2.safetensors", tags=("a b", "fox"), note="=1+1\nkeep")
    (row,) = csv.DictReader(io.StringIO(jobs_csv([job], NOW)))
    assert (row["starred"], row["best_file"], row["tags"]) == ("yes", "1/e2.safetensors", "a b, fox")
    assert row["note"] == "'=1+1\nkeep"
    assert csv_row(make_job(), NOW)["starred"] == ""


def test_a_starred_job_and_its_tags_are_seen_in_the_table() -> None:
    (row,) = job_rows([make_job(is_starred=True, tags=("a b", "fox"))], ALL, NOW)
    assert (row["Name"], row["Tags"]) == ("★ Aria v1", "a b, fox")


def test_the_csv_tells_a_job_that_is_being_cancelled() -> None:
    assert csv_row(make_job(raw_status="running", cancelling=True), NOW)["status"] == "cancelling"


@pytest.mark.parametrize("name", ["=1+1", "+cmd", "-2", "@SUM(A1)", "\t=1", " =1", "\r=1"])
def test_the_csv_holds_no_formula(name: str) -> None:
    assert csv_row(make_job(name=name), NOW)["name"].startswith("'")


@pytest.mark.parametrize(("loss", "cell"), [(math.nan, "nan"), (-0.5, "-0.5"), (None, "")])
def test_numbers_stay_numbers_in_the_csv(loss: float | None, cell: str) -> None:
    assert csv_row(make_job(progress=Progress(loss=loss)), NOW)["final_loss"] == cell
