"""Which keys ai-toolkit's configuration has, read from its source: ``kwargs.get('key', default)`` of each class.

ai-toolkit ignores a key that it does not know, so nothing but its source tells a typo.
"""

import ast
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from lib.embedded.trainers.parser_source import MOST_SOURCE_BYTES, Kind, Option

SOURCE = "toolkit/config_modules.py"
# Section of a process -> the class that takes it in. A further option is looked for in this order.
SECTIONS = {
    "train": "TrainConfig",
    "model": "ModelConfig",
    "datasets": "DatasetConfig",
    "sample": "SampleConfig",
    "save": "SaveConfig",
    "network": "NetworkConfig",
}
_KINDS = {"bool": Kind.SWITCH, "int": Kind.INTEGER, "float": Kind.NUMBER}


def read_sections(checkout: Path) -> Mapping[str, Mapping[str, Option]]:
    """Section -> key -> option; empty when the source cannot be read or has not all of the classes."""
    try:
        source = checkout / SOURCE
        facts = source.stat()
        is_readable = source.is_file() and facts.st_size <= MOST_SOURCE_BYTES
        return _read(source, (facts.st_mtime_ns, facts.st_size)) if is_readable else {}
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):  # the last one: nested too deeply
        return {}


@lru_cache(maxsize=4)
def _read(source: Path, _stamp: tuple[int, int]) -> Mapping[str, Mapping[str, Option]]:
    tree = ast.parse(source.read_bytes())
    classes = {each.name: each for each in tree.body if isinstance(each, ast.ClassDef)}
    aliases = dict(filter(None, map(_literal, tree.body)))
    found = {name: dict(_keys(classes[name], aliases)) for name in SECTIONS.values() if name in classes}
    is_whole = len(found) == len(SECTIONS) and all(found.values())
    return {section: found[name] for section, name in SECTIONS.items()} if is_whole else {}


def _literal(node: ast.stmt) -> tuple[str, tuple[str, ...]] | None:
    """Name and words of ``Name = Literal['a', 'b']``."""
    if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Subscript):
        return None
    target, value = node.targets[0], node.value
    if not isinstance(target, ast.Name) or ast.unparse(value.value) != "Literal":
        return None
    return target.id, tuple(map(str, ast.literal_eval(value.slice)))


def _keys(body: ast.ClassDef, aliases: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, Option]]:
    annotated = {
        id(node.value): ast.unparse(node.annotation)
        for node in ast.walk(body)
        if isinstance(node, ast.AnnAssign) and node.value is not None
    }
    for node in ast.walk(body):
        if not isinstance(node, ast.Call) or ast.unparse(node.func) != "kwargs.get" or not node.args:
            continue
        key, *default = node.args
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            annotation = annotated.get(id(node), "")
            kind = _KINDS.get(annotation) or _kind_of(default[0] if default else None)
            said = ast.unparse(default[0]) if default else ""
            yield (
                key.value,
                Option(kind=kind, choices=aliases.get(annotation, ()), default="" if said == "None" else said),
            )


def _kind_of(default: ast.expr | None) -> Kind:
    """What a default says of the kind; a whole number may be a default of what takes fractions, too."""
    if not isinstance(default, ast.Constant) or default.value is None:
        return Kind.TEXT
    if isinstance(default.value, bool):
        return Kind.SWITCH
    return Kind.NUMBER if isinstance(default.value, int | float) else Kind.TEXT
