"""The list of jobs: filters, table, selection and pages in one fragment that refreshes itself."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit_autorefresh import st_autorefresh

from lib import services
from lib.errors import DashboardError
from lib.jobs.job import Job, JobStatus
from lib.jobs.query import JobPage, JobQuery
from lib.jobs.words import count_text
from lib.sources.reads import Reading
from lib.ui.job_list.chosen import show_column_choice, shown_keys
from lib.ui.job_list.columns import SAMPLE
from lib.ui.job_list.csv_export import jobs_csv
from lib.ui.job_list.grid import ROW_HEIGHT_PX, rows_key, show_table, shown_columns
from lib.ui.job_list.queue import show_moves
from lib.ui.job_list.sweep import SWEEP_ICON, show_sweep
from lib.ui.parts.browser import is_narrow
from lib.ui.parts.errors import explained_errors, show_error, show_retry
from lib.ui.parts.format import utc_now
from lib.ui.parts.job_actions import download_path, show_actions
from lib.ui.parts.job_filters import TAKES, clear_filters, job_query, show_filters
from lib.ui.parts.links import NEW_JOB, show_place_link
from lib.ui.parts.live_times import show_moment
from lib.ui.parts.notes import show_age, show_bad_parameters, show_incomplete
from lib.ui.parts.pace import PACE, in_turn
from lib.ui.parts.text import escaped
from lib.ui.parts.url import mirrored_key, settle_url, url_reader, write_params

TICK_MS = 2_000
SLOW_TICK_MS = 10_000
IDLE_TICK_MS = 60_000
IDLE_AFTER_S = 300
_LAST_CHANGE = "what the list showed, and since when"


def page_texts(page: JobPage, query: JobQuery) -> tuple[str, str, str]:
    """``137 jobs``, ``Showing 21-40 of 137``, ``Page 2 of 7``; the last two are empty if one page shows all."""
    count = count_text(page.total, "job", "jobs")
    if page.total <= query.take and query.skip == 0:
        return count, "", ""
    last = query.skip + len(page.jobs)
    pages = -(-page.total // query.take)
    number = min(pages, query.skip // query.take + 1)
    return count, f"Showing {query.skip + 1:,}-{last:,} of {page.total:,}", f"Page {number:,} of {pages:,}"


def last_page(total: int, query: JobQuery) -> JobQuery:
    """The same query for the last page."""
    return replace(query, skip=max(0, (total - 1) // query.take * query.take))


def tick_ms(page: JobPage, *, is_stale: bool, unchanged_s: float) -> int:
    """When to look again: soon while a shown job is active, and always once in a while, for a colleague's new job."""
    if any(job.status.is_active for job in page.jobs):
        return TICK_MS
    if is_stale or page.incomplete or unchanged_s < IDLE_AFTER_S:
        return SLOW_TICK_MS
    return IDLE_TICK_MS


@st.fragment
@in_turn
def show_jobs(bar: DeltaGenerator) -> None:
    """Filters and list for this URL. It refreshes itself, without the rest of the page.

    Args:
        bar: Where the actions for selected jobs go: pinned to the bottom, so that they are always visible and do not
            move the rows.
    """
    settle_url()
    # A fragment may only write to containers that it wrote to in the full run.
    bar.empty()
    url = url_reader()
    query, keys = job_query(url), shown_keys(url)
    if is_narrow():
        show_filters(query, _counts(), is_narrow=True)
    else:
        show_filters(query, _counts(), show_more=lambda: show_column_choice(keys))
    show_bad_parameters(url.problems)
    # Skeleton and age share a place: an empty container would leave a gap until the next run, and the table would jump.
    head = st.empty()
    if query.sweep:
        show_sweep(query.sweep)
    with explained_errors("Failed to load jobs"):
        try:
            reading, query = _read(query, head)
        except DashboardError as error:
            _show_failure(error)
        else:
            with head:
                show_age(reading.problem, reading.read_at)
            _show_list(reading, query, keys, bar)


def _show_list(reading: Reading[JobPage], query: JobQuery, keys: Sequence[str], bar: DeltaGenerator) -> None:
    page = reading.value
    if page.total == 0:
        _show_gaps(page)
        _show_nothing(page, query)
    else:
        _show_summary(page, query, reading.read_at)
        _show_gaps(page)
        columns = shown_columns(keys, is_narrow=is_narrow())
        samples = _samples(page.jobs) if SAMPLE in columns else {}
        selected = show_table(page.jobs, query, columns, samples=samples, is_narrow=is_narrow())
        with bar:
            _show_selection(selected)
        _show_below(page, query)
    unchanged_s = _unchanged_s(page)
    wanted_ms = tick_ms(page, is_stale=reading.problem is not None, unchanged_s=unchanged_s)
    st_autorefresh(PACE.interval_ms(wanted_ms), key="jobs-tick")


def _counts() -> Mapping[JobStatus, int]:
    """How many jobs have each status; empty while that cannot be read. The list says why."""
    try:
        return services.count_by_status()
    except DashboardError:
        return {}


def _samples(jobs: Sequence[Job]) -> Mapping[str, str]:
    """The address of the newest sample by job id, as a small picture on our own route."""
    if not services.source().lists_samples:
        return {}
    try:
        found = services.highlights(jobs)
    except DashboardError:  # the list is more important than its pictures
        return {}
    return {
        job_id: f"{download_path(job_id, each.sample.id)}?inline=1&small=1"
        for job_id, each in found.items()
        if each.sample is not None
    }


def _unchanged_s(page: JobPage) -> float:
    """For how long this visit has seen the same jobs in the same states."""
    now = utc_now()
    shown = rows_key([str(page.total), *(f"{job.id} {job.status} {job.attempt}" for job in page.jobs)])
    last, since = st.session_state.get(_LAST_CHANGE, ("", now))
    if last != shown:
        st.session_state[_LAST_CHANGE] = (shown, now)
        return 0.0
    return float((now - since).total_seconds())


def _read(query: JobQuery, head: DeltaGenerator) -> tuple[Reading[JobPage], JobQuery]:
    """The requested page, or the last one if it is gone because its last job was deleted."""
    if services.knows_jobs(query):
        reading = services.latest_jobs(query)
    else:
        with head.skeleton(height=query.take * ROW_HEIGHT_PX):
            reading = services.latest_jobs(query)
    if reading.value.jobs or reading.value.total == 0 or query.skip == 0:
        return reading, query
    query = last_page(reading.value.total, query)
    return services.latest_jobs(query), query


def _show_failure(error: DashboardError) -> None:
    show_error(error, title="Failed to load jobs")
    show_retry("jobs")
    st_autorefresh(SLOW_TICK_MS, key="jobs-recovery")


def _show_nothing(page: JobPage, query: JobQuery) -> None:
    if query.is_filtered:
        st.header("No jobs found so far" if page.incomplete else "No jobs found")
        st.markdown("Try adjusting your filters.")
        st.button("Clear filters", icon=":material/filter_alt_off:", on_click=clear_filters)
    elif page.incomplete or page.skipped_rows:
        st.header("No jobs to show")
    else:
        st.header("No training jobs yet")
        st.markdown("A job trains a LoRA on a dataset. It appears here as soon as it is created.")
        st.page_link(NEW_JOB.file, label="Create Training Job", icon=":material/add:")


def _show_summary(page: JobPage, query: JobQuery, read_at: datetime) -> None:
    count, showing, _ = page_texts(page, query)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(f"**{count}**" + (f" · {showing}" if showing else ""), width="content")
        show_moment("Updated", read_at)


def _show_gaps(page: JobPage) -> None:
    """What the list lacks: rows not read yet, and rows that could not be understood."""
    show_incomplete(page.incomplete)
    if page.skipped_rows:
        rows = count_text(page.skipped_rows, "row", "rows")
        st.warning(f"{rows} of the source could not be understood and cannot be shown.", icon=":material/warning:")


def _show_below(page: JobPage, query: JobQuery) -> None:
    """Page buttons, page size and the CSV download."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        _show_pages(page, query)
        with st.container(horizontal=True, vertical_alignment="center", width="content"):
            if page.total > TAKES[0]:
                _show_page_size(query)
            st.download_button(
                "Download CSV",
                data=lambda: jobs_csv(services.source().all_jobs(query), utc_now()),
                file_name="jobs.csv",
                mime="text/csv",
                icon=":material/table_view:",
                on_click="ignore",
                key="jobs-csv",
            )


def _show_pages(page: JobPage, query: JobQuery) -> None:
    _, _, position = page_texts(page, query)
    if not position:
        return
    with st.container(horizontal=True, vertical_alignment="center", width="content"):
        _show_step("Previous page", ":material/chevron_left:", query.skip - query.take, disabled=query.skip == 0)
        st.markdown(position, width="content")
        beyond = query.skip + query.take
        _show_step("Next page", ":material/chevron_right:", beyond, disabled=beyond >= page.total)


def _show_step(label: str, icon: str, skip: int, *, disabled: bool) -> None:
    target = {"skip": str(skip) if skip > 0 else None}
    st.button(label, icon=icon, disabled=disabled, on_click=write_params, args=(target,))


def _show_page_size(query: JobQuery) -> None:
    key, takes = mirrored_key("page-size", query.take), sorted({*TAKES, query.take})
    st.selectbox(
        "Jobs per page",
        takes,
        index=takes.index(query.take),
        format_func=lambda take: f"{take} per page",
        key=key,
        label_visibility="collapsed",
        width=140,
        on_change=_push_page_size,
        args=(key,),
    )


def _push_page_size(key: str) -> None:
    take = st.session_state[key]
    write_params({"take": None if take == TAKES[0] else str(take), "skip": None}, widget=key)


def _show_selection(selected: Sequence[Job]) -> None:
    if not selected:
        return
    one = escaped(selected[0].name or selected[0].id, limit=80)
    st.markdown(f"**Selected:** {one if len(selected) == 1 else f'{len(selected)} jobs'}")
    show_moves(selected)
    if len(sweeps := {job.sweep for job in selected}) == 1 and (sweep := sweeps.pop()):
        show_place_link("Its sweep", {"sweep": sweep.id, "skip": None}, icon=SWEEP_ICON)
    show_actions(selected, key="jobs")
