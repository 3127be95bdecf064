"""What the loss can be drawn over, and how strongly it is smoothed: for one job and for several."""

from collections.abc import Iterable
from dataclasses import dataclass

from lib.jobs.job import Progress

STEP, EPOCH, TIME = "step", "epoch", "time"
AXES = {STEP: "Step", EPOCH: "Epoch", TIME: "Hours"}
SMOOTHING_PERCENT, MOST_PERCENT = 90, 99


@dataclass(frozen=True, slots=True, kw_only=True)
class LossAxis:
    """Where a loss lies on the x axis.

    Attributes:
        name: One of ``AXES``.
        epochs_per_step: None where the totals are unknown.
        start: Unix seconds of the first loss; None where unknown.
    """

    name: str = STEP
    epochs_per_step: float | None = None
    start: float | None = None

    @property
    def is_known(self) -> bool:
        """Whether anything can be drawn over it."""
        needed = {STEP: 1, EPOCH: self.epochs_per_step, TIME: self.start}[self.name]
        return needed is not None

    def x(self, step: int, at: float | None) -> float | None:
        """Steps, epochs, or hours since the first loss; None where that is unknown."""
        if self.name == EPOCH:
            return None if self.epochs_per_step is None else step * self.epochs_per_step
        if self.name == TIME:
            return None if at is None or self.start is None else (at - self.start) / 3600
        return step


def loss_axis(name: str, progress: Progress, times: Iterable[float | None]) -> LossAxis:
    """The axis ``name`` of a run whose losses were seen at ``times``."""
    total, epochs = progress.total_steps, progress.total_epochs
    start = next((at for at in times if at is not None), None)
    return LossAxis(name=name, epochs_per_step=epochs / total if total and epochs else None, start=start)


def axis_label(name: str) -> str:
    """The axis on a button that chooses it."""
    return "Time" if name == TIME else AXES[name]
