"""The loss as drawn: a valid chart of at most about 1,000 points, and the same in words."""

import math
from datetime import UTC, datetime

import altair
import pytest

from lib.jobs.job import Artifact, ArtifactKind, LossPoint, Progress
from lib.jobs.logs.losses import LossRange, drawn_points, loss_range, mean_loss, smoothed
from lib.ui.monitor.loss_chart import loss_summary, outside_text, short_summary
from lib.ui.monitor.loss_controls import losses_csv
from lib.ui.monitor.loss_spec import (
    band_name,
    band_row,
    beside_rows,
    beside_spec,
    epoch_steps,
    file_marks,
    loss_domain,
    loss_rows,
    loss_spec,
    wants_log_scale,
)
from lib.ui.parts.loss_axes import AXES, LossAxis, loss_axis

KNOWN, START = Progress(total_steps=40_000, total_epochs=4), datetime(2026, 1, 1, tzinfo=UTC)
POINTS = [LossPoint(step=step, loss=1 / step, at=1_800_000_000.0 + step) for step in range(1, 50_001)]
BROKEN = [LossPoint(step=50_001, loss=math.nan, at=1.0), LossPoint(step=50_002, loss=math.inf)]
RAW, SMOOTH = drawn_points([*POINTS, *BROKEN], 600), drawn_points(smoothed(POINTS), 400).line


def test_a_long_run_is_drawn_with_a_thousand_points() -> None:
    rows = loss_rows(RAW, SMOOTH)
    assert 900 < rows.num_rows <= 1_000
    assert max(rows["loss"].to_pylist()) == pytest.approx(1.0)
    assert rows.nbytes < 10 * rows.num_rows, "every tick sends them"


@pytest.mark.parametrize("name", list(AXES))
@pytest.mark.parametrize("log_scale", [False, True])
def test_the_chart_is_valid_vega_lite(name: str, log_scale: bool) -> None:
    axis = loss_axis(name, KNOWN, [point.at for point in POINTS])
    marks = file_marks([Artifact(id="1", name="a", kind=ArtifactKind.LORA, step=7, created_at=START)], KNOWN, axis)
    spec = loss_spec(band_row(RAW, axis), [10, 20], domain=(0.1, 1), axis=name, log_scale=log_scale, end=9, marks=marks)
    data = {"values": loss_rows(RAW, SMOOTH, axis).slice(0, 3).to_pylist()}
    altair.Chart.from_dict({"data": data, **spec}).to_dict()
    assert len(spec["layer"]) == (4 if name == "step" else 3)
    beside = {"data": {"values": beside_rows(SMOOTH, axis).slice(0, 3).to_pylist()}}
    altair.Chart.from_dict({**beside, **beside_spec("Learning rate", axis=name, end=None)}).to_dict()
    encoding = spec["layer"][-1]["encoding"]
    assert encoding["y"]["scale"]["type"] == ("log" if log_scale else "linear")
    assert encoding["color"]["scale"]["domain"] == ["as logged", "smoothed", "NaN or infinite from step 50,001"]


def test_losses_that_are_no_number_are_one_band() -> None:
    band = band_row(RAW)
    assert band is not None
    assert (band["x"], band["x2"], band["series"]) == (50_001, 50_002, "NaN or infinite from step 50,001")
    by_time = band_row(RAW, LossAxis(name="time", start=-3_599.0))
    assert by_time is not None
    assert (by_time["x"], by_time["x2"]) == (1.0, 1.0), "the one whose time is known"
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
    assert loss_domain(None, [0.1, 0.2]) is None
    assert loss_domain(None, [0.5]) == (0.25, 0.75)
    assert loss_domain(None, []) == (0.0, 1.0)
    for losses in ([], [0.5], [2.0, 2.0]):
        low, high = loss_domain(None, losses, log_scale=True) or (0.0, 0.0)
        assert 0 < low < high


def sawtooth(*extremes: float) -> LossRange:
    losses = [*(0.1 + number % 10 / 100 for number in range(1_000)), math.nan, *extremes]
    shown = loss_range(LossPoint(step=step, loss=loss) for step, loss in enumerate(losses))
    assert shown is not None
    return shown


def test_a_run_that_came_apart_keeps_a_readable_axis() -> None:
    apart = sawtooth(5e3, 1e30, -7.0)
    assert loss_domain(apart, [0.1, 1e30]) == (apart.low, apart.high)
    assert 0.05 < apart.low <= 0.1
    assert 0.19 <= apart.high < 0.25
    said = "3 losses lie outside the axis, up to 1.00e+30 and down to -7.0000; the log scale shows all above zero."
    assert outside_text(apart, log_scale=False) == said
    assert outside_text(apart, log_scale=True) == ""
    assert loss_domain(apart, [0.1, 1e30], log_scale=True) is None, "the rest stays within reach"


def test_an_ordinary_run_is_shown_whole() -> None:
    calm = sawtooth(0.3)
    assert (calm.low, calm.high, calm.outside, outside_text(calm, log_scale=False)) == (0.1, 0.3, 0, "")
    assert outside_text(sawtooth(9.0), log_scale=False).startswith("1 loss lies outside the axis, up to 9.0000;")
    assert loss_range([]) is None


def test_a_log_scale_is_proposed_from_a_factor_of_ten_on() -> None:
    assert wants_log_scale(LossRange(low=0.1, high=1.1, lowest=0.1, highest=1.1))
    assert not wants_log_scale(LossRange(low=0.1, high=0.9, lowest=0.1, highest=1e9))
    assert not wants_log_scale(LossRange(low=0.0, high=1.0, lowest=0.0, highest=1.0))
    assert not wants_log_scale(None)


def test_scales_leave_out_what_they_cannot_show() -> None:
    raw = drawn_points([LossPoint(step=1, loss=0.0), LossPoint(step=2, loss=0.5, at=5.0)])
    assert loss_rows(raw, (), positive=True)["x"].to_pylist() == [2]
    by_time = loss_rows(raw, (), LossAxis(name="time", start=-3_595.0))
    assert (by_time["step"].to_pylist(), by_time["x"].to_pylist()) == ([2], [1.0])
    assert loss_rows(raw, (), loss_axis("epoch", KNOWN, []))["x"].to_pylist() == pytest.approx([0.0001, 0.0002])
    assert not loss_axis("epoch", Progress(), []).is_known
    assert not loss_axis("time", KNOWN, [None]).is_known


def test_saves_and_samples_lie_where_they_were_made() -> None:
    files = [
        Artifact(id="1", name="a", kind=ArtifactKind.CHECKPOINT, epoch=2),
        Artifact(id="2", name="b", kind=ArtifactKind.SAMPLE, step=20_000),
        Artifact(id="3", name="c", kind=ArtifactKind.SAMPLE, step=10, created_at=START),
        Artifact(id="4", name="d", kind=ArtifactKind.LOG, step=30),
        Artifact(id="5", name="e", kind=ArtifactKind.SAMPLE),
    ]
    marks = file_marks(files, KNOWN, LossAxis())
    assert marks == [{"x": 10, "what": "sample"}, {"x": 20_000, "what": "sample and saved"}]
    over_time = file_marks(files, KNOWN, LossAxis(name="time", start=START.timestamp() - 3_600))
    assert over_time == [{"x": 1.0, "what": "sample"}]


def test_the_losses_as_csv() -> None:
    points = [
        LossPoint(step=1, loss=0.5, at=0.25, learning_rate=1e-4, validation_loss=0.75),
        LossPoint(step=2, loss=math.nan, grad_norm=2.0),
    ]
    assert losses_csv(points).splitlines() == [
        "step,loss,time,learning_rate,grad_norm,validation_loss",
        "1,0.5,1970-01-01T00:00:00.250+00:00,0.0001,,0.75",
        "2,nan,,,2.0,",
    ]


def test_the_figures_beside_the_chart() -> None:
    points = [LossPoint(step=1, loss=3.0), LossPoint(step=2, loss=1.0), LossPoint(step=3, loss=math.nan)]
    mean = mean_loss(points)
    said = "Last 1.0000 · lowest 1.0000 at step 2 · mean 2.0000 · NaN from step 3"
    assert short_summary(drawn_points(points), (), mean) == said
    assert mean_loss([LossPoint(step=1, loss=1.5e308), LossPoint(step=2, loss=1.7e308)]) == pytest.approx(1.6e308)
    assert mean_loss(points[2:]) is None


def test_epochs_end_at_their_steps() -> None:
    assert epoch_steps(Progress(total_steps=300, total_epochs=3)) == [100, 200]
    assert len(epoch_steps(Progress(total_steps=100_000, total_epochs=1_000))) <= 15
    assert epoch_steps(Progress(total_epochs=3)) == epoch_steps(Progress(total_steps=300, total_epochs=1)) == []


def test_the_chart_in_words() -> None:
    assert loss_summary(drawn_points([]), ()) == "No loss yet."
    words = loss_summary(RAW, SMOOTH)
    assert words.startswith("Loss from 1.0000 at step 1 to 2.00e-05 at step 50,000, lowest 2.00e-05 at step 50,000.")
    assert words.endswith("It was NaN or infinite from step 50,001.")
