"""Trainers that an administrator describes as command lines, in the TOML file that LORA_COMMANDS names.

Each table is one trainer. ``{dataset}``, ``{output}``, ``{name}``, ``{prompts}`` and the name of any setting stand for
values; ``{more_datasets}`` becomes an argument for the folder of each further dataset. A command is a list of arguments
and never passes a shell, so every character of a value is just that character.
"""

import re
import string
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Any

from lib.embedded.trainers.kohya_files import PROMPTS_FILE, collect_kohya, file_stem, prompt_lines, write_prompts
from lib.embedded.trainers.model_files import ModelFiles
from lib.embedded.trainers.recipe import (
    FoundFile,
    MoreFolder,
    Recipe,
    TrainingRun,
    dataset_problems,
    dataset_problems_of,
)
from lib.jobs.dataset import Dataset
from lib.jobs.more_data import MoreData
from lib.jobs.setting_kinds import Options
from lib.jobs.training_settings import SETTINGS, Parameter, TrainingSettings

MOST_FILE_BYTES = 1 << 20
MOST_ARGUMENTS = 500
EXPECTED_BYTES = 200_000_000  # what a command writes is unknown
MORE = "more_datasets"
OWN_PLACEHOLDERS = ("dataset", "output", "name", "prompts", MORE)
_SETTINGS = tuple(name for name, each in SETTINGS.items() if name != "trainer" and not isinstance(each, Options))
_MODELS = ("base_model", "vae", "clip_l", "clip_g", "t5xxl", "text_encoder", "network_weights")
_KEYS = frozenset({"label", "argv", "before", "uses_gpu"})
_TRAINER_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One table of the file. With a ``problem`` it cannot run."""

    name: str
    label: str
    argv: tuple[str, ...] = ()
    before: tuple[tuple[str, ...], ...] = ()
    uses_gpu: bool = True
    problem: str = ""

    @property
    def placeholders(self) -> tuple[str, ...]:
        """What its arguments name, in order."""
        parts = (part for argv in (*self.before, self.argv) for part in argv)
        return tuple(dict.fromkeys(name for part in parts for name in _names_in(part)))


class CommandRecipe(Recipe):
    """Runs one command of the file."""

    def __init__(self, command: Command, models: ModelFiles) -> None:
        self.name, self.label, self.uses_gpu = command.name, command.label, command.uses_gpu
        self.parameters = {name: Parameter() for name in command.placeholders if name in SETTINGS}
        self._command, self._models = command, models

    def problems(self, settings: TrainingSettings, dataset: Dataset) -> Sequence[str]:
        """What is wrong with the command, and values that it would misunderstand."""
        if self._command.problem:
            return [self._command.problem]
        programs = dict.fromkeys(argv[0] for argv in (*self._command.before, self._command.argv))
        return [
            *(f"The program {each} of the command {self.name} was not found." for each in programs if not which(each)),
            *(["A command takes no further options. Remove them from the configuration."] if settings.extra else []),
            *filter(None, (self._value_problem(name, settings) for name in self._command.placeholders)),
            *dataset_problems(dataset),
        ]

    def more_problems(self, settings: TrainingSettings, more: Sequence[MoreFolder]) -> Sequence[str]:
        """Those that it does not name in its arguments, and what cannot be told to it."""
        if MORE not in self._command.placeholders:
            return super().more_problems(settings, more)
        if any(each.said != MoreData(dataset_id=each.said.dataset_id, name=each.said.name) for each in more):
            return [
                f"The command {self.name} takes the folders of further datasets only: no repeats, words, "
                "prefix or regularisation. Set them back."
            ]
        return dataset_problems_of(more)

    def _value_problem(self, name: str, settings: TrainingSettings) -> str:
        if name in OWN_PLACEHOLDERS:
            return ""
        value, label = getattr(settings, name), SETTINGS[name].label
        if any(isinstance(each, str) and each.startswith("-") for each in _listed(value)):
            return f"{label} begins with a hyphen, so the command would take it for an option."
        return self._models.problem(value, label) if name in _MODELS and value else ""

    def command(self, run: TrainingRun) -> list[str]:
        """The argv with the values in their places."""
        return _filled(self._command.argv, run)

    def commands_before(self, run: TrainingRun) -> Sequence[Sequence[str]]:
        """The commands under ``before``."""
        return [_filled(argv, run) for argv in self._command.before]

    def prepare(self, run: TrainingRun) -> None:
        """Write the prompts where ``collect`` reads them again."""
        write_prompts(run, prompt_lines(run.settings))

    def collect(self, output_dir: Path) -> Sequence[FoundFile]:
        """The files written so far, by the names that the known trainers give them."""
        return collect_kohya(output_dir)

    def expected_bytes(self, settings: TrainingSettings) -> int:
        """A guess."""
        return EXPECTED_BYTES


def command_recipes(path: Path | None, models: ModelFiles) -> tuple[Recipe, ...]:
    """The recipes of the file; one that says what is wrong where the file cannot be used."""
    return tuple(CommandRecipe(command, models) for command in read_commands(path)) if path else ()


def read_commands(path: Path) -> list[Command]:
    """Every command of the file."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MOST_FILE_BYTES + 1)
        if len(data) > MOST_FILE_BYTES:
            raise ValueError("it has more than 1 MB")
        tables = tomllib.loads(data.decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = (error.strerror if isinstance(error, OSError) else str(error)) or type(error).__name__
        problem = f"The file of LORA_COMMANDS, {path}, cannot be used: {reason.rstrip('.')[:200]}."
        return [Command(name="command", label="Commands (file not usable)", problem=problem)]
    return [_command(str(name), table) for name, table in tables.items()]


def _command(name: str, table: Any) -> Command:
    where = f"The command {name[:40]!r} in the file of LORA_COMMANDS"
    if problem := _table_problem(name, table):
        return Command(name=name[:40], label=f"{name[:40]} (not usable)", problem=f"{where} {problem}.")
    return Command(
        name=name,
        label=table.get("label", name),
        argv=tuple(table["argv"]),
        before=tuple(map(tuple, table.get("before", ()))),
        uses_gpu=table.get("uses_gpu", True),
    )


def _table_problem(name: str, table: Any) -> str:
    """What is wrong with a table, as the end of "The command x ..."; empty when it can be used."""
    if not _TRAINER_NAME.fullmatch(name):
        return "has a name that is not lower case letters, digits and hyphens"
    if not isinstance(table, dict):
        return f"is no table. Write [{name}] and below it argv = [...]"
    if unknown := sorted(table.keys() - _KEYS):
        return f"has the unknown key {unknown[0][:40]!r}. Known: {', '.join(sorted(_KEYS))}"
    if not isinstance(table.get("label", ""), str) or not isinstance(table.get("uses_gpu", True), bool):
        return "needs a text as label, and true or false as uses_gpu"
    before = table.get("before", [])
    if not isinstance(before, list):
        return "needs a list of lists of texts as before"
    return next(filter(None, map(_argv_problem, (table.get("argv"), *before))), "")


def _argv_problem(argv: Any) -> str:
    if not isinstance(argv, list) or not argv or not all(isinstance(part, str) for part in argv):
        return 'needs its arguments as a list of texts, such as argv = ["/opt/x/train", "--data={dataset}"]'
    if len(argv) > MOST_ARGUMENTS or any("\0" in part for part in argv) or not argv[0]:
        return "has no program, too many arguments, or one with a NUL"
    if next(_names_in(argv[0]) if not _part_problem(argv[0]) else iter(()), None):
        return f"lets a value choose its program, {argv[0][:60]!r}. Write the program itself"
    return next(filter(None, map(_part_problem, argv)), "")


def _part_problem(part: str) -> str:
    try:
        fields = list(string.Formatter().parse(part))
    except ValueError:
        return f"has a brace without its partner in {part[:60]!r}. Write {{{{ and }}}} for braces themselves"
    for _, name, spec, conversion in fields:
        if name is None:
            continue
        if spec or conversion or name not in (*OWN_PLACEHOLDERS, *_SETTINGS):
            return f"names the unknown value {{{name[:40]}}}. Known: {', '.join((*OWN_PLACEHOLDERS, *_SETTINGS))}"
        if (name == MORE or isinstance(getattr(TrainingSettings(), name, None), tuple)) and part != f"{{{name}}}":
            return f"has {{{name}}} inside of {part[:60]!r}. It holds several texts, so it must be a whole argument"
    return ""


def _names_in(part: str) -> Iterator[str]:
    return (name for _, name, _, _ in string.Formatter().parse(part) if name is not None)


def _filled(argv: Sequence[str], run: TrainingRun) -> list[str]:
    """The arguments with their values. One that names an empty value is left out, a list becomes several."""
    own: dict[str, Any] = {
        "dataset": run.dataset_path,
        "output": run.output_dir,
        "name": file_stem(run.name),
        "prompts": run.output_dir / PROMPTS_FILE,
        MORE: tuple(str(each.path) for each in run.more),
    }
    arguments: list[str] = []
    for part in argv:
        values = {name: own[name] if name in own else getattr(run.settings, name) for name in _names_in(part)}
        lists = [value for value in values.values() if isinstance(value, tuple)]
        if lists:
            arguments += lists[0]
        elif not any(value is None or value == "" for value in values.values()):
            arguments.append(part.format_map(_texts(values)))
    return arguments


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in values.items()}


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, tuple) else [value]
