"""Small print. ``st.caption`` draws it too pale to be read by everybody; the theme's own gray is dark enough."""

from datetime import datetime

import streamlit as st

from lib.errors import DashboardError
from lib.ui.parts import format as times
from lib.ui.parts.text import escaped
from lib.ui.stale import stale_text


def show_note(text: str, *, color: str = "gray", note: str | None = None) -> None:
    """One small line in a theme colour; ``text`` may be foreign, ``note`` is shown on hover."""
    st.markdown(f":small[:{color}[{escaped(text)}]]", help=note)


def show_age_note(problem: DashboardError | None, read_at: datetime) -> None:
    """The age of one part of a page in small print, and why it is not fresh; nothing while it is."""
    if problem is not None:
        st.markdown(f":small[:orange[{stale_text(problem, read_at, times.now())}]]")
