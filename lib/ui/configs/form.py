"""The form of one configuration: every field, what is not saved yet, and saving it."""

from typing import Any

import streamlit as st

from lib import services
from lib.errors import InvalidRequest
from lib.jobs.training_settings import MAX_NAME_LENGTH, TrainingConfig, name_problem
from lib.ui.configs.edits import (
    LABELS,
    MAX_DESCRIPTION_LENGTH,
    ConfigEdit,
    drop_edit,
    edit_of,
    extra_problem,
    field_values,
    keep_edit,
    unsaved_edits,
)
from lib.ui.parts.errors import explained_errors
from lib.ui.parts.notes import show_note
from lib.ui.parts.settings_form import (
    BASE_MODEL_HINT,
    PROMPTS_HINT,
    TEXT_LIMITS,
    field_cells,
    labelled,
    show_field_note,
    show_number_field,
    text_problem,
    trainer_options,
    value_text,
)
from lib.ui.parts.text import escaped, plain
from lib.ui.parts.toasts import announce
from lib.ui.parts.url import write_params

SECRETS_HELP = (
    "No tokens or keys here: everybody who opens this page can read them. Trainers take them from environment "
    "variables, such as HF_TOKEN and WANDB_API_KEY: set those where the dashboard is started."
)


def show_config_form(config: TrainingConfig) -> None:
    """Every value of a configuration; nothing is saved before "Save configuration", and nothing typed is lost."""
    edit = edit_of(config)
    changed, clashing = edit.changed_fields, edit.clashing(config)
    _show_fields(config.id, edit)
    # What appears stands beside or below the button: it stays where it is while it is being clicked.
    with st.container(horizontal=True, vertical_alignment="center"):
        save = st.button("Save configuration", type="primary", disabled=bool(clashing))
        if changed:
            st.button("Discard changes", icon=":material/undo:", on_click=drop_edit, args=(config.id,))
            st.markdown(f":orange[**Unsaved changes:** {_labels(changed)}]", width="content")
    if changed and config.id:
        show_note("Jobs, copies and exports take what is saved.")
    if edit.adopted:
        adopted = ", ".join(LABELS[name] for name in edit.adopted)
        show_note(f"Somebody else saved these meanwhile, and they are shown as they are now: {adopted}.")
    if clashing:
        save = _show_clash(config, clashing)
    if save:
        with explained_errors():
            save_and_open(edit.config(config), edited=config.id, adopted=edit.adopted)


def _show_clash(stored: TrainingConfig, clashing: tuple[str, ...]) -> bool:
    """What somebody else saved in the fields that were changed here too, and the way over it."""
    theirs = "; ".join(f"{LABELS[name]} is {_stored_text(stored, name)} there now" for name in clashing)
    st.warning(
        f"Somebody else changed the same after you began: {escaped(theirs)}. "
        "Discard your changes to see it as it is now, or save yours over it.",
        icon=":material/warning:",
    )
    # Agreed is only to what was shown: once something else is there, the click that meant the former is not one.
    newest = field_values(stored)
    shown = hash(repr([(name, newest[name]) for name in clashing]))
    return st.button("Save mine over it", key=f"save {stored.id} over {shown}")


def _stored_text(stored: TrainingConfig, name: str) -> str:
    settings = stored.settings
    value = getattr(settings, name) if hasattr(settings, name) else getattr(stored, name)
    return plain(value_text(value), limit=80)


def _show_fields(config_id: str, edit: ConfigEdit) -> None:
    values = edit.values
    name = st.text_input(LABELS["name"], **_field(config_id, edit, "name"))
    problem = name_problem(name) if name.strip() else ""
    show_field_note(f"At most {MAX_NAME_LENGTH} characters", problem=problem)
    st.text_input(LABELS["description"], **_field(config_id, edit, "description"))
    problem = text_problem(values["description"], MAX_DESCRIPTION_LENGTH)
    show_field_note(f"At most {MAX_DESCRIPTION_LENGTH} characters", problem=problem)
    left, right = st.columns(2)
    with left:
        names = trainer_options(values["trainer"])
        st.selectbox(
            LABELS["trainer"], list(names), format_func=names.__getitem__, **_field(config_id, edit, "trainer")
        )
    with right:
        st.text_input(LABELS["base_model"], placeholder="none", **_field(config_id, edit, "base_model"))
        problem = text_problem(values["base_model"], TEXT_LIMITS["base_model"])
        show_field_note(BASE_MODEL_HINT, problem=problem)
    for rule, cell in field_cells():
        with cell:
            show_number_field(rule, **_field(config_id, edit, rule.name))
    st.text_area(f"{LABELS['sample_prompts']}, one per line", **_field(config_id, edit, "sample_prompts"))
    show_field_note(PROMPTS_HINT, problem=text_problem(values["sample_prompts"], TEXT_LIMITS["sample_prompts"]))
    st.text_area(LABELS["extra"], placeholder="clip_skip = 2", help=SECRETS_HELP, **_field(config_id, edit, "extra"))
    show_field_note("Passed on to the trainer; one key = value per line", problem=extra_problem(values["extra"]))


def _field(config_id: str, edit: ConfigEdit, name: str) -> dict[str, Any]:
    """A field's key and callback; it shows what the edit says, also after other pages were looked at."""
    key = _key(config_id, name)
    st.session_state[key] = edit.values[name]
    return {"key": key, "on_change": _keep_fields, "args": (config_id,)}


def _keep_fields(config_id: str) -> None:
    keep_edit(config_id, {name: st.session_state[_key(config_id, name)] for name in LABELS})


def _key(config_id: str, name: str) -> str:
    return f"config-{config_id or 'new'}-{name}"


def _labels(names: tuple[str, ...]) -> str:
    return ", ".join(escaped(LABELS[name]) for name in names)


def save_and_open(config: TrainingConfig, *, edited: str | None = None, adopted: tuple[str, ...] = ()) -> None:
    """Save, open its page, and say so; raises InvalidRequest.

    Args:
        config: What to save.
        edited: The id whose edit this was.
        adopted: The fields that stay as somebody else saved them.
    """
    try:
        saved = services.act(lambda source: source.configs.save(config))
    except InvalidRequest as error:
        raise labelled(error, LABELS) from error
    if edited is not None:
        drop_edit(edited)
    kept = f", with {_labels(adopted)} as somebody else saved it" if adopted else ""
    announce(f"Saved {escaped(saved.name, limit=80)}{kept}")
    write_params({"id": saved.id})
    st.rerun()


def show_leave_guard() -> None:
    """Let the browser ask before the tab is closed or reloaded while something is not saved: the visit ends with it."""
    guard = "(event) => event.preventDefault()" if unsaved_edits() else "null"
    st.html(f"<style></style><script>window.onbeforeunload = {guard}</script>", unsafe_allow_javascript=True)
