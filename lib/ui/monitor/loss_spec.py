"""The loss as a Vega-Lite chart: logged and smoothed lines, a band where it was not a number, and epochs marked."""

import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from lib.jobs.job import Artifact, ArtifactKind, Attempt, LossPoint, Progress
from lib.jobs.logs.losses import DrawnPoints, LossRange
from lib.ui.parts.loss_axes import AXES, STEP, LossAxis

# Not "raw": kohya's log prints a running average.
RAW, SMOOTHED = "as logged", "smoothed"
MAX_EPOCH_MARKS = 15
MAX_FILE_MARKS = 100
HEIGHT_PX, BESIDE_HEIGHT_PX = 250, 110
STEPS = LossAxis()
RESUME_COLOR = "#2e8b57"
_MARKED = {ArtifactKind.CHECKPOINT: "saved", ArtifactKind.LORA: "saved", ArtifactKind.SAMPLE: "sample"}
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
    raw: DrawnPoints, smooth: Sequence[LossPoint], axis: LossAxis = STEPS, *, positive: bool = False
) -> pa.Table:
    """The rows of the lines: x, loss, series. Points that the axis or a log scale cannot show are left out.

    An Arrow table of small types, because every tick sends it whole. Only where x is not the step is that a column.
    """
    rows = [
        (x, series, point)
        for series, points in enumerate((raw.line, smooth))
        for point in points
        if (x := axis.x(point.step, point.at)) is not None and not (positive and point.loss <= 0)
    ]
    steps = pa.array([point.step for _, _, point in rows], pa.int32())
    columns = {
        "x": steps if axis.name == STEP else pa.array([x for x, _, _ in rows], pa.float32()),
        "loss": pa.array([point.loss for _, _, point in rows], pa.float32()),
        "series": pa.DictionaryArray.from_arrays(pa.array([each for _, each, _ in rows], pa.int8()), [RAW, SMOOTHED]),
    }
    return pa.table(columns | ({} if axis.name == STEP else {"step": steps}))


def band_row(raw: DrawnPoints, axis: LossAxis = STEPS) -> dict[str, Any] | None:
    """A band from the first to the last loss that was NaN or infinite; None if there was none."""
    marks = [(x, point) for point in raw.marks if (x := axis.x(point.step, point.at)) is not None]
    if not marks:
        return None
    (start, first), (end, last) = marks[0], marks[-1]
    return {"x": start, "x2": end, "series": band_name(raw), "step": first.step, "last_step": last.step}


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
    axis: str = STEP,
    log_scale: bool = False,
    end: float | None = None,
    marks: Sequence[dict[str, Any]] = (),
    resumes: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """The chart as a Vega-Lite specification, without the rows of the lines."""
    x = x_encoding(axis, end)
    scale: dict[str, Any] = {"type": "log", "nice": False} if log_scale else {"type": "linear", "zero": False}
    if domain:
        scale |= {"domain": list(domain), "nice": False}
    # A diverged loss may have thirty digits.
    y = {"field": "loss", "type": "quantitative", "title": None, "scale": scale, "axis": {"format": ".4~g"}}
    color = _color(band["series"] if band else "")
    layers = [_lines(x, y, color, axis)]
    if band:
        layers.insert(0, _band(band, x, color))
    if epochs and axis == STEP:
        layers.insert(0, _rules(epochs, x))
    if marks:
        layers.insert(0, _file_rules(marks, x))
    if resumes:
        layers.append(_resume_rules(resumes, x))
    return {"layer": layers, "height": HEIGHT_PX, "padding": {"top": 0, "bottom": 0, "left": 0, "right": 5}}


def x_encoding(axis: str, end: float | None = None) -> dict[str, Any]:
    """The x axis, up to ``end`` where the run's length is known."""
    scale: dict[str, Any] = {"nice": False, "zero": False} | ({"domainMax": end} if end else {})
    ticks = {"titlePadding": 4} | ({"format": ",d", "tickMinStep": 1} if axis == STEP else {"format": ".3~g"})
    return {"field": "x", "type": "quantitative", "title": AXES[axis], "axis": ticks, "scale": scale}


def beside_spec(title: str, *, axis: str, end: float | None, with_points: bool = False) -> dict[str, Any]:
    """A second, lower chart over the same x axis, without its rows. Few values are drawn as points too."""
    y = {"field": "value", "type": "quantitative", "title": None, "scale": {"zero": False}, "axis": {"format": ".2~e"}}
    tooltip = [
        {"field": "step", "type": "quantitative", "title": "Step", "format": ",d"},
        {"field": "value", "type": "quantitative", "title": title, "format": ".4~g"},
    ]
    return {
        "height": BESIDE_HEIGHT_PX,
        "mark": {"type": "line", "clip": True, "strokeWidth": 1.6, "color": "#2e8b57", "point": with_points},
        "encoding": {"x": x_encoding(axis, end), "y": y, "tooltip": tooltip},
        "padding": {"top": 0, "bottom": 0, "left": 0, "right": 5},
    }


def beside_rows(points: Sequence[LossPoint], axis: LossAxis) -> pa.Table:
    """The rows of the second chart: x, value, step."""
    rows = [(x, point) for point in points if (x := axis.x(point.step, point.at)) is not None]
    return pa.table(
        {
            "x": pa.array([x for x, _ in rows], pa.float64()),
            "value": pa.array([point.loss for _, point in rows], pa.float32()),
            "step": pa.array([point.step for _, point in rows], pa.int32()),
        }
    )


def file_marks(files: Sequence[Artifact], progress: Progress, axis: LossAxis) -> list[dict[str, Any]]:
    """Where LoRAs were saved and samples drawn: x and what; where neither step nor epoch is known, none."""
    found: dict[float, set[str]] = {}
    for file in files:
        step = file.step if file.step is not None else _epoch_end(file.epoch, progress)
        at = file.created_at.timestamp() if file.created_at else None
        x = axis.x(step, at) if file.kind in _MARKED and step is not None else None
        if x is not None:
            found.setdefault(round(x, 4), set()).add(_MARKED[file.kind])
    return [{"x": x, "what": " and ".join(sorted(found[x]))} for x in sorted(found)[-MAX_FILE_MARKS:]]


def resume_marks(line: Sequence[Attempt], axis: LossAxis) -> list[dict[str, Any]]:
    """Where the attempts of one line of training went on: x and what."""
    marks = []
    for attempt in line:
        if (start := attempt.start) is not None:
            x = axis.x(start.step, attempt.started_at.timestamp() if attempt.started_at else None)
            what = f"Attempt {attempt.number} went on at step {start.step:,}"
            marks += [] if x is None else [{"x": x, "what": what}]
    return marks


def _resume_rules(marks: Sequence[dict[str, Any]], x: dict[str, Any]) -> dict[str, Any]:
    tooltip = [{"field": "what", "type": "nominal", "title": "Resumed"}]
    rule = {"type": "rule", "color": RESUME_COLOR, "strokeWidth": 1.5, "strokeDash": [6, 3], "clip": True}
    label = {"type": "text", "text": "resumed", "align": "left", "baseline": "top", "dx": 4, "color": RESUME_COLOR}
    return {
        "data": {"name": "resumes", "values": list(marks)},
        "layer": [
            {"mark": rule, "encoding": {"x": x, "tooltip": tooltip}},
            {"mark": label, "encoding": {"x": x, "y": {"value": 0}}},
        ],
    }


def _epoch_end(epoch: int | None, progress: Progress) -> int | None:
    if epoch is None or not progress.total_steps or not progress.total_epochs:
        return None
    return round(progress.total_steps * epoch / progress.total_epochs)


def _file_rules(marks: Sequence[dict[str, Any]], x: dict[str, Any]) -> dict[str, Any]:
    return {
        "data": {"name": "files", "values": list(marks)},
        "mark": {"type": "rule", "color": "#8a5fd0", "opacity": 0.6, "strokeWidth": 1.5, "clip": True},
        "encoding": {"x": x, "tooltip": [{"field": "what", "type": "nominal", "title": "Here"}]},
    }


def _color(band: str) -> dict[str, Any]:
    names = {RAW: "#7fa3d9", SMOOTHED: "#d9730d", **({band: "#d33c3c"} if band else {})}
    return {
        "field": "series",
        "type": "nominal",
        "title": None,
        "scale": {"domain": list(names), "range": list(names.values())},
        "legend": {"orient": "top", "offset": 4},
    }


def _lines(x: dict[str, Any], y: dict[str, Any], color: dict[str, Any], axis: str) -> dict[str, Any]:
    step = "x" if axis == STEP else "step"
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
