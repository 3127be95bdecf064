"""Which jobs are compared, from the URL and in its order, and how they are told apart."""

from collections.abc import Sequence

import streamlit as st

from lib import services
from lib.errors import DashboardError
from lib.jobs.job import Job
from lib.jobs.query import JobQuery
from lib.ui.parts.errors import show_error
from lib.ui.parts.links import FEWEST_COMPARED, JOB, MOST_COMPARED
from lib.ui.parts.text import escaped, plain
from lib.ui.parts.theme import show_status_badge
from lib.ui.parts.url import UrlReader, follow_url, write_params

OFFERED = 100
# Distinct to colour-blind eyes too (Okabe and Ito), with 3:1 on white and on the dark background where it can be had.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9", "#7a5fd0", "#888888")

_COLUMNS = frozenset({"Group", "Parameter", "Fact"})  # of the tables that also have a column per job


def ids_in(reader: UrlReader) -> list[str]:
    """The ids, each once and in their order; more than can be compared are left out and named."""
    ids = list(dict.fromkeys(part for each in reader.text("ids", limit=4_000).split(",") if (part := each.strip())))
    if len(ids) > MOST_COMPARED:
        reader.refuse("ids", f"{len(ids)} jobs, at most {MOST_COMPARED}", None)
    return ids[:MOST_COMPARED]


def names_of(jobs: Sequence[Job]) -> list[str]:
    """A short name for each job; the same names get the job's id."""
    names = [plain(job.name or job.id, limit=40) for job in jobs]
    return [
        name if names.count(name) == 1 and name not in _COLUMNS else f"{name} ({plain(job.id, limit=16)})"
        for name, job in zip(names, jobs, strict=True)
    ]


def opened_jobs(ids: Sequence[str]) -> list[Job]:
    """The jobs that can be read; what cannot is explained."""
    jobs = []
    for job_id in ids:
        try:
            jobs.append(services.latest_job(job_id).value)
        except DashboardError as error:
            show_error(error, title=f"{job_id[:80]} is left out")
    return jobs


def show_choice(ids: Sequence[str]) -> None:
    """A field to choose the jobs in."""
    recent = {job.id: job.name or job.id for job in services.latest_jobs(JobQuery(take=OFFERED)).value.jobs}
    options = list(dict.fromkeys([*ids, *recent]))
    follow_url("compared-jobs", list(ids))
    st.multiselect(
        "Jobs to compare",
        options,
        key="compared-jobs",
        format_func=lambda job_id: f"{plain(recent.get(job_id, job_id), limit=60)} ({plain(job_id, limit=16)})",
        max_selections=MOST_COMPARED,
        placeholder=f"Choose {FEWEST_COMPARED} to {MOST_COMPARED} jobs",
        on_change=_choose,
    )


def show_jobs(jobs: Sequence[Job], names: Sequence[str]) -> None:
    """A link to each job with its status."""
    with st.container(horizontal=True, gap="medium"):
        for job, name in zip(jobs, names, strict=True):
            with st.container(horizontal=True, vertical_alignment="center", width="content", gap="xsmall"):
                st.page_link(JOB.file, label=escaped(name), query_params={"id": job.id})
                show_status_badge(job)


def _choose() -> None:
    write_params({"ids": ",".join(st.session_state["compared-jobs"])})
