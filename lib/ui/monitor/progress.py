"""How far a job is: the bar, epoch and step, remaining time, speed and loss."""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import streamlit as st

from lib import services
from lib.errors import DashboardError
from lib.jobs.job import Attempt, Job, JobStatus, Progress, Stage
from lib.jobs.query import JobQuery
from lib.jobs.stalls import is_stalled_at_start, usual_start_s
from lib.jobs.words import UNKNOWN
from lib.sources.protocol import Action
from lib.ui.monitor.poll_interval import is_silent
from lib.ui.monitor.resume import resume_text
from lib.ui.monitor.watched import show_last_sign
from lib.ui.parts.cluster import wait_text
from lib.ui.parts.errors import explained_errors
from lib.ui.parts.format import duration_text, loss_text, part_text, percent_text, utc_now
from lib.ui.parts.links import show_place_link
from lib.ui.parts.machine import gpus_text, machine_text
from lib.ui.parts.notes import show_note
from lib.ui.parts.text import escaped, plain

_BAR_NAMES = {
    JobStatus.FAILED: "Progress at failure",
    JobStatus.CANCELLED: "Progress when cancelled",
    JobStatus.LOST: "Last known progress",
}
MAX_FACTS_TOGETHER = 2
_RUNNING = JobQuery(statuses=frozenset({JobStatus.RUNNING}))
_LOSS_IS_LOST = (
    "The loss became NaN or infinite: what was trained since then is most likely useless. "
    "Try a lower learning rate, or full precision."
)
ALARMS = {
    "exit_code_unknown": "The trainer's exit code is unknown. According to the log its files are complete.",
    "nan_loss": _LOSS_IS_LOST,
    "inf_loss": _LOSS_IS_LOST,
    "nan_weights": "A trained file holds NaN or infinite weights, so it is of no use; it is marked below. "
    "Try a lower learning rate, or full precision.",
    "stalled_at_start": "Stalled at the start: the trainer prints, but its first step takes far longer than usual. "
    "The log says what it waits for.",
    "loss_diverged": "The loss is far above where it began: the training has most likely diverged. "
    "Try a lower learning rate.",
    "nan_latents": "Images became NaN when they were encoded, so the model learns nothing from them. "
    "Try another VAE, or full precision for it.",
    "log_skipped": "There was more log than could be read in time, so a part was skipped: its losses are missing "
    "in the chart. The log itself is whole.",
    "cluster_away": "The cluster does not answer. What the training itself writes is still shown; it is asked again.",
    "store_away": "What the node wrote cannot be brought here now; worker.log in the data folder says why. It is tried "
    "again, and nothing is lost.",
    "watched_away": "The folder of the run cannot be reached now. Shown is what was known last.",
    "ended_by_files": "There is no log: that the run ended well is told from its final file.",
    "upload_failed": "The files could not be copied to the artifact store: they exist only on the machine that trained "
    "them, and worker.log in its data folder says why. Downloads work while they are there.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A metric; ``note`` explains it on hover."""

    label: str
    value: str
    note: str = ""


def bar_text(attempt: Attempt) -> str:
    """``Training progress: 42%``, or ``Training progress: unknown``."""
    name = _BAR_NAMES.get(attempt.status, "Training progress")
    fraction = bar_fraction(attempt)
    return f"{name}: {'unknown' if fraction is None else percent_text(fraction)}"


def bar_fraction(attempt: Attempt) -> float | None:
    """The finished fraction in [0, 1]; 1 for a job that succeeded, whatever it reported last."""
    if attempt.status is JobStatus.SUCCEEDED:
        return 1.0
    fraction = attempt.progress.fraction
    return None if fraction is None else min(1.0, max(0.0, fraction))


def position_text(progress: Progress) -> str:
    """``Epoch 12/50 · Step 480/2000``."""
    epoch = f"Epoch {'unknown' if progress.epoch is None else part_text(progress.epoch, progress.total_epochs)}"
    step = f"Step {'unknown' if progress.step is None else part_text(progress.step, progress.total_steps)}"
    return f"{epoch} · {step}"


def speed_text(seconds_per_step: float | None) -> str:
    """``2.4 steps/s``, or ``1.8 s/step`` for slow steps."""
    if seconds_per_step is None or not seconds_per_step > 0:
        return "unknown"
    if seconds_per_step < 1:
        return f"{1 / seconds_per_step:.3g} steps/s"
    return f"{seconds_per_step:.3g} s/step"


def progress_facts(attempt: Attempt, job: Job, now: datetime) -> list[Fact]:
    """Metrics beside the bar: estimates while running, results afterwards."""
    progress, note = attempt.progress, "" if attempt.number < job.attempt else job.duration_note
    took = _known(duration_text(attempt_duration_s(attempt, now)) if attempt.started_at else None)
    if attempt.status is JobStatus.SUCCEEDED:
        return [
            Fact(label="Final loss", value=_known(_loss(progress))),
            Fact(label="Training time", value=took, note=note),
        ]
    if attempt.status.is_terminal:
        return [
            Fact(label="Last loss", value=_known(_loss(progress))),
            Fact(label="Ran for", value=took, note=note),
        ]
    eta = None if progress.eta_s is None else duration_text(progress.eta_s)
    remaining = Fact(
        label="Estimated time remaining", value=_known(eta), note="" if eta else "Known after the first steps."
    )
    rate = progress.learning_rate
    return [
        *([] if _is_stopping(attempt, job) else [remaining]),
        Fact(label="Loss", value=_known(_loss(progress))),
        *([] if rate is None else [Fact(label="Learning rate", value=f"{rate:.3g}")]),
        Fact(
            label="Speed",
            value=speed_text(progress.seconds_per_step),
            note="Without saving and sampling.",
        ),
        Fact(label="Running for", value=took, note=note),
    ]


def attempt_duration_s(attempt: Attempt, now: datetime) -> float | None:
    """Seconds from start to end, or to ``now`` while it runs; None if unknown."""
    if attempt.started_at is None or (attempt.status.is_terminal and attempt.finished_at is None):
        return None
    return max(0.0, ((attempt.finished_at or now) - attempt.started_at).total_seconds())


def waiting_text(job: Job) -> str:
    """What a pending job waits for."""
    if job.queue_position is None:
        return "Its place in the queue is unknown."
    if job.queue_position == 1:
        return "Next in the queue."
    return f"Place {job.queue_position} in the queue."


def silence_text(job: Job, now: datetime) -> str:
    """Says that a running trainer has printed nothing for long; empty otherwise."""
    since_at = job.last_output_at or job.started_at
    quiet_s = (now - since_at).total_seconds() if since_at and job.status is JobStatus.RUNNING else 0.0
    if is_stalled_at_start(job.progress, quiet_s):
        return _stalled_text(job.progress, quiet_s)
    if not is_silent(job, now):
        return ""
    since = duration_text((now - (job.last_output_at or job.started_at or now)).total_seconds())
    return f"No output for {since}. The job still counts as running; it may be stuck."


def _stalled_text(progress: Progress, quiet_s: float) -> str:
    steps = f"step 0 of {progress.total_steps:,}" if progress.total_steps else "before the first step"
    usual = duration_text(usual_start_s(progress))
    return (
        f"Stalled at the start: {steps}, {progress.stage}, no output for {duration_text(quiet_s)}. "
        f"This phase is usually quiet for less than {usual}; the job may be stuck."
    )


def alarm_texts(attempt: Attempt) -> list[str]:
    """What each alarm means; an unknown alarm is shown by its name."""
    texts = (ALARMS.get(alarm, f"Alarm: {alarm.replace('_', ' ')}") for alarm in attempt.alarms)
    return list(dict.fromkeys(texts))


def show_alarms(attempt: Attempt) -> None:
    """A warning for each alarm. Show it above the files, which look like success without it."""
    for text in alarm_texts(attempt):
        st.warning(escaped(text), icon=":material/warning:")


def show_progress(attempt: Attempt, job: Job) -> None:
    """The panel for an attempt in any state."""
    now = utc_now()
    if attempt.status is JobStatus.PENDING:
        _show_waiting(job)
        if text := resume_text(attempt):
            show_note(text)
        return
    if attempt.never_began:
        return  # the panel above says it already
    fraction = bar_fraction(attempt)
    st.progress(fraction or 0.0, text=bar_text(attempt))
    st.markdown(stage_line(attempt, job))
    if text := resume_text(attempt):
        show_note(text)
    facts = progress_facts(attempt, job, now)
    # Many stand in one row, from end to end; two would be torn apart.
    spread: Literal["distribute", "left"] = "distribute" if len(facts) > MAX_FACTS_TOGETHER else "left"
    with st.container(horizontal=True, horizontal_alignment=spread, gap="small", key="facts"):
        for fact in facts:
            st.metric(fact.label, fact.value, help=fact.note or None, width="content")
    if attempt.status is JobStatus.RUNNING and (text := _machine_line(attempt, now)):
        st.caption(escaped(text, limit=500))
    if attempt.number == job.attempt:
        show_last_sign(job)
    if attempt.number == job.attempt and (text := silence_text(job, now)):
        st.warning(text, icon=":material/hourglass_empty:")


def _machine_line(attempt: Attempt, now: datetime) -> str:
    """Which cards the attempt has, and what the whole machine does."""
    own = f"Trains on {gpus_text(attempt.gpus)}." if attempt.gpus else ""
    whole = machine_text(attempt.machine, now.timestamp()) if attempt.machine else ""
    return f"{own} {whole}".strip()


def ahead_text(ahead: Job) -> str:
    """``about 2m 5s left (an estimate)``: until the running job makes room; empty if unknown."""
    if ahead.cancelling:
        return "which is stopping"
    eta_s = ahead.progress.eta_s
    return "" if eta_s is None else f"about {duration_text(eta_s)} left (an estimate)"


def _show_waiting(job: Job) -> None:
    st.header("Waiting to start", anchor=False)
    if job.queue_position is not None and (ahead := _job_ahead()):
        with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
            st.markdown(f"{waiting_text(job)} Running now:", width="content")
            show_place_link(escaped(ahead.name or ahead.id, limit=60), {"id": ahead.id, "attempt": None, "view": None})
            st.markdown(ahead_text(ahead), width="content")
    else:
        st.markdown(waiting_text(job))
    if reason := wait_text(job):
        show_note(plain(reason, limit=400))
    if refused := services.reason_against(Action.MOVE):
        show_note(refused)
        return
    place = job.queue_position
    with st.container(horizontal=True):
        for label, icon, places, is_end in (
            ("Move up", ":material/arrow_upward:", -1, place == 1),
            ("Move down", ":material/arrow_downward:", 1, _is_last(place)),
        ):
            if not is_end and st.button(label, icon=icon):
                _move(job.id, places)


def _move(job_id: str, places: int) -> None:
    with explained_errors("The job could not be moved"):
        services.act(lambda source: source.move_job(job_id, places))
        st.rerun()


def _job_ahead() -> Job | None:
    """The running job that will make room first, if known."""
    try:
        jobs = services.latest_jobs(_RUNNING).value.jobs
    except DashboardError:  # the place in the queue is shown anyway
        return None
    return min(jobs, key=_room_in_s, default=None)


def _room_in_s(job: Job) -> float:
    """Seconds until a running job makes room: none for one that is stopping, endless if unknown."""
    if job.cancelling:
        return 0.0
    return math.inf if job.progress.eta_s is None else job.progress.eta_s


def _is_last(place: int | None) -> bool:
    """Whether this is the last place in the queue."""
    try:
        return place is not None and place >= services.count_by_status().get(JobStatus.PENDING, 0)
    except DashboardError:
        return False


def _is_stopping(attempt: Attempt, job: Job) -> bool:
    return attempt.number == job.attempt and job.cancelling


def stage_line(attempt: Attempt, job: Job) -> str:
    """``Stage: training · Epoch 12/50 · Step 480/2000`` as Markdown; a job told to stop is ``Stopping…``."""
    parts = [position_text(attempt.progress)]
    if _is_stopping(attempt, job):
        parts.insert(0, "Stopping…")
    elif attempt.status is JobStatus.RUNNING:
        stage = attempt.progress.stage
        word = "starting" if stage == Stage.QUEUED else escaped(stage, limit=80) if stage else "unknown"
        parts.insert(0, f"Stage: {word}")
    if attempt.node:
        parts.append(f"on {escaped(attempt.node, limit=80)}")
    return " · ".join(parts)


def _loss(progress: Progress) -> str | None:
    return None if progress.loss is None else loss_text(progress.loss)


def _known(text: str | None) -> str:
    return "unknown" if text is None or text == UNKNOWN else text
