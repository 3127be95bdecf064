"""What a page says of a job that the dashboard did not start."""

import streamlit as st

from lib.jobs.job import Job, JobStatus, Origin
from lib.ui.parts.live_times import show_moment
from lib.ui.parts.notes import show_note

MAX_PATH_CHARS = 400
WATCHED = (
    "Watched: this run was started elsewhere. Here it can be looked at, not stopped, continued or retried; "
    "nothing is written beside it."
)
FROM_TERMINAL = "Started in a terminal with lib.run: it can be cancelled here; to run it again, start it there again."


def show_origin(job: Job) -> None:
    """Who started the job, where that was not the dashboard, and what follows from it."""
    if job.origin is not Origin.DASHBOARD:
        show_note(WATCHED if job.origin is Origin.WATCHED else FROM_TERMINAL)


def show_last_sign(job: Job) -> None:
    """How old the last sign of life of a watched run is."""
    if job.origin is Origin.WATCHED and job.status is JobStatus.RUNNING:
        show_moment("Last sign of life", job.last_output_at)


def show_places(job: Job) -> None:
    """Where log and files of the job are."""
    place = job.place
    for label, path in (("Log", place.log), ("Folder", place.output), ("TensorBoard", place.events)) if place else ():
        if path:
            with st.container(gap=None):
                st.markdown(f"{label}:", width="content")
                st.code(path[:MAX_PATH_CHARS], language=None, wrap_lines=True)
