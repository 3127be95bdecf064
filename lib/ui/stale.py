"""Says how old what is shown is, when it could not be read again."""

from datetime import datetime

import streamlit as st

from lib.errors import DashboardError
from lib.ui.parts.format import now, relative_time
from lib.ui.parts.text import escaped


def show_age(problem: DashboardError | None, read_at: datetime) -> None:
    """Nothing while all is fresh; else why it is not, and the age of what is shown."""
    if problem is not None:
        st.warning(stale_text(problem, read_at, now()), icon=":material/sync_problem:")


def show_incomplete(incomplete: str) -> None:
    """What is still missing in an answer; nothing when it is whole."""
    if incomplete:
        st.warning(escaped(incomplete), icon=":material/hourglass_top:")


def stale_text(problem: DashboardError, read_at: datetime, now: datetime) -> str:
    """``Could not refresh: no answer. Shown is the state of 12 s ago.`` as Markdown."""
    return f"Could not refresh: {escaped(problem)} Shown is the state of {age_text(read_at, now)}."


def age_text(read_at: datetime, now: datetime) -> str:
    """How old shown data is: ``14 s ago``."""
    seconds = max(0, int((now - read_at).total_seconds()))
    return f"{seconds} s ago" if seconds < 60 else relative_time(read_at, now)
