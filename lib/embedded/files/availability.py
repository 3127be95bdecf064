"""What is there, told apart from what nobody can see now: a disk or a network share may be away for a while.

Everything is looked for within a folder that is held open, so that no answer mixes a moment when the folder was away
with one when it was there.
"""

import os
from pathlib import Path

from lib.errors import StoreError

HINT = (
    "If it is on a disk or network share, mount that again; if it was moved, move it back, or set LORA_DATA_DIR to "
    "where it is now. Until then nothing is started and no training is taken for ended."
)
# For so long a process of ours waits for a folder that is away.
WAIT_AT_MOST_S = 24 * 3600.0


class FolderUnavailable(StoreError):
    """A folder cannot be looked into, so that nobody knows what is in it."""


def folder_unavailable(folder: Path, error: OSError) -> FolderUnavailable:
    """What it means to a person that a folder cannot be looked into."""
    reason = "it is not there" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
    return FolderUnavailable(f"The folder {folder} cannot be reached: {reason}.", hint=HINT)


def open_if_there(path: Path, flags: int = os.O_RDONLY, *, below: Path | None = None) -> int | None:
    """A descriptor of a file; None when it certainly is not there.

    Args:
        below: The folder that has to be there; the file's own unless given.

    Raises:
        FolderUnavailable: That folder cannot be looked into.
    """
    root = below or path.parent
    descriptor = _open_root(root)
    for part in path.relative_to(root).parts:
        folder = descriptor
        try:
            descriptor = os.open(part, flags | os.O_CLOEXEC, dir_fd=folder)
        except FileNotFoundError as error:
            if _is_link(part, folder):  # to a disk that is away
                raise folder_unavailable(path, error) from error
            return None
        finally:
            os.close(folder)
    return descriptor


def is_there(path: Path, *, below: Path | None = None) -> bool:
    """Whether something is there. Raises FolderUnavailable when nobody can tell."""
    descriptor = open_if_there(path, below=below)
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is not None


def read_if_there(path: Path) -> bytes | None:
    """The content of a file; None when it certainly is not there. Raises FolderUnavailable when nobody can tell."""
    descriptor = open_if_there(path)
    if descriptor is None:
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def stat_if_there(path: Path) -> os.stat_result | None:
    """Size and times of a file; None when it certainly is not there. Raises FolderUnavailable when nobody can tell."""
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
