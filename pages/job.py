"""One job, watched while it runs: progress, log, loss, samples, files, and what is known about it."""

import streamlit as st

from lib import services
from lib.jobs.job import JobStatus
from lib.ui.artifact_panel import show_files
from lib.ui.attempts import choose_attempt, shown_attempt
from lib.ui.details_panel import show_job_information
from lib.ui.errors import explained_errors
from lib.ui.failure_panel import TITLES, show_failure
from lib.ui.job_actions import show_pending
from lib.ui.job_header import browser_title, open_job, show_choice, show_header, show_stale_note
from lib.ui.job_poll import poll, poll_results
from lib.ui.log_panel import show_log
from lib.ui.log_tools import show_log_tools
from lib.ui.loss_chart import show_loss
from lib.ui.progress_panel import show_progress
from lib.ui.sample_gallery import show_samples

show_pending()
job_id = st.query_params.get("id", "").strip()
if not job_id:
    show_choice()
    st.stop()
opened = open_job(job_id)
if opened is None:
    st.stop()
job = opened.value
show_header(job)
attempt = choose_attempt(job)
wants_log = st.query_params.get("view") == "logs"


@st.fragment
def watch() -> None:
    """What moves: drawn again every 2 s while the job is active, and nothing else of the page with it."""
    reading = open_job(job_id)
    if reading is None or (reading.value.status, reading.value.attempt) != (job.status, job.attempt):
        st.rerun()
    current = reading.value
    st.set_page_config(page_title=browser_title(current))
    show_stale_note(reading)
    show_progress(shown_attempt(current, str(attempt.number)), current)
    if attempt.status is not JobStatus.PENDING:
        with explained_errors("The log cannot be read"):
            show_log(current, attempt, tall=wants_log)
    poll(reading)


@st.fragment
def results() -> None:
    """What grows slowly: every 10 s while the job is active."""
    with explained_errors("The loss cannot be read"):
        show_loss(job, shown_attempt(services.latest_job(job_id).value, str(attempt.number)))
    if job.status is not JobStatus.SUCCEEDED:
        with explained_errors("The files cannot be listed"):
            show_files(job, attempt)
    poll_results(job, key="results")


@st.fragment
def files() -> None:
    """The files of a job that succeeded; once a minute where links expire."""
    with explained_errors("The files cannot be listed"):
        show_files(job, attempt)
    poll_results(job, key="files")


@st.fragment
def samples() -> None:
    """The same for the images."""
    with explained_errors("The samples cannot be listed"):
        show_samples(job, attempt)
    poll_results(job, key="samples")


left, right = st.columns([3, 2], gap="large")
with left:
    if attempt.status in TITLES:
        show_failure(job, attempt)
    if job.status is JobStatus.SUCCEEDED:
        files()
    watch()
    show_log_tools(job, attempt)
    if attempt.status is not JobStatus.PENDING:
        samples()
with right:
    if attempt.status is not JobStatus.PENDING:
        results()
    show_job_information(job)
