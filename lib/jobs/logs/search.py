"""Finds text in a raw log of any size as a terminal shows it.

Most of a log needs no terminal for that: where nothing moves the cursor up, every line stands for
itself, and one look at the raw bytes tells which lines can hold the text at all.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from lib.jobs.logs.tail import ReadAt
from lib.jobs.logs.terminal import CUT_NOTE, SCREEN_ROWS, Terminal, plain_lines

_READ_BYTES = 1 << 19
# Not for a look at the raw bytes: what moves the cursor or erases, control strings whose introducer
# is a letter, because the look is at lower case, and those that may be too long for the terminal.
_CONTROLS = bytes(set(range(0x20)) - {0x0A, 0x0D, 0x1B}) + b"\x7f"
_UNSUITED = re.compile(rb"\x1b(?:\[[0-9]{0,4}[AK]|[PXpx]|[\]_^][^\x07\x1b\r\n]{4096})")
# What may stand between two characters that are shown side by side; see lib.jobs.logs.terminal.
_ESCAPES = (
    rb"(?:\x1b(?>\[[0-?]{0,64}[ -/]{0,8}[@-~]?|[\]_^][^\x07\x1b\r\n]{0,4096}(?:\x07|\x1b\\)"
    rb"|(?!\[)(?:[ -/]{1,4}[0-~]?|[0-~])?)){0,64}+"
)
_LOOKED_FOR = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class LogHit:
    """A line that holds what was searched for; ``line`` counts from 0."""

    line: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSearch:
    """What a search found. ``is_complete``: the whole log was searched and every hit is here."""

    hits: tuple[LogHit, ...]
    is_complete: bool
    searched_bytes: int


def find_in_log(
    read: ReadAt, needle: str, *, should_stop: Callable[[], bool] = lambda: False, limit: int = 200
) -> LogSearch:
    """Every shown line that holds ``needle``, up to ``limit``; an empty needle finds nothing.

    The case does not matter; for a needle of ASCII letters that means ASCII letters alone.
    """
    finder = _Finder(needle.lower(), limit)
    offset, is_end = 0, not needle
    while not is_end and len(finder.hits) <= limit:
        if should_stop():
            return LogSearch(hits=tuple(finder.hits), is_complete=False, searched_bytes=offset)
        data, size = read(offset, _READ_BYTES)
        offset += len(data)
        is_end = not data or offset >= size
        finder.feed(data, is_end=is_end)
    hits = tuple(finder.hits[:limit])
    return LogSearch(hits=hits, is_complete=is_end and len(finder.hits) <= limit, searched_bytes=offset)


class _Finder:
    """Takes in a log piece by piece and collects hits, until there are more than ``limit``."""

    def __init__(self, wanted: str, limit: int) -> None:
        self.hits: list[LogHit] = []
        self._wanted = wanted
        self._limit = limit
        self._pattern = _candidates(wanted)
        self._plain = re.compile(re.escape(wanted).encode())
        self._terminal = Terminal(keep_lines=1 << 40)
        self._searched = 0

    def feed(self, data: bytes, *, is_end: bool) -> None:
        start, stop = _lines_for_themselves(data) if self._pattern else (0, 0)
        self._terminal.feed(data[:start])
        if self._pattern and start < stop and self._terminal.is_at_line_start:
            self._examine(self._terminal.total_lines)
            self._skim(data[start:stop], self._pattern)
            start = stop
        self._terminal.feed(data[start:])
        self._examine(self._terminal.total_lines if is_end else self._terminal.settled_lines)

    def _examine(self, stop: int) -> None:
        """Search the lines below this number that the terminal holds."""
        if stop <= self._searched:
            return
        if _holds(self._terminal.text_between(self._searched, stop), self._wanted):
            for number, line in enumerate(self._terminal.lines_between(self._searched, stop), self._searched):
                self._add_if_hit(number, line)
        self._searched = stop
        self._terminal.forget_before(stop)

    def _skim(self, lines: bytes, pattern: re.Pattern[bytes]) -> None:
        """Search whole lines without the terminal, which only counts them."""
        lowered = lines.lower()
        if b"\x1b" not in lines and b"\r" not in lines:
            pattern = self._plain
        number, counted, at = self._searched, 0, 0
        while len(self.hits) <= self._limit and (found := pattern.search(lowered, at)):
            start, stop = lines.rfind(b"\n", 0, found.start()) + 1, lines.index(b"\n", found.start())
            at = stop + 1
            if found[0][-1:] != b"\n" or b"\r" in lines[start:stop]:
                number += lines.count(b"\n", counted, start)
                counted = start
                self._add_if_hit(number, "".join(plain_lines(lines[start:at])))
        self._terminal.skip_lines(lines.count(b"\n"))
        self._searched = self._terminal.total_lines

    def _add_if_hit(self, number: int, line: str) -> None:
        if _holds(line, self._wanted):
            self.hits.append(LogHit(line=number, text=line))


def _lines_for_themselves(data: bytes) -> tuple[int, int]:
    """[start, stop) of whole lines that nothing else in the log can change; often none.

    Behind them a screen of lines is left, because what follows the data may move up as far.
    """
    start, stop = data.find(b"\n") + 1, len(data)
    for _ in range(SCREEN_ROWS + 1):
        stop = data.rfind(b"\n", start, max(start, stop))
    if stop < start or _UNSUITED.search(data) or len(data) != len(data.translate(None, _CONTROLS)):
        return 0, 0
    return start, stop + 1


def _candidates(wanted: str) -> re.Pattern[bytes] | None:
    """What the raw, lower-case bytes of every line that shows ``wanted`` hold; None where that cannot be told.

    Either its first characters with escapes between them, or some of them at the end of a repaint,
    behind which an older, longer frame can still be seen, or before very many escapes.
    """
    if not (wanted.isascii() and wanted.isprintable()) or wanted.endswith(" ") or wanted in CUT_NOTE:
        return None
    *characters, pattern = [re.escape(character).encode() for character in wanted[:_LOOKED_FOR]]
    for character in reversed(characters):
        pattern = character + _ESCAPES + rb"(?:" + pattern + rb"|[\r\n\x1b])"
    return re.compile(pattern)


def _holds(text: str, wanted: str) -> bool:
    """Whether a text holds a lower-case one; for ASCII by the bytes, whose ``lower`` is many times faster."""
    if wanted.isascii():
        return wanted.encode() in text.encode("utf-8", "replace").lower()
    return wanted in text.lower()
