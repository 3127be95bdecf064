"""Relative times that stay correct while a page is open: ``browser.js`` updates them."""

from collections.abc import Sequence
from datetime import datetime
from html import escape

import streamlit as st

from lib.ui.parts.format import absolute_time, relative_time, utc_now, viewer_zone


def time_html(at: datetime) -> str:
    """``3 minutes ago`` as an element that ``browser.js`` updates, with the absolute time on hover."""
    absolute = escape(absolute_time(at, viewer_zone()))
    return f'<time data-live datetime="{at.isoformat()}" title="{absolute}">{relative_time(at, utc_now())}</time>'


def show_times(moments: Sequence[tuple[str, datetime | None]]) -> None:
    """A line for each: ``Created 3 minutes ago, 23 Nov 2026, 13:05:09 CET``."""
    lines = (
        f"{escape(label)} {time_html(at)}, {_small(escape(absolute_time(at, viewer_zone())))}"
        if at
        else f"{escape(label)} unknown"
        for label, at in moments
    )
    st.html("<br>".join(lines))


def show_timed_note(text: str, at: datetime | None) -> None:
    """Small print that ends with a time; ``text`` may be foreign."""
    st.html(_small(" · ".join([escape(text), *([time_html(at)] if at else [])])))


def show_moment(word: str, at: datetime | None) -> None:
    """Small print: ``checked 3 minutes ago``."""
    st.html(_small(f"{escape(word)} {time_html(at) if at else 'at an unknown time'}".strip()), width="content")


def show_ended(word: str, at: datetime) -> None:
    """Small print: ``Failed at 23 Nov 2026, 13:05:09 CET (3 minutes ago)``."""
    st.html(_small(f"{escape(word)} {escape(absolute_time(at, viewer_zone()))} ({time_html(at)})"), width="content")


def _small(html: str) -> str:
    return f'<span style="font-size: .875rem; opacity: .8">{html}</span>'
