"""Training configurations: the values a person may set, and what differs between two of them.

``TrainingSettings`` is the one table of them. A line there is all it takes to add a setting: forms, tables, files, the
database and the API are made from it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any

from lib.jobs.readable import character_problem
from lib.jobs.setting_kinds import Lines, Number, Options, Setting, Text

CONFIG_NAME_TAKEN = "A configuration with this name exists already."
MAX_NAME_LENGTH = 100
MAX_JOB_NAME_LENGTH = 200
MAX_DESCRIPTION_LENGTH = 2_000


def _setting(kind: Setting, default: Any) -> Any:
    return field(default_factory=lambda: kind.read(default), metadata={"setting": kind})  # no shared dictionary


def _whole(label: str, default: int, minimum: int, maximum: int, unit: str = "", unit_of_one: str = "") -> Any:
    kind = Number(label=label, minimum=minimum, maximum=maximum, is_integer=True, unit=unit, unit_of_one=unit_of_one)
    return _setting(kind, default)


def _real(label: str, default: float, minimum: float, maximum: float) -> Any:
    return _setting(Number(label=label, minimum=minimum, maximum=maximum, is_integer=False), default)


PROMPTS = Lines(
    label="Sample prompts",
    field_label="Sample prompts, one per line",
    hint="One sample image per prompt and epoch",
    max_chars=5_000,
)
MODEL = Text(label="Base model", hint="A model's name or path, as the trainer expects it", max_chars=1_000)
EXTRA = Options(
    label="Further options",
    field_label="Further options as TOML",
    hint="Passed on to the trainer; one key = value per line",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """The values one training runs with.

    Attributes:
        trainer: Name of a trainer recipe: ``tiny``, ``sd-scripts``, …
        base_model: Model name or path; empty for a trainer that needs none.
        sample_prompts: One sample image per prompt and epoch; may be empty.
        gpus: How many cards it takes, where the machine has any.
        stop_on_nan: So many losses in a row that are NaN or infinite end it; 0: none do.
        extra: Further trainer-specific values, passed on as they are.
    """

    trainer: str = _setting(Text(label="Trainer", max_chars=100, is_required=True), "tiny")
    base_model: str = _setting(MODEL, "")
    epochs: int = _whole("Epochs", 10, 1, 1000, "passes over the dataset", "pass over the dataset")
    learning_rate: float = _real("Learning rate", 1e-4, 1e-6, 1)
    batch_size: int = _whole("Batch size", 1, 1, 64, "images per step", "image per step")
    resolution: int = _whole("Resolution", 512, 128, 2048, "px")
    network_dim: int = _whole("Network dim (rank)", 16, 1, 512)
    network_alpha: int = _whole("Network alpha", 8, 1, 512)
    repeats: int = _whole("Repeats", 1, 1, 1000, "times each image per epoch", "time each image per epoch")
    seed: int = _whole("Seed", 42, 0, 2**31 - 1)
    gpus: int = _whole("GPUs", 1, 1, 16)
    stop_on_nan: int = _whole("Stop after NaN losses", 20, 0, 10_000, "in a row (0: never)")
    sample_prompts: tuple[str, ...] = _setting(PROMPTS, ())
    extra: Mapping[str, Any] = _setting(EXTRA, {})


SETTINGS: Mapping[str, Setting] = {
    each.name: replace(each.metadata["setting"], name=each.name) for each in fields(TrainingSettings)
}
NUMBERS = tuple(each for each in SETTINGS.values() if isinstance(each, Number))
# Texts that every trainer has; the trainer itself is chosen, not typed.
TEXTS = tuple(each for each in SETTINGS.values() if isinstance(each, Text | Lines) and each.name != "trainer")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """A named set of training settings. A job keeps its own copy of the settings."""

    id: str
    name: str
    settings: TrainingSettings
    description: str = ""
    is_default: bool = False
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A setting that is not what the configuration says."""

    name: str
    label: str
    before: Any
    after: Any


def setting_problems(settings: TrainingSettings) -> dict[str, str]:
    """Field name -> what is wrong with it; empty when all values can be used."""
    problems = {name: each.problem(getattr(settings, name)) for name, each in SETTINGS.items()}
    return {name: problem for name, problem in problems.items() if problem}


def config_problems(config: TrainingConfig) -> dict[str, str]:
    """Field name -> why the configuration cannot be saved; whether its name is taken, only its source knows."""
    problems = setting_problems(config.settings)
    if problem := name_problem(config.name):
        problems["name"] = problem
    if problem := description_problem(config.description):
        problems["description"] = problem
    return problems


def settings_payload(settings: TrainingSettings) -> dict[str, Any]:
    """The settings as plain values, as files, the database and a job's own copy hold them."""
    return {name: each.plain(getattr(settings, name)) for name, each in SETTINGS.items()}


def settings_from_payload(payload: Mapping[str, Any]) -> TrainingSettings:
    """Settings from plain values. Unknown names are ignored; an unusable value becomes the default."""
    found = {name: each.read(payload.get(name)) for name, each in SETTINGS.items()}
    return TrainingSettings(**{name: value for name, value in found.items() if value is not None})


def settings_differences(before: TrainingSettings, after: TrainingSettings) -> tuple[Difference, ...]:
    """The settings in which ``after`` differs from ``before``, in the order they are shown."""
    values = ((each, getattr(before, each.name), getattr(after, each.name)) for each in SETTINGS.values())
    return tuple(
        Difference(name=each.name, label=each.label, before=old, after=new) for each, old, new in values if old != new
    )


def name_problem(name: str) -> str:
    """What is wrong with the name of a configuration or dataset; empty when it is fine."""
    return _name_problem(name, "The name", MAX_NAME_LENGTH)


def description_problem(text: str) -> str:
    """What is wrong with the description of a configuration; empty when it is fine."""
    if len(text) > MAX_DESCRIPTION_LENGTH:
        return f"The description has {len(text):,} characters; at most {MAX_DESCRIPTION_LENGTH:,} are allowed."
    return character_problem(text, "The description")


def job_name_problem(name: str) -> str:
    """What is wrong with the name of a job; empty when it is fine."""
    return _name_problem(name, "The job name", MAX_JOB_NAME_LENGTH)


def _name_problem(name: str, what: str, limit: int) -> str:
    length = len(name.strip())
    if not length:
        return f"{what} is empty."
    if length > limit:
        return f"{what} has {length:,} characters; at most {limit} are allowed."
    return character_problem(name, what, is_line=True)


def total_steps(image_count: int, settings: TrainingSettings) -> int:
    """Optimisation steps of a training: ceil(images × repeats / batch) × epochs, as sd-scripts counts."""
    return math.ceil(image_count * settings.repeats / settings.batch_size) * settings.epochs
