"""Attempts whose nodes do not see the data folder: inputs go up to the store, what a node writes comes down again.

A node gets links only: to read its inputs and to write its own numbered slots, for seven days at most.
"""

import hashlib
import json
import logging
import os
import shutil
import tempfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any

from lib.artifacts.object_store import ObjectStore
from lib.artifacts.presigned import LONGEST_LIFE
from lib.embedded.files.attempt_folder import AttemptFolder, Exit
from lib.embedded.files.json_file import json_object, replace_json
from lib.embedded.ray import runner
from lib.errors import ArtifactError, DashboardError

SLOTS = 2_000
EVERY_S = 2.0
PIECE_BYTES = 8 << 20
MOST_INDEX_BYTES = 4 << 20
_SAID_CHARACTERS = 300
_LINK_LIFE = LONGEST_LIFE - timedelta(minutes=1)
_NO_INPUT = (".dataset.json",)
_OURS = frozenset({"spec.json", "log", "lock", "ray.json", "cancel", "stop.json"})
MOST_TEXT_BYTES = 1 << 20
_log = logging.getLogger("worker")


@dataclass(slots=True, kw_only=True)
class _Mirrored:
    """An attempt that is brought down. ``versions``: path -> what was fetched of it."""

    folder: AttemptFolder
    prefix: str
    versions: dict[str, list[int]] = field(default_factory=dict)
    beat: float = 0.0


class StoreTransport:
    """Brings inputs up and results down; a thread of its own does the latter."""

    def __init__(self, store: ObjectStore, *, slots: int = SLOTS, every_s: float = EVERY_S) -> None:
        self._store, self._slots, self._every_s = store, slots, every_s
        self._mirrored: dict[str, _Mirrored] = {}
        self._done: list[str] = []
        self._guard = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def publish(self, folder: AttemptFolder, submission: str, prefix: str, inputs: Mapping[str, Path]) -> str:
        """Bring everything up that a node needs, and return the link to its ticket. Raises ArtifactError."""
        # A single file is brought up alone; what is below its folder has the same name there as here.
        folders = {name: path if path.is_dir() else path.parent for name, path in inputs.items()}
        places = {"{attempt}": str(folder.path), **{f"{{{name}}}": str(path) for name, path in folders.items()}}
        spec = json.loads((folder.path / "spec.json").read_bytes())
        small, large = _laid_files(folder.path)
        ticket = {
            "id": submission,
            "spec": _without(spec, places),
            "files": {name: _without(text, places) for name, text in small.items()},
            "laid": {"names": sorted(large), **self._bring_up(large)} if large else None,
            "inputs": {name: self._bring_up(_files_of(path)) for name, path in inputs.items()},
            "slots": [self._store.sign_upload(f"{prefix}slots/{n:05}", _LINK_LIFE) for n in range(self._slots)],
            "index": self._store.sign_upload(f"{prefix}index.json", _LINK_LIFE),
        }
        with tempfile.NamedTemporaryFile() as file:
            file.write(json.dumps(ticket).encode())
            file.flush()
            self._store.upload(Path(file.name), f"{prefix}ticket.json")
        return self._store.sign(f"{prefix}ticket.json", "ticket.json", _LINK_LIFE).url

    def _bring_up(self, files: Mapping[str, Path]) -> dict[str, str]:
        """The files as a zip under its hash, sent unless the store has it."""
        with tempfile.NamedTemporaryFile(suffix=".zip") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                for name, path in sorted(files.items()):
                    with (
                        path.open("rb") as content,
                        archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as entry,
                    ):
                        shutil.copyfileobj(content, entry, PIECE_BYTES)
            file.flush()
            file.seek(0)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            key = f"cluster/inputs/{sha256}.zip"
            try:
                self._store.head(key)
            except ArtifactError:
                self._store.upload(Path(file.name), key)
        return {"sha256": sha256, "url": self._store.sign(key, "input.zip", _LINK_LIFE).url}

    def follow(self, mark: str, folder: AttemptFolder, prefix: str) -> None:
        """Bring down what an attempt writes, from now on."""
        with self._guard:
            self._mirrored.setdefault(mark, _Mirrored(folder=folder, prefix=prefix))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)
            self._thread.start()

    def release(self, mark: str) -> None:
        """Its end is recorded: what the store has of it goes."""
        with self._guard:
            if (found := self._mirrored.pop(mark, None)) is not None:
                self._done.append(found.prefix)

    def close(self) -> None:
        """End the thread; the next worker goes on."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()
        self._store.close()

    def _run(self) -> None:
        said = ""
        while not self._closed.wait(self._every_s):
            with self._guard:
                mirrored, done = list(self._mirrored.values()), list(self._done)
            for each in mirrored:
                try:
                    self.bring_down(each)
                except Exception as error:  # whatever one node wrote, the others are brought down
                    reason = f"{type(error).__name__}: {error}"[:_SAID_CHARACTERS]
                    if reason != said:
                        _log.warning("%s: %r", each.prefix, reason)
                    said = reason
            for prefix in done:
                with suppress(DashboardError):
                    self._store.delete_prefix(prefix)
                    self._done.remove(prefix)

    def bring_down(self, each: _Mirrored) -> None:
        """What is new of one attempt; its end comes last. Raises ArtifactError, or OSError for this machine's disk."""
        index = self._index(each.prefix)
        if index is None or each.folder.read_exit() is not None:
            return
        folder = each.folder.path
        if not (folder / runner.TAKEN).exists():
            replace_json(folder / runner.TAKEN, {"submission": "", "host": str(index["host"])[:200]})
            each.folder.mark_started(supervisor=0)
        if index["beat"] != each.beat:
            each.beat = index["beat"]
            (folder / "beat").write_text(str(each.beat))
        self._bring_log(each, index["log"])
        for name, file in index["files"].items():
            self._bring_file(each, name, file["slot"], file["version"])
        if "exit" in index:
            each.folder.write_exit(_told_exit(index["exit"], each.folder))

    def _index(self, prefix: str) -> dict[str, Any] | None:
        try:
            part = self._store.read_range(f"{prefix}index.json", 0, MOST_INDEX_BYTES)
        except ArtifactError as error:
            if "not in the store" in str(error):
                return None
            raise
        return json_object(part.data)

    def _pieces(self, key: str, offset: int, end: int) -> Iterator[bytes]:
        """The bytes of an object from ``offset`` to ``end``, fewer where it is shorter; all of one version of it."""
        etag = ""
        while offset < end:
            part = self._store.read_range(key, offset, min(PIECE_BYTES, end - offset), etag=etag)
            if not part.data:
                return
            yield part.data
            offset, etag = offset + len(part.data), part.etag

    def _bring_log(self, each: _Mirrored, parts: list[list[int]]) -> None:
        have, start = each.folder.log_size(), 0
        for slot, length in parts:
            if start + length > have:
                with each.folder.log.open("ab") as log:
                    for piece in self._pieces(_slot_key(each, slot), max(0, have - start), length):
                        log.write(piece)
                have = start + length
            start += length

    def _bring_file(self, each: _Mirrored, name: str, slot: int, version: list[int]) -> None:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or path.parts[0] not in ("output", "logs"):
            raise ValueError(f"a node names a file outside of its folder: {name[:100]!r}")
        target = each.folder.path / path
        if each.versions.get(name) == version:
            return
        size, modified_ns = version
        if not _is_same(target, size, modified_ns):
            target.parent.mkdir(parents=True, exist_ok=True)
            half = target.with_name(f".{target.name}.part")
            with half.open("wb") as file:
                for piece in self._pieces(_slot_key(each, slot), 0, size):
                    file.write(piece)
            if half.stat().st_size != size:
                return  # replaced meanwhile: the next index says so
            os.utime(half, ns=(modified_ns, modified_ns))
            half.replace(target)
        each.versions[name] = version


def _slot_key(each: _Mirrored, slot: int) -> str:
    return f"{each.prefix}slots/{int(slot):05}"


def _is_same(path: Path, size: int, modified_ns: int) -> bool:
    with suppress(OSError):
        stat = path.stat()
        return (stat.st_size, stat.st_mtime_ns) == (size, modified_ns)
    return False


def _told_exit(record: Mapping[str, Any], folder: AttemptFolder) -> Exit:
    """How a node says that it ended; whether that was wanted is known here."""
    stopped_for = "" if folder.cancel_requested() else folder.stop_requested()[0]
    known = {name: record[name] for name in ("exit_code", "finished_at", "timed_out", "start_error", "free_bytes")}
    cancelled = (bool(record["cancelled"]) and not stopped_for) or folder.cancel_requested()
    return Exit(**known, cancelled=cancelled, stopped_for=stopped_for)


def _without(value: Any, places: Mapping[str, str]) -> Any:
    """A value with names in place of this machine's paths, the longest first: one may be below another."""
    text = json.dumps(value)
    for name, path in sorted(places.items(), key=lambda each: -len(each[1])):
        text = text.replace(json.dumps(path)[1:-1], name)
    return json.loads(text)


def _files_of(path: Path) -> dict[str, Path]:
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
    for name, path in _files_of(folder).items():
        if name in _OURS:
            continue
        try:
            if path.stat().st_size >= MOST_TEXT_BYTES:
                raise ValueError(name)
            small[name] = path.read_text(encoding="utf-8")
        except ValueError:  # no text
            large[name] = path
    return small, large
