"""Copies the files of a finished attempt to an object store, while the worker goes on with its other jobs."""

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from lib.embedded.trainers.recipe import FoundFile

UPLOAD_FAILED = "upload_failed"
# Before the second and the third try.
PAUSES_S = (1.0, 3.0)
# So many failures in a row, and the store is taken to be down until the next try.
MOST_IN_A_ROW = 3

_log = logging.getLogger("worker")


class Mirror(Protocol):
    """Where files may be copied to, such as ``lib.artifacts.object_store.ObjectStore``."""

    def upload(self, path: Path, key: str) -> None:
        """Copy a file there. Raises ArtifactError."""


class MirrorCopy:
    """Copies the files of one attempt in a thread of its own; what fails is tried again a little later.

    Attributes:
        keys: Path of a file -> its key in the store, for the files that were copied.
        alarms: A word when some were not.
    """

    def __init__(self, mirror: Mirror, mark: str, output: Path, files: Sequence[FoundFile]) -> None:
        self.keys: dict[str, str] = {}
        self.alarms: tuple[str, ...] = ()
        self._thread = threading.Thread(target=self._copy, args=(mirror, mark, output, files), name=f"copy-{mark}")
        self._thread.start()

    @property
    def is_done(self) -> bool:
        """Whether nothing is being copied any more."""
        return not self._thread.is_alive()

    def _copy(self, mirror: Mirror, mark: str, output: Path, files: Sequence[FoundFile]) -> None:
        waiting = deque(file.path for file in files)
        for pause_s in (0.0, *PAUSES_S):
            if waiting:
                time.sleep(pause_s)
                self._copy_round(mirror, mark, output, waiting)
        if waiting:
            _log.warning("%s: %d files were not copied: %s", mark, len(waiting), ", ".join(waiting)[:500])
            self.alarms = (UPLOAD_FAILED,)

    def _copy_round(self, mirror: Mirror, mark: str, output: Path, waiting: deque[str]) -> None:
        """Try each file once; those that failed go to the end, so that none stands in the way of the others."""
        failures = 0
        for _ in range(len(waiting)):
            path = waiting.popleft()
            key = f"jobs/{mark}/{path}"
            try:
                mirror.upload(output / path, key)
            except Exception as error:
                # Whatever it was: a thread that dies without a word would pass for one that copied everything.
                _log.warning("%s was not copied: %s", key, error)
                waiting.append(path)
                failures += 1
                if failures == MOST_IN_A_ROW:
                    return
            else:
                self.keys[path] = key
                failures = 0
