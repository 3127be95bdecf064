"""Fields for training settings, made from their table; the wizard and the configurations page share them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import streamlit as st

from lib import services
from lib.errors import InvalidRequest
from lib.jobs.dataset import Dataset
from lib.jobs.job_request import JobRequest
from lib.jobs.more_data import MoreData
from lib.jobs.setting_kinds import Choice, Lines, Number, Setting, Switch, Text
from lib.jobs.training_settings import FOLDED, SETTINGS, Parameter, TrainingSettings, setting_problems
from lib.ui.parts.notes import show_note
from lib.ui.parts.text import plain


def show_field(
    setting: Setting,
    *,
    key: str,
    parameter: Parameter = Parameter(),  # noqa: B008 (frozen)
    changed: str = "",
    is_dense: bool = False,
    **options: Any,
) -> None:
    """A setting's field, filled from the session state of ``key``, and the line below it.

    With ``is_dense`` the line is there only when there is something to say, and what to enter is the field's tooltip.
    The field takes any number and any length. A field that knows its range would keep an invalid value to itself: the
    page would silently go on with the value before. A setting that changes nothing here is shown and cannot be edited.
    """
    is_unused = setting.name in SETTINGS and setting.name not in services.source().used_settings
    options["disabled"] = is_unused or options.get("disabled", False)
    hint = f"{services.source().name} does not use this." if is_unused else hint_text(setting)
    if is_dense:
        told = f"`{parameter.name}`" if parameter.name else ""
        options["help"] = "  \n".join(filter(None, (hint, told))) or None
    value = _show_widget(setting, key, parameter, options)
    show_field_note("" if is_dense else hint, problem=setting.field_note(value), changed=changed)


def hint_text(setting: Setting) -> str:
    """What to enter: the range of a number, and what the table says."""
    parts = [setting.range_text if isinstance(setting, Number) else "", setting.hint]
    return ". ".join(filter(None, parts))


def _show_widget(setting: Setting, key: str, parameter: Parameter, options: dict[str, Any]) -> Any:
    label = setting.field_label or setting.label
    if isinstance(setting, Number):
        is_whole = setting.is_integer and not isinstance(st.session_state.get(key), float)
        step = 1 if is_whole else 1.0 if setting.is_integer else 1e-5
        shown = "as usual" if setting.is_optional else None
        return st.number_input(
            label, step=step, format="%d" if is_whole else "%g", key=key, placeholder=shown, **options
        )
    if isinstance(setting, Switch):
        return st.toggle(label, key=key, **options)
    if isinstance(setting, Choice) and parameter.choices:
        words = dict.fromkeys(("", *parameter.choices, st.session_state.get(key, "")))
        return st.selectbox(label, words, key=key, format_func=lambda word: plain(word or "as usual"), **options)
    if isinstance(setting, Text):
        return st.text_input(label, key=key, **{"placeholder": "none", **options})
    return st.text_area(label, key=key, height=90 if isinstance(setting, Lines) else 150, **options)


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


def config_obstacles(settings: TrainingSettings, dataset: Dataset, more_data: tuple[MoreData, ...] = ()) -> list[str]:
    """What the source objects to in these settings, apart from values that their fields already mark."""
    request = JobRequest(
        name="preview",
        dataset_id=dataset.id,
        config_id=None,
        settings=settings,
        submission_id="preview",
        more_data=more_data,
    )
    marked = setting_problems(settings).values()
    return [problem for problem in services.source().preview(request).problems if problem not in marked]


def show_in_rows(settings: Sequence[Setting], show: Callable[[Setting], None]) -> None:
    """As many beside each other as there is room for, in the order of the keyboard; long texts below them."""
    short = [each for each in settings if not isinstance(each, Lines)]
    if short:
        with st.grid("auto", min_column_width=200, gap="small"):
            for setting in short:
                with st.container(gap="xsmall"):
                    show(setting)
    for setting in settings:
        if isinstance(setting, Lines):
            show(setting)


def show_folded(
    trainer: str, said: Mapping[str, str], show: Callable[[Setting], None], *, key: str, without: Collection[str] = ()
) -> None:
    """The settings that the trainer uses and most trainings leave as usual, under their headings, with a search.

    A heading says what is set below it. What is set although the trainer does not use it can be seen and set back.

    Args:
        trainer: Its settings are offered.
        said: Setting -> its value as a text, of all settings that are not as usual.
        show: Shows one field.
        key: Names the search and the headings in the session state.
        without: Settings that have their field elsewhere.
    """
    parameters = services.source().parameters(trainer)
    known = {*parameters, *said}.difference(without)
    offered = [each for each in FOLDED if each.name in known]
    if not offered:
        return
    needle = st.text_input(
        "Find a setting", key=f"{key}-find", icon=":material/search:", placeholder="e.g. warm-up, noise_offset"
    )
    if words := needle.casefold().split():
        found = [each for each in offered if all(word in _searched(each, parameters) for word in words)]
        show_in_rows(found, show)
        if not found:
            show_note("No setting of this trainer has these words. Further options may still take it.")
        return
    for group in dict.fromkeys(each.group for each in offered):
        members = [each for each in offered if each.group == group]
        told = ", ".join(f"{each.label} {said[each.name]}" for each in members if each.name in said)
        label = f"{group}: {plain(told, limit=120)}" if told else group
        folded = st.expander(label, key=f"{key}-{group}", on_change="rerun")
        if folded.open:
            with folded:
                show_in_rows(members, show)


def _searched(setting: Setting, parameters: Mapping[str, Parameter]) -> str:
    parameter = parameters.get(setting.name, Parameter()).name
    return f"{setting.label} {setting.name} {parameter} {setting.group} {setting.hint}".casefold()


def trainer_options(current: str) -> dict[str, str]:
    """Trainer name -> what is shown; a name that this installation does not know stays choosable."""
    labels = dict(services.source().trainers)
    return labels if current in labels else {**labels, current: f"{current} (not installed)"}
