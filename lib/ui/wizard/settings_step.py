"""Step 2 of the wizard: configuration, job name, and values changed for this one job."""

from collections.abc import Callable, Mapping, Sequence

import streamlit as st

from lib.jobs.dataset import Dataset
from lib.jobs.setting_kinds import Setting, value_text
from lib.jobs.training_settings import (
    MAX_JOB_NAME_LENGTH,
    NUMBERS,
    SETTINGS,
    TEXTS,
    TrainingConfig,
    TrainingSettings,
    job_name_problem,
    settings_differences,
)
from lib.jobs.words import count_text
from lib.ui.parts.format import duration_text
from lib.ui.parts.links import CONFIGS
from lib.ui.parts.settings_form import (
    config_obstacles,
    field_note,
    field_value,
    number_cells,
    show_field,
    show_field_note,
)
from lib.ui.parts.text import escaped, plain
from lib.ui.parts.url import follow_url
from lib.ui.wizard.draft import CHANGEABLE, TIME_LIMIT, Draft, time_limit_problem, write_draft

_CONFIG_KEY, _NAME_KEY, _LIMIT_KEY = "wizard-config", "wizard-name", "wizard-time-limit"
_NAME, _LIMIT, _NO_NAME = "Job name", "Time limit (minutes)", "Give the job a name first."
_REFUSED = "wizard-refused"


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
        args=(draft.dataset_id,),
    )
    if config is None and draft.config_id:
        gone = f"The configuration {escaped(draft.config_id, limit=80)} is not there any more."
        st.warning(gone + (" The values are the job's own." if draft.from_job else " Choose another one."))
    elif config is not None and config.description:
        st.caption(escaped(config.description, limit=300))


def show_obstacles(config: TrainingConfig | None, now: TrainingSettings, dataset: Dataset) -> None:
    """Why the configuration cannot be trained with here, shown before its values.

    A problem that a value typed below solves keeps its box, so that nothing moves while "Next" is being clicked.
    """
    if config is None:
        return
    left = config_obstacles(now, dataset)
    for problem in config_obstacles(config.settings, dataset):
        if problem in left:
            st.warning(escaped(problem), icon=":material/warning:")
        else:
            st.success(f"Settled below: {escaped(problem)}", icon=":material/check:")


def _config_label(config: TrainingConfig) -> str:
    return plain(config.name, limit=100) + (" (default)" if config.is_default else "")


def _choose_config(dataset_id: str) -> None:
    """Take the new configuration's values. What came from a job goes into the URL, because the job is dropped."""
    dataset = st.query_params.get("datasetId", dataset_id) or None
    write_draft({"datasetId": dataset, **_without_changes(), "configId": _state(_CONFIG_KEY)})


Entered = Callable[[], Mapping[str, str | None]]


def edit_name(draft: Draft, entered: Entered) -> None:
    """The text field "Job name"; a missing name is reported once "Next" was clicked."""
    follow_url(_NAME_KEY, draft.name)
    name = st.text_input(
        _NAME, key=_NAME_KEY, placeholder="e.g. red sneakers, first try", on_change=_push, args=(entered,)
    )
    is_missed = _NAME in st.session_state.get(_REFUSED, {})
    problem = job_name_problem(name) if name.strip() else _NO_NAME if is_missed else ""
    show_field_note(f"At most {MAX_JOB_NAME_LENGTH} characters", problem=problem)


def is_complete() -> bool:
    """Whether the step is complete; if not, the next run says why, beside the fields and the buttons.

    Asked when "Next" is clicked: a button disabled meanwhile would swallow the click that ends the typing.
    """
    st.session_state[_REFUSED] = problems = _problems()
    return not problems


def show_refusal() -> None:
    """Say once why "Next" did not go on: on a phone the fields are far above the button."""
    if problems := st.session_state.pop(_REFUSED, None):
        lines = (f"- {escaped(label)}: {escaped(problem)}" for label, problem in problems.items())
        st.error("\n".join(("Not yet:", *lines)), icon=":material/error:")


def _problems() -> dict[str, str]:
    """Label -> what is wrong with what the field says now."""
    name = str(st.session_state.get(_NAME_KEY) or "")
    found = {_NAME: job_name_problem(name) if name.strip() else _NO_NAME}
    for setting in (*NUMBERS, *TEXTS):
        found[setting.label] = field_note(setting, st.session_state.get(_key(setting.name)))
    found[_LIMIT] = time_limit_problem(st.session_state.get(_LIMIT_KEY))
    return {label: problem for label, problem in found.items() if problem}


def edit_time_limit(minutes: int | None, entered: Entered) -> None:
    """The optional field "Time limit"; empty means no limit."""
    follow_url(_LIMIT_KEY, minutes)
    st.number_input(
        _LIMIT,
        value=None,
        step=1,
        key=_LIMIT_KEY,
        placeholder="none",
        on_change=_push,
        args=(entered,),
    )
    problem = time_limit_problem(minutes)
    show_field_note(time_limit_text(minutes), problem=problem)


def time_limit_text(minutes: int | None) -> str:
    """``The job is stopped after 1h 30m 0s.``"""
    return "Empty: no limit." if minutes is None else f"The job is stopped after {duration_text(60 * minutes)}."


def edit_values(now: TrainingSettings, config: TrainingConfig | None, entered: Entered) -> None:
    """A field per value, with a line below it that names a difference from the configuration."""
    differences = settings_differences(config.settings, now) if config else ()
    said = {each.name: plain(value_text(each.before), limit=120) for each in differences}

    def show(setting: Setting) -> None:
        key = _key(setting.name)
        follow_url(key, field_value(setting, getattr(now, setting.name)))
        show_field(setting, key=key, changed=said.get(setting.name, ""), on_change=_push, args=(entered,))

    for number, cell in number_cells():
        with cell:
            show(number)
    for text in TEXTS:
        show(text)


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
    fields = (name for name in CHANGEABLE if _key(name) in st.session_state)
    return {**entered, **{name: _parameter(name, getattr(before, name)) for name in fields}}


def _name_and_limit() -> dict[str, str | None]:
    """Name and time limit as they are typed now; None where the field is empty."""
    limit = st.session_state.get(_LIMIT_KEY)
    return {"name": st.session_state.get(_NAME_KEY) or None, TIME_LIMIT: None if limit is None else str(limit)}


def _without_changes() -> dict[str, str | None]:
    """Keeps name and time limit; drops the job and every changed value."""
    return {"step": "2", **_name_and_limit(), **dict.fromkeys((*CHANGEABLE, "from"))}


def _push(entered: Entered) -> None:
    """Write every field, not only the one that changed: two quick changes are sent with the same old URL."""
    write_draft(entered())


def _parameter(name: str, before: object) -> str | None:
    """A field's value as a parameter of the URL; None when it is as before."""
    setting, value = SETTINGS[name], st.session_state[_key(name)]
    if isinstance(value, str):
        value = setting.parse(value)
    return None if value is None or value == before else setting.text(value)


def _key(name: str) -> str:
    return f"wizard-{name}"


def _state(key: str) -> str:
    return st.session_state[key]  # type: ignore[no-any-return]


def show_changes(config: TrainingConfig | None, now: TrainingSettings, draft: Draft) -> None:
    """All differences from the configuration in one place, and the way back to it."""
    differences = settings_differences(config.settings, now) if config else ()
    if not differences:
        return
    count = count_text(len(differences), "value differs", "values differ")
    labels = ", ".join(escaped(each.label) for each in differences)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f":orange[{count} from the configuration: {labels}]")
        st.button("Reset to the configuration", on_click=_choose_config, args=(draft.dataset_id,))
