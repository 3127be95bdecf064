"""The list's filters: what the URL says, and the widgets that change it. Every change leads to the first page."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import streamlit as st

from lib.jobs.job import JobStatus
from lib.jobs.query import DEFAULT_TAKE, MAX_TAKE, JobQuery, SortBy
from lib.ui.parts.format import absolute_time, viewer_zone
from lib.ui.parts.notes import show_bad_parameters
from lib.ui.parts.text import escaped
from lib.ui.parts.url import MAX_VALUE_LENGTH, UrlReader, mirror_url, write_params

MAX_SKIP = 10_000_000
# Within what datetime can express in any time zone.
FIRST_YEAR, LAST_YEAR = 1970, 9000
SPAN_PARAMS = ("createdFrom", "createdUntil", "finishedFrom", "finishedUntil")
FILTER_PARAMS = ("status", "q", *SPAN_PARAMS)
PARAMS = (*FILTER_PARAMS, "sortBy", "sortOrder", "skip", "take")
STATUS_ORDER = tuple(JobStatus)
SORT_LABELS = {
    "createdAt desc": "Newest first",
    "createdAt asc": "Oldest first",
    "name asc": "Name A-Z",
    "name desc": "Name Z-A",
    "status asc": "Status A-Z",
    "status desc": "Status Z-A",
    "progress desc": "Most progress first",
    "progress asc": "Least progress first",
    "loss asc": "Smallest loss first",
    "loss desc": "Largest loss first",
    "duration desc": "Longest first",
    "duration asc": "Shortest first",
    "finishedAt desc": "Last ended first",
    "finishedAt asc": "First ended first",
}


def job_query(reader: UrlReader) -> JobQuery:
    """The query in the URL. Invalid values fall back to defaults and are named in ``reader.problems``."""
    reader.refuse_unknown(PARAMS)
    return JobQuery(
        statuses=_statuses(reader),
        search=reader.text("q"),
        created_from=_time(reader, "createdFrom"),
        created_until=_time(reader, "createdUntil"),
        finished_from=_time(reader, "finishedFrom"),
        finished_until=_time(reader, "finishedUntil"),
        sort_by=SortBy(reader.choice("sortBy", [each.value for each in SortBy], SortBy.CREATED_AT.value)),
        descending=reader.choice("sortOrder", ("asc", "desc"), "desc") == "desc",
        skip=reader.whole_number("skip", 0, minimum=0, maximum=MAX_SKIP),
        take=reader.whole_number("take", DEFAULT_TAKE, minimum=1, maximum=MAX_TAKE),
    )


def query_params(query: JobQuery) -> dict[str, str]:
    """The URL's parameters for a query, without defaults."""
    spans = (query.created_from, query.created_until, query.finished_from, query.finished_until)
    params = {
        "status": status_param(query.statuses),
        "q": query.search,
        **{name: time_param(at) if at else "" for name, at in zip(SPAN_PARAMS, spans, strict=True)},
        "sortBy": "" if query.sort_by is SortBy.CREATED_AT else query.sort_by.value,
        "sortOrder": "" if query.descending else "asc",
        "skip": str(query.skip) if query.skip else "",
        "take": "" if query.take == DEFAULT_TAKE else str(query.take),
    }
    return {name: value for name, value in params.items() if value}


def status_param(statuses: Iterable[JobStatus]) -> str:
    """Several statuses in one parameter, always in the same order: ``failed,lost``."""
    return ",".join(sorted((status.value for status in statuses), key=lambda word: STATUS_ORDER.index(JobStatus(word))))


def time_param(at: datetime) -> str:
    """``2026-11-23T12:00:00Z``."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def span_text(query: JobQuery) -> str:
    """The time filter in words, in the viewer's zone; empty if there is none."""
    zone = viewer_zone()
    spans = (
        ("were created", query.created_from, query.created_until),
        ("ended", query.finished_from, query.finished_until),
    )
    parts = []
    for verb, start, end in spans:
        begin = f" from {absolute_time(start, zone)}" if start else ""
        until = f" until {absolute_time(end, zone)}" if end else ""
        if begin or until:
            parts.append(f"{verb}{begin}{until}")
    return f"Only jobs that {' and '.join(parts)}." if parts else ""


def show_filters(query: JobQuery, problems: Sequence[str]) -> None:
    """Status, order and search, a note about the time filter of a link, and one about bad parameters."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        _show_status(query)
        _show_sort(query)
        _show_search(query)
    if text := span_text(query):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f":material/filter_alt: {escaped(text)}", width="content")
            st.button("Remove time filter", on_click=write_params, args=(dict.fromkeys((*SPAN_PARAMS, "skip")),))
    show_bad_parameters(problems)


def clear_filters() -> None:
    """Show every job again, in the chosen order."""
    write_params(dict.fromkeys((*FILTER_PARAMS, "skip")))


def _show_status(query: JobQuery) -> None:
    chosen = status_param(query.statuses)
    options = ["", *(status.value for status in STATUS_ORDER)]
    if chosen not in options:
        options.append(chosen)
    mirror_url("filter-status", chosen)
    st.selectbox(
        "Filter by status", options, format_func=_status_label, key="filter-status", width=220, on_change=_push_status
    )


def _show_sort(query: JobQuery) -> None:
    mirror_url("filter-sort", f"{query.sort_by.value} {'desc' if query.descending else 'asc'}")
    st.selectbox(
        "Sort by",
        list(SORT_LABELS),
        format_func=SORT_LABELS.__getitem__,
        key="filter-sort",
        width=180,
        on_change=_push_sort,
    )


def _show_search(query: JobQuery) -> None:
    mirror_url("filter-search", query.search)
    st.text_input(
        "Search",
        key="filter-search",
        placeholder="Name, id, dataset or configuration",
        width=320,
        max_chars=MAX_VALUE_LENGTH,
        on_change=_push_search,
        icon=":material/search:",
    )


def _push_status() -> None:
    write_params({"status": st.session_state["filter-status"], "skip": None})


def _push_search() -> None:
    write_params({"q": st.session_state["filter-search"].strip(), "skip": None})


def _push_sort() -> None:
    sort_by, order = st.session_state["filter-sort"].split()
    write_params(
        {
            "sortBy": None if sort_by == SortBy.CREATED_AT else sort_by,
            "sortOrder": None if order == "desc" else order,
            "skip": None,
        }
    )


def _status_label(value: str) -> str:
    return ", ".join(JobStatus(word).label for word in value.split(",")) if value else "All statuses"


def _statuses(reader: UrlReader) -> frozenset[JobStatus]:
    value = reader.params.get("status", "")
    if value.strip().lower() in ("", "all"):
        return frozenset()
    found = {word: JobStatus.parse(word) for word in value.split(",")[: 2 * len(STATUS_ORDER)]}
    for word, status in found.items():
        if status is JobStatus.UNKNOWN and word.strip().lower() != JobStatus.UNKNOWN.value:
            reader.refuse("status", word, None)
    return frozenset(
        status
        for word, status in found.items()
        if status is not JobStatus.UNKNOWN or word.strip().lower() == JobStatus.UNKNOWN.value
    )


def _time(reader: UrlReader, name: str) -> datetime | None:
    value = reader.params.get(name)
    if not value:
        return None
    try:
        at = datetime.fromisoformat(value)
        at = (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return reader.refuse(name, value, None)
    return at if FIRST_YEAR <= at.year <= LAST_YEAR else reader.refuse(name, value, None)
