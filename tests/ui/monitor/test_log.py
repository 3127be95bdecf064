"""Which lines of a log are shown, and in which pieces they are sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.jobs.logs.search import LogHit, LogSearch
from lib.jobs.logs.tail import LogFollower, LogView
from lib.ui.monitor.log import (
    KEPT_LINES,
    SMALL_PIECE,
    ShownSpan,
    end_line,
    kept_lines,
    log_pieces,
    piece_bounds,
    showing_text,
    start_line,
)
from lib.ui.monitor.log_tools import hit_lines, log_path, search_text
from lib.ui.parts.text import MAX_LINE_CHARS, shown_text


def make_view(total: int, kept: int = 10_500) -> LogView:
    first = max(0, total - kept)
    return LogView(
        lines=tuple(f"line {number}" for number in range(first, total)),
        first_line=first,
        total_lines=total,
        size_bytes=total * 10,
    )


@pytest.mark.parametrize(
    ("shown", "view", "text"),
    [
        (100, make_view(12_345), "Showing last 100 of 12,345 lines"),
        (42, make_view(42), "Showing all 42 lines"),
        (1, make_view(1), "Showing the only line"),
        (
            100,
            LogView(lines=("x",), total_lines=None, size_bytes=524_288_000),
            "Showing last 100 lines of a log of 500 MB",
        ),
    ],
)
def test_how_much_is_shown_is_said(shown: int, view: LogView, text: str) -> None:
    assert showing_text(shown, view) == text


@given(start=st.integers(0, 20_000), count=st.integers(0, 11_000))
def test_pieces_hold_every_line_once_in_order(start: int, count: int) -> None:
    bounds = list(piece_bounds(start, start + count))
    assert [line for first, stop in bounds for line in range(first, stop)] == list(range(start, start + count))


def test_a_growing_log_resends_only_its_ends() -> None:
    before = log_pieces(make_view(12_345), start_line(make_view(12_345), 100))
    after = log_pieces(make_view(12_352), start_line(make_view(12_352), 100))
    assert len(set(after) - set(before)) <= 3 < len(after)
    assert max(piece.text.count("\n") + 1 for piece in after) <= SMALL_PIECE


def test_a_long_tail_is_few_pieces_and_its_start_rarely_moves() -> None:
    view, later = make_view(30_010), make_view(30_040)
    assert start_line(view, 10_000) == start_line(later, 10_000) == 20_000
    pieces = log_pieces(view, 20_000)
    assert len(pieces) < 60
    assert pieces[:-2] == log_pieces(later, 20_000)[: len(pieces) - 2]


def test_a_reader_who_does_not_follow_keeps_the_first_line() -> None:
    held = ShownSpan(wanted=100, start_line=900, end_line=1_000)
    assert start_line(make_view(1_300), 100, held) == 900
    assert start_line(make_view(1_300, kept=50), 100, held) == 1_250


def long_log(line_count: int) -> bytes:
    return b"".join(b"line %d\n" % number for number in range(line_count))


def test_a_reader_who_does_not_follow_keeps_his_lines_when_they_are_numbered_anew() -> None:
    """Of a log over 16 MB every follower numbers the lines from where it began to read."""
    raw = [long_log(3_000)]

    def follower(kept: int) -> LogFollower:
        return LogFollower(
            lambda offset, limit: (raw[0][offset : offset + limit], len(raw[0])), kept, read_all_bytes=20_000
        )

    def shown(view: LogView, held: ShownSpan | None) -> tuple[ShownSpan, str]:
        start = start_line(view, 100, held)
        span = ShownSpan(wanted=100, start_line=start, end_line=end_line(view), numbering=view.numbering)
        return span, view.lines[start - view.first_line]

    short = follower(500)
    held, first = shown(short.update(), None)
    assert (held.end_line - held.start_line, first) == (100, "line 2900")
    assert kept_lines(100, held) == 500, "the follower that is read already serves"
    raw[0] = long_log(3_010)
    held, first = shown(short.update(), held)
    assert first == "line 2900"
    for kept in (2_500, 500):  # more lines; and a short one made anew, as after an hour
        held, first = shown(follower(kept).update(), held)
        assert (held.end_line - held.start_line, first) == (110, "line 2900")


def test_a_held_start_past_the_end_of_a_replaced_log_is_dropped() -> None:
    held = ShownSpan(wanted=100, start_line=900, end_line=1_000)
    assert start_line(make_view(300), 100, held) == 200
    assert start_line(make_view(40), 100, held) == 0


@pytest.mark.parametrize(
    ("wanted", "held", "kept"),
    [
        (100, None, 500),
        (500, None, 500),
        (2_000, None, 2_500),
        (10_000, None, 10_500),
        (100, ShownSpan(wanted=100, start_line=0, end_line=400), 2_500),
        (100, ShownSpan(wanted=100, start_line=0, end_line=99_999), KEPT_LINES[-1]),
    ],
)
def test_no_more_lines_are_rendered_than_needed(wanted: int, held: ShownSpan | None, kept: int) -> None:
    assert kept_lines(wanted, held) == kept


def test_an_endless_line_is_cut_with_a_note() -> None:
    text = shown_text(["short", "x" * (MAX_LINE_CHARS + 1_234)])
    assert text.startswith("short\nxxx")
    assert text.endswith("x … (1,234 more characters in the full log)")


def test_a_search_says_whether_it_saw_everything() -> None:
    hits = (LogHit(line=8, text="nan"), LogHit(line=99, text="nan again"))
    assert search_text(LogSearch(hits=hits, is_complete=True, searched_bytes=2048)) == (
        "2 lines found. Search complete: the whole log was searched (2 KB)."
    )
    assert search_text(LogSearch(hits=(), is_complete=False, searched_bytes=2048)) == (
        "No line found. Search stopped after 2 KB: there may be more further down."
    )
    assert hit_lines(LogSearch(hits=hits, is_complete=True, searched_bytes=1)) == "  9  nan\n100  nan again"


def test_the_path_of_a_log_is_quoted() -> None:
    assert log_path("a/b c?", 2) == "/logs/a%2Fb%20c%3F/2"
