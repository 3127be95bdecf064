"""Which options a trainer's command line takes, read from the source of its own parser without running it.

Importing a trainer takes half a minute and its whole environment; the calls of ``add_argument`` that its entry
(``setup_parser``, ``main``, ``parse_args``) leads to say the same in a quarter of a second.
"""

import ast
import contextlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

ENTRY = "setup_parser"
MOST_SOURCE_BYTES = 4 << 20
DEEPEST = 2  # folders below the root in which a parser's options are


class Kind(StrEnum):
    """What an option's value is."""

    SWITCH = "switch"
    INTEGER = "integer"
    NUMBER = "number"
    TEXT = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option as the trainer's parser takes it.

    Attributes:
        choices: Empty where any value will do.
        default: The default as the source writes it; empty where it has none.
    """

    kind: Kind = Kind.TEXT
    choices: tuple[str, ...] = ()
    is_list: bool = False
    is_required: bool = False
    default: str = ""


def read_options(root: Path, script: str, entry: str = ENTRY) -> Mapping[str, Option] | None:
    """Name -> option of a script; None when its parser cannot be read.

    Args:
        root: The folder that the script and what it imports are found from.
        script: Its path below that folder, with ``/``.
        entry: The function of the script that makes its parser.
    """
    try:
        (root / script).stat()
        stamp = frozenset(_changed_at(root, DEEPEST))
    except OSError:
        return None
    return _read(root, script, entry, stamp)


def options_from(plain: Mapping[str, Mapping[str, Any]]) -> dict[str, Option]:
    """Options from the JSON that ``main`` prints."""
    return {
        name: Option(
            kind=Kind(each["kind"]),
            choices=tuple(each.get("choices", ())),
            is_list=bool(each.get("is_list", False)),
            is_required=bool(each.get("is_required", False)),
            default=str(each.get("default", "")),
        )
        for name, each in plain.items()
    }


def plain_options(options: Mapping[str, Option]) -> dict[str, dict[str, Any]]:
    """Options as JSON that ``options_from`` reads; what is not said is left out."""
    found = {name: asdict(option) for name, option in sorted(options.items())}
    return {name: {key: value for key, value in each.items() if value} for name, each in found.items()}


def version_problems(arguments: Iterable[str], options: Mapping[str, Option], trainer: str) -> list[str]:
    """Why a trainer's parser would not take the arguments that we write: it is of another version."""
    given = {part[2:].partition("=")[0] for part in arguments if part.startswith("--")}
    unknown = sorted(given - options.keys())
    absent = sorted(name for name, option in options.items() if option.is_required and name not in given)
    faults = [*(f"has no option {name}" for name in unknown), *(f"also needs the option {name}" for name in absent)]
    if not faults:
        return []
    return [f"This {trainer} {faults[0]}: it is of another version than the dashboard knows. Update it."]


def _changed_at(folder: str | Path, depth: int) -> Iterator[tuple[str, int, int]]:
    """Path, time and size of each source; two changes may have the same time.

    The review of a sweep asks some hundred times, and pathlib is four times slower.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".py"):
                with contextlib.suppress(FileNotFoundError):  # the lock of an editor is a link to nothing
                    facts = entry.stat()
                    yield entry.path, facts.st_mtime_ns, facts.st_size
            elif depth and entry.is_dir():
                yield from _changed_at(entry.path, depth - 1)


@lru_cache(maxsize=64)
def _read(root: Path, script: str, entry: str, stamp: frozenset[tuple[str, int, int]]) -> Mapping[str, Option] | None:
    """``stamp`` changes with the checkout's revision, and with it the answer."""
    try:
        found = dict(_Checkout(root).options(script.removesuffix(".py").replace("/", "."), entry))
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):  # the last one: nested too deeply
        return None
    return found or None


class _Checkout:
    """The modules of a checkout, parsed when they are asked for."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._modules: dict[str, _Module | None] = {}
        self._seen: set[tuple[str, str]] = set()

    def options(self, module: str, function: str) -> Iterator[tuple[str, Option]]:
        """What a function adds to a parser, and the functions of the checkout that it calls."""
        known = self._module(module)
        if known is None or (module, function) in self._seen:
            return
        self._seen.add((module, function))
        body = known.functions.get(function)
        if body is None:
            if target := known.imported.get(function):  # a name that the module only passes on
                yield from self.options(*target)
            return
        for node in ast.walk(body):
            if isinstance(node, ast.Call):
                yield from _option(node)
                if target := known.called(node.func):
                    yield from self.options(*target)

    def _module(self, name: str) -> "_Module | None":
        if name not in self._modules:
            path = self._root.joinpath(*name.split(".")).with_suffix(".py")
            is_readable = path.is_file() and path.stat().st_size <= MOST_SOURCE_BYTES
            self._modules[name] = _Module(name, ast.parse(path.read_bytes())) if is_readable else None
        return self._modules[name]


class _Module:
    """The functions of a module, and what its imports call other modules and their functions."""

    def __init__(self, name: str, tree: ast.Module) -> None:
        self._name = name
        self.functions = {each.name: each for each in tree.body if isinstance(each, ast.FunctionDef)}
        self._modules: dict[str, str] = {}
        self.imported: dict[str, tuple[str, str]] = {}
        for node in tree.body:
            if isinstance(node, ast.Import):
                self._modules |= {each.asname or each.name: each.name for each in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for each in node.names:
                    self._modules[each.asname or each.name] = f"{node.module}.{each.name}"
                    self.imported[each.asname or each.name] = (node.module, each.name)

    def called(self, function: ast.expr) -> tuple[str, str] | None:
        """Module and name of a function that is called."""
        if isinstance(function, ast.Name):
            return (self._name, function.id) if function.id in self.functions else self.imported.get(function.id)
        if isinstance(function, ast.Attribute):
            module = self._modules.get(ast.unparse(function.value))
            return (module, function.attr) if module else None
        return None


def _option(call: ast.Call) -> Iterator[tuple[str, Option]]:
    """The option that a call of ``add_argument`` adds."""
    if not isinstance(call.func, ast.Attribute) or call.func.attr != "add_argument":
        return
    names = [each.value for each in call.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    given = {each.arg: each.value for each in call.keywords if each.arg}
    for name in names:
        if name.startswith("--"):
            yield (
                name.removeprefix("--"),
                Option(
                    kind=_kind(given),
                    choices=_choices(given),
                    is_list="nargs" in given,
                    is_required="required" in given and ast.unparse(given["required"]) == "True",
                    default=_default(given),
                ),
            )


def _kind(given: Mapping[str, ast.expr]) -> Kind:
    action = given.get("action")
    if action is not None:
        is_switch = isinstance(action, ast.Constant) and action.value in ("store_true", "store_false")
        return Kind.SWITCH if is_switch else Kind.TEXT
    words = ast.unparse(given["type"]) if "type" in given else "str"
    return {"int": Kind.INTEGER, "float": Kind.NUMBER, "int_or_float": Kind.NUMBER, "_int_or_float": Kind.NUMBER}.get(
        words, Kind.TEXT
    )


def _default(given: Mapping[str, ast.expr]) -> str:
    default = given.get("default")
    return "" if default is None or ast.unparse(default) == "None" else ast.unparse(default)


def _choices(given: Mapping[str, ast.expr]) -> tuple[str, ...]:
    try:
        choices = ast.literal_eval(given["choices"]) if "choices" in given else ()
    except ValueError:
        return ()
    return tuple(str(each) for each in choices if each is not None) if isinstance(choices, list | tuple | set) else ()


def main() -> None:
    """Print the options of scripts as JSON: ``ROOT ENTRY SCRIPT…``."""
    root, entry, *scripts = sys.argv[1:]
    found = {
        name: option for script in scripts for name, option in (read_options(Path(root), script, entry) or {}).items()
    }
    lines = (f"  {json.dumps(name)}: {json.dumps(each)}" for name, each in plain_options(found).items())
    sys.stdout.write("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
