"""Following and searching logs: what is shown, and how much was read for it."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.jobs.log import LogFollower, find_in_log
from lib.jobs.terminal import CUT_NOTE, MAX_LINE_CHARS, plain_lines
from tests.jobs.recordings import RECORDINGS, chunks_of, raw_log

_BAR = "\rsteps:  21%|██        | {0}/90000 [00:03<00:11,  1.62it/s, avr_loss=0.{1:03}]"
_NESTED = "\n\r  {0}%|███       | 3/8 [00:00<00:00,  3.17it/s]\x1b[A"


class RecordedReads:
    """A log in memory that counts what was read of it."""

    def __init__(self, data: bytes = b"", at_once: int = 1 << 30) -> None:
        self.data = data
        self.read_bytes = 0
        self._at_once = at_once

    def __call__(self, offset: int, limit: int) -> tuple[bytes, int]:
        data = self.data[offset : offset + min(limit, self._at_once)]
        self.read_bytes += len(data)
        return data, len(self.data)


def many(pattern: str, count: int) -> bytes:
    return "".join(pattern.format(number, number % 1000) for number in range(count)).encode()


def big_logs() -> dict[str, bytes]:
    lines = many("2026-11-23 15:53:06 INFO     line {0} of an ordinary log  x.py:{1}\n", 50)
    coloured = many(
        "\x1b[2;36m{0}\x1b[0m \x1b[34mINFO\x1b[0m text \x1b]8;;file:///x\x1b\\x.py\x1b]8;;\x1b\\ {1}\n", 300
    )
    return {
        "lines": lines * 300,
        "bars and lines": (many(_BAR, 300) + b"\n" + lines) * 30,
        "one endless bar at the end": lines * 20 + many(_BAR, 9_000),
        "nested bars": (lines + many(_NESTED, 400) + b"\n\n") * 25,
        "coloured lines": coloured * 40,
        "carriage returns": lines.replace(b"\n", b"\r\n") * 300,
    }


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


@pytest.mark.parametrize("read_all_bytes", [1_000, 1 << 20])
def test_widens_to_more_lines(read_all_bytes: int) -> None:
    log = RecordedReads(many("line {0}\n", 5_000))
    follower = LogFollower(log, keep_lines=100, read_all_bytes=read_all_bytes)
    assert len(follower.update().lines) == 100
    view = follower.widen(2_000)
    assert view.lines[0] == "line 3000"
    log.data += b"more\n"
    assert follower.update().lines[0] == "line 3001"


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


@pytest.mark.parametrize(("name", "data"), big_logs().items(), ids=list(big_logs()))
def test_finds_the_shown_lines_whatever_the_case(name: str, data: bytes) -> None:
    data = data + b"\nNeedle one\n" + data + b"\nsome NEEDLE\rno " + b"\nthe needl\x1b[31mE"
    search = find_in_log(RecordedReads(data), "neeDle")
    lines = plain_lines(data)
    expected = [(number, line) for number, line in enumerate(lines) if "needle" in line.lower()]
    assert [(hit.line, hit.text) for hit in search.hits] == expected
    assert len(expected) == 3
    assert search.is_complete
    assert search.searched_bytes == len(data)


def test_finds_words_of_any_language_and_not_what_was_painted_over() -> None:
    log = RecordedReads("Шаг 1\nпоследний ШАГ\nпароль\rxxxxxx\n学習開始\n".encode())
    assert [hit.line for hit in find_in_log(log, "шаг").hits] == [0, 1]
    assert [hit.line for hit in find_in_log(log, "学習").hits] == [3]
    assert find_in_log(log, "пароль").hits == ()
    assert find_in_log(log, "").hits == ()


def test_a_search_can_be_stopped_and_says_when_there_is_more() -> None:
    log = RecordedReads(many("line {0}\n", 400_000))
    answers = iter([False, False, True])
    stopped = find_in_log(log, "no such text", should_stop=lambda: next(answers))
    assert not stopped.is_complete
    assert 0 < stopped.searched_bytes < len(log.data)
    limited = find_in_log(log, "line", limit=50)
    assert (len(limited.hits), limited.is_complete) == (50, False)
    assert limited.hits[-1].line == 49
    exact = find_in_log(log, "line 39999", limit=11)
    assert (len(exact.hits), exact.is_complete) == (11, True)


def test_an_error_of_the_source_is_not_swallowed() -> None:
    def refuse(offset: int, limit: int) -> tuple[bytes, int]:
        raise ConnectionError("down")

    actions: list[Callable[[], object]] = [LogFollower(refuse).update, lambda: find_in_log(refuse, "x")]
    for action in actions:
        with pytest.raises(ConnectionError):
            action()
