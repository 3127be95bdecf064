"""The one cache of what is read from a source: all viewers share it, and a failure keeps the last good value."""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from lib.errors import DashboardError, JobNotFound

Value = TypeVar("Value")

ERROR_HOLD_S = 1.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading(Generic[Value]):
    """The last value that was read, and why it could not be read again; ``problem`` is None for a fresh value."""

    value: Value
    read_at: datetime
    problem: DashboardError | None = None


@dataclass(slots=True)
class _Slot:
    """One key: the last good value and the outcome of the last call.

    Attributes:
        users: How many threads are reading the key now.
        era: How many forgets came before the last call.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    users: int = 0
    reading: Reading[Any] | None = None
    error: DashboardError | None = None
    version: Hashable = None
    era: int = -1
    ended_at: float = -math.inf
    fresh_until: float = -math.inf


class Reads:
    """Shared reads by key. Safe to use from several threads.

    One call per key runs at a time. Callers who arrive while it runs get its outcome, so that fifty viewers of a
    source that hangs make one call. A value is kept for its ``ttl_s`` from the start of the call. An error is held
    for a short while from the end of the call, and the last good value stays available behind it.

    Values are handed out as they are, not copied: they must be immutable.

    Args:
        error_hold_s: How long an error is repeated without asking again.
        max_entries: How many keys are kept; the least recently used ones are dropped first. There are more only while
            more are being read.
        clock: Monotonic seconds.
        now: The time that readings are stamped with.
    """

    def __init__(
        self,
        *,
        error_hold_s: float = ERROR_HOLD_S,
        max_entries: int = 300,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._error_hold_s = error_hold_s
        self._max_entries = max_entries
        self._clock = clock
        self._now = now
        self._lock = threading.Lock()
        self._slots: OrderedDict[Hashable, _Slot] = OrderedDict()
        self._era = 0

    def read(self, key: Hashable, ask: Callable[[], Value], *, ttl_s: float, version: Hashable = None) -> Value:
        """The value as it is now. Raises the error of ``ask``."""
        reading = self.latest(key, ask, ttl_s=ttl_s, version=version)
        if reading.problem is not None:
            raise reading.problem.with_traceback(None)
        return reading.value

    def latest(
        self, key: Hashable, ask: Callable[[], Value], *, ttl_s: float, version: Hashable = None
    ) -> Reading[Value]:
        """The value, or the last good one with the reason why it could not be read again.

        Args:
            key: Identifies what is read.
            ask: Reads it; called when there is no fresh value.
            ttl_s: How long the value stays fresh, in seconds.
            version: A value that was read under another version is not fresh.

        Raises:
            DashboardError: The read failed, and there is no earlier value.
            JobNotFound: The job is gone; an earlier value no longer counts.
        """
        asked_at, era = self._clock(), self._era
        with self._held(key) as slot:
            is_current = slot.era >= era and slot.version == version
            if not (is_current and (slot.ended_at > asked_at or self._clock() < slot.fresh_until)):
                self._ask(slot, ask, ttl_s, version)
            reading, error = slot.reading, slot.error
        if reading is None:
            assert error is not None, "a call ends with a value or an error"
            raise error.with_traceback(None)
        return replace(reading, problem=error) if error else reading

    def knows(self, key: Hashable) -> bool:
        """Whether there is a good value to show at once."""
        slot = self._slots.get(key)
        return slot is not None and slot.reading is not None

    def forget(self) -> None:
        """Read everything afresh next time. The last good values stay in case that fails."""
        with self._lock:
            self._era += 1

    def _ask(self, slot: _Slot, ask: Callable[[], Any], ttl_s: float, version: Hashable) -> None:
        era, began_at = self._era, self._clock()
        # Any other error leaves the slot as it was: it is a bug, not an outcome to share.
        try:
            slot.reading, slot.error = Reading(value=ask(), read_at=self._now()), None
            slot.fresh_until = began_at + ttl_s
        except DashboardError as error:
            if isinstance(error, JobNotFound):
                slot.reading = None
            slot.error, slot.fresh_until = error, self._clock() + self._error_hold_s
        slot.ended_at, slot.era, slot.version = self._clock(), era, version

    @contextmanager
    def _held(self, key: Hashable) -> Iterator[_Slot]:
        """The locked slot of a key. It cannot be dropped meanwhile, or a second call for the key could begin."""
        with self._lock:
            slot = self._slots.setdefault(key, _Slot())
            slot.users += 1
            self._slots.move_to_end(key)
            self._drop_surplus()
        try:
            with slot.lock:
                yield slot
        finally:
            with self._lock:
                slot.users -= 1

    def _drop_surplus(self) -> None:
        surplus = len(self._slots) - self._max_entries
        if surplus > 0:
            unused = [key for key, slot in self._slots.items() if not slot.users]
            for key in unused[:surplus]:
                del self._slots[key]
