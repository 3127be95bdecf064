"""Draws a fragment of a job's page again when it is time.

Imported by pages only: a component that is declared outside a script run is never served.
"""

import streamlit as st
from streamlit_autorefresh import st_autorefresh

from lib.jobs.job import Job
from lib.sources.last_good import Reading
from lib.ui import job_watch, times


def poll(reading: Reading[Job]) -> None:
    """Draw the fragment around it again when it is time; the last call in the fragment, for its frame takes room."""
    job, key = reading.value, f"watch-{reading.value.id}"
    watch = st.session_state.get(key, job_watch.Watch())
    if reading.problem is None:
        watch = job_watch.next_watch(watch, job, reading.read_at)
    st.session_state[key] = watch
    if interval_ms := job_watch.poll_interval_ms(job, watch, times.now()):
        st_autorefresh(interval_ms, key=f"poll-{job.id}")


def poll_results(job: Job, *, key: str) -> None:
    """The same for what grows slowly; once a minute where links expire."""
    if job.status.is_active:
        st_autorefresh(job_watch.RESULTS_POLL_MS, key=f"{key}-{job.id}")
    elif job_watch.has_frozen_links(job):
        st_autorefresh(job_watch.SLOW_POLL_MS, key=f"{key}-links-{job.id}")
