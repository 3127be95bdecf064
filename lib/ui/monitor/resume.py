""" "Continue": where an ended job goes on, the dialog that asks for it, and what an attempt went on from."""

import streamlit as st

from lib import services
from lib.jobs.job import ArtifactKind, Attempt, Job, Origin
from lib.jobs.resume import ResumePoint, Start
from lib.jobs.training_settings import TrainingSettings, settings_from_payload
from lib.jobs.words import count_text
from lib.sources.protocol import Action
from lib.ui.parts.dialogs import act, close_dialog, open_dialog, opened
from lib.ui.parts.errors import explained_errors
from lib.ui.parts.notes import show_note
from lib.ui.parts.text import plain

DIALOG = "continue"
MAX_BROKEN = 5
# Schedules that do not depend on the length of the training.
LEVEL_SCHEDULES = frozenset({"", "constant", "constant_with_warmup", "adafactor", "inverse_sqrt"})
NOTHING = (
    "There is nothing to go on from: this job left no training state and no weights whose step is known. "
    "“Save the training state” in the settings makes the next one continuable."
)


def can_continue(job: Job) -> bool:
    """Whether "Continue" fits the job; whether there is something to go on from, only its files tell."""
    is_ended = job.status.is_terminal and job.origin is Origin.DASHBOARD and job.attempt > 0
    return is_ended and not services.reason_against(Action.CONTINUE)


def has_state(job: Job) -> bool:
    """Whether an attempt left a training state, as far as its files were recorded."""
    return any(file.kind is ArtifactKind.STATE for file in job.artifacts)


def show_continue_button(job: Job, *, key: str, is_main: bool = False) -> None:
    """The button that opens the dialog."""
    st.button(
        "Continue",
        icon=":material/resume:",
        key=key,
        width="content" if is_main else "stretch",
        help="Goes on from a training state, or with the weights of an epoch, as the next attempt of the same job.",
        on_click=open_dialog,
        args=(DIALOG, job.id),
    )


def show_continue_dialog(job: Job) -> None:
    """The dialog while it is open. Call it at the page's top level."""
    if opened(DIALOG) == job.id and job.status.is_terminal:
        st.dialog("Continue this training?", icon=":material/resume:", on_dismiss=close_dialog)(_show_dialog)(job)


def _show_dialog(job: Job) -> None:
    with explained_errors("The training states cannot be read"):
        points = services.source().resume_points(job.id)
        usable = {point.id: point for point in points if not point.problem}
        if usable:
            _show_form(job, usable)
        else:
            st.markdown(NOTHING)
        for point in [point for point in points if point.problem][:MAX_BROKEN]:
            show_note(f"{plain(point.path, limit=120)} cannot be used. {plain(point.problem, limit=300)}")


def _show_form(job: Job, usable: dict[str, ResumePoint]) -> None:
    several = len({point.attempt for point in usable.values()}) > 1
    labels = {name: point_label(point, with_attempt=several) for name, point in usable.items()}
    chosen = usable[st.selectbox("Go on from", list(usable), format_func=labels.__getitem__, key="continue-from")]
    settings = length_so_far(job)
    unit = "Steps" if settings.max_steps else "Epochs"
    more = st.number_input(
        f"{unit} to add",
        min_value=0,
        value=default_more(chosen, job),
        help="0 only finishes what was asked for.",
        key=f"continue-more-{chosen.id}",
    )
    st.markdown(outlook_text(chosen, settings, int(more)))
    if chosen.note:
        show_note(plain(chosen.note, limit=300))
    if text := schedule_text(settings, int(more)):
        show_note(text, color="orange")
    with st.container(horizontal=True):
        if st.button(button_label(chosen), type="primary", icon=":material/resume:", key="continue-confirm"):
            done = f"Continues at step {chosen.step:,}"
            change = lambda source: source.continue_job(job.id, chosen.id, int(more))  # noqa: E731
            act(change, done=done, then={"attempt": None})
        if st.button("Keep as it is", key="continue-keep"):
            close_dialog()
            st.rerun()


def length_so_far(job: Job) -> TrainingSettings:
    """The job's settings with the epochs or steps that its latest attempt was to have."""
    settings = settings_from_payload(job.settings)
    return job.start.applied(settings) if job.start else settings


def default_more(point: ResumePoint, job: Job) -> int:
    """0 where something is left to train, as far as is known; else as much as was asked for at first."""
    first, now = settings_from_payload(job.settings), length_so_far(job)
    if now.max_steps:
        return 0 if point.step < now.max_steps else first.max_steps or now.max_steps
    total = job.progress.total_steps
    is_over = point.epoch >= now.epochs if point.epoch is not None else total is not None and point.step >= total
    return first.epochs if is_over else 0


def point_label(point: ResumePoint, *, with_attempt: bool = False) -> str:
    """``State after epoch 2, step 24``; weights alone are called that."""
    when = f"after epoch {point.epoch}, step {point.step:,}" if point.epoch is not None else f"at step {point.step:,}"
    label = f"State {when}" if point.is_state else f"Weights {when} (the optimizer starts anew)"
    return f"{label} · attempt {point.attempt}" if with_attempt else label


def button_label(point: ResumePoint) -> str:
    """``Continue from step 24``, or ``Continue with the weights of epoch 2``."""
    if point.is_state:
        return f"Continue from step {point.step:,}"
    when = f"epoch {point.epoch}" if point.epoch is not None else f"step {point.step:,}"
    return f"Continue with the weights of {when}"


def outlook_text(point: ResumePoint, settings: TrainingSettings, more: int) -> str:
    """How long the whole training is then."""
    if settings.max_steps:
        so_far = max(settings.max_steps, point.step) if more else settings.max_steps
        length = count_text(so_far + more, "step", "steps")
    else:
        length = count_text(settings.epochs + more, "epoch", "epochs")
    begin = f"epoch {point.epoch}" if point.epoch is not None else f"step {point.step:,}"
    return f"The training goes on after {begin}, up to {length} in all."


def schedule_text(settings: TrainingSettings, more: int) -> str:
    """Says that a learning rate which falls over the whole training is higher again in a longer one; else empty."""
    if not more or settings.lr_scheduler in LEVEL_SCHEDULES:
        return ""
    return (
        f"The schedule {settings.lr_scheduler} is laid over the whole training: in a longer one, "
        "the learning rate goes on higher than it was."
    )


def resume_text(attempt: Attempt) -> str:
    """What an attempt goes on from, and whether its log confirms it; empty for one from the beginning."""
    if (start := attempt.start) is None:
        return ""
    name = plain(start.path, limit=120)
    at = f"epoch {start.epoch}, step {start.step:,}" if start.epoch is not None else f"step {start.step:,}"
    what = "the state" if start.is_state else "the weights"
    parts = [f"Goes on from {what} {name} of attempt {start.attempt} ({at})."]
    if not start.is_state:
        parts.append("The optimizer starts anew.")
    if start.by_itself:
        parts.append("The attempt before was lost, and the dashboard continued by itself.")
    return " ".join([*parts, *filter(None, [proof_text(attempt, start)])])


def proof_text(attempt: Attempt, start: Start) -> str:
    """What the log itself says of where the attempt went on."""
    progress = attempt.progress
    if progress.resumed_step is not None:
        is_right = progress.resumed_step == start.step
        said = f"resumed at step {progress.resumed_step:,}"
        return f"The log confirms it: {said}." if is_right else f"But the log says: {said}."
    if progress.resumed_from is not None:
        said = "The log confirms that it was loaded"
        return f"{said}." if not start.is_state else f"{said}, but does not say at which step."
    if attempt.status.is_active and not progress.step:
        return ""
    return "The log does not say that it was loaded: the training may have begun anew."
