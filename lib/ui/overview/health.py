"""One line about source, store, worker and disk; what is wrong is said below it."""

from collections.abc import Sequence

import streamlit as st

from lib import services
from lib.jobs.words import count_text
from lib.sources.protocol import HealthCheck
from lib.ui.parts.errors import explained_errors
from lib.ui.parts.live_times import show_moment
from lib.ui.parts.skeleton import first_read
from lib.ui.parts.text import escaped

TICK_S = 15


@st.fragment(run_every=TICK_S)
def show_health() -> None:
    """The line, the details on request, and a box for each problem."""
    with st.container(gap=None), explained_errors("The health cannot be checked", retry=True):
        checks = first_read("health", st.container(), services.health, height_px=40)
        with st.container(horizontal=True, vertical_alignment="center", gap="small", key="health"):
            st.markdown(summary_text(checks), width="content")
            # The oldest: what the line says of all of them is not younger.
            show_moment("checked", min((check.checked_at for check in checks), default=None))
            with st.popover("Details", type="tertiary", key="health-details"):
                st.markdown("\n".join(f"- {check_text(check)}" for check in checks) or "The source names no checks.")
        for check in checks:
            if check.ok is False:
                st.error(f"**{escaped(check.name, limit=40)}:** {escaped(check.message, limit=400)}")


def summary_text(checks: Sequence[HealthCheck]) -> str:
    """A badge: ``Health: all well``, or how many problems there are."""
    problems = sum(check.ok is False for check in checks)
    if problems:
        return f":red-badge[:material/error: Health: {count_text(problems, 'problem', 'problems')}]"
    if any(check.ok for check in checks):
        return ":green-badge[:material/check_circle: Health: all well]"
    return ":gray-badge[:material/remove: Health: not known]"


def check_text(check: HealthCheck) -> str:
    """One check as Markdown: icon, word, name, message, and how long it took where that is worth saying."""
    color, icon, word = {
        True: ("green", ":material/check_circle:", "OK"),
        False: ("red", ":material/error:", "Problem"),
        None: ("gray", ":material/remove:", "Not checked"),
    }[check.ok]
    is_slow = check.latency_ms is not None and check.latency_ms >= 1
    latency = f" :gray[({check.latency_ms:.0f} ms)]" if is_slow else ""
    name, message = escaped(check.name, limit=40), escaped(check.message, limit=300)
    return f":{color}-badge[{icon} {word}] **{name}** {message}{latency}"
