"""The loss as a Vega-Lite chart: logged and smoothed lines, a band where it was not a number, and epochs marked."""

import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from lib.jobs.job import LossPoint, Progress
from lib.jobs.logs.losses import DrawnPoints, LossRange

# Not "raw": kohya's log prints a running average.
RAW, SMOOTHED = "as logged", "smoothed"
MAX_EPOCH_MARKS = 15
HEIGHT_PX = 250
# From this factor between its highest and lowest shown loss on, a chart is clearer on a log scale.
LOG_FACTOR = 10


def band_name(raw: DrawnPoints) -> str:
    """``NaN from step 5``: where the loss was NaN or infinite; empty if it never was."""
    if not raw.marks:
        return ""
    first, last = raw.marks[0].step, raw.marks[-1].step
    kinds = {"NaN" if math.isnan(point.loss) else "infinite" for point in raw.marks}
    what = " or ".join(sorted(kinds))
    if raw.line and raw.line[-1].step > last:
        return f"{what} at step {first:,}" if first == last else f"{what} between steps {first:,} and {last:,}"
    return f"{what} from step {first:,}"


def epoch_steps(progress: Progress) -> list[int]:
    """The steps at which epochs end, if the totals are known; every n-th one if there are many."""
    total, epochs = progress.total_steps, progress.total_epochs
    if not total or not epochs or epochs < 2 or total < epochs:
        return []
    every = math.ceil(epochs / MAX_EPOCH_MARKS)
    return [round(total * epoch / epochs) for epoch in range(every, epochs, every)]


def loss_rows(
    raw: DrawnPoints, smooth: Sequence[LossPoint], *, by_time: bool = False, positive: bool = False
) -> pa.Table:
    """The rows of the lines: x, loss, series. Points that a time or log scale cannot show are left out.

    An Arrow table of small types, because every tick sends it whole. Only over time is the step a column of its own.
    """
    rows = [
        (series, point)
        for series, points in enumerate((raw.line, smooth))
        for point in points
        if not (by_time and point.at is None) and not (positive and point.loss <= 0)
    ]
    steps = pa.array([point.step for _, point in rows], pa.int32())
    times = pa.array([round((point.at or 0) * 1_000) for _, point in rows], pa.timestamp("ms")) if by_time else steps
    columns = {
        "x": times,
        "loss": pa.array([point.loss for _, point in rows], pa.float32()),
        "series": pa.DictionaryArray.from_arrays(pa.array([each for each, _ in rows], pa.int8()), [RAW, SMOOTHED]),
    }
    return pa.table(columns | ({"step": steps} if by_time else {}))


def band_row(raw: DrawnPoints, *, by_time: bool = False) -> dict[str, Any] | None:
    """A band from the first to the last loss that was NaN or infinite; None if there was none."""
    marks = [point for point in raw.marks if not (by_time and point.at is None)]
    if not marks:
        return None
    first, last = marks[0], marks[-1]
    ends = {"x": _json_x(first, by_time), "x2": _json_x(last, by_time)}
    return {**ends, "series": band_name(raw), "step": first.step, "last_step": last.step}


def wants_log_scale(shown: LossRange | None) -> bool:
    """Whether a log scale is proposed: the losses shown differ by more than a factor of ten."""
    return shown is not None and shown.low > 0 and shown.high > LOG_FACTOR * shown.low


def loss_domain(
    shown: LossRange | None, losses: Sequence[float], *, log_scale: bool = False
) -> tuple[float, float] | None:
    """The range of the y axis; None leaves it to the losses.

    A log scale shows every positive loss; a linear one the range where nearly all lie. Losses that span nothing get a
    range all the same.
    """
    if shown is not None and shown.outside and not log_scale:
        return shown.low, shown.high
    if not len(losses):
        return (0.1, 1.0) if log_scale else (0.0, 1.0)
    low, high = float(min(losses)), float(max(losses))
    if low < high:
        return None
    margin = abs(low) / 2 or 1.0
    return low - margin, low + margin


def loss_spec(
    band: dict[str, Any] | None,
    epochs: Sequence[int],
    *,
    domain: tuple[float, float] | None = None,
    by_time: bool = False,
    log_scale: bool = False,
    total_steps: int | None = None,
) -> dict[str, Any]:
    """The chart as a Vega-Lite specification, without the rows of the lines."""
    x: dict[str, Any] = {
        "field": "x",
        "type": "temporal" if by_time else "quantitative",
        "title": "Time" if by_time else "Step",
        "axis": {"titlePadding": 4},
        "scale": {"nice": False, "zero": False},
    }
    if not by_time:
        x["axis"] |= {"format": ",d", "tickMinStep": 1}
        if total_steps:
            x["scale"]["domainMax"] = total_steps
    scale: dict[str, Any] = {"type": "log", "nice": False} if log_scale else {"type": "linear", "zero": False}
    if domain:
        scale |= {"domain": list(domain), "nice": False}
    # A diverged loss may have thirty digits.
    axis = {"format": ".4~g"}
    y = {"field": "loss", "type": "quantitative", "title": None, "scale": scale, "axis": axis}
    color = _color(band["series"] if band else "")
    layers = [_lines(x, y, color, by_time)]
    if band:
        layers.insert(0, _band(band, x, color))
    if epochs and not by_time:
        layers.insert(0, _rules(epochs, x))
    return {"layer": layers, "height": HEIGHT_PX, "padding": {"top": 0, "bottom": 0, "left": 0, "right": 5}}


def _color(band: str) -> dict[str, Any]:
    names = {RAW: "#7fa3d9", SMOOTHED: "#d9730d", **({band: "#d33c3c"} if band else {})}
    return {
        "field": "series",
        "type": "nominal",
        "title": None,
        "scale": {"domain": list(names), "range": list(names.values())},
        "legend": {"orient": "top", "offset": 4},
    }


def _lines(x: dict[str, Any], y: dict[str, Any], color: dict[str, Any], by_time: bool) -> dict[str, Any]:
    step = "step" if by_time else "x"
    return {
        "mark": {"type": "line", "interpolate": "linear", "clip": True},
        "encoding": {
            "x": x,
            "y": y,
            "color": color,
            "opacity": {"condition": {"test": f"datum.series === '{RAW}'", "value": 0.55}, "value": 1},
            "strokeWidth": {"condition": {"test": f"datum.series === '{RAW}'", "value": 1}, "value": 2.2},
            "tooltip": [
                {"field": "series", "type": "nominal", "title": "Series"},
                {"field": step, "type": "quantitative", "title": "Step", "format": ",d"},
                {"field": "loss", "type": "quantitative", "title": "Loss", "format": ".4~g"},
            ],
        },
    }


def _band(row: dict[str, Any], x: dict[str, Any], color: dict[str, Any]) -> dict[str, Any]:
    """With a border, so that even a single step shows."""
    steps = [("step", "From step"), ("last_step", "To step")]
    return {
        "data": {"name": "not-finite", "values": [row]},
        "mark": {"type": "rect", "fillOpacity": 0.2, "stroke": "#d33c3c", "strokeWidth": 1, "clip": True},
        "encoding": {
            "x": x,
            "x2": {"field": "x2"},
            "color": color,
            "tooltip": [
                {"field": "series", "type": "nominal", "title": "Loss"},
                *({"field": name, "type": "quantitative", "title": title, "format": ",d"} for name, title in steps),
            ],
        },
    }


def _rules(steps: Sequence[int], x: dict[str, Any]) -> dict[str, Any]:
    return {
        "data": {"name": "epochs", "values": [{"x": step} for step in steps]},
        "mark": {"type": "rule", "color": "gray", "opacity": 0.25, "strokeDash": [2, 3], "clip": True},
        "encoding": {"x": x},
    }


def _json_x(point: LossPoint, by_time: bool) -> float | int:
    return (point.at or 0) * 1000 if by_time else point.step
