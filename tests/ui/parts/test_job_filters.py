"""The list's question and its URL say the same."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.jobs.job import JobStatus
from lib.jobs.query import JobQuery, SortBy
from lib.ui.parts.job_filters import created_days, day_span, job_query, query_params, span_text
from lib.ui.parts.text import plain
from lib.ui.parts.url import UrlReader

TIMES = st.none() | st.integers(0, 4_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
QUERIES = st.builds(
    JobQuery,
    statuses=st.frozensets(st.sampled_from(JobStatus)),
    search=st.text(max_size=50).map(plain),
    created_from=TIMES,
    created_until=TIMES,
    finished_from=TIMES,
    finished_until=TIMES,
    sort_by=st.sampled_from(SortBy),
    descending=st.booleans(),
    skip=st.integers(min_value=0, max_value=10_000_000),
    take=st.integers(min_value=1, max_value=100),
)


@given(QUERIES)
def test_a_shared_link_asks_the_same_question(query: JobQuery) -> None:
    reader = UrlReader(params=query_params(query))
    assert job_query(reader) == query
    assert reader.problems == []


def test_the_plain_list_has_a_plain_url() -> None:
    assert query_params(JobQuery()) == {}
    assert job_query(UrlReader(params={"status": "all"})) == JobQuery()


def test_other_words_for_a_status_are_understood() -> None:
    query = job_query(UrlReader(params={"status": "completed,Failed"}))
    assert query.statuses == {JobStatus.SUCCEEDED, JobStatus.FAILED}


@given(st.dictionaries(st.sampled_from(("status", "sortBy", "sortOrder", "skip", "take", "createdFrom")), st.text()))
def test_any_url_gives_a_question(params: dict[str, str]) -> None:
    query = job_query(UrlReader(params=params))
    assert 1 <= query.take <= 100
    assert query.skip >= 0


@pytest.mark.parametrize(
    ("params", "problems"),
    [
        ({"status": "failed,exploded"}, ["status=exploded"]),
        ({"sortBy": "colour", "sortOrder": "up"}, ["sortBy=colour", "sortOrder=up"]),
        ({"skip": "-4", "take": "1000"}, ["skip=-4", "take=1000"]),
        ({"page": "2", "size": "1000", "take": "10"}, ["page=2", "size=1000"]),
        ({"createdFrom": "yesterday", "finishedUntil": "0001-01-01T00:00:00+23:59"}, None),
        ({"createdFrom": "0001-01-01T00:00", "finishedUntil": "9999-12-31T23:59:59"}, None),
    ],
)
def test_what_cannot_be_used_is_named(params: dict[str, str], problems: list[str] | None) -> None:
    reader = UrlReader(params=params)
    job_query(reader)
    assert reader.problems == problems if problems else len(reader.problems) == 2


def test_a_span_of_time_is_said_in_words() -> None:
    query = JobQuery(
        finished_from=datetime(2026, 11, 23, 12, tzinfo=UTC), finished_until=datetime(2026, 11, 23, 13, tzinfo=UTC)
    )
    expected = "Only jobs that ended from 23 Nov 2026, 12:00:00 UTC until 23 Nov 2026, 13:00:00 UTC."
    assert span_text(query) == expected
    assert span_text(JobQuery()) == ""


def test_whole_days_of_creation_are_shown_by_the_field_alone() -> None:
    zone = ZoneInfo("Europe/Berlin")
    days = (date(2026, 3, 28), date(2026, 3, 29))  # clocks go forward in the second night
    start, end = day_span(days, zone)
    assert (start, end) == (datetime(2026, 3, 27, 23, tzinfo=UTC), datetime(2026, 3, 29, 22, tzinfo=UTC))
    assert created_days(JobQuery(created_from=start, created_until=end), zone) == days
    assert created_days(JobQuery(created_from=start), zone) == ()
    assert span_text(JobQuery(created_from=datetime(2026, 3, 28, tzinfo=UTC))).startswith("Only jobs that were created")
    whole = JobQuery(created_from=datetime(2026, 3, 28, tzinfo=UTC), created_until=datetime(2026, 3, 29, tzinfo=UTC))
    assert span_text(whole) == ""
