"""The log as it grows: its last lines in an area that follows the end until the reader scrolls up."""

from collections.abc import Iterator
from dataclasses import dataclass

import streamlit as st

from lib import services
from lib.jobs.job import Attempt, Job
from lib.jobs.logs.tail import LogView
from lib.jobs.words import size_text
from lib.ui.parts.notes import show_age_note, show_note
from lib.ui.parts.text import shown_text

LINE_COUNTS = (100, 500, 2_000, 10_000)
# Streamlit sends an unchanged piece only once if it has at least 10 kB (global.minCachedMessageSize). Small pieces at
# the end keep a tick light; large ones before them keep the number of elements low.
SMALL_PIECE = 25
LARGE_PIECE = 500
# How many lines are read and rendered at every tick, depending on how many are shown.
KEPT_LINES = (500, 2_500, 10_500)
# A start that is held stays available while up to this many lines are printed between two ticks.
HELD_MARGIN = 250
# Before browser.css fits it to the window.
HEIGHT_PX = 480


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPiece:
    """Some lines of a log; ``first_line`` is the number of the first one in the log, from 0."""

    first_line: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownSpan:
    """What a reader was shown: ``wanted`` lines were requested, [start_line, end_line) were drawn."""

    wanted: int
    start_line: int
    end_line: int
    numbering: str = ""


def end_line(view: LogView) -> int:
    """The number of the line after the last."""
    return view.first_line + len(view.lines)


def start_line(view: LogView, wanted: int, held: ShownSpan | None = None) -> int:
    """The first line shown: ``wanted`` lines before the end, or where the reader stopped following."""
    if held is None:
        start = end_line(view) - wanted
        if wanted > LARGE_PIECE:
            # The start of a long view moves in large pieces, so that they are not sent again at every tick.
            start = start // LARGE_PIECE * LARGE_PIECE
    elif held.numbering == view.numbering and held.start_line < end_line(view):
        start = held.start_line
    else:
        # The numbering changed (another reader of a long log, or another log): keep the distance to the end.
        start = end_line(view) - (held.end_line - held.start_line)
    return max(start, view.first_line)


def kept_lines(wanted: int, held: ShownSpan | None = None) -> int:
    """How many lines must be read and rendered to show these; at most the largest of ``KEPT_LINES``."""
    needed = held.end_line - held.start_line + HELD_MARGIN if held else wanted
    if needed > LARGE_PIECE:
        needed = max(needed, wanted + LARGE_PIECE)
    return next((kept for kept in KEPT_LINES if kept >= needed), KEPT_LINES[-1])


def piece_bounds(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Cut [start, end) at fixed line numbers: large pieces far back, small ones near the end."""
    while start < end:
        size = LARGE_PIECE if start % LARGE_PIECE == 0 and end - start >= 2 * LARGE_PIECE else SMALL_PIECE
        stop = min(end, (start // size + 1) * size)
        yield start, stop
        start = stop


def log_pieces(view: LogView, start: int) -> list[LogPiece]:
    """The lines from ``start`` on, in pieces whose bounds stay the same while the log grows."""
    return [
        LogPiece(first_line=first, text=shown_text(view.lines[first - view.first_line : stop - view.first_line]))
        for first, stop in piece_bounds(start, end_line(view))
    ]


def showing_text(shown: int, view: LogView) -> str:
    """``Showing last 100 of 12,345 lines``."""
    if view.total_lines is None:
        return f"Showing last {shown:,} lines of a log of {size_text(view.size_bytes)}"
    if shown >= view.total_lines:
        return "Showing the only line" if shown == 1 else f"Showing all {shown:,} lines"
    return f"Showing last {shown:,} of {view.total_lines:,} lines"


def tail_text(view: LogView, wanted: int) -> str:
    """The last lines as plain text, to copy."""
    return shown_text(view.lines[-wanted:])


def log_key(job: Job, attempt: Attempt) -> str:
    """The beginning of the keys of everything about this log."""
    return f"log-{job.id}-{attempt.number}"


def show_log(job: Job, attempt: Attempt) -> bool:
    """How much is shown, and the lines. Returns whether they are fresh."""
    key = log_key(job, attempt)
    follow, wanted = st.session_state.get(f"{key}-follow", True), st.session_state.get(f"{key}-count", LINE_COUNTS[0])
    wrap = st.session_state.get(f"{key}-wrap", False)
    held: ShownSpan | None = None if follow else st.session_state.get(f"{key}-span")
    held = held if held and held.wanted == wanted else None
    reading = services.latest_log(job.id, attempt.number, kept_lines(wanted, held))
    view = reading.value
    if not view.lines:
        show_note("No log lines yet." if attempt.status.is_active else "This attempt left no log.")
        show_age_note(reading.problem, reading.read_at)
        return reading.problem is None
    start = start_line(view, wanted, held)
    st.session_state[f"{key}-span"] = ShownSpan(
        wanted=wanted, start_line=start, end_line=end_line(view), numbering=view.numbering
    )
    show_note(showing_text(end_line(view) - start, view))
    show_age_note(reading.problem, reading.read_at)
    with (
        st.container(gap=None, key="log-wrapped" if wrap else "log-on-one-line"),
        st.container(height=HEIGHT_PX, autoscroll=follow, gap=None, key="log-lines"),
    ):
        for piece in log_pieces(view, start):
            st.code(piece.text, language=None, wrap_lines=wrap)
    return reading.problem is None
