"""The loss as a chart: logged and smoothed lines, a band where it was not a number, and epochs marked."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import streamlit as st

from lib import services
from lib.jobs.job import Attempt, Job, LossPoint, Progress
from lib.jobs.logs.losses import DrawnPoints
from lib.ui.monitor.attempts import shown_attempt
from lib.ui.parts.format import loss_text
from lib.ui.parts.notes import show_age_note, show_note

# Not "raw": kohya's log prints a running average.
RAW, SMOOTHED = "as logged", "smoothed"
MAX_EPOCH_MARKS = 15
HEIGHT_PX = 400


def loss_summary(raw: DrawnPoints, smooth: Sequence[LossPoint]) -> str:
    """The chart in words, for screen readers."""
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
        parts.append(f"Smoothed it ends at {loss_text(smooth[-1].loss)}.")
    if raw.marks:
        parts.append(f"It was {band_name(raw)}.")
    return " ".join(parts)


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
) -> pd.DataFrame:
    """The rows of the lines: x, loss, series. Points that a time or log scale cannot show are left out."""
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


def band_row(raw: DrawnPoints, *, by_time: bool = False) -> dict[str, Any] | None:
    """A band from the first to the last loss that was NaN or infinite; None if there was none."""
    marks = [point for point in raw.marks if not (by_time and point.at is None)]
    if not marks:
        return None
    first, last = marks[0], marks[-1]
    ends = {"x": _json_x(first, by_time), "x2": _json_x(last, by_time)}
    return {**ends, "series": band_name(raw), "step": first.step, "last_step": last.step}


def loss_domain(losses: Sequence[float], *, log_scale: bool = False) -> tuple[float, float] | None:
    """The range of the y axis for losses that span none: a single value, or none at all."""
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
        "scale": {"nice": False, "zero": False},
    }
    if not by_time:
        x["axis"] = {"format": ",d", "tickMinStep": 1}
        if total_steps:
            x["scale"]["domainMax"] = total_steps
    scale: dict[str, Any] = {"type": "log", "nice": False} if log_scale else {"type": "linear", "zero": False}
    if domain:
        scale |= {"domain": list(domain), "nice": False}
    # A diverged loss may have thirty digits.
    axis = {"format": ".4~g"}
    y = {"field": "loss", "type": "quantitative", "title": None, "scale": scale, "axis": axis}
    color = _color(band["series"] if band else "")
    layers = [_lines(x, y, color)]
    if band:
        layers.insert(0, _band(band, x, color))
    if epochs and not by_time:
        layers.insert(0, _rules(epochs, x))
    return {"layer": layers, "height": HEIGHT_PX}


def show_loss(job: Job, attempt: Attempt) -> bool:
    """The chart with its switches and summary. Returns whether it is fresh."""
    st.header("Loss", anchor=False)
    reading = services.latest_loss(job.id, attempt.number, is_over=attempt.status.is_terminal)
    show_age_note(reading.problem, reading.read_at)
    raw, smooth, key = reading.value.raw, reading.value.smooth, f"loss-{job.id}-{attempt.number}"
    if not raw.line and not raw.marks:
        is_known = attempt.progress.loss is not None
        soon = "The chart appears in a moment." if is_known else "No loss yet."
        show_note("No loss was recorded." if attempt.status.is_terminal else soon)
        return reading.problem is None
    # A trainer often prints its totals only after the page was opened.
    progress = shown_attempt(services.latest_job(job.id).value, str(attempt.number)).progress
    with st.container(horizontal=True, gap="medium"):
        log_scale = st.toggle("Log scale", key=f"{key}-log")
        by_time = st.toggle("Over time", key=f"{key}-time", disabled=not any(point.at for point in raw.line))
    summary = loss_summary(raw, smooth)
    rows = loss_rows(raw, smooth, by_time=by_time, positive=log_scale)
    band, domain = band_row(raw, by_time=by_time), loss_domain(rows["loss"].tolist(), log_scale=log_scale)
    epochs, total = epoch_steps(progress), progress.total_steps
    spec = loss_spec(band, epochs, domain=domain, by_time=by_time, log_scale=log_scale, total_steps=total)
    st.vega_lite_chart(rows, spec, key=key, alt=summary)
    show_note(summary)
    return reading.problem is None


def _color(band: str) -> dict[str, Any]:
    names = {RAW: "#7fa3d9", SMOOTHED: "#d9730d", **({band: "#d33c3c"} if band else {})}
    return {
        "field": "series",
        "type": "nominal",
        "title": None,
        "scale": {"domain": list(names), "range": list(names.values())},
        "legend": {"orient": "top"},
    }


def _lines(x: dict[str, Any], y: dict[str, Any], color: dict[str, Any]) -> dict[str, Any]:
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
                {"field": "step", "type": "quantitative", "title": "Step", "format": ",d"},
                {"field": "loss", "type": "quantitative", "title": "Loss", "format": ".4f"},
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


def _x(point: LossPoint, by_time: bool) -> float | int | datetime:
    return datetime.fromtimestamp(point.at or 0, UTC) if by_time else point.step


def _json_x(point: LossPoint, by_time: bool) -> float | int:
    return (point.at or 0) * 1000 if by_time else point.step
