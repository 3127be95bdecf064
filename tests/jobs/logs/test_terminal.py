"""The terminal: what is on the screen in the end, however the bytes were cut."""

import json
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lib.jobs.logs.terminal import CUT_NOTE, MAX_LINE_CHARS, SCREEN_ROWS, Terminal, plain_lines
from tests.jobs.recordings import RECORDINGS, chunks_of, raw_log


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"a", ["a"]),
        (b"a\n", ["a"]),
        (b"a\n\nb", ["a", "", "b"]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b" 10%|#|\r100%|##|\n", ["100%|##|"]),
        (b"a long text\rshort\n", ["shortg text"]),
        (b"avr_loss=0.992]\ravr_loss=1.1]  \n", ["avr_loss=1.1]"]),
        (b"avr_loss=0.0812]2026-11-23 INFO saved.\n", ["avr_loss=0.0812]2026-11-23 INFO saved."]),
        (b"\x1b[31mred\x1b[0m \x1b[1;38;5;200mpink\x1b[m", ["red pink"]),
        (b"\x1b]8;id=1;file:///x\x1b\\link\x1b]8;;\x1b\\ \x1b]0;title\x07text", ["link text"]),
        (b"\x1b[?25lhidden\x1b[?25h\x1b(B\x1b7", ["hidden"]),
        (b"one\n\r 50%\x1b[A\rONE", ["ONE", " 50%"]),
        (b"a\nb\nc\x1b[2AX", ["aX", "b", "c"]),
        (b"long text\r\x1b[Kshort", ["short"]),
        (b"gone\x1b[2K\rnew", ["new"]),
        (b"abcdef\b\b\x1b[1K", ["     f"]),
        (b"a\tb\nab\bX\x07\x00\n", ["a       b", "aX"]),
        (b"\xff\xfebar \xe2\x96", ["��bar"]),
        ("шаг ▏ 文".encode(), ["шаг ▏ 文"]),
        (b"\x1b]never ended\nnext", ["never ended", "next"]),
    ],
)
def test_shows_what_a_terminal_shows(data: bytes, lines: list[str]) -> None:
    assert plain_lines(data) == lines


def test_a_line_over_the_limit_is_cut_with_a_note() -> None:
    cut, after = plain_lines(b"x" * (MAX_LINE_CHARS + 10) + b"\nafter\n")
    assert cut == "x" * MAX_LINE_CHARS + CUT_NOTE
    assert after == "after"
    assert plain_lines(b"x" * MAX_LINE_CHARS) == ["x" * MAX_LINE_CHARS]


def test_remembers_only_the_last_lines_under_their_own_numbers() -> None:
    terminal = Terminal(keep_lines=100)
    for number in range(5_000):
        terminal.feed(b"line %d\n" % number)
        assert len(terminal._rows) <= 300
    assert (terminal.first_line, terminal.total_lines) == (4_900, 5_000)
    assert terminal.lines[0] == "line 4900"
    assert terminal.lines_between(4_998, 9_999) == ("line 4998", "line 4999")
    assert terminal.lines_between(0, 10) == ()


def test_settled_lines_never_change() -> None:
    terminal, settled = Terminal(keep_lines=10_000), []
    for _, data in chunks_of("sd-scripts-success"):
        terminal.feed(data + b"\x1b[99AX\r\n")
        settled.extend(terminal.lines_between(len(settled), terminal.settled_lines))
        terminal.feed(b"\n" * SCREEN_ROWS)
    assert tuple(settled) == terminal.lines[: len(settled)]
    assert len(settled) > 500


_ESCAPES = (
    "\x1b[A|\x1b[A\n\r|\x1b[2A|\x1b[K|\x1b[1K|\x1b[2K|\x1b[31m|\x1b[0m|\x1b]8;;u\x1b\\|\x1b]0;t\x07|\x1b(B|\x1b[?25l"
)
_HALVES = "\x1b]|\x1b[|\x1b|[|m|A|\\|1|\x07|\x00|\t|\b|\r|\n|\n\r|a|xyz|█▏|文| "
_pieces = st.sampled_from(
    [*_ESCAPES.split("|"), *_HALVES.split("|"), "steps:  50%|█| 1/2", "\n" * 70, "\x1b[A\n\r0%" * 3]
)
_bytes = st.lists(st.one_of(_pieces.map(str.encode), st.binary(max_size=3)), max_size=40).map(b"".join)


@settings(max_examples=300, deadline=None)
@given(data=_bytes, cuts=st.lists(st.integers(0, 400), max_size=8))
@example(data=b"\x1b\x1b[m[A", cuts=[1, 4])
@example(data="█".encode() * 3, cuts=[1, 2, 4, 5])
def test_chunks_cut_anywhere_give_the_same_lines(data: bytes, cuts: list[int]) -> None:
    terminal = Terminal(keep_lines=10_000)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, stop in pairwise(edges):
        terminal.feed(data[start:stop])
    assert list(terminal.lines) == plain_lines(data)


@settings(max_examples=300, deadline=None)
@given(data=_bytes)
def test_short_cuts_change_nothing(data: bytes) -> None:
    """Byte by byte no short cut for whole chunks can be taken."""
    slow, fast = Terminal(), Terminal()
    prefix = b"\n" * 3
    for byte in prefix + data:
        slow.feed(bytes([byte]))
    fast.feed(prefix + data)
    assert (slow.lines, slow.total_lines, slow._row, slow._col) == (fast.lines, fast.total_lines, fast._row, fast._col)


@pytest.mark.parametrize("name", RECORDINGS)
def test_recorded_chunks_give_the_same_lines_as_one_piece(name: str) -> None:
    data = raw_log(name)
    terminal = Terminal(keep_lines=10_000)
    for _, chunk in chunks_of(name):
        terminal.feed(chunk)
    lines = list(terminal.lines)
    assert lines == plain_lines(data)
    assert not any(set(line) & set("\x1b\r\n\b\x07") for line in lines)
    bars = [line for line in lines if line.lower().startswith("steps:")]
    assert len(bars) <= 8, "repaints collapse"
    json.dumps(lines)
