"""The loss as drawn: a valid chart of at most about 1,000 points, and the same in words."""

import math

import altair
import pytest

from lib.jobs.job import LossPoint, Progress
from lib.jobs.metrics import drawn_points, smoothed
from lib.ui.loss_chart import epoch_steps, loss_rows, loss_spec, loss_summary, mark_rows

POINTS = [LossPoint(step=step, loss=1 / step, at=1_800_000_000.0 + step) for step in range(1, 50_001)]
BROKEN = [LossPoint(step=50_001, loss=math.nan, at=1.0), LossPoint(step=50_002, loss=math.inf)]
RAW, SMOOTH = drawn_points([*POINTS, *BROKEN], 600), drawn_points(smoothed(POINTS), 400).line


def test_a_long_run_is_drawn_with_a_thousand_points() -> None:
    rows = loss_rows(RAW, SMOOTH)
    assert 900 < len(rows) <= 1_000
    assert rows["loss"].max() == pytest.approx(1.0)
    assert rows["loss"].dtype == "float32"


@pytest.mark.parametrize("by_time", [False, True])
@pytest.mark.parametrize("log_scale", [False, True])
def test_the_chart_is_valid_vega_lite(by_time: bool, log_scale: bool) -> None:
    spec = loss_spec(mark_rows(RAW, by_time=by_time), [10, 20], by_time=by_time, log_scale=log_scale)
    data = {"values": loss_rows(RAW, SMOOTH).head(3).to_dict("records")}
    altair.Chart.from_dict({"data": data, **spec}).to_dict()
    assert len(spec["layer"]) == (2 if by_time else 3)
    assert spec["layer"][1 if not by_time else 0]["encoding"]["y"]["scale"]["type"] == (
        "log" if log_scale else "linear"
    )


def test_losses_that_are_no_number_are_marked_where_they_happened() -> None:
    assert [(mark["x"], mark["what"]) for mark in mark_rows(RAW)] == [(50_001, "NaN"), (50_002, "Infinity")]
    assert [mark["x"] for mark in mark_rows(RAW, by_time=True)] == [1_000.0]


def test_scales_leave_out_what_they_cannot_show() -> None:
    raw = drawn_points([LossPoint(step=1, loss=0.0), LossPoint(step=2, loss=0.5, at=5.0)])
    assert list(loss_rows(raw, (), positive=True)["step"]) == [2]
    assert list(loss_rows(raw, (), by_time=True)["step"]) == [2]


def test_epochs_end_at_their_steps() -> None:
    assert epoch_steps(Progress(total_steps=300, total_epochs=3)) == [100, 200]
    assert len(epoch_steps(Progress(total_steps=100_000, total_epochs=1_000))) <= 60
    assert epoch_steps(Progress(total_epochs=3)) == epoch_steps(Progress(total_steps=300, total_epochs=1)) == []


def test_the_chart_in_words() -> None:
    assert loss_summary(drawn_points([]), ()) == "No loss yet."
    words = loss_summary(RAW, SMOOTH)
    assert words.startswith("Loss from 1.0000 at step 1 to 2.00e-05 at step 50,000, lowest 2.00e-05 at step 50,000.")
    assert words.endswith("From step 50,001 on it was not a number or infinite at 2 logged steps.")
