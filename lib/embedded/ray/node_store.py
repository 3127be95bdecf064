"""Shipped beside ``runner.py``: fetches an attempt from a store, by links alone.

Links are all that a node gets: one reads the attempt's ticket, which says where its other links are. They read its
dataset and write its numbered slots, for days at most, and are fetched anew while they are good.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

PART_BYTES = 1 << 20
# A file's part in one slot: a store takes 5 GB at once, and a part that fails is sent again.
FILE_BYTES = 1 << 30
TIMEOUT_S = 60.0
POLL_S = 1.0
# How long the beginning waits for a store that is away.
FIRST_TRY_S = 900.0
# A link lives for seven days, or for as long as the credentials that signed it.
RENEW_EVERY_S = 1800.0
# What nobody used for so long goes; what an attempt could not send stays at least for so long.
KEPT_S = 30 * 86_400.0
MOST_SMALL_BYTES = 32 << 20
_BUSY = (408, 425, 429)  # these and all from 500 on pass


class StoreAway(OSError):
    """The store did not answer, or something else did: tried again."""


class LinkRefused(OSError):
    """The store refused a link, which is expired or leads to nothing: trying it again is of no use."""


def fetch(url: str, most: int = MOST_SMALL_BYTES) -> bytes:
    """What a link leads to. Raises StoreAway or LinkRefused."""
    with _asked(urllib.request.Request(url)) as answer:
        data: bytes = answer.read(most)
    return data


def fetch_object(url: str) -> dict[str, Any]:
    """A JSON object; a page that a proxy puts in the place of the store's answer is none."""
    try:
        found = json.loads(fetch(url))
    except ValueError:
        raise StoreAway("what answered is not the store") from None
    if not isinstance(found, dict):
        raise StoreAway("what answered is not the store")
    return found


def put(url: str, data: Any, size: int) -> None:
    """Write to a slot; what was there before is replaced. Raises StoreAway or LinkRefused."""
    request = urllib.request.Request(url, data=data, method="PUT", headers={"Content-Length": str(size)})
    with _asked(request) as answer:
        if not answer.headers.get("ETag"):
            raise StoreAway("what answered is not the store")


@contextlib.contextmanager
def _asked(request: urllib.request.Request) -> Any:
    """The answer to a request; the store's errors in words that hold no link."""
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            yield answer
    except urllib.error.HTTPError as error:
        error.close()
        if error.code < 500 and error.code not in _BUSY:
            raise LinkRefused(f"the store refused a link ({error.code})") from None
        raise StoreAway(f"the store failed ({error.code})") from None
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
        reason = getattr(error, "reason", "")
        named = reason if isinstance(reason, Exception) else error
        raise StoreAway(f"the store does not answer ({type(named).__name__})") from None


def patiently(ask: Callable[[], Any], must_end: Callable[[], bool]) -> Any:
    """What ``ask`` gives, tried again for a while when the store is away. Raises what it raised last."""
    deadline = time.monotonic() + FIRST_TRY_S
    while True:
        try:
            return ask()
        except StoreAway:
            if must_end() or time.monotonic() > deadline:
                raise
        time.sleep(POLL_S)


class Links:
    """The links of an attempt by name: ``slots``, ``index``, ``told``, ``stop``, and ``links`` to these anew."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._fetched_at = -float("inf")
        self._found: dict[str, Any] = {}
        self.renew()

    def renew(self) -> None:
        """Fetch them. Raises OSError."""
        found = fetch_object(self._url)
        if not self._found.keys() <= found.keys() or not isinstance(found.get("links"), str):
            raise StoreAway("what answered is not the store")
        self._url, self._found, self._fetched_at = found["links"], found, time.monotonic()

    def keep(self) -> None:
        """Fetch them anew when that is due."""
        if time.monotonic() - self._fetched_at >= RENEW_EVERY_S:
            with contextlib.suppress(OSError):
                self.renew()

    def __getitem__(self, name: str) -> Any:
        return self._found[name]

    def is_taken(self) -> bool:
        """Whether another runner has written to the attempt's index."""
        try:
            fetch(self["told"], 1)
        except LinkRefused:
            return False
        return True


def unpack(ticket: dict[str, Any], root: Path, must_end: Callable[[], bool]) -> Path:
    """Make the attempt's folder below ``root``: its inputs, which later attempts find again, and its small files."""
    folder = Path(root, "attempts", ticket["id"])
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    if root.stat().st_uid != os.getuid():
        raise OSError(f"{root} belongs to somebody else")
    tidy(root)
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "output").mkdir(parents=True)
    places = {_token(ticket, "attempt"): str(folder)}
    for name, each in ticket["inputs"].items():
        places[_token(ticket, name)] = str(patiently(partial(_input, each, root / "inputs"), must_end))
    if ticket["laid"]:
        patiently(lambda: _extract(ticket["laid"], folder), must_end)
    for path, text in ticket["files"].items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(placed(text, places), encoding="utf-8", errors="surrogateescape")
    spec = placed(json.dumps(ticket["spec"]), {name: json.dumps(each)[1:-1] for name, each in places.items()})
    (folder / "spec.json").write_text(spec)
    (folder / "log").touch()
    return folder


def tidy(root: Path) -> None:
    """Remove what killed attempts left, and inputs that nobody used, for a month."""
    for path in [*root.glob("attempts/*"), *root.glob("inputs/*")]:
        beat = path / "beat"  # of an attempt; an input's own time is set when it is used
        with contextlib.suppress(OSError):
            if time.time() - (beat if beat.exists() else path).stat().st_mtime > KEPT_S:
                shutil.rmtree(path, ignore_errors=True)


def _token(ticket: dict[str, Any], name: str) -> str:
    """What stands for a place in texts of the ticket; no text of a person's has it by chance."""
    return f"{{{name}-{ticket['mark']}}}"


def placed(text: str, places: dict[str, str]) -> str:
    """A text with the node's own paths."""
    for name, place in places.items():
        text = text.replace(name, place)
    return text


def _input(given: dict[str, str], folder: Path) -> Path:
    """A folder by the hash of its zip, fetched unless it is there."""
    target: Path = folder / given["sha256"]
    if not target.is_dir():
        half = folder / f".{given['sha256']}.{os.getpid()}"
        shutil.rmtree(half, ignore_errors=True)
        try:
            _extract(given, half)
            with contextlib.suppress(OSError):  # another attempt was faster
                half.replace(target)
        finally:
            shutil.rmtree(half, ignore_errors=True)
    with contextlib.suppress(OSError):
        os.utime(target)
    return target


def _extract(given: dict[str, Any], target: Path) -> None:
    """Fetch a zip, see that it is whole, and unpack it."""
    target.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with tempfile.TemporaryFile(dir=target.parent) as file:
        with _asked(urllib.request.Request(given["url"])) as answer:
            while data := answer.read(PART_BYTES):
                digest.update(data)
                file.write(data)
        if digest.hexdigest() != given["sha256"]:
            raise StoreAway("an input arrived damaged")
        with zipfile.ZipFile(file) as archive:
            archive.extractall(target)
