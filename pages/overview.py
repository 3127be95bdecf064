"""The overview: active jobs, outcomes, recent failures and health."""

import streamlit as st

from lib.ui.overview.outcomes_chart import show_outcomes
from lib.ui.overview.panels import is_empty, show_failures, show_greeting, show_health, show_live
from lib.ui.parts.job_actions import show_pending
from lib.ui.parts.links import NEW_JOB, show_primary_link

show_pending()

with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
    st.title("Overview", width="content")
    show_primary_link(NEW_JOB, "New Training Job", ":material/add:")

if is_empty():
    show_greeting()
    show_health()
else:
    main, side = st.columns([3, 2], gap="large")
    with main:
        show_live()
        show_outcomes()
    with side:
        show_failures()
        show_health()
