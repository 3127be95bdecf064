"""Tools for the log: find, copy, download."""

import time
from urllib.parse import quote

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from lib import services
from lib.errors import DashboardError
from lib.jobs.job import Attempt, Job, JobStatus
from lib.jobs.logs.search import LogSearch
from lib.jobs.words import count_text, size_text
from lib.ui.monitor.log import LINE_COUNTS, kept_lines, log_key, tail_text
from lib.ui.parts.errors import explained_errors
from lib.ui.parts.links import own_path
from lib.ui.parts.notes import show_note
from lib.ui.parts.text import shown_text

SEARCH_BUDGET_S = 10.0
COPIED_LINES = 1_000
_COPIED = "copied-lines"


def log_path(job_id: str, attempt: int) -> str:
    """Where the whole log of an attempt can be downloaded."""
    return own_path(f"/logs/{quote(job_id, safe='')}/{attempt}")


def search_text(search: LogSearch) -> str:
    """How many lines were found, and whether the whole log was searched."""
    count = len(search.hits)
    found = count_text(count, "line found", "lines found") if count else "No line found"
    if search.is_complete:
        return f"{found}. Search complete: the whole log was searched ({size_text(search.searched_bytes)})."
    return f"{found}. Search stopped after {size_text(search.searched_bytes)}: there may be more further down."


def hit_lines(search: LogSearch) -> str:
    """The hits with their line numbers, from 1."""
    width = len(str(search.hits[-1].line + 1)) if search.hits else 1
    return "\n".join(f"{hit.line + 1:>{width}}  {shown_text([hit.text])}" for hit in search.hits)


def show_log_tools(job: Job, attempt: Attempt) -> None:
    """The controls of the log; outside the ticking fragment, so that no tick sends them again."""
    has_lines = attempt.status is JobStatus.RUNNING or _may_have_lines(job.id, attempt.number)
    # What was found is empty at first, and would still take a gap of the page's own size.
    with st.container(gap="xxsmall"):
        bar, found = st.container(horizontal=True, vertical_alignment="center", gap="small"), st.container()
    with bar:
        st.header("Training logs", anchor="logs", width="content")
        if has_lines:
            _show_switches(job, attempt)
            _show_tools(job.id, attempt.number, found)


def _show_switches(job: Job, attempt: Attempt) -> None:
    """How the lines are shown."""
    key = log_key(job, attempt)
    st.selectbox(
        "Lines shown",
        LINE_COUNTS,
        format_func="Last {:,}".format,
        key=f"{key}-count",
        label_visibility="collapsed",
        width=115,
    )
    if attempt.status.is_active:
        st.toggle("Auto-scroll", value=True, key=f"{key}-follow")
    st.toggle("Wrap lines", key=f"{key}-wrap")


def _may_have_lines(job_id: str, attempt: int) -> bool:
    """Whether there is a log to work with. If it cannot be read, the log area says why."""
    try:
        return bool(services.latest_log(job_id, attempt).value.lines)
    except DashboardError:
        return True


@st.fragment
def _show_tools(job_id: str, attempt: int, found: DeltaGenerator) -> None:
    """Find, copy and download; what was found goes below the bar."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", width="content"):
        asked_for = _find_field(f"find-{job_id}-{attempt}")
        _show_copy(job_id, attempt)
        st.link_button("Download full log", log_path(job_id, attempt), icon=":material/download:")
    # A fragment may go on filling only what it filled in the page's own run.
    with found.container(), explained_errors("The log cannot be searched"):
        _show_found(job_id, attempt, asked_for)


def _find_field(key: str) -> str | None:
    """The text to find if it was submitted just now, else None.

    It is a form: a field outside one would swallow a click on a button elsewhere.
    """
    with (
        st.form(f"{key}-form", border=False, width="content"),
        st.container(horizontal=True, vertical_alignment="center", gap="xsmall"),
    ):
        # If it is wider, Streamlit covers the text with "Press Enter to submit form".
        needle = st.text_input(
            "Find in log",
            key=key,
            type="search",
            max_chars=200,
            width=150,
            placeholder="Find in log",
            label_visibility="collapsed",
        )
        is_asked = st.form_submit_button("Find", icon=":material/search:")
    return (needle or "") if is_asked else None


def _show_found(job_id: str, attempt: int, asked_for: str | None) -> None:
    """What the last search found. The log is searched when a search is submitted, not at every run."""
    key = f"found-{job_id}-{attempt}"
    if asked_for is not None:
        st.session_state.pop(key, None)
        if asked_for:
            deadline = time.monotonic() + SEARCH_BUDGET_S
            with st.spinner("Searching the log …"):
                search = services.find_in_log(job_id, attempt, asked_for, lambda: time.monotonic() > deadline)
            st.session_state[key] = (search_text(search), hit_lines(search))
    if key in st.session_state:
        summary, lines = st.session_state[key]
        show_note(summary)
        if lines:
            st.code(lines, language=None, wrap_lines=True, height=240 if lines.count("\n") >= 8 else "content")


def _show_copy(job_id: str, attempt: int) -> None:
    """The last lines as they were when the popover opened: a text that changes cannot be selected."""
    popover = st.popover(
        "Copy as text", icon=":material/content_copy:", key=f"copy-{job_id}-{attempt}", on_change="rerun"
    )
    frozen = f"copied-{job_id}-{attempt}"
    if not popover.open:
        st.session_state.pop(frozen, None)
        return
    with popover, explained_errors("The log cannot be read"):
        if frozen not in st.session_state:
            view = services.latest_log(job_id, attempt, kept_lines(COPIED_LINES)).value
            st.session_state[frozen] = tail_text(view, COPIED_LINES)
        st.text_area("Log lines", st.session_state[frozen], height=360, key=_COPIED, width=640)
        st.button("Copy all", icon=":material/content_copy:", key=f"{_COPIED}-all")
