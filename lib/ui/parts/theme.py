"""How a status looks: colour, icon and word, never the colour alone."""

from dataclasses import dataclass

import streamlit as st

from lib.jobs.job import Job, JobStatus
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


def status_text(job: Job) -> str:
    """The word shown to people: ``Running``, ``Cancelling``; a source's own word as in ``Unknown (paused)``."""
    if job.status is JobStatus.UNKNOWN and job.raw_status.strip():
        return f"Unknown ({plain(job.raw_status, limit=40)})"
    return CANCELLING if job.cancelling else job.status.label


def show_status_badge(job: Job) -> None:
    """A badge with icon, word and colour."""
    look = STATUS_LOOKS[JobStatus.CANCELLED if job.cancelling else job.status]
    st.badge(escaped(status_text(job)), icon=look.icon, color=look.color)  # type: ignore[arg-type]
