"""Redraws the fragments of a job's page when it is time.

Only pages import it: a component declared outside a script run is never served.
"""

from collections.abc import Callable, Mapping
from functools import partial

import streamlit as st
from streamlit_autorefresh import st_autorefresh

from lib.jobs.job import Attempt, Job
from lib.sources.reads import Reading
from lib.ui.monitor import poll_interval
from lib.ui.parts.errors import explained_errors
from lib.ui.parts.format import utc_now
from lib.ui.parts.notes import show_note
from lib.ui.parts.pace import PACE, in_turn, slower_text

# Streamlit merges simultaneous ticks into one message and redraws only one of their fragments. Timers in step would
# lose most of the slow ticks.
_OUT_OF_STEP_MS = {"loss": 70, "strip": 170, "view": 270}

Part = Callable[[Job, Attempt], bool]
"""Draws something and returns whether it is fresh."""


def poll(reading: Reading[Job], *, is_fresh: bool) -> None:
    """Redraw the surrounding fragment when it is time. Call it last in the fragment: its frame leaves a gap.

    ``is_fresh`` says whether everything else in the fragment could be read.
    """
    job, key = reading.value, f"watch-{reading.value.id}"
    watch = st.session_state.get(key, poll_interval.Watch())
    if reading.problem is None:
        watch = poll_interval.next_watch(watch, job, reading.read_at)
    st.session_state[key] = watch
    interval_ms = poll_interval.poll_interval_ms(job, watch, utc_now())
    if not is_fresh or reading.problem is not None:
        interval_ms = min(interval_ms or poll_interval.RESULTS_POLL_MS, poll_interval.RESULTS_POLL_MS)
    if interval_ms:
        stretched_ms = PACE.interval_ms(interval_ms)
        if busy := slower_text(stretched_ms, interval_ms):
            show_note(busy, color="orange")
        st_autorefresh(stretched_ms, key=f"poll-{job.id}")


@st.fragment
@in_turn
def show_slowly(key: str, job: Job, attempt: Attempt, parts: Mapping[str, Part]) -> None:
    """Redraw slowly growing parts: every 10 s while the job is active or a part is stale, every minute if links expire.

    The loss, which stands beside quick figures, is redrawn more often. The key of a part is the title of its error
    message.
    """
    often_ms = poll_interval.LOSS_POLL_MS if key == "loss" else poll_interval.RESULTS_POLL_MS
    fresh = [draw(title, partial(part, job, attempt)) for title, part in parts.items()]
    if job.status.is_active or not all(fresh):
        st_autorefresh(PACE.interval_ms(often_ms) - _OUT_OF_STEP_MS[key], key=f"{key}-{job.id}")
    elif poll_interval.has_frozen_links(job):
        st_autorefresh(poll_interval.SLOW_POLL_MS - _OUT_OF_STEP_MS[key], key=f"{key}-links-{job.id}")


def draw(title: str, show: Callable[[], bool]) -> bool:
    """Draw a part, or explain why it fails. Returns whether it is fresh."""
    with explained_errors(title):
        return show()
    return False
