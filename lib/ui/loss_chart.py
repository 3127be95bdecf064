"""The loss as a chart: raw and smoothed, losses that are no number marked, epochs marked."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import streamlit as st

from lib import services
from lib.jobs.job import Attempt, Job, LossPoint, Progress
from lib.jobs.metrics import DrawnPoints
from lib.ui.attempts import shown_attempt
from lib.ui.notes import show_age_note, show_note
from lib.ui.times import loss_text

RAW, SMOOTHED = "raw", "smoothed"
MAX_EPOCH_MARKS = 60
HEIGHT_PX = 260


def loss_summary(raw: DrawnPoints, smooth: Sequence[LossPoint]) -> str:
    """The chart in words, for those who do not see it."""
    if not raw.line and not raw.marks:
        return "No loss yet."
    parts = []
    if raw.line:
        first, last = raw.line[0], raw.line[-1]
        lowest = min(raw.line, key=lambda point: point.loss)
        parts.append(
            f"Loss from {loss_text(first.loss)} at step {first.step:,} to {loss_text(last.loss)} "
            f"at step {last.step:,}, lowest {loss_text(lowest.loss)} at step {lowest.step:,}."
        )
    if smooth:
        parts.append(f"Smoothed it is {loss_text(smooth[-1].loss)} now.")
    if raw.marks:
        parts.append(f"From step {raw.marks[0].step:,} on it was not a number or infinite at {_times(len(raw.marks))}.")
    return " ".join(parts)


def epoch_steps(progress: Progress) -> list[int]:
    """The steps at which epochs end, where the totals tell; every n-th one when there are many."""
    total, epochs = progress.total_steps, progress.total_epochs
    if not total or not epochs or epochs < 2 or total < epochs:
        return []
    every = math.ceil(epochs / MAX_EPOCH_MARKS)
    return [round(total * epoch / epochs) for epoch in range(every, epochs, every)]


def loss_rows(
    raw: DrawnPoints, smooth: Sequence[LossPoint], *, by_time: bool = False, positive: bool = False
) -> pd.DataFrame:
    """Rows of the drawn lines: x, loss, series. Points that a time or log scale cannot show are left out."""
    rows = [
        (_x(point, by_time), point.loss, point.step, series)
        for series, points in ((RAW, raw.line), (SMOOTHED, smooth))
        for point in points
        if not (by_time and point.at is None) and not (positive and point.loss <= 0)
    ]
    frame = pd.DataFrame(rows, columns=["x", "loss", "step", "series"])
    frame["loss"] = frame["loss"].astype("float32")
    frame["series"] = frame["series"].astype("category")
    return frame


def mark_rows(raw: DrawnPoints, *, by_time: bool = False) -> list[dict[str, Any]]:
    """Where the loss was not a number or infinite."""
    return [
        {"x": _json_x(point, by_time), "what": loss_text(point.loss), "step": point.step}
        for point in raw.marks
        if not (by_time and point.at is None)
    ]


def loss_spec(
    marks: Sequence[dict[str, Any]], epochs: Sequence[int], *, by_time: bool = False, log_scale: bool = False
) -> dict[str, Any]:
    """The chart as a Vega-Lite specification; the lines' rows come apart from it."""
    x = {
        "field": "x",
        "type": "temporal" if by_time else "quantitative",
        "title": "Time" if by_time else "Step",
        "scale": {"nice": False, "zero": False},
    }
    scale = {"type": "log"} if log_scale else {"type": "linear", "zero": False}
    y = {"field": "loss", "type": "quantitative", "title": None, "scale": scale}
    layers = [_lines(x, y)]
    if epochs and not by_time:
        layers.insert(0, _rules([{"x": step} for step in epochs], "epochs", x, "gray", 0.25))
    if marks:
        layers.append(_rules(list(marks), "not-finite", x, "red", 0.9))
    return {"layer": layers, "height": HEIGHT_PX}


def show_loss(job: Job, attempt: Attempt) -> bool:
    """The chart, its switches and the words beside it. Tells whether it is fresh."""
    st.header("Loss", anchor=False)
    reading = services.latest_loss(job.id, attempt.number, is_over=attempt.status.is_terminal)
    show_age_note(reading.problem, reading.read_at)
    raw, smooth, key = reading.value.raw, reading.value.smooth, f"loss-{job.id}-{attempt.number}"
    if not raw.line and not raw.marks:
        show_note("No loss was recorded." if attempt.status.is_terminal else "No loss yet.")
        return reading.problem is None
    # A trainer often tells its totals only after the page was opened.
    progress = shown_attempt(services.latest_job(job.id).value, str(attempt.number)).progress
    with st.container(horizontal=True, gap="medium"):
        log_scale = st.toggle("Log scale", key=f"{key}-log")
        by_time = st.toggle("Over time", key=f"{key}-time", disabled=not any(point.at for point in raw.line))
    summary = loss_summary(raw, smooth)
    rows = loss_rows(raw, smooth, by_time=by_time, positive=log_scale)
    marks, epochs = mark_rows(raw, by_time=by_time), epoch_steps(progress)
    spec = loss_spec(marks, epochs, by_time=by_time, log_scale=log_scale)
    st.vega_lite_chart(rows, spec, key=key, alt=summary)
    show_note(summary)
    return reading.problem is None


def _lines(x: dict[str, Any], y: dict[str, Any]) -> dict[str, Any]:
    return {
        "mark": {"type": "line", "interpolate": "linear", "clip": True},
        "encoding": {
            "x": x,
            "y": y,
            "color": {
                "field": "series",
                "type": "nominal",
                "title": None,
                "scale": {"domain": [RAW, SMOOTHED], "range": ["#7fa3d9", "#d9730d"]},
                "legend": {"orient": "top"},
            },
            "opacity": {"condition": {"test": f"datum.series === '{RAW}'", "value": 0.55}, "value": 1},
            "strokeWidth": {"condition": {"test": f"datum.series === '{RAW}'", "value": 1}, "value": 2.2},
            "tooltip": [
                {"field": "series", "type": "nominal", "title": "Series"},
                {"field": "step", "type": "quantitative", "title": "Step", "format": ",d"},
                {"field": "loss", "type": "quantitative", "title": "Loss", "format": ".4f"},
            ],
        },
    }


def _rules(rows: list[dict[str, Any]], name: str, x: dict[str, Any], color: str, opacity: float) -> dict[str, Any]:
    tooltip = [{"field": "what", "type": "nominal", "title": "Loss"}, {"field": "step", "type": "quantitative"}]
    return {
        "data": {"name": name, "values": rows},
        "mark": {"type": "rule", "color": color, "opacity": opacity, "strokeDash": [2, 3], "clip": True},
        "encoding": {"x": x, **({"tooltip": tooltip} if name == "not-finite" else {})},
    }


def _x(point: LossPoint, by_time: bool) -> float | int | datetime:
    return datetime.fromtimestamp(point.at or 0, UTC) if by_time else point.step


def _json_x(point: LossPoint, by_time: bool) -> float | int:
    return (point.at or 0) * 1000 if by_time else point.step


def _times(count: int) -> str:
    return "one logged step" if count == 1 else f"{count:,} logged steps"
