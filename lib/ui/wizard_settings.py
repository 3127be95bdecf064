"""Step 2 of the wizard: configuration, job name, and values changed for this one job."""

from collections.abc import Callable, Mapping, Sequence

import streamlit as st

from lib.jobs.config import TrainingConfig, TrainingSettings, settings_differences
from lib.ui.settings_form import (
    BASE_MODEL_HINT,
    BASE_MODEL_LABEL,
    MAX_PROMPTS_LENGTH,
    PROMPTS_LABEL,
    field_cells,
    prompt_lines,
    show_number_field,
    value_text,
)
from lib.ui.text import escaped, plain
from lib.ui.times import duration_text
from lib.ui.url_state import follow_url
from lib.ui.wizard import (
    CHANGEABLE,
    MAX_MODEL_LENGTH,
    MAX_NAME_LENGTH,
    MAX_TIME_LIMIT_MIN,
    TIME_LIMIT,
    Draft,
    change_text,
    write_draft,
)

_CONFIG_KEY, _NAME_KEY, _LIMIT_KEY = "wizard-config", "wizard-name", "wizard-time-limit"
_NAME_MISSED = "wizard-name-missed"


def pick_config(configs: Sequence[TrainingConfig], config: TrainingConfig | None, draft: Draft) -> None:
    """The select box "Configuration"; another choice starts from that configuration's values."""
    by_id = {each.id: each for each in configs}
    if not configs:
        st.info("There are no configurations yet.")
        st.page_link("../pages/configs.py", label="Configurations", icon=":material/tune:")
        return
    follow_url(_CONFIG_KEY, config.id if config else None)
    st.selectbox(
        "Configuration",
        list(by_id),
        key=_CONFIG_KEY,
        format_func=lambda each: _config_label(by_id[each]),
        placeholder="Choose a configuration",
        on_change=_choose_config,
        args=(draft.dataset_id, draft.name),
    )
    if config is None and draft.config_id:
        gone = f"The configuration {escaped(draft.config_id, limit=80)} is not there any more."
        st.warning(gone + (" The values are the job's own." if draft.from_job else " Choose another one."))
    elif config is not None and config.description:
        st.caption(escaped(config.description, limit=300))


def _config_label(config: TrainingConfig) -> str:
    return plain(config.name, limit=100) + (" (default)" if config.is_default else "")


def _choose_config(dataset_id: str, name: str) -> None:
    """Take the new configuration's values; what came from a job is written out, as the job is let go."""
    kept = {"datasetId": st.query_params.get("datasetId", dataset_id), "name": st.query_params.get("name", name)}
    dropped = dict.fromkeys((*CHANGEABLE, "from"))
    write_draft({**dropped, **{key: value or None for key, value in kept.items()}, "configId": _state(_CONFIG_KEY)})


Entered = Callable[[], Mapping[str, str | None]]


def edit_name(draft: Draft, entered: Entered) -> None:
    """The text field "Job name"; that it was left empty is said once "Next" was tried."""
    follow_url(_NAME_KEY, draft.name)
    st.text_input(
        "Job name",
        key=_NAME_KEY,
        max_chars=MAX_NAME_LENGTH,
        placeholder="e.g. red sneakers, first try",
        on_change=_push,
        args=(entered,),
    )
    if st.session_state.pop(_NAME_MISSED, False):
        st.markdown(":red[Give the job a name first.]")


def has_name() -> bool:
    """Whether the job has a name; where it has none that is said beside the field in the run to come.

    Asked when "Next" is clicked: a button disabled meanwhile would swallow the click that ends the typing.
    """
    if str(st.session_state.get(_NAME_KEY) or "").strip():
        return True
    st.session_state[_NAME_MISSED] = True
    return False


def edit_time_limit(minutes: int | None, entered: Entered) -> None:
    """The optional field "Time limit"; empty is none."""
    follow_url(_LIMIT_KEY, minutes)
    st.number_input(
        "Time limit (minutes)",
        min_value=1,
        max_value=MAX_TIME_LIMIT_MIN,
        value=None,
        step=1,
        key=_LIMIT_KEY,
        placeholder="none",
        on_change=_push,
        args=(entered,),
    )
    st.caption(time_limit_text(minutes))


def time_limit_text(minutes: int | None) -> str:
    """``The job is stopped after 1h 30m 0s.``"""
    return "Empty: no limit." if minutes is None else f"The job is stopped after {duration_text(60 * minutes)}."


def edit_values(now: TrainingSettings, config: TrainingConfig | None, entered: Entered) -> None:
    """A field per value; what differs from the configuration is marked beside it."""
    said = {each.name: each.before for each in settings_differences(config.settings, now)} if config else {}
    for rule, cell in field_cells():
        with cell:
            key, value = f"wizard-{rule.name}", getattr(now, rule.name)
            follow_url(key, int(value) if rule.is_integer else float(value))
            show_number_field(rule, key=key, on_change=_push, args=(entered,))
            _mark(rule.name, said)
    _edit_base_model(now, entered)
    _mark("base_model", said)
    follow_url("wizard-sample_prompts", "\n".join(now.sample_prompts))
    st.text_area(
        f"{PROMPTS_LABEL}, one per line",
        key="wizard-sample_prompts",
        max_chars=MAX_PROMPTS_LENGTH,
        height=90,
        on_change=_push,
        args=(entered,),
    )
    _mark("sample_prompts", said)


def _edit_base_model(now: TrainingSettings, entered: Entered) -> None:
    follow_url("wizard-base_model", now.base_model)
    st.text_input(
        BASE_MODEL_LABEL,
        key="wizard-base_model",
        max_chars=MAX_MODEL_LENGTH,
        placeholder=BASE_MODEL_HINT,
        on_change=_push,
        args=(entered,),
    )


def entered_values(config_id: str, before: TrainingSettings) -> dict[str, str | None]:
    """What all fields of the step say now, as parameters of the URL.

    A change and a click right after it are two runs, and the second begins with the URL that the browser had before the
    first. So every change and every button takes along what all fields say, not only what the URL says.

    Args:
        config_id: The configuration that was shown when the field or button was drawn.
        before: The values that count as unchanged.
    """
    chosen: str | None = st.session_state.get(_CONFIG_KEY)
    entered = {"name": str(st.session_state.get(_NAME_KEY) or "") or None, TIME_LIMIT: _limit_parameter()}
    if chosen and chosen != config_id:
        return {**entered, **dict.fromkeys((*CHANGEABLE, "from")), "configId": chosen}
    fields = (name for name in CHANGEABLE if f"wizard-{name}" in st.session_state)
    return {**entered, **{name: _parameter(name, getattr(before, name)) for name in fields}}


def _push(entered: Entered) -> None:
    """Write every field, not only the one that changed: two quick changes are sent with the same old URL."""
    write_draft(entered())


def _parameter(name: str, before: object) -> str | None:
    """A field's value as a parameter of the URL; None when it is as before."""
    value: object = st.session_state[f"wizard-{name}"]
    if name == "sample_prompts":
        value = prompt_lines(str(value))
    return None if value is None or value == before else change_text(value)


def _limit_parameter() -> str | None:
    return str(st.session_state.get(_LIMIT_KEY) or "") or None


def _state(key: str) -> str:
    return st.session_state[key]  # type: ignore[no-any-return]


def _mark(name: str, said: dict[str, object]) -> None:
    if name in said:
        st.markdown(f":orange[**Changed:** the configuration says {escaped(value_text(said[name]), limit=120)}]")


def show_changes(config: TrainingConfig | None, now: TrainingSettings, draft: Draft) -> None:
    """All differences from the configuration in one place, and the way back to it."""
    differences = settings_differences(config.settings, now) if config else ()
    if not differences:
        return
    count = "1 value differs" if len(differences) == 1 else f"{len(differences)} values differ"
    labels = ", ".join(escaped(each.label) for each in differences)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f":orange[{count} from the configuration: {labels}]")
        st.button("Reset to the configuration", on_click=_choose_config, args=(draft.dataset_id, draft.name))
