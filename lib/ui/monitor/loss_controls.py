"""How the loss is drawn, as the URL says it, and the popover that changes it; the losses as CSV."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import streamlit as st

from lib import services
from lib.jobs.job import LossPoint
from lib.ui.parts.loss_axes import AXES, MOST_PERCENT, SMOOTHING_PERCENT, STEP, axis_label
from lib.ui.parts.url import mirrored_key, url_reader, write_params

NO_PANEL = "none"
# The URL's word, the field of a loss point, and its name.
BESIDE = {
    "lr": ("learning_rate", "Learning rate"),
    "grad": ("grad_norm", "Gradient norm"),
    "val": ("validation_loss", "Validation loss"),
}
_COLUMNS = ("step", "loss", "time", "learning_rate", "grad_norm", "validation_loss")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartChoice:
    """What the chart's controls say.

    Attributes:
        axis: One of ``AXES``.
        percent: Smoothing, 0 for none.
        beside: A key of ``BESIDE``, else ``NO_PANEL``.
        marks_files: Whether saved LoRAs and samples are marked.
    """

    axis: str = STEP
    percent: int = SMOOTHING_PERCENT
    beside: str = NO_PANEL
    marks_files: bool = False


def read_choice() -> ChartChoice:
    """The choice that the URL names, else the usual one."""
    reader = url_reader()
    return ChartChoice(
        axis=reader.choice("x", tuple(AXES), STEP),
        percent=reader.whole_number("smooth", SMOOTHING_PERCENT, minimum=0, maximum=MOST_PERCENT),
        beside=reader.choice("panel", tuple(BESIDE), NO_PANEL),
        marks_files=reader.choice("marks", ("1",), "") == "1",
    )


def losses_csv(points: Sequence[LossPoint]) -> str:
    """Every loss as CSV; times in UTC, what is unknown is empty."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(_COLUMNS)
    for point in points:
        at = "" if point.at is None else datetime.fromtimestamp(point.at, UTC).isoformat(timespec="milliseconds")
        rows.writerow([point.step, point.loss, at, point.learning_rate, point.grad_norm, point.validation_loss])
    return text.getvalue()


def show_options(job_id: str, attempt: int, choice: ChartChoice, offered: Sequence[str]) -> None:
    """The rarer controls; closed, they cost a tick nothing but their button."""
    popover = st.popover("Chart", icon=":material/tune:", type="tertiary", key="chart-options", on_change="rerun")
    if not popover.open:
        return
    with popover:
        key = mirrored_key("chart-x", choice.axis)
        st.segmented_control(
            "Over",
            list(AXES),
            default=choice.axis,
            format_func=axis_label,
            key=key,
            on_change=_keep_choice,
            args=(key, "x", STEP),
            required=True,
        )
        key = mirrored_key("chart-smooth", choice.percent)
        usual = (key, "smooth", SMOOTHING_PERCENT)
        st.slider(
            "Smoothing", 0, MOST_PERCENT, choice.percent, key=key, format="%d%%", on_change=_keep_choice, args=usual
        )
        if offered:
            beside = choice.beside if choice.beside in offered else NO_PANEL
            key = mirrored_key("chart-panel", beside)
            names = {NO_PANEL: "Nothing"} | {word: name for word, (_, name) in BESIDE.items() if word in offered}
            st.segmented_control(
                "Below it",
                list(names),
                default=beside,
                format_func=names.__getitem__,
                key=key,
                on_change=_keep_choice,
                args=(key, "panel", NO_PANEL),
                required=True,
            )
        key = mirrored_key("chart-marks", choice.marks_files)
        usual = (key, "marks", False)
        st.toggle("Mark saved LoRAs and samples", choice.marks_files, key=key, on_change=_keep_choice, args=usual)
        st.download_button(
            "Losses as CSV",
            data=lambda: losses_csv(services.loss_points(job_id, attempt)),
            file_name=f"loss-{attempt}.csv",
            mime="text/csv",
            icon=":material/table_view:",
            on_click="ignore",
            key="chart-csv",
        )


def _keep_choice(key: str, parameter: str, usual: object) -> None:
    value = st.session_state[key]
    write_params({parameter: None if value in (None, usual) else "1" if value is True else str(value)}, widget=key)
