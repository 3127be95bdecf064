"""Changes to configurations that are not saved yet. They live as long as the visit: looking elsewhere loses nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import streamlit as st

from lib.errors import InvalidRequest
from lib.jobs.config_file import extra_text, parse_extra
from lib.jobs.training_settings import RANGES, TrainingConfig, TrainingSettings, name_problem
from lib.ui.parts.settings_form import (
    BASE_MODEL_LABEL,
    PROMPTS_LABEL,
    TEXT_LIMITS,
    field_number,
    number_note,
    prompt_lines,
    text_problem,
)

MAX_DESCRIPTION_LENGTH = 500
LABELS = {
    "name": "Name",
    "description": "Description",
    "trainer": "Trainer",
    "base_model": BASE_MODEL_LABEL,
    **{rule.name: rule.label for rule in RANGES},
    "sample_prompts": PROMPTS_LABEL,
    "extra": "Further options as TOML",
}
_EDITS = "configurations being edited"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigEdit:
    """What the fields of a configuration's form say.

    Attributes:
        before: Field -> what it was filled with.
        values: Field -> what it says now, as the person typed it.
        adopted: The fields that somebody else saved meanwhile, and that say so here.
    """

    before: Mapping[str, Any]
    values: Mapping[str, Any]
    adopted: tuple[str, ...] = ()

    @property
    def changed_fields(self) -> tuple[str, ...]:
        """The fields that do not say any more what they were filled with."""
        return differing_fields(self.values, self.before)

    def clashing(self, stored: TrainingConfig) -> tuple[str, ...]:
        """The fields that were changed here, and saved by somebody else with another value."""
        newest = field_values(stored)
        elsewhere, unlike = differing_fields(newest, self.before), differing_fields(newest, self.values)
        return tuple(name for name in self.changed_fields if name in elsewhere and name in unlike)

    def brought_up_to(self, stored: TrainingConfig) -> "ConfigEdit":
        """The same changes on what is stored now, so that saving them reverts nothing that was not touched here."""
        newest, mine = field_values(stored), self.changed_fields
        clashing = self.clashing(stored)
        adopted = {*self.adopted, *differing_fields(newest, self.before)}.difference(mine)
        return ConfigEdit(
            before={**newest, **{name: self.before[name] for name in clashing}},
            values={**newest, **{name: self.values[name] for name in mine}},
            adopted=tuple(name for name in LABELS if name in adopted),
        )

    def problems(self) -> dict[str, str]:
        """Field -> why what it says cannot be saved."""
        found = {
            "name": name_problem(self.values["name"]),
            "description": text_problem(self.values["description"], MAX_DESCRIPTION_LENGTH),
            **{name: text_problem(self.values[name], limit) for name, limit in TEXT_LIMITS.items()},
            **{rule.name: number_note(rule, self.values[rule.name]) for rule in RANGES},
            "extra": extra_problem(self.values["extra"]),
        }
        return {name: problem for name, problem in found.items() if problem}

    def config(self, stored: TrainingConfig) -> TrainingConfig:
        """What to save in place of ``stored``. Raises InvalidRequest that names the fields by their labels."""
        if problems := self.problems():
            named = {LABELS[name]: problem for name, problem in problems.items()}
            raise InvalidRequest("The configuration cannot be saved.", fields=named)
        numbers: dict[str, Any] = {rule.name: rule.kind(self.values[rule.name]) for rule in RANGES}
        settings = replace(
            stored.settings,
            trainer=self.values["trainer"],
            base_model=self.values["base_model"],
            sample_prompts=prompt_lines(self.values["sample_prompts"]),
            extra=parse_extra(self.values["extra"]),
            **numbers,
        )
        return replace(
            stored, name=self.values["name"].strip(), description=self.values["description"], settings=settings
        )


def field_values(config: TrainingConfig) -> dict[str, Any]:
    """Field -> what it says when it shows this configuration."""
    settings = config.settings
    return {
        "name": config.name,
        "description": config.description,
        "trainer": settings.trainer,
        "base_model": settings.base_model,
        **{rule.name: field_number(rule, getattr(settings, rule.name)) for rule in RANGES},
        "sample_prompts": "\n".join(settings.sample_prompts),
        "extra": extra_text(settings.extra),
    }


def differing_fields(values: Mapping[str, Any], others: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields in which two forms differ."""
    return tuple(name for name in LABELS if values[name] != others[name])


def extra_problem(text: str) -> str:
    """Why the text is no TOML that can be kept; empty when it is."""
    try:
        parse_extra(text)
    except InvalidRequest as error:
        named = {key.removeprefix("extra").lstrip("."): problem for key, problem in error.fields.items()}
        return " ".join(f"{key}: {problem}" if key else problem for key, problem in named.items())
    return ""


def edit_of(config: TrainingConfig) -> ConfigEdit:
    """What was typed into this configuration's form; where nothing was, what is stored now."""
    edit = _edits().get(config.id)
    edit = edit.brought_up_to(config) if edit else None
    if edit is None or not edit.changed_fields:
        edit = ConfigEdit(before=field_values(config), values=field_values(config))
    _edits()[config.id] = edit
    return edit


def keep_edit(config_id: str, values: Mapping[str, Any]) -> None:
    """Keep what the fields say now."""
    _edits()[config_id] = replace(_edits()[config_id], values=values)


def drop_edit(config_id: str) -> None:
    """Forget what was typed: it was saved, or is not wanted."""
    _edits().pop(config_id, None)


def continue_as_new(config_id: str) -> None:
    """Let what was typed into a configuration that is gone be a new one."""
    blank = TrainingConfig(id="", name="", settings=TrainingSettings())
    _edits()[""] = ConfigEdit(before=field_values(blank), values=_edits().pop(config_id).values)


def unsaved_edits() -> dict[str, ConfigEdit]:
    """Configuration id -> its edit, where something is not saved; the empty id is the new one."""
    return {config_id: edit for config_id, edit in _edits().items() if edit.changed_fields}


def orphaned_edits(configs: Sequence[TrainingConfig]) -> dict[str, ConfigEdit]:
    """The unsaved edits whose configuration is not there any more."""
    known = {"", *(config.id for config in configs)}
    return {config_id: edit for config_id, edit in unsaved_edits().items() if config_id not in known}


def _edits() -> dict[str, ConfigEdit]:
    edits: dict[str, ConfigEdit] = st.session_state.setdefault(_EDITS, {})
    return edits
