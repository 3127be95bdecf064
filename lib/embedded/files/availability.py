"""Distinguishes a missing file from one that cannot be seen now: a disk or network share may be unavailable.

Files are looked up within a folder that is held open, so that an answer never mixes a moment when the folder was
there with one when it was not.
"""

import os
from pathlib import Path

from lib.errors import StoreError

HINT = (
    "If it is on a disk or network share, mount that again; if it was moved, move it back, or set LORA_DATA_DIR to "
    "where it is now. Until then nothing is started and no training is taken for ended."
)
# How long our processes wait for an unavailable folder.
WAIT_AT_MOST_S = 24 * 3600.0


class FolderUnavailable(StoreError):
    """A folder cannot be read, so its content is unknown."""


def folder_unavailable(folder: Path, error: OSError) -> FolderUnavailable:
    """The error for a folder that cannot be read, in words for a person."""
    reason = "it is not there" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
    return FolderUnavailable(f"The folder {folder} cannot be reached: {reason}.", hint=HINT)


def open_if_there(path: Path, flags: int = os.O_RDONLY, *, below: Path | None = None) -> int | None:
    """A descriptor of a file; None when it certainly does not exist.

    Args:
        below: The folder that must be available; the file's own folder unless given.

    Raises:
        FolderUnavailable: That folder cannot be read.
    """
    root = below or path.parent
    descriptor = _open_root(root)
    for part in path.relative_to(root).parts:
        folder = descriptor
        try:
            descriptor = os.open(part, flags | os.O_CLOEXEC, dir_fd=folder)
        except FileNotFoundError as error:
            if _is_link(part, folder):  # to an unavailable disk
                raise folder_unavailable(path, error) from error
            return None
        finally:
            os.close(folder)
    return descriptor


def is_there(path: Path, *, below: Path | None = None) -> bool:
    """Whether something exists there. Raises FolderUnavailable when that is unknown."""
    descriptor = open_if_there(path, below=below)
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is not None


def read_if_there(path: Path) -> bytes | None:
    """The content of a file; None when it certainly does not exist. Raises FolderUnavailable when that is unknown."""
    descriptor = open_if_there(path)
    if descriptor is None:
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def stat_if_there(path: Path) -> os.stat_result | None:
    """Size and times of a file; None when it certainly does not exist. Raises FolderUnavailable if unknown."""
    descriptor = open_if_there(path)
    if descriptor is None:
        return None
    try:
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


def _open_root(root: Path) -> int:
    try:
        return os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise folder_unavailable(root, error) from error


def _is_link(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
