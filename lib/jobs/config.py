"""Training configurations: the values a person may set, their ranges, and what differs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

MAX_NAME_LENGTH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingRange:
    """A numeric training setting: its label, unit and inclusive range."""

    name: str
    label: str
    unit: str
    minimum: float
    maximum: float
    is_integer: bool = True


RANGES: tuple[SettingRange, ...] = (
    SettingRange(name="epochs", label="Epochs", unit="passes over the dataset", minimum=1, maximum=1000),
    SettingRange(name="learning_rate", label="Learning rate", unit="", minimum=1e-6, maximum=1, is_integer=False),
    SettingRange(name="batch_size", label="Batch size", unit="images per step", minimum=1, maximum=64),
    SettingRange(name="resolution", label="Resolution", unit="px", minimum=128, maximum=2048),
    SettingRange(name="network_dim", label="Network dim (rank)", unit="", minimum=1, maximum=512),
    SettingRange(name="network_alpha", label="Network alpha", unit="", minimum=1, maximum=512),
    SettingRange(name="repeats", label="Repeats", unit="times each image per epoch", minimum=1, maximum=1000),
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


def setting_problems(settings: TrainingSettings) -> dict[str, str]:
    """Field name -> what is wrong with it; empty when all values are in range."""
    problems = {}
    for rule in RANGES:
        value = getattr(settings, rule.name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            problems[rule.name] = f"{rule.label} must be a number."
        elif rule.is_integer and value != int(value):
            problems[rule.name] = f"{rule.label} must be a whole number."
        elif not rule.minimum <= value <= rule.maximum:
            problems[rule.name] = f"{rule.label} must be between {rule.minimum:g} and {rule.maximum:g}."
    return problems


def name_problem(name: str) -> str:
    """What is wrong with the name of a configuration or dataset; empty when it is fine."""
    if not name.strip():
        return "The name is empty."
    if len(name.strip()) > MAX_NAME_LENGTH:
        return f"The name has {len(name.strip())} characters; at most {MAX_NAME_LENGTH} are allowed."
    return ""


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
