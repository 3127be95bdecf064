"""Times that stay true while a page is open: the server writes "3 minutes ago", the browser counts on from there."""

from collections.abc import Sequence
from datetime import datetime
from html import escape

import streamlit as st

from lib.ui.parts.format import absolute_time, relative_time, utc_now, viewer_zone

# The words of ``relative_time``, rounded as humanize does. Past some days they hardly change: null leaves them alone.
RELATIVE_JS = """age_s => {
  const ago = (count, one, many) => count === 1 ? one : `${count} ${many} ago`;
  const minutes = Math.round(age_s / 60), hours = Math.round(age_s / 3600);
  if (age_s < -5 || age_s >= 15 * 86400) return null;
  if (age_s < 5) return "just now";
  if (age_s < 60) return `${Math.floor(age_s)} seconds ago`;
  if (minutes < 60) return ago(minutes, "a minute ago", "minutes");
  if (hours < 24) return ago(hours, "an hour ago", "hours");
  return ago(Math.max(1, Math.floor(age_s / 86400)), "a day ago", "days");
}"""
# Counted from the server's clock: the viewer's may be wrong. Nothing foreign is in here.
_COUNT_ON = """<style></style><script>
{
  const words = %s, ahead_ms = Date.now() - %d;
  clearInterval(window.loraTimes);
  window.loraTimes = setInterval(() => {
    for (const time of document.querySelectorAll("time[data-live]")) {
      const text = words((Date.now() - ahead_ms - Date.parse(time.dateTime)) / 1000);
      if (text !== null && text !== time.textContent) time.textContent = text;
    }
  }, 1000);
}
</script>"""


def time_html(at: datetime) -> str:
    """``3 minutes ago`` as an element that the browser keeps true, with the absolute time on hover."""
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


def show_ended(word: str, at: datetime) -> None:
    """``Failed at 23 Nov 2026, 13:05:09 CET (3 minutes ago)``."""
    st.html(f"{escape(word)} {escape(absolute_time(at, viewer_zone()))} ({time_html(at)})", width="content")


def keep_times_true() -> None:
    """Let the browser count on. Call it once, last on the page: it takes no room there."""
    st.html(_COUNT_ON % (RELATIVE_JS, utc_now().timestamp() * 1000), unsafe_allow_javascript=True)


def _small(html: str) -> str:
    return f'<span style="font-size: .875rem; opacity: .8">{html}</span>'
