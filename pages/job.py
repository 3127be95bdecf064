"""One job, live while it runs: progress, log, loss, samples, files and details."""

import streamlit as st

from lib.jobs.job import JobStatus
from lib.ui.monitor.artifacts import show_files
from lib.ui.monitor.attempts import choose_attempt, shown_attempt
from lib.ui.monitor.details import show_job_information
from lib.ui.monitor.failure import TITLES, show_failure
from lib.ui.monitor.header import browser_title, open_job, show_choice, show_header, state_of
from lib.ui.monitor.log import show_log
from lib.ui.monitor.log_tools import show_log_tools
from lib.ui.monitor.loss_chart import show_loss
from lib.ui.monitor.polling import draw, poll, show_slowly
from lib.ui.monitor.progress import show_alarms, show_progress
from lib.ui.monitor.samples import show_samples
from lib.ui.parts.job_actions import show_actions, show_pending
from lib.ui.parts.links import JOBS
from lib.ui.parts.notes import show_age

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
show_alarms(attempt)
show_actions([job], key="job", links=False, leave_to=JOBS.file)
has_begun = attempt.status is not JobStatus.PENDING
is_about_log = st.query_params.get("view") == "logs"


@st.fragment
def watch() -> None:
    """The moving part: redrawn every 2 s while the job is active, without the rest of the page."""
    reading = open_job(job_id)
    is_elsewhere = st.query_params.get("id", "").strip() != job_id
    if is_elsewhere or reading is None or state_of(reading.value) != state_of(job):
        st.rerun()
    current = reading.value
    st.set_page_config(page_title=browser_title(current))
    show_age(reading.problem, reading.read_at)
    show_progress(shown_attempt(current, str(attempt.number)), current)
    is_fresh = not has_begun or draw("The log cannot be read", lambda: show_log(current, attempt, tall=is_about_log))
    poll(reading, is_fresh=is_fresh)


files, loss = {"The files cannot be listed": show_files}, {"The loss cannot be read": show_loss}
left, right = st.columns([3, 2], gap="large")
with left:
    # With ?view=logs the log comes first and the results move below it.
    above, below = st.container(), st.container()
    with below if is_about_log else above:
        if attempt.status in TITLES:
            show_slowly("failure", job, attempt, {"The failure cannot be shown": show_failure})
        if job.status is JobStatus.SUCCEEDED:
            show_slowly("files", job, attempt, files)
    with above if is_about_log else below:
        watch()
        show_log_tools(job, attempt)
    if has_begun:
        show_slowly("samples", job, attempt, {"The samples cannot be listed": show_samples})
with right:
    if has_begun:
        show_slowly("results", job, attempt, loss if job.status is JobStatus.SUCCEEDED else loss | files)
    show_job_information(job)
