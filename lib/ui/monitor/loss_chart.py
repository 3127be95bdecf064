"""The panel "Loss": the chart with its switches, the same in words, and how far it is behind the figures beside it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import streamlit as st

from lib import services
from lib.jobs.job import Attempt, Job, LossPoint, Progress
from lib.jobs.logs.losses import DrawnPoints, LossRange
from lib.ui.monitor.attempts import files_of_line, line_of, shown_attempt
from lib.ui.monitor.loss_controls import BESIDE, ChartChoice, read_choice, show_options
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
    resume_marks,
    wants_log_scale,
)
from lib.ui.parts.format import loss_text, utc_now
from lib.ui.parts.loss_axes import AXES, EPOCH, STEP, LossAxis, loss_axis
from lib.ui.parts.notes import show_age_note, show_note
from lib.ui.parts.url import mirrored_key, url_reader, write_params

MAX_LAG_S = 5
FEW_POINTS = 40
LINEAR, LOG = "linear", "log"


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


def short_summary(raw: DrawnPoints, smooth: Sequence[LossPoint], mean: float | None = None) -> str:
    """``Last 0.0582 · lowest 0.0502 at step 595 · mean 0.0611 · smoothed 0.0560``, and where it was no number."""
    if not raw.line:
        return f"It was {band_name(raw)}."
    lowest = min(raw.line, key=lambda point: point.loss)
    parts = [f"Last {loss_text(raw.line[-1].loss)}", f"lowest {loss_text(lowest.loss)} at step {lowest.step:,}"]
    parts += [f"mean {loss_text(mean)}"] if mean is not None else []
    parts += [f"smoothed {loss_text(smooth[-1].loss)}"] if smooth else []
    parts += [band_name(raw)] if raw.marks else []
    return " · ".join(parts)


def resumed_texts(line: Sequence[Attempt]) -> list[str]:
    """``resumed at step 24`` for each mark on the chart."""
    return [f"resumed at step {each.start.step:,}" for each in line if each.start]


def outside_text(shown: LossRange | None, *, log_scale: bool) -> str:
    """How many losses lie outside the axis and how far, and where they are seen; empty if none does."""
    if shown is None or not shown.outside or log_scale:
        return ""
    count = "1 loss lies" if shown.outside == 1 else f"{shown.outside:,} losses lie"
    ends = [f"up to {loss_text(shown.highest)}"] if shown.highest > shown.high else []
    ends += [f"down to {loss_text(shown.lowest)}"] if shown.lowest < shown.low else []
    return f"{count} outside the axis, {' and '.join(ends)}; the log scale shows all above zero."


def lag_text(attempt: Attempt, read_at: datetime | None, now: datetime) -> str:
    """Says that the chart is older than the figures beside it; empty while it is not."""
    if read_at is None or attempt.status.is_terminal or (now - read_at).total_seconds() <= MAX_LAG_S:
        return ""
    return f"The loss chart is {int((now - read_at).total_seconds())} s behind these figures."


def _read_key(job: Job) -> str:
    """Where the session keeps when the chart on its screen was read."""
    return f"when the loss of {job.id} was read"


def show_lag(job: Job, attempt: Attempt) -> None:
    """A note when the chart is behind. The figures' own ticks draw it: those of the chart are what fails."""
    if text := lag_text(attempt, st.session_state.get(_read_key(job)), utc_now()):
        show_note(text, color="orange")


def show_loss(job: Job, attempt: Attempt) -> bool:
    """The chart with its switches and summary. Returns whether it is fresh."""
    choice, is_over = read_choice(), attempt.status.is_terminal
    reading = services.latest_loss(job.id, attempt.number, is_over=is_over, weight=choice.percent / 100)
    st.session_state[_read_key(job)] = reading.read_at
    drawn, raw = reading.value, reading.value.raw
    log_scale = _show_bar(job, attempt, choice, drawn)
    show_age_note(reading.problem, reading.read_at)
    if not raw.line and not raw.marks:
        is_known = attempt.progress.loss is not None
        soon = "The chart appears in a moment." if is_known else "No loss yet."
        show_note("No loss was recorded." if is_over else soon)
        return reading.problem is None
    # A trainer often prints its totals only after the page was opened.
    progress = shown_attempt(services.latest_job(job.id).value, str(attempt.number)).progress
    axis = _known_axis(choice, progress, raw)
    rows = loss_rows(raw, drawn.smooth, axis, positive=log_scale)
    spec = loss_spec(
        band_row(raw, axis),
        epoch_steps(progress),
        domain=loss_domain(drawn.range, rows["loss"].to_pylist(), log_scale=log_scale),
        axis=axis.name,
        log_scale=log_scale,
        end=_end(axis, progress),
        marks=_file_marks(job, attempt, progress, axis) if choice.marks_files else (),
        resumes=resume_marks(line_of(job, attempt), axis),
    )
    st.vega_lite_chart(rows, spec, key=f"loss-{job.id}-{attempt.number}", alt=loss_summary(raw, drawn.smooth))
    if choice.beside in BESIDE:
        _show_beside(job, attempt, choice.beside, axis, progress)
    with st.container(gap=None):
        show_note(" · ".join([short_summary(raw, drawn.smooth, drawn.mean), *resumed_texts(line_of(job, attempt))]))
        if text := outside_text(drawn.range, log_scale=log_scale):
            show_note(text)
    return reading.problem is None


def _show_bar(job: Job, attempt: Attempt, choice: ChartChoice, drawn: services.DrawnLoss) -> bool:
    """The header and the controls. Returns whether the scale is logarithmic."""
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        st.header("Loss", anchor=False, width="content")
        if not drawn.raw.line:
            return False
        log_scale = _show_switch("Log scale", "scale", LOG, wants_log_scale(drawn.range), LINEAR)
        offered = [word for word, (field, _) in BESIDE.items() if field in drawn.beside]
        show_options(job.id, attempt.number, choice, offered)
    return log_scale


def _known_axis(choice: ChartChoice, progress: Progress, raw: DrawnPoints) -> LossAxis:
    """The axis that was chosen, else steps and why."""
    axis = loss_axis(choice.axis, progress, (point.at for point in raw.line or raw.marks))
    if axis.is_known:
        return axis
    unknown = "number of epochs" if choice.axis == EPOCH else "time of the losses"
    show_note(f"The {unknown} is not known, so they are drawn over steps.")
    return replace(axis, name=STEP)


def _end(axis: LossAxis, progress: Progress) -> int | None:
    """Where the axis ends, if the run's length is known in its unit."""
    return {STEP: progress.total_steps, EPOCH: progress.total_epochs}.get(axis.name)


def _file_marks(job: Job, attempt: Attempt, progress: Progress, axis: LossAxis) -> list[dict[str, object]]:
    files = files_of_line(services.latest_artifacts(job).value, line_of(job, attempt))
    return file_marks(files, progress, axis)


def _show_beside(job: Job, attempt: Attempt, word: str, axis: LossAxis, progress: Progress) -> None:
    """The second chart: what was recorded with the losses."""
    field, name = BESIDE[word]
    points = services.latest_beside(job.id, attempt.number, field, is_over=attempt.status.is_terminal).value
    if not points:
        show_note(f"{name}: none was recorded.")
        return
    last = points[-1]
    words = f"{name} {last.loss:.3g} at step {last.step:,}"
    show_note(words)
    few = len(points) <= FEW_POINTS
    spec = beside_spec(name, axis=axis.name, end=_end(axis, progress), with_points=few)
    key = f"beside-{word}-{job.id}-{attempt.number}"
    st.vega_lite_chart(beside_rows(points, axis), spec, key=key, alt=f"{words}, over {AXES[axis.name].lower()}.")


def _show_switch(label: str, parameter: str, on: str, proposed: bool, off: str = "") -> bool:
    """A switch that the URL keeps where it is not as proposed."""
    is_on = url_reader().choice(parameter, (on, off), on if proposed else off) == on
    key = mirrored_key(f"chart-{parameter}", is_on)
    st.toggle(label, is_on, key=key, on_change=_keep_switch, args=(key, parameter, on, off, proposed))
    return is_on


def _keep_switch(key: str, parameter: str, on: str, off: str, proposed: bool) -> None:
    is_on = st.session_state[key]
    write_params({parameter: None if is_on == proposed else on if is_on else off}, widget=key)
