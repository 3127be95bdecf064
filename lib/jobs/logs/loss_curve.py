"""The loss of a run as one of several curves: smoothed and thinned in one pass, with what it came to."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lib.jobs.job import LossPoint


@dataclass(frozen=True, slots=True, kw_only=True)
class LossCurve:
    """A curve to draw and its figures.

    Attributes:
        steps, losses: The smoothed line, thinned; as long as each other.
        times: Unix seconds of each point; None where unknown.
        minimum, final: Lowest and last loss as they were logged, None without any. The last one may be NaN.
        minimum_step: Where the lowest is.
        not_finite: How many losses were NaN or infinite.
    """

    steps: tuple[int, ...] = ()
    losses: tuple[float, ...] = ()
    times: tuple[float | None, ...] = ()
    minimum: float | None = None
    minimum_step: int | None = None
    final: float | None = None
    not_finite: int = 0


def loss_curve(points: Sequence[LossPoint], *, weight: float, most_points: int) -> LossCurve:
    """A curve of at most ``most_points`` points, each stretch with its lowest and highest.

    Args:
        points: By step, each step once.
        weight: Of the debiased moving average, in [0, 1), as ``lib.jobs.logs.losses.smoothed``; 0 changes nothing.
        most_points: At least 4.
    """
    finite = [point for point in points if math.isfinite(point.loss)]
    not_finite = len(points) - len(finite)
    if not finite:
        return LossCurve(not_finite=not_finite, final=points[-1].loss if points else None)
    losses = [point.loss for point in finite]
    smooth = _smoothed(losses, weight)
    kept = _kept(smooth, most_points)
    lowest = finite[losses.index(min(losses))]
    return LossCurve(
        steps=tuple(finite[at].step for at in kept),
        losses=tuple(smooth[at] for at in kept),
        times=tuple(finite[at].at for at in kept),
        minimum=lowest.loss,
        minimum_step=lowest.step,
        final=points[-1].loss,
        not_finite=not_finite,
    )


def _smoothed(losses: list[float], weight: float) -> list[float]:
    if weight <= 0:
        return losses
    last, rest, answer = 0.0, 1.0, []
    for loss in losses:
        last = last * weight + (1 - weight) * loss
        rest *= weight
        answer.append(last / (1 - rest))
    return answer


def _kept(values: Sequence[float], most: int) -> list[int]:
    """Places of the first and the last value, and of the extremes of equal stretches between them."""
    if len(values) <= most:
        return list(range(len(values)))
    stretches = (most - 2) // 2
    inner = len(values) - 2
    kept = {0, len(values) - 1}
    for number in range(stretches):
        stretch = range(1 + inner * number // stretches, 1 + inner * (number + 1) // stretches)
        kept |= {min(stretch, key=values.__getitem__), max(stretch, key=values.__getitem__)}
    return sorted(kept)
