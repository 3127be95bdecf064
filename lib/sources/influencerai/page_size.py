"""How many rows are asked for at once: fewer after an answer that was too large or too slow, later more again."""

from dataclasses import dataclass

MOST_ROWS = 100
LEAST_SLOW_ROWS = 10
FIRST_PATIENCE, MOST_PATIENCE = 4, 256


@dataclass(kw_only=True)
class PageSize:
    """The rows of one page. Every time that more rows turn out to be too many, growing waits twice as long.

    Attributes:
        rows: How many to ask for now.
        patience: Good pages before more rows are asked for.
    """

    rows: int = MOST_ROWS
    patience: int = FIRST_PATIENCE
    _good: int = 0
    _has_grown: bool = False

    def worked(self) -> None:
        """A page came."""
        self._good += 1
        if self.rows < MOST_ROWS and self._good >= self.patience:
            self.rows, self._good, self._has_grown = min(MOST_ROWS, self.rows * 2), 0, True

    def was_too_large(self) -> bool:
        """Whether fewer rows can be asked for, as they will be from now on."""
        return self._shrink(self.rows // (2 if self._has_grown else 4), least=1)

    def was_too_slow(self) -> None:
        """Fewer rows next time; but not one by one, as an API that hangs is slow whatever it is asked."""
        self._shrink(self.rows // 2, least=LEAST_SLOW_ROWS)

    def _shrink(self, rows: int, *, least: int) -> bool:
        before, self.rows = self.rows, min(self.rows, max(least, rows))
        if self.rows < before and self._has_grown:
            self.patience = min(MOST_PATIENCE, self.patience * 2)
        self._good, self._has_grown = 0, False
        return self.rows < before
