"""What a trainer's command line tells of its run: where it writes, and what its files are called."""

import json
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

# What trainers call these: sd-scripts, musubi-tuner, diffusers, diffusion-pipe, SimpleTuner; OneTrainer; ai-toolkit.
_OUTPUT = ("output_dir", "workspace_dir", "training_folder")
_EVENTS = ("logging_dir",)
_NAME = ("output_name",)
_KNOWN = frozenset({*_OUTPUT, *_EVENTS, *_NAME, "name"})
_YAML = re.compile(r"^[ -]*(training_folder|name): *[\"']?([^\"'#\r\n]+?)[\"']? *(?:#.*)?$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a command line tells; empty where it does not. Paths may be relative to where it runs."""

    title: str
    output: str = ""
    events: str = ""
    stem: str = ""


def told_by(argv: Sequence[str], read_text: Callable[[str], str]) -> Told:
    """What an argv and the configuration files that it names tell; the options win.

    Args:
        read_text: The beginning of a file that the argv names; empty when it cannot be read.
    """
    values: dict[str, str] = {}
    for part in argv:
        path = part.partition("=")[2] or part
        if path.endswith((".toml", ".json", ".yaml", ".yml")):
            values |= _of_file(path, read_text(path))
    values |= _of_options(argv)
    output = next((values[name] for name in _OUTPUT if values.get(name)), "")
    if "training_folder" in values and "name" in values and output == values["training_folder"]:
        output = str(PurePath(output) / values["name"])  # ai-toolkit
    script = next((PurePath(part).name for part in argv if part.endswith(".py")), PurePath(argv[0]).name)
    stem = values.get("output_name", "")
    return Told(
        title=f"{script} {stem}".strip(),
        output=output,
        events=next((values[name] for name in _EVENTS if values.get(name)), ""),
        stem=stem,
    )


def _of_options(argv: Sequence[str]) -> dict[str, str]:
    found = {}
    for place, part in enumerate(argv):
        option, equals, value = part.partition("=")
        name = option.lstrip("-").replace("-", "_")
        if not option.startswith("--") or name not in _KNOWN - {"name"}:
            continue
        following = argv[place + 1] if place + 1 < len(argv) else ""
        found[name] = value if equals else "" if following.startswith("--") else following
    return found


def _of_file(path: str, text: str) -> dict[str, str]:
    try:
        if path.endswith(".toml"):
            return _flat(tomllib.loads(text))
        if path.endswith(".json"):
            return _flat(json.loads(text))
    except (ValueError, RecursionError):
        return {}
    found: dict[str, str] = {}
    for name, value in _YAML.findall(text) if "training_folder" in text else ():
        found.setdefault(name, value)  # the first name is the job's
    return found


def _flat(content: Any) -> dict[str, str]:
    """The texts that we know, from the top or one section below it."""
    if not isinstance(content, Mapping):
        return {}
    sections = [each for each in content.values() if isinstance(each, Mapping)]
    return {
        str(name): value
        for section in (*sections, content)
        for name, value in section.items()
        if name in _KNOWN and isinstance(value, str)
    }
