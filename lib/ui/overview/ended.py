"""What has ended: the latest successes with sample and download, and the latest failures with their sentence."""

from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo

import streamlit as st

from lib import services
from lib.errors import DashboardError
from lib.jobs.highlights import Highlights
from lib.jobs.job import Artifact, Job, JobStatus
from lib.jobs.query import JobPage, JobQuery, SortBy
from lib.jobs.words import UNKNOWN
from lib.sources.reads import Reading
from lib.ui.overview.live import show_card_picture, show_job_link
from lib.ui.parts.errors import explained_errors
from lib.ui.parts.format import duration_text, loss_text, utc_now, viewer_zone
from lib.ui.parts.job_actions import download_path
from lib.ui.parts.job_filters import time_param
from lib.ui.parts.links import JOBS, NEW_JOB, fix_params
from lib.ui.parts.live_times import show_moment, show_timed_note
from lib.ui.parts.notes import show_age, show_incomplete, show_note
from lib.ui.parts.skeleton import first_read
from lib.ui.parts.text import escaped

TICK_S = 60
SHOWN_FINISHED = 9
SHOWN_BEFORE = 3
# As many cards stand side by side; one alone fills the row.
ABREAST = 2
SHOWN_FAILURES = 5
SUCCEEDED = frozenset({JobStatus.SUCCEEDED})
FAILED = frozenset({JobStatus.FAILED, JobStatus.LOST})
LAST_QUERY = JobQuery(statuses=SUCCEEDED, sort_by=SortBy.FINISHED_AT, take=SHOWN_BEFORE)
FAILED_QUERY = JobQuery(statuses=FAILED, sort_by=SortBy.FINISHED_AT, take=SHOWN_FAILURES)
ALL_FAILED = {"status": "failed,lost", "sortBy": SortBy.FINISHED_AT.value}
ALL_SUCCEEDED = {"status": "succeeded", "sortBy": SortBy.FINISHED_AT.value}


def since_yesterday(now: datetime, zone: tzinfo) -> JobQuery:
    """The successes since the viewer's yesterday began. It stays the same for a day, so that viewers share its read."""
    midnight = now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    begin = (midnight - timedelta(hours=12)).replace(hour=0)
    return JobQuery(statuses=SUCCEEDED, finished_from=begin, sort_by=SortBy.FINISHED_AT, take=SHOWN_FINISHED)


def result_text(job: Job) -> str:
    """``Loss 0.0412 · 1h 30m 45s``; only what is known."""
    duration = duration_text(job.duration_s(utc_now()))
    known = [
        f"Loss {loss_text(job.progress.loss)}" if job.progress.loss is not None else "",
        duration if duration != UNKNOWN else "",
    ]
    return " · ".join(text for text in known if text)


@st.fragment(run_every=TICK_S)
def show_finished() -> None:
    """The successes since yesterday, or the last ones before, each with its newest sample and "Download"."""
    with explained_errors("The finished jobs cannot be loaded", retry=True):
        reading, query = first_read("finished", st.container(), _finished, height_px=200)
        st.header("Finished since yesterday" if query.finished_from else "Finished last", anchor=False)
        show_age(reading.problem, reading.read_at)
        _show_results(reading.value, query)


def _finished() -> tuple[Reading[JobPage], JobQuery]:
    recent = since_yesterday(utc_now(), viewer_zone())
    reading = services.latest_jobs(recent)
    return (reading, recent) if reading.value.jobs else (services.latest_jobs(LAST_QUERY), LAST_QUERY)


def _show_results(page: JobPage, query: JobQuery) -> None:
    if not page.jobs:
        st.markdown("No success is known so far." if page.incomplete else "No job has succeeded yet.")
        return
    if query.finished_from is None:
        show_note("Nothing has finished since yesterday.")
    problem = ""
    try:
        highlights = services.highlights(page.jobs)
    except DashboardError as error:
        highlights, problem = {}, f"The files cannot be listed: {error}"
    with st.grid(min(ABREAST, len(page.jobs)), min_column_width=320, gap="small"):
        for job in page.jobs:
            _show_result(job, highlights.get(job.id, Highlights()))
    if problem:
        show_note(problem, color="orange")
    if page.total > len(page.jobs):
        begin = {"finishedFrom": time_param(query.finished_from)} if query.finished_from else {}
        label = f"All {page.total:,} that finished since yesterday" if begin else f"All {page.total:,} succeeded jobs"
        st.page_link(JOBS.file, label=label, query_params={**ALL_SUCCEEDED, **begin}, icon="")


def _show_result(job: Job, files: Highlights) -> None:
    with (
        st.container(border=True, key=f"finished-{job.id}"),
        st.container(horizontal=True, vertical_alignment="center", wrap=False),
    ):
        show_card_picture(job, files.sample)
        with st.container(gap="xsmall"):
            show_job_link(job)
            show_timed_note(result_text(job), job.finished_at)
            _show_download(job, files.lora)


def _show_download(job: Job, lora: Artifact | None) -> None:
    """A real link: the file is located, or its link signed, at the click."""
    if lora is None:
        show_note("No LoRA file is known.")
    elif lora.frozen_link is not None and not lora.frozen_link.is_fresh(utc_now()):
        show_note("The link to its file has expired.", color="orange")
    else:
        path = download_path(job.id, lora.id)
        st.link_button("Download", path, icon=":material/download:", type="primary", key=f"download-{job.id}")


def has_failures() -> bool:
    """Whether there are, or may be, failures to show. On an error it returns True: the panel explains it."""
    try:
        page = services.latest_jobs(FAILED_QUERY).value
        return bool(page.jobs or page.incomplete)
    except DashboardError:
        return True


@st.fragment(run_every=TICK_S)
def show_failures() -> None:
    """The jobs that failed last, with their causes, latest first."""
    st.header("Recent failures", anchor=False)
    with explained_errors("The failures cannot be loaded", retry=True):
        reading = first_read("failures", st.container(), lambda: services.latest_jobs(FAILED_QUERY), height_px=400)
        show_age(reading.problem, reading.read_at)
        show_incomplete(reading.value.incomplete)
        _show_failed(reading.value.jobs)
        if reading.value.jobs:
            st.page_link(JOBS.file, label="All failed jobs", query_params=ALL_FAILED, icon="")
        else:
            st.markdown("No failure is known so far." if reading.value.incomplete else "No job has failed.")


def _show_failed(jobs: Sequence[Job]) -> None:
    for job in jobs:
        with st.container(border=True, gap="xsmall", key=f"failed-{job.id}"):
            with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
                show_job_link(job)
                show_moment("", job.finished_at)
            message = job.failure.message if job.failure else f"{job.status.label}, and no cause is known."
            st.markdown(escaped(message, limit=300))
            st.page_link(NEW_JOB.file, label="Fix and retry", icon=":material/build:", query_params=fix_params(job))
