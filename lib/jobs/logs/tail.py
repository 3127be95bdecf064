"""A raw log of any size, read through a function: its last lines."""

from collections.abc import Callable
from dataclasses import dataclass

from lib.jobs.logs.terminal import MAX_LINE_CHARS, SCREEN_ROWS, Terminal

ReadAt = Callable[[int, int], tuple[bytes, int]]
"""(offset, limit) -> (at most ``limit`` bytes from ``offset``, size of the log now in bytes)."""

READ_ALL_BYTES = 16 << 20
_READ_BYTES = 1 << 20
_BLOCK_BYTES = 1 << 18
_SCAN_BYTES = 24 << 20
# In nested bars most line feeds begin no line; see lib.jobs.logs.terminal.
_NESTED_REPAINT = b"\x1b[A\n\r"
# Of a line of repaints only its end is drawn: enough for some frames of the widest bar.
_REPAINT_BYTES = 1 << 11
_HEAD_BYTES = 4 * (MAX_LINE_CHARS + 1)
_MARGIN_LINES = 2 * SCREEN_ROWS


@dataclass(frozen=True, slots=True, kw_only=True)
class LogView:
    """The end of a log as a terminal shows it.

    Attributes:
        lines: The last lines, oldest first.
        first_line: Number of the first of them, from 0. While ``total_lines`` is None the count
            starts where reading started: the numbers are stable, but say nothing about the log.
        total_lines: None when only the end of the log was read.
        size_bytes: Size of the raw log.
        numbering: Views with the same word number the same lines alike; empty for the log's own numbers.
    """

    lines: tuple[str, ...] = ()
    first_line: int = 0
    total_lines: int | None = 0
    size_bytes: int = 0
    numbering: str = ""


class LogFollower:
    """Follows the end of a log that grows, reading only what is new.

    A log of up to 16 MB is read from its start, so line numbers are those of the log. Of a longer
    one only the end is read, at a cost that depends on what is shown.

    Args:
        read: Reads the raw log.
        keep_lines: How many lines a view holds.
        read_all_bytes: Up to this size a log is read from its start.
    """

    def __init__(self, read: ReadAt, keep_lines: int = 1_000, *, read_all_bytes: int = READ_ALL_BYTES) -> None:
        self._read = read
        self._keep = keep_lines
        self._read_all_bytes = read_all_bytes
        self._restart()

    def update(self) -> LogView:
        """The view now. A log that became shorter was replaced, and is read anew."""
        data, size = self._read(self._offset, _READ_BYTES)
        if size < self._offset:
            self._restart()
            data, size = self._read(0, _READ_BYTES)
        if size - self._offset > self._read_all_bytes:
            self._open_end(size)
            data, size = self._read(self._offset, _READ_BYTES)
        while data:
            self._terminal.feed(data)
            self._offset += len(data)
            data, size = self._read(self._offset, _READ_BYTES) if self._offset < size else (b"", size)
        return self._view(size)

    def _restart(self) -> None:
        self._terminal = Terminal(self._keep)
        self._offset = 0
        self._is_whole = True
        self._numbering = ""

    def _open_end(self, size: int) -> None:
        for factor in (1, 4, 16):  # moves up the screen make fewer lines of the same line feeds
            wanted = (self._keep + _MARGIN_LINES) * factor
            pieces = BackwardReader(self._read, size).pieces(wanted)
            self._terminal = Terminal(self._keep)
            self._terminal.feed(b"".join(pieces))
            if self._terminal.total_lines >= self._keep or len(pieces) < wanted:
                break
        self._offset = size
        self._is_whole = False
        self._numbering = f"last {self._keep} of {size}"

    def _view(self, size: int) -> LogView:
        shown = self._terminal
        lines = shown.lines[-self._keep :]
        return LogView(
            lines=lines,
            first_line=shown.total_lines - len(lines),
            total_lines=shown.total_lines if self._is_whole else None,
            size_bytes=size,
            numbering=self._numbering,
        )


class BackwardReader:
    """The raw end of a log, found by reading backwards, at most 24 MB.

    A line of repaints can be hundreds of megabytes long while only its last frame shows: of such
    a line the end is kept, of a long line without repaints its start (the rest is cut anyway).
    """

    def __init__(self, read: ReadAt, size: int) -> None:
        self._read = read
        self._size = size

    def pieces(self, line_count: int) -> list[bytes]:
        """The last lines in order, within the reading budget."""
        lines: list[bytes] = []
        tail, position = b"", self._size
        lowest = max(0, self._size - _SCAN_BYTES)
        while position > lowest and len(lines) < line_count:
            start = max(lowest, position - _BLOCK_BYTES)
            raw = self._block(start, position)
            block = raw.replace(_NESTED_REPAINT, b"\r")
            position, stop = start, len(block)
            while len(lines) < line_count and (cut := block.rfind(b"\n", 0, stop)) >= 0:
                line_at = start + cut + 1 if len(block) == len(raw) else None
                lines.append(self._line(_joined(block, cut + 1, stop, tail), line_at))
                tail, stop = b"\n", cut
            tail = _joined(block, 0, stop, tail)
        if len(lines) < line_count:
            lines.append(self._line(tail, position))
        return lines[::-1]

    def _line(self, line: bytes, line_at: int | None) -> bytes:
        if len(line) > _HEAD_BYTES and line_at is not None and b"\r" not in line[:-2]:
            return self._block(line_at, line_at + _HEAD_BYTES) + b"\n" * line.endswith(b"\n")
        return line

    def _block(self, start: int, stop: int) -> bytes:
        parts: list[bytes] = []
        while start < stop:
            data, _ = self._read(start, stop - start)
            if not data:
                break
            parts.append(data)
            start += len(data)
        return b"".join(parts)


def _joined(block: bytes, start: int, stop: int, tail: bytes) -> bytes:
    """A part of a block before the tail of its line, as far as the line needs it."""
    if len(tail) > _REPAINT_BYTES and (tail[0] == 0x0D or len(tail) > _HEAD_BYTES):
        return tail
    if stop - start > _REPAINT_BYTES:
        repaint = block.rfind(b"\r", start, stop - _REPAINT_BYTES)
        start = repaint if repaint >= 0 else start
    return block[start:stop] + tail
