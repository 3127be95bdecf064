"""Fields for training settings, with their ranges and units; the wizard and the configurations page share them."""

from collections.abc import Iterator, Mapping
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from lib import services
from lib.errors import InvalidRequest
from lib.jobs.dataset import Dataset
from lib.jobs.training_settings import (
    RANGES,
    SettingRange,
    TrainingSettings,
    number_problem,
    setting_problems,
    shown_extra,
)
from lib.sources.protocol import JobRequest
from lib.ui.parts.notes import show_note

# Characters. The fields take more, so that a pasted text is not refused without a word, and the page says it.
TEXT_LIMITS = {"base_model": 1_000, "sample_prompts": 5_000}
FIELDS_PER_ROW = 4
# A browser keeps whole numbers exact up to here.
MAX_EXACT = 2**53 - 1
PROMPTS_LABEL, PROMPTS_HINT = "Sample prompts", "One sample image per prompt and epoch"
BASE_MODEL_LABEL, BASE_MODEL_HINT = "Base model", "A model's name or path, as the trainer expects it"


def value_text(value: Any) -> str:
    """A setting's value as people read it: ``0.0001``, ``16``, ``none``; no secret among further options."""
    if isinstance(value, float):
        return f"{value:.6g}" if abs(value) >= 1e-4 or value == 0 else f"{value:.6g}".replace("e-0", "e-")
    if isinstance(value, tuple | list):
        return "; ".join(str(each) for each in value) or "none"
    if isinstance(value, Mapping):
        shown = {key: str(each).lower() if isinstance(each, bool) else each for key, each in shown_extra(value).items()}
        return ", ".join(f"{key} = {each}" for key, each in shown.items()) or "none"  # a bool as TOML writes it
    return str(value) if value != "" else "none"


def range_text(rule: SettingRange) -> str:
    """``1 to 64 images per step``."""
    span = f"{value_text(rule.minimum)} to {value_text(rule.maximum)}"
    return f"{span} {rule.unit}".strip()


def measured_text(rule: SettingRange, value: float) -> str:
    """``8 images per step``, ``1 image per step``."""
    return f"{value_text(value)} {rule.unit_of_one if value == 1 and rule.unit_of_one else rule.unit}".strip()


def field_number(rule: SettingRange, value: object) -> float | int | None:
    """What the field shows for a stored value: the number that it is, also one that does not fit; empty for no number.

    A fraction where a whole number belongs is not rounded: what is saved or trained next would be another value.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_EXACT:
        return None
    return int(value) if rule.is_integer and value == int(value) else value


def show_number_field(rule: SettingRange, *, key: str, changed: str = "", **options: Any) -> float | int:
    """A number field, seeded by the session state of ``key``, and the line below it.

    The field itself takes any number. One that knows its range keeps what lies outside to itself: the page would go on
    with the value before, without a word.
    """
    is_whole = rule.is_integer and not isinstance(st.session_state.get(key), float)
    value: float | int = st.number_input(
        rule.label,
        step=1 if is_whole else 1.0 if rule.is_integer else 1e-5,
        format="%d" if is_whole else "%g",
        key=key,
        **options,
    )
    show_field_note(range_text(rule), problem=number_note(rule, value), changed=changed)
    return value


def number_note(rule: SettingRange, value: object) -> str:
    """``Must be between 1 and 64.``, to be read beside the field's label; empty when the value is fine."""
    return number_problem(rule, value).removeprefix(f"{rule.label} ").capitalize()


def show_field_note(text: str, *, problem: str = "", changed: str = "") -> None:
    """The one line below a field: what may stand in it, or that it was changed, or what is wrong with it.

    Always one line, so that nothing below moves: a button that moves while it is being clicked loses the click.
    """
    if problem:
        show_note(problem, color="red")
    elif changed:
        show_note(f"Changed: the configuration says {changed}", color="orange")
    else:
        show_note(text)


def text_problem(text: str, limit: int) -> str:
    """What is wrong with a text; empty when it is short enough."""
    return f"{len(text):,} characters; at most {limit:,} are allowed." if len(text) > limit else ""


def labelled(error: InvalidRequest, labels: Mapping[str, str]) -> InvalidRequest:
    """The same refusal with the fields' labels in place of their names."""
    fields = {labels.get(name, name): problem for name, problem in error.fields.items()}
    return InvalidRequest(str(error), fields=fields, hint=error.hint)


def config_obstacles(settings: TrainingSettings, dataset: Dataset) -> list[str]:
    """What the source says against training with these settings, beside the values that their fields mark."""
    request = JobRequest(
        name="preview", dataset_id=dataset.id, config_id=None, settings=settings, submission_id="preview"
    )
    marked = setting_problems(settings).values()
    return [problem for problem in services.source().preview(request).problems if problem not in marked]


def value_problems(settings: TrainingSettings) -> dict[str, str]:
    """Field name -> what is wrong with what a person may have typed there; empty when all is well."""
    texts = {"base_model": settings.base_model, "sample_prompts": "\n".join(settings.sample_prompts)}
    long = {name: text_problem(text, TEXT_LIMITS[name]) for name, text in texts.items()}
    return setting_problems(settings) | {name: problem for name, problem in long.items() if problem}


def field_cells() -> Iterator[tuple[SettingRange, DeltaGenerator]]:
    """A place per number field, in rows: so a keyboard and a phone meet them in their order."""
    for start in range(0, len(RANGES), FIELDS_PER_ROW):
        rules = RANGES[start : start + FIELDS_PER_ROW]
        yield from zip(rules, st.columns(FIELDS_PER_ROW), strict=False)


def prompt_lines(text: str) -> tuple[str, ...]:
    """One prompt per line; empty lines are left out."""
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def trainer_options(current: str) -> dict[str, str]:
    """Trainer name -> what is shown; a name that this installation does not know stays choosable."""
    labels = dict(services.source().trainers)
    return labels if current in labels else {**labels, current: f"{current} (not installed)"}
