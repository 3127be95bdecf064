"""Reads what a running attempt adds to its log: for a moment at a time, and never far behind a chatty trainer."""

import time
from collections.abc import Iterator

from lib.embedded.files.attempt_folder import AttemptFolder
from lib.embedded.files.availability import FolderUnavailable
from lib.embedded.worker.limits import WorkerLimits

LOG_SKIPPED = "log_skipped"


class LogReader:
    """The place in a log up to which it was read.

    Attributes:
        has_skipped: Whether a part was left out because the trainer wrote faster than it could be read.
    """

    def __init__(self, folder: AttemptFolder, limits: WorkerLimits) -> None:
        self._folder = folder
        self._limits = limits
        self._offset, self._late_bytes = 0, _size_now(folder)
        self._inode: int | None = None
        self._skips_line = False
        self._is_at_end = False
        self.has_skipped = False

    @property
    def is_late(self) -> bool:
        """Whether it still reads what was there at the beginning, from another worker's time."""
        return self._offset < self._late_bytes

    @property
    def is_at_end(self) -> bool:
        """Whether nothing was left at the last look."""
        return self._is_at_end

    def pieces(self) -> Iterator[tuple[bytes, bool]]:
        """New output and whether it is late, until the end of the log or for as long as one look may take."""
        deadline = time.monotonic() + self._limits.read_for_s
        yield from self._find_place()
        while True:
            data, was_late = self._folder.read_log(self._offset, self._limits.read_at_once_bytes), self.is_late
            self._offset += len(data)
            self._is_at_end = len(data) < self._limits.read_at_once_bytes
            if self._is_at_end:
                self._late_bytes = 0
            if data := self._from_next_line(data):
                yield data, was_late
            if self._is_at_end or time.monotonic() >= deadline:
                return

    def _find_place(self) -> Iterator[tuple[bytes, bool]]:
        """Begin anew where the log was replaced or truncated, and skip what is too far behind its end."""
        stat = self._folder.log_stat()
        if stat is None:
            return
        was_replaced = self._inode is not None and stat.st_ino != self._inode
        self._inode = stat.st_ino
        if was_replaced or stat.st_size < self._offset:
            self._offset = self._late_bytes = 0
            yield b"\n", False  # ends the line that was cut off
        if stat.st_size - self._offset > self._limits.skip_behind_bytes:
            self._offset = stat.st_size - self._limits.read_after_skip_bytes
            self._skips_line = self.has_skipped = True
            yield b"\n", True

    def _from_next_line(self, data: bytes) -> bytes:
        """After a skip the rest of a line is left out: its beginning is not known."""
        if not self._skips_line:
            return data
        _, newline, rest = data.partition(b"\n")
        self._skips_line = not newline
        return rest


def _size_now(folder: AttemptFolder) -> int:
    """The size of the log; a log elsewhere may be out of reach, and is read anew once it is back."""
    try:
        return folder.log_size()
    except FolderUnavailable:
        if folder.place.log:
            return 0
        raise
