"""The nodes of the cluster: what is in use and what runs where, refreshed by itself."""

import streamlit as st

from lib import services
from lib.jobs.job import JobStatus
from lib.jobs.query import MAX_TAKE, JobQuery
from lib.ui.parts.cluster import CLUSTER, free_text, node_text
from lib.ui.parts.errors import explained_errors
from lib.ui.parts.notes import show_age
from lib.ui.parts.text import escaped

TICK_S = 10
_RUNNING_THERE = JobQuery(statuses=frozenset({JobStatus.RUNNING}), executor=CLUSTER, take=MAX_TAKE)


def show_cluster() -> None:
    """Nothing where there is no cluster."""
    if CLUSTER in services.source().executors:
        _show_nodes()


@st.fragment(run_every=TICK_S)
def _show_nodes() -> None:
    st.header("Cluster", anchor=False)
    with explained_errors("The nodes of the cluster cannot be read", retry=True):
        found = services.latest_cluster()
        if found is None:
            return
        show_age(found.problem, found.read_at)
        st.markdown(f"Free now: {escaped(free_text(found.value), limit=400)}")
        running = services.latest_jobs(_RUNNING_THERE).value.jobs
        st.markdown("\n".join(f"- {node_text(node, running)}" for node in found.value.nodes))
