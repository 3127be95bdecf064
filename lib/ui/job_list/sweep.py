"""A sweep above its list: how far it is, and what is done with all of its jobs."""

from collections import Counter
from collections.abc import Sequence

import streamlit as st

from lib import services
from lib.errors import DashboardError
from lib.jobs.job import Job, JobStatus
from lib.jobs.query import MAX_TAKE, JobQuery
from lib.jobs.sweep import best_jobs
from lib.jobs.words import count_text
from lib.ui.parts.job_actions import CANCEL, show_action
from lib.ui.parts.job_filters import clear_filters
from lib.ui.parts.links import COMPARE, FEWEST_COMPARED, MOST_COMPARED
from lib.ui.parts.text import escaped

SWEEP_ICON = ":material/grid_view:"


def sweep_text(jobs: Sequence[Job]) -> str:
    """``6 jobs: 2 succeeded, 1 running, 3 pending``."""
    counts = Counter(job.status for job in jobs)
    return f"{count_text(len(jobs), 'job', 'jobs')}: " + ", ".join(
        f"{counts[status]} {status.value}" for status in JobStatus if counts[status]
    )


def compared(jobs: Sequence[Job]) -> tuple[str, list[Job]]:
    """The label of the link that compares the jobs that began, and which ones it takes: of too many the best ones."""
    begun = [job for job in jobs if job.started_at is not None]
    if len(begun) <= MOST_COMPARED:
        return "Compare", begun
    so_far = "" if all(job.status.is_terminal for job in jobs) else " so far"
    return f"Compare the {MOST_COMPARED} with the smallest last loss{so_far}", best_jobs(begun, MOST_COMPARED)


def show_sweep(sweep_id: str) -> None:
    """Name and state of a sweep, with what is done to all of its jobs, on whichever page of the list they are."""
    try:
        jobs = services.latest_jobs(JobQuery(sweep=sweep_id, descending=False, take=MAX_TAKE)).value.jobs
    except DashboardError:  # the list says why
        return
    with st.container(horizontal=True, vertical_alignment="center", key="sweep-bar"):
        if jobs and (sweep := jobs[0].sweep):
            name = escaped(sweep.name, limit=80)
            st.markdown(f"{SWEEP_ICON} Sweep **{name}**, {escaped(sweep_text(jobs))}", width="content")
            label, best = compared(jobs)
            if len(best) >= FEWEST_COMPARED:
                ids = ",".join(job.id for job in best)
                st.page_link(COMPARE.file, label=label, icon=COMPARE.icon, query_params={"ids": ids})
            # Those that wait come first: none of them starts because one before it was stopped.
            active = sorted((job for job in jobs if CANCEL.fits(job)), key=lambda job: job.status is JobStatus.RUNNING)
            if active:
                show_action(CANCEL, active, key="sweep")
        else:
            st.markdown("There is no such sweep; its jobs may have been deleted.", width="content")
        st.button("All jobs", icon=":material/close:", type="tertiary", key="leave-sweep", on_click=clear_filters)
