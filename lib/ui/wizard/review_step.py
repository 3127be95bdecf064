"""Step 3 of the wizard: what will run, the problems with it, and starting it."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from lib import services
from lib.errors import DashboardError, InvalidRequest, SubmissionUnsure
from lib.jobs.dataset import Dataset
from lib.jobs.job import Job
from lib.jobs.job_request import JobRequest
from lib.jobs.setting_kinds import value_text
from lib.jobs.sweep import NO_SWEEP, SweepValues, job_count, sweep_requests, values_text
from lib.jobs.training_settings import (
    SETTINGS,
    TrainingConfig,
    TrainingSettings,
    settings_differences,
    settings_from_payload,
    settings_payload,
    total_steps,
)
from lib.jobs.words import count_text, size_text, within_sentence
from lib.sources.protocol import Preview
from lib.ui.parts.cluster import CLUSTER, PLACES, room_text
from lib.ui.parts.errors import explained_errors, show_error
from lib.ui.parts.format import duration_text, relative_time
from lib.ui.parts.links import JOB, JOBS, follow_link
from lib.ui.parts.settings_form import labelled, trainer_options
from lib.ui.parts.settings_table import MAX_VALUE_CHARS, setting_rows, settings_table
from lib.ui.parts.text import escaped
from lib.ui.parts.trainer_check import show_trainer_check
from lib.ui.parts.url import follow_url
from lib.ui.wizard.chosen import Chosen
from lib.ui.wizard.draft import NOTIFY, DraftData, submission_id, write_draft
from lib.ui.wizard.navigation import bottom_bar, is_retry, show_back, show_steps

# A job that is older than this was not made by the click that just happened.
FRESH = timedelta(seconds=60)
NOT_CREATED, NOT_KNOWN = "The job was not created", "It is not known whether the job was created"
# Twenty further datasets with the names and words that most have.
MAX_FACT_CHARS = 2_000
_NOTIFY_KEY = "wizard-notify"
_SENDING, _MADE, _FAILED = "wizard-sending", "wizard-made", "wizard-failed"
_LABELS = {
    "name": "Job name",
    "dataset_id": "Dataset",
    "more_data": "Further datasets",
    "config_id": "Configuration",
    "time_limit_s": "Time limit",
    **{name: each.label for name, each in SETTINGS.items()},
}


def show_review_step(
    chosen: Chosen, dataset: Dataset, steps: DeltaGenerator, bar: DeltaGenerator, *, is_locked: bool
) -> None:
    """The whole step; ``steps`` and ``bar`` are the places of its navigation. ``is_locked``: nothing may be started."""
    draft, origin = chosen.draft, chosen.origin
    with steps:
        show_steps(3, chosen={})
    request = JobRequest(
        name=draft.name.strip(),
        dataset_id=dataset.id,
        config_id=chosen.config.id if chosen.config else None,
        settings=chosen.settings,
        submission_id="preview",
        time_limit_s=None if chosen.limit_min is None else 60 * chosen.limit_min,
        retry_of=origin.id if origin and is_retry(origin) else None,
        notify=draft.notify,
        more_data=draft.more_data,
    )
    data = DraftData(main=dataset, more=tuple((each, chosen.datasets[each.dataset_id]) for each in draft.more_data))
    has_problems = show_review(request, chosen.swept, data, chosen.config, origin)
    edit_notify(draft.notify)
    with bar:
        show_start(request, chosen.swept, blocked=has_problems or is_locked)


def steps_text(data: DraftData, settings: TrainingSettings, counted: int | None = None) -> str:
    """``16 images × 2 repeats × 10 epochs / batch size 4 = 80 steps``; ``counted`` is what the trainer would count."""
    dataset = data.main
    if any(each.image_count is None for each in (dataset, *(each for _, each in data.more))):
        return "unknown: the source does not say how many images the dataset has"
    assert dataset.image_count is not None
    if settings.max_steps:
        return f"{count_text(settings.max_steps, 'step', 'steps')}, however many epochs that takes"
    learned = [
        count_text(dataset.image_count, "image", "images"),
        count_text(settings.repeats, "repeat", "repeats"),
    ]
    if data.more:
        learned = [f"{dataset.image_count * settings.repeats + data.more_images:,} images with repeats"]
    factors = [*learned, count_text(settings.epochs, "epoch", "epochs")]
    plain = total_steps(dataset.image_count, settings, more=data.more_images)
    steps = plain if counted is None else counted
    batch = f"batch size {settings.batch_size}"
    if data.regularises:
        batch += ", with regularisation images,"
    elif steps > plain:
        batch += " within each aspect ratio"
    if settings.gradient_accumulation > 1:
        batch += f" / {settings.gradient_accumulation} batches per step"
    if settings.gpus > 1 and counted is not None:
        batch += f" / {settings.gpus} cards"
    return f"{' × '.join(factors)} / {batch} = {count_text(steps, 'step', 'steps')}"


def estimate_text(preview: Preview) -> str:
    """``about 3m 20s (an estimate: …)``; says so when there is nothing to estimate from."""
    if preview.estimate_s is None:
        return "unknown: the pace of a former job with this configuration is not known"
    basis = within_sentence(preview.estimate_basis.rstrip("."))
    basis = f": {basis}" if basis else ""
    return f"about {duration_text(preview.estimate_s)} (an estimate{basis})"


def merged_preview(requests: Sequence[JobRequest], previews: Sequence[Preview]) -> Preview:
    """The previews of all jobs of a sweep as one, with the first one's command; what stands against one names it."""
    if len(previews) == 1:
        return previews[0]
    said: dict[str, list[str]] = {}
    for request, preview in zip(requests, previews, strict=True):
        for problem in preview.problems:
            said.setdefault(problem, []).append(request.name)
    estimates = [each.estimate_s for each in previews if each.estimate_s is not None]
    return replace(
        previews[0],
        problems=tuple(
            problem if len(names) == len(requests) else f"{_named(names)}: {problem}" for problem, names in said.items()
        ),
        warnings=(
            *dict.fromkeys(warning for each in previews for warning in each.warnings),
            *filter(None, [sweep_disk_warning(previews)]),
        ),
        estimate_s=sum(estimates) if len(estimates) == len(previews) else None,
        estimate_basis="All jobs one after the other, at the pace of former jobs with this configuration.",
    )


def sweep_disk_warning(previews: Sequence[Preview]) -> str:
    """Says that the disk holds each of the jobs, but not all; empty when it does, or that is not known."""
    writes = [each.writes_bytes for each in previews if each.writes_bytes is not None]
    free = min((each.free_bytes for each in previews if each.free_bytes is not None), default=None)
    if free is None or not max(writes, default=0) <= free < sum(writes):
        return ""
    return (
        f"The {len(previews)} jobs together write about {size_text(sum(writes))}, but only {size_text(free)} are free: "
        "later ones fail with a full disk unless space is freed meanwhile."
    )


def _named(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def sweep_steps_text(requests: Sequence[JobRequest], previews: Sequence[Preview], data: DraftData) -> str:
    """The steps of each job, or from the least to the most."""
    effective = [services.source().in_effect(each.settings) for each in requests]
    counted = [preview.steps for preview in previews]
    texts = {steps_text(data, *each) for each in zip(effective, counted, strict=True)}
    if data.main.image_count is None or len(texts) == 1:
        return min(texts)
    plain = [total_steps(data.main.image_count, each, more=data.more_images) for each in effective]
    counts = sorted(known or steps for known, steps in zip(counted, plain, strict=True))
    return f"{counts[0]:,} to {count_text(counts[-1], 'step', 'steps')} per job"


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
    request: JobRequest, data: DraftData, config: TrainingConfig | None, preview: Preview
) -> dict[str, str]:
    """Label -> what was chosen and what will come of it."""
    dataset = data.main
    return {
        "Job name": request.name or "(empty)",
        "Dataset": f"{dataset.name} ({count_text(dataset.image_count, 'image', 'images')})",
        **({"Further datasets": "; ".join(data.texts)} if data.more else {}),
        "Configuration": config.name if config else "none",
        **({"Base model": f"{preview.base_model}, by its header"} if preview.base_model else {}),
        "Steps": steps_text(data, services.source().in_effect(request.settings), preview.steps),
        "Time": estimate_text(preview),
        "Time limit": "none" if request.time_limit_s is None else duration_text(request.time_limit_s),
    }


def changes_table(now: TrainingSettings, others: Mapping[str, TrainingSettings], swept: SweepValues = NO_SWEEP) -> str:
    """A Markdown table of the settings in which the job differs from one of ``others``, by their headings; or empty.

    What is ``swept`` differs, and is shown with all its values.
    """
    differing = {each.name for other in others.values() for each in settings_differences(other, now)} | swept.keys()
    if not differing:
        return ""
    columns = {"These jobs" if swept else "This job": now, **others}
    lines = [f"| Setting | {' | '.join(columns)} |", f"|---{'|---' * len(columns)}|"]
    for name, setting in SETTINGS.items():
        if name in differing:
            values = [value_text(getattr(each, name)) for each in columns.values()]
            if name in swept:
                values[0] = values_text(swept[name])
            mine, *theirs = (escaped(value, limit=MAX_VALUE_CHARS) for value in values)
            shown = [f"**{mine}**", *(f":gray[{each}]" if each == mine else each for each in theirs)]
            lines.append(f"| {escaped(setting.label)} | {' | '.join(shown)} |")
    return "\n".join(lines)


def show_review(
    request: JobRequest, values: SweepValues, data: DraftData, config: TrainingConfig | None, origin: Job | None
) -> bool:
    """What differs and what stands against it beside what was chosen; all values and the command line are folded.

    Returns whether something stands against it.
    """
    settings = request.settings
    requests = sweep_requests(request, values) if values else (request,)
    previews = [services.source().preview(each) for each in requests]
    preview = merged_preview(requests, previews)
    left, right = st.columns([3, 2], gap="large")
    with left:
        _show_changes(settings, values, config, origin)
        for problem in preview.problems:
            st.error(escaped(problem), icon=":material/error:")
        longest_s = max((each.estimate_s for each in previews if each.estimate_s is not None), default=None)
        too_short = limit_warning(request.time_limit_s, longest_s)
        for warning in (*preview.warnings, *filter(None, [too_short])):
            st.warning(escaped(warning), icon=":material/warning:")
    with right:
        facts = review_facts(request, data, config, preview)
        if values:
            facts |= {
                "Jobs": f"{len(requests)}, one for each combination",
                "Steps": sweep_steps_text(requests, previews, data),
            }
        if CLUSTER in services.source().executors:
            where = settings.where or services.source().executors[0]
            facts["Where"] = PLACES.get(where, where)
            if where == CLUSTER:
                facts["Free there now"] = room_text(settings)
        st.markdown(
            "\n".join(f"- **{label}:** {escaped(value, limit=MAX_FACT_CHARS)}" for label, value in facts.items())
        )
        if values:
            with st.expander(f"The {len(requests)} jobs", icon=":material/list:"):
                st.markdown("\n".join(f"1. {escaped(each.name, limit=300)}" for each in requests))
        with st.expander("All settings of the first job" if values else "All settings", icon=":material/tune:"):
            rows = setting_rows(settings_payload(requests[0].settings), config, trainer_options(settings.trainer))
            st.markdown(settings_table(rows))
        if preview.command:
            what = count_text(1 + len(preview.before), "command line", "command lines, one after the other")
            label = f"{what.removeprefix('1 ').capitalize()}{' (of the first job)' if values else ''}"
            with st.expander(label, icon=":material/terminal:"):
                for command in (*preview.before, preview.command):
                    st.code(shlex.join(command), language=None, wrap_lines=True)
        show_trainer_check(requests[0].settings)
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


def _show_changes(
    settings: TrainingSettings, swept: SweepValues, config: TrainingConfig | None, origin: Job | None
) -> None:
    others = {"Configuration": config.settings} if config else {}
    if origin is not None and origin.settings:
        others["Job before"] = settings_from_payload(origin.settings)
    st.subheader("What is different", anchor=False)
    if table := changes_table(settings, others, swept):
        st.markdown(table)
    elif config:
        st.markdown(f"Nothing: all values are those of the configuration **{escaped(config.name, limit=80)}**.")
    else:
        st.markdown("Nothing: all values are those of the job before.")


def show_start(request: JobRequest, values: SweepValues, *, blocked: bool) -> None:
    """The button that makes one job, or those of a sweep, however often it is clicked; then its page or list opens."""
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
            "Creating…" if sending else f"Start {job_count(values)} trainings" if values else "Start training",
            key="wizard-start",
            type="primary",
            disabled=sending or blocked,
            on_click=_begin,
            icon=":material/play_arrow:",
        )
    if sending:
        _create(replace(request, submission_id=draft), values)


def _begin() -> None:
    """Name the submission in the URL before anything is sent, so that a reload sends the same one again."""
    draft = submission_id()
    st.session_state[_SENDING] = draft
    write_draft({"draft": draft})


def _create(request: JobRequest, values: SweepValues) -> None:
    draft = request.submission_id
    jobs: Sequence[Job] = ()
    with explained_errors(NOT_KNOWN):
        try:
            jobs = services.act(
                lambda source: source.create_sweep(request, values) if values else [source.create_job(request)]
            )
        except DashboardError as error:
            st.session_state[_FAILED] = {draft: error}
        finally:
            st.session_state.pop(_SENDING, None)
        if jobs:
            _made()[draft] = jobs
            if jobs[0].created_at is None or datetime.now(UTC) - jobs[0].created_at < FRESH:
                follow_link(*_place_of(jobs))
                return
        st.rerun()


def _place_of(jobs: Sequence[Job]) -> tuple[str, dict[str, str]]:
    """Where to look at them: the page of a job, the list of a sweep."""
    first = jobs[0]
    return (JOBS.file, {"sweep": first.sweep.id}) if first.sweep else (JOB.file, {"id": first.id})


def _made() -> dict[str, Sequence[Job]]:
    """Submission -> the jobs it made in this session."""
    made: dict[str, Sequence[Job]] = st.session_state.setdefault(_MADE, {})
    return made


def _show_made(jobs: Sequence[Job]) -> None:
    """The draft was sent before: after Back, or from a kept link."""
    first, many = jobs[0], count_text(len(jobs), "job", "jobs") if len(jobs) > 1 else "one job"
    st.info(f"This was started already, {relative_time(first.created_at, datetime.now(UTC))}, and made {many}.")
    with st.container(horizontal=True, vertical_alignment="center"):
        name = escaped(first.sweep.name if first.sweep else first.name, limit=80)
        page, params = _place_of(jobs)
        st.page_link(page, label=f"Open {name}", icon=":material/open_in_new:", query_params=params)
        _show_another()


def _show_another() -> None:
    """Drops the draft, so that the next "Start training" is a new submission."""
    st.button("Start another one like it", on_click=write_draft, args=({},))
