"""Why a job did not succeed: the cause, what to do, the lines that prove it, and the way to try again."""

import signal
from collections.abc import Sequence

import streamlit as st

from lib import services
from lib.jobs.job import Attempt, Failure, Job, JobStatus
from lib.ui.parts.errors import explained_errors
from lib.ui.parts.links import NEW_JOB, wizard_params
from lib.ui.parts.live_times import show_ended
from lib.ui.parts.notes import show_note
from lib.ui.parts.text import escaped, shown_text

LAST_LINES = 12
TITLES = {
    JobStatus.FAILED: "Training failed",
    JobStatus.CANCELLED: "Training cancelled",
    JobStatus.LOST: "Training lost",
}
SENTENCES = {
    JobStatus.FAILED: "The source does not say why.",
    JobStatus.CANCELLED: "It was stopped on request. The files written until then are kept.",
    JobStatus.LOST: "The process that ran it vanished: the machine may have been switched off.",
}


def failure_sentence(attempt: Attempt) -> str:
    """One sentence on what happened."""
    if attempt.never_began and attempt.failure is None:
        return "It was cancelled before it began."
    return attempt.failure.message if attempt.failure else SENTENCES[attempt.status]


def cause_text(failure: Failure | None) -> str:
    """``Cause: out of memory``, or ``Cause: unknown``."""
    cause = (failure.cause if failure else "").replace("_", " ").strip()
    return f"Cause: {cause or 'unknown'}"


def place_texts(failure: Failure | None) -> list[str]:
    """Where it broke, who raised it and how sure the cause is: ``Broke at step 12``, ``Raised by torch``."""
    if failure is None:
        return []
    named = f"at {failure.phase}" if failure.phase.startswith("step ") else f"while {failure.phase}"
    where = failure.phase if failure.phase.startswith("after") else named
    texts = {
        f"Broke {where}": failure.phase,
        f"Raised by {failure.raised_by}": failure.raised_by,
        "The cause is likely, not certain": failure.confidence == "likely",
    }
    return [text for text, is_known in texts.items() if is_known]


def exit_text(exit_code: int | None) -> str:
    """``Exit code 1`` or ``Ended by signal 9 (SIGKILL)``; empty when unknown."""
    if exit_code is None:
        return ""
    if exit_code >= 0:
        return f"Exit code {exit_code}"
    try:
        return f"Ended by signal {-exit_code} ({signal.Signals(-exit_code).name})"
    except ValueError:
        return f"Ended by signal {-exit_code}"


def show_failure(job: Job, attempt: Attempt) -> bool:
    """The panel of a failed, cancelled or lost attempt. Returns whether the log it quotes is fresh."""
    failure, is_fresh = attempt.failure, False
    with st.container(border=True, key="failure"):
        st.header(TITLES[attempt.status], anchor=False)
        box = st.error if attempt.status is JobStatus.FAILED else st.warning
        box(escaped(failure_sentence(attempt), limit=600))
        if failure and failure.hint:
            st.markdown(f"**What to do:** {escaped(failure.hint)}")
        with st.container(horizontal=True, gap="medium"):
            if attempt.status is not JobStatus.CANCELLED or failure:
                st.markdown(escaped(cause_text(failure)), width="content")
            for text in place_texts(failure):
                st.markdown(escaped(text), width="content")
            if text := exit_text(attempt.exit_code):
                st.markdown(text, width="content")
            word = "Failed at" if attempt.status is JobStatus.FAILED else "Ended at"
            if attempt.finished_at is None:
                st.markdown(f"{word} an unknown time", width="content")
            else:
                show_ended(word, attempt.finished_at)
        with explained_errors("The log cannot be read"):
            reading = services.latest_log(job.id, attempt.number)
            _show_proof(failure, reading.value.lines)
            is_fresh = reading.problem is None
        st.page_link(NEW_JOB.file, label="Retry training", icon=":material/edit_note:", query_params=wizard_params(job))
        show_note("Opens the form for a new job with these settings, so you can change them. It trains from step 0.")
    return is_fresh


def _show_proof(failure: Failure | None, last_lines: Sequence[str]) -> None:
    if failure and failure.evidence:
        show_note("From the log")
        st.code(shown_text(failure.evidence), language=None, wrap_lines=True)
    elif last_lines:
        show_note("Last lines of the log")
        st.code(shown_text(last_lines[-LAST_LINES:]), language=None, wrap_lines=True)
    if failure and failure.traceback:
        with st.expander("Traceback", icon=":material/data_object:"):
            st.code(shown_text(failure.traceback.splitlines()), language=None, wrap_lines=True)
