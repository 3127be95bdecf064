"""Step 3 of the wizard: what will run, the problems with it, and starting it."""

import shlex
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import streamlit as st

from lib import services
from lib.errors import DashboardError, InvalidRequest, SubmissionUnsure
from lib.jobs.dataset import Dataset
from lib.jobs.job import Job
from lib.jobs.job_request import JobRequest
from lib.jobs.setting_kinds import value_text
from lib.jobs.training_settings import (
    SETTINGS,
    TrainingConfig,
    TrainingSettings,
    settings_differences,
    settings_from_payload,
    settings_payload,
    total_steps,
)
from lib.jobs.words import count_text
from lib.sources.protocol import Preview
from lib.ui.parts.errors import explained_errors, show_error
from lib.ui.parts.format import duration_text, relative_time
from lib.ui.parts.links import JOB, follow_link
from lib.ui.parts.settings_form import labelled, trainer_options
from lib.ui.parts.settings_table import MAX_VALUE_CHARS, setting_rows, settings_table
from lib.ui.parts.text import escaped
from lib.ui.parts.url import follow_url
from lib.ui.wizard.draft import NOTIFY, submission_id, write_draft
from lib.ui.wizard.navigation import bottom_bar, show_back

# A job that is older than this was not made by the click that just happened.
FRESH = timedelta(seconds=60)
NOT_CREATED, NOT_KNOWN = "The job was not created", "It is not known whether the job was created"
_NOTIFY_KEY = "wizard-notify"
_SENDING, _MADE, _FAILED = "wizard-sending", "wizard-made", "wizard-failed"
_LABELS = {
    "name": "Job name",
    "dataset_id": "Dataset",
    "config_id": "Configuration",
    "time_limit_s": "Time limit",
    **{name: each.label for name, each in SETTINGS.items()},
}


def steps_text(dataset: Dataset, settings: TrainingSettings) -> str:
    """``16 images × 2 repeats × 10 epochs / batch size 4 = 80 steps``."""
    if dataset.image_count is None:
        return "unknown: the source does not say how many images the dataset has"
    if settings.max_steps:
        return f"{count_text(settings.max_steps, 'step', 'steps')}, however many epochs that takes"
    factors = [
        count_text(dataset.image_count, "image", "images"),
        count_text(settings.repeats, "repeat", "repeats"),
        count_text(settings.epochs, "epoch", "epochs"),
    ]
    steps = total_steps(dataset.image_count, settings)
    batch = f"batch size {settings.batch_size}"
    if settings.gradient_accumulation > 1:
        batch += f" / {settings.gradient_accumulation} batches per step"
    return f"{' × '.join(factors)} / {batch} = {count_text(steps, 'step', 'steps')}"


def estimate_text(preview: Preview) -> str:
    """``about 3m 20s (an estimate: …)``; says so when there is nothing to estimate from."""
    if preview.estimate_s is None:
        return "unknown: the pace of a former job with this configuration is not known"
    basis = preview.estimate_basis.rstrip(".")
    basis = f": {basis[0].lower()}{basis[1:]}" if basis else ""
    return f"about {duration_text(preview.estimate_s)} (an estimate{basis})"


def limit_warning(limit_s: float | None, estimate_s: float | None) -> str:
    """Says that the time limit (seconds) would end the job before its estimated end; empty when it would not."""
    if limit_s is None or estimate_s is None or limit_s >= estimate_s:
        return ""
    limit, estimate = duration_text(limit_s), duration_text(estimate_s)
    return (
        f"The time limit of {limit} is shorter than the estimated {estimate}: "
        "the training would be stopped before its end."
    )


def review_facts(
    request: JobRequest, dataset: Dataset, config: TrainingConfig | None, preview: Preview
) -> dict[str, str]:
    """Label -> what was chosen and what will come of it."""
    return {
        "Job name": request.name or "(empty)",
        "Dataset": f"{dataset.name} ({count_text(dataset.image_count, 'image', 'images')})",
        "Configuration": config.name if config else "none",
        "Steps": steps_text(dataset, services.source().in_effect(request.settings)),
        "Time": estimate_text(preview),
        "Time limit": "none" if request.time_limit_s is None else duration_text(request.time_limit_s),
    }


def changes_table(now: TrainingSettings, others: Mapping[str, TrainingSettings]) -> str:
    """A Markdown table of the settings in which the job differs from one of ``others``, by their headings; or empty."""
    differing = {each.name for other in others.values() for each in settings_differences(other, now)}
    if not differing:
        return ""
    columns = {"This job": now, **others}
    lines = [f"| Setting | {' | '.join(columns)} |", f"|---{'|---' * len(columns)}|"]
    for name, setting in SETTINGS.items():
        if name in differing:
            values = [value_text(getattr(each, name)) for each in columns.values()]
            mine, *theirs = (escaped(value, limit=MAX_VALUE_CHARS) for value in values)
            shown = [f"**{mine}**", *(f":gray[{each}]" if each == mine else each for each in theirs)]
            lines.append(f"| {escaped(setting.label)} | {' | '.join(shown)} |")
    return "\n".join(lines)


def show_review(request: JobRequest, dataset: Dataset, config: TrainingConfig | None, origin: Job | None) -> bool:
    """What differs and what stands against it beside what was chosen; all values and the command line are folded.

    Returns whether something stands against it.
    """
    preview, settings = services.source().preview(request), request.settings
    left, right = st.columns([3, 2], gap="large")
    with left:
        _show_changes(settings, config, origin)
        for problem in preview.problems:
            st.error(escaped(problem), icon=":material/error:")
        too_short = limit_warning(request.time_limit_s, preview.estimate_s)
        for warning in (*preview.warnings, *filter(None, [too_short])):
            st.warning(escaped(warning), icon=":material/warning:")
    with right:
        facts = review_facts(request, dataset, config, preview)
        st.markdown("\n".join(f"- **{label}:** {escaped(value, limit=400)}" for label, value in facts.items()))
        with st.expander("All settings", icon=":material/tune:"):
            rows = setting_rows(settings_payload(settings), config, trainer_options(settings.trainer))
            st.markdown(settings_table(rows))
        if preview.command:
            with st.expander("Command line", icon=":material/terminal:"):
                st.code(shlex.join(preview.command), language=None, wrap_lines=True)
    return bool(preview.problems)


def edit_notify(chosen: bool) -> None:
    """The switch of a source that sends notifications: whether this job sends them, too."""
    if not services.source().notifies:
        return
    follow_url(_NOTIFY_KEY, chosen)
    st.toggle(
        "Send a notification when it ends",
        key=_NOTIFY_KEY,
        help="And when it seems stuck or its loss is NaN, as the settings of this dashboard say.",
        on_change=_write_notify,
    )


def _write_notify() -> None:
    write_draft({NOTIFY: None if st.session_state[_NOTIFY_KEY] else "0"})


def _show_changes(settings: TrainingSettings, config: TrainingConfig | None, origin: Job | None) -> None:
    others = {"Configuration": config.settings} if config else {}
    if origin is not None and origin.settings:
        others["Job before"] = settings_from_payload(origin.settings)
    st.subheader("What is different", anchor=False)
    if table := changes_table(settings, others):
        st.markdown(table)
    elif config:
        st.markdown(f"Nothing: all values are those of the configuration **{escaped(config.name, limit=80)}**.")
    else:
        st.markdown("Nothing: all values are those of the job before.")


def show_start(request: JobRequest, *, blocked: bool) -> None:
    """The button that makes one job, however often it is clicked; then the job's page opens."""
    draft = st.query_params.get("draft", "")
    if made := _made().get(draft):
        _show_made(made)
        return
    error: DashboardError | None = st.session_state.pop(_FAILED, {}).get(draft)
    is_unsure = isinstance(error, SubmissionUnsure)
    if isinstance(error, InvalidRequest):
        error = labelled(error, _LABELS)
    with st.container():  # always there, so that the buttons below stay the same ones
        if error is not None:
            show_error(error, title=NOT_KNOWN if is_unsure else NOT_CREATED)
    sending = bool(draft) and st.session_state.get(_SENDING) == draft
    with bottom_bar():
        show_back(3)
        if is_unsure:
            _show_another()
        st.button(
            "Creating job…" if sending else "Start training",
            key="wizard-start",
            type="primary",
            disabled=sending or blocked,
            on_click=_begin,
            icon=":material/play_arrow:",
        )
    if sending:
        _create(replace(request, submission_id=draft))


def _begin() -> None:
    """Name the submission in the URL before anything is sent, so that a reload sends the same one again."""
    draft = submission_id()
    st.session_state[_SENDING] = draft
    write_draft({"draft": draft})


def _create(request: JobRequest) -> None:
    draft = request.submission_id
    job: Job | None = None
    with explained_errors(NOT_KNOWN):
        try:
            job = services.act(lambda source: source.create_job(request))
        except DashboardError as error:
            st.session_state[_FAILED] = {draft: error}
        finally:
            st.session_state.pop(_SENDING, None)
        if job is not None:
            _made()[draft] = job
            if job.created_at is None or datetime.now(UTC) - job.created_at < FRESH:
                follow_link(JOB.file, {"id": job.id})
                return
        st.rerun()


def _made() -> dict[str, Job]:
    """Submission -> the job it made in this session."""
    made: dict[str, Job] = st.session_state.setdefault(_MADE, {})
    return made


def _show_made(job: Job) -> None:
    """The draft was sent before: after Back, or from a kept link."""
    st.info(f"This was started already, {relative_time(job.created_at, datetime.now(UTC))}, and made one job.")
    with st.container(horizontal=True, vertical_alignment="center"):
        name = escaped(job.name, limit=80)
        st.page_link(JOB.file, label=f"Open {name}", icon=":material/open_in_new:", query_params={"id": job.id})
        _show_another()


def _show_another() -> None:
    """Drops the draft, so that the next "Start training" is a new submission."""
    st.button("Start another one like it", on_click=write_draft, args=({},))
