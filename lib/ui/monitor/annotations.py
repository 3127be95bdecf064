"""What people write on a job: the star as a button; name, tags and note as texts with one small form."""

import streamlit as st

from lib import services
from lib.jobs.annotations import MAX_NOTE_LENGTH, Annotations, tags_from
from lib.jobs.job import Job
from lib.jobs.training_settings import MAX_JOB_NAME_LENGTH
from lib.sources.protocol import Action
from lib.ui.parts.links import JOBS
from lib.ui.parts.picked_file import annotate
from lib.ui.parts.text import escaped


def show_job_star(job: Job) -> None:
    """Star the job or take its star away; nothing where that cannot be done."""
    if services.reason_against(Action.ANNOTATE):
        return
    label = "Remove star" if job.is_starred else "Star"
    if st.button(label, icon=":material/star:", key="job-star", width="stretch"):
        annotate(job, Annotations(is_starred=not job.is_starred), "Star removed" if job.is_starred else "Starred")


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
            annotate(job, _changes(job, name, tags, note), "Saved")


def _changes(job: Job, name: str, tags: str, note: str) -> Annotations:
    """Only what was changed, so that what somebody else wrote meanwhile stays."""
    typed = tags_from(tags)
    return Annotations(
        name=None if name == job.name else name,
        tags=None if typed == job.tags else typed,
        note=None if note == job.note else note,
    )
