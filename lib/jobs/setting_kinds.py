"""The kinds of training settings: how a value of each is read, checked, written and shown."""

import contextlib
import math
import tomllib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tomli_w

from lib.jobs.readable import character_problem
from lib.jobs.secret_options import secret_variable, shown_extra

# A browser keeps whole numbers exact up to here.
MAX_EXACT = 2**53 - 1
TRAINER_ENV = "LORA_TRAINER_ENV"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting(ABC):
    """What is known about one training setting: every form, table and file is made from it.

    Attributes:
        label: What people call it.
        field_label: The label of its form field where that says more.
        hint: What to enter, for the line below its field.
        name: Its field in ``TrainingSettings``.
        group: The heading it is folded under in forms; empty: always in sight.
    """

    label: str
    field_label: str = ""
    hint: str = ""
    name: str = ""
    group: str = ""

    @abstractmethod
    def read(self, value: object) -> Any:
        """A stored value as we keep it; None when it cannot be one. It may be out of range: ``problem`` says so."""

    @abstractmethod
    def problem(self, value: Any) -> str:
        """A sentence about what is wrong with a value, beginning with the label; empty when it is fine."""

    @abstractmethod
    def parse(self, text: str) -> Any:
        """The value that a text field or URL parameter means. Raises ValueError, which says what is wrong."""

    @abstractmethod
    def text(self, value: Any) -> str:
        """The value as ``parse`` reads it."""

    def field_value(self, value: Any) -> Any:
        """What its form field shows for a stored value."""
        return self.text(value)

    def from_field(self, entered: Any) -> Any:
        """The value that its form field says. Raises ValueError, which says what is wrong."""
        return self.parse(str(entered or ""))

    def plain(self, value: Any) -> Any:
        """The value as JSON and TOML know it."""
        return value

    def shown(self, value: Any) -> str:
        """The value as people read it, without secrets."""
        return value_text(value)

    def note(self, value: Any) -> str:
        """The problem without the label, to be read beside it: ``Must be between 1 and 64.``"""
        text = self.problem(value).removeprefix(f"{self.label} ")
        return text[:1].upper() + text[1:]

    def field_note(self, entered: Any) -> str:
        """The same for what the form field says."""
        try:
            return self.note(self.from_field(entered))
        except ValueError as error:
            return str(error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Number(Setting):
    """A number with an inclusive range, its unit, and the unit of a single one. An optional one may be None: off."""

    minimum: float
    maximum: float
    is_integer: bool
    unit: str = ""
    unit_of_one: str = ""
    is_optional: bool = False

    def read(self, value: object) -> float | int | None:
        # A fraction where a whole number belongs is not rounded: what is trained next would be another value.
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_EXACT:
            return None
        if not self.is_integer:
            return float(value)
        return int(value) if value == int(value) else value

    def problem(self, value: Any) -> str:
        if value is None and self.is_optional:
            return ""
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
            return f"{self.label} must be a number."
        if not self.minimum <= value <= self.maximum:
            return f"{self.label} must be between {self.minimum:.10g} and {self.maximum:.10g}."
        if self.is_integer and value != int(value):
            return f"{self.label} must be a whole number."
        return ""

    def parse(self, text: str) -> float | int | None:
        if not text and self.is_optional:
            return None
        with contextlib.suppress(ValueError):
            number = float(text[:40])
            if math.isfinite(number) and not self.is_integer:
                return number
            if abs(number) <= MAX_EXACT and not number % 1:
                return int(number)
        raise ValueError("Must be a whole number." if self.is_integer else "Must be a number.")

    def text(self, value: Any) -> str:
        return "" if value is None else repr(value)

    def field_value(self, value: Any) -> Any:
        return self.read(value)  # also one that does not fit; None for what is no number

    def from_field(self, entered: Any) -> Any:
        return self.read(entered)

    def shown(self, value: Any) -> str:
        """``8 images per step``, ``1 image per step``."""
        unit = self.unit_of_one if value == 1 and self.unit_of_one else self.unit
        return value_text(value) if value is None else f"{value_text(value)} {unit}".strip()

    @property
    def range_text(self) -> str:
        """``1 to 64 images per step``."""
        return f"{value_text(self.minimum)} to {value_text(self.maximum)} {self.unit}".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Text(Setting):
    """One line of text. ``max_chars`` is kept by us, not by the field: a browser would cut a pasted text silently."""

    max_chars: int
    is_required: bool = False

    def read(self, value: object) -> str | None:
        return value if isinstance(value, str) else None

    def problem(self, value: Any) -> str:
        if not isinstance(value, str):
            return f"{self.label} must be a text."
        if self.is_required and not value.strip():
            return f"{self.label} must not be empty."
        is_too_long = _length_problem(self.label, value, self.max_chars)
        return is_too_long or character_problem(value, self.label, is_line=True)

    def parse(self, text: str) -> str:
        return text

    def text(self, value: Any) -> str:
        return str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice(Text):
    """A word out of those that the chosen trainer knows; empty: the trainer decides, or it is off."""

    max_chars: int = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch(Setting):
    """On or off."""

    def read(self, value: object) -> bool | None:
        return value if isinstance(value, bool) else None

    def problem(self, value: Any) -> str:
        return "" if isinstance(value, bool) else f"{self.label} must be on or off."

    def parse(self, text: str) -> bool:
        if text not in ("true", "false"):
            raise ValueError("Must be true or false.")
        return text == "true"

    def text(self, value: Any) -> str:
        return str(value).lower()

    def field_value(self, value: Any) -> Any:
        return value

    def from_field(self, entered: Any) -> Any:
        return entered


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines(Setting):
    """Several texts, one per line; empty lines are left out."""

    max_chars: int
    max_lines: int = 200

    def read(self, value: object) -> tuple[str, ...] | None:
        fits = isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)
        return tuple(value) if fits else None  # type: ignore[arg-type]

    def problem(self, value: Any) -> str:
        if self.read(value) is None:
            return f"{self.label} must be a list of texts."
        if len(value) > self.max_lines:
            return f"{self.label} must have at most {self.max_lines} lines, not {len(value):,}."
        text = self.text(value)
        return _length_problem(self.label, text, self.max_chars) or character_problem(text, self.label)

    def parse(self, text: str) -> tuple[str, ...]:
        return tuple(line.strip() for line in text.splitlines() if line.strip())

    def text(self, value: Any) -> str:
        return "\n".join(value)

    def plain(self, value: Any) -> list[str]:
        return list(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options(Setting):
    """Named values that only the trainer knows; as a text they are TOML."""

    max_chars: int = 20_000
    max_options: int = 100

    def read(self, value: object) -> dict[str, Any] | None:
        return _without_none(value) if isinstance(value, Mapping) else None

    def problem(self, value: Any) -> str:
        if not isinstance(value, Mapping):
            return f"{self.label} must be a table."
        if len(value) > self.max_options:
            return f"{self.label} must have at most {self.max_options} lines, not {len(value):,}."
        faults = (self._fault(str(name), each) for name, each in value.items())
        fault = next(filter(None, faults), "")
        return fault or _length_problem(self.label, self.text(_without_none(value)), self.max_chars)

    def _fault(self, name: str, value: Any) -> str:
        if not _is_option(value):
            return f"{self.label} cannot hold a table or a time: {name[:40]!r}."
        if variable := secret_variable(name, value):
            return (
                f"{self.label} cannot hold a secret: {name[:40]!r}. Whoever runs the dashboard gives it to trainers "
                f"with the setting {TRAINER_ENV}_{variable}."
            )
        items = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(each, float) and not math.isfinite(each) for each in items):
            return f"{self.label} cannot hold a number that is not finite: {name[:40]!r}."
        if any(isinstance(each, int) and abs(each) > MAX_EXACT for each in items):
            return f"{self.label} cannot hold a number of more than 15 digits: {name[:40]!r}."
        texts = (name, *(each for each in items if isinstance(each, str)))
        return next(filter(None, (character_problem(each, self.label) for each in texts)), "")

    def parse(self, text: str) -> dict[str, Any]:
        try:
            return tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"Not TOML, write one `key = value` per line: {toml_reason(error)}") from error

    def text(self, value: Any) -> str:
        return tomli_w.dumps(value).rstrip("\n")

    def plain(self, value: Any) -> dict[str, Any]:
        return dict(value)


def toml_reason(error: ValueError | RecursionError) -> str:
    """Why a text is not TOML."""
    if isinstance(error, tomllib.TOMLDecodeError):
        return str(error)
    return "it is nested too deeply" if isinstance(error, RecursionError) else "a number in it is too long"


def value_text(value: Any) -> str:
    """A value as people read it: ``0.0001``, ``16``, ``none``, ``off``; no secret among further options."""
    if value is None or isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:.6g}" if abs(value) >= 1e-4 or value == 0 else f"{value:.6g}".replace("e-0", "e-")
    if isinstance(value, tuple | list):
        return "; ".join(str(each) for each in value) or "none"
    if isinstance(value, Mapping):
        shown = {key: str(each).lower() if isinstance(each, bool) else each for key, each in shown_extra(value).items()}
        return ", ".join(f"{key} = {each}" for key, each in shown.items()) or "none"  # a bool as TOML writes it
    return str(value) if value != "" else "none"


def _length_problem(label: str, text: str, limit: int) -> str:
    return f"{label} must have at most {limit:,} characters, not {len(text):,}." if len(text) > limit else ""


def _is_option(value: Any) -> bool:
    items = value if isinstance(value, list | tuple) else [value]
    return all(each is None or isinstance(each, bool | int | float | str) for each in items)


def _without_none(value: Any) -> Any:
    """TOML has no word for "not set", so that is left out."""
    if isinstance(value, Mapping):
        return {str(name): _without_none(each) for name, each in value.items() if each is not None}
    return [_without_none(each) for each in value if each is not None] if isinstance(value, list | tuple) else value
