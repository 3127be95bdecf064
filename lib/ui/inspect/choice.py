"""Which file is inspected: one of a job, one below an open folder, or one of the visitor's computer by its header."""

from pathlib import Path
from typing import Any

import streamlit as st

from lib import services
from lib.errors import DashboardError
from lib.jobs.artifact_names import LORA_KINDS
from lib.jobs.job import Job
from lib.jobs.lora_report import LoraPlace, LoraReport
from lib.ui.parts.artifact_order import file_text, listed_files
from lib.ui.parts.errors import explained_errors, show_error, show_retry
from lib.ui.parts.links import JOB, show_place_link
from lib.ui.parts.notes import show_age, show_note
from lib.ui.parts.text import escaped
from lib.ui.parts.url import follow_url, write_params

_HTML, _CSS, _JS = (Path(__file__).with_name(f"own_file.{kind}").read_text("utf-8") for kind in ("html", "css", "js"))
_OWN_FILE = st.components.v2.component("lora_own_file", html=_HTML, css=_CSS, js=_JS)
_SENT = "report of a sent header"
_NO_FILE: dict[str, str | None] = {"job": None, "artifact": None, "path": None}


def place_in_url() -> LoraPlace | None:
    """The file that the URL names; None when it names none."""
    params = st.query_params
    if params.get("job") and params.get("artifact"):
        return LoraPlace(job_id=params["job"], artifact_id=params["artifact"])
    return LoraPlace(path=params["path"]) if params.get("path") else None


def opened_file(place: LoraPlace | None) -> LoraReport | None:
    """What the header of the file tells; None after saying why there is nothing to show."""
    if place is None:
        if job_id := st.query_params.get("job"):
            show_files_of(job_id)
            return None
        sent: LoraReport | None = st.session_state.get(_SENT)
        if sent is None:
            st.title("Inspect a LoRA", anchor=False)
            st.markdown("Choose a file: rank, alpha, trained words, settings and more are read from its header.")
        return sent
    try:
        reading = services.lora_report(place)
    except DashboardError as error:
        st.title("The file cannot be inspected", anchor=False)
        show_error(error)
        show_retry("inspect")
        if place.job_id:
            st.page_link(JOB.file, label="The job", icon=JOB.icon or None, query_params={"id": place.job_id})
        return None
    show_age(reading.problem, reading.read_at)
    return reading.value


def show_files_of(job_id: str) -> None:
    """The LoRA files of a job that the URL names without a file."""
    st.title("Inspect a LoRA", anchor=False)
    with explained_errors("The LoRA files of the job cannot be listed", retry=True):
        job = services.latest_job(job_id).value
        reading = services.latest_artifacts(job)
        show_age(reading.problem, reading.read_at)
        label = f"Job {escaped(job.name or job.id, limit=60)}"
        st.page_link(JOB.file, label=label, icon=":material/monitoring:", query_params={"id": job.id})
        files = [file for file in listed_files(reading.value, best=job.best) if file.kind in LORA_KINDS]
        if not files:
            show_note("The job has no LoRA file yet." if job.status.is_active else "The job has no LoRA file.")
        with st.container(gap=None):
            for file in files:
                star = "★ " if file.id == job.best else ""
                with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                    show_place_link(f"**{star}{escaped(file.name, limit=120)}**", {"job": job.id, "artifact": file.id})
                    show_note(file_text(file) + (f" · attempt {file.attempt}" if job.attempt > 1 else ""))


def job_of(place: LoraPlace | None) -> Job | None:
    """The file's job as far as it is known; the page does without."""
    if place is None or not place.job_id:
        return None
    try:
        return services.latest_job(place.job_id).value
    except DashboardError:
        return None


def show_choice() -> None:
    """Fields to choose another file."""
    own, below = st.columns(2)
    with own:
        sent = _OWN_FILE(
            key="own-file", data={"max_bytes": services.longest_sent_header()}, on_file_change=lambda: None
        )
        if sent.file:
            _take(sent.file)
    with below:
        _show_path()


def _take(sent: Any) -> None:
    try:
        st.session_state[_SENT] = services.sent_report(str(sent.get("name", ""))[:300], sent)
    except DashboardError as error:
        st.session_state.pop(_SENT, None)
        show_error(error, title=str(sent.get("name", "")))
        return
    write_params(_NO_FILE)
    st.rerun()


def _show_path() -> None:
    folders = services.open_folders()
    follow_url("inspect-path", st.query_params.get("path", ""))
    st.text_input(
        "A file on the server",
        key="inspect-path",
        placeholder="aria/aria-000004.safetensors",
        max_chars=2_000,
        on_change=_open_path,
        disabled=not folders,
    )
    if folders:
        show_note(f"A path below {' or '.join(folders)}.")
    else:
        show_note("The administrator can open folders with LORA_MODEL_DIRS.")


def _open_path() -> None:
    st.session_state.pop(_SENT, None)
    path = str(st.session_state["inspect-path"]).strip()
    write_params(_NO_FILE | {"path": path})
