"""The overview's panels. Each reads for itself and fails by itself."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import streamlit as st
from streamlit_autorefresh import st_autorefresh

from lib import services
from lib.errors import DashboardError
from lib.jobs.job import ACTIVE_STATUSES, Job, JobStatus
from lib.jobs.query import JobQuery, SortBy
from lib.sources.protocol import HealthCheck
from lib.ui.errors import explained_errors
from lib.ui.job_actions import JOB_PAGE
from lib.ui.stale import show_age
from lib.ui.text import escaped
from lib.ui.theme import STATUS_LOOKS, show_status_badge
from lib.ui.times import (
    UNKNOWN,
    duration_text,
    epoch_text,
    loss_text,
    now,
    percent_text,
    relative_time,
    show_time,
    step_text,
)

JOBS_PAGE = "../pages/jobs.py"
NEW_JOB_PAGE = "../pages/new_job.py"
DATASETS_PAGE = "../pages/datasets.py"
CONFIGS_PAGE = "../pages/configs.py"
TICK_MS = 2_000
SHOWN_ACTIVE = 10
SHOWN_FAILURES = 5
ACTIVE_QUERY = JobQuery(statuses=ACTIVE_STATUSES, sort_by=SortBy.STATUS, take=SHOWN_ACTIVE)
FAILED_QUERY = JobQuery(statuses=frozenset({JobStatus.FAILED, JobStatus.LOST}))
_ACTIVE_IDS = "ids of the active jobs"


def is_empty() -> bool:
    """Whether the source answers and has not a single job; what does not answer is explained by its panel."""
    try:
        return not any(services.count_by_status().values())
    except DashboardError:
        return False


def show_greeting() -> None:
    """The three steps to a first LoRA."""
    st.header("Train your first LoRA")
    st.markdown("Nothing has been trained here yet. Three steps lead to a first LoRA:")
    steps = (
        ("1. Upload a dataset", DATASETS_PAGE, ":material/photo_library:", "10 to 30 images with captions are enough."),
        ("2. Choose a configuration", CONFIGS_PAGE, ":material/tune:", "How long and how finely to train."),
        ("3. Start the training", NEW_JOB_PAGE, ":material/play_circle:", "The wizard checks everything beforehand."),
    )
    for column, (label, page, icon, text) in zip(st.columns(3), steps, strict=True):
        with column.container(border=True):
            st.page_link(page, label=label, icon=icon)
            st.markdown(text)


@st.fragment
def show_live() -> None:
    """Counts and active jobs; refreshes while a job is active, and the whole page once when one begins or ends."""
    with explained_errors("The jobs cannot be counted"):
        _show_counts(services.count_by_status())
    st.header("Active jobs")
    with explained_errors("Failed to load jobs"):
        _show_active()


def count_links(counts: Mapping[JobStatus, int]) -> list[tuple[str, str, dict[str, str]]]:
    """Label (Markdown), icon and the list's parameters for each status that has jobs; the main ones always."""
    always = (JobStatus.PENDING, JobStatus.RUNNING, JobStatus.SUCCEEDED, JobStatus.FAILED)
    return [
        (f"**{counts.get(status, 0):,}** {status.label}", STATUS_LOOKS[status].icon, {"status": status.value})
        for status in JobStatus
        if status in always or counts.get(status)
    ]


def progress_line(job: Job) -> str:
    """``42 % · Step 840/2000 · Epoch 21/50 · 1h 30m 45s left · Loss 0.0800``; only what is known."""
    progress = job.progress
    if job.status is JobStatus.PENDING:
        place = f" · Place {job.queue_position} in the queue" if job.queue_position else ""
        return f"Waiting to start{place}"
    stage = escaped(progress.stage.capitalize(), limit=40) if progress.stage else ""
    known = [
        percent_text(progress.fraction) if progress.fraction is not None else stage or "Running",
        f"Step {step_text(progress)}" if progress.step is not None else "",
        f"Epoch {epoch_text(progress)}" if progress.epoch is not None else "",
        f"{duration_text(progress.eta_s)} left" if duration_text(progress.eta_s) != UNKNOWN else "",
        f"Loss {loss_text(progress.loss)}" if progress.loss is not None else "",
    ]
    return " · ".join(text for text in known if text)


def recent_failures(jobs: Sequence[Job]) -> list[Job]:
    """The jobs that failed last, the latest first."""
    ended = sorted(jobs, key=_ended_at, reverse=True)
    return ended[:SHOWN_FAILURES]


def show_failures() -> None:
    """The last failures with their causes."""
    st.header("Recent failures")
    with explained_errors("The failures cannot be loaded"):
        jobs = recent_failures(services.list_jobs(FAILED_QUERY).jobs)
        if not jobs:
            st.markdown("No job has failed.")
        for job in jobs:
            _show_failure(job)
        if jobs:
            st.page_link(JOBS_PAGE, label="All failed jobs", query_params={"status": "failed,lost"}, icon="")


def show_health() -> None:
    """Source, store, worker and disk, each with the time of its check."""
    st.header("Health")
    with explained_errors("The health cannot be checked"):
        for check in services.health():
            st.markdown(health_text(check, now()))


def health_text(check: HealthCheck, now: datetime) -> str:
    """One line of Markdown: icon, word, name, what is the matter, and when it was looked at."""
    color, icon, word = {
        True: ("green", ":material/check_circle:", "OK"),
        False: ("red", ":material/error:", "Problem"),
        None: ("gray", ":material/help:", "Not known"),
    }[check.ok]
    latency = f", {check.latency_ms:.0f} ms" if check.latency_ms is not None else ""
    return (
        f":{color}-badge[{icon} {word}] **{escaped(check.name, limit=40)}** {escaped(check.message, limit=300)}"
        f" :gray[(checked {relative_time(check.checked_at, now)}{latency})]"
    )


def _show_counts(counts: Mapping[JobStatus, int]) -> None:
    with st.container(horizontal=True):
        for label, icon, params in count_links(counts):
            st.page_link(JOBS_PAGE, label=label, icon=icon, query_params=params)


def _show_active() -> None:
    reading = services.latest_jobs(ACTIVE_QUERY)
    show_age(reading.problem, reading.read_at)
    jobs, total = reading.value.jobs, reading.value.total
    ids = tuple(job.id for job in jobs)
    if st.session_state.setdefault(_ACTIVE_IDS, ids) != ids:
        st.session_state[_ACTIVE_IDS] = ids
        st.rerun()
    for job in jobs:
        _show_active_job(job)
    if not jobs:
        st.markdown("No job is waiting or running.")
        return
    if total > len(jobs):
        label = f"All {total:,} active jobs"
        st.page_link(JOBS_PAGE, label=label, query_params={"status": "pending,running"}, icon="")
    st_autorefresh(TICK_MS, key="overview-tick")


def _show_active_job(job: Job) -> None:
    with st.container(border=True, key=f"active-{job.id}"):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            _show_job_link(job)
            show_status_badge(job.status, job.raw_status)
        if job.progress.fraction is None:
            st.markdown(progress_line(job))
        else:
            st.progress(min(1.0, max(0.0, job.progress.fraction)), text=progress_line(job))


def _show_failure(job: Job) -> None:
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            _show_job_link(job)
            show_time("", job.finished_at)
        message = job.failure.message if job.failure else f"{job.status.label}, and no cause is known."
        st.markdown(escaped(message, limit=300))


def _show_job_link(job: Job) -> None:
    st.page_link(JOB_PAGE, label=escaped(job.name or job.id, limit=80), query_params={"id": job.id}, icon="")


def _ended_at(job: Job) -> float:
    at = job.finished_at or job.updated_at or job.created_at
    return at.timestamp() if at else 0.0
