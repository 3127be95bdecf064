"""Configurations as TOML files that people write: read strictly, with errors that name the key."""

import tomllib
from collections.abc import Mapping
from typing import Any

import tomli_w

from lib.errors import InvalidRequest
from lib.jobs.setting_kinds import toml_reason
from lib.jobs.training_settings import (
    SETTINGS,
    TrainingConfig,
    description_problem,
    name_problem,
    settings_from_payload,
    settings_payload,
)
from lib.jobs.words import size_text

MAX_FILE_BYTES = 1 << 20
NO_SUCH_KEY = "There is no such key."


def parse_config(content: bytes) -> TrainingConfig:
    """The configuration in a TOML file, not saved yet. Raises InvalidRequest that names the key."""
    if len(content) > MAX_FILE_BYTES:
        raise InvalidRequest(f"The file is larger than {size_text(MAX_FILE_BYTES)}, so it is not a configuration.")
    read = _table(content)
    name, description, settings = read.get("name"), read.get("description", ""), read.get("settings")
    problems = {key: NO_SUCH_KEY for key in read if key not in ("name", "description", "settings")}
    if not isinstance(name, str) or (problem := name_problem(name)):
        problems["name"] = problem if isinstance(name, str) else "A text is needed."
    if not isinstance(description, str):
        problems["description"] = "A text is needed."
    elif problem := description_problem(description):
        problems["description"] = problem
    problems |= _settings_problems(settings) if isinstance(settings, Mapping) else {"settings": "A table is needed."}
    if problems or not isinstance(settings, Mapping):
        raise InvalidRequest(
            "The file is not a configuration that can be used.",
            fields=problems,
            hint='Export a configuration to see what a file looks like: "name" and a table "settings".',
        )
    return TrainingConfig(
        id="", name=str(name).strip(), description=str(description), settings=settings_from_payload(settings)
    )


def export_config(config: TrainingConfig) -> str:
    """The configuration as the text of a file; ``parse_config`` reads the same back."""
    settings = {name: value for name, value in settings_payload(config.settings).items() if value != {}}
    return tomli_w.dumps({"name": config.name, "description": config.description, "settings": settings})


def _table(content: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InvalidRequest("The file is not UTF-8 text.") from error
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"The file is not TOML: {toml_reason(error)}.") from error


def _settings_problems(settings: Mapping[str, Any]) -> dict[str, str]:
    """Key -> what is wrong with it; what is left out keeps its default."""
    problems = {
        f"settings.{key}": SETTINGS[key].problem(value) if key in SETTINGS else NO_SUCH_KEY
        for key, value in settings.items()
    }
    return {key: problem for key, problem in problems.items() if problem}
