"""The script behind every page: configuration, guard, navigation."""

import streamlit as st

from lib import services
from lib.ui.link_clicks import keep_link_clicks
from lib.ui.parts.errors import explained_errors
from lib.ui.parts.theme import apply_styles
from lib.ui.parts.toasts import show_announced
from lib.ui.parts.url import note_url

st.set_page_config(page_title="LoRA Dashboard", page_icon="📈", layout="wide")

page = st.navigation(
    [
        st.Page("../pages/overview.py", title="Overview", icon=":material/home:", default=True),
        st.Page("../pages/jobs.py", title="Jobs", icon=":material/list:", url_path="jobs"),
        st.Page("../pages/new_job.py", title="New job", icon=":material/add:", url_path="new"),
        st.Page("../pages/datasets.py", title="Datasets", icon=":material/photo_library:", url_path="datasets"),
        st.Page("../pages/configs.py", title="Configurations", icon=":material/tune:", url_path="configs"),
        st.Page("../pages/job.py", title="Job", url_path="job", visibility="hidden"),
    ],
    position="top",
)

apply_styles()
keep_link_clicks()
note_url()
with explained_errors(retry=True):
    services.source()
    show_announced()
    page.run()
