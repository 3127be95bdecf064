"""Disk space kept in reserve, so that an end can be recorded when the disk is full."""

import contextlib
from pathlib import Path

from lib.embedded.files.disk_space import free_bytes

NAME = ".reserve"
SIZE_BYTES = 512 << 10


class DiskReserve:
    """A placeholder file in the data folder."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / NAME

    def keep(self) -> None:
        """Take the space while there is plenty."""
        with contextlib.suppress(OSError):
            if not self._path.exists() and free_bytes(self._path.parent) > 4 * SIZE_BYTES:
                self._path.write_bytes(b"\0" * SIZE_BYTES)

    def release(self) -> None:
        """Free the space."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
