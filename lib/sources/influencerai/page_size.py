"""Adapts the page size: smaller after a response that was too large or too slow, later larger again."""

from dataclasses import dataclass

MOST_ROWS = 100
LEAST_SLOW_ROWS = 10
FIRST_PATIENCE, MOST_PATIENCE = 4, 256


@dataclass(kw_only=True)
class PageSize:
    """The rows of one page. Each time that growing turns out to be too much, the next growth waits twice as long.

    Attributes:
        rows: How many to request now.
        patience: Good pages before growing.
    """

    rows: int = MOST_ROWS
    patience: int = FIRST_PATIENCE
    _good: int = 0
    _has_grown: bool = False

    def worked(self) -> None:
        """A page arrived."""
        self._good += 1
        if self.rows < MOST_ROWS and self._good >= self.patience:
            self.rows, self._good, self._has_grown = min(MOST_ROWS, self.rows * 2), 0, True

    def was_too_large(self) -> bool:
        """Shrink the page. Returns whether that was possible."""
        return self._shrink(self.rows // (2 if self._has_grown else 4), least=1)

    def was_too_slow(self) -> None:
        """Shrink the page, but not to single rows: an API that hangs is slow for any number of rows."""
        self._shrink(self.rows // 2, least=LEAST_SLOW_ROWS)

    def _shrink(self, rows: int, *, least: int) -> bool:
        before, self.rows = self.rows, min(self.rows, max(least, rows))
        if self.rows < before and self._has_grown:
            self.patience = min(MOST_PATIENCE, self.patience * 2)
        self._good, self._has_grown = 0, False
        return self.rows < before
