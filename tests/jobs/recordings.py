"""The recorded trainer runs, as fixtures."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "recordings" / "trainers"
RECORDINGS = tuple(sorted(path.parent.name for path in FOLDER.glob("*/meta.json")))


@cache
def raw_log(name: str) -> bytes:
    """The bytes of both streams in the order they arrived."""
    return next((FOLDER / name).glob("*.bin")).read_bytes()


@cache
def _chunks(name: str) -> tuple[tuple[float, bytes], ...]:
    lines = (FOLDER / name / "merged.jsonl").read_text(encoding="utf-8").splitlines()
    records = map(json.loads, filter(None, lines))
    return tuple((float(record["t"]), record["text"].encode()) for record in records)


def chunks_of(name: str) -> Iterator[tuple[float, bytes]]:
    """Seconds since the start, and the bytes of one read."""
    return iter(_chunks(name))


@cache
def meta(name: str) -> dict[str, Any]:
    """Command, environment, exit code and times of the run."""
    answer: dict[str, Any] = json.loads((FOLDER / name / "meta.json").read_text(encoding="utf-8"))
    return answer
