"""Tables and chips that a browser draws at once: a chart or a data grid comes only after a megabyte of scripts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from lib.ui.parts.text import escaped, plain

MAX_CHARS, COPIED_CHARS = 600, 5_000
# Of components, in the order in which they appear; 3:1 on both backgrounds.
COLORS = ("#3b78c4", "#c8641e", "#2e8b57", "#a05fb8", "#8a7a2e")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A row with a bar: how long it is, what is written beside it, and what gives it its colour."""

    label: str
    value: float
    text: str
    kind: str = ""


def bar_table(title: str, unit: str, bars: Sequence[Bar]) -> str:
    """Horizontal bars as an HTML table that scrolls; labels and texts may be foreign."""
    most = max((bar.value for bar in bars if math.isfinite(bar.value)), default=0) or 1
    kinds = list(dict.fromkeys(bar.kind for bar in bars))
    rows = "".join(
        f'<tr><th scope="row">{_html(bar.label)}</th><td>{_html(bar.text)}</td>'
        f'<td aria-hidden="true"><div style="width: {min(100.0, max(0.0, 100 * bar.value / most)):.1f}%; '
        f'background: {COLORS[kinds.index(bar.kind) % len(COLORS)]}"></div></td></tr>'
        for bar in bars
    )
    head = f'<th scope="col">{_html(title)}</th><th scope="col" colspan="2">{_html(unit)}</th>'
    return (
        f'<div class="bars" role="region" tabindex="0" aria-label="{_html(unit)} by {_html(title.lower())}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def markdown_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A small table as Markdown; cells may be foreign."""
    lines = [titles, ["---"] * len(titles), *([escaped(cell, limit=MAX_CHARS) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def copy_buttons(words: Sequence[str]) -> str:
    """Words as chips that browser.js copies; they may be foreign. Streamlit's own box loads every syntax it knows."""
    start = '<button type="button" class="chip" data-copy title="Copy">'
    return "".join(f"{start}{_html(word, limit=COPIED_CHARS)}</button>" for word in words)


def _html(text: str, *, limit: int = 300) -> str:
    return escape(plain(text, limit=limit))
