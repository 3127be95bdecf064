"""The one reader of rich's log lines, which break a message at the width of the terminal, even within a word."""

import re
from collections.abc import Iterable, Sequence
from unicodedata import east_asian_width

# Time or 19 blanks, the level in 8 columns, the text, the file name flush right.
START = re.compile(rb"(?:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d| {19}) (?:INFO|WARNING|ERROR|DEBUG|CRITICAL) +(?=\S)")
_SOURCE = re.compile(rb" +\S+\.py:\d+ *\Z")
_LONGEST_SOURCE = 200
_MOST_LINES = 20
_MESSAGE_BYTES = 2_000


def joined(lines: Sequence[bytes]) -> bytes:
    """The text of one message from the lines it was broken into.

    A line that fills the whole column was broken within a word, any other at a blank.
    """
    first = lines[0]
    start = len(match[0]) if (match := START.match(first)) else 0
    source = _SOURCE.search(first, max(start, len(first) - _LONGEST_SOURCE))
    width = len(first) - start if source is None else len(first.rstrip()) - len(source[0].strip()) - 1 - start
    message = first[start : source.start() if source else None].strip()
    before = _cells(message)
    for line in lines[1:]:
        part = line.strip()
        message += part if before >= width else b" " + part
        before = _cells(part)
    return message


def source_of(line: str) -> str:
    """The file and line that rich prints behind a message; empty when there is none."""
    match = _SOURCE.search(line.encode("utf-8", "replace")[-_LONGEST_SOURCE:])
    return match[0].decode("utf-8", "replace").strip() if match else ""


class RichMessages:
    """Puts the messages that contain certain words together again, line by line.

    Args:
        wanted: The words; other messages are not looked at.

    Attributes:
        lines: What was read of a message that may go on in the next line.
    """

    def __init__(self, wanted: Iterable[bytes]) -> None:
        self._wanted = tuple(wanted)
        self.lines: list[bytes] = []

    def take(self, text: bytes) -> list[bytes]:
        """The messages that this line completes."""
        if 0 < len(self.lines) < _MOST_LINES and text.startswith(b" " * 20) and not START.match(text):
            self.lines.append(text)
            return []
        done = [joined(self.lines)] if self.lines else []
        is_wanted = len(text) < _MESSAGE_BYTES and any(words in text for words in self._wanted)
        self.lines = [text] if is_wanted else []
        return done


def _cells(text: bytes) -> int:
    """Columns on a terminal; Chinese and Japanese characters take two."""
    letters = text.decode("utf-8", "replace")
    return len(letters) if letters.isascii() else sum(1 + (east_asian_width(each) in "WF") for each in letters)
