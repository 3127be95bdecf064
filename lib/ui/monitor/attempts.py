"""Attempts of a job: which one is shown, and the control that chooses."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import streamlit as st

from lib.jobs.job import Artifact, Attempt, Job, JobStatus
from lib.jobs.resume import Start
from lib.ui.parts.notes import show_note
from lib.ui.parts.theme import status_text

PARAMETER = "attempt"


def all_attempts(job: Job) -> tuple[Attempt, ...]:
    """Every attempt, oldest first; the latest is taken from the job itself, which is the most recent."""
    latest = Attempt(
        number=max(1, job.attempt),
        status=job.status,
        started_at=job.started_at,
        finished_at=job.finished_at,
        progress=job.progress,
        failure=job.failure,
        alarms=job.alarms,
        start=job.start,
        node=job.node,
    )
    known = {attempt.number: attempt for attempt in job.attempts}
    if job.status is JobStatus.PENDING and latest.number in known:
        # Waiting for the next attempt: the one before stays as it ended.
        latest = replace(latest, number=latest.number + 1)
    elif latest.number in known:
        same = known[latest.number]
        latest = replace(latest, exit_code=same.exit_code, machine=same.machine, gpus=same.gpus)
    known[latest.number] = latest
    return tuple(known[number] for number in sorted(known))


def shown_attempt(job: Job, wanted: str = "") -> Attempt:
    """The attempt in the URL; the latest one when there is none or it does not exist."""
    attempts = all_attempts(job)
    return next((each for each in attempts if str(each.number) == wanted.strip()), attempts[-1])


def line_of(job: Job, attempt: Attempt) -> list[Attempt]:
    """The attempt and those that it goes on from, oldest first: one line of training."""
    known, line = {each.number: each for each in all_attempts(job)}, [attempt]
    while (start := line[0].start) and start.attempt < line[0].number and start.attempt in known:
        line.insert(0, known[start.attempt])
    return line


def files_of_line(files: Sequence[Artifact], line: Sequence[Attempt]) -> list[Artifact]:
    """The files of one line of training: of an attempt that another goes on from, only those up to there."""
    found = [file for file in files if file.attempt == line[-1].number]
    for attempt, following in pairwise(line):
        start = following.start
        assert start is not None
        found += (file for file in files if file.attempt == attempt.number and _is_before(file, start))
    return found


def _is_before(file: Artifact, start: Start) -> bool:
    if file.epoch is not None and start.epoch is not None:
        return file.epoch <= start.epoch
    return file.step is not None and file.step <= start.step


def is_latest(job: Job, attempt: Attempt) -> bool:
    """Whether it is the last attempt."""
    return attempt.number == all_attempts(job)[-1].number


def attempt_label(job: Job, attempt: Attempt) -> str:
    """``Attempt 2 (latest): running``."""
    if not is_latest(job, attempt):
        return f"Attempt {attempt.number}: {attempt.status.label.lower()}"
    return f"Attempt {attempt.number} (latest): {status_text(job).lower()}"


def choose_attempt(job: Job) -> Attempt:
    """A select box when there are several attempts; the URL keeps the choice."""
    attempts = all_attempts(job)
    wanted = st.query_params.get(PARAMETER, "")
    shown = shown_attempt(job, wanted)
    if wanted and str(shown.number) != wanted.strip():
        show_note("There is no such attempt, so the latest one is shown.")
    if len(attempts) == 1:
        return shown
    key = f"attempt-{job.id}"
    st.session_state[key] = shown.number
    labels = {attempt.number: attempt_label(job, attempt) for attempt in attempts}
    st.selectbox(
        "Attempt",
        [attempt.number for attempt in reversed(attempts)],
        format_func=lambda number: labels.get(number, str(number)),
        key=key,
        on_change=_keep_choice,
        args=(key, attempts[-1].number),
        label_visibility="collapsed",
        width=250,
    )
    return shown


def _keep_choice(key: str, latest: int) -> None:
    if st.session_state[key] == latest:
        st.query_params.pop(PARAMETER, None)
    else:
        st.query_params[PARAMETER] = str(st.session_state[key])
