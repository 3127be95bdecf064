"""The overview's panels. Each reads its own data and fails on its own."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import streamlit as st
from streamlit_autorefresh import st_autorefresh

from lib import services
from lib.errors import DashboardError
from lib.jobs.job import ACTIVE_STATUSES, Job, JobStatus
from lib.jobs.query import JobPage, JobQuery, SortBy
from lib.jobs.words import UNKNOWN
from lib.sources.protocol import HealthCheck
from lib.sources.reads import Reading
from lib.ui.parts.errors import explained_errors
from lib.ui.parts.format import (
    duration_text,
    epoch_text,
    loss_text,
    percent_text,
    relative_time,
    show_time,
    step_text,
    utc_now,
)
from lib.ui.parts.links import CONFIGS, DATASETS, JOB, JOBS, NEW_JOB
from lib.ui.parts.notes import show_age, show_incomplete
from lib.ui.parts.skeleton import first_read
from lib.ui.parts.text import escaped
from lib.ui.parts.theme import STATUS_LOOKS, show_status_badge

TICK_MS = 2_000
RECOVERY_TICK_MS = 10_000
# Health and failures are read again even while no job runs, so that "checked just now" stays true.
SLOW_TICK_S = 60
SHOWN_ACTIVE = 10
SHOWN_FAILURES = 5
ACTIVE_QUERY = JobQuery(statuses=ACTIVE_STATUSES, sort_by=SortBy.STATUS, take=SHOWN_ACTIVE)
FAILED_QUERY = JobQuery(
    statuses=frozenset({JobStatus.FAILED, JobStatus.LOST}), sort_by=SortBy.FINISHED_AT, take=SHOWN_FAILURES
)
ALL_FAILED = {"status": "failed,lost", "sortBy": SortBy.FINISHED_AT.value}
_ACTIVE_IDS = "ids of the active jobs"
_IN_TROUBLE = "the overview could not be read"


def is_empty() -> bool:
    """Whether the source has no job at all. On an error it returns False: the panels explain it."""
    try:
        return first_read("overview", st.container(), _has_no_job, height_px=600)
    except DashboardError:
        return False


def _has_no_job() -> bool:
    active = services.latest_jobs(ACTIVE_QUERY)
    return not any(services.count_by_status().values()) and not active.value.incomplete


def show_greeting() -> None:
    """The three steps to a first LoRA."""
    st.header("Train your first LoRA")
    st.markdown("Nothing has been trained here yet. Three steps lead to a first LoRA:")
    steps = (
        ("1. Upload a dataset", DATASETS.file, ":material/photo_library:", "10 to 30 images with captions are enough."),
        ("2. Choose a configuration", CONFIGS.file, ":material/tune:", "How long and how finely to train."),
        ("3. Start the training", NEW_JOB.file, ":material/play_circle:", "The wizard checks everything beforehand."),
    )
    for column, (label, page, icon, text) in zip(st.columns(3), steps, strict=True):
        with column.container(border=True):
            st.page_link(page, label=label, icon=icon)
            st.markdown(text)


@st.fragment
def show_live() -> None:
    """Counts and active jobs, refreshed by themselves.

    The whole page is drawn again when a job begins or ends, and when a failed read works again.
    """
    notes, counted, reading = st.container(), False, None
    with explained_errors("The jobs cannot be counted", retry=True):
        _show_counts(services.count_by_status())
        counted = True
    st.header("Active jobs")
    with explained_errors("Failed to load jobs", retry=True):
        reading = services.latest_jobs(ACTIVE_QUERY)
        with notes:
            show_age(reading.problem, reading.read_at)
            show_incomplete(reading.value.incomplete)
        _show_active(reading.value)
    _rerun_after_trouble(not counted or reading is None or reading.problem is not None)
    st_autorefresh(live_tick_ms(reading if counted else None), key="overview-tick")


def live_tick_ms(reading: Reading[JobPage] | None) -> int:
    """Milliseconds until the next read: short while a job is active, longer if something could not be read (None)."""
    if reading and reading.value.jobs:
        return TICK_MS
    if reading is None or reading.problem or reading.value.incomplete:
        return RECOVERY_TICK_MS
    return SLOW_TICK_S * 1000


def _rerun_after_trouble(in_trouble: bool) -> None:
    was_in_trouble = st.session_state.get(_IN_TROUBLE, False)
    st.session_state[_IN_TROUBLE] = in_trouble
    if was_in_trouble and not in_trouble:
        st.rerun()


def count_links(counts: Mapping[JobStatus, int]) -> list[tuple[str, str, dict[str, str]]]:
    """Label (Markdown), icon and the list's parameters for each status that has jobs, and always for the main ones."""
    always = (JobStatus.PENDING, JobStatus.RUNNING, JobStatus.SUCCEEDED, JobStatus.FAILED)
    return [
        (f"**{counts.get(status, 0):,}** {status.label}", STATUS_LOOKS[status].icon, {"status": status.value})
        for status in JobStatus
        if status in always or counts.get(status)
    ]


def progress_line(job: Job) -> str:
    """``42% · Step 840/2000 · Epoch 21/50 · 1h 30m 45s left · Loss 0.0800``; only what is known."""
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


@st.fragment(run_every=SLOW_TICK_S)
def show_failures() -> None:
    """The jobs that failed last, with their causes, latest first."""
    st.header("Recent failures")
    with explained_errors("The failures cannot be loaded", retry=True):
        reading = first_read("failures", st.container(), lambda: services.latest_jobs(FAILED_QUERY), height_px=400)
        show_age(reading.problem, reading.read_at)
        show_incomplete(reading.value.incomplete)
        for job in reading.value.jobs:
            _show_failure(job)
        if reading.value.jobs:
            st.page_link(JOBS.file, label="All failed jobs", query_params=ALL_FAILED, icon="")
        else:
            st.markdown("No failure is known so far." if reading.value.incomplete else "No job has failed.")


@st.fragment(run_every=SLOW_TICK_S)
def show_health() -> None:
    """Source, store, worker and disk, with the time of each check."""
    st.header("Health")
    with explained_errors("The health cannot be checked", retry=True):
        for check in first_read("health", st.container(), services.health, height_px=120):
            st.markdown(health_text(check, utc_now()))


def health_text(check: HealthCheck, now: datetime) -> str:
    """One line of Markdown: icon, word, name, message and the time of the check."""
    color, icon, word = {
        True: ("green", ":material/check_circle:", "OK"),
        False: ("red", ":material/error:", "Problem"),
        None: ("gray", ":material/remove:", "Not checked"),
    }[check.ok]
    latency = f", {check.latency_ms:.0f} ms" if check.latency_ms is not None else ""
    return (
        f":{color}-badge[{icon} {word}] **{escaped(check.name, limit=40)}** {escaped(check.message, limit=300)}"
        f" :gray[(checked {relative_time(check.checked_at, now)}{latency})]"
    )


def _show_counts(counts: Mapping[JobStatus, int]) -> None:
    with st.container(horizontal=True):
        for label, icon, params in count_links(counts):
            st.page_link(JOBS.file, label=label, icon=icon, query_params=params)


def in_queue_order(jobs: Sequence[Job]) -> list[Job]:
    """Running jobs first, then the queue in its order."""
    waits = {job.id: job.status is JobStatus.PENDING for job in jobs}
    runs = [job for job in jobs if not waits[job.id]]
    # They come newest first; if the places in the queue are unknown, the oldest is next.
    return runs + sorted((job for job in reversed(jobs) if waits[job.id]), key=lambda job: job.queue_position or 0)


def _show_active(page: JobPage) -> None:
    jobs, total = in_queue_order(page.jobs), page.total
    ids = tuple(job.id for job in jobs)
    if st.session_state.setdefault(_ACTIVE_IDS, ids) != ids:
        st.session_state[_ACTIVE_IDS] = ids
        st.rerun()
    for job in jobs:
        _show_active_job(job)
    if not jobs:
        st.markdown("No job is known to wait or run." if page.incomplete else "No job is waiting or running.")
    if total > len(jobs):
        label = f"All {total:,} active jobs"
        st.page_link(JOBS.file, label=label, query_params={"status": "pending,running"}, icon="")


def _show_active_job(job: Job) -> None:
    with st.container(border=True, key=f"active-{job.id}"):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            _show_job_link(job)
            show_status_badge(job)
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
    st.page_link(JOB.file, label=escaped(job.name or job.id, limit=80), query_params={"id": job.id}, icon="")
