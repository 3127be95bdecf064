"""Fields for training settings, made from their table; the wizard and the configurations page share them."""

from collections.abc import Iterator, Mapping
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from lib import services
from lib.errors import InvalidRequest
from lib.jobs.dataset import Dataset
from lib.jobs.job_request import JobRequest
from lib.jobs.setting_kinds import Lines, Number, Setting, Text
from lib.jobs.training_settings import NUMBERS, SETTINGS, TrainingSettings, setting_problems
from lib.ui.parts.notes import show_note

FIELDS_PER_ROW = 4


def field_value(setting: Setting, value: Any) -> Any:
    """What the field shows for a stored value: a number, also one that does not fit, or a text; None for no number."""
    return setting.read(value) if isinstance(setting, Number) else setting.text(value)


def field_note(setting: Setting, value: Any) -> str:
    """What is wrong with what the field says, to be read beside its label; empty when it is fine."""
    return setting.note(value) if isinstance(setting, Number) else setting.text_note(str(value or ""))


def show_field(setting: Setting, *, key: str, changed: str = "", is_dense: bool = False, **options: Any) -> None:
    """A setting's field, filled from the session state of ``key``, and the line below it.

    With ``is_dense`` the line is there only when there is something to say, and what to enter is the field's tooltip.
    The field takes any number and any length. A field that knows its range would keep an invalid value to itself: the
    page would silently go on with the value before. A setting that changes nothing here is shown and cannot be edited.
    """
    is_unused = setting.name in SETTINGS and setting.name not in services.source().used_settings
    options["disabled"] = is_unused or options.get("disabled", False)
    label = setting.field_label or setting.label
    hint = setting.range_text if isinstance(setting, Number) else setting.hint
    if is_unused:
        hint = f"{services.source().name} does not use this."
    if is_dense:
        options["help"] = hint
    if isinstance(setting, Number):
        is_whole = setting.is_integer and not isinstance(st.session_state.get(key), float)
        step = 1 if is_whole else 1.0 if setting.is_integer else 1e-5
        value: Any = st.number_input(label, step=step, format="%d" if is_whole else "%g", key=key, **options)
    elif isinstance(setting, Text):
        value = st.text_input(label, placeholder="none", key=key, **options)
    else:
        value = st.text_area(label, key=key, height=90 if isinstance(setting, Lines) else 150, **options)
    show_field_note("" if is_dense else hint, problem=field_note(setting, value), changed=changed)


def show_field_note(text: str, *, problem: str = "", changed: str = "") -> None:
    """The line below a field: what to enter, or that it was changed, or what is wrong with it.

    Where it has a ``text`` it is always one line: a button below that moves while it is being clicked loses the click.
    """
    if problem:
        show_note(problem, color="red")
    elif changed:
        show_note(f"Changed: the configuration says {changed}", color="orange")
    elif text:
        show_note(text)


def labelled(error: InvalidRequest, labels: Mapping[str, str]) -> InvalidRequest:
    """The same refusal with the fields' labels in place of their names."""
    fields = {labels.get(name, name): problem for name, problem in error.fields.items()}
    return InvalidRequest(str(error), fields=fields, hint=error.hint)


def config_obstacles(settings: TrainingSettings, dataset: Dataset) -> list[str]:
    """What the source objects to in these settings, apart from values that their fields already mark."""
    request = JobRequest(
        name="preview", dataset_id=dataset.id, config_id=None, settings=settings, submission_id="preview"
    )
    marked = setting_problems(settings).values()
    return [problem for problem in services.source().preview(request).problems if problem not in marked]


def number_cells() -> Iterator[tuple[Number, DeltaGenerator]]:
    """A cell per number, row by row, so that keyboard and phone reach them in their order."""
    for start in range(0, len(NUMBERS), FIELDS_PER_ROW):
        yield from zip(NUMBERS[start : start + FIELDS_PER_ROW], st.columns(FIELDS_PER_ROW), strict=False)


def trainer_options(current: str) -> dict[str, str]:
    """Trainer name -> what is shown; a name that this installation does not know stays choosable."""
    labels = dict(services.source().trainers)
    return labels if current in labels else {**labels, current: f"{current} (not installed)"}
