"""The layer law: imports point one way, and each foreign package has one room."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
(
    FRAME,
    SURFACE,
    UI,
    SERVICES,
    ACCESS,
    SOURCES,
    EMBEDDED,
    ARTIFACTS,
    SETTINGS,
    COMMAND,
    TERMINAL,
    JOBS,
    ERRORS,
    TINY,
) = "frame surface ui services access sources embedded artifacts settings command terminal jobs errors tiny".split()
ROOM_OF = {
    "Home": FRAME,
    "pages": SURFACE,
    "lib.app": FRAME,
    "lib.web": FRAME,
    "lib.watch": TERMINAL,
    "lib.run": TERMINAL,
    "lib.tiny_trainer": TINY,
    "lib.ui": UI,
    "lib.services": SERVICES,
    "lib.access": ACCESS,
    "lib.audit": ACCESS,
    "lib.sources": SOURCES,
    "lib.embedded": EMBEDDED,
    "lib.artifacts": ARTIFACTS,
    "lib.settings": SETTINGS,
    "lib.path_settings": SETTINGS,
    "lib.sign_in_settings": SETTINGS,
    "lib.ray_settings": SETTINGS,
    "lib.jobs": JOBS,
    "lib.jobs.explain": COMMAND,  # looks at the files of a trainer, too
    "lib.errors": ERRORS,
}
# What sources.protocol says is what every room above it speaks; it imports nothing but lib.jobs.
MAY_IMPORT = {
    FRAME: {FRAME, UI, SERVICES, ACCESS, SOURCES, SETTINGS, JOBS, ERRORS},
    SURFACE: {UI, SERVICES, SOURCES, JOBS, ERRORS},
    UI: {UI, SERVICES, ACCESS, SOURCES, JOBS, ERRORS},
    SERVICES: {ACCESS, SOURCES, EMBEDDED, ARTIFACTS, SETTINGS, JOBS, ERRORS},
    ACCESS: {ACCESS, SETTINGS, ERRORS},
    SOURCES: {SOURCES, EMBEDDED, ARTIFACTS, SETTINGS, JOBS, ERRORS},
    EMBEDDED: {EMBEDDED, ACCESS, ARTIFACTS, SETTINGS, JOBS, ERRORS},
    ARTIFACTS: {ARTIFACTS, SETTINGS, JOBS, ERRORS},
    SETTINGS: {SETTINGS, ERRORS},
    TERMINAL: {SOURCES, EMBEDDED, SETTINGS, JOBS, ERRORS},
    COMMAND: {ARTIFACTS, JOBS, ERRORS},
    JOBS: {JOBS, ERRORS},
    ERRORS: {ERRORS},
    TINY: {TINY},
}
ONLY_IN = {
    "streamlit": {FRAME, SURFACE, UI},
    "apprise": {EMBEDDED},
    "boto3": {ARTIFACTS},
    "botocore": {ARTIFACTS},
    "psutil": {EMBEDDED},
    "sqlite3": {EMBEDDED},
    "subprocess": {EMBEDDED},
    "requests": {SOURCES, EMBEDDED},
    "starlette": {FRAME},
    "humanize": {UI, JOBS},
    "pandas": {FRAME, UI},
    "pyarrow": {FRAME, UI},
    "pydantic": {SETTINGS, JOBS},
    "PIL": {EMBEDDED, TINY},
    "numpy": {ARTIFACTS, TINY},
    "safetensors": {TINY},
    "tqdm": {TINY},
}
# What lib.ui, the pages and the frame may know of lib.sources: never one source by its name.
OPEN_TO_UI = ("lib.sources.protocol", "lib.sources.reads")
# A room of lib.ui imports its own modules and those of lib.ui.parts; these arrows are the exceptions.
BETWEEN_UI_ROOMS = {("lib.ui.wizard.dataset_step", "lib.ui.datasets.facts")}
FILES = sorted([ROOT / "Home.py", *(ROOT / "pages").glob("*.py"), *(ROOT / "lib").rglob("*.py")])


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room_of(module: str) -> str | None:
    parts = module.split(".")
    names = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((ROOM_OF[name] for name in names if name in ROOM_OF), None)


def imports_of(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_imports_point_one_way(file: Path) -> None:
    module = module_of(file)
    room = room_of(module)
    if module == "lib":
        return
    assert room is not None, f"{module} stands in no room"
    for imported in imports_of(file):
        target = room_of(imported)
        if target is not None:
            assert target in MAY_IMPORT[room], f"{module} ({room}) imports {imported} ({target})"
        package = imported.split(".")[0]
        assert room in ONLY_IN.get(package, {room}), f"{module} ({room}) imports {package}"


def test_the_tiny_trainer_needs_little_and_nothing_of_the_dashboard() -> None:
    allowed = {"lib.tiny_trainer", "numpy", "PIL", "safetensors", "tqdm", *sys.stdlib_module_names}
    for file in (ROOT / "lib" / "tiny_trainer").glob("*.py"):
        for imported in imports_of(file):
            parts = imported.split(".")
            assert {parts[0], ".".join(parts[:2])} & allowed, f"{module_of(file)} imports {imported}"


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_rooms_of_the_ui_know_the_parts_and_the_protocol_only(file: Path) -> None:
    module = module_of(file)
    room = module.split(".")[2:3]
    for imported in imports_of(file):
        if room_of(module) in (UI, SURFACE, FRAME) and imported.startswith("lib.sources."):
            assert imported.startswith(OPEN_TO_UI), f"{module} imports {imported}"
        if module.startswith("lib.ui.") and imported.startswith("lib.ui."):
            target = imported.rsplit(".", 1)[0]
            is_open = imported.split(".")[2] in ("parts", *room) or (module, target) in BETWEEN_UI_ROOMS
            assert is_open, f"{module} imports {imported}"


def test_every_module_of_the_ui_stands_in_a_room() -> None:
    assert [path.name for path in (ROOT / "lib" / "ui").glob("*.py")] == ["__init__.py"]


def test_protocol_imports_only_jobs_and_errors() -> None:
    names = {name for file in ("protocol.py", "parts.py") for name in imports_of(ROOT / "lib" / "sources" / file)}
    rooms = {room_of(name) for name in names if not name.startswith("lib.sources.parts")} - {None}
    assert rooms == {JOBS, ERRORS}


def test_ignore_file_does_not_hide_the_library() -> None:
    ignored = (ROOT / ".gitignore").read_text().split()
    assert "lib/" not in ignored
    assert "/data/" in ignored
