"""One job, live while it runs: progress and loss first, then one view at a time: log, samples, files or details."""

import streamlit as st

from lib.jobs.job import JobStatus
from lib.ui.monitor import views
from lib.ui.monitor.artifacts import show_files
from lib.ui.monitor.attempts import shown_attempt
from lib.ui.monitor.details import show_job_information
from lib.ui.monitor.failure import TITLES, show_failure
from lib.ui.monitor.header import browser_title, open_job, show_choice, show_header, state_of
from lib.ui.monitor.log import show_log
from lib.ui.monitor.log_tools import show_log_tools
from lib.ui.monitor.loss_chart import show_lag, show_loss
from lib.ui.monitor.polling import draw, poll, show_slowly
from lib.ui.monitor.progress import show_alarms, show_progress
from lib.ui.monitor.resume import can_continue, has_state, show_continue_dialog
from lib.ui.monitor.samples import show_newest_samples, show_samples
from lib.ui.parts.format import utc_now
from lib.ui.parts.job_actions import show_pending
from lib.ui.parts.notes import show_refreshable_age
from lib.ui.parts.pace import in_turn

show_pending()
job_id = st.query_params.get("id", "").strip()
if not job_id:
    show_choice()
    st.stop()
opened = open_job(job_id)
if opened is None:
    st.stop()
job, drawn_state = opened.value, state_of(opened.value, utc_now())
attempt = show_header(job)
show_continue_dialog(job)
show_alarms(attempt)
has_begun = attempt.status is not JobStatus.PENDING and not attempt.never_began
first_screen = st.container()
view = views.choose_view(attempt)
log_place = st.container()


@st.fragment
@in_turn
def watch() -> None:
    """The moving part: redrawn every 2 s while the job is active, without the rest of the page."""
    reading = open_job(job_id)
    is_elsewhere = st.query_params.get("id", "").strip() != job_id
    if is_elsewhere or reading is None or state_of(reading.value, utc_now()) != drawn_state:
        st.rerun()
    current = reading.value
    st.set_page_config(page_title=browser_title(current))
    show_refreshable_age(reading.problem, reading.read_at)
    shown = shown_attempt(current, str(attempt.number))
    if shown.status in TITLES:
        show_failure(shown, has_state=can_continue(current) and has_state(current))
    show_progress(shown, current)
    show_lag(current, shown)
    is_fresh = True
    if view == views.LOG:
        with log_place.container():
            is_fresh = draw("The log cannot be read", lambda: show_log(current, attempt))
    poll(reading, is_fresh=is_fresh)


if view == views.LOG:
    with log_place:
        show_log_tools(job, attempt)
with first_screen:
    left, right = st.columns(2, gap="large") if has_begun else (st.container(), st.container())
    with left:
        watch()
    if has_begun:
        with right:
            show_slowly("loss", job, attempt, {"The loss cannot be read": show_loss})
        # The samples go where there is room: what is said of a failure fills the left side.
        with right if attempt.failure else left:
            if view != views.SAMPLES:
                show_slowly("strip", job, attempt, {"The samples cannot be listed": show_newest_samples})
if view == views.SAMPLES:
    show_slowly("view", job, attempt, {"The samples cannot be listed": show_samples})
elif view == views.FILES:
    show_slowly("view", job, attempt, {"The files cannot be listed": show_files})
elif view == views.DETAILS:
    show_job_information(job)
