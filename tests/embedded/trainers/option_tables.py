"""The options that trainers' own parsers take, kept as data: name, kind, choices, default, whether it is required.

A table is read anew from a checkout with ``python -m tests.embedded.trainers.option_tables TRAINER CHECKOUT COMMIT``.
"""

import json
import re
import sys
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lib.embedded.trainers.config_source import SECTIONS, read_sections
from lib.embedded.trainers.diffusers_settings import ARCHITECTURES as DIFFUSERS
from lib.embedded.trainers.musubi_settings import ARCHITECTURES as MUSUBI
from lib.embedded.trainers.parser_source import Kind, Option, options_from, plain_options, read_options
from lib.embedded.trainers.trainer_folder import TrainerFolder

FOLDER = Path(__file__).with_name("options")
# Trainer -> the folder its modules are found from, the function that makes a parser, and the scripts.
SOURCES: Mapping[str, tuple[str, str, Sequence[str]]] = {
    "diffusers": ("examples/dreambooth", "parse_args", sorted(kind.script for kind in DIFFUSERS.values())),
    "musubi-tuner": ("src", "main", sorted({script for kind in MUSUBI.values() for script in kind.scripts})),
}


class Refused(Exception):
    """The parser would have ended the trainer."""


class Parser(ArgumentParser):
    def error(self, message: str) -> Any:
        raise Refused(message)


def read_table(trainer: str) -> dict[str, dict[str, Option]]:
    """Script -> its options."""
    kept = json.loads((FOLDER / f"{trainer}.json").read_text("utf-8"))
    tables: dict[str, dict[str, Any]] = {script: {} for script in kept["scripts"]}
    for name, option, numbers in kept["options"]:
        for number in numbers:
            tables[kept["scripts"][number]][name] = option
    return {script: options_from(table) for script, table in tables.items()}


def write_checkout(trainer: str, folder: Path) -> None:
    """Scripts whose parsers are those of a table, where a checkout would be."""
    _, entry, _ = SOURCES[trainer]
    for script, options in read_table(trainer).items():
        lines = [f"def {entry}():", "    parser = ArgumentParser()"]
        for name, option in options.items():
            given = [f'"--{name}"']
            given += ["action='store_true'"] if option.kind is Kind.SWITCH else []
            words = {Kind.INTEGER: "int", Kind.NUMBER: "float"}
            given += [f"type={words[option.kind]}"] if option.kind in words else []
            given += [f"choices={list(option.choices)!r}"] if option.choices else []
            given += ["nargs='*'"] if option.is_list else []
            given += ["required=True"] if option.is_required else []
            lines.append(f"    parser.add_argument({', '.join(given)})")
        (folder / script).parent.mkdir(parents=True, exist_ok=True)
        (folder / script).write_text("\n".join(lines) + "\n", "utf-8")


def installed(trainer: str, setting: str, tmp_path: Path) -> TrainerFolder:
    """A checkout with an environment, as far as it is looked at before a start."""
    checkout = tmp_path / trainer
    if trainer in SOURCES:
        write_checkout(trainer, checkout)
    else:
        write_toolkit(checkout)
    (checkout / "venv/bin").mkdir(parents=True)
    (checkout / "venv/bin/python").symlink_to(sys.executable)
    return TrainerFolder(name=trainer, setting=setting, path=checkout)


def parser(options: Mapping[str, Option]) -> ArgumentParser:
    """A parser that takes what the trainer's takes, without abbreviations."""
    made = Parser(allow_abbrev=False)
    for name, option in options.items():
        kind = {Kind.INTEGER: int, Kind.NUMBER: float}.get(option.kind, str)
        if option.kind is Kind.SWITCH:
            made.add_argument(f"--{name}", action="store_true")
        else:
            choices = [kind(each) for each in option.choices] or None
            nargs = "*" if option.is_list else None
            made.add_argument(f"--{name}", type=kind, nargs=nargs, choices=choices, required=option.is_required)
    return made


def read_keys() -> dict[str, dict[str, Option]]:
    """Section of ai-toolkit's file -> its keys."""
    kept = json.loads((FOLDER / "ai-toolkit.json").read_text("utf-8"))
    return {section: options_from(keys) for section, keys in kept["sections"].items()}


def read_architectures() -> list[str]:
    """What ai-toolkit calls the models that it trains."""
    return list(json.loads((FOLDER / "ai-toolkit.json").read_text("utf-8"))["architectures"])


def write_toolkit(folder: Path) -> None:
    """A source of ai-toolkit whose keys are those of the table."""
    lines = ["from typing import Literal"]
    for section, keys in read_keys().items():
        body = []
        for number, (name, option) in enumerate(keys.items()):
            kind = {Kind.SWITCH: "bool", Kind.INTEGER: "int", Kind.NUMBER: "float"}.get(option.kind, "str")
            if option.choices:
                kind = f"{section}{number}"
                lines.append(f"{kind} = Literal[{', '.join(map(repr, option.choices))}]")
            body.append(f"        self.a{number}: {kind} = kwargs.get({name!r}, None)")
        lines += [f"class {SECTIONS[section]}:", "    def __init__(self, **kwargs):", *body]
    (folder / "toolkit").mkdir(parents=True)
    (folder / "toolkit/config_modules.py").write_text("\n".join(lines) + "\n", "utf-8")
    (folder / "run.py").touch()


def write_keys(checkout: Path, commit: str) -> None:
    """Write the table of ai-toolkit's keys."""
    lines = []
    for section, keys in read_sections(checkout).items():
        options = (f"   {json.dumps(name)}: {json.dumps(option)}" for name, option in plain_options(keys).items())
        lines.append(f'  "{section}": {{\n' + ",\n".join(options) + "}")
    models = sorted((checkout / "extensions_built_in").rglob("*.py"))
    named = {name for path in models for name in re.findall(r'^    arch = "(.+)"$', path.read_text("utf-8"), re.M)}
    known = sorted({*named, *read_sections(checkout)["model"]["arch"].choices})
    head = f'{{"commit": {json.dumps(commit)},\n "architectures": {json.dumps(known)},\n "sections": {{\n'
    (FOLDER / "ai-toolkit.json").write_text(head + ",\n".join(lines) + "}}\n", "utf-8")


def main() -> None:
    """Write the table of a trainer."""
    trainer, checkout, commit = sys.argv[1:]
    if trainer == "ai-toolkit":
        write_keys(Path(checkout), commit)
        return
    root, entry, scripts = SOURCES[trainer]
    found: dict[str, list[int]] = {}
    for number, script in enumerate(scripts):
        options = read_options(Path(checkout) / root, str(Path(script).relative_to(root)), entry)
        for name, option in plain_options(options or {}).items():
            found.setdefault(json.dumps([name, option]), []).append(number)
    lines = [f"  {line[:-1]}, {json.dumps(numbers)}]" for line, numbers in sorted(found.items())]
    head = f'{{"commit": {json.dumps(commit)},\n "scripts": {json.dumps(scripts, indent=1)},\n "options": [\n'
    (FOLDER / f"{trainer}.json").write_text(head + ",\n".join(lines) + "\n]}\n", "utf-8")


if __name__ == "__main__":
    main()
