"""Norms that are computed in the background, one file at a time, and kept by content."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from lib.artifacts.lora.norms import NormsCancelled
from lib.errors import ArtifactError, DashboardError
from lib.jobs.lora_report import NormsReport, NormsState

log = logging.getLogger(__name__)
MOST_KEPT = 64
Work = Callable[[Callable[[float], None], Callable[[], bool]], NormsReport]
"""Computes norms; gets where to report the fraction that is done, and what to ask whether to stop."""


@dataclass(slots=True)
class _Task:
    cancelled: threading.Event = field(default_factory=threading.Event)
    state: NormsState = field(default_factory=NormsState)


class NormsTasks:
    """Runs one task at a time; the others wait, so that memory and CPU stay bounded. Safe to use from several threads.

    Args:
        most_kept: How many finished tasks are remembered; the oldest are dropped first.
    """

    def __init__(self, *, most_kept: int = MOST_KEPT) -> None:
        self._most_kept = most_kept
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._tasks: OrderedDict[Hashable, _Task] = OrderedDict()

    def state(self, key: Hashable) -> NormsState | None:
        """How far the norms of this content are; None when nobody asked for them, or they were cancelled."""
        with self._lock:
            task = self._tasks.get(key)
        return task.state if task else None

    def start(self, key: Hashable, work: Work) -> None:
        """Begin, unless it runs or is done already; what failed is tried again."""
        with self._lock:
            former = self._tasks.get(key)
            if former is not None and former.state.problem is None:
                return
            task = self._tasks[key] = _Task()
            self._tasks.move_to_end(key)
            over = [each for each, known in self._tasks.items() if known.state.is_over]
            for each in over[: max(0, len(self._tasks) - self._most_kept)]:
                del self._tasks[each]
        threading.Thread(target=self._run, args=(task, work), name="norms", daemon=True).start()

    def cancel(self, key: Hashable) -> None:
        """Stop; nothing is kept. Nothing happens when it is done already."""
        with self._lock:
            task = self._tasks.get(key)
            if task is not None and not task.state.is_over:
                task.cancelled.set()
                del self._tasks[key]

    def _run(self, task: _Task, work: Work) -> None:
        def progress(fraction: float) -> None:
            task.state = NormsState(fraction=fraction)

        while not self._turn.acquire(timeout=0.2):
            if task.cancelled.is_set():
                return
        try:
            if not task.cancelled.is_set():
                progress(0.0)
                task.state = NormsState(fraction=1.0, result=work(progress, task.cancelled.is_set))
        except NormsCancelled:
            return
        except DashboardError as error:
            task.state = NormsState(problem=error)
        except Exception as error:
            log.exception("Norms cannot be computed")
            sentence = f"Something unexpected went wrong while the norms were computed ({type(error).__name__})."
            task.state = NormsState(problem=ArtifactError(sentence, hint="The server's log has the details."))
        finally:
            self._turn.release()
