"""How jobs ended over the last day, week or month: a chart and a table that lead to the jobs."""

from collections.abc import Mapping, Sequence
from datetime import UTC, tzinfo
from typing import Any

import streamlit as st

from lib import services
from lib.sources.protocol import WINDOWS, OutcomeBucket
from lib.ui.parts.errors import explained_errors
from lib.ui.parts.format import viewer_zone
from lib.ui.parts.job_filters import time_param
from lib.ui.parts.links import JOBS
from lib.ui.parts.skeleton import first_read
from lib.ui.parts.url import UrlReader, mirror_url, url_reader, write_params

WINDOW_LABELS = {"24h": "24 hours", "7d": "7 days", "30d": "30 days"}
STATUSES_BEHIND = {"Succeeded": "succeeded", "Failed": "failed,lost"}
# Both have a contrast of at least 3 on the light and the dark background.
COLORS = {"Succeeded": "#2e9150", "Failed": "#d64545"}


def outcome_rows(buckets: Sequence[OutcomeBucket], window: str, zone: tzinfo) -> list[dict[str, Any]]:
    """A row per bar. Failures point downwards, so that not only the colour tells them apart."""
    return [
        {
            "bucket": index,
            "time": bucket_label(bucket, window, zone),
            "outcome": outcome,
            "jobs": count,
            "height": count if outcome == "Succeeded" else -count,
        }
        for index, bucket in enumerate(buckets)
        for outcome, count in (("Succeeded", bucket.succeeded), ("Failed", bucket.failed))
    ]


def bucket_label(bucket: OutcomeBucket, window: str, zone: tzinfo) -> str:
    """``Mon 14:00`` for an hour in the viewer's zone, ``Mon 23 Nov`` for a day in UTC."""
    start = bucket.start.astimezone(zone if window == "24h" else UTC)
    return f"{start:%a %H:%M}" if window == "24h" else f"{start:%a} {start.day} {start:%b}"


def outcomes_chart(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A Vega-Lite chart: bars point up for success, down for failure; a click selects one."""
    return {
        "data": {"values": list(rows)},
        "height": 170,
        "params": [{"name": "bar", "select": {"type": "point", "fields": ["bucket", "outcome"]}}],
        "mark": {"type": "bar", "cursor": "pointer"},
        "encoding": {
            "x": {
                "field": "time",
                "type": "ordinal",
                "sort": None,
                "title": None,
                "axis": {"labelAngle": 0, "labelOverlap": "greedy"},
            },
            "y": {
                "field": "height",
                "type": "quantitative",
                "title": "↓ Failed · Succeeded ↑",
                "axis": {"labelExpr": "abs(datum.value)", "tickMinStep": 1},
                "scale": {"nice": True},
            },
            "color": {
                "field": "outcome",
                "type": "nominal",
                "title": None,
                "scale": {"domain": list(COLORS), "range": list(COLORS.values())},
                "legend": None,
            },
            "opacity": {"condition": {"param": "bar", "value": 1.0}, "value": 0.45},
            "tooltip": [
                {"field": "time", "type": "ordinal"},
                {"field": "outcome", "type": "nominal"},
                {"field": "jobs", "type": "quantitative"},
            ],
        },
    }


def jobs_behind(bucket: OutcomeBucket, outcome: str) -> dict[str, str]:
    """The list's parameters for the jobs of one bar."""
    return {
        "status": STATUSES_BEHIND[outcome],
        "finishedFrom": time_param(bucket.start),
        "finishedUntil": time_param(bucket.end),
    }


def summary_text(buckets: Sequence[OutcomeBucket], window: str) -> str:
    """The chart in one sentence."""
    succeeded, failed = sum(each.succeeded for each in buckets), sum(each.failed for each in buckets)
    days = "" if window == "24h" else " (days in UTC)"
    return f"{succeeded:,} succeeded and {failed:,} failed or lost in the last {WINDOW_LABELS[window]}{days}"


@st.fragment
def show_outcomes() -> None:
    """The chart for the URL's ``window``, a link to the jobs of the selected bar, and a table."""
    st.header("Outcomes", anchor=False)
    window = window_of(url_reader())
    mirror_url("outcomes-window", window)
    st.radio(
        "Period",
        WINDOWS,
        format_func=WINDOW_LABELS.__getitem__,
        key="outcomes-window",
        horizontal=True,
        on_change=_push_window,
    )
    with explained_errors("The outcomes cannot be loaded", retry=True):
        buckets = first_read("outcomes", st.container(), lambda: services.outcomes(window), height_px=300)
        _show_buckets(buckets, window)


def _show_buckets(buckets: Sequence[OutcomeBucket], window: str) -> None:
    st.markdown(f"{summary_text(buckets, window)}.")
    if not any(each.succeeded or each.failed for each in buckets):
        return
    rows = outcome_rows(buckets, window, viewer_zone())
    event = st.vega_lite_chart(
        outcomes_chart(rows),
        key=f"outcomes-{window}",
        on_select="rerun",
        alt=f"Bar chart: {summary_text(buckets, window)}. The table below has the same numbers.",
    )
    for point in event["selection"].get("bar") or []:
        if 0 <= int(point["bucket"]) < len(buckets) and point["outcome"] in STATUSES_BEHIND:
            _show_bar_link(buckets[int(point["bucket"])], str(point["outcome"]), window)
    with st.expander("As a table with links", icon=":material/table_rows:"):
        _show_table(buckets, window)


def window_of(reader: UrlReader) -> str:
    """The period in the URL; a day if there is none or it is unknown."""
    return reader.choice("window", WINDOWS, WINDOWS[0])


def _push_window() -> None:
    window = st.session_state["outcomes-window"]
    write_params({"window": None if window == WINDOWS[0] else window})


def _show_table(buckets: Sequence[OutcomeBucket], window: str) -> None:
    for bucket in reversed(buckets):
        with st.container(horizontal=True):
            for outcome in COLORS:
                if _count(bucket, outcome):
                    _show_bar_link(bucket, outcome, window)


def _show_bar_link(bucket: OutcomeBucket, outcome: str, window: str) -> None:
    count = _count(bucket, outcome)
    when = bucket_label(bucket, window, viewer_zone())
    label = f"{when}: {count:,} {outcome.lower()}"
    icon = ":material/check_circle:" if outcome == "Succeeded" else ":material/error:"
    st.page_link(JOBS.file, label=label, icon=icon, query_params=jobs_behind(bucket, outcome))


def _count(bucket: OutcomeBucket, outcome: str) -> int:
    return bucket.succeeded if outcome == "Succeeded" else bucket.failed
