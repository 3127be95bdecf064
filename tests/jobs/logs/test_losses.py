"""Losses as they are drawn."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.jobs.job import LossPoint
from lib.jobs.logs.losses import by_step, drawn_points, smoothed


def points(*losses: float) -> list[LossPoint]:
    return [LossPoint(step=step, loss=loss, at=float(step)) for step, loss in enumerate(losses, 1)]


def test_thinning_keeps_every_spike_the_ends_and_the_marks() -> None:
    noise = random.Random(7)
    series = points(*(1 + noise.random() / 10 for _ in range(20_000)))
    series[7_777] = LossPoint(step=7_778, loss=9.0)
    series[8_888] = LossPoint(step=8_889, loss=-3.0)
    series[9_999] = LossPoint(step=10_000, loss=math.nan)
    series[12_000] = LossPoint(step=12_001, loss=-math.inf)
    drawn = drawn_points(series, max_points=500)
    assert len(drawn.line) <= 500
    assert {9.0, -3.0} <= {point.loss for point in drawn.line}
    assert (drawn.line[0], drawn.line[-1]) == (series[0], series[-1])
    assert [point.step for point in drawn.line] == sorted({point.step for point in drawn.line})
    assert [point.step for point in drawn.marks] == [10_000, 12_001]


@given(st.lists(st.floats(width=32), max_size=60), st.integers(1, 30))
def test_thinning_invents_nothing_and_stays_within_its_limit(losses: list[float], limit: int) -> None:
    series = points(*losses)
    drawn = drawn_points(series, max_points=limit)
    assert len(drawn.line) <= limit
    assert len(drawn.marks) <= limit
    assert {point.step for point in (*drawn.line, *drawn.marks)} <= {point.step for point in series}
    assert bool(drawn.marks) == any(not math.isfinite(loss) for loss in losses)
    if len(losses) <= limit:
        assert len(drawn.line) + len(drawn.marks) == len(losses)


def test_the_last_loss_given_for_a_step_counts() -> None:
    twice = [LossPoint(step=2, loss=1.0), LossPoint(step=1, loss=5.0), LossPoint(step=2, loss=3.0)]
    assert [(point.step, point.loss) for point in by_step(twice)] == [(1, 5.0), (2, 3.0)]


def test_smoothing_is_debiased_like_tensorboards() -> None:
    smooth = smoothed(points(1.0, 2.0, math.nan, 4.0), weight=0.6)
    assert [point.step for point in smooth] == [1, 2, 4]
    expected = [
        1.0,
        (0.6 * 0.4 * 1 + 0.4 * 2) / (1 - 0.6**2),
        (0.36 * 0.4 * 1 + 0.6 * 0.4 * 2 + 0.4 * 4) / (1 - 0.6**3),
    ]
    assert [point.loss for point in smooth] == pytest.approx(expected)
    assert [point.loss for point in smoothed(points(*[3.0] * 50))] == pytest.approx([3.0] * 50)
    assert [point.loss for point in smoothed(points(1.0, 5.0), weight=0)] == [1.0, 5.0]
    assert smoothed([]) == ()
