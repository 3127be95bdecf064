"""Builds one growing log from short windows: the API only shows the last lines, replaced on each write."""

from collections.abc import Sequence

RUNNING_WINDOW = 20  # the worker keeps this many lines while it runs
FINAL_WINDOW = 200  # and this many at the end
MISSING = "… (lines missing here) …"
TOO_LONG = "… (the log is longer than the dashboard keeps) …"
KEPT_LINES = 2 * FINAL_WINDOW
MOST_BYTES = 8 << 20


class MergedLog:
    """Append-only bytes, so that a reader's offset stays valid."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.data = bytearray()
        self.has_gap = False  # whether lines are missing before those that were merged last
        self._most_bytes = most_bytes
        self._is_full = False
        # The lines since the last gap, as far back as an overlap can reach.
        self._recent: list[str] = []

    def merge(self, window: Sequence[str], *, most_lines: int = RUNNING_WINDOW) -> list[str]:
        """Merge the current last lines of the log. Returns the new ones.

        A first window of fewer than ``most_lines`` is the whole log.
        """
        window = [line.replace("\n", " ") for line in window]
        if not window or self._holds(window):
            return []
        known = self._overlap(window)
        self.has_gap = known == 0 and (bool(self.data) or len(window) >= most_lines)
        if self.has_gap:
            self._append([MISSING])
        if known == 0:
            self._recent = []
        fresh = window[known:]
        self._append(fresh)
        self._recent = [*self._recent, *fresh][-KEPT_LINES:]
        return fresh

    def _overlap(self, window: Sequence[str]) -> int:
        """How many lines at the start of the window are known already.

        A real overlap reaches back to the start of the window or of the known lines; anything less is a coincidence.
        """
        recent = self._recent
        if recent and window[: len(recent)] == recent:
            return len(recent)
        for end in range(len(window), 0, -1):
            length = min(end, len(recent))
            if length and recent[-length:] == window[end - length : end]:
                return end
        return 0

    def _holds(self, window: Sequence[str]) -> bool:
        """Whether the window is outdated: all of its lines were seen before, with more after them."""
        size, recent = len(window), self._recent
        return any(recent[start : start + size] == window for start in range(len(recent) - size + 1))

    def _append(self, lines: Sequence[str]) -> None:
        if self._is_full:
            return
        # A lone surrogate is valid JSON but cannot be encoded as UTF-8.
        text = "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")
        if len(self.data) + len(text) > self._most_bytes:
            text, self._is_full = f"{TOO_LONG}\n".encode(), True
        self.data += text
