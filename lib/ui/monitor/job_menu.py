"""What can be done with the job of a page: the one action that matters now, and a menu with the rest."""

from collections.abc import Sequence
from datetime import datetime

import streamlit as st

from lib import services
from lib.jobs.annotations import PICKED_KINDS
from lib.jobs.job import Artifact, Job, JobStatus, Origin
from lib.ui.monitor.annotations import show_job_star
from lib.ui.monitor.artifacts import link_state
from lib.ui.monitor.failure import TITLES
from lib.ui.monitor.resume import can_continue, has_state, show_continue_button
from lib.ui.parts.artifact_order import listed_files
from lib.ui.parts.dialogs import give_focus_back
from lib.ui.parts.format import utc_now
from lib.ui.parts.job_actions import CANCEL, DELETE, RETRY, download_path, reason_disabled, show_action
from lib.ui.parts.links import JOBS, NEW_JOB, fix_params, show_primary_link
from lib.ui.parts.notes import show_note
from lib.ui.parts.text import escaped
from lib.ui.parts.toasts import announce

KEY = "job"


def final_file(artifacts: Sequence[Artifact], now: datetime, best: str = "") -> Artifact | None:
    """What "Download" offers: the picked file, else the final LoRA, else the newest checkpoint that can be had.

    One that holds NaN is offered only where there is no other.
    """
    return next(
        (
            file
            for file in sorted(listed_files(artifacts, best=best), key=lambda file: file.holds_nan)
            if file.kind in PICKED_KINDS and not file.unavailable and not link_state(file, now).is_expired
        ),
        None,
    )


def refusals(job: Job) -> list[str]:
    """Why the visitor or the source cannot do what would fit this job, each reason once."""
    fitting = [action for action in (CANCEL, RETRY, DELETE) if action.fits(job)]
    reasons = (services.reason_against(action.name) for action in fitting)
    return list(dict.fromkeys(reason for reason in reasons if reason))


def show_main_action(job: Job) -> None:
    """Active: "Cancel". Succeeded: "Download". Otherwise ended: "Fix and retry". Nothing where it cannot be done."""
    if job.status.is_active and not reason_disabled(CANCEL, [job]):
        show_action(CANCEL, [job], key=KEY)
    elif job.status is JobStatus.SUCCEEDED:
        file = final_file(services.latest_artifacts(job).value, utc_now(), job.best)
        if file is not None:
            st.link_button(
                "Download",
                download_path(job.id, file.id),
                icon=":material/download:",
                type="primary",
                help=escaped(file.name, limit=120) + (" (holds NaN)" if file.holds_nan else ""),
                key="main-download",
            )
    elif job.status in TITLES and job.origin is Origin.DASHBOARD:
        if has_state(job) and can_continue(job):
            show_continue_button(job, key="main-continue", is_main=True)
        show_primary_link(NEW_JOB, "Fix and retry", ":material/build:", fix_params(job))


def show_menu(job: Job) -> None:
    """Everything else that can be done with the job; what is refused is said, not shown as a dead button."""
    with st.popover("…", help="More actions", key="job-menu"):
        if not reason_disabled(RETRY, [job]):
            show_action(RETRY, [job], key=KEY, width="stretch")
        if can_continue(job):
            show_continue_button(job, key="menu-continue")
        if job.origin is Origin.DASHBOARD:
            st.page_link(
                NEW_JOB.file,
                label="Use this configuration",
                icon=":material/edit_note:",
                query_params={"from": job.id},
                width="stretch",
            )
        show_job_star(job)
        for label, name in (("Copy ID", "id"), ("Copy link", "link")):
            # browser.js copies.
            key = f"copy-job-{name}"
            st.button(
                label, icon=":material/content_copy:", key=key, width="stretch", on_click=announce, args=("Copied",)
            )
        if not reason_disabled(DELETE, [job]):
            show_action(DELETE, [job], key=KEY, leave_to=JOBS.file, width="stretch")
        for reason in refusals(job):
            show_note(reason)
    give_focus_back(f"{KEY}-{action.name}" for action in (CANCEL, DELETE))
