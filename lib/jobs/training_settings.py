"""Training configurations: the values a person may set, their ranges, and what differs."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

MAX_NAME_LENGTH = 100
MAX_JOB_NAME_LENGTH = 200
NOT_SHOWN = "(not shown)"
# At the end of the name: --huggingface_token and --wandb_api_key, but not --keep_tokens or --max_token_length.
_SECRET_OPTION = re.compile(r"(token|key|secret|password)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingRange:
    """A numeric training setting: its label, unit (and that of a single one) and inclusive range."""

    name: str
    label: str
    unit: str
    minimum: float
    maximum: float
    is_integer: bool = True
    unit_of_one: str = ""

    @property
    def kind(self) -> type[int] | type[float]:
        """The type of its values."""
        return int if self.is_integer else float


RANGES: tuple[SettingRange, ...] = (
    SettingRange(
        name="epochs",
        label="Epochs",
        unit="passes over the dataset",
        unit_of_one="pass over the dataset",
        minimum=1,
        maximum=1000,
    ),
    SettingRange(name="learning_rate", label="Learning rate", unit="", minimum=1e-6, maximum=1, is_integer=False),
    SettingRange(
        name="batch_size",
        label="Batch size",
        unit="images per step",
        unit_of_one="image per step",
        minimum=1,
        maximum=64,
    ),
    SettingRange(name="resolution", label="Resolution", unit="px", minimum=128, maximum=2048),
    SettingRange(name="network_dim", label="Network dim (rank)", unit="", minimum=1, maximum=512),
    SettingRange(name="network_alpha", label="Network alpha", unit="", minimum=1, maximum=512),
    SettingRange(
        name="repeats",
        label="Repeats",
        unit="times each image per epoch",
        unit_of_one="time each image per epoch",
        minimum=1,
        maximum=1000,
    ),
    SettingRange(name="seed", label="Seed", unit="", minimum=0, maximum=2**31 - 1),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """The values one training runs with.

    Attributes:
        trainer: Name of a trainer recipe: ``tiny``, ``sd-scripts``, …
        base_model: Model name or path; empty for a trainer that has none of its own choice.
        sample_prompts: One sample image per prompt and epoch; may be empty.
        extra: Further trainer-specific values, passed on as they are.
    """

    trainer: str = "tiny"
    base_model: str = ""
    epochs: int = 10
    learning_rate: float = 1e-4
    batch_size: int = 1
    resolution: int = 512
    network_dim: int = 16
    network_alpha: int = 8
    repeats: int = 1
    seed: int = 42
    sample_prompts: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


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


def is_secret_option(name: str) -> bool:
    """Whether an option is named as one whose value nobody else should read."""
    return _SECRET_OPTION.search(name) is not None


def shown_extra(extra: Mapping[str, Any]) -> dict[str, Any]:
    """Trainer-specific values fit to be shown: those of options named as secrets are left out."""
    return {name: NOT_SHOWN if is_secret_option(str(name)) else shown_value(value) for name, value in extra.items()}


def shown_value(value: Any) -> Any:
    """The same for a value, which may be ``name=value`` or a list of such."""
    if isinstance(value, list | tuple):
        return [shown_value(each) for each in value]
    name, equals, _ = value.partition("=") if isinstance(value, str) else ("", "", "")
    return f"{name}={NOT_SHOWN}" if equals and is_secret_option(name) else value


def setting_problems(settings: TrainingSettings) -> dict[str, str]:
    """Field name -> what is wrong with it; empty when all values are in range."""
    problems = {rule.name: number_problem(rule, getattr(settings, rule.name)) for rule in RANGES}
    return {name: problem for name, problem in problems.items() if problem}


def number_problem(rule: SettingRange, value: object) -> str:
    """What is wrong with a value of this setting; empty when it is fine."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return f"{rule.label} must be a number."
    if not rule.minimum <= value <= rule.maximum:
        return f"{rule.label} must be between {rule.minimum:.10g} and {rule.maximum:.10g}."
    if rule.is_integer and value != int(value):
        return f"{rule.label} must be a whole number."
    return ""


def name_problem(name: str) -> str:
    """What is wrong with the name of a configuration or dataset; empty when it is fine."""
    return _name_problem(name, "The name", MAX_NAME_LENGTH)


def job_name_problem(name: str) -> str:
    """What is wrong with the name of a job; empty when it is fine."""
    return _name_problem(name, "The job name", MAX_JOB_NAME_LENGTH)


def _name_problem(name: str, what: str, limit: int) -> str:
    length = len(name.strip())
    if not length:
        return f"{what} is empty."
    return f"{what} has {length:,} characters; at most {limit} are allowed." if length > limit else ""


def settings_differences(before: TrainingSettings, after: TrainingSettings) -> tuple[Difference, ...]:
    """The settings in which ``after`` differs from ``before``, in the order they are shown."""
    labels = {rule.name: rule.label for rule in RANGES}
    names = ("trainer", "base_model", *labels, "sample_prompts", "extra")
    return tuple(
        Difference(
            name=name,
            label=labels.get(name, name.replace("_", " ").capitalize()),
            before=getattr(before, name),
            after=getattr(after, name),
        )
        for name in names
        if getattr(before, name) != getattr(after, name)
    )


def total_steps(image_count: int, settings: TrainingSettings) -> int:
    """Optimisation steps of a training: ceil(images × repeats / batch) × epochs, as sd-scripts counts."""
    return math.ceil(image_count * settings.repeats / settings.batch_size) * settings.epochs
