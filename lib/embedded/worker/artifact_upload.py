"""Uploads the files of a finished attempt to an object store while the worker goes on with its other jobs."""

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from lib.embedded.trainers.recipe import FoundFile

UPLOAD_FAILED = "upload_failed"
# After this many failures in a row the store counts as down until the next try.
MOST_IN_A_ROW = 3

_log = logging.getLogger("worker")


class UploadTarget(Protocol):
    """Where files are uploaded to, such as ``lib.artifacts.object_store.ObjectStore``."""

    def upload(self, path: Path, key: str) -> None:
        """Upload a file. Raises ArtifactError."""


class ArtifactUpload:
    """Uploads the files of one attempt in its own thread; a failed file is tried again after each pause.

    Attributes:
        keys: Path of a file -> its key in the store, for the files that were uploaded.
        alarms: ``upload_failed`` if some were not.
    """

    def __init__(
        self, target: UploadTarget, mark: str, output: Path, files: Sequence[FoundFile], pauses_s: Sequence[float]
    ) -> None:
        self.keys: dict[str, str] = {}
        self.alarms: tuple[str, ...] = ()
        self._target, self._mark, self._output = target, mark, output
        self._thread = threading.Thread(target=self._run, args=(files, pauses_s), name=f"upload-{mark}")
        self._thread.start()

    @property
    def is_done(self) -> bool:
        """Whether nothing is being uploaded any more."""
        return not self._thread.is_alive()

    def _run(self, files: Sequence[FoundFile], pauses_s: Sequence[float]) -> None:
        waiting = deque(file.path for file in files)
        for pause_s in (0.0, *pauses_s):
            if waiting:
                time.sleep(pause_s)
                self._upload_round(waiting)
        if waiting:
            _log.warning("%s: %d files were not copied: %s", self._mark, len(waiting), ", ".join(waiting)[:500])
            self.alarms = (UPLOAD_FAILED,)

    def _upload_round(self, waiting: deque[str]) -> None:
        """Try each file once; a failed one goes to the end, so that it does not hold up the others."""
        failures = 0
        for _ in range(len(waiting)):
            path = waiting.popleft()
            key = f"jobs/{self._mark}/{path}"
            try:
                self._target.upload(self._output / path, key)
            except Exception as error:
                # Any error counts: a thread that died silently would look like one that uploaded everything.
                _log.warning("%s was not copied: %s", key, error)
                waiting.append(path)
                failures += 1
                if failures == MOST_IN_A_ROW:
                    return
            else:
                self.keys[path] = key
                failures = 0
