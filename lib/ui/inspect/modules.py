"""Which parts of the model the file changes: modules per block as bars, and what they have in common as a table."""

from collections.abc import Sequence

import streamlit as st

from lib.jobs.lora_report import Block, LoraReport, ModuleGroup
from lib.jobs.words import UNKNOWN, count_text
from lib.ui.inspect.tables import Bar, bar_table, markdown_table
from lib.ui.parts.notes import show_note
from lib.ui.parts.text import plain

MOST_GROUPS = 50


def block_bars(blocks: Sequence[Block]) -> list[Bar]:
    """A bar per block, in the model's order; the component is named where there are several."""
    several = len({block.component for block in blocks}) > 1
    return [
        Bar(
            label=f"{block.component}/{block.name}" if several else block.name,
            value=block.modules,
            text=f"{block.modules:,}",
            kind=block.component,
        )
        for block in blocks
    ]


def group_rows(groups: Sequence[ModuleGroup]) -> list[tuple[str, ...]]:
    """What modules have in common, as texts: unknown stays a word."""
    return [
        (
            f"{group.modules:,}",
            group.kind,
            _text(group.rank),
            _text(group.alpha),
            group.alpha_from,
            _text(group.scale),
        )
        for group in groups
    ]


def show_modules(report: LoraReport) -> None:
    """The bars, and the table behind them."""
    st.header("Modules", anchor=False)
    st.html(bar_table("Block", "Modules", block_bars(report.blocks)))
    with st.expander("Ranks, alphas and scales", icon=":material/table:", expanded=len(report.groups) > 1):
        titles = ("Modules", "Kind", "Rank", "Alpha", "Alpha from", "Scale")
        st.markdown(markdown_table(titles, group_rows(report.groups[:MOST_GROUPS])))
        if (more := len(report.groups) - MOST_GROUPS) > 0:
            show_note(f"{count_text(more, 'rarer combination is', 'rarer combinations are')} not shown.")
    if report.broken_modules:
        st.markdown("**Modules that cannot work**")
        for name, problem in report.broken_modules[:10]:
            show_note(f"{plain(name, limit=120)}: {problem}", color="red")


def _text(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:g}"
