"""Finding text in logs: the hits are those a search through the shown lines gives."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lib.jobs.logs.search import find_in_log
from lib.jobs.logs.terminal import MAX_LINE_CHARS, plain_lines
from tests.jobs.made_logs import RecordedReads, big_logs, many, refuse


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


_PIECES = (
    "a|A|b| |ab|a\x1b[1mb|a\x1b[2;3|m|\x1b]8;;ab\x1b\\\\|\x1b]|\x1b|\x1bP|\x1bp|\x1b\\\\|\x07|\t|\b|\r|\ra|xa\r|\n"
    "|\x1b[A|\x1b[A\n\r|\x1b[9A|\x1b[K|\x1b(B|[|]|;|\u212a|\u0130|\ufffd"
)
_pieces = st.sampled_from([*_PIECES.split("|"), "\n" * 70, "xb\ra\n" * 70, "\x1b[31m a\x1b[0mb\n" * 70]).map(str.encode)


@settings(max_examples=400, deadline=None)
@given(
    data=st.lists(_pieces, max_size=60).map(b"".join),
    needle=st.sampled_from(["a", "ab", "aB", "ba", "a b", "aa", "b]", "[", "m", "k", "i"]),
    at_once=st.integers(150, 2_000),
)
@example(data=b"\n" + b"xxxb\ra\n" + b"\n" * 70, needle="ax", at_once=1_000)
@example(data=b"\n" + b"a" + b"\x1b[1" * 30 + b"b\n" + b"\n" * 70, needle="ab", at_once=1_000)
@example(data=b"\n" + b"a" + b"\x1b[1m" * 99 + b"b\n" + b"\n" * 70, needle="ab", at_once=1_000)
@example(data="\na\x1b]8;;{}\x1b\\b\n".format("学" * 1_500).encode() + b"\n" * 70, needle="ab", at_once=9_000)
@example(data=b"\na\x1b]8" + b";" * 5_000 + b"\x1b\\b\n" + b"\n" * 70, needle="a8", at_once=9_000)
@example(data=b"\n" * 200 + b"\x1b[64Aab" + b"\n" * 200, needle="ab", at_once=200)
@example(data=b"\n\x1b]ab" + b"\n" * 70, needle="ab", at_once=1_000)
@example(data=b"\na\x1bPb\x1b\\b\n" + b"\n" * 70, needle="ab", at_once=1_000)
def test_finds_what_the_shown_lines_hold(data: bytes, needle: str, at_once: int) -> None:
    search = find_in_log(RecordedReads(data, at_once), needle, limit=1_000_000)
    folded = needle.lower().encode()
    expected = [(at, line) for at, line in enumerate(plain_lines(data)) if folded in line.encode().lower()]
    assert [(hit.line, hit.text) for hit in search.hits] == expected
    assert search.is_complete


def test_the_note_of_a_cut_line_can_be_found() -> None:
    log = RecordedReads(b"x" * (MAX_LINE_CHARS + 10) + b"\n" * 100)
    for needle in ("line cut at", "X … [LINE"):
        assert [hit.line for hit in find_in_log(log, needle).hits] == [0]


def test_a_log_made_to_be_searched_slowly_is_not() -> None:
    data = b"\n" + (b"0\x1b[00" * 30 + "é".encode()) * 6_000 + b"0\x1b[00" * 20_000 + b"\n" * 70
    assert find_in_log(RecordedReads(data), "0" * 14 + "1").hits == ()


def test_an_error_of_the_source_is_not_swallowed() -> None:
    with pytest.raises(ConnectionError):
        find_in_log(refuse, "x")
