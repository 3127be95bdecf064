"""Times, durations and numbers as people read them. Unknown is shown as unknown, never as zero."""

import math
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import humanize
import streamlit as st

from lib.jobs.job import Progress
from lib.jobs.words import UNKNOWN
from lib.ui.parts.text import escaped


def utc_now() -> datetime:
    """The current time, aware UTC."""
    return datetime.now(UTC)


def relative_time(at: datetime | None, now: datetime) -> str:
    """``3 minutes ago``, or ``unknown``."""
    if at is None:
        return "unknown"
    # Clocks of two machines differ a little: nothing happened "2 seconds from now".
    if abs((now - at).total_seconds()) < 5:
        return "just now"
    return str(humanize.naturaltime(at, when=now))


def absolute_time(at: datetime | None, zone: tzinfo = UTC) -> str:
    """``23 Nov 2026, 13:05:09 CET``."""
    if at is None:
        return "unknown"
    local = at.astimezone(zone)
    return f"{local.day} {local:%b %Y, %H:%M:%S %Z}"


def viewer_zone() -> tzinfo:
    """The browser's time zone; UTC if unknown."""
    try:
        return ZoneInfo(str(st.context.timezone or "UTC"))
    except (ZoneInfoNotFoundError, ValueError):
        return UTC


def show_time(label: str, at: datetime | None, *, note: str = "") -> None:
    """``Created 3 minutes ago``, with the absolute time in the viewer's zone on hover and for a screen reader."""
    text = f"{escaped(label)} {relative_time(at, utc_now())}" + (f" ({escaped(note)})" if note else "")
    st.markdown(text.strip(), help=absolute_time(at, viewer_zone()) if at else None)


def duration_text(seconds: float | None) -> str:
    """``1h 30m 45s``; ``2d 3h 4m`` from a day on; unknown is ``–``."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return UNKNOWN
    minutes, secs = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{humanize.intcomma(days)}d {hours}h {minutes}m"
    if hours:
        return f"{hours}h {minutes}m {secs}s"
    return f"{minutes}m {secs}s" if minutes else f"{secs}s"


def loss_text(loss: float | None) -> str:
    """A loss to four digits: ``0.0873``, ``1.2e-05``, ``NaN``, ``Infinity``; unknown is ``–``."""
    if loss is None:
        return UNKNOWN
    if math.isnan(loss):
        return "NaN"
    if math.isinf(loss):
        return "Infinity" if loss > 0 else "-Infinity"
    return f"{loss:.4f}" if loss == 0 or 1e-3 <= abs(loss) < 1e5 else f"{loss:.2e}"


def whole_percent(fraction: float | None) -> int | None:
    """Whole percents in [0, 100], rounded down: only a finished job has 100."""
    if fraction is None or not math.isfinite(fraction):
        return None
    return min(100, math.floor(max(0.0, fraction) * 100))


def percent_text(fraction: float | None) -> str:
    """``42%``; only a finished job shows ``100%``; unknown is ``–``."""
    percent = whole_percent(fraction)
    return UNKNOWN if percent is None else f"{percent}%"


def part_text(done: int | None, total: int | None) -> str:
    """``12/50``; ``12`` if the total is unknown; unknown is ``–``."""
    if done is None:
        return UNKNOWN
    return f"{done}/{total}" if total else str(done)


def epoch_text(progress: Progress) -> str:
    """``12/50``."""
    return part_text(progress.epoch, progress.total_epochs)


def step_text(progress: Progress) -> str:
    """``480/2000``."""
    return part_text(progress.step, progress.total_steps)
