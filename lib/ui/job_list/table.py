"""The list of jobs: table, selection and pages."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit_autorefresh import st_autorefresh

from lib import services
from lib.errors import DashboardError
from lib.jobs.failures.causes import Cause
from lib.jobs.job import Job, JobStatus
from lib.jobs.query import JobPage, JobQuery
from lib.jobs.words import UNKNOWN, count_text
from lib.sources.reads import Reading
from lib.ui.job_list.csv_export import jobs_csv
from lib.ui.parts.errors import explained_errors, show_error, show_retry
from lib.ui.parts.format import duration_text, epoch_text, loss_text, percent_text, utc_now, viewer_zone, whole_percent
from lib.ui.parts.job_actions import show_actions
from lib.ui.parts.job_filters import clear_filters, job_query
from lib.ui.parts.links import JOB, NEW_JOB, follow_link
from lib.ui.parts.notes import show_age, show_incomplete
from lib.ui.parts.text import escaped, plain
from lib.ui.parts.theme import CANCELLING, STATUS_LOOKS, status_text
from lib.ui.parts.url import settle_url, url_reader, write_params

TICK_MS = 2_000
RECOVERY_TICK_MS = 10_000
ROW_HEIGHT_PX = 35
_SELECTED = "ids of the selected jobs"


def job_rows(jobs: Sequence[Job], now: datetime) -> list[dict[str, Any]]:
    """A row per job, with the table's columns."""
    return [
        {
            "Open": "Open",
            "Name": plain(job.name or job.id, limit=200),
            "Status": status_words(job),
            "Progress": whole_percent(job.progress.fraction),
            "Epoch": epoch_text(job.progress),
            "Loss": loss_text(job.progress.loss),
            "ETA": duration_text(job.progress.eta_s if job.status.is_active else None),
            "Duration": duration_text(job.duration_s(now)),
            "Created": job.created_at,
            "Dataset": plain(job.dataset_name or job.dataset_id or UNKNOWN, limit=100),
            "Configuration": plain(job.config_name or job.config_id or UNKNOWN, limit=100),
            "Created at": job.created_at,
            "Job ID": plain(job.id, limit=100),
        }
        for job in jobs
    ]


def status_words(job: Job) -> list[str]:
    """The status, then cause and alarms: ``Failed``, ``out of memory``; ``Running``, ``nan loss``."""
    words = [job.failure.cause] if job.failure else []
    if words == [Cause.UNKNOWN]:
        words = ["cause unknown"]
    notes = dict.fromkeys((*words, *job.alarms[:3]))
    status = status_text(job)
    return [status, *(plain(note, limit=30).replace("_", " ") for note in notes if note)]


def link_label(job: Job) -> str:
    """One job in one line of Markdown: ``Aria v1: Failed, out of memory, 42%``."""
    words = [escaped(word) for word in status_words(job)]
    done = [] if job.progress.fraction is None else [percent_text(job.progress.fraction)]
    return f"{escaped(job.name or job.id, limit=80)}: {', '.join((*words, *done))}"


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


@st.fragment
def show_jobs(bar: DeltaGenerator) -> None:
    """The list for this URL. It refreshes itself while a shown job is active, without the rest of the page.

    Args:
        bar: Where the actions for selected jobs go: pinned to the bottom, so that they are always visible and do not
            move the rows.
    """
    settle_url()
    # A fragment may only write to containers that it wrote to in the full run.
    bar.empty()
    # Skeleton and age share a place: an empty container would leave a gap until the next run, and the table would jump.
    head = st.empty()
    with explained_errors("Failed to load jobs"):
        try:
            reading, query = _read(job_query(url_reader()), head)
        except DashboardError as error:
            _show_failure(error)
        else:
            with head:
                show_age(reading.problem, reading.read_at)
            _show_list(reading, query, bar)


def _show_list(reading: Reading[JobPage], query: JobQuery, bar: DeltaGenerator) -> None:
    page = reading.value
    if page.total == 0:
        _show_gaps(page)
        _show_nothing(page, query)
    else:
        _show_summary(page, query)
        _show_gaps(page)
        selected = _show_table(page)
        with bar:
            _show_selection(selected)
        _show_below(page, query)
    if any(job.status.is_active for job in page.jobs):
        st_autorefresh(TICK_MS, key="jobs-tick")
    elif reading.problem is not None or page.incomplete:
        st_autorefresh(RECOVERY_TICK_MS, key="jobs-recovery")


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
    st_autorefresh(RECOVERY_TICK_MS, key="jobs-recovery")


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


def _show_summary(page: JobPage, query: JobQuery) -> None:
    count, showing, _ = page_texts(page, query)
    # No button beside it: the table's toolbar covers the right end of this line.
    st.markdown(f"**{count}**" + (f" · {showing}" if showing else ""), width="content")


def _show_gaps(page: JobPage) -> None:
    """What the list lacks: rows not read yet, and rows that could not be understood."""
    show_incomplete(page.incomplete)
    if page.skipped_rows:
        rows = count_text(page.skipped_rows, "row", "rows")
        st.warning(f"{rows} of the source could not be understood and cannot be shown.", icon=":material/warning:")


def rows_key(ids: Sequence[str]) -> str:
    """A short name for these rows in this order, for widget keys."""
    return hashlib.sha256(json.dumps(list(ids)).encode()).hexdigest()[:16]


def _show_table(page: JobPage) -> list[Job]:
    """The table; returns the selected jobs.

    Streamlit selects rows by position, so the widget's key depends on the rows: when a new job moves them, the
    selection is carried over by id, and a click on the old rows is dropped instead of hitting another job.
    """
    ids = [job.id for job in page.jobs]
    rows = rows_key(ids)
    chosen = st.session_state.get(_SELECTED, ())
    event = st.dataframe(
        pd.DataFrame(job_rows(page.jobs, utc_now())),
        key=f"jobs-{rows}",
        hide_index=True,
        height="content",
        column_config=_columns(f"open-{rows}"),
        column_order=_SHOWN_COLUMNS,
        on_select="rerun",
        selection_mode="multi-row",
        selection_default={"selection": {"rows": [ids.index(each) for each in chosen if each in ids]}},
        alt="Training jobs. Shift+Space selects a row.",
    )
    if (click := st.session_state.get(f"open-{rows}")) is not None:
        follow_link(JOB.file, {"id": ids[click["row"]]})
    selected = [page.jobs[row] for row in event["selection"]["rows"] if row < len(ids)]
    st.session_state[_SELECTED] = tuple(job.id for job in selected)
    return selected


_SHOWN_COLUMNS = (
    "Open",
    "Name",
    "Status",
    "Progress",
    "Epoch",
    "Loss",
    "ETA",
    "Duration",
    "Created",
    "Dataset",
    "Configuration",
)


def _columns(open_key: str) -> dict[str, Any]:
    config = st.column_config
    zone = str(viewer_zone())
    known = {status.label: STATUS_LOOKS[status].color for status in JobStatus}
    known[CANCELLING] = STATUS_LOOKS[JobStatus.CANCELLED].color
    return {
        "Open": config.ButtonColumn("Open", key=open_key, type="tertiary", width=58),
        "Name": config.TextColumn(width=180),
        # As wide as "Failed" with "permission denied" beside it.
        "Status": config.MultiselectColumn(options=list(known), color=list(known.values()), width=200),
        "Progress": config.ProgressColumn(min_value=0, max_value=100, format="%d%%", width=110),
        "Epoch": config.TextColumn(width=75, alignment="right"),
        "Loss": config.TextColumn(width=70, alignment="right"),
        "ETA": config.TextColumn(width=95, alignment="right"),
        "Duration": config.TextColumn(width=95, alignment="right"),
        "Created": config.DatetimeColumn(format="distance", timezone=zone, width=115),
        "Created at": config.DatetimeColumn(format="localized", timezone=zone),
    }


def _show_below(page: JobPage, query: JobQuery) -> None:
    """Page buttons, the CSV download, and the jobs as links."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        _show_pages(page, query)
        st.download_button(
            "Download CSV",
            data=lambda: jobs_csv(services.source().all_jobs(query), utc_now()),
            file_name="jobs.csv",
            mime="text/csv",
            icon=":material/table_view:",
            on_click="ignore",
            key="jobs-csv",
        )
    _show_links(page.jobs)


def _show_links(jobs: Sequence[Job]) -> None:
    """Each job as a link: the table is a canvas whose buttons a keyboard cannot reach."""
    links = st.expander("Jobs on this page as links", key="jobs-links", on_change="rerun")
    if links.open:
        with links:
            for job in jobs:
                st.page_link(JOB.file, label=link_label(job), query_params={"id": job.id})


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


def _show_selection(selected: Sequence[Job]) -> None:
    if not selected:
        return
    one = escaped(selected[0].name or selected[0].id, limit=80)
    st.markdown(f"**Selected:** {one if len(selected) == 1 else f'{len(selected)} jobs'}")
    show_actions(selected, key="jobs")
