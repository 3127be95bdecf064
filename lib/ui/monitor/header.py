"""The top of a job's page: breadcrumb, name, status, the one action that matters now, and a menu with the rest."""

from datetime import datetime

import streamlit as st

from lib import services
from lib.errors import DashboardError, JobNotFound
from lib.jobs.job import Attempt, Job, JobStatus
from lib.jobs.query import JobQuery
from lib.sources.reads import Reading
from lib.ui.monitor.artifacts import link_state
from lib.ui.monitor.attempts import choose_attempt
from lib.ui.monitor.job_menu import show_main_action, show_menu
from lib.ui.monitor.watched import show_origin
from lib.ui.parts.errors import explained_errors, show_error, show_retry
from lib.ui.parts.format import percent_text
from lib.ui.parts.links import JOBS, OVERVIEW, show_place_link
from lib.ui.parts.notes import show_note
from lib.ui.parts.text import escaped, plain
from lib.ui.parts.theme import show_status_badge, status_text

MAX_TITLE_CHARS = 120
MAX_ALARMS = 3


def browser_title(job: Job) -> str:
    """``42% · Aria v1``: a job can be followed in a background tab."""
    name = plain(job.name or job.id, limit=60)
    is_going_on = job.status is JobStatus.RUNNING and not job.cancelling
    if is_going_on and job.progress.fraction is not None:
        return f"{percent_text(job.progress.fraction)} · {name}"
    return f"{'Waiting' if job.status is JobStatus.PENDING else status_text(job)} · {name}"


def state_of(job: Job, now: datetime) -> tuple[object, ...]:
    """What the page's layout depends on: when it changes, the whole page is drawn again."""
    expired = sum(link_state(file, now).is_expired for file in job.artifacts)
    # The files of a job may be told after its end, and "Download" is for one of them.
    files = len(job.artifacts) if job.status is JobStatus.SUCCEEDED else 0
    written = job.name, job.is_starred, job.best, job.tags, job.note
    return job.status, job.raw_status, job.cancelling, job.attempt, job.alarms, expired, files, written


def open_job(job_id: str) -> Reading[Job] | None:
    """The job; None after showing why there is none."""
    try:
        return services.latest_job(job_id)
    except DashboardError as error:
        is_gone = isinstance(error, JobNotFound)
        st.title("Job not found" if is_gone else "Job could not be loaded", anchor=False)
        show_error(error)
        if not is_gone:
            show_retry("job")
        st.page_link(JOBS.file, label="All jobs", icon=":material/arrow_back:")
    return None


def show_choice() -> None:
    """The page without an id: the latest jobs, to choose from."""
    st.title("Job", anchor=False)
    with explained_errors("Failed to load jobs"):
        jobs = services.latest_jobs(JobQuery()).value.jobs
        st.markdown("Choose a job." if jobs else "No training jobs yet.")
        for job in jobs:
            with st.container(horizontal=True, vertical_alignment="center"):
                show_status_badge(job)
                show_place_link(escaped(job.name or job.id, limit=80), {"id": job.id})
    st.page_link(JOBS.file, label="All jobs", icon=":material/list:")


def show_header(job: Job) -> Attempt:
    """Breadcrumb and one row: name, status, alarms, actions. Returns the attempt that is to be shown."""
    with st.container(horizontal=True, vertical_alignment="center", gap="xxsmall", key="breadcrumb"):
        for page in (OVERVIEW, JOBS):
            st.page_link(page.file, label=page.title)
            st.markdown(":small[/]", width="content")
        if job.sweep:
            label = escaped(job.sweep.name or job.sweep.id, limit=60)
            st.page_link(JOBS.file, label=label, query_params={"sweep": job.sweep.id})
            st.markdown(":small[/]", width="content")
        show_note(job.id[:60])
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="job-header"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small", width="stretch"):
            star = "★ " if job.is_starred else ""
            st.title(star + escaped(job.name or job.id, limit=MAX_TITLE_CHARS), anchor=False, width="content")
            show_status_badge(job)
            for alarm in job.alarms[:MAX_ALARMS]:
                st.badge(escaped(alarm.replace("_", " "), limit=30), icon=":material/warning:", color="red")
            attempt = choose_attempt(job)
        with explained_errors("The files cannot be listed"):
            show_main_action(job)
        show_menu(job)
    show_origin(job)
    return attempt
