"""The losses of several jobs on one chart, and what each came to as a table."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from lib import services
from lib.errors import DashboardError
from lib.jobs.job import Job, Progress
from lib.jobs.logs.loss_curve import LossCurve
from lib.jobs.words import UNKNOWN, size_text
from lib.ui.compare.choice import COLORS
from lib.ui.parts.errors import show_error
from lib.ui.parts.format import duration_text, loss_text, utc_now
from lib.ui.parts.loss_axes import AXES, MOST_PERCENT, SMOOTHING_PERCENT, axis_label, loss_axis
from lib.ui.parts.machine import peak_text
from lib.ui.parts.notes import show_age_note, show_note
from lib.ui.parts.text import plain
from lib.ui.parts.theme import status_text
from lib.ui.parts.url import UrlReader, mirror_url, write_params

HEIGHT_PX = 420


def curve_frame(
    curves: Sequence[LossCurve],
    names: Sequence[str],
    progress: Sequence[Progress],
    *,
    axis: str,
    positive: bool = False,
) -> pd.DataFrame:
    """The rows of all lines: x, loss, job. What an axis or a log scale cannot show is left out."""
    parts = []
    for curve, name, each in zip(curves, names, progress, strict=True):
        part = pd.DataFrame({"x": x_values(curve, each, axis), "loss": list(curve.losses)}, dtype="float64")
        part["job"] = name
        parts.append(part)
    frame = pd.concat(parts, ignore_index=True).dropna() if parts else pd.DataFrame({"x": [], "loss": [], "job": []})
    frame = frame[frame["loss"] > 0] if positive else frame
    frame["loss"], frame["x"] = frame["loss"].astype("float32"), frame["x"].astype("float32")
    frame["job"] = frame["job"].astype("category")
    return frame


def x_values(curve: LossCurve, progress: Progress, axis: str) -> list[float | None]:
    """Where the points lie: steps, epochs if the totals are known, or hours since the first loss."""
    known = loss_axis(axis, progress, curve.times)
    return [known.x(step, at) for step, at in zip(curve.steps, curve.times, strict=True)]


def readable_domain(curves: Sequence[LossCurve]) -> tuple[float, float] | None:
    """A range that a run which came apart does not stretch until the others are flat; None where all fit well."""
    losses = sorted(loss for curve in curves for loss in curve.losses)
    if not losses:
        return None
    low = losses[0]
    usual = max(losses[int(len(losses) * 0.9)], *(curve.losses[0] for curve in curves if curve.losses))
    span = usual - low
    return (low - 0.05 * span, usual + 0.1 * span) if losses[-1] - low > 3 * span > 0 else None


def curves_spec(
    names: Sequence[str], *, axis: str, log_scale: bool, domain: tuple[float, float] | None
) -> dict[str, Any]:
    """The chart as a Vega-Lite specification, without its rows."""
    scale: dict[str, Any] = {"type": "log" if log_scale else "linear", "zero": False, "nice": False}
    if domain and not log_scale:
        scale |= {"domain": list(domain)}
    return {
        "height": HEIGHT_PX,
        "mark": {"type": "line", "clip": True, "strokeWidth": 1.6},
        "encoding": {
            "x": {"field": "x", "type": "quantitative", "title": AXES[axis], "scale": {"zero": False, "nice": False}},
            "y": {"field": "loss", "type": "quantitative", "title": None, "scale": scale, "axis": {"format": ".4~g"}},
            "color": {
                "field": "job",
                "type": "nominal",
                "title": None,
                "scale": {"domain": list(names), "range": list(COLORS[: len(names)])},
                "legend": {"orient": "top", "columns": 2, "labelLimit": 260},
            },
            "tooltip": [
                {"field": "job", "type": "nominal", "title": "Job"},
                {"field": "x", "type": "quantitative", "title": AXES[axis], "format": ",.5~g"},
                {"field": "loss", "type": "quantitative", "title": "Loss", "format": ".4~g"},
            ],
        },
    }


def result_rows(jobs: Sequence[Job], names: Sequence[str], curves: Sequence[LossCurve]) -> list[dict[str, str]]:
    """What each job came to, in words."""
    now = utc_now()
    peaks = [peak_text(job.attempts[-1].machine) if job.attempts else "" for job in jobs]
    return [
        {
            "Job": name,
            "Status": status_text(job),
            "Final loss": loss_text(curve.final if curve.final is not None else job.progress.loss),
            "Lowest loss": _lowest(curve),
            "NaN or infinite": f"{curve.not_finite:,}" if curve.steps or curve.not_finite else UNKNOWN,
            "Steps": UNKNOWN if job.progress.step is None else f"{job.progress.step:,}",
            "Duration": duration_text(job.duration_s(now)),
            "Speed": _speed(job.progress.seconds_per_step),
            "Size": size_text(job.size_bytes),
            **({"GPU memory at its peak": peak or UNKNOWN} if any(peaks) else {}),
        }
        for job, name, curve, peak in zip(jobs, names, curves, peaks, strict=True)
    ]


def _lowest(curve: LossCurve) -> str:
    return UNKNOWN if curve.minimum is None else f"{loss_text(curve.minimum)} at step {curve.minimum_step or 0:,}"


def _speed(seconds: float | None) -> str:
    if seconds is None or not math.isfinite(seconds) or seconds <= 0:
        return UNKNOWN
    return f"{seconds:.3g} s per step" if seconds >= 1 else f"{1 / seconds:.3g} steps per second"


def show_losses(jobs: Sequence[Job], names: Sequence[str], reader: UrlReader) -> None:
    """The chart with its controls, and the table."""
    st.header("Loss", anchor=False)
    axis = reader.choice("x", tuple(AXES), "step")
    percent = reader.whole_number("smooth", SMOOTHING_PERCENT, minimum=0, maximum=MOST_PERCENT)
    log_scale = reader.choice("log", ("1",), "") == "1"
    _show_controls(axis, percent, log_scale)
    curves = [_curve(job, name, percent / 100) for job, name in zip(jobs, names, strict=True)]
    frame = curve_frame(curves, names, [job.progress for job in jobs], axis=axis, positive=log_scale)
    drawn = set(frame["job"])
    if missing := [name for name in names if name not in drawn]:
        show_note(f"Nothing to draw over {AXES[axis].lower()} for {', '.join(missing)}.")
    if len(frame):
        spec = curves_spec(names, axis=axis, log_scale=log_scale, domain=readable_domain(curves))
        st.vega_lite_chart(frame, spec, width="stretch", key="compared-losses", alt=summary(names, curves))
    st.dataframe(pd.DataFrame(result_rows(jobs, names, curves)), hide_index=True, width="stretch")


def summary(names: Sequence[str], curves: Sequence[LossCurve]) -> str:
    """The chart in words, for screen readers."""
    parts = [f"{name} ends at {loss_text(curve.final)}" for name, curve in zip(names, curves, strict=True)]
    return plain(f"Losses of {len(names)} jobs. {', '.join(parts)}.", limit=1_500)


def _curve(job: Job, name: str, weight: float) -> LossCurve:
    try:
        reading = services.latest_curve(job, weight=weight)
    except DashboardError as error:
        show_error(error, title=f"The loss of {name} cannot be read")
        return LossCurve()
    show_age_note(reading.problem, reading.read_at)
    return reading.value


def _show_controls(axis: str, percent: int, log_scale: bool) -> None:
    mirror_url("compare-x", axis)
    mirror_url("compare-smooth", percent)
    mirror_url("compare-log", log_scale)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="large"):
        st.segmented_control(
            "Over", list(AXES), format_func=axis_label, key="compare-x", on_change=_write_controls, required=True
        )
        st.slider(
            "Smoothing", 0, MOST_PERCENT, key="compare-smooth", format="%d%%", on_change=_write_controls, width=260
        )
        st.toggle("Log scale", key="compare-log", on_change=_write_controls)


def _write_controls() -> None:
    state = st.session_state
    percent = int(state["compare-smooth"])
    write_params(
        {
            "x": None if state["compare-x"] in (None, "step") else str(state["compare-x"]),
            "smooth": None if percent == SMOOTHING_PERCENT else str(percent),
            "log": "1" if state["compare-log"] else None,
        }
    )
