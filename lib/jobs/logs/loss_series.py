"""The losses of a training as they are printed, each step once."""

import math
from statistics import median

from lib.jobs.job import LossPoint

USUAL_STEPS = 20


class LossSeries:
    """One loss per step: the first frame of a step still carries the loss of the step before."""

    def __init__(self) -> None:
        self._ready: list[LossPoint] = []
        self.begin_run()

    def begin_run(self) -> None:
        """Start over: what follows is another run."""
        self.is_diverged = False
        self._last: tuple[int, float, float | None, float | None, float | None] | None = None
        self._before: float | None = None
        self._validation: float | None = None
        self._frames = 0
        self._first: list[float] = []
        self._limit = math.inf
        self._high_count = 0

    def add(
        self,
        step: int,
        loss: float,
        at: float | None,
        learning_rate: float | None = None,
        grad_norm: float | None = None,
    ) -> None:
        """Take in what a frame or a line says of a step."""
        if self._last is None or step != self._last[0]:
            self._settle()
            self._frames = 0
        self._frames += 1
        self._last = (step, loss, at, learning_rate, grad_norm)

    def validated(self, loss: float | None) -> None:
        """Take in a validation loss, if it is one: it belongs to the step before."""
        self._validation = self._validation if loss is None else loss

    def drain(self, *, is_over: bool) -> list[LossPoint]:
        """The points that became known; with ``is_over`` the last one, too, unless it is only carried over."""
        if is_over and self._last is not None and (self._frames > 1 or self._last[1] != self._before):
            self._settle()
            self._last = None
        answer, self._ready = self._ready, []
        return answer

    def _settle(self) -> None:
        if self._last is None:
            return
        step, loss, at, learning_rate, grad_norm = self._last
        self._ready.append(
            LossPoint(
                step=step,
                loss=loss,
                at=at,
                learning_rate=learning_rate,
                grad_norm=grad_norm,
                validation_loss=self._validation,
            )
        )
        self._before, self._validation = loss, None
        self._watch(loss)

    def _watch(self, loss: float) -> None:
        """Diverged: 10 losses in a row are more than 10 times what was usual in the first 20 steps."""
        if not math.isfinite(loss):
            return
        if len(self._first) < USUAL_STEPS:
            self._first.append(loss)
            if len(self._first) == USUAL_STEPS:
                self._limit = 10 * abs(median(self._first))
            return
        self._high_count = self._high_count + 1 if loss > self._limit else 0
        self.is_diverged |= self._high_count >= 10
