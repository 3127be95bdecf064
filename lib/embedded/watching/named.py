"""The log or folder that a person names: what it is, and why it cannot be watched."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from lib.embedded.files.availability import open_file
from lib.errors import InvalidRequest
from lib.jobs.logs.binary import is_binary

# Of a log, however long it is.
SAMPLE_BYTES = 64 << 10
MOST_NAMED = 5
_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def named_place(text: str, roots: Sequence[Path] | None, own: Path) -> Path:
    """The file or folder that a text names, without links.

    Args:
        roots: Folders that it must lie below; None: it may be anywhere.
        own: The dashboard's own data folder, which is not watched.

    Raises:
        InvalidRequest: It cannot be watched, and why.
    """
    path = _whole_path(text)
    real = Path(os.path.realpath(path))  # without Path.resolve, which raises for a circle of links
    # First of all, so that nobody learns what there is elsewhere.
    if roots is not None and not any(real.is_relative_to(os.path.realpath(root)) for root in roots):
        named = ", ".join(map(str, roots[:MOST_NAMED])) or "it names none"
        raise _refusal(
            f"{path} is in none of the folders that may be watched.", f"LORA_WATCH_DIRS names them: {named}."
        )
    if real.is_relative_to(os.path.realpath(own)):
        raise _refusal(f"{path} is in the dashboard's own data folder.", "Its jobs are in the list already.")
    try:
        mode = os.lstat(real).st_mode
    except FileNotFoundError:
        raise _refusal(f"There is no file or folder {path}.", "A log can be watched once its run has begun.") from None
    except OSError as error:
        raise _refusal(f"{path} cannot be looked at: {error.strerror or error}.") from None
    if kind := next((kind for is_kind, kind in _KINDS if is_kind(mode)), ""):
        raise _refusal(f"{path} is {kind}, not a log file or a folder.", "Let the trainer write into a file.")
    if stat.S_ISLNK(mode):
        raise _refusal(f"{path} is a link that leads in a circle.")
    if not os.access(real, os.R_OK | (os.X_OK if stat.S_ISDIR(mode) else 0)):
        raise _refusal(f"{path} may not be read by the dashboard's account.", "Give it the right to read.")
    if stat.S_ISREG(mode) and is_binary(log_end(real)):
        raise _refusal(f"{path} is no log: it holds binary data, not text.", "Name the log, or the run's folder.")
    return real


def log_end(path: Path) -> bytes:
    """The last part of a file; empty when it cannot be read."""
    try:
        descriptor = open_file(path)
        if descriptor is None:
            return b""
        with os.fdopen(descriptor, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - SAMPLE_BYTES))
            return file.read(SAMPLE_BYTES)
    except OSError:
        return b""


def _whole_path(text: str) -> Path:
    words = text.strip()
    if not words or "\0" in words or "\n" in words:
        raise _refusal("Name a log file or a folder.")
    try:
        path = Path(words).expanduser()
        os.fsencode(path)
    except (RuntimeError, UnicodeEncodeError):
        raise _refusal("That is no path of this machine.") from None
    if not path.is_absolute():
        raise _refusal(f"{words[:200]} is not a whole path.", "Begin it with /.")
    return path


def _refusal(sentence: str, hint: str = "") -> InvalidRequest:
    return InvalidRequest(sentence, hint=hint)
