"""All training jobs: filter, sort, page, select and act."""

import streamlit as st

from lib.ui.job_list.table import show_jobs
from lib.ui.job_list.watch import show_watch
from lib.ui.parts.job_actions import show_pending
from lib.ui.parts.links import NEW_JOB, show_primary_link

show_pending()

with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
    st.title("LoRA Training Jobs", width="content")
    with st.container(horizontal=True, vertical_alignment="center", width="content"):
        show_watch()
        show_primary_link(NEW_JOB, "New Training Job", ":material/add:")

show_jobs(st.bottom.container(gap="xsmall"))
