"""The loss as drawn: a valid chart of at most about 1,000 points, and the same in words."""

import math

import altair
import pytest

from lib.jobs.job import LossPoint, Progress
from lib.jobs.logs.losses import drawn_points, smoothed
from lib.ui.monitor.loss_chart import band_name, band_row, epoch_steps, loss_domain, loss_rows, loss_spec, loss_summary

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
    band = band_row(RAW, by_time=by_time)
    spec = loss_spec(band, [10, 20], domain=(0.1, 1), by_time=by_time, log_scale=log_scale)
    data = {"values": loss_rows(RAW, SMOOTH).head(3).to_dict("records")}
    altair.Chart.from_dict({"data": data, **spec}).to_dict()
    assert len(spec["layer"]) == (2 if by_time else 3)
    encoding = spec["layer"][-1]["encoding"]
    assert encoding["y"]["scale"]["type"] == ("log" if log_scale else "linear")
    assert encoding["color"]["scale"]["domain"] == ["as logged", "smoothed", "NaN or infinite from step 50,001"]


def test_losses_that_are_no_number_are_one_band() -> None:
    band = band_row(RAW)
    assert band is not None
    assert (band["x"], band["x2"], band["series"]) == (50_001, 50_002, "NaN or infinite from step 50,001")
    by_time = band_row(RAW, by_time=True)
    assert by_time is not None
    assert (by_time["x"], by_time["x2"]) == (1_000.0, 1_000.0)
    assert band_row(drawn_points(POINTS)) is None


@pytest.mark.parametrize(
    ("losses", "name"),
    [
        ({1: 0.5, 2: math.nan, 3: math.nan}, "NaN from step 2"),
        ({1: math.inf}, "infinite from step 1"),
        ({1: 0.5, 2: math.nan, 3: 0.5}, "NaN at step 2"),
        ({1: math.nan, 2: 0.5, 3: math.nan, 4: 0.5}, "NaN between steps 1 and 3"),
        ({1: 0.5}, ""),
    ],
)
def test_the_band_says_from_where_to_where(losses: dict[int, float], name: str) -> None:
    assert band_name(drawn_points(LossPoint(step=step, loss=loss) for step, loss in losses.items())) == name


def test_an_axis_never_spans_nothing() -> None:
    assert loss_domain([0.1, 0.2]) is None
    assert loss_domain([0.5]) == (0.25, 0.75)
    assert loss_domain([]) == (0.0, 1.0)
    for losses in ([], [0.5], [2.0, 2.0]):
        low, high = loss_domain(losses, log_scale=True) or (0.0, 0.0)
        assert 0 < low < high


def test_scales_leave_out_what_they_cannot_show() -> None:
    raw = drawn_points([LossPoint(step=1, loss=0.0), LossPoint(step=2, loss=0.5, at=5.0)])
    assert list(loss_rows(raw, (), positive=True)["step"]) == [2]
    assert list(loss_rows(raw, (), by_time=True)["step"]) == [2]


def test_epochs_end_at_their_steps() -> None:
    assert epoch_steps(Progress(total_steps=300, total_epochs=3)) == [100, 200]
    assert len(epoch_steps(Progress(total_steps=100_000, total_epochs=1_000))) <= 15
    assert epoch_steps(Progress(total_epochs=3)) == epoch_steps(Progress(total_steps=300, total_epochs=1)) == []


def test_the_chart_in_words() -> None:
    assert loss_summary(drawn_points([]), ()) == "No loss yet."
    words = loss_summary(RAW, SMOOTH)
    assert words.startswith("Loss from 1.0000 at step 1 to 2.00e-05 at step 50,000, lowest 2.00e-05 at step 50,000.")
    assert words.endswith("It was NaN or infinite from step 50,001.")
