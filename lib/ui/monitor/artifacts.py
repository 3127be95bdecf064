"""The files of a job: name, kind, size, time, a download that always works, and links that may have expired."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import streamlit as st

from lib import services
from lib.jobs.job import Artifact, ArtifactKind, Attempt, Job
from lib.jobs.words import count_text
from lib.ui.parts.artifact_order import file_text, listed_files
from lib.ui.parts.format import absolute_time, utc_now, viewer_zone
from lib.ui.parts.job_actions import download_path
from lib.ui.parts.links import INSPECT
from lib.ui.parts.live_times import show_timed_note
from lib.ui.parts.notes import show_age_note, show_note
from lib.ui.parts.picked_file import show_best_button
from lib.ui.parts.text import escaped

SHOWN_FILES = 8
HOLDS_NAN = "Some of its weights are NaN or infinite, so it is of no use. An earlier file may be whole."
_INSPECTED = frozenset({ArtifactKind.LORA, ArtifactKind.CHECKPOINT, ArtifactKind.INCOMPLETE, ArtifactKind.OTHER})
WARN_BEFORE = timedelta(minutes=5)
FROZEN_EXPLANATION = (
    "The source wrote this link into the job once, and reading the job again gives the same link. "
    "Set S3_BUCKET and S3 credentials, and the dashboard signs a fresh link at every click."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkState:
    """What to say about a link; the text is empty for a link that always works."""

    text: str = ""
    is_expired: bool = False
    needs_care: bool = False


def link_state(artifact: Artifact, now: datetime) -> LinkState:
    """Whether the file's link works, for how long, and whether it expires soon."""
    link = artifact.frozen_link
    if link is None or link.expires_at is None:
        return LinkState()
    left = link.expires_at - now
    if left <= timedelta(0):
        return LinkState(text="URL expired", is_expired=True, needs_care=True)
    if left < WARN_BEFORE:
        return LinkState(text=f"URL expires in {_minutes(left)}", needs_care=True)
    return LinkState(text=f"URL works until {absolute_time(link.expires_at, viewer_zone())}")


def show_files(job: Job, attempt: Attempt) -> bool:
    """A row per file, at first only a few. Returns whether the list is fresh."""
    st.header("Artifacts", anchor=False)
    reading = services.latest_artifacts(job)
    files = listed_files(reading.value, attempt if len(job.attempts) > 1 else None, best=job.best)
    show_age_note(reading.problem, reading.read_at)
    now, key = utc_now(), f"files-{job.id}-{attempt.number}"
    if not files:
        show_note("No files yet." if job.status.is_active else "This attempt left no files.")
        return reading.problem is None
    all_shown = len(files) <= SHOWN_FILES or st.session_state.get(f"{key}-all", False)
    for file in files if all_shown else files[:SHOWN_FILES]:
        _show_file(job, file, now)
    if not all_shown:
        st.button(f"Show all {len(files)} files", key=f"{key}-more", on_click=_show_all, args=(f"{key}-all",))
    if any(link_state(file, now).needs_care for file in files):
        _show_refresh(key)
    return reading.problem is None


def _show_file(job: Job, file: Artifact, now: datetime) -> None:
    state = link_state(file, now)
    with st.container(horizontal=True, vertical_alignment="center"):
        with st.container(gap=None):
            best = " :orange-badge[★ Best]" if file.id == job.best else ""
            nan = " :red-badge[NaN]" if file.holds_nan else ""
            st.markdown(f"**{escaped(file.name, limit=120)}**{best}{nan}")
            show_timed_note(file_text(file), file.created_at)
            if state.text:
                color = "red" if state.is_expired else "orange" if state.needs_care else "gray"
                show_note(state.text, color=color)
            if file.holds_nan:
                show_note(HOLDS_NAN, color="red")
            if file.unavailable:
                show_note(file.unavailable, color="orange")
        show_best_button(job, file)
        _show_inspect(job, file)
        key = f"download-{job.id}-{file.id}"
        if state.is_expired or file.unavailable:
            st.button("Download", icon=":material/download:", key=key, disabled=True)
        else:
            st.link_button("Download", download_path(job.id, file.id), icon=":material/download:", key=key)


def _show_inspect(job: Job, file: Artifact) -> None:
    if file.kind in _INSPECTED and not file.unavailable:
        params = {"job": job.id, "artifact": file.id}
        st.page_link(INSPECT.file, label="Inspect", icon=INSPECT.icon, query_params=params)


def _show_refresh(key: str) -> None:
    st.button("Refresh URL", icon=":material/refresh:", key=f"{key}-refresh", on_click=services.forget_reads)
    show_note(FROZEN_EXPLANATION)


def _show_all(key: str) -> None:
    st.session_state[key] = True


def _minutes(left: timedelta) -> str:
    minutes = round(left.total_seconds() / 60)
    if minutes < 1:
        return "less than a minute"
    return count_text(minutes, "minute", "minutes")
