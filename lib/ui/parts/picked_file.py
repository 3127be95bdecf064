"""The star that makes a LoRA file the best one of its job, wherever the file is shown."""

import streamlit as st

from lib import services
from lib.jobs.annotations import PICKED_KINDS, Annotations
from lib.jobs.job import Artifact, Job
from lib.sources.protocol import Action
from lib.ui.parts.errors import explained_errors
from lib.ui.parts.toasts import announce


def show_best_button(job: Job, file: Artifact) -> None:
    """Pick this LoRA file as the best one, or take that back; nothing where that cannot be done."""
    if file.kind not in PICKED_KINDS or services.reason_against(Action.ANNOTATE):
        return
    is_best = file.id == job.best
    help_text = "No longer the best file" if is_best else "Mark as the best file: Download offers it first"
    # A filled star for the picked one.
    if st.button("★" if is_best else "☆", help=help_text, key=f"best-{job.id}-{file.id}", type="tertiary"):
        annotate(job, Annotations(best="" if is_best else file.id), "No longer the best" if is_best else "Best file")


def annotate(job: Job, annotations: Annotations, done: str) -> None:
    """Keep what somebody wrote or picked, say so, and draw the page again."""
    with explained_errors("The change could not be saved"):
        services.act(lambda source: source.annotate_job(job.id, annotations))
        announce(done)
        st.rerun()
