"""What goes up to the store for an attempt whose node does not see the data folder: its inputs, and links.

A node gets links only: to read its inputs and to write its own numbered slots, for seven days at most.
"""

import hashlib
import json
import os
import secrets
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lib.artifacts.object_store import ObjectStore, StoredObject
from lib.artifacts.presigned import LONGEST_LIFE
from lib.embedded.files.attempt_folder import AttemptFolder

PIECE_BYTES = 8 << 20
MOST_TEXT_BYTES = 1 << 20
LINK_LIFE = LONGEST_LIFE - timedelta(minutes=1)
INPUTS = "cluster/inputs/"
# An input is sent again when it is older than the first, and goes when it is older than the second: in between no link
# to it is left, for links live seven days.
FRESH, KEPT = timedelta(days=10), timedelta(days=30)
_NO_INPUT = (".dataset.json",)
_OURS = frozenset({"spec.json", "log", "lock", "ray.json", "cancel", "stop.json"})


def publish(
    store: ObjectStore, folder: AttemptFolder, submission: str, prefix: str, inputs: Mapping[str, Path], slots: int
) -> str:
    """Bring everything up that a node needs, and return the link to its ticket. Raises ArtifactError or OSError."""
    # A single file is brought up alone; what is below its folder has the same name there as here.
    folders = {name: path if path.is_dir() else path.parent for name, path in inputs.items()}
    mark = secrets.token_hex(8)  # no text of a person's has it by chance
    places = {f"{{{name}-{mark}}}": str(path) for name, path in {"attempt": folder.path, **folders}.items()}
    spec = json.loads((folder.path / "spec.json").read_bytes())
    tidy(store)
    small, large = _laid_files(folder.path)
    ticket = {
        "id": submission,
        "mark": mark,
        "spec": _without(spec, places),
        "files": {name: _without(text, places) for name, text in small.items()},
        "laid": {"names": sorted(large), **_bring_up(store, large)} if large else None,
        "inputs": {name: _bring_up(store, files_of(path)) for name, path in inputs.items()},
        "links": renew_links(store, prefix, slots),
    }
    put_object(store, f"{prefix}stop.json", {})
    put_object(store, f"{prefix}ticket.json", ticket)
    return store.sign(f"{prefix}ticket.json", "ticket.json", LINK_LIFE).url


def renew_links(store: ObjectStore, prefix: str, slots: int) -> str:
    """Sign all links of an attempt, put them where its node finds them, and return the link to that."""
    itself = store.sign(f"{prefix}links.json", "links.json", LINK_LIFE).url
    links = {
        "slots": [store.sign_upload(f"{prefix}slots/{n:05}", LINK_LIFE) for n in range(slots)],
        "index": store.sign_upload(f"{prefix}index.json", LINK_LIFE),
        "told": store.sign(f"{prefix}index.json", "index.json", LINK_LIFE).url,
        "stop": store.sign(f"{prefix}stop.json", "stop.json", LINK_LIFE).url,
        "links": itself,
    }
    put_object(store, f"{prefix}links.json", links)
    return itself


def put_object(store: ObjectStore, key: str, content: Mapping[str, Any]) -> None:
    """Write a small JSON object."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(json.dumps(content).encode())
        file.flush()
        store.upload(Path(file.name), key)


def _bring_up(store: ObjectStore, files: Mapping[str, Path]) -> dict[str, str]:
    """The files as a zip under its hash, sent unless the store has it."""
    with tempfile.NamedTemporaryFile(suffix=".zip") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, path in sorted(files.items()):
                # A zip has no names that are not Unicode.
                readable = name.encode(errors="surrogateescape").decode(errors="replace")
                with (
                    path.open("rb") as content,
                    archive.open(zipfile.ZipInfo(readable), "w", force_zip64=True) as entry,
                ):
                    shutil.copyfileobj(content, entry, PIECE_BYTES)
        file.flush()
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        key = f"{INPUTS}{sha256}.zip"
        if not any(_age(each) < FRESH for each in store.list(key)):
            store.upload(Path(file.name), key)
    return {"sha256": sha256, "url": store.sign(key, "input.zip", LINK_LIFE).url}


def tidy(store: ObjectStore) -> None:
    """Remove inputs that no attempt used for a month, of any dashboard that shares the store. Raises ArtifactError."""
    for each in store.list(INPUTS):
        if _age(each) > KEPT:
            store.delete_prefix(each.key)


def _age(stored: StoredObject) -> timedelta:
    """How old it is; an unknown age is that of neither a fresh nor an old one."""
    return datetime.now(UTC) - stored.modified_at if stored.modified_at else FRESH


def _without(value: Any, places: Mapping[str, str]) -> Any:
    """A value with names in place of this machine's paths, the longest first: one may be below another."""
    text = json.dumps(value)
    for name, path in sorted(places.items(), key=lambda each: -len(each[1])):
        text = text.replace(json.dumps(path)[1:-1], name)
    return json.loads(text)


def files_of(path: Path) -> dict[str, Path]:
    """A file, or all files of a folder, by their names in it."""
    if path.is_file():
        return {path.name: path}
    # Links too: a state may be a link to that of a former attempt.
    found, seen = [], {os.path.realpath(path)}
    for root, folders, names in os.walk(path, followlinks=True):
        found += [Path(root, name) for name in names]
        real = {name: os.path.realpath(Path(root, name)) for name in folders}
        folders[:] = [name for name in folders if real[name] not in seen]  # a link may lead to a folder above it
        seen.update(real.values())
    return {each.relative_to(path).as_posix(): each for each in found if each.is_file() and each.name not in _NO_INPUT}


def _laid_files(folder: Path) -> tuple[dict[str, str], dict[str, Path]]:
    """What a recipe put into the attempt's folder: texts, which may name paths, and everything else."""
    small, large = {}, {}
    for name, path in files_of(folder).items():
        if name in _OURS:
            continue
        try:
            if path.stat().st_size >= MOST_TEXT_BYTES:
                raise ValueError(name)
            small[name] = path.read_text(encoding="utf-8")
        except ValueError:  # no text
            large[name] = path
    return small, large
