"""Shipped beside ``runner.py``: fetches an attempt from a store and sends what it writes there, by links alone.

Links are all that a node gets: one reads the attempt's ticket, those in it read its dataset and write its numbered
slots, for days at most. ``index.json`` says what each slot holds, and comes last.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import socket
import tempfile
import threading
import time
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

EVERY_S = 3.0
PART_BYTES = 1 << 20
TIMEOUT_S = 60.0
# How long the end is tried to be told while the store is away.
LAST_TRY_S = 900.0


def fetch(url: str) -> bytes:
    """What a link leads to."""
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
        data: bytes = answer.read()
    return data


def put(url: str, data: Any, size: int) -> None:
    """Write to a slot; what was there before is replaced."""
    request = urllib.request.Request(url, data=data, method="PUT", headers={"Content-Length": str(size)})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):
            pass
    except http.client.HTTPException as error:  # as if it had not answered: tried again
        raise OSError(f"the store broke off ({type(error).__name__})") from error


def unpack(ticket: dict[str, Any], root: Path) -> Path:
    """Make the attempt's folder below ``root``: its inputs, which later attempts find again, and its small files."""
    folder = Path(root, "attempts", ticket["id"])
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    if root.stat().st_uid != os.getuid():
        raise OSError(f"{root} belongs to somebody else")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "output").mkdir(parents=True)
    places = {"{attempt}": str(folder)}
    for name, each in ticket["inputs"].items():
        places[f"{{{name}}}"] = str(_input(each, root / "inputs"))
    if ticket["laid"]:
        _extract(ticket["laid"], folder)
    for path, text in ticket["files"].items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(placed(text, places))
    spec = placed(json.dumps(ticket["spec"]), {name: json.dumps(each)[1:-1] for name, each in places.items()})
    (folder / "spec.json").write_text(spec)
    (folder / "log").touch()
    return folder


def placed(text: str, places: dict[str, str]) -> str:
    """A text with the node's own paths."""
    for name, place in places.items():
        text = text.replace(name, place)
    return text


def _input(given: dict[str, str], folder: Path) -> Path:
    """A folder by the hash of its zip, fetched unless it is there."""
    target: Path = folder / given["sha256"]
    if target.is_dir():
        return target  # from a former attempt
    half = folder / f".{given['sha256']}.{os.getpid()}"
    _extract(given, half)
    with contextlib.suppress(OSError):  # another attempt was faster
        half.replace(target)
    shutil.rmtree(half, ignore_errors=True)
    return target


def _extract(given: dict[str, Any], target: Path) -> None:
    """Fetch a zip, see that it is whole, and unpack it."""
    target.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with tempfile.TemporaryFile(dir=target.parent) as file:
        with urllib.request.urlopen(given["url"], timeout=TIMEOUT_S) as answer:
            while data := answer.read(PART_BYTES):
                digest.update(data)
                file.write(data)
        if digest.hexdigest() != given["sha256"]:
            raise OSError("an input arrived damaged")
        with zipfile.ZipFile(file) as archive:
            archive.extractall(target)


class Sender(threading.Thread):
    """Sends the log and finished files every few seconds, newest first, then the index."""

    def __init__(self, ticket: dict[str, Any], folder: Path) -> None:
        super().__init__(name="sender", daemon=True)
        self._slots: list[str] = ticket["slots"]
        self._index_url: str = ticket["index"]
        self._folder = folder
        self._log: list[list[int]] = []
        self._files: dict[str, dict[str, Any]] = {}
        self._seen: dict[str, tuple[int, int]] = {}
        self._known = {*ticket["files"], *(ticket["laid"] or {}).get("names", ())}
        self._used, self._errors = 0, 0
        self._ended = threading.Event()
        self._told = ""

    def run(self) -> None:
        while not self._ended.wait(EVERY_S):
            with contextlib.suppress(OSError):
                self.send()

    def finish(self, must_end: Callable[[], bool]) -> None:
        """Send what is left and how it ended; tried again until that is told or must end."""
        self._ended.set()
        self.join()
        deadline = time.monotonic() + LAST_TRY_S
        while time.monotonic() < deadline:
            try:
                self.send(is_last=True)
                return
            except OSError:
                if must_end():
                    return
                time.sleep(EVERY_S)

    def send(self, *, is_last: bool = False) -> None:
        """One round. Raises OSError when something could not be sent, which the next round does."""
        problem: OSError | None = None
        try:
            self._send_log()
        except OSError as error:
            problem = error
        for path, stat in self._changed(is_last):
            try:
                self._send_file(path, stat)
            except OSError as error:
                problem = error
        self._errors += problem is not None
        if is_last and problem is not None:
            raise problem
        index: dict[str, Any] = {"host": socket.gethostname(), "log": self._log, "files": self._files}
        index["errors"] = self._errors
        if is_last:
            index["exit"] = json.loads((self._folder / "exit.json").read_bytes())
        text = json.dumps({**index, "beat": time.time()}).encode()
        put(self._index_url, text, len(text))

    def _slot(self) -> int:
        if self._used == len(self._slots):
            raise OSError("there are no slots left")
        self._used += 1
        return self._used - 1

    def _send_log(self) -> None:
        """Send what is new: the last part is replaced until it is full."""
        size = (self._folder / "log").stat().st_size
        sent = sum(length for _, length in self._log)
        while sent < size:
            if not self._log or self._log[-1][1] >= PART_BYTES:
                self._log.append([self._slot(), 0])
            start = sent - self._log[-1][1]
            with (self._folder / "log").open("rb") as log:
                log.seek(start)
                data = log.read(PART_BYTES)
            put(self._slots[self._log[-1][0]], data, len(data))
            sent = start + len(data)
            self._log[-1][1] = len(data)

    def _changed(self, is_last: bool) -> list[tuple[str, os.stat_result]]:
        """Files that are new or changed and do not change now, newest first."""
        found = {}
        for path in self._folder.rglob("*"):
            name = path.relative_to(self._folder).as_posix()
            if path.is_symlink() or not path.is_file() or not name.startswith(("output/", "logs/")):
                continue
            with contextlib.suppress(OSError):
                found[name] = path.stat()
        now = {name: (stat.st_size, stat.st_mtime_ns) for name, stat in found.items()}
        changed = [
            (name, stat)
            for name, stat in found.items()
            if (is_last or self._seen.get(name) == now[name])
            and self._files.get(name, {}).get("version") != [*now[name]]
            and name not in self._known
        ]
        self._seen = now
        return sorted(changed, key=lambda each: -each[1].st_mtime)

    def _send_file(self, name: str, stat: os.stat_result) -> None:
        slot = self._files.get(name, {}).get("slot")
        slot = self._slot() if slot is None else slot
        with (self._folder / name).open("rb") as file:
            put(self._slots[slot], file, stat.st_size)
        self._files[name] = {"slot": slot, "version": [stat.st_size, stat.st_mtime_ns]}
