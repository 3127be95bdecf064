"""The form that takes in runs which were started elsewhere."""

import streamlit as st

from lib import services
from lib.jobs.training_settings import MAX_JOB_NAME_LENGTH
from lib.jobs.words import count_text
from lib.sources.protocol import Action
from lib.ui.parts.errors import explained_errors
from lib.ui.parts.links import JOB
from lib.ui.parts.notes import show_note
from lib.ui.parts.text import escaped

MAX_PATH_CHARS = 1_000
SHOWN_RUNS = 10


def show_watch() -> None:
    """A popover with the form; nothing for a source that cannot watch at all, or a visitor who may only look."""
    with explained_errors():
        refused = services.reason_against(Action.WATCH)
        if refused and not services.source().refused.get(Action.WATCH):
            return
        if refused and services.reason_against(Action.CREATE):
            return
        with st.popover("Watch a run", icon=":material/visibility:", key="watch-run"):
            if refused:
                show_note(refused)
            else:
                _show_form()


@st.fragment
def _show_form() -> None:
    show_note(
        "A run that was started elsewhere, by any trainer: its log, its folder, or a folder of many runs. "
        "It becomes a job that is only looked at; nothing is written beside it."
    )
    with st.form("watch-form", border=False):
        place = st.text_input("Log file or folder", key="watch-place", max_chars=MAX_PATH_CHARS)
        name = st.text_input("Name (optional)", key="watch-name", max_chars=MAX_JOB_NAME_LENGTH)
        if st.form_submit_button("Watch", type="primary"):
            _take_in(place, name)


def _take_in(place: str, name: str) -> None:
    with explained_errors():
        jobs = services.act(lambda source: source.watch_job(place, name))
        st.success(f"{count_text(len(jobs), 'run is', 'runs are')} watched.")
        for job in jobs[:SHOWN_RUNS]:
            label = escaped(job.name, limit=80)
            st.page_link(JOB.file, label=label, icon=":material/arrow_forward:", query_params={"id": job.id})
        if len(jobs) > SHOWN_RUNS:
            show_note(f"and {len(jobs) - SHOWN_RUNS} more, in the list")
