"""Fields for training settings, with their ranges and units; the wizard and the configurations page share them."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from lib import services
from lib.jobs.config import RANGES, SettingRange, TrainingSettings
from lib.jobs.config_file import extra_text, parse_extra
from lib.ui.text import escaped

MAX_PROMPTS_LENGTH = 5_000
FIELDS_PER_ROW = 4
PROMPTS_LABEL = "Sample prompts"
BASE_MODEL_LABEL, BASE_MODEL_HINT = "Base model", "A model's name or path, as the trainer expects it"


def value_text(value: Any) -> str:
    """A setting's value as people read it: ``0.0001``, ``16``, ``none``."""
    if isinstance(value, float):
        return f"{value:.6g}" if abs(value) >= 1e-4 or value == 0 else f"{value:.6g}".replace("e-0", "e-")
    if isinstance(value, tuple | list):
        return "; ".join(str(each) for each in value) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {each}" for key, each in value.items()) or "none"
    return str(value) if value != "" else "none"


def range_text(rule: SettingRange) -> str:
    """``1 to 64 images per step``."""
    span = f"{value_text(rule.minimum)} to {value_text(rule.maximum)}"
    return f"{span} {rule.unit}".strip()


def show_number_field(rule: SettingRange, *, key: str, **options: Any) -> float | int | None:
    """A number field that keeps its range; seed it by ``value`` or by the session state of ``key``."""
    kind = int if rule.is_integer else float
    value: float | int | None = st.number_input(
        rule.label,
        min_value=kind(rule.minimum),
        max_value=kind(rule.maximum),
        step=kind(1) if rule.is_integer else 1e-5,
        format="%d" if rule.is_integer else "%g",
        key=key,
        **options,
    )
    st.caption(escaped(range_text(rule)))
    return value


def field_cells() -> Iterator[tuple[SettingRange, DeltaGenerator]]:
    """A place per number field, in rows: so a keyboard and a phone meet them in their order."""
    for start in range(0, len(RANGES), FIELDS_PER_ROW):
        rules = RANGES[start : start + FIELDS_PER_ROW]
        yield from zip(rules, st.columns(FIELDS_PER_ROW), strict=False)


def show_settings_fields(settings: TrainingSettings, *, key: str) -> tuple[TrainingSettings, str]:
    """All fields of a configuration, for use inside a form; the text of ``extra`` is not parsed yet."""
    left, right = st.columns(2)
    names = trainer_options(settings.trainer)
    with left:
        trainer = st.selectbox(
            "Trainer", list(names), index=list(names).index(settings.trainer), format_func=names.__getitem__
        )
    with right:
        base_model = st.text_input(BASE_MODEL_LABEL, settings.base_model, placeholder=BASE_MODEL_HINT)
    values: dict[str, Any] = {}
    for rule, cell in field_cells():
        with cell:
            value = getattr(settings, rule.name)
            values[rule.name] = show_number_field(rule, key=f"{key}-{rule.name}", value=value)
    prompts = st.text_area(
        f"{PROMPTS_LABEL}, one per line", "\n".join(settings.sample_prompts), max_chars=MAX_PROMPTS_LENGTH
    )
    extra = st.text_area("Further options as TOML", extra_text(settings.extra), placeholder="clip_skip = 2")
    return (
        replace(
            settings,
            trainer=trainer or settings.trainer,
            base_model=base_model or "",
            sample_prompts=prompt_lines(prompts or ""),
            **{name: value for name, value in values.items() if value is not None},
        ),
        extra or "",
    )


def with_extra(settings: TrainingSettings, text: str) -> TrainingSettings:
    """The settings with trainer-specific values from TOML lines. Raises InvalidRequest."""
    return replace(settings, extra=parse_extra(text))


def prompt_lines(text: str) -> tuple[str, ...]:
    """One prompt per line; empty lines are left out."""
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def trainer_options(current: str) -> dict[str, str]:
    """Trainer name -> what is shown; a name that this installation does not know stays choosable."""
    labels = dict(services.trainer_labels())
    return labels if current in labels else {**labels, current: f"{current} (not installed)"}
