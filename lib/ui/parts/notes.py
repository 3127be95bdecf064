"""Small print, and notes about what is stale, missing or invalid."""

from collections.abc import Sequence
from datetime import datetime

import streamlit as st

from lib import services
from lib.errors import DashboardError
from lib.ui.parts.format import relative_time, utc_now
from lib.ui.parts.text import escaped


def show_note(text: str, *, color: str = "gray", note: str | None = None) -> None:
    """One small line in a theme colour; ``text`` may be foreign, ``note`` is shown on hover.

    ``st.caption`` is too pale to be read by everybody; the theme's own gray is dark enough.
    """
    st.markdown(f":small[:{color}[{escaped(text)}]]", help=note)


def show_age_note(problem: DashboardError | None, read_at: datetime) -> None:
    """In small print why one part of a page is stale and how old it is; nothing while it is fresh."""
    if problem is not None:
        st.markdown(f":small[:orange[{stale_text(problem, read_at, utc_now())}]]")


def show_age(problem: DashboardError | None, read_at: datetime) -> None:
    """A warning why the page is stale and how old it is; nothing while it is fresh."""
    if problem is not None:
        st.warning(stale_text(problem, read_at, utc_now()), icon=":material/sync_problem:")


def show_refreshable_age(problem: DashboardError | None, read_at: datetime) -> None:
    """The same with a way to read everything again at once."""
    if problem is not None:
        with st.container(horizontal=True, vertical_alignment="center"):
            show_age(problem, read_at)
            st.button("Refresh now", icon=":material/refresh:", key="refresh", on_click=services.forget_reads)


def show_incomplete(incomplete: str) -> None:
    """What an answer lacks; nothing when it is complete."""
    if incomplete:
        st.warning(escaped(incomplete), icon=":material/hourglass_top:")


def show_bad_parameters(problems: Sequence[str]) -> None:
    """Name the parameters of the link that cannot be used."""
    if problems:
        shown = ", ".join(escaped(each, limit=90) for each in problems)
        st.warning(f"The link has values that cannot be used and were left out: {shown}")


def stale_text(problem: DashboardError, read_at: datetime, now: datetime) -> str:
    """``Could not refresh: no answer. Shown is the state of 12 s ago.`` as Markdown."""
    return f"Could not refresh: {escaped(problem)} Shown is the state of {age_text(read_at, now)}."


def age_text(read_at: datetime, now: datetime) -> str:
    """How old shown data is: ``14 s ago``."""
    seconds = max(0, int((now - read_at).total_seconds()))
    return f"{seconds} s ago" if seconds < 60 else relative_time(read_at, now)
