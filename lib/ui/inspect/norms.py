"""How much the file changes: norms by block, computed on request in the background.

Only pages import it: a component declared outside a script run is never served.
"""

import streamlit as st
from streamlit_autorefresh import st_autorefresh

from lib import services
from lib.jobs.lora_report import LoraPlace, LoraReport, NormsReport, NormsState
from lib.jobs.words import count_text, size_text
from lib.ui.inspect.tables import Bar, bar_table, markdown_table
from lib.ui.parts.errors import show_error
from lib.ui.parts.format import percent_text
from lib.ui.parts.notes import show_note
from lib.ui.parts.text import escaped, plain

POLL_MS = 1_000
COMMAND = "uv run python -m lib.artifacts.lora.inspect FILE --norms"


def norm_bars(norms: NormsReport) -> list[Bar]:
    """A bar per block in the order of the report's blocks, without those that have no norm."""
    order = {f"{block.component}/{block.name}": place for place, block in enumerate(norms.report.blocks)}
    several = len(norms.by_component) > 1
    return [
        Bar(
            label=name if several else name.partition("/")[2],
            value=norm,
            text=f"{norm:.4g}",
            kind=name.partition("/")[0],
        )
        for name, norm in sorted(norms.by_block.items(), key=lambda each: order.get(each[0], len(order)))
    ]


def damage_text(norms: NormsReport) -> str:
    """``12 NaN and 3 infinite values in 2 tensors``; empty when every value is a number."""
    counts = [(norms.nan_values, "NaN"), (norms.inf_values, "infinite")]
    found = " and ".join(f"{count:,} {word}" for count, word in counts if count)
    if not found:
        return ""
    values = "value" if norms.nan_values + norms.inf_values == 1 else "values"
    names = ", ".join(plain(name, limit=80) for name in norms.not_finite[:3])
    return f"{found} {values}, as in {names}. The file is damaged: pictures made with it will be black or noise."


def progress_text(state: NormsState) -> str:
    """``Reading all weights: 42%``, or that another file is first."""
    if state.fraction is None:
        return "Waiting: another file is being read."
    return f"Reading all weights: {percent_text(state.fraction)}"


def known_norms(place: LoraPlace | None, report: LoraReport) -> NormsReport | None:
    """The norms of this content if they are computed already."""
    state = services.norms_state(place, report.version) if place else None
    return state.result if state else None


def surest_report(place: LoraPlace | None, report: LoraReport) -> LoraReport:
    """The report of the norms where they are computed: it has alphas that lie among the weights."""
    norms = known_norms(place, report)
    return norms.report if norms else report


def show_norms(place: LoraPlace | None, report: LoraReport) -> None:
    """The panel "Norms": a button, then progress, then the chart with its table."""
    st.header("Norms", anchor=False)
    if place is None:
        show_note(f"Norms need all weights, and only the header was sent. On the command line: {COMMAND}")
        return
    _watch(place, report, known_norms(place, report) is not None)


@st.fragment
def _watch(place: LoraPlace, report: LoraReport, was_known: bool) -> None:
    state = services.norms_state(place, report.version)
    if state is None:
        show_note(f"How much each block changes, and whether values are NaN. Reads all {size_text(report.size_bytes)}.")
        st.button(
            "Compute norms", icon=":material/calculate:", on_click=services.start_norms, args=(place, report.version)
        )
    elif state.problem:
        show_error(state.problem, title="The norms cannot be computed")
        st.button("Try again", icon=":material/refresh:", on_click=services.start_norms, args=(place, report.version))
    elif state.result:
        if not was_known:
            st.rerun()  # alphas and warnings of the whole page may be surer now
        _show_result(state.result)
    else:
        st.progress(state.fraction or 0.0, text=progress_text(state))
        st.button("Cancel", icon=":material/stop_circle:", on_click=services.cancel_norms, args=(place, report.version))
        st_autorefresh(POLL_MS, key="norms-poll")


def _show_result(norms: NormsReport) -> None:
    if damage := damage_text(norms):
        st.error(escaped(damage), icon=":material/error:")
    else:
        show_note("No value is NaN or infinite.")
    if norms.total is None:
        show_note("No module has a norm that the file alone defines.")
    else:
        st.markdown(f"Norm of the whole change: **{norms.total:.4g}**", help="Frobenius norm of scale · ΔW")
        st.html(bar_table("Block", "Norm", norm_bars(norms)))
        with st.expander("Modules that change most", icon=":material/table:"):
            st.markdown(markdown_table(("Module", "Norm"), [(name, f"{norm:.4g}") for name, norm in norms.largest]))
    for reason, count in norms.without.items():
        show_note(f"{count_text(count, 'module has', 'modules have')} no norm: {reason}.")
