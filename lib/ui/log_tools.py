"""What one does with a log beside reading it: find, copy, download."""

import time
from urllib.parse import quote

import streamlit as st

from lib import services
from lib.jobs.job import Attempt, Job, JobStatus
from lib.jobs.log import LogSearch
from lib.ui.errors import explained_errors
from lib.ui.log_panel import kept_lines, shown_text, tail_text
from lib.ui.notes import show_note
from lib.ui.times import size_text

SEARCH_BUDGET_S = 10.0
COPIED_LINES = 1_000


def log_path(job_id: str, attempt: int) -> str:
    """Where the whole log of an attempt can be downloaded."""
    base = str(st.get_option("server.baseUrlPath") or "").strip("/")
    return f"{f'/{base}' if base else ''}/logs/{quote(job_id, safe='')}/{attempt}"


def search_text(search: LogSearch) -> str:
    """How many lines were found, and whether the whole log was searched."""
    count = len(search.hits)
    found = "No line found" if count == 0 else "1 line found" if count == 1 else f"{count:,} lines found"
    if search.is_complete:
        return f"{found}. Search complete: the whole log was searched ({size_text(search.searched_bytes)})."
    return f"{found}. Search stopped after {size_text(search.searched_bytes)}: there may be more further down."


def hit_lines(search: LogSearch) -> str:
    """The hits with their line numbers from 1, as in an editor."""
    width = len(str(search.hits[-1].line + 1)) if search.hits else 1
    return "\n".join(f"{hit.line + 1:>{width}}  {shown_text([hit.text])}" for hit in search.hits)


@st.fragment
def show_log_tools(job: Job, attempt: Attempt) -> None:
    """Find, copy and download; outside the ticking fragment, so that nothing here is redrawn by a tick."""
    if attempt.status is JobStatus.PENDING:
        return
    with explained_errors("The log cannot be read"):
        if attempt.status.is_active or services.latest_log(job.id, attempt.number).value.lines:
            _show_tools(job.id, attempt.number)


def _show_tools(job_id: str, attempt: int) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        needle = _find_field(f"find-{job_id}-{attempt}")
        _show_copy(job_id, attempt)
        st.link_button("Download full log", log_path(job_id, attempt), icon=":material/download:")
    if needle:
        with explained_errors("The log cannot be searched"):
            _show_hits(job_id, attempt, needle)


def _find_field(key: str) -> str:
    """What to find. A form: a field that is left by a click on a button elsewhere would swallow that click."""
    with (
        st.form(f"{key}-form", border=False, width="content"),
        st.container(horizontal=True, vertical_alignment="bottom", gap="xsmall"),
    ):
        needle = st.text_input("Find in log", key=key, type="search", max_chars=200, width=220)
        st.form_submit_button("Find", icon=":material/search:")
    return needle or ""


def _show_hits(job_id: str, attempt: int, needle: str) -> None:
    deadline = time.monotonic() + SEARCH_BUDGET_S
    with st.spinner("Searching the log …"):
        search = services.find_in_log(job_id, attempt, needle, lambda: time.monotonic() > deadline)
    show_note(search_text(search))
    if search.hits:
        st.code(hit_lines(search), language=None, wrap_lines=True, height=240 if len(search.hits) > 8 else "content")


def _show_copy(job_id: str, attempt: int) -> None:
    """The tail as it was when the popover opened: a text that changes under a selection cannot be copied."""
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
        st.text_area("Log lines", st.session_state[frozen], height=360, key=f"{frozen}-text", width=640)
