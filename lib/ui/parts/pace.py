"""Ticks take turns, and come less often while they wait long for one: no click waits behind ticks."""

import contextlib
import functools
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

from streamlit.runtime.scriptrunner import get_script_run_ctx

# Python runs one thread at a time. More scripts at once only take it from each other, with a wake-up each.
TURNS = 2
# A holder may wait for a slow source; nobody waits for it longer than this.
LONGEST_WAIT_S = 2.0
MEASURED_EVERY_S = 1.0
LATE_S, ON_TIME_S = 0.250, 0.050
# Of one core, which is all that Python's threads share.
BUSY, AT_EASE = 0.70, 0.45
# Slower down than up: after one quiet second most viewers have not even asked again.
STRETCH, RELAX, LONGEST = 1.4, 1 / 1.1, 5.0
LONGEST_TICK_MS, LONGEST_SLOW_TICK_MS = 10_000, 30_000
STEP_MS = 500

P = ParamSpec("P")
R = TypeVar("R")


class Pace:
    """Turns of ticks, and intervals stretched by how long ticks wait for theirs and how busy the server is.

    One for all pages of the server.
    """

    def __init__(
        self,
        turns: int = TURNS,
        now: Callable[[], float] = time.monotonic,
        cpu_s: Callable[[], float] = time.process_time,
    ) -> None:
        self._turns = threading.Semaphore(turns)
        self._now, self._cpu_s = now, cpu_s
        self._lock = threading.Lock()
        self._waits_s: list[float] = []
        self._measured_at, self._cpu_before_s = now(), cpu_s()
        self._factor = 1.0

    @contextlib.contextmanager
    def turn(self, *, longest_wait_s: float = LONGEST_WAIT_S) -> Iterator[None]:
        """Hold one of the few turns meanwhile; after waiting too long, go on without."""
        begun = self._now()
        has_turn = self._turns.acquire(timeout=longest_wait_s)
        self.note(self._now() - begun)
        try:
            yield
        finally:
            if has_turn:
                self._turns.release()

    def note(self, wait_s: float) -> None:
        """Note how long a tick waited for its turn."""
        with self._lock:
            self._waits_s.append(wait_s)
            span_s = self._now() - self._measured_at
            if span_s < MEASURED_EVERY_S:
                return
            usual_s, busy = statistics.median(self._waits_s), (self._cpu_s() - self._cpu_before_s) / span_s
            self._waits_s.clear()
            self._measured_at, self._cpu_before_s = self._now(), self._cpu_s()
            is_late, is_on_time = usual_s > LATE_S or busy > BUSY, usual_s < ON_TIME_S and busy < AT_EASE
            change = STRETCH if is_late else RELAX if is_on_time else 1
            self._factor = min(LONGEST, max(1.0, self._factor * change))

    def interval_ms(self, wanted_ms: int) -> int:
        """The interval to use: the one that is wanted while ticks are on time, up to five times that while not.

        At most 10 s for ticks that are quicker than that, at most 30 s for slower ones. It changes in steps, so that
        a page is not told of a new one at every tick.
        """
        longest_ms = LONGEST_TICK_MS if wanted_ms < LONGEST_TICK_MS / 2 else LONGEST_SLOW_TICK_MS
        if self._factor < 1.2 or wanted_ms >= longest_ms:
            return wanted_ms
        return min(longest_ms, -(-round(wanted_ms * self._factor) // STEP_MS) * STEP_MS)


PACE = Pace()
"""The pace of this server."""


def in_turn(draw: Callable[P, R]) -> Callable[P, R]:
    """Let the ticks of a fragment take turns. A click that draws the whole page waits for nobody."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        context = get_script_run_ctx(suppress_warning=True)
        is_tick = context is not None and bool(context.fragment_ids_this_run)
        with PACE.turn() if is_tick else contextlib.nullcontext():
            return draw(*args, **kwargs)

    return drawn


def slower_text(interval_ms: int, wanted_ms: int) -> str:
    """``The server is busy: refreshed every 6 s instead of 2 s.``; empty while nothing is stretched."""
    if interval_ms <= wanted_ms:
        return ""
    return f"The server is busy: refreshed every {interval_ms / 1_000:g} s instead of {wanted_ms / 1_000:g} s."
