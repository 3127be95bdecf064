"""The top of a job's page: breadcrumb, name, status and actions."""

import streamlit as st

from lib import services
from lib.errors import DashboardError, JobNotFound
from lib.jobs.job import Job, JobStatus
from lib.jobs.query import JobQuery
from lib.sources.reads import Reading
from lib.ui.parts.errors import explained_errors, show_error, show_retry
from lib.ui.parts.format import percent_text
from lib.ui.parts.links import JOBS, OVERVIEW, show_place_link
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


def state_of(job: Job) -> tuple[object, ...]:
    """What the page's layout depends on: when it changes, the whole page is drawn again."""
    return job.status, job.raw_status, job.cancelling, job.attempt, job.alarms


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


def show_header(job: Job) -> None:
    """Breadcrumb that ends with the id to copy, heading, status and alarms."""
    with st.container(horizontal=True, vertical_alignment="center", gap="xxsmall", key="breadcrumb"):
        st.page_link(OVERVIEW.file, label="Dashboard")
        st.markdown("/", width="content")
        st.page_link(JOBS.file, label="LoRA Training")
        st.markdown("/ Job ID", width="content")
        st.code(plain(job.id, limit=200), language=None, width="content")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.title(escaped(job.name or job.id, limit=MAX_TITLE_CHARS), anchor=False, width="content")
        show_status_badge(job)
        for alarm in job.alarms[:MAX_ALARMS]:
            st.badge(escaped(alarm.replace("_", " "), limit=30), icon=":material/warning:", color="red")
        st.button("Refresh now", icon=":material/refresh:", key="refresh", on_click=services.forget_reads)
