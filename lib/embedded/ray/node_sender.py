"""Shipped beside ``runner.py``: sends what an attempt writes into the numbered slots of a store.

``index.json`` says what each slot holds, and comes last. It never names a slot that is being written: a new version of
a file has another slot, and files of one folder that changed together are named together, so that a training state is
never half old and half new.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import node_store  # type: ignore[import-not-found]  # beside this file on the node

EVERY_S = 3.0
# Files are looked at more often than they are told of; one that nobody wrote to for so long is finished.
LOOK_EVERY_S, STILL_S = 1.0, 2.0
STOP_EVERY_S = 9.0
# How long a file that is gone stays named at most, while what came in its place is sent.
GONE_S = 900.0
LOG_BYTES = 1 << 20
# How long the end is tried to be told while the store is away.
LAST_TRY_S = 3600.0
_NAMED = 5
Stat = tuple[int, int]  # size, time in nanoseconds


class NoSlots(Exception):
    """All numbered places are used."""


class _Part:
    """Just so many bytes of a file, though it may grow meanwhile."""

    def __init__(self, file: Any, size: int) -> None:
        self._file, self._left = file, size

    def read(self, most: int = -1) -> bytes:
        data: bytes = self._file.read(self._left if most < 0 else min(most, self._left))
        self._left -= len(data)
        if not data and self._left:
            raise node_store.StoreAway("a file became shorter while it was sent")
        return data


class Sender:
    """Two threads: one for the log, signs of life and stop requests, one for finished files, newest first."""

    def __init__(self, ticket: dict[str, Any], folder: Path, links: Any) -> None:
        self._links, self._folder = links, folder
        self._inputs = [folder.parents[1] / "inputs" / each["sha256"] for each in ticket["inputs"].values()]
        self._known = {*ticket["files"], *(ticket["laid"] or {}).get("names", ())}
        self._guard = threading.Lock()
        self._ended = threading.Event()
        self._has_news = threading.Event()
        self._log: list[list[int]] = []
        self._cut = 0  # where in what was sent the log's file begins
        self._files: dict[str, dict[str, Any]] = {}
        self._seen: dict[str, Stat] = {}
        self._gone: dict[str, tuple[float, set[str]]] = {}  # since when, and what was to be sent then
        self._unsent: dict[str, bool] = {}  # what could not be sent -> whether that may pass
        self._used = 0
        # Slots of former versions: those that the index before the last named are free.
        self._free: list[int] = []
        self._former: list[int] = []
        self._replaced: list[int] = []
        self._stop_asked_at = -float("inf")
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin; what fails is tried again."""
        for each, wake, every_s in (
            (self.tell, self._has_news, EVERY_S),
            (self.send_files, self._ended, LOOK_EVERY_S),
        ):
            thread = threading.Thread(target=self._repeat, args=(each, wake, every_s), name=each.__name__, daemon=True)
            thread.start()
            self._threads.append(thread)

    def _repeat(self, what: Callable[[], None], wake: threading.Event, every_s: float) -> None:
        while True:
            wake.wait(every_s)
            if self._ended.is_set():
                return
            with contextlib.suppress(Exception):  # the thread must go on
                what()

    def finish(self, deadline: Callable[[], float]) -> bool:
        """Send what is left and how it ended, tried again until ``deadline`` (monotonic). Whether all of it arrived."""
        self._ended.set()
        self._has_news.set()
        last = time.monotonic() + LAST_TRY_S

        def left_s() -> float:
            return max(0.0, min(last, deadline()) - time.monotonic())

        for thread in self._threads:
            thread.join(left_s())
        while left_s():
            with contextlib.suppress(OSError):
                self.send_files(is_last=True)
                if not any(self._unsent.values()):
                    self.tell(is_last=True)
                    return not self._unsent
            time.sleep(min(EVERY_S, left_s()))
        with contextlib.suppress(OSError):
            self._unsent.update(dict.fromkeys(self._changed(self._found(), True), True))
            self.tell(is_last=True)
        return False

    def unsent_text(self) -> str:
        """What did not arrive, in words; empty when all did."""
        names = sorted(self._unsent)
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        return ", ".join(names[:_NAMED]) + more

    def tell(self, *, is_last: bool = False) -> None:
        """Send the log and the index, and look for a request to stop. Raises OSError."""
        self._has_news.clear()
        self._links.keep()
        for path in self._inputs:
            with contextlib.suppress(OSError):
                os.utime(path)  # in use
        self._send_log()
        with self._guard:
            index: dict[str, Any] = {"host": socket.gethostname(), "log": self._log, "files": dict(self._files)}
            index["unsent"] = sorted(self._unsent)[:_NAMED]
            replaced, self._replaced = self._replaced, []
        if is_last:
            index["exit"] = json.loads((self._folder / "exit.json").read_bytes())
            index["kept"] = str(self._folder)  # where the unsent are
        text = json.dumps({**index, "beat": time.time()}).encode()
        try:
            node_store.put(self._links["index"], text, len(text))
        except OSError:
            self._replaced += replaced
            self._links.renew()  # it may have expired
            raise
        with self._guard:
            self._free += self._former
            self._former = replaced
        if not is_last:
            self.look_for_stop()

    def look_for_stop(self) -> None:
        """Put a request to stop where the runner looks for it: Ray's own does not arrive while its head is away."""
        if time.monotonic() - self._stop_asked_at < STOP_EVERY_S:
            return
        self._stop_asked_at = time.monotonic()
        note = node_store.fetch_object(self._links["stop"])
        if note.get("cancel") is True:
            (self._folder / "cancel").touch()
        elif isinstance(note.get("cause"), str):
            (self._folder / "stop.json").write_text(json.dumps(note))

    def _slot(self) -> int:
        with self._guard:
            if self._free:
                return self._free.pop()
            if self._used == len(self._links["slots"]):
                raise NoSlots
            self._used += 1
            return self._used - 1

    def _put(self, slot: int, data: Any, size: int) -> None:
        try:
            node_store.put(self._links["slots"][slot], data, size)
        except node_store.LinkRefused as error:
            self._links.renew()
            raise node_store.StoreAway(str(error)) from error

    def _send_log(self) -> None:
        """Send what is new: the last part is replaced until it is full. A log that was cut is sent behind it."""
        size = (self._folder / "log").stat().st_size
        sent = sum(length for _, length in self._log)
        begins_anew = size < sent - self._cut
        self._cut = sent if begins_anew else self._cut
        while sent - self._cut < size:
            if begins_anew or not self._log or self._log[-1][1] >= LOG_BYTES:
                try:
                    self._log.append([self._slot(), 0])
                except NoSlots:
                    self._unsent["log"] = False
                    return
                begins_anew = False
            slot, length = self._log[-1]
            with (self._folder / "log").open("rb") as log:
                log.seek(sent - self._cut - length)
                data = log.read(LOG_BYTES)
            if len(data) <= length:
                return  # cut just now
            self._put(slot, data, len(data))
            sent += len(data) - length
            self._log[-1][1] = len(data)

    def send_files(self, *, is_last: bool = False) -> None:
        """One round: what could not be sent is sent in the next one. Raises OSError when it cannot look."""
        groups: dict[str, list[str]] = {}
        found = self._found()
        for name in self._changed(found, is_last):
            groups.setdefault(name if name.count("/") == 1 else name.rpartition("/")[0], []).append(name)
        for names in groups.values():
            self._send_group({name: found[name] for name in names})
        self._drop_gone(found, is_last)
        if groups or (not self._log and (self._folder / "log").stat().st_size):
            self._has_news.set()

    def _found(self) -> dict[str, Stat]:
        found = {}
        for path in self._folder.rglob("*"):
            name = path.relative_to(self._folder).as_posix()
            if name.startswith(("output/", "logs/")) and not path.is_symlink() and path.is_file():
                with contextlib.suppress(OSError):
                    stat = path.stat()
                    found[name] = (stat.st_size, stat.st_mtime_ns)
        return found

    def _changed(self, found: dict[str, Stat], is_last: bool) -> list[str]:
        """Files that are new or changed and do not change now, newest first."""
        changed = [
            name
            for name, stat in found.items()
            if (is_last or (self._seen.get(name) == stat and abs(time.time() - stat[1] / 1e9) >= STILL_S))
            and self._files.get(name, {}).get("version") != [*stat]
            and name not in self._known
        ]
        with self._guard:
            for name in [each for each in self._unsent if each not in found and each != "log"]:
                del self._unsent[name]
        self._seen = found
        return sorted(changed, key=lambda name: -found[name][1])

    def _drop_gone(self, found: dict[str, Stat], is_last: bool) -> None:
        """Name files no more that are gone for two looks, once all is sent that was there when they went.

        A trainer that keeps one state removes it when the next one is saved, which takes a while to send.
        """
        now = time.monotonic()
        with self._guard:
            to_come = {
                name
                for name, stat in found.items()
                if self._files.get(name, {}).get("version") != [*stat]
                and name not in self._known
                and self._unsent.get(name, True)  # without a slot it never comes
            }
            for name in self._gone.keys() & found.keys():
                del self._gone[name]
            for name in self._files.keys() - found.keys():
                is_new = name not in self._gone
                since, waited_for = self._gone.setdefault(name, (now, to_come))
                if waited_for - found.keys() - self._files.keys():  # it went, too, before it was sent
                    since, waited_for = self._gone[name] = since, to_come
                if (is_last or not is_new) and (not waited_for & to_come or now - since >= GONE_S):
                    self._replaced += self._files.pop(name)["slots"]
                    del self._gone[name]

    def _send_group(self, group: dict[str, Stat]) -> None:
        """Send files of one folder; the index names them together, or none of them."""
        sent: dict[str, list[int]] = {}
        try:
            for name, stat in group.items():
                sent[name] = []
                self._send_file(name, stat, sent[name])
        except (OSError, NoSlots) as error:
            with self._guard:
                self._free += [slot for slots in sent.values() for slot in slots]
                self._unsent.update(dict.fromkeys(group, not isinstance(error, NoSlots)))
            return
        with self._guard:
            for name, slots in sent.items():
                self._replaced += self._files.get(name, {}).get("slots", [])
                self._files[name] = {"slots": slots, "version": [*group[name]]}
                self._unsent.pop(name, None)

    def _send_file(self, name: str, stat: Stat, slots: list[int]) -> None:
        path = self._folder / name
        with path.open("rb") as file:
            for start in range(0, max(1, stat[0]), node_store.FILE_BYTES):
                size = min(node_store.FILE_BYTES, stat[0] - start)
                slots.append(self._slot())
                file.seek(start)
                self._put(slots[-1], _Part(file, size) if size else b"", size)
        after = path.stat()
        if (after.st_size, after.st_mtime_ns) != stat:
            raise node_store.StoreAway("a file changed while it was sent")
