"""What people write on a job: star and best file as buttons; name, tags and note as texts with one small form."""

import streamlit as st

from lib import services
from lib.jobs.annotations import MAX_NOTE_LENGTH, PICKED_KINDS, Annotations, tags_from
from lib.jobs.job import Artifact, Job
from lib.jobs.training_settings import MAX_JOB_NAME_LENGTH
from lib.sources.protocol import Action
from lib.ui.parts.errors import explained_errors
from lib.ui.parts.links import JOBS
from lib.ui.parts.text import escaped
from lib.ui.parts.toasts import announce


def show_job_star(job: Job) -> None:
    """Star the job or take its star away; nothing where that cannot be done."""
    if services.reason_against(Action.ANNOTATE):
        return
    label = "Remove star" if job.is_starred else "Star"
    if st.button(label, icon=":material/star:", key="job-star", width="stretch"):
        _annotate(job, Annotations(is_starred=not job.is_starred), "Star removed" if job.is_starred else "Starred")


def show_best_button(job: Job, file: Artifact) -> None:
    """Pick this LoRA file as the best one, or take that back; nothing where that cannot be done."""
    if file.kind not in PICKED_KINDS or services.reason_against(Action.ANNOTATE):
        return
    is_best = file.id == job.best
    help_text = "No longer the best file" if is_best else "Mark as the best file: Download offers it first"
    # A filled star for the picked one.
    if st.button("★" if is_best else "☆", help=help_text, key=f"best-{job.id}-{file.id}", type="tertiary"):
        _annotate(job, Annotations(best="" if is_best else file.id), "No longer the best" if is_best else "Best file")


def show_annotations(job: Job) -> None:
    """Tags as links to the list, the note as text, and the form that changes them."""
    if job.tags:
        with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
            st.markdown("Tags:", width="content")
            for tag in job.tags:
                st.page_link(JOBS.file, label=escaped(tag), query_params={"tag": tag})
    if job.note:
        st.markdown("Note:")
        st.text(job.note)
    if not services.reason_against(Action.ANNOTATE):
        with st.expander("Name, tags and note", icon=":material/edit:"):
            _show_form(job)


def _show_form(job: Job) -> None:
    with st.form(f"annotations-{job.id}", border=False):
        name = st.text_input("Name", job.name, max_chars=MAX_JOB_NAME_LENGTH)
        tags = st.text_input("Tags", ", ".join(job.tags), placeholder="portrait, client a")
        note = st.text_area("Note", job.note, max_chars=MAX_NOTE_LENGTH)
        if st.form_submit_button("Save"):
            _annotate(job, _changes(job, name, tags, note), "Saved")


def _changes(job: Job, name: str, tags: str, note: str) -> Annotations:
    """Only what was changed, so that what somebody else wrote meanwhile stays."""
    typed = tags_from(tags)
    return Annotations(
        name=None if name == job.name else name,
        tags=None if typed == job.tags else typed,
        note=None if note == job.note else note,
    )


def _annotate(job: Job, annotations: Annotations, done: str) -> None:
    with explained_errors("The change could not be saved"):
        services.act(lambda source: source.annotate_job(job.id, annotations))
        announce(done)
        st.rerun()
