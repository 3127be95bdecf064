"""The top of the page: what the file is, its words to copy, and what a person should know before using it."""

from collections.abc import Sequence

import streamlit as st

from lib.jobs.job import Job
from lib.jobs.lora_report import LoraPlace, LoraReport, Words
from lib.jobs.words import count_text
from lib.ui.inspect.tables import copy_buttons
from lib.ui.parts.job_actions import download_path
from lib.ui.parts.links import JOB
from lib.ui.parts.lora_facts import fact_rows
from lib.ui.parts.notes import show_note
from lib.ui.parts.picked_file import show_best_button
from lib.ui.parts.text import escaped, plain

SHOWN_WORDS, MAX_CHARS = 24, 120
_NOT_PROVEN = "Not certain: the trainer uses these words only for pictures without a caption."


def show_heading(report: LoraReport, place: LoraPlace | None, job: Job | None) -> None:
    """The file's name with the ways to its job and to the file."""
    st.set_page_config(page_title=f"{plain(report.name, limit=80)} · Inspect")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.title(escaped(report.name, limit=MAX_CHARS), anchor=False, width="content")
        if place and place.job_id:
            name = job.name if job else ""
            label = f"Job {escaped(name or place.job_id, limit=60)}"
            st.page_link(JOB.file, label=label, icon=":material/monitoring:", query_params={"id": place.job_id})
            if job:
                for file in job.artifacts:
                    if file.id == place.artifact_id:
                        show_best_button(job, file)
            path = download_path(place.job_id, place.artifact_id)
            st.link_button("Download", path, icon=":material/download:")


def show_facts(report: LoraReport) -> None:
    """The facts in a dense grid."""
    with st.grid(6, min_column_width=150, gap="small", key="lora-facts"):
        for label, value in fact_rows(report):
            st.markdown(f":small[:gray[{label}]]  \n**{escaped(value, limit=200)}**")


def show_words(words: Sequence[Words]) -> None:
    """Trained words as chips to copy, from the most trusted place; the other places below."""
    st.header("Trained words", anchor=False)
    if not words:
        show_note("The file names no trained words.")
        return
    _show_chips(words[0])
    if len(words) > 1:
        with st.expander(f"{count_text(len(words) - 1, 'other place', 'other places')} in the file"):
            for each in words[1:]:
                _show_chips(each)


def _show_chips(words: Words) -> None:
    st.html(copy_buttons(words.words[:SHOWN_WORDS]))
    more = len(words.words) - SHOWN_WORDS
    note = f"From {words.origin}." + (f" {more:,} more are not shown." if more > 0 else "")
    show_note(note if words.are_proven else f"{note} {_NOT_PROVEN}")


def show_remarks(report: LoraReport) -> None:
    """What contradicts itself, what is uncertain, what is broken."""
    if not report.is_lora:
        st.warning(f"This is no LoRA: the file holds {escaped(report.kind)}.", icon=":material/info:")
        return
    if report.remarks:
        lines = "\n".join(f"- {escaped(each, limit=400)}" for each in report.remarks)
        st.warning(f"**Before you use it**\n\n{lines}", icon=":material/warning:")
