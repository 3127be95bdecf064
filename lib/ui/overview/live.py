"""What runs and what waits, refreshed by itself: cards with the newest sample, and the queue in its order."""

from collections.abc import Mapping, Sequence

import streamlit as st
from streamlit_autorefresh import st_autorefresh

from lib import services
from lib.errors import DashboardError
from lib.jobs.job import Artifact, Job, JobStatus
from lib.jobs.query import JobPage, JobQuery
from lib.jobs.words import UNKNOWN
from lib.sources.protocol import Action
from lib.sources.reads import Reading
from lib.ui.parts.errors import explained_errors
from lib.ui.parts.format import duration_text, epoch_text, loss_text, percent_text, step_text
from lib.ui.parts.links import JOB, JOBS
from lib.ui.parts.live_times import show_moment
from lib.ui.parts.notes import show_age, show_incomplete, show_note
from lib.ui.parts.pace import PACE, in_turn
from lib.ui.parts.samples import show_sample
from lib.ui.parts.text import escaped, plain
from lib.ui.parts.theme import CANCELLING, STATUS_LOOKS

TICK_MS = 2_000
# Also while nothing runs: a colleague may start a job.
IDLE_TICK_MS = 10_000
SHOWN_RUNNING = 10
THUMBNAIL_PX = 88
RUNNING_QUERY = JobQuery(statuses=frozenset({JobStatus.RUNNING}), take=SHOWN_RUNNING)
TO_THE_FRONT = -1_000_000
_ACTIVE_IDS = "ids of the active jobs"
_IN_TROUBLE = "the overview could not be read"


@st.fragment
@in_turn
def show_live() -> None:
    """Counts, running jobs and the queue.

    The whole page is drawn again when a job begins or ends, and when a failed read works again.
    """
    above = st.container(gap=None)
    notes = above.container()
    counts: Mapping[JobStatus, int] | None = None
    running: Reading[JobPage] | None = None
    queue: Sequence[Job] | None = None
    with above, explained_errors("The jobs cannot be counted", retry=True):
        counts = services.count_by_status()
        _show_counts(counts)
    with explained_errors("Failed to load jobs", retry=True):
        running, queue = services.latest_jobs(RUNNING_QUERY), services.queued_jobs()
        with notes:
            show_age(running.problem, running.read_at)
            show_incomplete(running.value.incomplete)
        _rerun_after_change((*running.value.jobs, *queue))
        _show_active(running.value, queue, (counts or {}).get(JobStatus.PENDING, 0))
    _rerun_after_trouble(counts is None or queue is None or running is None or running.problem is not None)
    st_autorefresh(PACE.interval_ms(tick_ms(running, queue or ())), key="overview-tick")


def tick_ms(running: Reading[JobPage] | None, queue: Sequence[Job]) -> int:
    """Milliseconds until the next read: short while a job is active and could be read, else longer."""
    return TICK_MS if running and (running.value.jobs or queue) else IDLE_TICK_MS


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
    stage = escaped(progress.stage.capitalize(), limit=40) if progress.stage else ""
    known = [
        CANCELLING if job.cancelling else "",
        percent_text(progress.fraction) if progress.fraction is not None else stage or "Running",
        f"Step {step_text(progress)}" if progress.step is not None else "",
        f"Epoch {epoch_text(progress)}" if progress.epoch is not None else "",
        f"{duration_text(progress.eta_s)} left" if duration_text(progress.eta_s) != UNKNOWN else "",
        f"Loss {loss_text(progress.loss)}" if progress.loss is not None else "",
    ]
    return " · ".join(text for text in known if text)


def _rerun_after_change(active: Sequence[Job]) -> None:
    ids = {job.id: job.status for job in active}
    if st.session_state.setdefault(_ACTIVE_IDS, ids) != ids:
        st.session_state[_ACTIVE_IDS] = ids
        st.rerun()


def _rerun_after_trouble(in_trouble: bool) -> None:
    was_in_trouble = st.session_state.get(_IN_TROUBLE, False)
    st.session_state[_IN_TROUBLE] = in_trouble
    if was_in_trouble and not in_trouble:
        st.rerun()


def _show_counts(counts: Mapping[JobStatus, int]) -> None:
    with st.container(horizontal=True):
        for label, icon, params in count_links(counts):
            st.page_link(JOBS.file, label=label, icon=icon, query_params=params)


def _show_active(running: JobPage, queue: Sequence[Job], waiting: int) -> None:
    """Side by side where there is both, else over the whole width."""
    if not running.jobs and not queue:
        is_known = not running.incomplete
        st.markdown("No job is waiting or running." if is_known else "No job is known to wait or run.")
        return
    if running.jobs and queue:
        left, right = st.columns([3, 2], gap="large")
    else:
        left = right = st.container()
    if running.jobs:
        with left:
            _show_running(running)
    if queue:
        with right:
            _show_queue(queue, waiting)


def _show_running(page: JobPage) -> None:
    st.header("Running now", anchor=False)
    samples, problem = newest_samples(page.jobs)
    with st.grid("auto", min_column_width=340, gap="small"):
        for job in page.jobs:
            _show_running_job(job, samples.get(job.id))
    if problem:
        show_note(problem, color="orange")
    if page.total > len(page.jobs):
        params = {"status": JobStatus.RUNNING.value}
        st.page_link(JOBS.file, label=f"All {page.total:,} running jobs", query_params=params, icon="")


def newest_samples(jobs: Sequence[Job]) -> tuple[dict[str, Artifact], str]:
    """Job id -> newest sample, and why there is none if they cannot be read: the cards show the rest all the same."""
    try:
        found = services.highlights(jobs)
    except DashboardError as error:
        return {}, f"The samples cannot be listed: {error}"
    return {job_id: each.sample for job_id, each in found.items() if each.sample}, ""


def _show_running_job(job: Job, sample: Artifact | None) -> None:
    with (
        st.container(border=True, key=f"active-{job.id}"),
        st.container(horizontal=True, vertical_alignment="center", wrap=False),
    ):
        show_card_picture(job, sample)
        with st.container(gap="xsmall"):
            show_job_link(job)
            if job.progress.fraction is None:
                st.markdown(progress_line(job))
            else:
                st.progress(min(1.0, max(0.0, job.progress.fraction)), text=progress_line(job))


def show_card_picture(job: Job, sample: Artifact | None) -> None:
    """The newest sample at the left of a card; nothing without one."""
    if sample is not None:
        # The status too: a job that is just ending may stand in two lists for a moment.
        with st.container(key=f"small-pictures-{job.status}-{job.id}", width=THUMBNAIL_PX):
            show_sample(
                job.id, sample, alt=f"Newest sample of {plain(job.name or job.id, limit=80)}", width=THUMBNAIL_PX
            )


def show_job_link(job: Job) -> None:
    """The job's name as a link to it."""
    st.page_link(JOB.file, label=escaped(job.name or job.id, limit=80), query_params={"id": job.id}, icon="")


def _show_queue(queue: Sequence[Job], waiting: int) -> None:
    st.header("Queue", anchor=False)
    refused = services.reason_against(Action.MOVE)
    with st.container(border=True, gap="xsmall"):
        for number, job in enumerate(queue, 1):
            with st.container(
                horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", key=f"queued-{job.id}"
            ):
                with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", width="content"):
                    st.markdown(f"{number}\\.", width="content")
                    show_job_link(job)
                    show_moment("created", job.created_at)
                if number > 1 and not refused:
                    _show_moves(job)
    if waiting > len(queue):
        params = {"status": JobStatus.PENDING.value, "sortOrder": "asc"}
        st.page_link(JOBS.file, label=f"All {waiting:,} waiting jobs", query_params=params, icon="")
    if refused and len(queue) > 1:
        show_note(refused)


def _show_moves(job: Job) -> None:
    with st.container(horizontal=True, gap="xsmall", width="content"):
        for label, icon, places in (
            ("Up", ":material/arrow_upward:", -1),
            ("To the front", ":material/vertical_align_top:", TO_THE_FRONT),
        ):
            if st.button(label, icon=icon, type="tertiary", key=f"move {places} {job.id}"):
                _move(job.id, places)


def _move(job_id: str, places: int) -> None:
    with explained_errors("The job could not be moved"):
        services.act(lambda source: source.move_job(job_id, places))
        st.rerun()
