"""One call per key and moment however many ask: the answer, or the error, is shared."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from lib.errors import DashboardError

Value = TypeVar("Value")


@dataclass(kw_only=True)
class _Slot(Generic[Value]):
    lock: threading.Lock = field(default_factory=threading.Lock)
    began_at: float = float("-inf")
    ended_at: float = float("-inf")
    value: Value | None = None
    error: DashboardError | None = None


class SharedReads(Generic[Value]):
    """Answers that are kept for ``kept_s`` from the start of the call, errors from its end.

    Who asks while a call is under way gets its outcome: while the API hangs, fifty viewers make one call, not
    fifty in a row. Safe to use from several threads.
    """

    def __init__(self, kept_s: float, *, most: int = 500, clock: Callable[[], float] = time.monotonic) -> None:
        self._kept_s = kept_s
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._slots: OrderedDict[str, _Slot[Value]] = OrderedDict()

    def get(self, key: str, read: Callable[[], Value]) -> Value:
        """The shared answer for ``key``; ``read`` is called when there is none that is fresh."""
        asked_at = self._clock()
        slot = self._slot(key)
        with slot.lock:
            if slot.ended_at <= asked_at and self._clock() >= self._fresh_until(slot):
                self._fill(slot, read)
            if slot.error is not None:
                raise slot.error.with_traceback(None)
            return slot.value  # type: ignore[return-value]

    def forget(self, key: str) -> None:
        """The next call for ``key`` reads afresh."""
        with self._lock:
            self._slots.pop(key, None)

    def clear(self) -> None:
        """Every next call reads afresh."""
        with self._lock:
            self._slots.clear()

    def _fresh_until(self, slot: _Slot[Value]) -> float:
        return (slot.began_at if slot.error is None else slot.ended_at) + self._kept_s

    def _fill(self, slot: _Slot[Value], read: Callable[[], Value]) -> None:
        began_at = self._clock()
        try:
            slot.value, slot.error = read(), None
        except DashboardError as error:
            slot.value, slot.error = None, error
        # Not reached after an error nobody expected: then there is no outcome to share.
        slot.began_at, slot.ended_at = began_at, self._clock()

    def _slot(self, key: str) -> _Slot[Value]:
        with self._lock:
            slot = self._slots.setdefault(key, _Slot())
            self._slots.move_to_end(key)
            while len(self._slots) > self._most:
                self._slots.popitem(last=False)
            return slot
