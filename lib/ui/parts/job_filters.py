"""The list's filters: what the URL says, and the widgets that change it. Every change leads to the first page."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta, tzinfo

import streamlit as st

from lib import services
from lib.jobs.annotations import MAX_TAG_LENGTH
from lib.jobs.job import JobStatus
from lib.jobs.query import DEFAULT_TAKE, MAX_TAKE, JobQuery, SortBy, search_key
from lib.ui.parts.cluster import PLACES
from lib.ui.parts.format import absolute_time, viewer_zone
from lib.ui.parts.text import escaped
from lib.ui.parts.theme import STATUS_LOOKS
from lib.ui.parts.url import MAX_VALUE_LENGTH, UrlReader, mirrored_key, write_params

MAX_SKIP = 10_000_000
# Within what datetime can express in any time zone.
FIRST_YEAR, LAST_YEAR = 1970, 9000
FIRST_DAY, LAST_DAY = date(FIRST_YEAR, 1, 2), date(LAST_YEAR, 12, 30)
SPAN_PARAMS = ("createdFrom", "createdUntil", "finishedFrom", "finishedUntil")
FILTER_PARAMS = ("status", "q", "where", "tag", "sweep", *SPAN_PARAMS)
PARAMS = (*FILTER_PARAMS, "sortBy", "sortOrder", "skip", "take", "columns")
STATUS_ORDER = tuple(JobStatus)
TAKES = (DEFAULT_TAKE, 50, MAX_TAKE)
_ALL = ""
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
        executor=reader.choice("where", ("", *PLACES), ""),
        tag=reader.text("tag", limit=MAX_TAG_LENGTH),
        sweep=reader.text("sweep"),
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
        "where": query.executor,
        "tag": query.tag,
        "sweep": query.sweep,
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
    """The time filter in words, in the viewer's zone; empty if there is none, or if the days of creation say it all."""
    zone = viewer_zone()
    spans = [("ended", query.finished_from, query.finished_until)]
    if day_span(created_days(query, zone), zone) != (query.created_from, query.created_until):
        spans.insert(0, ("were created", query.created_from, query.created_until))
    parts = []
    for verb, start, end in spans:
        begin = f" from {absolute_time(start, zone)}" if start else ""
        until = f" until {absolute_time(end, zone)}" if end else ""
        if begin or until:
            parts.append(f"{verb}{begin}{until}")
    return f"Only jobs that {' and '.join(parts)}." if parts else ""


def created_days(query: JobQuery, zone: tzinfo) -> tuple[date, ...]:
    """First and last day of creation that the query asks for; empty unless it has both ends that can be chosen."""
    if query.created_from is None or query.created_until is None:
        return ()
    last = query.created_until - timedelta(microseconds=1)
    days = query.created_from.astimezone(zone).date(), last.astimezone(zone).date()
    return days if FIRST_DAY <= days[0] <= days[1] <= LAST_DAY else ()


def day_span(days: tuple[date, ...], zone: tzinfo) -> tuple[datetime | None, datetime | None]:
    """From the beginning of the first day to the end of the last one, aware UTC."""
    if len(days) != 2:
        return None, None
    first, beyond = days[0], days[1] + timedelta(days=1)
    start, end = (datetime.combine(day, time(), zone).astimezone(UTC) for day in (first, beyond))
    return start, end


def sort_params(sort_by: SortBy, *, descending: bool) -> dict[str, str | None]:
    """The changes to the URL that sort the list like this, from its first page on."""
    return {
        "sortBy": None if sort_by is SortBy.CREATED_AT else sort_by.value,
        "sortOrder": None if descending else "asc",
        "skip": None,
    }


def show_filters(
    query: JobQuery,
    counts: Mapping[JobStatus, int],
    *,
    show_more: Callable[[], None] = lambda: None,
    is_narrow: bool = False,
) -> None:
    """Search, order, days, whatever ``show_more`` adds beside them, and the statuses with how many jobs have each."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        _show_search(query)
        if is_narrow:
            with st.popover("Order and days", icon=":material/tune:", width="content"):
                _show_sort(query)
                _show_days(query)
                _show_tag(query)
                _show_place(query)
        else:
            _show_sort(query)
            _show_days(query)
            _show_tag(query)
            _show_place(query)
        show_more()
    _show_statuses(query, counts)
    if text := span_text(query):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f":material/filter_alt: {escaped(text)}", width="content")
            st.button("Remove time filter", on_click=write_params, args=(dict.fromkeys((*SPAN_PARAMS, "skip")),))


def clear_filters() -> None:
    """Show every job again, in the chosen order."""
    write_params(dict.fromkeys((*FILTER_PARAMS, "skip")))


def status_label(status: str, counts: Mapping[JobStatus, int]) -> str:
    """A chip as Markdown: ``● Running 3`` with a dot in the status's colour; without counts only the words."""
    if status == _ALL:
        return f"All statuses {sum(counts.values()):,}" if counts else "All statuses"
    dot = f":{STATUS_LOOKS[JobStatus(status)].color}[●]"
    count = f" {counts.get(JobStatus(status), 0):,}" if counts else ""
    return f"{dot} {JobStatus(status).label}{count}"


def _show_statuses(query: JobQuery, counts: Mapping[JobStatus, int]) -> None:
    chosen = status_param(query.statuses).split(",")
    is_strange = counts.get(JobStatus.UNKNOWN) or JobStatus.UNKNOWN in query.statuses
    options = [_ALL, *(each.value for each in STATUS_ORDER if each is not JobStatus.UNKNOWN or is_strange)]
    key = mirrored_key("filter-status", chosen)
    st.pills(
        "Filter by status",
        options,
        selection_mode="multi",
        default=chosen,
        format_func=lambda status: status_label(status, counts),
        key=key,
        on_change=_push_statuses,
        args=(key,),
    )


def _show_sort(query: JobQuery) -> None:
    order = f"{query.sort_by.value} {'desc' if query.descending else 'asc'}"
    key = mirrored_key("filter-sort", order)
    st.selectbox(
        "Sort by",
        list(SORT_LABELS),
        index=list(SORT_LABELS).index(order),
        format_func=SORT_LABELS.__getitem__,
        key=key,
        width=180,
        on_change=_push_sort,
        args=(key,),
    )


def _show_search(query: JobQuery) -> None:
    key = mirrored_key("filter-search", query.search)
    st.text_input(
        "Search",
        value=query.search,
        key=key,
        placeholder="Name, id, dataset or configuration",
        width=300,
        max_chars=MAX_VALUE_LENGTH,
        on_change=_push_text,
        args=(key, "q", str.strip),
        icon=":material/search:",
    )


def _show_tag(query: JobQuery) -> None:
    key = mirrored_key("filter-tag", query.tag)
    st.text_input(
        "Tag",
        value=query.tag,
        key=key,
        width=120,
        max_chars=MAX_TAG_LENGTH,
        on_change=_push_text,
        args=(key, "tag", search_key),
    )


def _push_text(key: str, parameter: str, tidy: Callable[[str], str]) -> None:
    text = st.session_state[key] = tidy(st.session_state[key])
    write_params({parameter: text, "skip": None}, widget=key)


def _show_place(query: JobQuery) -> None:
    if len(services.source().executors) < 2 and not query.executor:
        return
    key = mirrored_key("filter-place", query.executor)
    st.selectbox(
        "Where",
        ["", *PLACES],
        index=["", *PLACES].index(query.executor),
        format_func=lambda name: PLACES.get(name, "anywhere").capitalize(),
        key=key,
        width=150,
        on_change=_push_text,
        args=(key, "where", str),
    )


def _show_days(query: JobQuery) -> None:
    days = created_days(query, viewer_zone())
    key = mirrored_key("filter-days", days)
    st.date_input(
        "Created",
        value=list(days),
        min_value=FIRST_DAY,
        max_value=LAST_DAY,
        key=key,
        format="YYYY-MM-DD",
        width=230,
        on_change=_push_days,
        args=(key,),
    )


def _push_days(key: str) -> None:
    days = tuple(st.session_state[key])
    if len(days) != 1:  # the second click is still to come
        start, end = day_span(days, viewer_zone())
        times = {"createdFrom": start, "createdUntil": end}
        write_params({**{name: time_param(at) if at else None for name, at in times.items()}, "skip": None}, widget=key)


def _push_statuses(key: str) -> None:
    """The chips come in the order in which they were clicked: a tick that reports them again changes nothing."""
    clicked = st.session_state[key]
    is_all = not clicked or clicked[-1] == _ALL
    statuses = "" if is_all else status_param(JobStatus(each) for each in clicked if each)
    st.session_state[key] = statuses.split(",")
    write_params({"status": statuses, "skip": None}, widget=key)


def _push_sort(key: str) -> None:
    sort_by, order = st.session_state[key].split()
    write_params(sort_params(SortBy(sort_by), descending=order == "desc"), widget=key)


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
