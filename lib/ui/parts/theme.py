"""How a status looks: a colour, an icon and a word. Never the colour alone."""

from dataclasses import dataclass

import streamlit as st

from lib.jobs.job import JobStatus
from lib.ui.parts.text import escaped, plain


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusLook:
    """A theme colour's name and a bundled material icon."""

    color: str
    icon: str


STATUS_LOOKS: dict[JobStatus, StatusLook] = {
    JobStatus.PENDING: StatusLook(color="gray", icon=":material/schedule:"),
    JobStatus.RUNNING: StatusLook(color="blue", icon=":material/play_circle:"),
    JobStatus.SUCCEEDED: StatusLook(color="green", icon=":material/check_circle:"),
    JobStatus.FAILED: StatusLook(color="red", icon=":material/error:"),
    JobStatus.CANCELLED: StatusLook(color="orange", icon=":material/cancel:"),
    JobStatus.LOST: StatusLook(color="orange", icon=":material/help_center:"),
    JobStatus.UNKNOWN: StatusLook(color="violet", icon=":material/question_mark:"),
}


CANCELLING = "Cancelling"


def is_cancelling(status: JobStatus, raw_status: str) -> bool:
    """Whether a running job was told to stop and has not yet."""
    return status is JobStatus.RUNNING and raw_status.strip().lower() == CANCELLING.lower()


def status_text(status: JobStatus, raw_status: str = "") -> str:
    """The word shown to people: ``Running``, ``Cancelling``; a word nobody knows stands beside ``Unknown``."""
    if status is JobStatus.UNKNOWN and raw_status.strip():
        return f"Unknown ({plain(raw_status, limit=40)})"
    return CANCELLING if is_cancelling(status, raw_status) else status.label


def show_status_badge(status: JobStatus, raw_status: str = "") -> None:
    """A badge with icon, word and colour."""
    look = STATUS_LOOKS[JobStatus.CANCELLED if is_cancelling(status, raw_status) else status]
    st.badge(escaped(status_text(status, raw_status)), icon=look.icon, color=look.color)  # type: ignore[arg-type]
