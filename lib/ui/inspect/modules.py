"""Which parts of the model the file changes: modules per block as a chart, and what they have in common as a table."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from lib.jobs.lora_report import Block, LoraReport, ModuleGroup
from lib.jobs.words import UNKNOWN, count_text
from lib.ui.parts.notes import show_note
from lib.ui.parts.text import plain

# What legend and axis take of a chart's height, and what a block needs to keep its name readable.
FRAME_PX, BAR_PX, MOST_PX = 150, 17, 1_100


def block_rows(blocks: Sequence[Block]) -> list[dict[str, Any]]:
    """A row per block, in the model's order."""
    several = len({block.component for block in blocks}) > 1
    return [
        {
            "block": f"{block.component}/{block.name}" if several else block.name,
            "component": block.component,
            "modules": block.modules,
            "parameters": block.parameters,
        }
        for block in blocks
    ]


def bars(rows: Sequence[dict[str, Any]], value: str, title: str, number_format: str) -> dict[str, Any]:
    """Horizontal bars by block as a Vega-Lite chart; the rows keep their order."""
    axis = {"format": number_format, "tickMinStep": 1} if number_format == ",d" else {"format": number_format}
    return {
        "data": {"values": list(rows)},
        "height": min(MOST_PX, FRAME_PX + BAR_PX * len(rows)),
        "mark": {"type": "bar"},
        "encoding": {
            "y": {
                "field": "block",
                "type": "nominal",
                "sort": None,
                "title": None,
                "axis": {"labelLimit": 220, "labelOverlap": "greedy"},
            },
            "x": {"field": value, "type": "quantitative", "title": title, "axis": axis},
            "color": {"field": "component", "type": "nominal", "title": None, "legend": {"orient": "top"}},
            "tooltip": [
                {"field": "block", "type": "nominal", "title": "Block"},
                {"field": value, "type": "quantitative", "title": title, "format": number_format},
            ],
        },
    }


def group_rows(groups: Sequence[ModuleGroup]) -> pd.DataFrame:
    """What modules have in common, as texts: unknown stays a word."""
    return pd.DataFrame(
        [
            {
                "Modules": group.modules,
                "Kind": group.kind,
                "Rank": _text(group.rank),
                "Alpha": _text(group.alpha),
                "Alpha from": plain(group.alpha_from),
                "Scale": _text(group.scale),
            }
            for group in groups
        ]
    )


def show_modules(report: LoraReport) -> None:
    """The chart, and the table behind it."""
    st.header("Modules", anchor=False)
    rows = block_rows(report.blocks)
    spec = bars(rows, "modules", "Modules", ",d")
    st.vega_lite_chart(spec, width="stretch", key="modules-chart", alt=_summary(report))
    with st.expander("Ranks, alphas and scales", icon=":material/table:", expanded=len(report.groups) > 1):
        st.dataframe(group_rows(report.groups), hide_index=True, width="stretch")
    if report.broken_modules:
        st.markdown("**Modules that cannot work**")
        for name, problem in report.broken_modules[:10]:
            show_note(f"{plain(name, limit=120)}: {problem}", color="red")


def _summary(report: LoraReport) -> str:
    parts = [f"{block.component} {block.name}: {block.modules}" for block in report.blocks[:40]]
    return plain(f"{count_text(len(report.blocks), 'block', 'blocks')} with modules. {', '.join(parts)}", limit=1500)


def _text(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:g}"
