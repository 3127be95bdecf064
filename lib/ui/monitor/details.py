"""What is known about a job: dataset, configuration, settings and how they differ, command line, times."""

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from lib import services
from lib.errors import DashboardError
from lib.jobs.job import Job, Origin
from lib.jobs.secret_options import NOT_SHOWN, is_secret_option, shown_extra
from lib.jobs.training_settings import TrainingConfig
from lib.jobs.words import UNKNOWN, size_text
from lib.ui.monitor.annotations import show_annotations
from lib.ui.monitor.watched import show_places
from lib.ui.parts.cluster import place_text
from lib.ui.parts.format import duration_text, utc_now
from lib.ui.parts.links import CONFIGS, DATASETS, JOB
from lib.ui.parts.live_times import show_times
from lib.ui.parts.machine import gpus_text, peak_text
from lib.ui.parts.settings_table import setting_rows, settings_table
from lib.ui.parts.text import escaped

MAX_TEXT_CHARS = 2_000
MAX_ITEMS = 200
_SIGNED = ("X-Amz-Signature", "X-Goog-Signature", "Signature=", "X-Amz-Credential")
_HIDDEN = "(signed link, not shown)"


def command_text(command: Sequence[str]) -> str:
    """The command line, quoted for a shell."""
    return shlex.join(command)


def without_secrets(value: Any) -> Any:
    """A payload that may be shown: no signed links, no options named like a secret, no endless texts."""
    if isinstance(value, Mapping):
        return {str(key): _payload_value(str(key), each) for key, each in list(value.items())[:MAX_ITEMS]}
    if isinstance(value, list | tuple):
        rest = len(value) - MAX_ITEMS
        return [*map(without_secrets, value[:MAX_ITEMS]), *([f"… {rest:,} more"] if rest > 0 else [])]
    if isinstance(value, str):
        if any(word in value for word in _SIGNED):
            return _HIDDEN
        return value if len(value) <= MAX_TEXT_CHARS else f"{value[:MAX_TEXT_CHARS]}…"
    return value if isinstance(value, int | float | bool) or value is None else str(value)


def _payload_value(key: str, value: Any) -> Any:
    if key == "settings" and isinstance(value, str):
        value = _parsed(value)
    if key == "extra" and isinstance(value, Mapping):
        value = shown_extra(value)
    # Elsewhere a bare "key" is a path in an object store.
    is_secret = key != "key" and is_secret_option(key)
    return NOT_SHOWN if is_secret and value else without_secrets(value)


def _parsed(text: str) -> Any:
    """Settings that a database keeps as JSON text, parsed; anything else unchanged."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def show_job_information(job: Job) -> None:
    """The panel "Job information": where it comes from and when at the left, its settings at the right."""
    st.header("Job information", anchor=False)
    left, right = st.columns(2, gap="large")
    with left:
        _show_facts(job)
        show_annotations(job)
        if job.command:
            with st.expander("Command line", icon=":material/terminal:"):
                st.code(command_text(job.command), language=None, wrap_lines=True)
        _show_payload(job)
    with right:
        if job.origin is not Origin.DASHBOARD:
            show_places(job)
        elif rows := setting_rows(job.settings, _configuration(job)):
            st.markdown(settings_table(rows))


def _show_facts(job: Job) -> None:
    if job.origin is Origin.DASHBOARD:
        _show_link("Dataset", job.dataset_name, job.dataset_id, DATASETS.file)
        for each in job.more_data:
            _show_link("Further dataset", each.text, each.dataset_id, DATASETS.file)
        _show_link("Configuration", job.config_name, job.config_id, CONFIGS.file)
    st.markdown(f"Trainer: {escaped(job.trainer) if job.trainer else 'unknown'}")
    if job.executor != "local":
        st.markdown(f"Runs on: {escaped(place_text(job), limit=200)}")
    for label, link in (("Retry of", job.retry_of), *(("Retried as", each) for each in job.retried_as)):
        if link:
            _show_link(label, link.name, link.id, JOB.file)
    st.markdown(f"Job ID: {escaped(job.id, limit=200)}")
    _show_times(job)
    people = {"Submitted": job.submitted_by, "Retried": job.retried_by, "Cancelled": job.cancelled_by}
    for done, name in people.items():
        if name:
            st.markdown(f"{done} by {escaped(name, limit=120)}")
    if job.time_limit_s is not None:
        st.markdown(f"Time limit: {duration_text(job.time_limit_s)}")
    if job.attempts and (cards := gpus_text(job.attempts[-1].gpus)):
        st.markdown(f"Trained on: {escaped(cards, limit=300)}")
    if job.attempts and (peak := peak_text(job.attempts[-1].machine)):
        st.markdown(f"GPU memory at its peak: {escaped(peak, limit=300)}")
    if job.size_bytes is not None:
        st.markdown(f"Files: {size_text(job.size_bytes)}")


def _configuration(job: Job) -> TrainingConfig | None:
    """The configuration as it is now; None if it was deleted or cannot be read."""
    try:
        return next((config for config in services.list_configs() if config.id == job.config_id), None)
    except DashboardError:
        return None


def _show_times(job: Job) -> None:
    later = (("Started", job.started_at), ("Finished", job.finished_at))
    show_times([("Created", job.created_at), *((label, at) for label, at in later if at)])
    # While the job runs, the progress panel shows its duration; here it would stand still.
    duration = duration_text(job.duration_s(utc_now()))
    if job.status.is_terminal and duration != UNKNOWN:
        note = f" ({escaped(job.duration_note)})" if job.duration_note else ""
        st.markdown(f"Duration: {duration}{note}")


def _show_link(label: str, name: str | None, identity: str | None, page: str) -> None:
    if not identity:
        st.markdown(f"{label}: {escaped(name, limit=120) if name else 'unknown'}")
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        st.markdown(f"{label}:", width="content")
        st.page_link(page, label=escaped(name or identity, limit=80), query_params={"id": identity})


@st.fragment
def _show_payload(job: Job) -> None:
    """The source's raw answer, prepared only when it is opened."""
    popover = st.popover("Raw data", icon=":material/data_object:", key=f"raw-{job.id}", on_change="rerun")
    if popover.open:
        with popover:
            st.json(without_secrets(job.payload) if job.payload else {}, expanded=1)
