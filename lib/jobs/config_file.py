"""Configurations as files that people write: TOML or JSON, read strictly, with errors that name the key."""

import json
import math
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from lib.errors import InvalidRequest
from lib.jobs.training_settings import TrainingConfig, TrainingSettings, name_problem, setting_problems

MAX_FILE_BYTES = 1 << 20
FORMATS = ("toml", "json")
_FIELDS = tuple(field.name for field in fields(TrainingSettings))

Word = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Scalar = bool | int | float | str


class _Settings(BaseModel):
    """The table ``settings``; what is left out keeps its default."""

    model_config = ConfigDict(extra="forbid", strict=True)

    trainer: Word = "tiny"
    base_model: str = ""
    epochs: int = 10
    learning_rate: float = 1e-4
    batch_size: int = 1
    resolution: int = 512
    network_dim: int = 16
    network_alpha: int = 8
    repeats: int = 1
    seed: int = 42
    sample_prompts: list[str] = Field(default_factory=list)
    extra: dict[str, Scalar | list[Scalar]] = Field(default_factory=dict)


class _File(BaseModel):
    """A whole file: one configuration."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    description: str = ""
    settings: _Settings


def parse_config(content: bytes, *, filename: str) -> TrainingConfig:
    """The configuration in a .toml or .json file, not saved yet. Raises InvalidRequest that names the key."""
    if len(content) > MAX_FILE_BYTES:
        raise InvalidRequest("The file is larger than 1 MB, so it is no configuration.")
    payload = _payload(content, is_json=filename.lower().endswith(".json"))
    try:
        read = _File.model_validate(payload)
    except ValidationError as error:
        raise InvalidRequest(
            "The file is not a configuration.",
            fields=_named_problems(error),
            hint='Export a configuration to see what a file looks like: "name" and a table "settings".',
        ) from error
    values = read.settings.model_dump()
    settings = TrainingSettings(**{**values, "sample_prompts": tuple(values["sample_prompts"])})
    problems = {f"settings.{key}": problem for key, problem in setting_problems(settings).items()}
    if problem := name_problem(read.name):
        problems["name"] = problem
    if problems:
        raise InvalidRequest("The file has values that cannot be used.", fields=problems)
    return TrainingConfig(id="", name=read.name.strip(), description=read.description, settings=settings)


def export_config(config: TrainingConfig, file_format: str) -> str:
    """The configuration as the text of a file; ``parse_config`` reads the same back."""
    settings = settings_payload(config.settings)
    content = {"name": config.name, "description": config.description, "settings": settings}
    if file_format == "json":
        return json.dumps(content, ensure_ascii=False, indent=2) + "\n"
    extra = settings.pop("extra")
    lines = [*_toml_lines({"name": config.name, "description": config.description})]
    lines += ["", "[settings]", *_toml_lines(settings)]
    if extra:
        lines += ["", "[settings.extra]", *_toml_lines(extra)]
    return "\n".join(lines) + "\n"


def settings_payload(settings: TrainingSettings) -> dict[str, Any]:
    """The settings as plain values, as a job keeps its own copy of them."""
    payload = asdict(replace(settings, extra=dict(settings.extra)))
    return {**payload, "sample_prompts": list(settings.sample_prompts)}


def settings_from_payload(payload: Mapping[str, Any]) -> TrainingSettings:
    """Settings from a job's copy: what is unknown or has another type is left at its default."""
    defaults = asdict(TrainingSettings())
    known = {name: _fitting(payload[name], defaults[name]) for name in _FIELDS if name in payload}
    return TrainingSettings(**{name: value for name, value in known.items() if value is not None})


def extra_text(extra: Mapping[str, Any]) -> str:
    """Trainer-specific values as TOML lines, for a text field."""
    return "\n".join(_toml_lines(extra))


def parse_extra(text: str) -> dict[str, Any]:
    """Trainer-specific values from TOML lines. Raises InvalidRequest."""
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        problem = f"Not TOML, write one `key = value` per line: {_reason(error)}"
        raise InvalidRequest("The further options cannot be read.", fields={"extra": problem}) from error
    try:
        return _Settings(extra=values).extra
    except ValidationError as error:
        raise InvalidRequest("The further options cannot be used.", fields=_named_problems(error)) from error


def _payload(content: bytes, *, is_json: bool) -> Any:
    try:
        text = content.decode("utf-8-sig")
        payload = json.loads(text) if is_json else tomllib.loads(text)
        json.dumps(payload, ensure_ascii=False, default=str).encode()  # JSON can hold half a character
        return payload
    except UnicodeDecodeError as error:
        raise InvalidRequest("The file is not UTF-8 text.") from error
    except json.JSONDecodeError as error:
        raise InvalidRequest(f"The file is not JSON: {error.msg} in line {error.lineno}.") from error
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"The file is not {'JSON' if is_json else 'TOML'}: {_reason(error)}.") from error


def _reason(error: ValueError | RecursionError) -> str:
    if isinstance(error, tomllib.TOMLDecodeError):
        return str(error)
    if isinstance(error, UnicodeEncodeError):
        return "it holds half a character"
    return "it is nested too deeply" if isinstance(error, RecursionError) else "it holds a number that is too long"


def _named_problems(error: ValidationError) -> dict[str, str]:
    """Key -> what is wrong with it. Pydantic's paths hold the branches of a union too: those are left out."""
    problems = {}
    for each in error.errors(include_url=False, include_context=False):
        parts = [str(part) for part in each["loc"] if str(part) not in ("bool", "int", "float", "str")]
        key = ".".join(part for part in parts if "[" not in part) or "the file"
        problems[key] = "There is no such key." if each["type"] == "extra_forbidden" else each["msg"] + "."
    return problems


def _fitting(value: Any, default: Any) -> Any:
    """The value if it can stand where ``default`` stands, else None."""
    if isinstance(default, tuple):
        fits = isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)
        return tuple(value) if fits else None
    if isinstance(default, dict):
        return dict(value) if isinstance(value, Mapping) else None
    if isinstance(default, str):
        return value if isinstance(value, str) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if abs(value) > sys.float_info.max or not math.isfinite(value):
        return None
    if isinstance(default, float):
        return float(value)
    return int(value) if value == int(value) else None


def _toml_lines(values: Mapping[str, Any]) -> list[str]:
    return [f"{_toml_key(key)} = {_toml_value(value)}" for key, value in values.items() if value is not None]


def _toml_key(key: str) -> str:
    is_bare = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if is_bare else _toml_string(key)


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _toml_string(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml_value(each) for each in value) + "]"
    if isinstance(value, Mapping):
        pairs = (f"{_toml_key(key)} = {_toml_value(each)}" for key, each in value.items() if each is not None)
        return "{ " + ", ".join(pairs) + " }"
    return repr(value)


def _toml_string(text: str) -> str:
    """A TOML basic string: JSON's escapes, and DEL, which TOML does not allow as it is."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")
