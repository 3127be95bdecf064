"""Copies the files of a finished attempt to an object store, while the worker goes on with its other jobs."""

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from lib.embedded.trainers.recipe import FoundFile

UPLOAD_FAILED = "upload_failed"

_log = logging.getLogger("worker")


class Mirror(Protocol):
    """Where files may be copied to, such as ``lib.artifacts.object_store.ObjectStore``."""

    def upload(self, path: Path, key: str) -> None:
        """Copy a file there. Raises ArtifactError."""


class MirrorCopy:
    """Copies the files of one attempt in a thread of its own.

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
        for file in files:
            key = f"jobs/{mark}/{file.path}"
            try:
                mirror.upload(output / file.path, key)
            except Exception as error:
                # Whatever it was: a thread that dies without a word would pass for one that copied everything.
                _log.warning("%s was not copied, nor what comes after it: %s", key, error)
                self.alarms = (UPLOAD_FAILED,)
                return
            self.keys[file.path] = key
