"""Which files a dataset may contain: their names and limits, and how an uploaded path becomes a file name."""

import re
import unicodedata
from dataclasses import dataclass

from lib.jobs.readable import file_name_problem

ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
MAX_PIXELS = 40_000_000  # a decoded picture then takes at most 160 MB
MAX_CAPTION_BYTES = 64 * 1024
MAX_NAME_BYTES = 200
NOISE = frozenset({".ds_store", "thumbs.db", "desktop.ini"})


@dataclass(frozen=True, slots=True)
class SafeName:
    """``name`` is one NFC path component; ``problem`` says why there is none."""

    name: str = ""
    problem: str = ""


def safe_name(path: str) -> SafeName:
    """The last part of an uploaded path, unless the path leads out of its folder or is not a valid name."""
    if problem := file_name_problem(path):
        return SafeName(problem=problem)
    if path.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", path):
        return SafeName(problem="The name is an absolute path.")
    parts = re.split(r"[/\\]", path)
    if ".." in parts:
        return SafeName(problem="The name leads out of the dataset's folder.")
    name = unicodedata.normalize("NFC", parts[-1]).strip()
    if not name or name.startswith("."):
        return SafeName(problem="The name is empty or that of a hidden file.")
    if len(name.encode()) > MAX_NAME_BYTES:
        return SafeName(problem=f"The name is longer than {MAX_NAME_BYTES} bytes.")
    return SafeName(name=name)


def is_readable(name: str) -> bool:
    """Whether a file name is valid text: one in another encoding cannot be shown or stored."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_noise(path: str) -> bool:
    """Whether an operating system added the file to the archive by itself."""
    parts = path.replace("\\", "/").split("/")
    return "__MACOSX" in parts or parts[-1].lower() in NOISE
