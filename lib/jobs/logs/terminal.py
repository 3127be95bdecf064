"""Raw bytes of a log -> lines as a terminal shows them.

A state machine of our own rather than ``pyte``: a log needs no colours, no fixed width and no
scrolling region, and it must not cost seconds per megabyte (``tests/benchmarks/bench_log.py``).
"""

import codecs
import re
from itertools import repeat

MAX_LINE_CHARS = 65_536
CUT_NOTE = " … [line cut at 65,536 characters]"
# As on a real terminal, only what is still on the screen can be repainted.
SCREEN_ROWS = 64

_UP, _ERASE = "\x1b[A", "\x1b[K"
_NESTED_REPAINT = _UP + "\n\r"
# What a terminal acts on without showing anything: SGR, OSC (links, titles), other escapes, bells.
# Lengths are bounded so that a broken sequence cannot swallow the log.
_INVISIBLE = re.compile(
    r"\x1b\[(?![0-9]{0,4}[AK])[0-?]{0,64}[ -/]{0,8}[@-~]?"
    r"|\x1b[\]P_^X][^\x07\x1b\r\n]{0,4096}(?:\x07|\x1b\\)"
    r"|\x1b(?!\[)(?:[ -/]{1,4}[0-~]?|[0-~])?"
    r"|[\x00-\x07\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f]+"
)
# The same for the well-formed ones that occur in bulk: SGR and OSC.
_COMMON = re.compile(r"\x1b(?:\[[0-9;:]{0,64}m|\][^\x07\x1b\r\n]{0,4096}(?:\x07|\x1b\\))")
_COMMON_CONTROLS = b"\x1b\x07\b\t"
_RARE_CONTROLS = bytes(set(range(0x20)) - {0x0A, 0x0D, *_COMMON_CONTROLS}) + b"\x7f"
# Two patterns, because a literal start is found many times faster than a set of characters.
_MOVES = re.compile(r"(\x1b\[[0-9]{0,4}[AK])")
_STEPS = re.compile(r"(\x08+|\t+)")
_UNFINISHED = re.compile(r"\x1b(?:\[[0-?]{0,64}[ -/]{0,8}|[\]P_^X][^\x07\x1b\r\n]{0,4096}\x1b?|[ -/]{0,4})?\Z")
_LONGEST_ESCAPE = 4_200
_LONG_UP = re.compile(r"\x1b\[[0-9]+A")
_SMALL = 4_096
# With more characters than this for one nested repaint, each is handled by itself.
_SPARSE = 200


class Terminal:
    """A screen without width that remembers its last lines.

    Chunks may be cut anywhere, also within a character or an escape sequence: the lines are the
    same as for one piece.

    Args:
        keep_lines: How many lines to remember at most; at least a screen of 64 rows.
    """

    def __init__(self, keep_lines: int = 1_000) -> None:
        self._keep = max(keep_lines, SCREEN_ROWS)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending = ""
        self._rows = [""]
        self._may_be_long = False
        self._first = 0
        self._row = 0
        self._col = 0

    @property
    def first_line(self) -> int:
        """Number of the oldest line remembered, from 0; never changes for a line."""
        return self._first + max(0, self._count() - self._keep)

    @property
    def total_lines(self) -> int:
        """How many lines there have been."""
        return self._first + self._count()

    @property
    def settled_lines(self) -> int:
        """Lines below this number cannot change any more."""
        return max(0, self._first + len(self._rows) - SCREEN_ROWS)

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines remembered, oldest first; the last may still be written."""
        return self.lines_between(self.first_line, self.total_lines)

    def lines_between(self, start: int, stop: int) -> tuple[str, ...]:
        """The lines numbered [start, stop), as far as they are remembered."""
        stop = min(stop, self.total_lines)
        rows = self._rows[max(0, start - self._first) : max(0, stop - self._first)]
        return tuple(_shown(row) for row in rows)

    def text_between(self, start: int, stop: int) -> str:
        """The same lines in one string, quickly: they may end in blanks that are not shown."""
        rows = self._rows[max(0, start - self._first) : max(0, stop - self._first)]
        if self._may_be_long and max(map(len, rows), default=0) > MAX_LINE_CHARS:
            rows = [_shown(row) for row in rows]
        return "\n".join(rows)

    def feed(self, data: bytes) -> None:
        """Take in the next bytes of the log."""
        text = self._decoder.decode(data)
        has_rare = len(data) != len(data.translate(None, _RARE_CONTROLS))
        if self._pending or has_rare or any(control in data for control in _COMMON_CONTROLS):
            self._write_escaped(self._pending + text, has_rare)
        else:
            self._write(text)
        if len(self._rows) > 2 * self._keep:
            self._forget(len(self._rows) - self._keep)

    def forget_before(self, line: int) -> None:
        """Forget the settled lines below this number."""
        self._forget(max(0, min(line, self.settled_lines) - self._first))

    def _count(self) -> int:
        return len(self._rows) - (not self._rows[-1])

    def _forget(self, count: int) -> None:
        del self._rows[:count]
        self._first += count
        self._row -= count

    def _write_escaped(self, text: str, has_rare: bool) -> None:
        unfinished = _UNFINISHED.search(text, max(0, len(text) - _LONGEST_ESCAPE))
        self._pending = unfinished[0] if unfinished else ""
        if unfinished:
            text = text[: unfinished.start()]
        self._write_moves(_without_invisible(text, has_rare))

    def _write_moves(self, text: str) -> None:
        """Write text whose only escapes are moves and erasures."""
        escapes = text.count("\x1b")
        if escapes * _SPARSE > len(text) and text.count(_NESTED_REPAINT) * _SPARSE > len(text):
            repainted = text.replace(_NESTED_REPAINT, "\r")
            middle = text.find("\n", len(text) // 2)
            if self._stays_on_screen(repainted):
                text = repainted
            elif middle > _SMALL:
                self._write_moves(text[:middle])
                self._write_moves(text[middle:])
                return
        has_steps = "\t" in text or "\b" in text
        for number, piece in enumerate(_MOVES.split(text)):
            if number % 2:
                self._move(piece)
            elif has_steps:
                for count, part in enumerate(_STEPS.split(piece)):
                    self._move(part) if count % 2 else self._write(part)
            elif piece:
                self._write(piece)

    def _stays_on_screen(self, text: str) -> bool:
        """Whether no "up" can hit the top, so that up + down + repaint is a plain repaint."""
        lowest = len(self._rows) + text.count("\n")
        highest = self._row - text.count(_UP)
        return highest > max(0, lowest - SCREEN_ROWS) and not _LONG_UP.search(text)

    def _move(self, code: str) -> None:
        if code[0] == "\t":
            self._col = (self._col // 8 + len(code)) * 8
        elif code[0] == "\b":
            self._col = max(0, self._col - len(code))
        elif code[-1] == "A":
            top = max(0, len(self._rows) - SCREEN_ROWS)
            self._row = max(min(top, self._row), self._row - (int(code[2:-1] or 1) or 1))
        else:
            self._erase(code[2:-1])

    def _erase(self, mode: str) -> None:
        row = self._rows[self._row]
        if mode in {"", "0"}:
            self._rows[self._row] = row[: self._col]
        elif mode == "1":
            self._rows[self._row] = " " * min(len(row), self._col + 1) + row[self._col + 1 :]
        elif mode == "2":
            self._rows[self._row] = ""

    def _write(self, text: str) -> None:
        """Write text whose only controls are carriage returns and line feeds."""
        if "\n" not in text:
            self._write_on_row(text)
            return
        first, *middle, last = text.split("\n")
        self._write_on_row(first)
        while middle and self._row < len(self._rows) - 1:
            self._step_down()
            self._write_on_row(middle.pop(0))
        if middle:
            self._append(middle, are_short=len(text) <= MAX_LINE_CHARS)
        self._step_down()
        self._write_on_row(last)

    def _append(self, lines: list[str], *, are_short: bool) -> None:
        skipped = len(lines) - self._keep
        if skipped > 0:
            self._forget_all()
            self._first += skipped
            lines = lines[skipped:]
        if are_short:
            self._rows += [line if "\r" not in line else _overlaid("", line)[0] for line in lines]
        else:
            self._may_be_long = True
            self._rows += [
                line if "\r" not in line and len(line) <= MAX_LINE_CHARS else _overlaid("", line)[0] for line in lines
            ]
        self._row = len(self._rows) - 1

    def _forget_all(self) -> None:
        self._first += len(self._rows)
        self._rows.clear()

    def _step_down(self) -> None:
        self._row += 1
        self._col = 0
        if self._row == len(self._rows):
            self._rows.append("")

    def _write_on_row(self, text: str) -> None:
        if not text:
            return
        head, separator, rest = text.partition("\r")
        row = self._rows[self._row]
        if head:
            row = _overwritten(row, self._col, head)
            self._col += len(head)
        if separator:
            row, self._col = _overlaid(row, rest)
        self._may_be_long |= len(row) > MAX_LINE_CHARS
        self._rows[self._row] = row


def plain_lines(data: bytes) -> list[str]:
    """All lines of a log at once."""
    terminal = Terminal(keep_lines=max(1, data.count(b"\n") + 1))
    terminal.feed(data)
    return list(terminal.lines)


def _without_invisible(text: str, has_rare: bool) -> str:
    """The text without escapes and controls that show nothing; moves and erasures stay.

    Removing the common ones by a simpler pattern is right only if every escape is accounted for:
    otherwise the removal could join halves of broken ones.
    """
    if not has_rare and "\x07" not in text and _has_only_moves(text):
        return text
    shown, removed = _COMMON.subn("", text)
    if not has_rare and "\x07" not in shown and _has_only_moves(shown):
        strings = text.count("\x1b\\")
        if text.count("\x1b") == removed + strings + text.count(_UP) + text.count(_ERASE):
            return shown
    return _INVISIBLE.sub("", text)


def _has_only_moves(text: str) -> bool:
    """Whether every escape is a step up or an erasure, as far as a count tells."""
    escapes = text.count("\x1b")
    return escapes == 0 or escapes == (ups := text.count(_UP)) or escapes == ups + text.count(_ERASE)


def _shown(row: str) -> str:
    if len(row) > MAX_LINE_CHARS:
        return row[:MAX_LINE_CHARS].rstrip(" ") + CUT_NOTE
    return row.rstrip(" ")


def _overwritten(row: str, col: int, text: str) -> str:
    """The row after writing ``text`` at ``col``; one character over the limit marks a cut line."""
    if col > MAX_LINE_CHARS:
        return row.ljust(MAX_LINE_CHARS + 1)
    return (row[:col].ljust(col) + text + row[col + len(text) :])[: MAX_LINE_CHARS + 1]


def _overlaid(row: str, text: str) -> tuple[str, int]:
    """The row after repaints from column 0 separated by carriage returns, and the column after."""
    frames = text.split("\r")
    shown = frames[-1]
    longest = max(map(len, frames))
    for frame in reversed(frames) if longest > len(shown) else repeat("", 0):
        if len(frame) > len(shown):
            shown += frame[len(shown) :]
            if len(shown) == longest:
                break
    return (shown + row[len(shown) :])[: MAX_LINE_CHARS + 1], len(frames[-1])
