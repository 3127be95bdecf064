"""The views of a job's page: one is shown at a time, and only that one is computed and refreshed."""

import streamlit as st

from lib.jobs.job import Attempt, JobStatus
from lib.ui.parts.url import mirrored_key, url_reader, write_params

PARAMETER = "view"
LOG, SAMPLES, FILES, DETAILS = "log", "samples", "files", "details"
LABELS = {LOG: "Log", SAMPLES: "Samples", FILES: "Files", DETAILS: "Details"}
# Links that were made before there were views.
_FORMER = {"logs": LOG}


def usual_view(attempt: Attempt) -> str:
    """What somebody most likely came for, where the URL does not say."""
    if attempt.status is JobStatus.PENDING or attempt.never_began:
        return DETAILS
    return FILES if attempt.status is JobStatus.SUCCEEDED else LOG


def wanted_view(wanted: str, attempt: Attempt) -> str:
    """The view that the URL names; the usual one for any other word."""
    view = _FORMER.get(wanted, wanted)
    return view if view in LABELS else usual_view(attempt)


def choose_view(attempt: Attempt) -> str:
    """The control that chooses; the URL keeps the choice."""
    shown = wanted_view(url_reader().text(PARAMETER), attempt)
    key = mirrored_key("view", shown)
    st.segmented_control(
        "View",
        list(LABELS),
        default=shown,
        format_func=LABELS.__getitem__,
        required=True,
        key=key,
        on_change=_keep_choice,
        args=(key,),
        label_visibility="collapsed",
    )
    return shown


def _keep_choice(key: str) -> None:
    write_params({PARAMETER: st.session_state[key]}, widget=key)
