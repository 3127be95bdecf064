"""Following logs: what is shown, and how much was read for it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.jobs.logs.tail import LogFollower
from lib.jobs.logs.terminal import CUT_NOTE, MAX_LINE_CHARS, plain_lines
from tests.jobs.made_logs import RecordedReads, big_logs, many, refuse
from tests.jobs.recordings import RECORDINGS, chunks_of, raw_log


@pytest.mark.parametrize("name", RECORDINGS)
def test_follows_a_growing_log_reading_every_byte_once(name: str) -> None:
    log = RecordedReads()
    follower = LogFollower(log, keep_lines=100)
    for _, chunk in chunks_of(name):
        log.data += chunk
        view = follower.update()
        assert view.size_bytes == len(log.data)
    lines = plain_lines(raw_log(name))
    assert list(view.lines) == lines[-100:]
    assert (view.total_lines, view.first_line) == (len(lines), max(0, len(lines) - 100))
    assert log.read_bytes == len(log.data)


@pytest.mark.parametrize(("name", "data"), big_logs().items(), ids=list(big_logs()))
def test_shows_the_end_of_a_long_log_and_counts_no_lines(name: str, data: bytes) -> None:
    log = RecordedReads(data, at_once=100_000)
    view = LogFollower(log, keep_lines=200, read_all_bytes=1_000).update()
    lines = plain_lines(data)
    assert list(view.lines) == lines[-200:]
    assert view.total_lines is None
    assert view.size_bytes == len(data)
    assert len(view.lines) == 200


def test_reads_of_a_long_log_only_what_it_shows_and_then_what_is_new() -> None:
    log = RecordedReads(many("line {0}\n", 400_000))
    follower = LogFollower(log, keep_lines=100, read_all_bytes=1 << 20)
    before = follower.update()
    assert log.read_bytes < 2 << 20
    log.read_bytes = 0
    log.data += b"one more\nand another"
    view = follower.update()
    assert log.read_bytes == 20
    assert view.lines[-3:] == ("line 399999", "one more", "and another")
    assert view.first_line == before.first_line + 2
    assert view.total_lines is None


def test_a_log_that_became_shorter_is_read_anew() -> None:
    log = RecordedReads(many("old {0}\n", 100))
    follower = LogFollower(log)
    assert follower.update().total_lines == 100
    log.data = b"new\n"
    view = follower.update()
    assert (view.lines, view.first_line, view.total_lines, view.size_bytes) == (("new",), 0, 1, 4)
    log.data = b""
    assert follower.update().lines == ()


def test_a_long_line_is_cut_from_its_start_also_when_read_backwards() -> None:
    log = RecordedReads(b"start" + b"x" * 3_000_000 + b"end\nlast\n")
    view = LogFollower(log, read_all_bytes=1_000).update()
    assert view.lines == ("start" + "x" * (MAX_LINE_CHARS - 5) + CUT_NOTE, "last")


@settings(max_examples=60, deadline=None)
@given(
    lines=st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=30), max_size=40),
    repaints=st.integers(0, 3),
)
def test_the_end_read_backwards_is_the_end(lines: list[str], repaints: int) -> None:
    text = "\n".join(line + "\r" + line.upper() * repaints for line in lines)
    data = b"first line\n" * 40 + text.encode()
    view = LogFollower(RecordedReads(data, at_once=7), keep_lines=10, read_all_bytes=100).update()
    assert list(view.lines) == plain_lines(data)[-10:]


def test_an_error_of_the_source_is_not_swallowed() -> None:
    with pytest.raises(ConnectionError):
        LogFollower(refuse).update()
