"""Attempts whose nodes do not see the data folder: inputs go up to the store, what a node writes comes down again.

What is small (signs of life, logs) comes down in one thread, files in others, after which an attempt's end is recorded.
"""

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from lib.artifacts.object_store import ObjectStore
from lib.embedded.files.attempt_folder import AttemptFolder, Exit
from lib.embedded.files.disk_space import free_bytes
from lib.embedded.files.json_file import json_object, replace_json
from lib.embedded.ray import node_store, runner
from lib.embedded.ray.store_inputs import PIECE_BYTES, publish, put_object, renew_links
from lib.errors import ArtifactError, DashboardError

SLOTS = 2_000
EVERY_S = 2.0
MOST_PAUSE_S = 60.0
MOST_INDEX_BYTES = 4 << 20
# Far below the seven days that a link lives: with credentials that expire, links do, too.
RENEW_EVERY_S = 3600.0
LEFT_FREE_BYTES = 64 << 20
INCOMING = ".incoming"
FILES_AT_ONCE = 4
_SAID_CHARACTERS = 300
_log = logging.getLogger("worker")


@dataclass(slots=True, kw_only=True)
class _Mirrored:
    """An attempt that is brought down.

    Attributes:
        prefixes: Of its submissions; the last one's node is believed.
        versions: Path -> what was fetched of it.
        index, index_at: What its node told last, and the monotonic time before that was read.
        seen_at: The monotonic time before a look after which everything told then was here.
        stop: What its node was told of a stop; None before the first look.
        problem: Why the last look failed.
        said: Look -> the reason that was logged last.
        is_busy: Whether its files are being brought down.
    """

    folder: AttemptFolder
    prefixes: list[str]
    versions: dict[str, list[int]] = field(default_factory=dict)
    index: dict[str, Any] | None = None
    index_at: float = -float("inf")
    beat: float = 0.0
    seen_at: float = -float("inf")
    stop: dict[str, Any] | None = None
    renewed_at: float = -float("inf")
    problem: str = ""
    said: dict[str, str] = field(default_factory=dict)
    is_busy: bool = False
    pause_s: float = 0.0
    paused_until: float = -float("inf")

    @property
    def prefix(self) -> str:
        return self.prefixes[-1]


class StoreTransport:
    """Brings inputs up and results down; threads of its own do that."""

    def __init__(self, store: ObjectStore, *, slots: int = SLOTS, every_s: float = EVERY_S) -> None:
        self._store, self._slots, self._every_s = store, slots, every_s
        self._mirrored: dict[str, _Mirrored] = {}
        self._done: list[str] = []
        self._guard = threading.Lock()
        self._closed = threading.Event()
        self._threads: list[threading.Thread] = []
        self._up = ThreadPoolExecutor(max_workers=2, thread_name_prefix="bring up")
        self._down = ThreadPoolExecutor(max_workers=FILES_AT_ONCE, thread_name_prefix="bring down")
        self._published: dict[str, tuple[Future[str], float]] = {}

    def published(self, folder: AttemptFolder, submission: str, prefix: str, inputs: Mapping[str, Path]) -> str | None:
        """The link to the ticket of an attempt; None while what it needs is on its way up.

        Raises:
            ArtifactError: The store cannot be used now. The next call tries again.
            OSError: Something of this machine cannot be read.
        """
        now = time.monotonic()
        future, at = self._published.get(prefix, (None, now))
        if future is None or now - at > RENEW_EVERY_S:
            future = self._up.submit(publish, self._store, folder, submission, prefix, inputs, self._slots)
            self._published[prefix] = future, now
        if not future.done():
            return None
        if future.exception() is not None:
            self._published.pop(prefix, None)
        return future.result()

    def follow(self, mark: str, folder: AttemptFolder, prefixes: list[str]) -> None:
        """Bring down what an attempt writes, from now on: that of its last submission, as the others must not run."""
        with self._guard:
            found = self._mirrored.get(mark)
            if found is None or found.prefixes != prefixes:
                self._mirrored[mark] = _Mirrored(folder=folder, prefixes=prefixes)
        if not self._threads:
            self._threads = [
                threading.Thread(target=self._repeat, args=(each,), name=f"mirror {each.__name__}", daemon=True)
                for each in (self._look_at_all, self._bring_from_all)
            ]
            for thread in self._threads:
                thread.start()

    def seen_at(self, mark: str) -> float:
        """The monotonic time of the last moment of which everything that the node had told by then is here."""
        found = self._mirrored.get(mark)
        return found.seen_at if found else -float("inf")

    def heard_at(self, mark: str) -> float:
        """The monotonic time at which the store was last asked for signs of life, and answered."""
        found = self._mirrored.get(mark)
        return found.index_at if found else -float("inf")

    def problem(self, mark: str) -> str:
        """Why it is not so now; empty when it is."""
        found = self._mirrored.get(mark)
        return found.problem if found else ""

    def release(self, mark: str) -> None:
        """Its end is recorded: what the store has of it goes, also what is on its way up now."""
        with self._guard:
            found = self._mirrored.pop(mark, None)
        for prefix in found.prefixes if found else ():
            self._forget(prefix)

    def _forget(self, prefix: str) -> None:
        future, _ = self._published.pop(prefix, (None, 0.0))
        if future is None or future.cancel():
            self._done.append(prefix)
        else:
            future.add_done_callback(lambda _: self._done.append(prefix))

    def close(self) -> None:
        """End the threads; the next worker goes on."""
        self._closed.set()
        for thread in self._threads:
            thread.join()
        for pool in (self._up, self._down):
            pool.shutdown(cancel_futures=True)
        self._remove_done()
        self._store.close()

    def _repeat(self, what: Callable[[Sequence[_Mirrored]], None]) -> None:
        while not self._closed.wait(self._every_s):
            with self._guard:
                mirrored = list(self._mirrored.values())
            what(mirrored)

    def _look_at_all(self, mirrored: Sequence[_Mirrored]) -> None:
        for each in mirrored:
            self._tried(self.look, each)
        self._remove_done()

    def _bring_from_all(self, mirrored: Sequence[_Mirrored]) -> None:
        """The files of one attempt, which may be large, do not hold up those of another."""
        for each in mirrored:
            if not each.is_busy and time.monotonic() >= each.paused_until:
                each.is_busy = True
                self._down.submit(self._tried, self.bring_files, each)

    def _tried(self, look: Callable[[_Mirrored], None], each: _Mirrored) -> None:
        try:
            look(each)
        except Exception as error:  # whatever one node wrote, the others are brought down
            reason = f"{type(error).__name__}: {error}"[:_SAID_CHARACTERS]
            if reason != each.said.get(look.__name__):
                _log.warning("%s: %r", each.prefix, reason)
            each.said[look.__name__] = reason
        finally:
            if look == self.bring_files:
                each.is_busy = False

    def _remove_done(self) -> None:
        for prefix in list(self._done):
            with suppress(DashboardError):
                self._store.delete_prefix(prefix)
                self._done.remove(prefix)

    def look(self, each: _Mirrored) -> None:
        """What is small of one attempt: signs of life, its log, links. Raises ArtifactError or OSError."""
        if each.folder.read_exit() is not None:
            return
        at = time.monotonic()
        try:
            self._renew(each)
            self._tell_stop(each)
            index = self._index(each.prefix)
            if index is None:
                each.seen_at, each.index_at, each.problem = at, at, ""
                return
            folder = each.folder.path
            if not (folder / runner.TAKEN).exists():
                replace_json(folder / runner.TAKEN, {"submission": "", "host": str(index["host"])[:200]})
                each.folder.mark_started(supervisor=0)
            if index["beat"] != each.beat:
                each.beat = index["beat"]
                (folder / "beat").write_text(str(each.beat))
            self._bring_log(each, index["log"])
        except (ArtifactError, OSError) as error:
            each.problem = str(error)
            raise
        except Exception:
            each.seen_at = each.index_at = at  # what cannot be understood is not waited for
            raise
        each.index, each.index_at = index, at

    def _renew(self, each: _Mirrored) -> None:
        """Sign links anew long before they expire; those of the ticket were signed when it was written."""
        now = time.monotonic()
        if each.renewed_at == -float("inf") and each.prefix in self._published:
            each.renewed_at = self._published[each.prefix][1]
        if (each.folder.path / runner.TAKEN).exists() and now - each.renewed_at > RENEW_EVERY_S:
            renew_links(self._store, each.prefix, self._slots)
            each.renewed_at = now

    def _tell_stop(self, each: _Mirrored) -> None:
        """Let the node know of a stop, which Ray cannot pass on while its head is away."""
        cause, step = each.folder.stop_requested()
        note = {"cancel": True} if each.folder.cancel_requested() else {"cause": cause, "step": step} if cause else {}
        is_news = note != each.stop if each.stop is not None else note or each.prefixes[1:]
        if is_news:
            put_object(self._store, f"{each.prefix}stop.json", note)
            for former in each.prefixes[:-1]:
                put_object(self._store, f"{former}stop.json", {"cancel": True})
        each.stop = note

    def _index(self, prefix: str) -> dict[str, Any] | None:
        try:
            part = self._store.read_range(f"{prefix}index.json", 0, MOST_INDEX_BYTES)
        except ArtifactError as error:
            if "not in the store" in str(error):
                return None
            raise
        if (found := json_object(part.data)) is None:
            raise ArtifactError("What the node told of its files cannot be read.")
        return found

    def _pieces(self, key: str, offset: int, end: int, size: int | None = None) -> Iterator[bytes]:
        """The bytes of an object from ``offset`` to ``end``, all of one version of it.

        Args:
            size: Bytes of the whole object, where they are known.

        Raises:
            ArtifactError: It has fewer, or another size.
        """
        etag = ""
        while offset < end:
            part = self._store.read_range(key, offset, min(PIECE_BYTES, end - offset), etag=etag)
            if not part.data or (size is not None and part.size_bytes != size):
                raise ArtifactError("The file changed while it was read.", hint="Read it again.")
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

    def bring_files(self, each: _Mirrored) -> None:
        """The files of one attempt, and then its end. Raises ArtifactError, or OSError for this machine's disk."""
        index, at = each.index, each.index_at
        if index is None or each.folder.read_exit() is not None:
            return
        try:
            folders: dict[Path, dict[str, Any]] = {}
            for name, file in index["files"].items():
                folders.setdefault(self._target(each, name).parent, {})[name] = file
            for files in folders.values():
                self._bring_together(each, files)
            for name in [known for known in each.versions if known not in index["files"]]:
                self._target(each, name).unlink(missing_ok=True)  # as its trainer did there
                del each.versions[name]
        except (ArtifactError, OSError) as error:
            each.problem, each.pause_s = str(error), min(MOST_PAUSE_S, 2 * each.pause_s + self._every_s)
            each.paused_until = time.monotonic() + each.pause_s
            raise
        except Exception:
            each.seen_at = at
            raise
        each.seen_at, each.problem, each.pause_s = at, "", 0.0
        if "exit" in index:
            shutil.rmtree(each.folder.path / INCOMING, ignore_errors=True)
            _note_unsent(each.folder, index)
            each.folder.write_exit(_told_exit(index["exit"], each.folder))

    def _target(self, each: _Mirrored, name: str) -> Path:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or path.parts[0] not in ("output", "logs"):
            raise ValueError(f"a node names a file outside of its folder: {name[:100]!r}")
        return each.folder.path / path

    def _bring_together(self, each: _Mirrored, files: Mapping[str, Any]) -> None:
        """Fetch what is new in one folder before anything of it is replaced: a state is of one moment."""
        halves: dict[str, Path] = {}
        for name, file in files.items():
            size, modified_ns = file["version"]
            target = self._target(each, name)
            if each.versions.get(name) == file["version"]:
                continue
            if not _is_same(target, size, modified_ns):
                halves[name] = self._fetched(each, file["slots"], size, modified_ns, len(halves))
            else:
                each.versions[name] = file["version"]
        for name, half in halves.items():
            self._target(each, name).parent.mkdir(parents=True, exist_ok=True)
            half.replace(self._target(each, name))
            each.versions[name] = files[name]["version"]

    def _fetched(self, each: _Mirrored, slots: list[int], size: int, modified_ns: int, number: int) -> Path:
        """A file that lies in ``slots``, beside the files of the attempt."""
        half = each.folder.path / INCOMING / str(number)
        half.parent.mkdir(exist_ok=True)
        free = free_bytes(half.parent)
        if free is not None and free < size + LEFT_FREE_BYTES:
            raise OSError(f"there is no room for a file of {size:,} bytes")
        with half.open("wb") as file:
            for slot in slots:
                part = min(size - file.tell(), node_store.FILE_BYTES)
                for piece in self._pieces(_slot_key(each, slot), 0, part, part):
                    file.write(piece)
            if file.tell() != size:
                raise ValueError("a node names fewer slots than a file has")
        os.utime(half, ns=(modified_ns, modified_ns))
        return half


def _slot_key(each: _Mirrored, slot: int) -> str:
    return f"{each.prefix}slots/{int(slot):05}"


def _is_same(path: Path, size: int, modified_ns: int) -> bool:
    with suppress(OSError):
        stat = path.stat()
        return (stat.st_size, stat.st_mtime_ns) == (size, modified_ns)
    return False


def _note_unsent(folder: AttemptFolder, index: Mapping[str, Any]) -> None:
    """Say in the log what its node could not send, and where it is."""
    if unsent := index.get("unsent"):
        names = ", ".join(str(name)[:_SAID_CHARACTERS] for name in unsent)
        where = f"{str(index.get('kept'))[:_SAID_CHARACTERS]} of {str(index['host'])[:_SAID_CHARACTERS]}"
        with folder.log.open("ab") as log:
            log.write(f"\nNot sent to the store, kept in {where}: {names}\n".encode(errors="replace"))


def _told_exit(record: Mapping[str, Any], folder: AttemptFolder) -> Exit:
    """How a node says that it ended; whether that was wanted is known here."""
    stopped_for = "" if folder.cancel_requested() else folder.stop_requested()[0]
    known = {name: record[name] for name in ("exit_code", "finished_at", "timed_out", "start_error", "free_bytes")}
    cancelled = (bool(record["cancelled"]) and not stopped_for) or folder.cancel_requested()
    return Exit(**known, cancelled=cancelled, stopped_for=stopped_for)
