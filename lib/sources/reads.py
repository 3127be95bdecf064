"""Reads that outlive a failure: the last good value stays, with its age and the reason it could not be read again."""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from lib.errors import DashboardError, JobNotFound

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading(Generic[Value]):
    """What was read last with success, and why it could not be read again (None: it is fresh)."""

    value: Value
    read_at: datetime
    problem: DashboardError | None = None


class LastGood:
    """The last good value of each question, shared by all viewers; a failure is not asked again for a moment.

    Args:
        ask_again_after_s: How long a failure is taken for granted.
        max_entries: How many questions are remembered.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        *,
        ask_again_after_s: float,
        max_entries: int = 300,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask_again_after_s = ask_again_after_s
        self._clock = clock
        self._lock = threading.Lock()
        self._readings: OrderedDict[Hashable, Reading[Any]] = OrderedDict()
        self._failures: dict[Hashable, tuple[float, DashboardError]] = {}
        self._max_entries = max_entries

    def read(self, key: Hashable, ask: Callable[[], Value]) -> Reading[Value]:
        """Ask; when that fails give the last good value with the reason. Raises when there never was one."""
        with self._lock:
            failed_at, problem = self._failures.get(key, (-math.inf, None))
            kept = self._readings.get(key)
        if problem is None or self._clock() - failed_at > self._ask_again_after_s:
            try:
                return self._keep(key, ask())
            except DashboardError as error:
                problem = error
                with self._lock:
                    self._failures.pop(key, None)
                    self._failures = {key: (self._clock(), error), **self._failures}
                    self._failures = dict(list(self._failures.items())[: self._max_entries])
        if kept is None or isinstance(problem, JobNotFound):
            raise problem.with_traceback(None)
        return replace(kept, problem=problem)

    def knows(self, key: Hashable) -> bool:
        """Whether there is a good value to show at once."""
        with self._lock:
            return key in self._readings

    def forget_failures(self) -> None:
        """Ask again at once, whatever failed just now."""
        with self._lock:
            self._failures = {}

    def _keep(self, key: Hashable, value: Value) -> Reading[Value]:
        reading = Reading(value=value, read_at=datetime.now(UTC))
        with self._lock:
            self._failures.pop(key, None)
            self._readings[key] = reading
            self._readings.move_to_end(key)
            while len(self._readings) > self._max_entries:
                self._readings.popitem(last=False)
        return reading
