"""A half-filled wizard, kept in the URL, so that it can be shared, reloaded, and undone with Back.

Parameters: ``step``, ``datasetId``, ``more`` (the further datasets, as JSON), ``configId``, ``name``, ``timeLimit``
(minutes), one per changed value (``epochs=5``, with commas several of a sweep: ``epochs=5,10``), ``from`` (the job
whose datasets, name and settings are taken where nothing else is said), ``mark`` (names of settings that may have made
that job fail, ``learning_rate,batch_size``) and ``draft`` (names the submission, so that it makes one job however often
it is sent).
"""

import math
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import streamlit as st

from lib.jobs.dataset import Dataset
from lib.jobs.job import Job
from lib.jobs.more_data import MOST_MORE_DATA, MoreData, more_data_from
from lib.jobs.query import search_key
from lib.jobs.sweep import SEPARATOR, SWEEPABLE, SweepValues, count_problem, values_from
from lib.jobs.training_settings import (
    ENTERED,
    MAX_JOB_NAME_LENGTH,
    SETTINGS,
    TrainingConfig,
    TrainingSettings,
    job_name_problem,
    setting_problems,
    settings_from_payload,
)
from lib.jobs.words import count_text

STEPS = ("Select Dataset", "Configure Training", "Review and Start")
TIME_LIMIT, LIMIT = "timeLimit", "Time limit (minutes)"
MAX_TIME_LIMIT_MIN = 30 * 24 * 60
CHANGEABLE = tuple(each.name for each in ENTERED)
MORE = "more"
NOTIFY = "notify"  # "0": nobody is told of the job's events
_STEPS = ("step", "datasetId", MORE, "configId", "name", TIME_LIMIT, NOTIFY, "from", "mark", "draft")
PARAMETERS = frozenset((*_STEPS, *CHANGEABLE))
NO_NAME = "Give the job a name first."
# "Aria v1 (2)"
_NUMBERED = re.compile(r"(?P<base>.*) \((?P<number>[2-9]|[1-9]\d{1,3})\)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What was chosen so far. ``time_limit`` and the values of ``changes`` (by setting) are texts, as in the URL.

    ``swept`` are the texts of settings that have several values, or are to have some: with a comma.

    ``marks`` are the names of settings that may have made the former job fail.
    """

    step: int = 1
    dataset_id: str = ""
    config_id: str = ""
    name: str = ""
    time_limit: str = ""
    notify: bool = True
    submission_id: str = ""
    from_job: str = ""
    marks: tuple[str, ...] = ()
    changes: Mapping[str, str] = field(default_factory=dict)
    swept: Mapping[str, str] = field(default_factory=dict)
    more_data: tuple[MoreData, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftData:
    """The main dataset of a draft, and its further ones with what is known of them."""

    main: Dataset
    more: tuple[tuple[MoreData, Dataset], ...] = ()

    @property
    def more_images(self) -> int:
        """Images of the further datasets that are learned, with repeats."""
        return sum((each.image_count or 0) * said.repeats for said, each in self.more if not said.is_regularisation)

    @property
    def regularises(self) -> bool:
        """Whether some of them are for regularisation."""
        return any(said.is_regularisation for said, _ in self.more)

    @property
    def texts(self) -> list[str]:
        """What is said of each further dataset: ``Dog (20 images), 5 repeats``."""
        return [
            replace(said, name=f"{each.name} ({count_text(each.image_count, 'image', 'images')})").text
            for said, each in self.more
        ]


def read_draft(
    params: Mapping[str, str], job: Job | None = None, *, suggested_name: str = "", can_sweep: bool = True
) -> Draft:
    """The draft in the URL; missing parameters are taken from ``job``, whose dataset is settled already."""
    names = [each.name for each in SWEEPABLE] if can_sweep else []
    swept = {name: params[name] for name in names if SEPARATOR in params.get(name, "")}
    step = params.get("step", "2" if job else "1")
    return Draft(
        step=int(step) if step in ("1", "2", "3") else 1,
        dataset_id=params.get("datasetId", (job.dataset_id if job else "") or "")[:300],
        config_id=params.get("configId", (job.config_id if job else "") or "")[:300],
        name=params.get("name", suggested_name),
        time_limit=params.get(TIME_LIMIT, limit_parameter(job.time_limit_s) if job else ""),
        notify=params.get(NOTIFY) != "0",
        submission_id=params.get("draft", "")[:100],
        from_job=params.get("from", "")[:300],
        marks=tuple(name for name in _marked(params) if name in CHANGEABLE),
        changes={name: params[name] for name in CHANGEABLE if name in params and name not in swept},
        swept=swept,
        more_data=_more_data(params, job) or (),
    )


def unknown_parameters(params: Mapping[str, str]) -> list[str]:
    """URL parameters that the wizard does not know, so that a misspelt setting is not silently ignored."""
    step = params.get("step", "1")
    bad_step = [] if step in ("1", "2", "3") else [f"step={step[:40]}"]
    unknown = [f"{name[:40]}={value[:40]}" for name, value in params.items() if name not in PARAMETERS]
    bad_more = [f"{MORE}={params[MORE][:40]}"] if _more_data(params, None) is None else []
    return [*bad_step, *bad_more, *unknown, *(f"mark={name[:40]}" for name in _marked(params) if name not in SETTINGS)]


def _more_data(params: Mapping[str, str], job: Job | None) -> tuple[MoreData, ...] | None:
    """The further datasets that the URL names, else those of the job; None where the URL's cannot be read."""
    if MORE not in params:
        return job.more_data if job else ()
    with suppress(ValueError):
        found = more_data_from(params[MORE])
        return found if len(found) <= MOST_MORE_DATA else None
    return None


def _marked(params: Mapping[str, str]) -> list[str]:
    return [name for name in params.get("mark", "")[:1_000].split(",") if name]


def numbered_name(name: str) -> tuple[str, int]:
    """A name without its number, and the number: ``("Aria", 2)`` for "Aria (2)", 1 for a name without one."""
    found = _NUMBERED.fullmatch(name)
    return (found["base"], int(found["number"])) if found else (name, 1)


def next_name(name: str, taken: Collection[str]) -> str:
    """The first free name for another try: "Aria (2)", then "Aria (3)"."""
    base, number = numbered_name(name.strip())
    used = set(map(search_key, taken))
    while True:
        number += 1
        ending = f" ({number})"
        candidate = base[: MAX_JOB_NAME_LENGTH - len(ending)] + ending
        if search_key(candidate) not in used:
            return candidate


def name_problem(name: str) -> str:
    """What is wrong with the job's name; empty when it is fine."""
    return job_name_problem(name) if name.strip() else NO_NAME


def dataset_problem(dataset: Dataset | None, *, takes_uploads: bool) -> str:
    """Why nothing can be trained on it; empty when it can."""
    if dataset is None:
        return "Choose a dataset first."
    way_out = "Upload some first." if takes_uploads else "Choose another one."
    return f"The dataset has no images. {way_out}" if dataset.image_count == 0 else ""


def settings_problem(
    name: str, settings: TrainingSettings, limit_min: int | None, *, has_settings: bool, sweep_problem: str = ""
) -> str:
    """Why the second step is not complete; empty when it is.

    ``has_settings`` says that a configuration was chosen, or a job to start from.
    """
    if not has_settings:
        return "Choose a configuration first."
    limit = time_limit_problem(limit_min)
    problems = (
        name_problem(name),
        *setting_problems(settings).values(),
        sweep_problem,
        f"{LIMIT}: {limit}" if limit else "",
    )
    return next((problem for problem in problems if problem), "")


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


def swept_values(settings: TrainingSettings, texts: Mapping[str, str]) -> tuple[TrainingSettings, SweepValues, str]:
    """The settings with the single values of these texts, the several ones by setting, and what is wrong first."""
    values: dict[str, tuple[Any, ...]] = {}
    problems = []
    for name, text in texts.items():
        try:
            values[name] = values_from(name, text)
        except ValueError as error:
            problems.append(f"{SETTINGS[name].label}: {error}")
    single = {name: found[0] for name, found in values.items() if len(found) == 1}
    several = {name: found for name, found in values.items() if name not in single}
    return replace(settings, **single), several, next(iter(problems), count_problem(several))


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
