"""How far the server is behind, and longer intervals between ticks while it is: a click must not wait behind ticks."""

import asyncio
import time

MEASURED_EVERY_S = 0.1
SAMPLES = 10
# A click passes the event loop some ten times.
LATE_S = 0.100
ON_TIME_S = 0.040
# Slower down than up: after one quiet second most viewers have not even asked again.
STRETCH, RELAX, LONGEST = 1.3, 1 / 1.15, 5.0
LONGEST_TICK_MS = 10_000
STEP_MS = 500


class Pace:
    """Intervals stretched by how late the server's own timer has been. One for all pages of the server."""

    def __init__(self) -> None:
        self._factor = 1.0
        self._late_s: list[float] = []

    def note(self, late_s: float) -> None:
        """Note how much later than it was due the timer got its turn."""
        self._late_s.append(late_s)
        if len(self._late_s) < SAMPLES:
            return
        mean_s = sum(self._late_s) / SAMPLES
        self._late_s.clear()
        change = STRETCH if mean_s > LATE_S else RELAX if mean_s < ON_TIME_S else 1
        self._factor = min(LONGEST, max(1.0, self._factor * change))

    def interval_ms(self, wanted_ms: int) -> int:
        """The interval to use: the one that is wanted while the server is on time, at most 10 s while it is late.

        It changes in steps, so that a page is not told of a new one at every tick. Slow ticks stay as they are.
        """
        if self._factor < 1.2 or wanted_ms >= LONGEST_TICK_MS:
            return wanted_ms
        return min(LONGEST_TICK_MS, -(-round(wanted_ms * self._factor) // STEP_MS) * STEP_MS)

    async def keep(self, every_s: float = MEASURED_EVERY_S) -> None:
        """Measure until cancelled. It belongs to the event loop, which every tick has to pass."""
        while True:
            due = time.monotonic() + every_s
            await asyncio.sleep(every_s)
            self.note(time.monotonic() - due)


PACE = Pace()
"""The pace of this server; it stays as it is until somebody measures."""


def slower_text(interval_ms: int, wanted_ms: int) -> str:
    """``The server is busy: refreshed every 6 s instead of 2 s.``; empty while nothing is stretched."""
    if interval_ms <= wanted_ms:
        return ""
    return f"The server is busy: refreshed every {interval_ms / 1_000:g} s instead of {wanted_ms / 1_000:g} s."
