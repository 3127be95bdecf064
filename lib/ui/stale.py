"""Says how old what is shown is, when it could not be read again."""

from datetime import datetime

import streamlit as st

from lib.errors import DashboardError
from lib.ui.text import escaped
from lib.ui.times import duration_text, now


def show_age(problem: DashboardError | None, read_at: datetime) -> None:
    """Nothing while all is fresh; else why it is not, and the age of what is shown."""
    if problem is not None:
        st.warning(age_text(problem, read_at, now()), icon=":material/sync_problem:")


def age_text(problem: DashboardError, read_at: datetime, now: datetime) -> str:
    """``Could not refresh: no answer. Shown is the state of 12s ago.`` as Markdown."""
    age = duration_text(max(0.0, (now - read_at).total_seconds()))
    return f"Could not refresh: {escaped(problem)} Shown is the state of {age} ago."
