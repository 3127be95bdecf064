"""Step 2 of the wizard: configuration, job name, and values changed for this one job."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from lib import services
from lib.jobs.dataset import Dataset
from lib.jobs.job import Job
from lib.jobs.more_data import more_data_json
from lib.jobs.setting_kinds import Setting, value_text
from lib.jobs.training_settings import (
    ENTERED,
    SETTINGS,
    Parameter,
    TrainingConfig,
    TrainingSettings,
    set_names,
    settings_differences,
)
from lib.jobs.words import count_text
from lib.ui.parts.format import duration_text
from lib.ui.parts.links import CONFIGS
from lib.ui.parts.notes import show_note
from lib.ui.parts.settings_form import config_obstacles, show_field, show_field_note, show_folded, show_in_rows
from lib.ui.parts.text import escaped, plain
from lib.ui.parts.url import follow_url
from lib.ui.wizard.chosen import Chosen
from lib.ui.wizard.draft import (
    CHANGEABLE,
    LIMIT,
    MORE,
    NO_NAME,
    TIME_LIMIT,
    Draft,
    name_problem,
    time_limit_problem,
    write_draft,
)
from lib.ui.wizard.navigation import Entered, show_navigation, show_steps, write_entered
from lib.ui.wizard.sweep_fields import SEVERAL, edit_sweep, swept_parameters, typed_problem

_CONFIG_KEY, _NAME_KEY, _LIMIT_KEY = "wizard-config", "wizard-name", "wizard-time-limit"
_NAME = "Job name"
_REFUSED = "wizard-refused"
_NAMED_DIFFERENCES = 3


def show_settings_step(chosen: Chosen, dataset: Dataset, steps: DeltaGenerator, bar: DeltaGenerator) -> None:
    """The whole step; ``steps`` and ``bar`` are the places of its navigation."""
    config_id = chosen.config.id if chosen.config else ""
    entered = partial(entered_values, config_id, chosen.before)
    show_settings(chosen, dataset, entered)
    kept = {"configId": config_id}
    with steps:
        show_steps(2, chosen=kept, entered=entered, ready=is_complete)
    with bar:
        # A place of its own: what appears there for the first time must not replace the buttons below it.
        with st.container(gap="xsmall"):
            was_refused = show_refusal()
            show_changes(chosen.config, chosen.settings, chosen.draft)
        is_said = (chosen.draft.step > 2 or not chosen.has_settings) and not was_refused
        show_navigation(
            2,
            chosen=kept,
            entered=entered,
            problem=chosen.settings_problem if is_said else "",
            is_blocked=not chosen.has_settings,
            ready=is_complete,
        )


def show_settings(chosen: Chosen, dataset: Dataset, entered: Entered) -> None:
    """All fields: suspect values first, then what to train with and the name beside the numbers."""
    draft, now = chosen.draft, chosen.settings
    fields = _Fields(now, chosen.config, entered)
    if marks := [name for name in draft.marks if name not in draft.swept]:
        _show_suspects(fields, marks, chosen.origin)
    left, right = st.columns([2, 3], gap="large")
    with left:
        others = f", and {count_text(len(draft.more_data), 'other', 'others')}" if draft.more_data else ""
        show_note(f"Dataset: {dataset.name} ({count_text(dataset.image_count, 'image', 'images')}){others}")
        pick_config(chosen.configs, chosen.config, draft)
        show_obstacles(chosen.config, now, dataset, draft)
        edit_name(draft, entered)
        edit_time_limit(chosen.limit_min, entered)
        edit_sweep(now.trainer, draft.swept, entered)
    with right:
        elsewhere = {*draft.marks, *draft.swept}
        show_in_rows([each for each in ENTERED if not each.group and each.name not in elsewhere], fields.show)
        said = {name: value_text(getattr(now, name)) for name in set_names(now) if name not in draft.swept}
        show_folded(now.trainer, said, fields.show, without=elsewhere, key="wizard")


def _show_suspects(fields: "_Fields", marks: Sequence[str], origin: Job | None) -> None:
    """The settings that may be what the former job failed of, with what is known about its failure."""
    with st.container(border=True, key="suspects"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.badge("Suspected cause", icon=":material/warning:", color="orange")
            if origin is not None and origin.failure is not None:
                st.markdown(escaped(f"{origin.failure.message} {origin.failure.hint}".strip(), limit=400))
        show_in_rows([each for each in ENTERED if each.name in marks], fields.show)


def pick_config(configs: Sequence[TrainingConfig], config: TrainingConfig | None, draft: Draft) -> None:
    """The select box "Configuration"; another choice starts from that configuration's values."""
    by_id = {each.id: each for each in configs}
    if not configs:
        st.info("There are no configurations yet.")
        st.page_link(CONFIGS.file, label="Configurations", icon=":material/tune:")
        return
    follow_url(_CONFIG_KEY, config.id if config else None)
    st.selectbox(
        "Configuration",
        list(by_id),
        key=_CONFIG_KEY,
        format_func=lambda each: _config_label(by_id[each]),
        placeholder="Choose a configuration",
        on_change=_choose_config,
        args=(draft,),
    )
    if config is None and draft.config_id:
        gone = f"The configuration {escaped(draft.config_id, limit=80)} is not there any more."
        st.warning(gone + (" The values are the job's own." if draft.from_job else " Choose another one."))
    elif config is not None and config.description:
        st.caption(escaped(config.description, limit=300))


def show_obstacles(config: TrainingConfig | None, now: TrainingSettings, dataset: Dataset, draft: Draft) -> None:
    """Why the configuration cannot be trained with here, shown before its values.

    A problem that a value typed below solves keeps its box, so that nothing moves while "Next" is being clicked.
    """
    if config is None:
        return
    left = config_obstacles(now, dataset, draft.more_data)
    for problem in config_obstacles(config.settings, dataset, draft.more_data):
        if problem in left:
            st.warning(escaped(problem), icon=":material/warning:")
        else:
            st.success(f"Settled below: {escaped(problem)}", icon=":material/check:")


def _config_label(config: TrainingConfig) -> str:
    return plain(config.name, limit=100) + (" (default)" if config.is_default else "")


def _choose_config(draft: Draft) -> None:
    """Take the new configuration's values. What came from a job goes into the URL, because the job is dropped."""
    dataset = st.query_params.get("datasetId", draft.dataset_id) or None
    more = more_data_json([replace(each, name="") for each in draft.more_data]) or None
    write_draft({"datasetId": dataset, MORE: more, **_without_changes(), "configId": _state(_CONFIG_KEY)})


def edit_name(draft: Draft, entered: Entered) -> None:
    """The text field "Job name"; a missing name is reported once "Next" was clicked."""
    follow_url(_NAME_KEY, draft.name)
    name = st.text_input(
        _NAME,
        key=_NAME_KEY,
        placeholder="e.g. red sneakers, first try",
        on_change=write_entered,
        args=(entered,),
    )
    is_missed = _NAME in st.session_state.get(_REFUSED, {})
    show_field_note("", problem=name_problem(name) if name.strip() else NO_NAME if is_missed else "")


def is_complete() -> bool:
    """Whether the step is complete; if not, the next run says why, beside the fields and the buttons.

    Asked when "Next" is clicked: a button disabled meanwhile would swallow the click that ends the typing.
    """
    st.session_state[_REFUSED] = problems = _problems()
    return not problems


def show_refusal() -> bool:
    """Say once, above the buttons, why "Next" did not go on: its field may be out of sight. Returns whether it did."""
    problems = st.session_state.pop(_REFUSED, None)
    if problems:
        lines = (f"- {escaped(label)}: {escaped(problem)}" for label, problem in problems.items())
        st.error("\n".join(("Not yet:", *lines)), icon=":material/error:")
    return bool(problems)


def _problems() -> dict[str, str]:
    """Label -> what is wrong with what the field says now."""
    name = str(st.session_state.get(_NAME_KEY) or "")
    found = {_NAME: name_problem(name)}
    for setting in ENTERED:
        if _key(setting.name) in st.session_state:
            found[setting.label] = setting.field_note(st.session_state[_key(setting.name)])
    found[SEVERAL] = typed_problem()
    found[LIMIT] = time_limit_problem(st.session_state.get(_LIMIT_KEY))
    return {label: problem for label, problem in found.items() if problem}


def edit_time_limit(minutes: int | None, entered: Entered) -> None:
    """The optional field "Time limit"; empty means no limit."""
    follow_url(_LIMIT_KEY, minutes)
    st.number_input(
        LIMIT,
        value=None,
        step=1,
        key=_LIMIT_KEY,
        placeholder="none",
        help="The job is stopped after this time. Empty: no limit.",
        on_change=write_entered,
        args=(entered,),
    )
    problem = time_limit_problem(minutes)
    show_field_note(time_limit_text(minutes), problem=problem)


def time_limit_text(minutes: int | None) -> str:
    """``The job is stopped after 1h 30m 0s.``; empty without a limit."""
    return "" if minutes is None else f"The job is stopped after {duration_text(60 * minutes)}."


class _Fields:
    """Draws a field per value, with a line below it that names a difference from the configuration."""

    def __init__(self, now: TrainingSettings, config: TrainingConfig | None, entered: Entered) -> None:
        self._now, self._entered = now, entered
        self._parameters = services.source().parameters(now.trainer)
        differences = settings_differences(config.settings, now) if config else ()
        self._said = {each.name: plain(value_text(each.before), limit=120) for each in differences}

    def show(self, setting: Setting) -> None:
        key = _key(setting.name)
        follow_url(key, setting.field_value(getattr(self._now, setting.name)))
        show_field(
            setting,
            key=key,
            parameter=self._parameters.get(setting.name, Parameter()),
            changed=self._said.get(setting.name, ""),
            is_dense=True,
            on_change=write_entered,
            args=(self._entered,),
        )


def entered_values(config_id: str, before: TrainingSettings) -> dict[str, str | None]:
    """What all fields of the step say now, as parameters of the URL.

    A change and a click right after it are two runs, and the second begins with the URL that the browser had before the
    first. So every change and every button sends what all fields say, not only what the URL says. The step too: a
    link may have asked for a later one that could not be shown, and a corrected field would jump there.

    Args:
        config_id: The configuration that was shown when the field or button was drawn.
        before: The values that count as unchanged.
    """
    chosen: str | None = st.session_state.get(_CONFIG_KEY)
    if chosen and chosen != config_id:
        return {**_without_changes(), "configId": chosen}
    # When the wizard starts from a job, an empty field goes into the URL too; otherwise the job's value would be used.
    empty = "" if "from" in st.query_params else None
    entered = {"step": "2", **{name: value or empty for name, value in _name_and_limit().items()}}
    fields = [name for name in CHANGEABLE if _key(name) in st.session_state]
    said = {name: _parameter(name, getattr(before, name)) for name in fields}
    starts = {**st.query_params.to_dict(), **{name: text for name, text in said.items() if text is not None}}
    return {**entered, **said, **swept_parameters(starts, before)}


def _name_and_limit() -> dict[str, str | None]:
    """Name and time limit as they are typed now; None where the field is empty."""
    limit = st.session_state.get(_LIMIT_KEY)
    return {"name": st.session_state.get(_NAME_KEY) or None, TIME_LIMIT: None if limit is None else str(limit)}


def _without_changes() -> dict[str, str | None]:
    """Keeps name and time limit; drops the job and every changed value."""
    return {"step": "2", **_name_and_limit(), **dict.fromkeys((*CHANGEABLE, "from", "mark"))}


def _parameter(name: str, before: object) -> str | None:
    """A field's value as a parameter of the URL; None when it is as before."""
    setting = SETTINGS[name]
    value = setting.from_field(st.session_state[_key(name)])
    is_empty = value is None and bool(setting.problem(None))
    return None if is_empty or value == before else setting.text(value)


def _key(name: str) -> str:
    return f"wizard-{name}"


def _state(key: str) -> str:
    return st.session_state[key]  # type: ignore[no-any-return]


def show_changes(config: TrainingConfig | None, now: TrainingSettings, draft: Draft) -> None:
    """How many values differ from the configuration, and the way back to it."""
    differences = settings_differences(config.settings, now) if config else ()
    if not differences:
        return
    count = count_text(len(differences), "value differs", "values differ")
    labels = ", ".join(escaped(each.label) for each in differences[:_NAMED_DIFFERENCES])
    more = len(differences) - _NAMED_DIFFERENCES
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        labels += f" and {more} more" if more > 0 else ""
        st.markdown(f":small[:orange[{count} from the configuration: {labels}]]", width="content")
        st.button(
            "Reset to the configuration",
            icon=":material/undo:",
            type="tertiary",
            on_click=_choose_config,
            args=(draft,),
        )
