"""Why a job did not succeed: the cause, what to do, where it broke, and the lines that prove it."""

import signal

import streamlit as st

from lib.jobs.failures.causes import CONTINUED_HINTS, HINTS
from lib.jobs.job import Attempt, Failure, JobStatus
from lib.ui.parts.live_times import show_ended
from lib.ui.parts.notes import show_note
from lib.ui.parts.text import escaped, shown_text

TITLES = {
    JobStatus.FAILED: "Training failed",
    JobStatus.CANCELLED: "Training cancelled",
    JobStatus.LOST: "Training lost",
}
SENTENCES = {
    JobStatus.FAILED: "The source does not say why.",
    JobStatus.CANCELLED: "It was stopped on request. The files written until then are kept.",
    JobStatus.LOST: "The process that ran it vanished, likely because the machine was switched off.",
}
# How a sentence goes on from what happened to a guess at why.
_GUESS = ", likely "


def failure_sentence(attempt: Attempt) -> str:
    """One sentence on what happened."""
    if attempt.never_began and attempt.failure is None:
        return "It was cancelled before it began."
    return attempt.failure.message if attempt.failure else SENTENCES[attempt.status]


def fact_and_guess(sentence: str) -> tuple[str, str]:
    """What happened and the guess at why, which is no headline: ``Killed by signal 9.``, ``Likely out of memory.``"""
    fact, _, guess = sentence.partition(_GUESS)
    return (f"{fact}.", f"Likely {guess}") if guess else (sentence, "")


def cause_text(failure: Failure | None) -> str:
    """``Cause: out of memory (certain)``, or ``Cause: unknown``."""
    cause = (failure.cause if failure else "").replace("_", " ").strip()
    sure = f" ({failure.confidence})" if failure and failure.confidence else ""
    return f"Cause: {cause or 'unknown'}{sure}"


def place_texts(failure: Failure | None) -> list[str]:
    """Where it broke and who raised it: ``Broke at step 12``, ``Raised by torch``."""
    if failure is None:
        return []
    named = f"at {failure.phase}" if failure.phase.startswith("step ") else f"while {failure.phase}"
    where = failure.phase if failure.phase.startswith("after") else named
    texts = {
        f"Broke {where}": failure.phase,
        f"Raised by {failure.raised_by}": failure.raised_by,
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


def hint_text(failure: Failure | None, *, has_state: bool) -> str:
    """What to do. What is lost need not begin anew where it left a state."""
    if failure is None:
        return ""
    cause = next((each for each in CONTINUED_HINTS if each == failure.cause), None)
    is_general = cause is not None and failure.hint == HINTS[cause]
    return CONTINUED_HINTS[cause] if cause and is_general and has_state else failure.hint


def show_failure(attempt: Attempt, *, has_state: bool = False) -> None:
    """The panel of a failed, cancelled or lost attempt. The log itself is a view of its own.

    Args:
        has_state: Whether the job can be continued from a training state.
    """
    failure = attempt.failure
    fact, guess = fact_and_guess(failure_sentence(attempt))
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.header(TITLES[attempt.status], anchor=False, width="content")
        _show_end(attempt)
    box = st.error if attempt.status is JobStatus.FAILED else st.warning
    box(escaped(fact, limit=600))
    advice = [escaped(guess, limit=300)] if guess else []
    hint = hint_text(failure, has_state=has_state)
    advice += [f"**What to do:** {escaped(hint)}"] if hint else []
    if advice:
        st.markdown(" ".join(advice))
    facts = [cause_text(failure)] if attempt.status is not JobStatus.CANCELLED or failure else []
    facts += [*place_texts(failure), *filter(None, [exit_text(attempt.exit_code)])]
    if facts:
        show_note(" · ".join(facts))
    if failure and failure.evidence:
        with st.container(gap="xxsmall"):
            show_note("From the log")
            st.code(shown_text(failure.evidence), language=None, wrap_lines=True)
    if failure and failure.traceback:
        with st.expander("Traceback", icon=":material/data_object:"):
            st.code(shown_text(failure.traceback.splitlines()), language=None, wrap_lines=True)


def _show_end(attempt: Attempt) -> None:
    word = "Failed at" if attempt.status is JobStatus.FAILED else "Ended at"
    if attempt.finished_at is None:
        show_note(f"{word} an unknown time")
    else:
        show_ended(word, attempt.finished_at)
