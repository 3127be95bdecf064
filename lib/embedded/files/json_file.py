"""Small JSON files that are replaced whole, so that nobody reads half of one."""

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
    """Replace a JSON file in one step, in a folder that has to be there."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}-{time.monotonic_ns()}")
    try:
        unfinished.write_text(json.dumps(content, separators=(",", ":")), encoding="ascii")
        unfinished.replace(path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object; None when there is no file, or none that can be understood (a power cut leaves empty ones)."""
    try:
        return json_object(path.read_bytes())
    except FileNotFoundError:
        return None


def json_object(data: bytes) -> dict[str, Any] | None:
    """What a JSON file says; None when it cannot be understood."""
    try:
        content = json.loads(data)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None
