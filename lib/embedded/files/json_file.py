"""Small JSON files, replaced in one step so that readers never see half of one."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a JSON file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_json(path, content)


def replace_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a JSON file in one step; its folder must exist."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}-{time.monotonic_ns()}")
    try:
        unfinished.write_text(json.dumps(content, separators=(",", ":")), encoding="ascii")
        unfinished.replace(path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object; None when the file is missing or unreadable (a power cut leaves empty files)."""
    try:
        return json_object(path.read_bytes())
    except FileNotFoundError:
        return None


def json_object(data: bytes) -> dict[str, Any] | None:
    """The object in a JSON file; None when it cannot be parsed."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
