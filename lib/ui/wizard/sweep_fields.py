"""The fields of a sweep: which settings have several values, and one text field for each of them."""

from collections.abc import Mapping
from contextlib import suppress

import streamlit as st

from lib import services
from lib.jobs.setting_kinds import Choice
from lib.jobs.sweep import MAX_SWEEP_JOBS, SEPARATOR, SWEEPABLE, count_problem, job_count, values_from
from lib.jobs.training_settings import SETTINGS, TrainingSettings
from lib.sources.protocol import Action
from lib.ui.parts.notes import show_note
from lib.ui.parts.settings_form import hint_text, show_field_note
from lib.ui.parts.text import plain
from lib.ui.parts.url import follow_url
from lib.ui.wizard.draft import swept_values
from lib.ui.wizard.navigation import Entered, write_entered

SEVERAL = "Try several values of"
_CHOICE_KEY, _FIELD = "wizard-swept", "wizard-several-"


def edit_sweep(trainer: str, swept: Mapping[str, str], entered: Entered) -> None:
    """The choice of settings, and the field of each chosen one; only the reason where the source has no sweeps."""
    if refusal := services.source().reason_against(Action.SWEEP):
        show_note(f"One value per field: {refusal}")
        return
    parameters = services.source().parameters(trainer)
    follow_url(_CHOICE_KEY, list(swept))
    st.multiselect(
        SEVERAL,
        [each.name for each in SWEEPABLE if not each.group or each.name in {*parameters, *swept}],
        key=_CHOICE_KEY,
        format_func=lambda name: SETTINGS[name].label,
        placeholder="no setting",
        help=f"A sweep: one job for each combination of the values, at most {MAX_SWEEP_JOBS}.",
        on_change=write_entered,
        args=(entered,),
    )
    for name, text in swept.items():
        setting, key = SETTINGS[name], f"{_FIELD}{name}"
        follow_url(key, text.strip(f"{SEPARATOR} "))
        words = ", ".join(parameters[name].choices) if isinstance(setting, Choice) and name in parameters else ""
        typed = st.text_input(
            f"{setting.label}, several",
            key=key,
            placeholder="e.g. 1e-4, 2e-4, 4e-4",
            help="  \n".join(filter(None, (hint_text(setting), plain(words, limit=600)))) or None,
            on_change=write_entered,
            args=(entered,),
        )
        show_field_note("", problem=_problem(name, typed))
    _, several, problem = swept_values(TrainingSettings(), swept)
    if several and not problem:
        show_note(f"A sweep of {job_count(several)} jobs, one for each combination.")
    elif several:
        show_field_note("", problem=count_problem(several))


def typed_problem() -> str:
    """What is wrong with what the fields say now; empty when nothing is."""
    typed = {name: _typed(name) for name in st.session_state.get(_CHOICE_KEY, ())}
    return swept_values(TrainingSettings(), {name: text for name, text in typed.items() if text is not None})[2]


def swept_parameters(starts: Mapping[str, str], before: TrainingSettings) -> dict[str, str | None]:
    """What the fields say now, as parameters of the URL; what was just taken out of the sweep keeps its first value.

    Args:
        starts: What a setting that was just chosen has so far, as a text.
        before: The values that count as unchanged.
    """
    chosen = st.session_state.get(_CHOICE_KEY, ())
    said: dict[str, str | None] = {}
    for setting in SWEEPABLE:
        name, typed = setting.name, _typed(setting.name)
        if name in chosen:
            text = starts.get(name, setting.text(getattr(before, name))) if typed is None else typed
            said[name] = text if SEPARATOR in text else f"{text}{SEPARATOR}"
        elif typed is not None:
            said[name] = None
            with suppress(ValueError):
                first = values_from(name, typed)[0]
                said[name] = None if first == getattr(before, name) else setting.text(first)
    return said


def _typed(name: str) -> str | None:
    found: str | None = st.session_state.get(f"{_FIELD}{name}")
    return found


def _problem(name: str, text: str) -> str:
    try:
        values_from(name, text)
    except ValueError as error:
        return str(error)
    return ""
