"""Distinguishes a missing file from one that cannot be seen now: a disk or network share may be unavailable.

Files are looked up within a folder that is held open, so that an answer never mixes a moment when the folder was
there with one when it was not.
"""

import errno
import os
import stat
from pathlib import Path

from lib.errors import StoreError

HINT = (
    "If it is on a disk or network share, mount that again; if it was moved, move it back, or set LORA_DATA_DIR to "
    "where it is now. Until then nothing is started and no training is taken for ended."
)
# A link, nothing, a folder, a pipe nobody reads, a socket: no ordinary file.
_NO_FILE = frozenset({errno.ELOOP, errno.ENOENT, errno.EISDIR, errno.ENXIO, errno.ENOTDIR})
MOST_SMALL_BYTES = 1 << 20
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
            descriptor = os.open(part, flags | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        except FileNotFoundError as error:
            if _has_entry(part, folder):  # a link to an unavailable disk
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


def is_entry(path: Path, *, below: Path | None = None) -> bool:
    """Whether a folder has an entry of this name, whatever it is. Raises FolderUnavailable when that is unknown."""
    root = below or path.parent
    if path.parent != root and not is_there(path.parent, below=root):
        return False
    descriptor = _open_root(path.parent)
    try:
        return _has_entry(path.name, descriptor)
    finally:
        os.close(descriptor)


def open_file(path: Path, flags: int = os.O_RDONLY) -> int | None:
    """A descriptor of an ordinary file in a folder where trainers write; None when there is none.

    A link is not followed, and a pipe or a device does not block: neither is a file of ours.

    Raises:
        FolderUnavailable: The folder cannot be read.
    """
    root = _open_root(path.parent)
    try:
        descriptor = os.open(path.name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600, dir_fd=root)
    except OSError as error:
        if error.errno in _NO_FILE:
            return None
        raise
    finally:
        os.close(root)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None


def is_straight(path: Path) -> bool:
    """Whether no part of a path has become a link since its links were resolved."""
    folder = path.parent
    return os.path.realpath(folder) == str(folder)


def read_file(path: Path, limit: int = MOST_SMALL_BYTES) -> bytes | None:
    """The beginning of an ordinary file; None when there is none. Raises FolderUnavailable when that is unknown."""
    descriptor = open_file(path)
    if descriptor is None:
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read(limit)


def stat_file(path: Path) -> os.stat_result | None:
    """Size and times of an ordinary file; None when there is none. Raises FolderUnavailable if unknown."""
    descriptor = open_file(path)
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


def _has_entry(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
