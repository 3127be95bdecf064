"""The beginning of a file that a browser sent reads like the file itself; anything else is refused."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from lib.artifacts.lora.file import read_local, read_lora
from lib.artifacts.lora.sent_bytes import sent_file
from lib.errors import ArtifactError
from tests.artifacts.lora.files import INDEX, RECORDED


def sent(path: Path) -> dict[str, Any]:
    """What the page's script sends of a file."""
    data = path.read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    entries = json.loads(data[8:begin])
    places = [each["data_offsets"] for name, each in entries.items() if name.endswith(".alpha")]
    alphas = [
        [begin + first, base64.b64encode(data[begin + first : begin + last]).decode()]
        for first, last in places
        if last - first <= 8
    ]
    return {"size": len(data), "start": base64.b64encode(data[:begin]).decode(), "alphas": alphas}


# One of each folder, which is one of each writer.
FILES = {
    each["path"].partition("/")[0]: each["path"]
    for each in INDEX
    if not each["path"].startswith(("broken", "not_lora")) and "adapter_model" not in each["path"]
}


@pytest.mark.parametrize("name", FILES.values())
def test_the_beginning_tells_what_the_whole_file_tells(name: str) -> None:
    path = RECORDED / name
    assert read_lora(sent_file(sent(path))).modules == read_local(path).modules


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"size": 1, "start": "?", "alphas": []},
        {"size": "x", "start": "", "alphas": []},
        {"size": 1, "start": "", "alphas": [[1]]},
        {"size": 1, "start": "", "alphas": [[0, base64.b64encode(bytes(9)).decode()]]},
        {"size": 1, "start": 5, "alphas": None},
    ],
)
def test_anything_else_is_refused(payload: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match="The browser sent"):
        sent_file(payload)


def test_a_claimed_size_allocates_nothing() -> None:
    file = sent_file({"size": 1 << 50, "start": base64.b64encode(b"x" * 10).decode(), "alphas": []})
    assert len(file.read(1 << 40, 1 << 40)) <= 1 << 20
