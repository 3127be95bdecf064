"""The form of one configuration: every field, what is not saved yet, and saving it."""

from typing import Any

import streamlit as st

from lib import services
from lib.errors import InvalidRequest
from lib.jobs.setting_kinds import Setting
from lib.jobs.training_settings import ENTERED, SETTINGS, Parameter, TrainingConfig, TrainingSettings, name_problem
from lib.ui.configs.edits import FIELDS, LABELS, ConfigEdit, drop_edit, edit_of, field_values, keep_edit, unsaved_edits
from lib.ui.parts.browser import ask_before_leaving
from lib.ui.parts.errors import explained_errors
from lib.ui.parts.notes import show_note
from lib.ui.parts.settings_form import (
    labelled,
    show_field,
    show_field_note,
    show_folded,
    show_in_rows,
    trainer_options,
)
from lib.ui.parts.text import escaped
from lib.ui.parts.toasts import announce
from lib.ui.parts.trainer_check import show_trainer_check
from lib.ui.parts.url import write_params

SECRETS_HELP = (
    "No tokens or keys here: everybody who opens this page can read them. Whoever runs the dashboard gives them to "
    "trainers with settings such as LORA_TRAINER_ENV_HF_TOKEN."
)


def show_config_form(config: TrainingConfig) -> None:
    """Every value of a configuration; nothing is saved before "Save configuration", and nothing typed is lost."""
    edit = edit_of(config)
    changed, is_outdated = edit.changed_fields, edit.is_outdated(config)
    _show_fields(config.id, edit)
    # New elements appear beside or below the button, so that it does not move while it is being clicked.
    with st.container(horizontal=True, vertical_alignment="center"):
        save = st.button("Save configuration", type="primary", disabled=is_outdated)
        if changed:
            label = "Reload, and lose my changes" if is_outdated else "Discard changes"
            st.button(label, icon=":material/undo:", on_click=drop_edit, args=(config.id,))
            names = ", ".join(escaped(LABELS[name]) for name in changed)
            st.markdown(f":orange[**Unsaved changes:** {names}]", width="content")
    if changed and config.id:
        show_note("Jobs, copies and exports take what is saved.")
    if is_outdated:
        save = _ask_to_overwrite(config)
    if save:
        with explained_errors():
            save_and_open(edit.config(config), edited=config.id)


def _ask_to_overwrite(stored: TrainingConfig) -> bool:
    """Say that somebody else saved it. Returns whether to overwrite that."""
    st.warning(
        "Somebody else saved this configuration after you began to change it. Reload it to see it as it is now, or "
        "overwrite it with all that the form says.",
        icon=":material/warning:",
    )
    # The click agrees to overwrite what is stored now; if it is saved once more, the page asks again.
    return st.button("Overwrite", key=f"overwrite {stored.id} {hash(repr(field_values(stored)))}")


def _show_fields(config_id: str, edit: ConfigEdit) -> None:
    name = st.text_input(LABELS["name"], **_field(config_id, edit, "name"))
    show_field_note(FIELDS["name"].hint, problem=name_problem(name) if name.strip() else "")
    show_field(FIELDS["description"], **_field(config_id, edit, "description"))
    left, right = st.columns(2)
    with left:
        names = trainer_options(edit.values["trainer"])
        st.selectbox(
            LABELS["trainer"], list(names), format_func=names.__getitem__, **_field(config_id, edit, "trainer")
        )
    with right:
        show_field(SETTINGS["base_model"], **_field(config_id, edit, "base_model"))
    chosen = {name: edit.values[name] for name in ("trainer", "architecture", "base_model")}
    show_trainer_check(TrainingSettings(**chosen))
    parameters = services.source().parameters(edit.values["trainer"])

    def show(setting: Setting) -> None:
        parameter = parameters.get(setting.name, Parameter())
        show_field(setting, parameter=parameter, **_field(config_id, edit, setting.name))

    show_in_rows([each for each in ENTERED if not each.group and each.name != "base_model"], show)
    show_folded(edit.values["trainer"], edit.folded_texts(), show, key=f"config-{config_id or 'new'}")
    extra = _field(config_id, edit, "extra")
    show_field(SETTINGS["extra"], placeholder="clip_skip = 2", help=SECRETS_HELP, **extra)


def _field(config_id: str, edit: ConfigEdit, name: str) -> dict[str, Any]:
    """A field's key and callback; it shows what the edit says, even after a visit to other pages."""
    key = _key(config_id, name)
    st.session_state[key] = edit.values[name]
    return {"key": key, "on_change": _keep_fields, "args": (config_id,)}


def _keep_fields(config_id: str) -> None:
    keys = {name: _key(config_id, name) for name in FIELDS}
    keep_edit(config_id, {name: st.session_state[key] for name, key in keys.items() if key in st.session_state})


def _key(config_id: str, name: str) -> str:
    return f"config-{config_id or 'new'}-{name}"


def save_and_open(config: TrainingConfig, *, edited: str | None = None) -> None:
    """Save, open its page, and say so; ``edited`` is the id whose edit this was. Raises InvalidRequest."""
    try:
        saved = services.act(lambda source: source.configs.save(config))
    except InvalidRequest as error:
        raise labelled(error, LABELS) from error
    if edited is not None:
        drop_edit(edited)
    announce(f"Saved {escaped(saved.name, limit=80)}")
    write_params({"id": saved.id})
    st.rerun()


def show_leave_guard() -> None:
    """Let the browser ask before the tab is closed or reloaded while something is not saved: the visit ends with it."""
    ask_before_leaving(bool(unsaved_edits()))
