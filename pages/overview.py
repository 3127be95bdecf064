"""The overview: what runs and waits, what has finished and failed, outcomes and health."""

import streamlit as st

from lib.ui.overview.cluster import show_cluster
from lib.ui.overview.ended import has_failures, show_failures, show_finished
from lib.ui.overview.greeting import is_empty, show_greeting
from lib.ui.overview.health import show_health
from lib.ui.overview.live import show_live
from lib.ui.overview.outcomes_chart import show_outcomes
from lib.ui.parts.job_actions import show_pending
from lib.ui.parts.links import NEW_JOB, show_primary_link

show_pending()

with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
    st.title("Overview", width="content")
    show_primary_link(NEW_JOB, "New Training Job", ":material/add:")

show_health()
if is_empty():
    show_greeting()
    show_cluster()
else:
    show_live()
    show_cluster()
    left, right = st.columns([3, 2], gap="large")
    with left:
        show_finished()
    with right:
        # The page is drawn again when a job ends, so failures turn up by themselves.
        if has_failures():
            show_failures()
        show_outcomes()
