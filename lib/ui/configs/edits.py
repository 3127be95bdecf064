"""Unsaved changes to configurations. They live as long as the visit, so visiting another page loses nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import streamlit as st

from lib import services
from lib.errors import InvalidRequest
from lib.jobs.setting_kinds import Setting, Text, value_text
from lib.jobs.training_settings import (
    FOLDED,
    MAX_NAME_LENGTH,
    SETTINGS,
    USUAL,
    TrainingConfig,
    TrainingSettings,
    name_problem,
)

MAX_DESCRIPTION_LENGTH = 500
DESCRIPTION = Text(
    label="Description", hint=f"At most {MAX_DESCRIPTION_LENGTH} characters", max_chars=MAX_DESCRIPTION_LENGTH
)
# What the form shows, in this order.
FIELDS: Mapping[str, Setting] = {
    "name": Text(label="Name", hint=f"At most {MAX_NAME_LENGTH} characters", max_chars=MAX_NAME_LENGTH),
    "description": DESCRIPTION,
    **SETTINGS,
}
LABELS = {name: each.field_label or each.label for name, each in FIELDS.items()}
_EDITS = "configurations being edited"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigEdit:
    """What the fields of a configuration's form say.

    Attributes:
        before: Field -> what it was filled with.
        values: Field -> what it says now, as the person typed it.
    """

    before: Mapping[str, Any]
    values: Mapping[str, Any]

    @property
    def changed_fields(self) -> tuple[str, ...]:
        """The fields that were changed here."""
        return tuple(name for name in FIELDS if self.values[name] != self.before[name])

    def is_outdated(self, stored: TrainingConfig) -> bool:
        """Whether somebody saved the configuration after this edit began."""
        return self.before != field_values(stored)

    def folded_texts(self) -> dict[str, str]:
        """Folded setting -> what its field says, of those that are not as usual."""
        fields = ((each, self.values[each.name]) for each in FOLDED)
        return {each.name: value_text(said) for each, said in fields if said != each.field_value(USUAL[each.name])}

    def problems(self) -> dict[str, str]:
        """Field -> why what it says cannot be saved."""
        found = {name: each.field_note(self.values[name]) for name, each in FIELDS.items()}
        found["name"] = name_problem(self.values["name"])
        return {name: problem for name, problem in found.items() if problem}

    def config(self, stored: TrainingConfig) -> TrainingConfig:
        """What to save in place of ``stored``. Raises InvalidRequest that names the fields by their labels."""
        if problems := self.problems():
            named = {LABELS[name]: problem for name, problem in problems.items()}
            raise InvalidRequest("The configuration cannot be saved.", fields=named)
        typed: dict[str, Any] = {name: each.from_field(self.values[name]) for name, each in SETTINGS.items()}
        name, description = self.values["name"].strip(), self.values["description"]
        return replace(stored, name=name, description=description, settings=TrainingSettings(**typed))


def field_values(config: TrainingConfig) -> dict[str, Any]:
    """Field -> what it says when it shows this configuration."""
    settings = {name: each.field_value(getattr(config.settings, name)) for name, each in SETTINGS.items()}
    return {"name": config.name, "description": config.description, **settings}


def edit_of(config: TrainingConfig) -> ConfigEdit:
    """The unsaved edit of this configuration; a fresh one from what is stored when nothing was changed."""
    edit = _edits().get(config.id)
    if edit is None or not edit.changed_fields:
        edit = ConfigEdit(before=field_values(config), values=field_values(config))
    _edits()[config.id] = edit
    return edit


def keep_edit(config_id: str, values: Mapping[str, Any]) -> None:
    """Keep what the fields say now; those under a folded heading are not there and say what they said."""
    edit = _edits()[config_id]
    _edits()[config_id] = replace(edit, values={**edit.values, **values})


def drop_edit(config_id: str) -> None:
    """Forget the changes, because they were saved or discarded."""
    _edits().pop(config_id, None)


def blank_config() -> TrainingConfig:
    """What a new configuration starts from."""
    return TrainingConfig(id="", name="", settings=services.source().first_settings())


def continue_as_new(config_id: str) -> None:
    """Turn the edit of a deleted configuration into a new configuration."""
    _edits()[""] = ConfigEdit(before=field_values(blank_config()), values=_edits().pop(config_id).values)


def unsaved_edits() -> dict[str, ConfigEdit]:
    """Configuration id -> its unsaved edit; the empty id stands for a new configuration."""
    return {config_id: edit for config_id, edit in _edits().items() if edit.changed_fields}


def orphaned_edits(configs: Sequence[TrainingConfig]) -> dict[str, ConfigEdit]:
    """The unsaved edits whose configuration was deleted."""
    known = {"", *(config.id for config in configs)}
    return {config_id: edit for config_id, edit in unsaved_edits().items() if config_id not in known}


def _edits() -> dict[str, ConfigEdit]:
    edits: dict[str, ConfigEdit] = st.session_state.setdefault(_EDITS, {})
    return edits
