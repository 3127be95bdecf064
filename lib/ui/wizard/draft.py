"""A half-filled wizard, kept in the URL, so that it can be shared, reloaded, and undone with Back.

Parameters: ``step``, ``datasetId``, ``configId``, ``name``, ``timeLimit`` (minutes), one per changed value
(``epochs=5``), ``from`` (the job whose dataset, name and settings are taken where nothing else is said) and ``draft``
(names the submission, so that it makes one job however often it is sent).
"""

import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import streamlit as st

from lib.jobs.job import Job
from lib.jobs.training_settings import (
    NUMBERS,
    SETTINGS,
    TEXTS,
    TrainingConfig,
    TrainingSettings,
    settings_from_payload,
)

STEPS = ("Select Dataset", "Configure Training", "Review and Start")
TIME_LIMIT = "timeLimit"
MAX_TIME_LIMIT_MIN = 30 * 24 * 60
CHANGEABLE = tuple(each.name for each in (*NUMBERS, *TEXTS))
PARAMETERS = frozenset(("step", "datasetId", "configId", "name", TIME_LIMIT, "from", "draft", *CHANGEABLE))


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What was chosen so far. ``time_limit`` and the values of ``changes`` (by setting) are texts, as in the URL."""

    step: int = 1
    dataset_id: str = ""
    config_id: str = ""
    name: str = ""
    time_limit: str = ""
    submission_id: str = ""
    from_job: str = ""
    changes: Mapping[str, str] = field(default_factory=dict)


def read_draft(params: Mapping[str, str], job: Job | None = None) -> Draft:
    """The draft in the URL; missing parameters are taken from ``job``."""
    step = params.get("step", "1")
    return Draft(
        step=int(step) if step in ("1", "2", "3") else 1,
        dataset_id=params.get("datasetId", (job.dataset_id if job else "") or "")[:300],
        config_id=params.get("configId", (job.config_id if job else "") or "")[:300],
        name=params.get("name", job.name if job else ""),
        time_limit=params.get(TIME_LIMIT, limit_parameter(job.time_limit_s) if job else ""),
        submission_id=params.get("draft", "")[:100],
        from_job=params.get("from", "")[:300],
        changes={name: params[name] for name in CHANGEABLE if name in params},
    )


def unknown_parameters(params: Mapping[str, str]) -> list[str]:
    """URL parameters that the wizard does not know, so that a misspelt setting is not silently ignored."""
    step = params.get("step", "1")
    bad_step = [] if step in ("1", "2", "3") else [f"step={step[:40]}"]
    return bad_step + [f"{name[:40]}={value[:40]}" for name, value in params.items() if name not in PARAMETERS]


def starting_settings(config: TrainingConfig | None, job: Job | None) -> TrainingSettings:
    """The values before any change: the job's own copy when the wizard starts from one, else the configuration's."""
    if job is not None and job.settings:
        return settings_from_payload(job.settings)
    return config.settings if config else TrainingSettings()


def changed_settings(before: TrainingSettings, changes: Mapping[str, str]) -> tuple[TrainingSettings, list[str]]:
    """The settings with the URL's changes, and the parameters that are not a value of their kind.

    A number that is out of range is kept, so that its field can show it and say what is wrong.
    """
    values: dict[str, Any] = {}
    problems = []
    for name, text in changes.items():
        try:
            values[name] = SETTINGS[name].parse(text)
        except ValueError:
            problems.append(f"{name}={text[:40]}")
    return replace(before, **values), problems


def time_limit_minutes(text: str) -> tuple[int | None, list[str]]:
    """The time limit in whole minutes (None: no limit), and the parameter when it is not a whole number."""
    if not text:
        return None, []
    if text.isascii() and text.removeprefix("-").isdigit() and len(text) < 16:
        return int(text), []
    return None, [f"{TIME_LIMIT}={text[:40]}"]


def time_limit_problem(minutes: int | None) -> str:
    """What is wrong with a time limit; empty when it is fine."""
    if minutes is None or 1 <= minutes <= MAX_TIME_LIMIT_MIN:
        return ""
    return f"Must be between 1 and {MAX_TIME_LIMIT_MIN} (30 days)."


def limit_parameter(limit_s: float | None) -> str:
    """A job's time limit in the wizard's unit: whole minutes, rounded up."""
    return "" if limit_s is None else str(math.ceil(limit_s / 60))


def chosen_id(wanted: str, ids: Sequence[str], default: str = "") -> str:
    """The wanted id if it exists, else empty; without a wanted id the default, else the first."""
    if wanted:
        return wanted if wanted in ids else ""
    return default if default in ids else next(iter(ids), "")


def write_draft(changes: Mapping[str, str | None]) -> None:
    """Change URL parameters in one history entry; None removes one. A changed draft is a new submission."""
    before = st.query_params.to_dict()
    after = {key: value for key, value in {**before, "draft": None, **changes}.items() if value is not None}
    if after != before:
        st.query_params.from_dict(after)


def submission_id() -> str:
    """The id this draft is sent under. It is in the URL from the first click on, so a reload keeps it."""
    in_url = st.query_params.get("draft", "")
    return in_url or secrets.token_urlsafe(12)
