"""Loss points as they are drawn: thinned without losing spikes, smoothed, NaN and infinity kept."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lib.jobs.job import LossPoint

SMOOTHING = 0.9
# An axis may be stretched this much by a few extreme losses before they are left outside.
STRETCH = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnPoints:
    """What a chart draws. ``marks`` are points whose loss is nan or inf: no line goes through them."""

    line: tuple[LossPoint, ...] = ()
    marks: tuple[LossPoint, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LossRange:
    """Where nearly all losses lie, so that a few extreme ones do not flatten the rest of a chart.

    Attributes:
        low, high: The range; the extremes themselves where they do not stretch it much.
        lowest, highest: The extremes.
        outside: How many losses lie below or above the range.
    """

    low: float
    high: float
    lowest: float
    highest: float
    outside: int = 0


def loss_range(points: Iterable[LossPoint]) -> LossRange | None:
    """The range between the first and the last percentile, with a margin; None without a finite loss."""
    losses = sorted(point.loss for point in points if math.isfinite(point.loss))
    if not losses:
        return None
    lowest, highest, last = losses[0], losses[-1], len(losses) - 1
    low, high = losses[round(last * 0.01)], losses[round(last * 0.99)]
    span = high - low
    if highest - lowest <= STRETCH * span:
        return LossRange(low=lowest, high=highest, lowest=lowest, highest=highest)
    low, high = max(lowest, low - span / 4), min(highest, high + span / 4)
    outside = bisect_left(losses, low) + len(losses) - bisect_right(losses, high)
    return LossRange(low=low, high=high, lowest=lowest, highest=highest, outside=outside)


def mean_loss(points: Iterable[LossPoint]) -> float | None:
    """The mean of the finite losses; None without any."""
    losses = [point.loss for point in points if math.isfinite(point.loss)]
    return math.fsum(loss / len(losses) for loss in losses) if losses else None


def drawn_points(points: Iterable[LossPoint], max_points: int = 1_000) -> DrawnPoints:
    """At most about ``max_points`` points of each kind; each bucket keeps its lowest and its highest."""
    resolved = by_step(points)
    line = [point for point in resolved if math.isfinite(point.loss)]
    marks = [point for point in resolved if not math.isfinite(point.loss)]
    return DrawnPoints(line=tuple(_thinned(line, max_points)), marks=tuple(_evenly(marks, max_points)))


def smoothed(points: Iterable[LossPoint], weight: float = SMOOTHING) -> tuple[LossPoint, ...]:
    """Debiased exponential moving average, as TensorBoard draws it; points that are not finite are left out.

    Source: ``resmoothDataset`` in tensorboard/components/vz_line_chart2/line-chart.ts:
    ``last = last * weight + (1 - weight) * value``, shown as ``last / (1 - weight ** count)``.

    Args:
        points: In any order; of several points for one step the last counts.
        weight: In [0, 1); 0 changes nothing.
    """
    answer: list[LossPoint] = []
    last = 0.0
    for count, point in enumerate((p for p in by_step(points) if math.isfinite(p.loss)), 1):
        last = last * weight + (1 - weight) * point.loss
        answer.append(LossPoint(step=point.step, loss=last / (1 - weight**count), at=point.at))
    return tuple(answer)


def by_step(points: Iterable[LossPoint]) -> list[LossPoint]:
    """The points in order of their steps, each step once: the last one given wins."""
    latest = {point.step: point for point in points}
    return [latest[step] for step in sorted(latest)]


def _thinned(points: Sequence[LossPoint], max_points: int) -> Sequence[LossPoint]:
    """First and last point, and the lowest and highest of equal buckets in between."""
    if len(points) <= max_points or max_points < 4:
        return _evenly(points, max_points)
    inner = points[1:-1]
    buckets = (max_points - 2) // 2
    edges = [len(inner) * number // buckets for number in range(buckets + 1)]
    kept = [points[0]]
    for start, stop in pairwise(edges):
        extremes = {
            min(range(start, stop), key=lambda at: inner[at].loss),
            max(range(start, stop), key=lambda at: inner[at].loss),
        }
        kept.extend(inner[at] for at in sorted(extremes))
    return [*kept, points[-1]]


def _evenly(points: Sequence[LossPoint], max_points: int) -> Sequence[LossPoint]:
    if len(points) <= max_points:
        return points
    return [points[len(points) * number // max_points] for number in range(max_points)]
