"""The script behind every page: configuration, guard, navigation."""

import streamlit as st

from lib import services
from lib.ui.parts.browser import load_browser_side
from lib.ui.parts.errors import explained_errors
from lib.ui.parts.links import PAGES
from lib.ui.parts.toasts import show_announced
from lib.ui.parts.url import note_url
from lib.ui.parts.visitor import show_visitor

# Before the navigation: the browser would fetch the first page's icon from outside.
st.set_page_config(page_icon="📈", layout="wide")

page = st.navigation(
    [
        st.Page(
            each.file,
            title=each.title,
            icon=each.icon or None,
            url_path=each.path,
            default=each is PAGES[0],
            visibility="visible" if each.is_listed else "hidden",
        )
        for each in PAGES
    ],
    position="top",
)
st.set_page_config(page_title=f"{page.title} · LoRA Dashboard")

load_browser_side()
note_url()
with explained_errors(retry=True):
    show_visitor()
    services.source()
    show_announced()
    page.run()
