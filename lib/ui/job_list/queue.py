"""Moves of pending jobs in the queue: to the front in one click, and a place up or down."""

from collections.abc import Sequence

import streamlit as st

from lib import services
from lib.errors import DashboardError
from lib.jobs.job import Job, JobStatus
from lib.jobs.words import count_text
from lib.sources.protocol import Action
from lib.ui.parts.text import escaped
from lib.ui.parts.toasts import announce

# More places than any queue has.
_TO_THE_FRONT = -1_000_000
_MOVES = (
    ("Move to front", ":material/vertical_align_top:", _TO_THE_FRONT),
    ("Move up", ":material/arrow_upward:", -1),
    ("Move down", ":material/arrow_downward:", 1),
)


def show_moves(jobs: Sequence[Job]) -> None:
    """Buttons for those of the jobs that wait; nothing if none does. Only a single one moves by one place."""
    waiting = [job for job in jobs if job.status is JobStatus.PENDING]
    if not waiting:
        return
    reason = services.reason_against(Action.MOVE)
    with st.container(horizontal=True, vertical_alignment="center", key="queue-moves"):
        for label, icon, places in _MOVES if len(jobs) == 1 else _MOVES[:1]:
            if st.button(label, icon=icon, key=f"queue {label}", disabled=bool(reason), help=reason or None):
                _move(waiting, places)
                st.rerun()


def _move(waiting: Sequence[Job], places: int) -> None:
    """Move the jobs; several keep their order, as the one that was created first goes to the front last."""
    moved = []
    for job in sorted(waiting, key=lambda each: (each.created_at is not None, each.created_at), reverse=True):
        try:
            services.act(lambda source, job=job: source.move_job(job.id, places))  # type: ignore[misc]
            moved.append(job)
        except DashboardError as error:
            announce(escaped(f"{error} {error.hint}"), icon=":material/error:")
    if moved:
        what = escaped(moved[0].name or moved[0].id, limit=80)
        what = what if len(moved) == 1 else count_text(len(moved), "job", "jobs")
        announce(f"Moved {what} {'to the front of the queue' if places == _TO_THE_FRONT else 'in the queue'}")
